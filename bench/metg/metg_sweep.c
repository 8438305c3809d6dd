/* The measuring: for each row, rounds of all runners in turn, each a process that runs grains downwards.
 *
 * The peak is the kernel's alone: a thread on each CPU, pinned, nothing shared. It is measured before
 * every round, and the best of all is the one peak for all systems. */
#include "metg_bench.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COARSEST_NS 400000.0 /* work in a task of the first grain */
#define STOP_BELOW 0.25      /* no smaller grain after one of this efficiency */
#define PEAK_NS 4000000.0    /* about what a look at the peak takes */
#define PEAK_FIRST_ROUNDS 100000u
enum { STEPS_MIN = 20, RUNNER_LIMIT_S = 120, LINES_BYTES = 65536, WORDS_MAX = 64 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the peak ----------------------------------------------------------------------------------- */

struct peak {
    pthread_t thread;
    uint32_t nth;
    uint64_t rounds, ns;
};

static void *peak_thread(void *arg)
{
    struct peak *p = arg;
    cpu_set_t all, one;
    uint32_t left = p->nth;
    (void)sched_getaffinity(0, sizeof all, &all);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET((size_t)cpu, &all) && left-- == 0) {
            CPU_ZERO(&one);
            CPU_SET((size_t)cpu, &one);
            (void)sched_setaffinity(0, sizeof one, &one);
            break;
        }
    }
    uint64_t start = now_ns();
    p->ns = kernel(p->rounds) > 0 ? now_ns() - start : 0;
    return NULL;
}

/* Nanoseconds of a round, on average over the CPUs. */
static double look_at_peak(uint32_t cpus, uint64_t rounds)
{
    struct peak *p = calloc(cpus, sizeof *p);
    double sum = 0;
    for (uint32_t k = 0; p && k < cpus; k++) {
        p[k].nth = k;
        p[k].rounds = rounds;
        if (pthread_create(&p[k].thread, NULL, peak_thread, &p[k]) != 0) {
            fprintf(stderr, "metg_bench: no thread\n");
            exit(1);
        }
    }
    for (uint32_t k = 0; p && k < cpus; k++) {
        pthread_join(p[k].thread, NULL);
        sum += (double)p[k].ns / (double)rounds;
    }
    free(p);
    return sum / cpus;
}

static void better_peak(const struct options *o, struct results *results)
{
    double ns = results->round_ns;
    if (ns == 0) {
        ns = look_at_peak(o->cpus, PEAK_FIRST_ROUNDS);
        results->round_ns = ns;
    }
    ns = look_at_peak(o->cpus, (uint64_t)(PEAK_NS / ns) + 1);
    results->round_ns = ns < results->round_ns ? ns : results->round_ns;
}

/* ---- a runner ----------------------------------------------------------------------------------- */

