/* Gangs: tasks that start together, know each other, and fail as one. */
#include "gangs.h"

static void together(void)
{
    struct mob *mob = api_init();
    mob_ref refs[MOB_GANG_MAX];
    static const unsigned sizes[] = {2, 1, 2, 20};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct mob_options o = parts(sizes[i] <= 2 ? 1 : 0.1, 0);
        OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, &o, sizes[i], refs));
        (void)results(mob, refs, sizes[i]);
    }
    OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 2, refs));
    (void)results(mob, refs, 2);
    mob_shutdown(mob);
}

/* ---- arguments and results ---------------------------------------------------------------------------------- */

static mob_status adds(struct mob_task *task)
{
    long a, b;
    size_t size;
    const void *big;
    char small[100], odd[90];
    EQ(mob_arg_count(task), 5);
    MOB_TRY(mob_arg_copy(task, 0, &a, sizeof a));
    MOB_TRY(mob_arg_copy(task, 1, &b, sizeof b));
    MOB_TRY(mob_arg(task, 2, &big, &size));
    MOB_TRY(mob_arg_copy(task, 3, small, sizeof small));
    MOB_TRY(mob_arg_copy(task, 4, odd, sizeof odd));
    EQ(size, 100000);
    CHECK(((const char *)big)[99999] == 'b' && small[99] == 's' && odd[89] == 'o');
    IS(mob_arg(task, 5, &big, &size), MOB_ERR_INVALID);
    a += b + (long)mob_gang_rank(task);
    MOB_TRY(mob_return_copy(task, 0, &a, sizeof a));
    void *place;
    MOB_TRY(mob_return_place(task, 1, 70000, &place));
    memset(place, 'r', 70000);
    return MOB_OK;
}
MOB_REGISTER(adds);

/* Values, ids, a promise, a value so large that all share it; two results each; as arguments of others. */
static void arguments(void)
{
    struct mob *mob = api_init();
    static char big[100000];
    char small[100], odd[90];
    long one = 1, ten = 10, sum;
    mob_ref promise, refs[4], after;
    struct mob_view view;
    struct mob_options o = parts(1, 0);
    o.returns = 2;
    memset(big, 'b', sizeof big);
    memset(small, 's', sizeof small);
    memset(odd, 'o', sizeof odd);
    struct api_gate gate;
    api_gate_make(&gate);
    promise = submit_gated(mob, &gate, 100);
    OK(mob_submit_gang(
        mob, adds,
        MOB_ARGS(MOB_REF(promise), MOB_VALUE(one), MOB_BYTES(big, sizeof big),
                 MOB_BYTES(small, sizeof small), MOB_BYTES(odd, sizeof odd)),
        &o, 2, refs));
    mob_release(mob, promise);
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(refs[0]), MOB_REF(refs[2]), MOB_VALUE(ten)),
                  NULL, &after));
    api_gate_open(&gate, 1);
    OK(mob_get_copy(mob, after, &sum, sizeof sum, MOB_FOREVER));
    EQ(sum, 101 + 102 + 10);
    for (int i = 1; i < 4; i += 2) {
        OK(mob_get(mob, refs[i], MOB_FOREVER, &view));
        EQ(view.size, 70000);
        CHECK(((const char *)view.data)[69999] == 'r');
        mob_view_release(mob, &view);
    }
    for (int i = 0; i < 4; i++) {
        mob_release(mob, refs[i]);
    }
    mob_release(mob, after);

    mob_ref failed = submit_how(mob, how("message", INT_MAX), 0, 0);
    char text[4096];
    OK(mob_submit_gang(mob, meets, MOB_ARGS(MOB_REF(failed)), NULL, 2, refs));
    for (int i = 0; i < 2; i++) {
        IS(mob_get_copy(mob, refs[i], &sum, sizeof sum, MOB_FOREVER), MOB_ERR_ARG_FAILED);
        OK(mob_failure(mob, refs[i], text, sizeof text));
        HAS(text, "row 17 is singular");
    }
    mob_shutdown(mob);
}

