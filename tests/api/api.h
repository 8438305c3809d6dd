/* api.h - the frame of a program that tests the public API: a list of cases, each run in a process
 * of its own with a node of its own.
 *
 * The program without arguments starts itself once for each case, with the case's name as its first
 * argument, so that a worker, which is started with the arguments of its driver, comes to the same
 * case and goes on in mob_init(). A case that crashes or hangs is the only one that fails.
 *
 * Only what a user of the library has is used here. */
#ifndef TESTS_API_H
#define TESTS_API_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <mobula.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define API_SKIP 77

struct api_case {
    const char *name;
    void (*run)(void);
    unsigned limit_s; /* 0: 20 */
};

/* ---- assertions ------------------------------------------------------------------------------------ */

__attribute__((noreturn, format(printf, 3, 4))) static inline void
api_fail(const char *file, int line, const char *format, ...)
{
    va_list ap;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

#define CHECK(cond) ((cond) ? (void)0 : api_fail(__FILE__, __LINE__, "not so: %s", #cond))

#define EQ(a, b)                                                                         \
    do {                                                                                 \
        long long a_ = (long long)(a), b_ = (long long)(b);                              \
        if (a_ != b_) {                                                                  \
            api_fail(__FILE__, __LINE__, "%s is %lld, expected %lld", #a, a_, b_);       \
        }                                                                                \
    } while (0)

/* The call returns this very status. */
#define IS(call, status)                                                                 \
    do {                                                                                 \
        mob_status st_ = (call);                                                         \
        if (st_ != (status)) {                                                           \
            api_fail(__FILE__, __LINE__, "%s: %s (%s), expected %s", #call,              \
                     mob_status_name(st_), mob_last_error(), mob_status_name(status));   \
        }                                                                                \
    } while (0)

#define OK(call) IS(call, MOB_OK)

#define HAS(text, part)                                                                  \
    do {                                                                                 \
        const char *t_ = (text), *p_ = (part);                                           \
        if (!strstr(t_, p_)) {                                                           \
            api_fail(__FILE__, __LINE__, "no '%s' in: %s", p_, t_);                      \
        }                                                                                \
    } while (0)

#define HAS_NOT(text, part)                                                              \
    do {                                                                                 \
        const char *t_ = (text), *p_ = (part);                                           \
        if (strstr(t_, p_)) {                                                            \
            api_fail(__FILE__, __LINE__, "'%s' in: %s", p_, t_);                         \
        }                                                                                \
    } while (0)

/* ---- time ------------------------------------------------------------------------------------------------ */

#define MS 1000000ull
#define SEC 1000000000ull

static inline uint64_t api_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SEC + (uint64_t)ts.tv_nsec;
}

/* Looks again and again until @cond holds; fails after 20 s. For what the API gives no event for. */
#define EVENTUALLY(cond)                                                                 \
    do {                                                                                 \
        uint64_t until_ = api_now_ns() + 20 * SEC;                                       \
        while (!(cond)) {                                                                \
            if (api_now_ns() > until_) {                                                 \
                api_fail(__FILE__, __LINE__, "never so: %s", #cond);                     \
            }                                                                            \
            poll(NULL, 0, 5);                                                            \
        }                                                                                \
    } while (0)

/* ---- a node ------------------------------------------------------------------------------------------------ */

/* An embedded node of 2 CPUs. In a worker this call does not return. */
static inline struct mob *api_init_with(unsigned num_cpus, uint64_t store_bytes)
{
    struct mob *mob;
    struct mob_config config = {
        .struct_size = sizeof config, .num_cpus = num_cpus, .store_bytes = store_bytes};
    OK(mob_init(&config, &mob));
    return mob;
}

static inline struct mob *api_init(void)
{
    return api_init_with(2, 512u << 20);
}

static inline struct mob_info api_info(struct mob *mob)
{
    struct mob_info info = {.struct_size = sizeof info};
    OK(mob_get_info(mob, &info));
    return info;
}

/* ---- gates: tasks that wait until the driver lets them go -------------------------------------------------- */

/* A FIFO that tasks block on; workers come to it by its path. */
struct api_gate {
    char path[96];
    int fd;
};

static inline void api_gate_make(struct api_gate *g)
{
    const char *dir = getenv("API_SCRATCH");
    static int count;
    snprintf(g->path, sizeof g->path, "%s/gate%d-%d", dir ? dir : "/tmp", (int)getpid(),
             count++);
    CHECK(mkfifo(g->path, 0600) == 0);
    g->fd = open(g->path, O_RDWR | O_CLOEXEC);
    CHECK(g->fd >= 0);
}

/* Lets @n waiting tasks go. */
static inline void api_gate_open(struct api_gate *g, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        CHECK(write(g->fd, "g", 1) == 1);
    }
}

static inline void api_gate_wait(const char *path)
{
    char c;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    while (fd >= 0 && read(fd, &c, 1) < 0 && errno == EINTR) {
    }
    if (fd >= 0) {
        close(fd);
    }
}

/* ---- processes ------------------------------------------------------------------------------------------------ */

struct api_result {
    int status; /* as waitpid() gives it */
    char *out;  /* stdout and stderr, in the order of arrival; the caller frees it */
    int timed_out;
};

static inline int api_exit_code(const struct api_result *r)
{
    return !r->timed_out && WIFEXITED(r->status) ? WEXITSTATUS(r->status) : -1;
}

/* Runs a program to its end and keeps what it wrote. It has a process group of its own, so that what
 * it leaves behind can be ended with it. */
static inline struct api_result api_spawn(const char *const *argv, unsigned limit_s)
{
    int p[2];
    struct api_result r = {0};
    size_t size = 0, room = 1 << 16;
    CHECK(pipe2(p, O_CLOEXEC) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        dup2(p[1], STDOUT_FILENO);
        dup2(p[1], STDERR_FILENO);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    CHECK(pid > 0);
    close(p[1]);
    r.out = malloc(room);
    CHECK(r.out != NULL);
    uint64_t until = api_now_ns() + limit_s * SEC;
    for (;;) {
        uint64_t now = api_now_ns();
        struct pollfd pfd = {.fd = p[0], .events = POLLIN};
        if (now >= until || poll(&pfd, 1, (int)((until - now) / MS) + 1) == 0) {
            r.timed_out = 1;
            kill(-pid, SIGKILL);
            break;
        }
        if (size + 4096 > room) {
            room *= 2;
            r.out = realloc(r.out, room);
            CHECK(r.out != NULL);
        }
        ssize_t n = read(p[0], r.out + size, 4095);
        if (n <= 0) {
            break;
        }
        size += (size_t)n;
    }
    r.out[size] = '\0';
    close(p[0]);
    CHECK(waitpid(pid, &r.status, 0) == pid);
    return r;
}

/* This very program with other arguments. */
static inline struct api_result api_self(const char *arg, unsigned limit_s)
{
    const char *argv[] = {"/proc/self/exe", arg, NULL};
    return api_spawn(argv, limit_s);
}

/* ---- main ------------------------------------------------------------------------------------------------------- */

/* Waits until all descendants are gone, which come to this process when their parents end. Ends those
 * that are still there after 5 s, and returns how many they were. */
static inline int api_left_behind(void)
{
    int left = 0;
    uint64_t until = api_now_ns() + 5 * SEC;
    for (;;) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0) {
            return left;
        }
        if (pid == 0 && api_now_ns() > until) {
            char path[64], line[4096];
            snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            ssize_t n = fd >= 0 ? read(fd, line, sizeof line - 1) : -1;
            line[n > 0 ? n : 0] = '\0';
            close(fd);
            for (char *at = line, *end; (pid = (pid_t)strtol(at, &end, 10)) > 0;
                 at = end) {
                left++;
                kill(pid, SIGKILL);
            }
        }
        poll(NULL, 0, pid == 0 ? 5 : 0);
    }
}

