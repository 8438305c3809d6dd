/* The CPUs of tasks. Each case has a node that may run on two CPUs, whatever the machine has, and a sysfs of its own
 * (cpus.h). What shows only where there are more CPUs is in test_api_cpus.c. */
#include <sys/file.h>
#include <sys/syscall.h>

#include "cpus.h"

enum { NODE_CPUS = 2 };

static cpu_set_t allowed; /* the two */

/* ---- a node -------------------------------------------------------------------------------------- */

/* A sysfs that no other node has, and two CPUs. */
static void be_alone(void)
{
    cpu_set_t all = affinity(0);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&allowed) < NODE_CPUS; i++) {
        if (CPU_ISSET(i, &all)) {
            CPU_SET(i, &allowed);
        }
    }
    if (mob_is_worker()) {
        return;
    }
    if (CPU_COUNT(&allowed) < NODE_CPUS) {
        skip("two CPUs are needed");
    }
    own_sysfs();
    CHECK(sched_setaffinity(0, sizeof allowed, &allowed) == 0);
}

static struct mob *node_of(struct mob_config c)
{
    struct mob *mob;
    c.struct_size = sizeof c;
    c.pin = c.pin ? c.pin : MOB_PIN; /* two CPUs are few */
    c.store_bytes = 64u << 20;
    OK(mob_init(&c, &mob));
    return mob;
}

static struct mob *node(void)
{
    be_alone();
    return node_of((struct mob_config){.num_cpus = NODE_CPUS});
}

/* @s has @count of the two CPUs, and so has the thread that it made. */
static void has_cpus(const struct seen *s, int count)
{
    cpu_set_t both;
    CPU_AND(&both, &s->here, &allowed);
    EQ(CPU_COUNT(&s->here), count);
    EQ(CPU_COUNT(&both), count);
    CHECK(same(&s->here, &s->thread));
}

/* ---- cases --------------------------------------------------------------------------------------- */

static void one_each(void)
{
    struct mob *mob = node();
    struct seen s[2];
    run(mob, 2, 1, s);
    has_cpus(&s[0], 1);
    has_cpus(&s[1], 1);
    CHECK(!same(&s[0].here, &s[1].here));
    for (int i = 0; i < 2; i++) {
        EQ(s[i].omp, 1);
        EQ(s[i].openblas, 1);
        EQ(s[i].cpus * 10, 10);
    }
    mob_shutdown(mob);
}

static void both(void)
{
    struct mob *mob = node();
    struct seen s;
    run(mob, 1, 2, &s);
    has_cpus(&s, 2);
    EQ(s.omp, 2);
    EQ(s.cpus, 2);
    mob_shutdown(mob);
}

static void parts(void)
{
    struct mob *mob = node();
    struct seen s[4];
    run(mob, 4, 0.5, s);
    for (int i = 0; i < 4; i++) {
        int beside = 0;
        has_cpus(&s[i], 1);
        EQ(s[i].omp, 1);
        EQ(s[i].cpus * 10, 5);
        for (int k = 0; k < 4; k++) {
            beside += same(&s[i].here, &s[k].here);
        }
        EQ(beside, 2);
    }
    mob_shutdown(mob);
}

static void none(void)
{
    struct mob *mob = node();
    struct seen s;
    run(mob, 1, MOB_NO_CPU, &s);
    has_cpus(&s, 2);
    EQ(s.omp, 1);
    EQ(s.cpus, 0);
    mob_shutdown(mob);
}

static void no_pin(void)
{
    struct seen s[2];
    be_alone();
    struct mob *mob = node_of((struct mob_config){.num_cpus = 2, .pin = MOB_NO_PIN});
    run(mob, 2, 1, s);
    has_cpus(&s[0], 2);
    has_cpus(&s[1], 2);
    EQ(s[0].omp, 1); /* there are still as many threads as CPUs */
    mob_shutdown(mob);
}