/* ---- deaths ------------------------------------------------------------------------------------------------------ */

struct fate {
    char when[16];
    int n; /* attempts that end so */
    char path[128];
};

static mob_status dies(struct mob_task *task)
{
    struct fate f;
    struct seen seen;
    struct seen all[3];
    unsigned rank = mob_gang_rank(task);
    MOB_TRY(mob_arg_copy(task, 0, &f, sizeof f));
    int me = rank == 1 && attempts(f.path) < f.n;
    if (rank == 1) {
        count_attempt(f.path);
    }
    if (me && strcmp(f.when, "before") == 0) {
        kill(getpid(), SIGKILL);
    }
    if (me && strcmp(f.when, "in") ==
                  0) { /* what it brought must not be seen by the next attempt */
        struct seen mine = {1, 3, getpid(), 0};
        (void)!mob_gang_exchange(task, &mine, sizeof mine, all, 0);
        kill(getpid(), SIGKILL);
    }
    MOB_TRY(share_token(task, &seen));
    if (me && strcmp(f.when, "after") == 0) {
        kill(getpid(), SIGKILL);
    }
    if (me && strcmp(f.when, "late") == 0) { /* the other one has returned long ago */
        poll(NULL, 0, 300);
        kill(getpid(), SIGKILL);
    }
    if (strcmp(f.when, "broken") ==
        0) { /* what a death does to others: they fail too, and first */
        if (me) {
            MOB_TRY(mob_gang_exchange(task, NULL, 0, NULL, MOB_FOREVER));
            poll(NULL, 0, 200);
            kill(getpid(), SIGKILL);
        }
        if (rank == 0 && attempts(f.path) <= f.n) {
            MOB_TRY(mob_gang_exchange(task, NULL, 0, NULL, MOB_FOREVER));
            return mob_fail(task, "the ring broke");
        }
    }
    if (me && strcmp(f.when, "error") == 0) {
        return mob_fail(task, "row %d is singular", 17);
    }
    if (me && strcmp(f.when, "hang") == 0) { /* the other one is ended by force */
        kill(getpid(), SIGKILL);
    }
    if (strcmp(f.when, "hang") == 0 && attempts(f.path) <= f.n) {
        for (;;) {
            pause();
        }
    }
    return mob_return_copy(task, 0, &seen, sizeof seen);
}
MOB_REGISTER(dies);

static struct fate fate(const char *when, int n)
{
    static int count;
    struct fate f = {.n = n};
    snprintf(f.when, sizeof f.when, "%s", when);
    snprintf(f.path, sizeof f.path, "%s/fate%d", getenv("API_SCRATCH"), count++);
    unlink(f.path);
    return f;
}

static void deaths(void)
{
    struct mob *mob = api_init();
    static const char *const whens[] = {"before", "after", "late", "hang", "broken"};
    for (size_t i = 0; i < sizeof whens / sizeof whens[0]; i++) {
        mob_ref refs[2];
        struct fate f = fate(whens[i], 1);
        struct mob_options o = parts(1, 1);
        OK(mob_submit_gang(mob, dies, MOB_ARGS(MOB_VALUE(f)), &o, 2, refs));
        (void)results(mob, refs, 2);
        EQ(attempts(f.path), 2);
    }
    mob_shutdown(mob);
}

/* Bytes that a dead attempt has brought never come to the next. */
static void death_in_exchange(void)
{
    struct mob *mob = api_init();
    mob_ref refs[3];
    for (int n = 1; n <= 2; n++) {
        struct fate f = fate("in", n);
        struct mob_options o = parts(0.5, n);
        OK(mob_submit_gang(mob, dies, MOB_ARGS(MOB_VALUE(f)), &o, 3, refs));
        (void)results(mob, refs, 3);
        EQ(attempts(f.path), n + 1);
    }
    mob_shutdown(mob);
}

