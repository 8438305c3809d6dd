/* Starting and stopping: init and its errors, what workers are started with, mains that do not reach
 * mob_init(), what workers print, shutdown in the middle of everything. */
#include <stdbool.h>

#include "api.h"

static mob_status nothing(struct mob_task *task)
{
    (void)task;
    return MOB_OK;
}
MOB_REGISTER(nothing);

/* ---- init ------------------------------------------------------------------------------------------------ */

static void bad_configs(void)
{
    struct mob *mob = NULL;
    struct mob_config c = {0};
    IS(mob_init(&c, &mob), MOB_ERR_INVALID);
    c.struct_size = sizeof c + 8;
    IS(mob_init(&c, &mob), MOB_ERR_INVALID);
    IS(mob_init(NULL, NULL), MOB_ERR_INVALID);
    c = (struct mob_config){.struct_size = sizeof c, .address = "127.0.0.1:1"};
    IS(mob_init(&c, &mob), MOB_ERR_NO_NODE);
    const char *malformed[] = {"host",      "host:",    "host:0",   "host:65536",
                               "host:http", "::1:6379", "[::1]6379"};
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        c.address = malformed[i];
        IS(mob_init(&c, &mob), MOB_ERR_INVALID);
        HAS(mob_last_error(), malformed[i]);
    }
    c.address = "/nowhere/at/all";
    IS(mob_init(&c, &mob), MOB_ERR_NO_NODE);
    c.address = NULL;
    setenv("MOBULA_ADDRESS", "127.0.0.1:1", 1);
    IS(mob_init(&c, &mob), MOB_ERR_NO_NODE);
    HAS(mob_last_error(), "127.0.0.1:1");
    unsetenv("MOBULA_ADDRESS");
    const char *spins[] = {"fast", "-1", "5us", "1000001"};
    for (size_t i = 0; i < sizeof spins / sizeof *spins; i++) {
        setenv("MOBULA_SPIN_US", spins[i], 1);
        IS(mob_init(NULL, &mob), MOB_ERR_INVALID);
    }
    unsetenv("MOBULA_SPIN_US");
    setenv("MOBULA_DAEMON", "/nowhere/mobulad", 1);
    IS(mob_init(&c, &mob), MOB_ERR_NO_NODE);
    HAS(mob_last_error(), "/nowhere/mobulad");
    setenv("MOBULA_DAEMON", "/bin/false", 1);
    IS(mob_init(&c, &mob), MOB_ERR_NO_NODE);
    HAS(mob_last_error(), "mobulad ended with status 1");
    setenv("MOBULA_DAEMON", "/bin", 1);
    IS(mob_init(&c, &mob), MOB_ERR_NO_NODE);
    unsetenv("MOBULA_DAEMON");
    c.num_cpus = 1000000;
    IS(mob_init(&c, &mob), MOB_ERR_INVALID);
    HAS(mob_last_error(), "num_cpus is 1000000");
    c.num_cpus = 1;
    c.store_bytes = 1; /* not even a board fits: the node says so and ends */
    mob_status small = mob_init(&c, &mob); /* which of the two depends on who is first */
    CHECK(small == MOB_ERR_NOMEM || small == MOB_ERR_NO_NODE);
    HAS(mob_last_error(),
        small == MOB_ERR_NOMEM ? "limit of 1 B" : "could not be started");
    CHECK(mob == NULL); /* untouched */
    c.store_bytes = 0;
    OK(mob_init(&c, &mob));
    mob_shutdown(mob);
    setenv("MOBULA_ADDRESS", "", 1); /* is none */
    c.address = "";
    c.struct_size = offsetof(struct mob_config, job_name); /* of an older program */
    c.job_name = (const char *)1;
    OK(mob_init(&c, &mob));
    mob_shutdown(mob);
}

/* ---- mains that do not reach mob_init() ----------------------------------------------------------------------- */

enum main_kind { MAIN_EXITS, MAIN_CRASHES, MAIN_BLOCKS, MAIN_NO_INIT };