/* Not told to, a node of two CPUs does not. */
static void few(void)
{
    struct seen s[2];
    struct mob_config c = {
        .struct_size = sizeof c, .num_cpus = 2, .store_bytes = 64u << 20};
    struct mob *mob;
    be_alone();
    OK(mob_init(&c, &mob));
    run(mob, 2, 1, s);
    has_cpus(&s[0], 2);
    has_cpus(&s[1], 2);
    mob_shutdown(mob);
    c.pin = 2;
    IS(mob_init(&c, &mob), MOB_ERR_INVALID);
    c.pin = 0;
    c.weight = MOB_WEIGHT_MAX + 1;
    IS(mob_init(&c, &mob), MOB_ERR_INVALID);
}

/* More CPUs than it may run on. */
static void too_many(void)
{
    struct seen s[4];
    be_alone();
    struct mob *mob = node_of((struct mob_config){.num_cpus = 4});
    run(mob, 4, 1, s);
    for (int i = 0; i < 4; i++) {
        has_cpus(&s[i], 2);
    }
    mob_shutdown(mob);
}

/* Another node has claimed the first CPU: one of a CPU takes the other, one of two has none for itself. */
static void claimed(void)
{
    struct seen s[2];
    char path[64];
    int first = 0;
    be_alone();
    if (mob_is_worker()) {
        (void)node_of((struct mob_config){.num_cpus = 1});
    }
    while (!CPU_ISSET(first, &allowed)) {
        first++;
    }
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d", first);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    struct mob *one = node_of((struct mob_config){.num_cpus = 1});
    run(one, 1, 1, s);
    has_cpus(&s[0], 1);
    CHECK(!CPU_ISSET(first, &s[0].here));
    mob_shutdown(one);
    struct mob *two = node_of((struct mob_config){.num_cpus = 2});
    run(two, 2, 1, s);
    has_cpus(&s[0], 2);
    has_cpus(&s[1], 2);
    mob_shutdown(two);
    close(fd);
    two = node_of((struct mob_config){.num_cpus = 2}); /* free again */
    run(two, 2, 1, s);
    has_cpus(&s[0], 1);
    CHECK(!same(&s[0].here, &s[1].here));
    mob_shutdown(two);
}

/* What the user says of threads is not touched. */
static void users_threads(void)
{
    struct seen s;
    setenv("OMP_NUM_THREADS", "7", 1);
    struct mob *mob = node();
    run(mob, 1, 2, &s);
    EQ(s.omp, 7);
    EQ(s.openblas, 2);
    mob_shutdown(mob);
}

/* A worker that has run a task of two CPUs comes to run tasks of one: libraries in it are told, unless the user has
 * said how many threads there are to be. */
static void other_size(int told)
{
    struct mob *mob = node();
    struct seen large, s[2];
    run(mob, 1, 2, &large);
    EQ(large.told, 0); /* it was started so */
    run(mob, 2, 1, s);
    int again = s[1].pid == large.pid;
    CHECK(s[again].pid == large.pid);
    EQ(s[again].told, told);
    EQ(s[!again].told, 0);
    has_cpus(&s[again], 1);
    has_cpus(&s[!again], 1);
    CHECK(!same(&s[0].here, &s[1].here));
    mob_shutdown(mob);
}

static void other_size_of_a_worker(void)
{
    other_size(1);
}

static void other_size_and_users_threads(void)
{
    setenv("OMP_NUM_THREADS", "7", 1);
    other_size(0);
}

/* ---- deaths -------------------------------------------------------------------------------------- */

/* CPUs of killed workers are others' again: what came too late for one would float, and see both. */
static void killed(void)
{
    enum { TASKS = 6 };
    struct mob *mob = node();
    struct seen s;
    mob_ref ref[TASKS];
    for (int i = 0; i < TASKS; i++) {
        ref[i] = submit_die_once(mob);
    }
    for (int i = 0; i < TASKS; i++) {
        OK(mob_get_copy(mob, ref[i], &s, sizeof s, MOB_FOREVER));
        has_cpus(&s, 1);
        mob_release(mob, ref[i]);
    }
    mob_shutdown(mob);
}