static void no_retries_left(void)
{
    struct mob *mob = api_init();
    mob_ref refs[2];
    struct seen seen;
    char text[4096];
    static const struct {
        const char *when, *says;
        int retries, on_error, attempts;
        mob_status st;
    } cases[] = {
        {"before", "rank 1 failed", 0, 0, 1, MOB_ERR_TASK_DIED},
        {"late", "rank 1 failed", 1, 0, 2, MOB_ERR_TASK_DIED},
        {"hang", "killed by signal 9", 0, 1, 1, MOB_ERR_TASK_DIED},
        {"broken", "rank 1 failed", 0, 0, 1, MOB_ERR_TASK_DIED},
        {"error", "row 17 is singular", 3, 0, 1, MOB_ERR_TASK_FAILED},
        {"error", "row 17 is singular", 2, 1, 3, MOB_ERR_TASK_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fate f = fate(cases[i].when, INT_MAX);
        struct mob_options o = parts(1, cases[i].retries);
        o.retry_on_error = cases[i].on_error;
        OK(mob_submit_gang(mob, dies, MOB_ARGS(MOB_VALUE(f)), &o, 2, refs));
        for (int k = 0; k < 2; k++) {
            IS(mob_get_copy(mob, refs[k], &seen, sizeof seen, MOB_FOREVER), cases[i].st);
            OK(mob_failure(mob, refs[k], text, sizeof text));
            HAS(text, cases[i].says);
            mob_release(mob, refs[k]);
        }
        EQ(attempts(f.path), cases[i].attempts);
    }
    mob_shutdown(mob);
}

/* The result of one that returned is not there while another may still die. */
static void results_come_together(void)
{
    struct mob *mob = api_init();
    mob_ref refs[2];
    struct fate f = fate("late", 1);
    unsigned char ready[2];
    size_t count;
    OK(mob_submit_gang(mob, dies, MOB_ARGS(MOB_VALUE(f)), NULL, 2, refs));
    while (attempts(f.path) < 2) {
        EQ(mob_contains(mob, refs[0]), 0);
        poll(NULL, 0, 1);
    }
    OK(mob_wait(mob, refs, 2, 2, MOB_FOREVER, ready, &count));
    (void)results(mob, refs, 2);
    mob_shutdown(mob);
}

/* ---- cancelling ---------------------------------------------------------------------------------------------------- */

static mob_status stays(struct mob_task *task)
{
    struct marked m;
    MOB_TRY(mob_arg_copy(task, 0, &m, sizeof m));
    count_attempt(m.path);
    if (mob_gang_rank(task) == 1) {
        for (;;) {
            pause();
        }
    }
    IS(mob_gang_exchange(task, NULL, 0, NULL, MOB_FOREVER), MOB_ERR_CANCELLED);
    return MOB_ERR_CANCELLED;
}
MOB_REGISTER(stays);

static void cancelled(void)
{
    struct mob *mob = api_init();
    mob_ref refs[2], waits[2];
    struct marked m;
    struct seen seen;
    struct mob_cancel_options by_force = MOB_CANCEL_OPTIONS_INIT;
    by_force.force = 1;
    by_force.grace_ns = 100 * MS;
    snprintf(m.path, sizeof m.path, "%s/stays", getenv("API_SCRATCH"));
    OK(mob_submit_gang(mob, stays, MOB_ARGS(MOB_VALUE(m)), NULL, 2, refs));
    OK(mob_submit_gang(mob, marks, MOB_ARGS(MOB_VALUE(m)), NULL, 2, waits));
    EVENTUALLY(attempts(m.path) == 2);
    OK(mob_cancel(mob, waits[1])); /* which waits for CPUs */
    for (int i = 0; i < 2; i++) {
        IS(mob_get_copy(mob, waits[i], &seen, sizeof seen, MOB_FOREVER),
           MOB_ERR_CANCELLED);
    }
    OK(mob_cancel_as(mob, refs[0], &by_force));
    for (int i = 0; i < 2; i++) {
        IS(mob_get_copy(mob, refs[i], &seen, sizeof seen, MOB_FOREVER),
           MOB_ERR_CANCELLED);
    }
    EQ(attempts(m.path), 2);
    OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 2,
                       refs)); /* the node is as it was */
    (void)results(mob, refs, 2);

    struct mob_options o = parts(1, 3);
    o.deadline_ns = 200 * MS;
    OK(mob_submit_gang(mob, stays, MOB_ARGS(MOB_VALUE(m)), &o, 2, refs));
    for (int i = 0; i < 2; i++) {
        IS(mob_get_copy(mob, refs[i], &seen, sizeof seen, MOB_FOREVER), MOB_ERR_DEADLINE);
    }
    mob_shutdown(mob);
}

