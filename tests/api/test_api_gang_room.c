/* Gangs beside others: none begins before all of its members have room, whoever else wants it. */
#include "gangs.h"

struct blocker {
    char gate[96], path[96], began[96];
};

/* Keeps its CPU until the gate opens, and says how many members have begun by then. */
static mob_status blocks(struct mob_task *task)
{
    struct blocker b;
    MOB_TRY(mob_arg_copy(task, 0, &b, sizeof b));
    count_attempt(b.began);
    api_gate_wait(b.gate);
    long begun = attempts(b.path);
    return mob_return_copy(task, 0, &begun, sizeof begun);
}
MOB_REGISTER(blocks);

static void none_begins_alone(void)
{
    struct mob *mob = api_init();
    struct blocker b;
    struct marked m;
    struct api_gate gate;
    mob_ref block, refs[2];
    long begun = -1;
    api_gate_make(&gate);
    snprintf(b.gate, sizeof b.gate, "%s", gate.path);
    snprintf(m.path, sizeof m.path, "%s/begun", getenv("API_SCRATCH"));
    snprintf(b.path, sizeof b.path, "%s", m.path);
    snprintf(b.began, sizeof b.began, "%s/blocks", getenv("API_SCRATCH"));
    OK(mob_submit(mob, blocks, MOB_ARGS(MOB_VALUE(b)), NULL, &block));
    EVENTUALLY(attempts(b.began) == 1);
    OK(mob_submit_gang(mob, marks, MOB_ARGS(MOB_VALUE(m)), NULL, 2, refs));
    poll(NULL, 0, 200); /* for it to go wrong in */
    EQ(mob_contains(mob, refs[0]) + mob_contains(mob, refs[1]), 0);
    api_gate_open(&gate, 1);
    OK(mob_get_copy(mob, block, &begun, sizeof begun, MOB_FOREVER));
    EQ(begun, 0);
    (void)results(mob, refs, 2);
    EQ(attempts(m.path), 2);
    mob_shutdown(mob);
}

static mob_status spins(struct mob_task *task)
{
    uint64_t until = api_now_ns() + MS;
    while (api_now_ns() < until) {
    }
    return mob_return_copy(task, 0, &until, sizeof until);
}
MOB_REGISTER(spins);

/* Gangs that each want all CPUs, while other tasks want them too. */
static void competition(void)
{
    struct mob *mob = api_init();
    enum { GANGS = 8, OTHERS = 600 };
    mob_ref refs[GANGS][2], others[OTHERS];
    struct mob_options o = parts(1, 0);
    for (int i = 0; i < OTHERS; i++) {
        OK(mob_submit(mob, spins, MOB_NO_ARGS, NULL, &others[i]));
        if (i % (OTHERS / GANGS) == 0) {
            o.priority =
                i % 3 - 1; /* classes of their own, and one that the others have too */
            OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, &o, 2,
                               refs[i / (OTHERS / GANGS)]));
        }
    }
    for (int i = 0; i < GANGS; i++) {
        (void)results(mob, refs[i], 2);
    }
    for (int i = 0; i < OTHERS; i++) {
        uint64_t until;
        OK(mob_get_copy(mob, others[i], &until, sizeof until, MOB_FOREVER));
        mob_release(mob, others[i]);
    }
    mob_shutdown(mob);
}

/* Submits a gang that needs all CPUs, when its gate opens; its result is one of that gang's. */
static mob_status submits_late(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    struct marked m;
    mob_ref refs[2];
    MOB_TRY(mob_arg_copy(task, 0, &m, sizeof m));
    api_gate_wait(m.path);
    MOB_TRY(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 2, refs));
    return mob_return_ref(task, 0, refs[0]);
}
MOB_REGISTER(submits_late);

static mob_status has_one(struct mob_task *task)
{
    struct seen seen;
    MOB_TRY(mob_arg_copy(task, 0, &seen, sizeof seen));
    MOB_TRY(share_token(task, &seen));
    return mob_return_copy(task, 0, &seen, sizeof seen);
}
MOB_REGISTER(has_one);

/* More gangs than a job has classes wait for what a later one makes: they have no room meanwhile, and no class. */
static void arguments_come_late(void)
{
    struct mob *mob = api_init();
    enum { GANGS = 20 };
    mob_ref refs[GANGS][2], late;
    struct marked m;
    struct api_gate gate;
    api_gate_make(&gate);
    snprintf(m.path, sizeof m.path, "%s", gate.path);
    OK(mob_submit(mob, submits_late, MOB_ARGS(MOB_VALUE(m)), NULL, &late));
    for (int i = 0; i < GANGS; i++) {
        OK(mob_submit_gang(mob, has_one, MOB_ARGS(MOB_REF(late)), NULL, 2, refs[i]));
    }
    api_gate_open(&gate, 1);
    for (int i = 0; i < GANGS; i++) {
        (void)results(mob, refs[i], 2);
    }
    mob_shutdown(mob);
}

/* Each leaves its class and its group, of which a job has 16 and 256, and what the node holds for it. */
static void one_after_the_other(void)
{
    struct mob *mob = api_init();
    mob_ref refs[2], all;
    mob_group g;
    size_t size;
    struct mob_bundle b = MOB_BUNDLE_INIT;
    struct mob_options o = parts(2, 0);
    for (int i = 0; i < 300; i++) {
        OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 2, refs));
        (void)results(mob, refs, 2);
    }
    OK(mob_submit(mob, spins, MOB_NO_ARGS, &o, &all)); /* of all CPUs */
    OK(mob_get_size(mob, all, MOB_FOREVER, &size));
    b.num_cpus = 2;
    OK(mob_group_create(mob, &b, 1, MOB_GROUP_PACK, &g));
    OK(mob_group_wait(mob, g, MOB_FOREVER));
    mob_shutdown(mob);
}

/* A gang needs a class for its members: it waits while all are in use, and has the next one that comes free. */
static void no_class_is_left(void)
{
    struct mob *mob = api_init();
    enum { CLASSES = 16 };
    mob_group groups[CLASSES];
    mob_ref refs[2], ref;
    unsigned char ready[2];
    size_t count = 0, made = 0;
    struct mob_bundle b = MOB_BUNDLE_INIT;
    struct mob_options gang = parts(0.5, 0), in = parts(0.01, 0);
    mob_status st = MOB_OK;
    OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, &gang, 2, refs));
    (void)results(mob, refs, 2);
    b.num_cpus = 0.01;
    while (made < CLASSES) {
        OK(mob_group_create(mob, &b, 1, MOB_GROUP_PACK, &groups[made]));
        in.group = groups[made++];
        st = mob_submit(mob, spins, MOB_NO_ARGS, &in, &ref);
        if (st) {
            break;
        }
        mob_release(mob, ref);
    }
    IS(st, MOB_ERR_FULL);
    OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, &gang, 2, refs));
    IS(mob_wait(mob, refs, 2, 1, 300 * MS, ready, &count), MOB_ERR_TIMEOUT);
    OK(mob_group_remove(mob, groups[0]));
    (void)results(mob, refs, 2);
    mob_shutdown(mob);
}

API_MAIN({"none_begins_alone", none_begins_alone, 0}, {"competition", competition, 60},
         {"arguments_come_late", arguments_come_late, 60},
         {"no_class_is_left", no_class_is_left, 60},
         {"one_after_the_other", one_after_the_other, 60});
