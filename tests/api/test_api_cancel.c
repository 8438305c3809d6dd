/* Deadlines, and cancelling: softly, by force, with all that a task submitted; and retries without end. */
#include "tasks.h"

/* ---- tasks -------------------------------------------------------------------------------------------- */

/* Runs until it is told to stop, or (@deaf) for ever; says in a file that it began, and that it heard. */
struct endless {
    char began[96], heard[96];
    int deaf;
};

static mob_status endless(struct mob_task *task)
{
    struct endless e;
    MOB_TRY(mob_arg_copy(task, 0, &e, sizeof e));
    count_attempt(e.began);
    while (e.deaf || !mob_task_cancelled(task)) {
        poll(NULL, 0, 2);
    }
    count_attempt(e.heard);
    return MOB_ERR_CANCELLED;
}
MOB_REGISTER(endless);

static struct endless new_endless(int deaf)
{
    static int count;
    struct endless e = {.deaf = deaf};
    snprintf(e.began, sizeof e.began, "%s/b%d", getenv("API_SCRATCH"), ++count);
    snprintf(e.heard, sizeof e.heard, "%s/h%d", getenv("API_SCRATCH"), count);
    unlink(e.began);
    unlink(e.heard);
    return e;
}

static mob_ref submit_endless(struct mob *mob, const struct endless *e,
                              uint64_t deadline_ns)
{
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref ref;
    options.deadline_ns = deadline_ns;
    OK(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(*e)), &options, &ref));
    return ref;
}

static void cancel(struct mob *mob, mob_ref ref, int recursive, int force,
                   uint64_t grace_ns)
{
    struct mob_cancel_options options = MOB_CANCEL_OPTIONS_INIT;
    options.recursive = recursive;
    options.force = force;
    options.grace_ns = grace_ns;
    OK(mob_cancel_as(mob, ref, &options));
}

static void fails_with(struct mob *mob, mob_ref ref, mob_status status, const char *why)
{
    size_t size;
    char text[512];
    IS(mob_get_size(mob, ref, 15 * SEC, &size), status);
    OK(mob_failure(mob, ref, text, sizeof text));
    HAS(text, why);
}

/* ---- deadlines ---------------------------------------------------------------------------------------- */

static void deadline_before_it_ran(void)
{
    struct mob *mob = api_init_with(1, 256u << 20);
    struct mob_options options = MOB_OPTIONS_INIT;
    struct api_gate gate;
    enum { N = 3000 };
    static mob_ref ref[N];
    mob_ref blocks, waits, later, never;
    long one = 1, value;
    size_t size;
    api_gate_make(&gate);
    blocks = submit_gated(mob, &gate, 5);
    options.deadline_ns = 100 * MS;
    uint64_t begin = api_now_ns();
    for (int i = 0; i < N; i++) { /* in any order, over some blocks of records */
        options.deadline_ns = 100 * MS + (uint64_t)(i * 7 % 31) * 10 * MS;
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &options, &ref[i]));
    }
    options.deadline_ns = 100 * MS;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(blocks)), &options, &waits));
    options.deadline_ns = 3600 * SEC;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &options, &later));
    OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &never));
    fails_with(mob, waits, MOB_ERR_DEADLINE, "add: its deadline passed before it ran");
    CHECK(api_now_ns() - begin >= 100 * MS);
    for (int i = 0; i < N; i++) {
        IS(mob_get_size(mob, ref[i], 15 * SEC, &size), MOB_ERR_DEADLINE);
        CHECK(api_now_ns() - begin >= 100 * MS + (uint64_t)(i * 7 % 31) * 10 * MS);
    }
    IS(mob_get_size(mob, later, 0, &size), MOB_ERR_TIMEOUT);
    api_gate_open(&gate, 1);
    OK(mob_get_copy(mob, later, &value, sizeof value, MOB_FOREVER));
    OK(mob_get_copy(mob, never, &value, sizeof value, MOB_FOREVER));
    OK(mob_get_copy(mob, blocks, &value, sizeof value, MOB_FOREVER));
    EQ(value, 5);
    options.deadline_ns = 31ull * 24 * 3600 * SEC;
    IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), &options, &never), MOB_ERR_INVALID);
    mob_shutdown(mob);
}

