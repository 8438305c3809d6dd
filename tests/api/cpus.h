/* cpus.h - for programs that test on which CPUs tasks are: tasks that tell where they may run, at gates, and a
 * sysfs of the program's own, as other nodes of the machine may have claimed CPUs there. */
#ifndef TESTS_API_CPUS_H
#define TESTS_API_CPUS_H

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>

#include "api.h"

static int omp_told; /* by omp_set_num_threads() */

/* As an OpenMP library has it; the node tells a worker that comes to serve tasks of another size. */
__attribute__((visibility("default"))) void omp_set_num_threads(int count);
void omp_set_num_threads(int count)
{
    omp_told = count;
}

struct seen {
    pid_t pid;
    int omp, openblas; /* in the environment; -1: not set */
    int told;          /* omp_told */
    double cpus;       /* mob_task_cpus() */
    cpu_set_t here, thread;
};

static int number(const char *name)
{
    const char *text = getenv(name);
    return text ? atoi(text) : -1;
}

static cpu_set_t affinity(pid_t thread)
{
    cpu_set_t set;
    CHECK(sched_getaffinity(thread, sizeof set, &set) == 0);
    return set;
}

static void *thread_main(void *ret)
{
    *(cpu_set_t *)ret = affinity(0);
    return NULL;
}

static struct seen see(struct mob_task *task)
{
    struct seen s = {.pid = getpid(),
                     .omp = number("OMP_NUM_THREADS"),
                     .openblas = number("OPENBLAS_NUM_THREADS"),
                     .told = omp_told,
                     .cpus = mob_task_cpus(task),
                     .here = affinity(0)};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, thread_main, &s.thread) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    return s;
}

/* Two gates: where tasks say that they have begun, and where they wait. */
struct held {
    struct api_gate begun, on;
};

static void held_make(struct held *h)
{
    api_gate_make(&h->begun);
    api_gate_make(&h->on);
}

/* Until @count more tasks have begun. */
static void held_begun(struct held *h, unsigned count)
{
    char c;
    for (unsigned i = 0; i < count; i++) {
        CHECK(read(h->begun.fd, &c, 1) == 1);
    }
}

static void say_begun(const struct held *h)
{
    int fd = open(h->begun.path, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "b", 1) == 1);
    close(fd);
}

/* Tells what it sees when it may go on. */
static mob_status look(struct mob_task *task)
{
    struct held h;
    struct seen s = see(task);
    MOB_TRY(mob_arg_copy(task, 0, &h, sizeof h));
    say_begun(&h);
    api_gate_wait(h.on.path);
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(look);

static mob_ref submit_look(struct mob *mob, const struct held *h, double cpus)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    o.num_cpus = cpus;
    OK(mob_submit(mob, look, MOB_ARGS(MOB_VALUE(*h)), &o, &ref));
    return ref;
}

/* Runs @count tasks at once and gives what they saw. */
static void run(struct mob *mob, unsigned count, double cpus, struct seen *ret)
{
    struct held h;
    mob_ref ref[64];
    CHECK(count <= 64);
    held_make(&h);
    for (unsigned i = 0; i < count; i++) {
        ref[i] = submit_look(mob, &h, cpus);
    }
    held_begun(&h, count);
    api_gate_open(&h.on, count);
    for (unsigned i = 0; i < count; i++) {
        OK(mob_get_copy(mob, ref[i], &ret[i], sizeof ret[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
    }
}

/* Kills its worker the first time: the file named by argument 0 is not there then. */
static mob_status die_once(struct mob_task *task)
{
    const void *path;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &path, &size));
    if (mkfifo(path, 0600) == 0) {
        raise(SIGKILL);
    }
    struct seen s = see(task);
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(die_once);

static inline mob_ref submit_die_once(struct mob *mob)
{
    static int times;
    char path[128];
    mob_ref ref;
    snprintf(path, sizeof path, "%s/died%d-%d", getenv("API_SCRATCH"), (int)getpid(),
             times++);
    OK(mob_submit(mob, die_once, MOB_ARGS(MOB_BYTES(path, strlen(path) + 1)), NULL,
                  &ref));
    return ref;
}

static int same(const cpu_set_t *a, const cpu_set_t *b)
{
    return CPU_EQUAL(a, b);
}

static void skip(const char *why)
{
    printf("skipped: %s\n", why);
    exit(API_SKIP);
}

/* No claims of others. Skips the case where that cannot be. */
static void own_sysfs(void)
{
    if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0) {
        skip("only root can have a sysfs of its own");
    }
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("sysfs", "/sys", "sysfs", MS_RDONLY, NULL) == 0);
}

#endif