static inline int api_run_one(const struct api_case *c)
{
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = '\0';
    uint64_t begin = api_now_ns();
    struct api_result r =
        api_spawn((const char *[]){exe, c->name, NULL}, c->limit_s ? c->limit_s : 20);
    double s = (double)(api_now_ns() - begin) / 1e9;
    int left = api_left_behind();
    int code = api_exit_code(&r);
    const char *what = r.timed_out        ? "HANGS"
                       : left             ? "LEAVES"
                       : code == 0        ? "ok"
                       : code == API_SKIP ? "skipped"
                                          : "FAILED";
    printf("%-7s %6.2f s  %s\n", what, s, c->name);
    if (left) {
        printf("        %d processes were left behind, and ended now\n", left);
    }
    if (code != 0) {
        printf("        status 0x%x\n%s\n", (unsigned)r.status, r.out);
    }
    fflush(stdout);
    free(r.out);
    return left ? 1 : code == API_SKIP ? API_SKIP : code != 0;
}

/* A folder of this run's own: for FIFOs, and so that no node of the machine is found. */
static inline char *api_scratch(void)
{
    static char dir[64];
    snprintf(dir, sizeof dir, "/tmp/mobula-api-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    setenv("API_SCRATCH", dir, 1);
    setenv("XDG_RUNTIME_DIR", dir, 1);
    unsetenv("MOBULA_ADDRESS");
    return dir;
}

static inline int api_remove_one(const char *path, const struct stat *st, int flag,
                                 struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

/* Cases by name, or all: without an argument, or with "--only PART". */
static inline int api_main(int argc, char **argv, const struct api_case *cases,
                           size_t count)
{
    int failed = 0, skipped = 0, ran = 0;
    if (argc == 2) {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(cases[i].name, argv[1]) == 0) {
                cases[i].run();
                return 0;
            }
        }
        fprintf(stderr, "no case '%s'\n", argv[1]);
        return 2;
    }
    const char *dir = api_scratch();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (size_t i = 0; i < count; i++) {
        if (cases[i].name[0] != '_' && (argc < 3 || strstr(cases[i].name, argv[2]))) {
            int code = api_run_one(&cases[i]);
            failed += code == 1;
            skipped += code == API_SKIP;
            ran++;
        }
    }
    nftw(dir, api_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    printf("%d cases, %d failed, %d skipped\n", ran, failed, skipped);
    return failed ? 1 : skipped == ran ? API_SKIP : 0;
}

#define API_MAIN(...)                                                                    \
    int main(int argc, char **argv)                                                      \
    {                                                                                    \
        static const struct api_case cases[] = {__VA_ARGS__};                            \
        return api_main(argc, argv, cases, sizeof cases / sizeof cases[0]);              \
    }                                                                                    \
    struct mob /* takes the semicolon */

#endif