static void deadline_while_it_runs(void)
{
    struct mob *mob = api_init();
    struct endless hears = new_endless(0), deaf = new_endless(1);
    const uint64_t late = 3 * SEC; /* both have begun by then, on a slow machine too */
    uint64_t begin = api_now_ns();
    mob_ref soft = submit_endless(mob, &hears, late),
            hard = submit_endless(mob, &deaf, late);
    fails_with(mob, soft, MOB_ERR_DEADLINE, "MOB_ERR_CANCELLED");
    CHECK(api_now_ns() - begin >= late);
    fails_with(mob, hard, MOB_ERR_DEADLINE, "ended by force");
    CHECK(api_now_ns() - begin >= late + MOB_GRACE_NS);
    EQ(attempts(hears.began), 1);
    EQ(attempts(deaf.began), 1);
    mob_shutdown(mob);
}

/* ---- by force ------------------------------------------------------------------------------------------- */

static void force_ends_a_worker(void)
{
    struct mob *mob = api_init();
    struct endless deaf = new_endless(1), hears = new_endless(0),
                   patient = new_endless(1);
    mob_ref ref = submit_endless(mob, &deaf, 0), soft = submit_endless(mob, &hears, 0);
    long one = 1, value;
    size_t size;
    EVENTUALLY(attempts(deaf.began) == 1 && attempts(hears.began) == 1);
    cancel(mob, ref, 0, 1, 0);
    fails_with(mob, ref, MOB_ERR_CANCELLED, "ended by force");
    EQ(attempts(deaf.began), 1); /* though it had retries left */
    cancel(mob, soft, 0, 1, 10 * SEC);
    fails_with(mob, soft, MOB_ERR_CANCELLED, "MOB_ERR_CANCELLED");
    EQ(attempts(hears.heard), 1);
    cancel(mob, soft, 0, 1, 0); /* too late */
    /* Of two the earlier counts; a soft one changes nothing. */
    ref = submit_endless(mob, &patient, 0);
    EVENTUALLY(attempts(patient.began) == 1);
    cancel(mob, ref, 0, 1, 3600 * SEC);
    OK(mob_cancel(mob, ref));
    IS(mob_get_size(mob, ref, 50 * MS, &size), MOB_ERR_TIMEOUT);
    cancel(mob, ref, 0, 1, 20 * MS);
    cancel(mob, ref, 0, 1, 3600 * SEC);
    fails_with(mob, ref, MOB_ERR_CANCELLED, "ended by force");
    /* The node has all of its CPUs still. */
    for (int i = 0; i < 4; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &ref));
        OK(mob_get_copy(mob, ref, &value, sizeof value, 10 * SEC));
    }
    mob_shutdown(mob);
}

/* A task that waits for another one runs it in its own worker. */
struct outer {
    char gate[96], began[96];
    mob_ref inner;
};

static mob_status outer(struct mob_task *task)
{
    struct outer o;
    size_t size;
    MOB_TRY(mob_arg_copy(task, 0, &o, sizeof o));
    count_attempt(o.began);
    if (attempts(o.began) == 1) {
        api_gate_wait(o.gate);
    }
    long st = mob_get_size(mob_task_mob(task), o.inner, MOB_FOREVER, &size);
    return mob_return_copy(task, 0, &st, sizeof st);
}
MOB_REGISTER(outer);