static void job_with_main(enum main_kind kind)
{
    if (mob_is_worker()) {
        fprintf(stderr, "last words of main %d\n", kind);
        if (kind == MAIN_EXITS) {
            exit(7);
        } else if (kind == MAIN_CRASHES) {
            abort();
        } else if (kind == MAIN_BLOCKS) {
            poll(NULL, 0, 60000);
        }
        return;
    }
    struct mob *mob = api_init();
    mob_ref ref[8];
    size_t size;
    uint64_t begin = api_now_ns();
    for (int i = 0; i < 8; i++) {
        mob_status st = mob_submit(mob, nothing, MOB_NO_ARGS, NULL, &ref[i]);
        CHECK(st == MOB_OK || (i > 0 && st == MOB_ERR_JOB_FAILED));
        if (st) { /* the job failed already: no id came of it */
            ref[i] = ref[0];
        }
    }
    IS(mob_get_size(mob, ref[0], MOB_FOREVER, &size), MOB_ERR_JOB_FAILED);
    HAS(mob_last_error(), "last words of main");
    HAS(mob_last_error(), "mob_init()");
    double s = (double)(api_now_ns() - begin) / 1e9;
    CHECK(kind == MAIN_BLOCKS ? s > 9 && s < 15 : s < 5);
    IS(mob_get_size(mob, ref[7], MOB_FOREVER, &size), MOB_ERR_JOB_FAILED);
    unsigned char ready[8];
    IS(mob_wait(mob, ref, 8, 8, MOB_FOREVER, ready, NULL), MOB_ERR_JOB_FAILED);
    IS(mob_submit(mob, nothing, MOB_NO_ARGS, NULL, ref), MOB_ERR_JOB_FAILED);
    mob_shutdown(mob);
}

static void main_exits(void)
{
    job_with_main(MAIN_EXITS);
}
static void main_crashes(void)
{
    job_with_main(MAIN_CRASHES);
}
static void main_blocks(void)
{
    job_with_main(MAIN_BLOCKS);
}
static void main_has_no_init(void)
{
    job_with_main(MAIN_NO_INIT);
}

/* ---- what a worker is started with ----------------------------------------------------------------------------- */

static int saved_argc;
static char **saved_argv;
__attribute__((constructor)) static void save_args(int argc, char **argv)
{
    saved_argc = argc;
    saved_argv = argv;
}

static mob_status surroundings(struct mob_task *task)
{
    char text[8192] = "", cwd[4096], stdin_path[64];
    struct stat st;
    int n = snprintf(text, sizeof text, "cwd=%s;argc=%d;", getcwd(cwd, sizeof cwd),
                     saved_argc);
    for (int i = 0; i < saved_argc; i++) {
        n += snprintf(text + n, sizeof text - (size_t)n, "argv%d=%s;", i, saved_argv[i]);
    }
    static const char *const names[] = {"API_SPECIAL", "OMPI_COMM_WORLD_RANK",
                                        "SLURM_JOB_ID", "PMI_RANK", "MOBULA_WORKER_FD"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        n += snprintf(text + n, sizeof text - (size_t)n, "%s=%s;", names[i],
                      value ? value : "(none)");
    }
    ssize_t len = readlink("/proc/self/fd/0", stdin_path, sizeof stdin_path - 1);
    stdin_path[len > 0 ? len : 0] = '\0';
    n += snprintf(text + n, sizeof text - (size_t)n, "stdin=%s;", stdin_path);
    for (int fd = 3; fd < 200;
         fd++) { /* what is open is the library's, and closes on exec */
        int flags = fcntl(fd, F_GETFD);
        if (flags >= 0 && !(flags & FD_CLOEXEC) && fstat(fd, &st) == 0) {
            char link[64], to[256];
            snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
            len = readlink(link, to, sizeof to - 1);
            n += snprintf(text + n, sizeof text - (size_t)n, "leaks=%d %.*s;", fd,
                          (int)len, to);
        }
    }
    return mob_return_copy(task, 0, text, (size_t)n + 1);
}
MOB_REGISTER(surroundings);