/* ---- lending ------------------------------------------------------------------------------------- */

static pthread_mutex_t hold =
    PTHREAD_MUTEX_INITIALIZER; /* while a thread of a task is to stay */

static void *stay(void *ret)
{
    __atomic_store_n((pid_t *)ret, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    pthread_mutex_lock(&hold);
    pthread_mutex_unlock(&hold);
    return NULL;
}

struct moved {
    cpu_set_t before, after, thread;
};

/* Waits for the object whose id is argument 0 and tells where it and a thread of its ran before, and run then. It goes
 * on at once after the get; its CPUs come a moment later, when the node has seen that. */
static mob_status wait_for(struct mob_task *task)
{
    struct moved m = {.before = affinity(0)};
    mob_ref ref;
    pid_t tid = 0;
    pthread_t thread;
    struct held h;
    MOB_TRY(mob_arg_copy(task, 0, &ref, sizeof ref));
    MOB_TRY(mob_arg_copy(task, 1, &h, sizeof h));
    pthread_mutex_lock(&hold);
    CHECK(pthread_create(&thread, NULL, stay, &tid) == 0);
    EVENTUALLY(__atomic_load_n(&tid, __ATOMIC_ACQUIRE) != 0);
    m.thread = affinity(tid);
    CHECK(same(&m.before, &m.thread));
    say_begun(&h);
    size_t size;
    MOB_TRY(mob_get_size(mob_task_mob(task), ref, MOB_FOREVER, &size));
    EVENTUALLY((m.after = affinity(0), CPU_COUNT(&m.after) == 1) &&
               !same(&m.before, &m.after));
    EVENTUALLY((m.thread = affinity(tid), same(&m.thread, &m.after)));
    pthread_mutex_unlock(&hold);
    pthread_join(thread, NULL);
    return mob_return_copy(task, 0, &m, sizeof m);
}
MOB_REGISTER(wait_for);

/* Two tasks have a CPU each; one of them waits for the other, and its CPU goes to a third. When it goes on it has the
 * other's, since the third is still on its first one. */
static void lent(void)
{
    struct mob *mob = node();
    struct held first, second, third;
    struct seen one, three;
    struct moved m;
    mob_ref a, b, c;
    held_make(&first);
    held_make(&second);
    held_make(&third);
    a = submit_look(mob, &first, 1);
    held_begun(&first, 1);
    OK(mob_submit(mob, wait_for, MOB_ARGS(MOB_VALUE(a), MOB_VALUE(second)), NULL, &b));
    held_begun(&second, 1);
    c = submit_look(mob, &third, 1);
    held_begun(&third, 1); /* on what the second one lends */
    api_gate_open(&first.on, 1);
    OK(mob_get_copy(mob, a, &one, sizeof one, MOB_FOREVER));
    OK(mob_get_copy(mob, b, &m, sizeof m, MOB_FOREVER));
    api_gate_open(&third.on, 1);
    OK(mob_get_copy(mob, c, &three, sizeof three, MOB_FOREVER));
    has_cpus(&one, 1);
    has_cpus(&three, 1);
    CHECK(!same(&m.before, &one.here));
    CHECK(same(&three.here, &m.before));
    CHECK(same(&m.after, &one.here));
    mob_shutdown(mob);
}

API_MAIN({"one_each", one_each, 0}, {"both", both, 0}, {"parts", parts, 0},
         {"none", none, 0}, {"no_pin", no_pin, 0}, {"few", few, 0},
         {"too_many", too_many, 0}, {"claimed", claimed, 0},
         {"users_threads", users_threads, 0}, {"other_size", other_size_of_a_worker, 0},
         {"other_size_and_users_threads", other_size_and_users_threads, 0},
         {"killed", killed, 60}, {"lent", lent, 60});