static void others_of_the_worker_run_again(void)
{
    struct mob *mob = api_init_with(1, 256u << 20);
    struct mob_options options = MOB_OPTIONS_INIT;
    struct api_gate hold, gate;
    struct endless deaf = new_endless(1);
    struct outer o = {0};
    struct gated first = {.value = 1};
    mob_ref holds, around[2], ref;
    long value;
    api_gate_make(&hold);
    api_gate_make(&gate);
    snprintf(first.path, sizeof first.path, "%s", hold.path);
    snprintf(o.gate, sizeof o.gate, "%s", gate.path);
    snprintf(o.began, sizeof o.began, "%s/outer", getenv("API_SCRATCH"));
    unlink(o.began);
    /* The outer one takes the id of the inner one, which so is submitted first; but it waits for an argument until
     * the outer one has the only CPU. */
    options.max_retries = 0;
    options.num_cpus = MOB_NO_CPU;
    OK(mob_submit(mob, gated, MOB_ARGS(MOB_VALUE(first)), &options, &holds));
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(holds)), &options, &around[0]));
    options.num_cpus = 0;
    OK(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(deaf), MOB_REF(holds)), &options,
                  &o.inner));
    options.num_cpus = MOB_NO_CPU;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(holds)), &options, &around[1]));
    options.num_cpus = 0;
    OK(mob_submit(mob, outer, MOB_ARGS(MOB_VALUE(o)), &options, &ref));
    EVENTUALLY(attempts(o.began) == 1);
    api_gate_open(&hold, 1);
    for (int i = 0; i < 2; i++) { /* one of them is told after the inner one */
        OK(mob_get_copy(mob, around[i], &value, sizeof value, 10 * SEC));
    }
    api_gate_open(&gate, 1);
    EVENTUALLY(attempts(deaf.began) == 1);
    cancel(mob, o.inner, 0, 1, 0);
    fails_with(mob, o.inner, MOB_ERR_CANCELLED, "ended by force");
    OK(mob_get_copy(mob, ref, &value, sizeof value, 10 * SEC));
    EQ(value, MOB_ERR_CANCELLED);
    EQ(attempts(o.began), 2); /* without a retry of its own */
    mob_shutdown(mob);
}

/* ---- with what it submitted ------------------------------------------------------------------------------ */

struct tree {
    struct endless leaf;
    int depth, late;
};

static mob_status tree(struct mob_task *task)
{
    struct tree t;
    struct mob *mob = mob_task_mob(task);
    mob_ref ref[3];
    size_t size;
    MOB_TRY(mob_arg_copy(task, 0, &t, sizeof t));
    for (int i = 0; i < 3; i++) {
        struct tree below = t;
        below.depth--;
        below.late = 0;
        if (t.depth > 1) {
            MOB_TRY(mob_submit(mob, tree, MOB_ARGS(MOB_VALUE(below)), NULL, &ref[i]));
        } else {
            MOB_TRY(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(t.leaf)), NULL, &ref[i]));
        }
    }
    if (t.late) { /* what it submits once it is cancelled is too */
        while (!mob_task_cancelled(task)) {
            poll(NULL, 0, 2);
        }
        MOB_TRY(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(t.leaf)), NULL, &ref[0]));
        mob_status st = mob_get_size(mob, ref[0], 10 * SEC, &size);
        return st == MOB_ERR_CANCELLED ? MOB_OK : mob_fail(task, "the late one: %d", st);
    }
    for (int i = 0; i < 3; i++) {
        (void)!mob_get_size(mob, ref[i], MOB_FOREVER, &size);
    }
    return MOB_OK;
}
MOB_REGISTER(tree);

static mob_ref submit_tree(struct mob *mob, int deaf, int depth, int late, struct tree *t)
{
    mob_ref ref;
    *t = (struct tree){.leaf = new_endless(deaf), .depth = depth, .late = late};
    OK(mob_submit(mob, tree, MOB_ARGS(MOB_VALUE(*t)), NULL, &ref));
    EVENTUALLY(attempts(t->leaf.began) >=
               (late ? 1 : 2)); /* of as many CPUs as are left */
    return ref;
}

static void recursive(void)
{
    struct mob *mob = api_init();
    struct tree t;
    size_t size;
    long one = 1, value;
    mob_ref add_ref, root = submit_tree(mob, 0, 2, 0, &t);
    OK(mob_cancel(mob, root)); /* nobody below hears of it */
    IS(mob_get_size(mob, root, 100 * MS, &size), MOB_ERR_TIMEOUT);
    EQ(attempts(t.leaf.heard), 0);
    cancel(mob, root, 1, 0, 0);
    OK(mob_get_size(mob, root, 10 * SEC, &size)); /* all 9 below it are over */
    EQ(attempts(t.leaf.heard), attempts(t.leaf.began));
    root = submit_tree(mob, 0, 1, 1, &t);
    cancel(mob, root, 1, 0, 0);
    OK(mob_get_size(mob, root, 10 * SEC, &size));
    EVENTUALLY(attempts(t.leaf.heard) == attempts(t.leaf.began));
    /* By force: nobody listens. The first ones are where its own worker is not. */
    root = submit_tree(mob, 1, 2, 0, &t);
    cancel(mob, root, 1, 1, 50 * MS);
    IS(mob_get_size(mob, root, 15 * SEC, &size), MOB_ERR_CANCELLED);
    for (int i = 0; i < 4; i++) { /* both CPUs are free again */
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &add_ref));
        OK(mob_get_copy(mob, add_ref, &value, sizeof value, 10 * SEC));
    }
    EQ(attempts(t.leaf.heard), 0);
    mob_shutdown(mob);
}