static char runner_dir[PATH_MAX];
static char
    starpu_home[PATH_MAX]; /* it measures the machine once, and keeps that there */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void remove_home(void)
{
    (void)nftw(starpu_home, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_home(void)
{
    const char *tmp = getenv("TMPDIR");
    int n =
        snprintf(starpu_home, sizeof starpu_home, "%s/metg-XXXXXX", tmp ? tmp : "/tmp");
    if (n >= (int)sizeof starpu_home || !mkdtemp(starpu_home)) {
        fprintf(stderr, "metg_bench: %s: %s\n", starpu_home, strerror(errno));
        exit(1);
    }
    atexit(remove_home);
}

static void runner_path(enum system system, char *path, size_t size)
{
    if (snprintf(path, size, "%s/metg_%s", runner_dir, system_names[system]) >=
        (int)size) {
        path[0] = '\0';
    }
}

void sweep_find(const struct options *o, struct results *results)
{
    static const char *const why[SYSTEMS] = {
        [SYSTEM_MOBULA] = "the library is not built",
        [SYSTEM_BLOCKS] = "the library is not built",
        [SYSTEM_THREADS] = "metg_threads is not there",
        [SYSTEM_MPI] = "built without Open MPI (libopenmpi-dev, openmpi-bin)",
        [SYSTEM_OPENMP] = "built without OpenMP",
        [SYSTEM_STARPU] = "built without StarPU (libstarpu-dev)"};
    static char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    snprintf(runner_dir, sizeof runner_dir, "%s", n > 0 ? dirname(self) : ".");
    for (enum system s = 0; s < SYSTEMS; s++) {
        char path[PATH_MAX + 32];
        runner_path(s, path, sizeof path);
        results->left_out[s] = !(o->systems & 1u << s)   ? "not asked for"
                               : access(path, X_OK) != 0 ? why[s]
                                                         : NULL;
    }
}

/* The command of a runner, for execvp(); its words live until the next call. */
static char **runner_command(enum system system, const struct options *o,
                             const struct row *row, const struct results *results,
                             const uint64_t *grains, const uint32_t *steps)
{
    static char *words[WORDS_MAX], text[WORDS_MAX][64], path[PATH_MAX + 32];
    int n = 0, t = 0;
    runner_path(system, path, sizeof path);
#ifdef METG_MPIEXEC
    if (system == SYSTEM_MPI) {
        static char mpiexec[] = METG_MPIEXEC, oversubscribe[] = "--oversubscribe",
                    root[] = "--allow-run-as-root", bind[] = "--bind-to",
                    to[] = "hwthread", hardware[] = "--use-hwthread-cpus", np[] = "-np";
        words[n++] = mpiexec;
        if (geteuid() == 0) {
            words[n++] = root;
        }
        words[n++] = oversubscribe;
        words[n++] = hardware;
        words[n++] = bind;
        words[n++] = to;
        words[n++] = np;
        snprintf(text[t], sizeof text[t], "%u", o->cpus);
        words[n++] = text[t++];
    }
#endif
    words[n++] = path;
    snprintf(text[t], sizeof text[t], "%s", pattern_names[row->pattern]);
    words[n++] = text[t++];
    snprintf(text[t], sizeof text[t], "%u", row->width);
    words[n++] = text[t++];
    snprintf(text[t], sizeof text[t], "%u", row->graphs);
    words[n++] = text[t++];
    snprintf(text[t], sizeof text[t], "%g", row->imbalance);
    words[n++] = text[t++];
    snprintf(text[t], sizeof text[t], "%u", o->cpus);
    words[n++] = text[t++];
    snprintf(text[t], sizeof text[t], "%g", results->round_ns / STOP_BELOW);
    words[n++] = text[t++];
    for (int k = 0; k < POINTS_MAX && grains[k] != 0; k++) {
        snprintf(text[t], sizeof text[t], "%" PRIu64 ":%u", grains[k], steps[k]);
        words[n++] = text[t++];
    }
    words[n] = NULL;
    return words;
}

static void runner_child(char **command, int out) __attribute__((noreturn));
static void runner_child(char **command, int out)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* no runner goes on without metg_bench */
    dup2(out, STDOUT_FILENO);
    /* gomp: threads stay where they are and spin, as those of the others do. */
    setenv("OMP_PROC_BIND", "true", 1);
    setenv("OMP_PLACES", "threads", 1);
    setenv("OMP_WAIT_POLICY", "active", 1);
    setenv("STARPU_HOME", starpu_home, 1);
    setenv("STARPU_SILENT", "1", 1);
    setenv("STARPU_CATCH_SIGNALS", "0", 1);
    execvp(command[0], command);
    fprintf(stderr, "metg_bench: %s: %s\n", command[0], strerror(errno));
    _exit(127);
}

/* Reads all that a child prints, until its end or the time limit, at which it is killed. */
static void runner_read(pid_t pid, int in, char *lines, size_t size)
{
    uint64_t end_ns = now_ns() + RUNNER_LIMIT_S * 1000000000ull;
    size_t fill = 0;
    for (;;) {
        uint64_t now = now_ns();
        struct pollfd p = {.fd = in, .events = POLLIN};
        int ready = now < end_ns ? poll(&p, 1, (int)((end_ns - now) / 1000000u) + 1) : 0;
        if (ready < 0 && errno == EINTR) {
            continue;
        }
        ssize_t n =
            ready > 0 && fill < size - 1 ? read(in, lines + fill, size - 1 - fill) : -1;
        if (n == 0) {
            break;
        }
        if (n < 0) {
            fprintf(stderr, "metg_bench: a runner did not end in %d s\n", RUNNER_LIMIT_S);
            kill(-pid, SIGKILL);
            exit(1);
        }
        fill += (size_t)n;
    }
    lines[fill] = '\0';
}

/* The first @count words of a line. False: they are not all numbers. */
static bool numbers_of(const char *line, uint64_t *ret, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char *end;
        ret[i] = strtoull(line, &end, 10);
        if (end == line) {
            return false;
        }
        line = end;
    }
    return true;
}

