/* What docs/DEBUGGING.md promises: tasks inside submit, workers under another program, a stop for gdb. */
#include "api.h"

static mob_status who(struct mob_task *task)
{
    int pid = (int)getpid();
    return mob_return_copy(task, 0, &pid, sizeof pid);
}
MOB_REGISTER(who);

static mob_status sum(struct mob_task *task)
{
    long total = 0, x;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg_copy(task, i, &x, sizeof x));
        total += x;
    }
    return mob_return_copy(task, 0, &total, sizeof total);
}
MOB_REGISTER(sum);

static mob_status depth(struct mob_task *task)
{
    long n, below = 0;
    MOB_TRY(mob_arg_copy(task, 0, &n, sizeof n));
    if (n > 0) {
        mob_ref ref;
        long next = n - 1;
        MOB_TRY(
            mob_submit(mob_task_mob(task), depth, MOB_ARGS(MOB_VALUE(next)), NULL, &ref));
        MOB_TRY(mob_get_copy(mob_task_mob(task), ref, &below, sizeof below, MOB_FOREVER));
    }
    below++;
    return mob_return_copy(task, 0, &below, sizeof below);
}
MOB_REGISTER(depth);

/* Reads one byte behind its memory: what valgrind is for. */
static mob_status overread(struct mob_task *task)
{
    static volatile size_t size = 10; /* so that no compiler finds it */
    char *p = malloc(size);
    memset(p, 1, size);
    int odd = p[size] == 77;
    free(p);
    return mob_return_copy(task, 0, &odd, sizeof odd);
}
MOB_REGISTER(overread);

/* ---- programs that the cases below start ------------------------------------------------------------------- */