/* ---- in tasks, in many, and wrongly ------------------------------------------------------------------------------- */

static mob_status submits(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    mob_ref refs[2];
    struct mob_options o = parts(0.5, 1);
    struct fate f;
    MOB_TRY(mob_arg_copy(task, 0, &f, sizeof f));
    EQ(mob_gang_size(task), 1);
    EQ(mob_gang_rank(task), 0);
    char mine = 'm', all;
    OK(mob_gang_exchange(task, &mine, 1, &all, 0));
    EQ(all, 'm');
    MOB_TRY(mob_submit_gang(mob, dies, MOB_ARGS(MOB_VALUE(f)), &o, 2, refs));
    return mob_return_ref(task, 0, refs[1]);
}
MOB_REGISTER(submits);

static void inside(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    struct seen seen;
    struct fate f = fate("after", 1);
    OK(mob_submit(mob, submits, MOB_ARGS(MOB_VALUE(f)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &seen, sizeof seen, MOB_FOREVER));
    EQ(seen.rank, 1);
    EQ(attempts(f.path), 2);
    mob_shutdown(mob);
}

/* Ids that are released before their gang has begun, and gangs whose driver goes. */
static void forgotten(void)
{
    struct mob *mob = api_init();
    mob_ref refs[2];
    struct marked m;
    snprintf(m.path, sizeof m.path, "%s/forgotten", getenv("API_SCRATCH"));
    for (int i = 0; i < 20; i++) {
        OK(mob_submit_gang(mob, marks, MOB_ARGS(MOB_VALUE(m)), NULL, 2, refs));
        mob_release(mob, refs[0]);
        mob_release(mob, refs[1]);
    }
    OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 2, refs));
    (void)results(mob, refs, 2);
    EQ(attempts(m.path), 40);
    OK(mob_submit_gang(mob, stays, MOB_ARGS(MOB_VALUE(m)), NULL, 2, refs));
    OK(mob_submit_gang(mob, stays, MOB_ARGS(MOB_VALUE(m)), NULL, 2, refs));
    EVENTUALLY(attempts(m.path) == 42);
    mob_shutdown(mob);
}

static mob_status nothing(struct mob_task *task)
{
    (void)task;
    return MOB_OK;
}

/* In a group of the program: within its bundles, one gang after the other; and one that is too large for it is refused. */
static void in_a_group(void)
{
    struct mob *mob = api_init();
    enum { GANGS = 6 };
    mob_ref refs[GANGS][2], more[3];
    struct mob_bundle b[2] = {MOB_BUNDLE_INIT, MOB_BUNDLE_INIT};
    struct mob_options o = parts(0.5, 1);
    struct fate f = fate("late", 1);
    b[0].num_cpus = b[1].num_cpus = 0.5;
    OK(mob_group_create(mob, b, 2, MOB_GROUP_PACK, &o.group));
    for (int i = 0; i < GANGS; i++) {
        OK(mob_submit_gang(mob, meets, MOB_NO_ARGS, &o, 2, refs[i]));
    }
    IS(mob_submit_gang(mob, meets, MOB_NO_ARGS, &o, 3, more), MOB_ERR_DEMAND);
    for (int i = 0; i < GANGS; i++) {
        (void)results(mob, refs[i], 2);
    }
    OK(mob_submit_gang(mob, dies, MOB_ARGS(MOB_VALUE(f)), &o, 2, more));
    (void)results(mob, more, 2);
    EQ(attempts(f.path), 2);
    mob_shutdown(mob);
}

