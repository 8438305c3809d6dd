/* What tasks ask for beside CPUs. Tasks say when they ran and what they saw; those that overlap never have more
 * together than the node has. */
#include "api.h"

#define MB (1ull << 20)

struct seen {
    double from_s, to_s;
    char devices[64];
};

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static mob_status look(struct mob_task *task)
{
    const char *devices = getenv("CUDA_VISIBLE_DEVICES");
    struct seen s = {.from_s = now_s()};
    snprintf(s.devices, sizeof s.devices, "%s", devices ? devices : "unset");
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    s.to_s = now_s();
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(look);

static mob_status whose(struct mob_task *task)
{
    int pid = (int)getpid();
    return mob_return_copy(task, 0, &pid, sizeof pid);
}
MOB_REGISTER(whose);

static struct mob *node(void)
{
    struct mob_config c = {.struct_size = sizeof c,
                           .num_cpus = 6,
                           .store_bytes = 64 * MB,
                           .memory_bytes = 1000 * MB,
                           .num_gpus = 2,
                           .resources = "tape=1,license=2",
                           .labels = "zone=a,disk=ssd"};
    struct mob *mob;
    if (!mob_is_worker()) { /* the daemon sees all */
        unsetenv("CUDA_VISIBLE_DEVICES");
    }
    OK(mob_init(&c, &mob));
    return mob;
}

enum { TASKS = 12 };

static void run(struct mob *mob, const struct mob_options *o, struct seen *ret)
{
    mob_ref ref[TASKS];
    for (int i = 0; i < TASKS; i++) {
        OK(mob_submit(mob, look, MOB_NO_ARGS, o, &ref[i]));
    }
    for (int i = 0; i < TASKS; i++) {
        OK(mob_get_copy(mob, ref[i], &ret[i], sizeof ret[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
    }
}

/* The most that ran at once, of those that saw @devices (NULL: of all). */
static int most_at_once(const struct seen *s, const char *devices)
{
    int most = 0;
    for (int i = 0; i < TASKS; i++) {
        int at_once = 0;
        for (int k = 0; k < TASKS; k++) {
            int counts = !devices || (strcmp(s[k].devices, devices) == 0 &&
                                      strcmp(s[i].devices, devices) == 0);
            at_once += counts && s[k].from_s <= s[i].from_s && s[i].from_s < s[k].to_s;
        }
        most = at_once > most ? at_once : most;
    }
    return most;
}

static void gpus(void)
{
    struct mob *mob = node();
    struct seen s[TASKS];
    struct mob_options o = MOB_OPTIONS_INIT;
    o.num_gpus = 1;
    run(mob, &o, s);
    for (int i = 0; i < TASKS; i++) {
        CHECK(strcmp(s[i].devices, "0") == 0 || strcmp(s[i].devices, "1") == 0);
    }
    EQ(most_at_once(s, "0"), most_at_once(s, "0") > 0);
    EQ(most_at_once(s, "1"), most_at_once(s, "1") > 0);
    o.num_gpus = 2;
    run(mob, &o, s);
    EQ(most_at_once(s, NULL), 1);
    CHECK(strcmp(s[0].devices, "0,1") == 0);
    o.num_gpus = 0.4; /* two on each: a part is of one device */
    run(mob, &o, s);
    CHECK(most_at_once(s, "0") <= 2 && most_at_once(s, "1") <= 2);
    EQ(most_at_once(s, "0") + most_at_once(s, "1") > 0, 1);
    o.num_gpus = 0;
    run(mob, &o, s);
    for (int i = 0; i < TASKS; i++) {
        CHECK(strcmp(s[i].devices, "") == 0); /* who asks for none sees none */
    }
    mob_shutdown(mob);
}

struct around { /* what a task says of one that it waited for */
    struct seen seen;
    int same; /* it was run by the same worker */
};

/* Waits for a task that asks for what it has not itself: 0: a GPU, 1: two CPUs, 2: no more than it has. */
static mob_status waits(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    struct mob_options o = MOB_OPTIONS_INIT;
    struct around a = {0};
    int which;
    mob_ref ref;
    MOB_TRY(mob_arg_copy(task, 0, &which, sizeof which));
    o.num_gpus = which == 0;
    o.num_cpus = which == 1 ? 2 : 0.5;
    o.resources = which == 2 ? "license=1" : NULL; /* of which the waiting one has all */
    MOB_TRY(mob_submit(mob, which == 0 ? look : whose, MOB_NO_ARGS, &o, &ref));
    if (which == 0) {
        MOB_TRY(mob_get_copy(mob, ref, &a.seen, sizeof a.seen, MOB_FOREVER));
    } else {
        int pid;
        MOB_TRY(mob_get_copy(mob, ref, &pid, sizeof pid, MOB_FOREVER));
        a.same = pid == (int)getpid();
    }
    mob_release(mob, ref);
    return mob_return_copy(task, 0, &a, sizeof a);
}
MOB_REGISTER(waits);

static void awaited_in_a_task(void)
{
    struct mob *mob = node();
    struct around a;
    mob_ref ref;
    for (int which = 0; which < 3; which++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        o.resources = which == 2 ? "license=2" : NULL;
        OK(mob_submit(mob, waits, MOB_ARGS(MOB_VALUE(which)), &o, &ref));
        OK(mob_get_copy(mob, ref, &a, sizeof a, MOB_FOREVER));
        mob_release(mob, ref);
        EQ(a.same,
           which == 2); /* it is run by who waits for it, in a slot that has all of it */
        CHECK(which != 0 || strcmp(a.seen.devices, "0") == 0 ||
              strcmp(a.seen.devices, "1") == 0);
    }
    mob_shutdown(mob);
}

static void amounts(void)
{
    struct mob *mob = node();
    struct seen s[TASKS];
    struct mob_options o = MOB_OPTIONS_INIT;
    o.memory_bytes = 400 * MB;
    run(mob, &o, s);
    CHECK(most_at_once(s, NULL) <= 2);
    o.memory_bytes = 0;
    o.resources = "tape=1";
    run(mob, &o, s);
    EQ(most_at_once(s, NULL), 1);
    o.resources = "license=0.5,tape=0.5";
    run(mob, &o, s);
    CHECK(most_at_once(s, NULL) <= 2);
    mob_shutdown(mob);
}

static void labels(void)
{
    struct mob *mob = node();
    struct seen s[TASKS];
    struct mob_info info = {.struct_size = sizeof info};
    struct mob_options o = MOB_OPTIONS_INIT;
    o.labels = "zone in (a|b), disk!=hdd";
    run(mob, &o, s);
    o.strategy = MOB_STRATEGY_SPREAD; /* where there is one node */
    run(mob, &o, s);
    OK(mob_get_info(mob, &info));
    o.strategy = MOB_STRATEGY_NODE;
    o.node = info.node_id;
    run(mob, &o, s);
    mob_shutdown(mob);
}

static void unmet(struct mob *mob, struct mob_options o, const char *what,
                  const char *option)
{
    mob_ref ref;
    IS(mob_submit(mob, look, MOB_NO_ARGS, &o, &ref), MOB_ERR_DEMAND);
    HAS(mob_last_error(), what);
    HAS(mob_last_error(), option);
}

static void too_much(void)
{
    struct mob *mob = node();
    struct mob_options o = MOB_OPTIONS_INIT, none = o;
    o.memory_bytes = 1001 * MB;
    unmet(mob, o, "memory, and the node has", "mob_config.memory_bytes");
    o = none, o.num_gpus = 3;
    unmet(mob, o, "3 GPUs, and the node has 2", "mob_config.num_gpus");
    o = none, o.resources = "license=1,tape=2";
    unmet(mob, o, "2 tape, and the node has 1", "mob_config.resources");
    o = none, o.resources = "unknown=0.5";
    unmet(mob, o, "0.5 unknown, and the node has 0", "mob_config.resources");
    o = none, o.labels = "zone=b";
    unmet(mob, o, "labels zone=b", "mob_config.labels");
    o = none, o.strategy = MOB_STRATEGY_NODE, o.node = 12345;
    unmet(mob, o, "no other", "could join");
    mob_shutdown(mob);
}

static void nonsense(void)
{
    struct mob *mob = node();
    mob_ref ref;
    const struct mob_options none = MOB_OPTIONS_INIT;
    static const struct {
        double gpus;
        const char *resources, *labels;
        int strategy;
        uint64_t node, memory;
    } bad[] = {{.gpus = -1},
               {.gpus = 1.5},
               {.gpus = 0.0 / 0.0},
               {.gpus = 65},
               {.resources = "tape"},
               {.resources = "tape=1,"},
               {.resources = "=1"},
               {.resources = "a=-1"},
               {.resources = "a b=1"},
               {.resources = "a=x"},
               {.labels = "zone"},
               {.labels = "zone=a zone=b"},
               {.strategy = -1},
               {.strategy = 99},
               {.strategy = MOB_STRATEGY_NODE},
               {.node = 7},
               {.memory = UINT64_MAX},
               {.resources = "a=1,b=1,c=1,d=1,e=1,f=1,g=1,h=1,i=1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct mob_options o = none;
        o.num_gpus = bad[i].gpus;
        o.resources = bad[i].resources;
        o.labels = bad[i].labels;
        o.strategy = bad[i].strategy;
        o.node = bad[i].node;
        o.memory_bytes = bad[i].memory;
        mob_status st = mob_submit(mob, look, MOB_NO_ARGS, &o, &ref);
        EQ(st, i + 1 < sizeof bad / sizeof bad[0] ? MOB_ERR_INVALID : MOB_ERR_FULL);
    }
    mob_shutdown(mob);
}

/* One kind of task more than a job may have: the message says what differs, and the job goes on. */
static void many_classes(void)
{
    struct mob *mob = node();
    mob_ref ref;
    mob_status st = MOB_OK;
    int count = 0;
    while (st == MOB_OK && count < 1000) {
        struct mob_options o = MOB_OPTIONS_INIT;
        o.memory_bytes = ++count * MB;
        st = mob_submit(mob, look, MOB_NO_ARGS, &o, &ref);
        if (st == MOB_OK) {
            mob_release(mob, ref);
        }
    }
    EQ(st, MOB_ERR_FULL);
    HAS(mob_last_error(), "what they ask for");
    struct seen s[TASKS];
    run(mob, NULL, s);
    mob_shutdown(mob);
}

API_MAIN({"gpus", gpus, 60}, {"awaited_in_a_task", awaited_in_a_task, 60},
         {"amounts", amounts, 60}, {"labels", labels, 60}, {"too_much", too_much, 0},
         {"nonsense", nonsense, 0}, {"many_classes", many_classes, 60});