/* A task that is done, and whose children are not. */
static mob_status leaves_one(struct mob_task *task)
{
    struct endless e;
    mob_ref ref;
    MOB_TRY(mob_arg_copy(task, 0, &e, sizeof e));
    return mob_submit(mob_task_mob(task), endless, MOB_ARGS(MOB_VALUE(e)), NULL, &ref);
}
MOB_REGISTER(leaves_one);

static void recursive_of_a_done_one(void)
{
    struct mob *mob = api_init();
    struct endless e = new_endless(0);
    mob_ref ref;
    size_t size;
    OK(mob_submit(mob, leaves_one, MOB_ARGS(MOB_VALUE(e)), NULL, &ref));
    OK(mob_get_size(mob, ref, 10 * SEC, &size));
    EVENTUALLY(attempts(e.began) == 1);
    cancel(mob, ref, 0, 1, 0);
    EQ(attempts(e.heard), 0);
    cancel(mob, ref, 1, 0, 0);
    EVENTUALLY(attempts(e.heard) == 1);
    mob_shutdown(mob);
}

/* ---- retries ----------------------------------------------------------------------------------------------- */

/* More attempts than the record's count of them has numbers. */
static void retries_without_end(void)
{
    struct mob *mob = api_init();
    mob_ref ref = submit_how(mob, how("kill", 260), MOB_RETRIES_FOREVER, 0);
    mob_ref error = submit_how(mob, how("status", 700), MOB_RETRIES_FOREVER, 1);
    long value;
    OK(mob_get_copy(mob, ref, &value, sizeof value, MOB_FOREVER));
    EQ(value, 261);
    OK(mob_get_copy(mob, error, &value, sizeof value, MOB_FOREVER));
    EQ(value, 701);
    mob_shutdown(mob);
}

static void misuse(void)
{
    struct mob *mob = api_init();
    struct mob_cancel_options options = MOB_CANCEL_OPTIONS_INIT;
    struct mob_options task = MOB_OPTIONS_INIT;
    struct endless e = new_endless(0);
    mob_ref ref = submit_endless(mob, &e, 0);
    options.struct_size = 4;
    IS(mob_cancel_as(mob, ref, &options), MOB_ERR_INVALID);
    options.struct_size = sizeof options + 8;
    IS(mob_cancel_as(mob, ref, &options), MOB_ERR_INVALID);
    options = (struct mob_cancel_options)MOB_CANCEL_OPTIONS_INIT;
    options.grace_ns = MOB_FOREVER;
    IS(mob_cancel_as(mob, ref, &options), MOB_ERR_INVALID);
    IS(mob_cancel_as(NULL, ref, NULL), MOB_ERR_INVALID);
    IS(mob_cancel_as(mob, (mob_ref){0, 0}, NULL), MOB_ERR_RELEASED);
    task.max_retries = -3;
    IS(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(e)), &task, &ref), MOB_ERR_INVALID);
    task.max_retries = 251;
    IS(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(e)), &task, &ref), MOB_ERR_INVALID);
    mob_shutdown(mob);
}

API_MAIN({"deadline_before_it_ran", deadline_before_it_ran, 30},
         {"deadline_while_it_runs", deadline_while_it_runs, 30},
         {"force_ends_a_worker", force_ends_a_worker, 60},
         {"others_of_the_worker_run_again", others_of_the_worker_run_again, 30},
         {"recursive", recursive, 60},
         {"recursive_of_a_done_one", recursive_of_a_done_one, 30},
         {"retries_without_end", retries_without_end, 120}, {"misuse", misuse, 0});