static void argv_cwd_env(void)
{
    if (!mob_is_worker()) {
        close_range(3, ~0u, 0); /* what this program itself inherited */
        const char *scratch = getenv("API_SCRATCH");
        CHECK(scratch && chdir(scratch) == 0);
        setenv("API_SPECIAL", "a=b c;\xff", 1);
        setenv("OMPI_COMM_WORLD_RANK", "1", 1);
        setenv("SLURM_JOB_ID", "1", 1);
        setenv("PMI_RANK", "1", 1);
    }
    struct mob *mob = api_init();
    mob_ref ref;
    struct mob_view view;
    char expect[512];
    OK(mob_submit(mob, surroundings, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get(mob, ref, MOB_FOREVER, &view));
    fprintf(stderr, "%s\n", (const char *)view.data);
    snprintf(expect, sizeof expect, "cwd=%s;argc=2;", getenv("API_SCRATCH"));
    HAS(view.data, expect);
    HAS(view.data, "argv1=argv_cwd_env;");
    HAS(view.data, saved_argv[0]);
    HAS(view.data, "API_SPECIAL=a=b c;\xff;");
    HAS(view.data, "OMPI_COMM_WORLD_RANK=(none)");
    HAS(view.data, "SLURM_JOB_ID=(none)");
    HAS(view.data, "PMI_RANK=(none)");
    HAS(view.data, "MOBULA_WORKER_FD=(none)");
    HAS(view.data, "stdin=/dev/null");
    HAS_NOT(view.data, "leaks=");
    mob_view_release(mob, &view);
    mob_shutdown(mob);
}

/* A task may start a program that uses the library by itself. */
static void _inner(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    size_t size;
    OK(mob_submit(mob, nothing, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    mob_shutdown(mob);
}

static mob_status run_inner(struct mob_task *task)
{
    struct api_result r = api_self("_inner", 15);
    int code = api_exit_code(&r);
    return code == 0 ? MOB_OK : mob_fail(task, "code %d: %s", code, r.out);
}
MOB_REGISTER(run_inner);

static void a_task_runs_a_driver(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    size_t size;
    OK(mob_submit(mob, run_inner, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    mob_shutdown(mob);
}

/* ---- output ---------------------------------------------------------------------------------------------------------- */

static mob_status talk(struct mob_task *task)
{
    int n;
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    for (int i = 0; i < n; i++) {
        printf("out line %d of %d\n", i, (int)getpid());
        fprintf(stderr, "err line %d\n", i);
    }
    printf("unfinished");
    return MOB_OK;
}
MOB_REGISTER(talk);

static void _talker(void)
{
    struct mob *mob;
    struct mob_config c = {.struct_size = sizeof c,
                           .num_cpus = 1,
                           .no_log_forward = getenv("API_QUIET") != NULL};
    mob_ref ref;
    size_t size;
    int n = 500;
    OK(mob_init(&c, &mob));
    OK(mob_submit(mob, talk, MOB_ARGS(MOB_VALUE(n)), NULL, &ref));
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    mob_shutdown(mob);
    printf("after shutdown\n");
}

static void output_comes_marked_and_before_shutdown_returns(void)
{
    struct api_result r = api_self("_talker", 15);
    EQ(api_exit_code(&r), 0);
    char host[256], mark[300];
    int outs = 0, errs = 0, marked = 0, after = 0;
    CHECK(gethostname(host, sizeof host) == 0);
    snprintf(mark, sizeof mark, " %s) ", host);
    char *save;
    for (char *line = strtok_r(r.out, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        int i, pid;
        char *at = strstr(line, mark), *pid_at = strstr(line, "pid=");
        if (strcmp(line, "after shutdown") == 0) {
            after = 1;
            continue;
        }
        CHECK(!after); /* nothing of a finished task comes later */
        if (at && pid_at && strncmp(line, "(talk ", 6) == 0) {
            marked++;
        }
        if (at && pid_at &&
            sscanf(at + strlen(mark), "out line %d of %d", &i, &pid) == 2) {
            EQ(i, outs);
            EQ(pid, atoi(pid_at + 4));
            outs++;
        } else if (at && sscanf(at + strlen(mark), "err line %d", &i) == 1) {
            EQ(i, errs);
            errs++;
        } else {
            CHECK(at && strcmp(at + strlen(mark), "unfinished") == 0);
        }
    }
    EQ(outs, 500);
    EQ(errs, 500);
    EQ(marked, 1001); /* the task's name on each line, its end included */
    CHECK(after);
    free(r.out);
    setenv("API_QUIET", "1", 1);
    r = api_self("_talker", 15);
    EQ(api_exit_code(&r), 0);
    CHECK(strcmp(r.out, "after shutdown\n") == 0);
    free(r.out);
}

/* What a program with closed streams prints goes nowhere, and not into a file of the library. */
static void closed_streams(void)
{
    struct mob *mob;
    struct mob_config c = {.struct_size = sizeof c, .num_cpus = 1};
    mob_ref ref;
    size_t size;
    int n = 5, worker = mob_is_worker();
    for (int fd = 0; fd < 3 && !worker; fd++) {
        close(fd);
    }
    OK(mob_init(&c, &mob));
    for (int fd = 0; fd < 3; fd++) {
        CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
    }
    for (int i = 0; i < 5; i++) {
        printf("to nobody\n");
        fflush(stdout);
        OK(mob_submit(mob, talk, MOB_ARGS(MOB_VALUE(n)), NULL, &ref));
        OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    }
    mob_shutdown(mob);
}

/* ---- shutdown -------------------------------------------------------------------------------------------------------- */

static mob_status sleeper(struct mob_task *task)
{
    int ms;
    MOB_TRY(mob_arg_copy(task, 0, &ms, sizeof ms));
    poll(NULL, 0, ms);
    return MOB_OK;
}
MOB_REGISTER(sleeper);

/* With tasks running and queued, ids, views and unsealed objects held. */
static void shutdown_in_the_middle(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    void *p;
    struct mob_view view;
    size_t size;
    int ms = 30000;
    OK(mob_submit(mob, nothing, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get(mob, ref, MOB_FOREVER, &view));
    OK(mob_create(mob, 1000000, MOB_FOREVER, &ref, &p));
    OK(mob_submit(mob, nothing, MOB_ARGS(MOB_REF(ref)), NULL, &ref));
    for (int i = 0; i < 1000; i++) {
        OK(mob_submit(mob, sleeper, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref));
    }
    IS(mob_get_size(mob, ref, 50 * MS, &size), MOB_ERR_TIMEOUT);
    uint64_t begin = api_now_ns();
    mob_shutdown(mob);
    CHECK(api_now_ns() - begin < 8 * SEC);
}

/* Ends without mob_shutdown(): the node ends by itself. The frame looks for what is left. */
static void no_shutdown(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    size_t size;
    int ms = 30000;
    OK(mob_submit(mob, nothing, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    OK(mob_submit(mob, sleeper, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref));
    IS(mob_get_size(mob, ref, 50 * MS, &size), MOB_ERR_TIMEOUT);
}

/* The daemon is killed: every wait and call ends with MOB_ERR_NODE_LOST. */
static void node_lost(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    struct mob_view view;
    size_t size;
    unsigned char ready;
    int ms = 60000;
    char line[64] = "", path[64];
    OK(mob_submit(mob, sleeper, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref));
    IS(mob_get_size(mob, ref, 50 * MS, &size), MOB_ERR_TIMEOUT);
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, line, sizeof line - 1) > 0);
    close(fd);
    pid_t daemon = atoi(line), killer = fork();
    if (killer == 0) {
        poll(NULL, 0, 100);
        kill(daemon, SIGKILL);
        _exit(0);
    }
    IS(mob_get(mob, ref, MOB_FOREVER, &view), MOB_ERR_NODE_LOST);
    CHECK(waitpid(killer, NULL, 0) == killer);
    IS(mob_get_size(mob, ref, 10 * SEC, &size), MOB_ERR_NODE_LOST);
    IS(mob_wait(mob, &ref, 1, 1, MOB_FOREVER, &ready, NULL), MOB_ERR_NODE_LOST);
    IS(mob_submit(mob, nothing, MOB_NO_ARGS, NULL, &ref), MOB_ERR_NODE_LOST);
    IS(mob_put(mob, "x", 1, MOB_FOREVER, &ref), MOB_ERR_NODE_LOST);
    struct mob_info info = {.struct_size = sizeof info};
    IS(mob_get_info(mob, &info), MOB_ERR_NODE_LOST);
    mob_shutdown(mob);
}

API_MAIN({"bad_configs", bad_configs, 0}, {"main_exits", main_exits, 0},
         {"main_crashes", main_crashes, 0}, {"main_blocks", main_blocks, 30},
         {"main_has_no_init", main_has_no_init, 0}, {"argv_cwd_env", argv_cwd_env, 0},
         {"_inner", _inner, 0}, {"a_task_runs_a_driver", a_task_runs_a_driver, 0},
         {"_talker", _talker, 0},
         {"output_comes_marked_and_before_shutdown_returns",
          output_comes_marked_and_before_shutdown_returns, 40},
         {"closed_streams", closed_streams, 0},
         {"shutdown_in_the_middle", shutdown_in_the_middle, 0},
         {"no_shutdown", no_shutdown, 0}, {"node_lost", node_lost, 0});