static void keep_best(struct sweep *sweep, const char *lines)
{
    for (const char *line = lines; line && *line;
         line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        uint64_t numbers[5];
        if (!numbers_of(line, numbers, 5)) {
            continue; /* what a system says on its own account */
        }
        uint64_t grain = numbers[0], tasks = numbers[2], rounds = numbers[3],
                 ns = numbers[4];
        struct point *p = sweep->points;
        while (p < sweep->points + POINTS_MAX - 1 && p->grain != 0 && p->grain != grain) {
            p++;
        }
        if (p->grain == 0 || ns < p->ns) {
            *p = (struct point){grain, tasks, rounds, ns};
        }
    }
}

static void runner_round(enum system system, const struct options *o, struct row *row,
                         const struct results *results, const uint64_t *grains,
                         const uint32_t *steps)
{
    static char lines[LINES_BYTES];
    char **command = runner_command(system, o, row, results, grains, steps);
    int fds[2], status = 0;
    fflush(NULL);
    if (pipe(fds) != 0) {
        perror("metg_bench: pipe");
        exit(1);
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        runner_child(command, fds[1]);
    }
    close(fds[1]);
    if (pid > 0) {
        runner_read(pid, fds[0], lines, sizeof lines);
    }
    close(fds[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        fprintf(stderr, "metg_bench: the runner of %s failed (status 0x%x)\n%s",
                system_names[system], (unsigned)status, lines);
        exit(1);
    }
    keep_best(&row->sweeps[system], lines);
}

/* ---- all ---------------------------------------------------------------------------------------- */

/* The grains of a row, coarse to fine, and how many steps each has. They are the same in all rounds. */
static void plan_grains(const struct options *o, const struct row *row, double round_ns,
                        uint64_t *grains, uint32_t *steps)
{
    uint64_t grain = 1;
    int count = 0;
    while ((double)grain * 2 * round_ns < COARSEST_NS) {
        grain *= 2;
    }
    for (; grain > 0 && count < POINTS_MAX; grain /= 2, count++) {
        double step_ns = (double)grain * round_ns * row->width * row->graphs / o->cpus;
        double fit = (double)o->run_ns / step_ns;
        grains[count] = grain;
        steps[count] = fit > o->steps    ? o->steps
                       : fit < STEPS_MIN ? STEPS_MIN < o->steps ? STEPS_MIN : o->steps
                                         : (uint32_t)fit;
    }
    if (count < POINTS_MAX) {
        grains[count] = 0;
    }
}

void sweep_metg(struct sweep *sweep, double round_ns, uint32_t cpus)
{
    double before_gran = 0, before_eff = 0;
    sweep->metg_ns = sweep->bound_ns = sweep->task_ns = 0;
    for (int k = 0; k < POINTS_MAX && sweep->points[k].grain != 0; k++) {
        const struct point *p = &sweep->points[k];
        double gran = (double)p->ns * cpus / (double)p->tasks;
        double eff = (double)p->rounds * round_ns / ((double)p->ns * cpus);
        if (eff < EFFICIENCY && before_eff >= EFFICIENCY) {
            /* A line between the two grains: granularity over efficiency. */
            double part = (before_eff - EFFICIENCY) / (before_eff - eff);
            sweep->metg_ns = before_gran + part * (gran - before_gran);
        }
        sweep->bound_ns = eff >= EFFICIENCY ? gran : 0;
        sweep->task_ns = gran;
        before_gran = gran;
        before_eff = eff;
    }
    if (sweep->bound_ns != 0) {
        sweep->metg_ns = 0; /* the finest of all is efficient */
    }
}

static void sweep_row(const struct options *o, struct results *results, struct row *row)
{
    uint64_t grains[POINTS_MAX];
    uint32_t steps[POINTS_MAX];
    plan_grains(o, row, results->round_ns, grains, steps);
    for (uint32_t round = 0; round < o->rounds; round++) {
        better_peak(o, results);
        for (enum system s = 0; s < SYSTEMS; s++) {
            if (!results->left_out[s]) {
                runner_round(s, o, row, results, grains, steps);
            }
        }
    }
}

void sweep_all(const struct options *o, struct results *results)
{
    sweep_find(o, results);
    if (!results->left_out[SYSTEM_STARPU]) {
        make_home();
    }
    better_peak(o, results);
    for (uint32_t r = 0; r < results->row_count; r++) {
        if (isatty(STDERR_FILENO)) {
            fprintf(stderr, "\rrow %u of %u ", r + 1, results->row_count);
        }
        sweep_row(o, results, &results->rows[r]);
    }
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r                \r");
    }
    for (uint32_t r = 0; r < results->row_count; r++) {
        for (enum system s = 0; s < SYSTEMS; s++) {
            sweep_metg(&results->rows[r].sweeps[s], results->round_ns, o->cpus);
        }
    }
}