/* Everything once; says how many processes were used. */
static void _program(void)
{
    struct mob *mob = api_init();
    mob_ref ref, more;
    int pid;
    long x = 4, y, deep = 100;
    OK(mob_submit(mob, who, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_copy(mob, ref, &pid, sizeof pid, MOB_FOREVER));
    printf("%s process\n", pid == (int)getpid() ? "this" : "another");
    OK(mob_submit(mob, sum, MOB_ARGS(MOB_VALUE(x), MOB_VALUE(x)), NULL, &ref));
    OK(mob_submit(mob, sum, MOB_ARGS(MOB_REF(ref), MOB_REF(ref)), NULL, &more));
    OK(mob_get_copy(mob, more, &y, sizeof y, MOB_FOREVER));
    EQ(y, 16);
    OK(mob_submit(mob, depth, MOB_ARGS(MOB_VALUE(deep)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &y, sizeof y, MOB_FOREVER));
    EQ(y, 101);
    void *to;
    OK(mob_create(mob, sizeof x, MOB_FOREVER, &ref, &to));
    OK(mob_submit(mob, sum, MOB_ARGS(MOB_REF(ref)), NULL, &more));
    memcpy(to, &x, sizeof x);
    OK(mob_seal(mob, ref));
    OK(mob_get_copy(mob, more, &y, sizeof y, MOB_FOREVER));
    EQ(y, 4);
    mob_shutdown(mob);
    printf("done\n");
}

static void _one_sum(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    long x = 4, y;
    OK(mob_submit(mob, sum, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &y, sizeof y, MOB_FOREVER));
    EQ(y, 4);
    mob_shutdown(mob);
}

static void _overreads(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    int odd;
    OK(mob_submit(mob, overread, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_copy(mob, ref, &odd, sizeof odd, MOB_FOREVER));
    mob_shutdown(mob);
}

/* ---- cases --------------------------------------------------------------------------------------------------- */

static int have(const char *program)
{
    char command[64];
    snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    return system(command) == 0; /* style-allow: the shell knows where programs are */
}

static void need(const char *program)
{
    if (!have(program)) {
        fprintf(stderr, "skipped: %s is not installed\n", program);
        exit(API_SKIP);
    }
#ifdef __SANITIZE_ADDRESS__
    fprintf(stderr, "skipped: AddressSanitizer and %s exclude each other\n", program);
    exit(API_SKIP);
#endif
}

static const char *self(void)
{
    static char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = '\0';
    return exe;
}

static void runs(const char *const *argv, unsigned limit_s, int code,
                 const char *const *has)
{
    struct api_result r = api_spawn(argv, limit_s);
    if (api_exit_code(&r) != code) {
        fprintf(stderr, "%s\n", r.out);
        EQ(api_exit_code(&r), code);
    }
    for (; *has; has++) {
        HAS(r.out, *has);
    }
    free(r.out);
}

static void inline_runs_tasks_in_submit(void)
{
    setenv("MOBULA_INLINE", "1", 1);
    runs((const char *[]){self(), "_program", NULL}, 15, 0,
         (const char *[]){"this process", "done", NULL});
    setenv("MOBULA_INLINE", "0", 1);
    runs((const char *[]){self(), "_program", NULL}, 15, 0,
         (const char *[]){"another process", "done", NULL});
}

static void inline_under_valgrind(void)
{
    need("valgrind");
    setenv("MOBULA_INLINE", "1", 1);
    runs((const char *[]){"valgrind", "-q", "--vgdb=no", "--error-exitcode=9", self(),
                          "_program", NULL},
         60, 0, (const char *[]){"this process", "done", NULL});
    runs((const char *[]){"valgrind", "-q", "--vgdb=no", "--error-exitcode=9", self(),
                          "_overreads", NULL},
         60, 9, (const char *[]){"Invalid read of size 1", "overread", NULL});
}

static void inline_under_gdb(void)
{
    need("gdb");
    setenv("MOBULA_INLINE", "1", 1);
    runs((const char *[]){"gdb", "-batch", "-nx", "-ex", "break sum", "-ex", "run", "-ex",
                          "backtrace", "--args", self(), "_program", NULL},
         60, 0, (const char *[]){"sum (task=", "mob_submit", "_program", NULL});
}

static void wrap_runs_workers_under_valgrind(void)
{
    need("valgrind");
    setenv("MOBULA_WORKER_WRAP", "valgrind -q --vgdb=no", 1);
    runs((const char *[]){self(), "_program", NULL}, 90, 0,
         (const char *[]){"another process", "done", NULL});
    runs((const char *[]){self(), "_overreads", NULL}, 60, 0,
         (const char *[]){"Invalid read of size 1", "overread", NULL});
}

/* A wrapper that takes longer than a worker may take to start by itself. */
static void wrap_may_take_its_time(void)
{
    if (!mob_is_worker()) {
        char path[128];
        snprintf(path, sizeof path, "%s/slow", getenv("API_SCRATCH"));
        FILE *f = fopen(path, "w");
        CHECK(f != NULL);
        fprintf(f, "#!/bin/sh\nsleep 11\nexec \"$@\"\n");
        fclose(f);
        CHECK(chmod(path, 0700) == 0);
        setenv("MOBULA_WORKER_WRAP", path, 1);
    }
    struct mob *mob = api_init_with(1, 0);
    mob_ref ref;
    int pid;
    OK(mob_submit(mob, who, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_copy(mob, ref, &pid, sizeof pid, MOB_FOREVER));
    mob_shutdown(mob);
}

static void wrap_that_is_not_there(void)
{
    if (!mob_is_worker()) {
        setenv("MOBULA_WORKER_WRAP", "/nowhere/wrap -x", 1);
    }
    struct mob *mob = api_init_with(1, 0);
    mob_ref ref;
    int pid;
    OK(mob_submit(mob, who, MOB_NO_ARGS, NULL, &ref));
    IS(mob_get_copy(mob, ref, &pid, sizeof pid, MOB_FOREVER), MOB_ERR_JOB_FAILED);
    HAS(mob_last_error(), "/nowhere/wrap");
    mob_shutdown(mob);
}

/* The command that the worker prints, run as it stands: it stops in the task. */
static void wait_gdb(void)
{
    need("gdb");
    char path[128], line[512], command[600], *at;
    snprintf(path, sizeof path, "%s/terminal", getenv("API_SCRATCH"));
    pid_t pid = fork();
    if (pid == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        setenv("MOBULA_WAIT_GDB", "sum", 1);
        execl(self(), self(), "_one_sum", (char *)NULL);
        _exit(127);
    }
    CHECK(pid > 0);
    FILE *f = NULL;
    at = NULL;
    EVENTUALLY((f = fopen(path, "r")) != NULL);
    EVENTUALLY((clearerr(f), fgets(line, sizeof line, f)) != NULL &&
               (at = strstr(line, "gdb -p")) != NULL);
    fclose(f);
    poll(NULL, 0, 200);
    EQ(waitpid(pid, NULL, WNOHANG), 0); /* it waits */
    at[strcspn(at, "\n")] = '\0';
    snprintf(command, sizeof command, "%s -batch -nx -ex backtrace -ex delete -ex detach",
             at);
    runs((const char *[]){"sh", "-c", command, NULL}, 30, 0,
         (const char *[]){"sum (task=", "mob", NULL});
    int status;
    CHECK(waitpid(pid, &status, 0) == pid); /* detached, it goes on to its end */
    EQ(status, 0);
}

API_MAIN({"_program", _program, 0}, {"_overreads", _overreads, 0},
         {"_one_sum", _one_sum, 0},
         {"inline_runs_tasks_in_submit", inline_runs_tasks_in_submit, 40},
         {"inline_under_valgrind", inline_under_valgrind, 120},
         {"inline_under_gdb", inline_under_gdb, 90},
         {"wrap_runs_workers_under_valgrind", wrap_runs_workers_under_valgrind, 150},
         {"wrap_may_take_its_time", wrap_may_take_its_time, 40},
         {"wrap_that_is_not_there", wrap_that_is_not_there, 40},
         {"wait_gdb", wait_gdb, 30});