static mob_status disagrees(struct mob_task *task)
{
    static char all[MOB_GANG_MAX * MOB_EXCHANGE_MAX];
    static const char mine[MOB_EXCHANGE_MAX + 1];
    IS(mob_gang_exchange(task, mine, sizeof mine, all, 0), MOB_ERR_INVALID);
    IS(mob_gang_exchange(task, NULL, 1, all, 0), MOB_ERR_INVALID);
    IS(mob_gang_exchange(task, mine, mob_gang_rank(task) + 1, all, MOB_FOREVER),
       MOB_ERR_SIZE);
    unsigned one = mob_gang_rank(task) + 1;
    unsigned both[2] = {0};
    if (one == 2) {
        poll(NULL, 0, 50);
    }
    mob_status st = MOB_ERR_TIMEOUT;
    while (st == MOB_ERR_TIMEOUT) {
        st = mob_gang_exchange(task, &one, sizeof one, both, 5 * MS);
    }
    OK(st);
    EQ(both[0] + 10 * both[1], 21);
    return MOB_OK;
}
MOB_REGISTER(disagrees);

static void misuse(void)
{
    struct mob *mob = api_init();
    mob_ref refs[MOB_GANG_MAX + 1];
    size_t size;
    long x = 1;
    struct mob_options o = parts(1.5, 0);
    IS(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 0, refs), MOB_ERR_INVALID);
    IS(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, MOB_GANG_MAX + 1, refs),
       MOB_ERR_INVALID);
    IS(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, 2, NULL), MOB_ERR_INVALID);
    IS(mob_submit_gang(mob, nothing, MOB_NO_ARGS, NULL, 2, refs), MOB_ERR_NO_FUNCTION);
    IS(mob_submit_gang(NULL, meets, MOB_NO_ARGS, NULL, 2, refs), MOB_ERR_INVALID);
    struct mob_arg many[MOB_ARGS_MAX];
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        many[i] = MOB_VALUE(x);
    }
    IS(mob_submit_gang(mob, meets, ((struct mob_args){MOB_ARGS_MAX, many}), NULL, 2,
                       refs),
       MOB_ERR_INVALID);
    IS(mob_submit_gang(mob, meets, MOB_ARGS(MOB_REF(((mob_ref){1, 2}))), NULL, 2, refs),
       MOB_ERR_RELEASED);
    IS(mob_submit_gang(mob, meets, MOB_NO_ARGS, &o, 2, refs),
       MOB_ERR_DEMAND); /* of 2 CPUs */
    OK(mob_submit_gang(mob, disagrees, MOB_NO_ARGS, NULL, 2, refs));
    for (int i = 0; i < 2; i++) {
        OK(mob_get_size(mob, refs[i], MOB_FOREVER, &size));
        EQ(size, 0);
    }
    mob_shutdown(mob);
}

API_MAIN({"together", together, 0}, {"arguments", arguments, 0}, {"deaths", deaths, 60},
         {"death_in_exchange", death_in_exchange, 60},
         {"no_retries_left", no_retries_left, 60},
         {"results_come_together", results_come_together, 0}, {"cancelled", cancelled, 0},
         {"inside", inside, 0}, {"forgotten", forgotten, 60}, {"misuse", misuse, 0},
         {"in_a_group", in_a_group, 60});
