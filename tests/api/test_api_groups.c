/* Groups of bundles on a node alone: what is set aside, for whom, and when it comes back. */
#include <pthread.h>

#include "tasks.h"

static mob_status one(struct mob_task *task)
{
    double x = 1;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(one);

static void make(struct mob *mob, size_t count, double cpus, enum mob_group_strategy how,
                 mob_group *ret)
{
    struct mob_bundle b[8];
    for (size_t i = 0; i < count; i++) {
        b[i] = (struct mob_bundle)MOB_BUNDLE_INIT;
        b[i].num_cpus = cpus;
    }
    OK(mob_group_create(mob, b, count, how, ret));
}

static mob_ref submit(struct mob *mob, mob_group group, int bundle)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    o.group = group;
    o.bundle = bundle;
    OK(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref));
    return ref;
}

static void ends_well(struct mob *mob, mob_ref ref)
{
    double x;
    OK(mob_get_copy(mob, ref, &x, sizeof x, 20 * SEC));
    mob_release(mob, ref);
}

/* Says in a file that it began, then waits for its gate. */
struct begins {
    char began[96], gate[96];
};

static mob_status begin_and_wait(struct mob_task *task)
{
    struct begins b;
    double x = 1;
    MOB_TRY(mob_arg_copy(task, 0, &b, sizeof b));
    count_attempt(b.began);
    api_gate_wait(b.gate);
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(begin_and_wait);

static struct begins new_begins(const struct api_gate *g, const char *name)
{
    struct begins b;
    snprintf(b.gate, sizeof b.gate, "%s", g->path);
    snprintf(b.began, sizeof b.began, "%s/%s", getenv("API_SCRATCH"), name);
    unlink(b.began);
    return b;
}

static mob_ref submit_begins(struct mob *mob, const struct begins *b, mob_group group)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    o.group = group;
    OK(mob_submit(mob, begin_and_wait, MOB_ARGS(MOB_VALUE(*b)), &o, &ref));
    return ref;
}

static void tasks_run_in_it_and_the_rest_is_for_others(void)
{
    struct mob *mob = api_init_with(4, 64u << 20);
    struct api_gate gate;
    mob_group g;
    mob_ref others[8], in[4];
    uint64_t nodes[2] = {0};
    size_t count;
    api_gate_make(&gate);
    make(mob, 2, 1, MOB_GROUP_PACK, &g);
    OK(mob_group_wait(mob, g, 20 * SEC));
    OK(mob_group_nodes(mob, g, nodes, 2, &count));
    EQ(count, 2);
    CHECK(nodes[0] == api_info(mob).node_id && nodes[1] == nodes[0]);
    ends_well(mob, submit(mob, g, MOB_BUNDLE_ANY));
    ends_well(mob, submit(mob, g, 1));
    /* Others have the other two CPUs, as many as there are; the group's tasks do not wait for them, and in the group
     * no more than two run at once. */
    struct begins o = new_begins(&gate, "others"), b = new_begins(&gate, "in");
    for (int i = 0; i < 8; i++) {
        others[i] = submit_begins(mob, &o, 0);
    }
    EVENTUALLY(attempts(o.began) == 2);
    ends_well(mob, submit(mob, g, 0));
    for (int i = 0; i < 4; i++) {
        in[i] = submit_begins(mob, &b, g);
    }
    EVENTUALLY(attempts(b.began) == 2);
    EQ(attempts(o.began), 2);
    api_gate_open(&gate, 12);
    for (int i = 0; i < 4; i++) {
        ends_well(mob, in[i]);
    }
    for (int i = 0; i < 8; i++) {
        ends_well(mob, others[i]);
    }
    OK(mob_group_remove(mob, g));
    IS(mob_group_wait(mob, g, 0), MOB_ERR_NOT_FOUND);
    mob_shutdown(mob);
}

static void it_waits_until_there_is_room(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    mob_group first, second;
    make(mob, 2, 1, MOB_GROUP_STRICT_PACK, &first);
    OK(mob_group_wait(mob, first, 20 * SEC));
    make(mob, 1, 1, MOB_GROUP_SPREAD, &second);
    IS(mob_group_wait(mob, second, 50 * MS), MOB_ERR_TIMEOUT);
    HAS(mob_last_error(), "1 of its 1 bundles have no place");
    mob_ref waits = submit(mob, second, MOB_BUNDLE_ANY);
    size_t size;
    IS(mob_get_size(mob, waits, 50 * MS, &size), MOB_ERR_TIMEOUT);
    OK(mob_group_remove(mob, first));
    OK(mob_group_wait(mob, second, 20 * SEC));
    ends_well(mob, waits);
    mob_shutdown(mob);
}

static void what_can_never_be_is_an_error(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    struct mob_options o = MOB_OPTIONS_INIT;
    struct mob_bundle b[2] = {MOB_BUNDLE_INIT, MOB_BUNDLE_INIT};
    mob_group g;
    mob_ref ref;
    b[1].num_cpus = 3;
    IS(mob_group_create(mob, b, 2, MOB_GROUP_PACK, &g), MOB_ERR_DEMAND);
    HAS(mob_last_error(), "bundle 1 of 2 asks for 3 CPUs");
    b[1].num_cpus = 2;
    IS(mob_group_create(mob, b, 2, MOB_GROUP_STRICT_PACK, &g), MOB_ERR_DEMAND);
    b[1].num_cpus = 1;
    IS(mob_group_create(mob, b, 2, MOB_GROUP_STRICT_SPREAD, &g), MOB_ERR_DEMAND);
    IS(mob_group_create(mob, b, 0, MOB_GROUP_PACK, &g), MOB_ERR_INVALID);
    IS(mob_group_create(mob, b, 65, MOB_GROUP_PACK, &g), MOB_ERR_INVALID);
    IS(mob_group_create(mob, b, 2, (enum mob_group_strategy)4, &g), MOB_ERR_INVALID);
    b[1].resources = "tape=x";
    IS(mob_group_create(mob, b, 2, MOB_GROUP_PACK, &g), MOB_ERR_INVALID);
    b[1].resources = NULL;
    OK(mob_group_create(mob, b, 2, MOB_GROUP_PACK, &g));
    o.group = g;
    o.bundle = 2;
    IS(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref), MOB_ERR_INVALID);
    o.bundle = 1;
    o.num_cpus = 2;
    IS(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref), MOB_ERR_DEMAND);
    o.num_cpus = 0;
    o.strategy = MOB_STRATEGY_SPREAD;
    IS(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref), MOB_ERR_INVALID);
    o.strategy = MOB_STRATEGY_DEFAULT;
    o.group =
        0; /* then the bundle means nothing: 0 is what a struct filled by hand has there */
    OK(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref));
    OK(mob_cancel(mob, ref)); /* the group has all CPUs */
    mob_release(mob, ref);
    o.group = 12345;
    o.bundle = MOB_BUNDLE_ANY;
    IS(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref), MOB_ERR_NOT_FOUND);
    IS(mob_group_remove(mob, 12345), MOB_ERR_NOT_FOUND);
    mob_shutdown(mob);
}

static void fails_with(struct mob *mob, mob_ref ref, mob_status status, const char *why)
{
    size_t size;
    char text[512];
    IS(mob_get_size(mob, ref, 15 * SEC, &size), status);
    OK(mob_failure(mob, ref, text, sizeof text));
    HAS(text, why);
}

static void removing_it_ends_its_tasks(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    struct api_gate gate;
    mob_group g, next;
    api_gate_make(&gate);
    make(mob, 1, 2, MOB_GROUP_PACK, &g);
    struct begins b = new_begins(&gate, "runs");
    mob_ref ref[4];
    for (int i = 0; i < 4; i++) {
        ref[i] = submit_begins(mob, &b, g);
    }
    EVENTUALLY(attempts(b.began) == 2);
    make(mob, 2, 1, MOB_GROUP_PACK, &next);
    OK(mob_group_remove(mob, g));
    for (int i = 0; i < 4; i++) {
        fails_with(mob, ref[i], MOB_ERR_CANCELLED, "");
    }
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref late;
    o.group = g;
    IS(mob_submit(mob, one, MOB_NO_ARGS, &o, &late), MOB_ERR_NOT_FOUND);
    HAS(mob_last_error(), "removed");
    OK(mob_group_wait(mob, next, 20 * SEC)); /* all of it came back */
    ends_well(mob, submit(mob, next, 1));
    mob_shutdown(mob);
}

/* Makes a group of its own, waits for it, runs tasks in it and in the one that it is in. */
static mob_status nests(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    mob_group outer, own;
    double x, sum = 0;
    MOB_TRY(mob_arg_copy(task, 0, &outer, sizeof outer));
    struct mob_bundle b = MOB_BUNDLE_INIT;
    MOB_TRY(mob_group_create(mob, &b, 1, MOB_GROUP_PACK, &own));
    MOB_TRY(mob_group_wait(mob, own, 20 * SEC));
    for (int i = 0; i < 4; i++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        mob_ref ref;
        o.group = i % 2 ? own : outer;
        MOB_TRY(mob_submit(mob, one, MOB_NO_ARGS, &o, &ref));
        MOB_TRY(mob_get_copy(mob, ref, &x, sizeof x, 20 * SEC));
        mob_release(mob, ref);
        sum += x;
    }
    MOB_TRY(mob_group_remove(mob, own));
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(nests);

static void tasks_have_groups_of_their_own(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_group g, all;
    double sum;
    mob_ref ref;
    make(mob, 1, 1, MOB_GROUP_PACK, &g);
    o.group = g;
    OK(mob_submit(mob, nests, MOB_ARGS(MOB_VALUE(g)), &o, &ref));
    OK(mob_get_copy(mob, ref, &sum, sizeof sum, 30 * SEC));
    EQ(sum, 4);
    OK(mob_group_remove(mob, g));
    make(mob, 1, 2, MOB_GROUP_PACK, &all);
    OK(mob_group_wait(mob, all, 20 * SEC)); /* nothing is left behind */
    mob_shutdown(mob);
}

static void a_killed_worker_leaves_its_bundle(void)
{
    struct mob *mob = api_init_with(1, 64u << 20);
    struct mob_options o = MOB_OPTIONS_INIT;
    struct how h = how("segv", 1);
    long done;
    mob_group g;
    mob_ref ref;
    make(mob, 1, 1, MOB_GROUP_PACK, &g);
    o.group = g;
    OK(mob_submit(mob, fail, MOB_ARGS(MOB_VALUE(h)), &o, &ref));
    OK(mob_get_copy(mob, ref, &done, sizeof done, 20 * SEC));
    EQ(done, 2);
    ends_well(mob, submit(mob, g, 0));
    mob_shutdown(mob);
}

/* A gang in it ends too, and its place is another's. */
static void removing_it_ends_a_gang(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    struct api_gate gate;
    api_gate_make(&gate);
    struct begins b = new_begins(&gate, "gang");
    for (int i = 0; i < 20; i++) {
        struct mob_options o = MOB_OPTIONS_INIT;
        mob_ref ref[2];
        unlink(b.began);
        make(mob, 1, 2, MOB_GROUP_PACK, &o.group);
        OK(mob_submit_gang(mob, begin_and_wait, MOB_ARGS(MOB_VALUE(b)), &o, 2, ref));
        if (i % 2) {
            EVENTUALLY(attempts(b.began) == 2);
        }
        OK(mob_group_remove(mob, o.group));
        for (int k = 0; k < 2; k++) {
            fails_with(mob, ref[k], MOB_ERR_CANCELLED, "");
        }
    }
    mob_shutdown(mob);
}

/* More groups in one job than there are kinds of tasks, with tasks of two kinds in each. */
static void as_many_as_one_likes_one_after_the_other(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    mob_group g, kept;
    make(mob, 1, 1, MOB_GROUP_PACK, &kept);
    for (int i = 0; i < 200; i++) {
        make(mob, 1, 1, MOB_GROUP_PACK, &g);
        mob_ref any = submit(mob, g, MOB_BUNDLE_ANY), first = submit(mob, g, 0);
        ends_well(mob, any);
        if (i % 3 == 0) {
            OK(mob_group_remove(mob, g)); /* with a task in it, or not */
            mob_release(mob, first);
        } else {
            ends_well(mob, first);
            OK(mob_group_remove(mob, g));
        }
    }
    ends_well(mob, submit(mob, kept, 0));
    mob_shutdown(mob);
}

/* All places are taken by what was just removed: a new kind waits for one of them. */
static void a_new_kind_waits_for_the_place_of_an_old_one(void)
{
    struct mob *mob = api_init_with(16, 64u << 20);
    mob_group g[14];
    mob_ref ref[14];
    struct api_gate gate;
    api_gate_make(&gate);
    struct begins b = new_begins(&gate, "places");
    for (int round = 0; round < 3; round++) {
        unlink(b.began);
        for (int i = 0; i < 14; i++) {
            make(mob, 1, 1, MOB_GROUP_PACK, &g[i]);
            ref[i] = submit_begins(mob, &b, g[i]);
        }
        EVENTUALLY(attempts(b.began) == 14);
        for (int i = 0; i < 14; i++) {
            OK(mob_group_remove(mob, g[i]));
        }
        for (int i = 0; i < 14; i++) {
            fails_with(mob, ref[i], MOB_ERR_CANCELLED, "");
        }
    }
    mob_shutdown(mob);
}

/* Threads submit to a group while it is removed, and to the next that has its place. */
struct submits {
    struct mob *mob;
    mob_group group;
    int refused, failed, done;
};

static void *submit_until_it_is_gone(void *arg)
{
    struct submits *s = arg;
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    double x;
    o.group = s->group;
    for (;;) {
        mob_status st = mob_submit(s->mob, one, MOB_NO_ARGS, &o, &ref);
        if (st) {
            IS(st, MOB_ERR_NOT_FOUND);
            return NULL;
        }
        st = mob_get_copy(s->mob, ref, &x, sizeof x, 20 * SEC);
        CHECK(st == MOB_OK || st == MOB_ERR_CANCELLED);
        s->done += st == MOB_OK;
        s->failed += st != MOB_OK;
        mob_release(s->mob, ref);
    }
}

static void it_may_be_removed_while_threads_submit(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    mob_group next;
    for (int i = 0; i < 40; i++) {
        struct submits s[2];
        pthread_t thread[2];
        memset(s, 0, sizeof s);
        s[0].mob = s[1].mob = mob;
        make(mob, 1, 1, MOB_GROUP_PACK, &s[0].group);
        s[1].group = s[0].group;
        make(mob, 1, 1, MOB_GROUP_PACK, &next);
        for (int k = 0; k < 2; k++) {
            EQ(pthread_create(&thread[k], NULL, submit_until_it_is_gone, &s[k]), 0);
        }
        ends_well(mob, submit(mob, next, 0));
        OK(mob_group_remove(mob, s[0].group));
        ends_well(mob, submit(mob, next, MOB_BUNDLE_ANY));
        for (int k = 0; k < 2; k++) {
            EQ(pthread_join(thread[k], NULL), 0);
        }
        OK(mob_group_remove(mob, next));
    }
    mob_shutdown(mob);
}

/* In a group: waits for a task outside it, with its slot lent out. */
static mob_status wait_for_another(struct mob_task *task)
{
    struct begins b;
    mob_ref ref;
    double x;
    struct mob *mob = mob_task_mob(task);
    MOB_TRY(mob_arg_copy(task, 0, &b, sizeof b));
    MOB_TRY(mob_submit(mob, begin_and_wait, MOB_ARGS(MOB_VALUE(b)), NULL, &ref));
    MOB_TRY(mob_get_copy(mob, ref, &x, sizeof x, MOB_FOREVER));
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(wait_for_another);

/* A task comes out of its get while another one has its slot, and ends before that one does. Then the group goes, and with it
 * the room that it would have come back to: nothing of it may be left, or its kind of task never is free again. */
static void a_task_ends_before_it_has_its_slot_again(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    struct api_gate child, holder;
    api_gate_make(&child);
    api_gate_make(&holder);
    for (int round = 0; round < 20; round++) { /* more than a job has kinds */
        struct begins c = new_begins(&child, "child"), h = new_begins(&holder, "holder");
        struct mob_options o = MOB_OPTIONS_INIT;
        mob_group g;
        mob_ref waits, holds;
        make(mob, 1, 0.5, MOB_GROUP_PACK, &g);
        o.group = g;
        o.num_cpus = 0.5;
        OK(mob_submit(mob, wait_for_another, MOB_ARGS(MOB_VALUE(c)), &o, &waits));
        EVENTUALLY(attempts(c.began) == 1);
        OK(mob_submit(mob, begin_and_wait, MOB_ARGS(MOB_VALUE(h)), &o, &holds));
        EVENTUALLY(attempts(h.began) == 1); /* it has the slot now */
        api_gate_open(&child, 1);
        ends_well(mob, waits);
        OK(mob_group_remove(mob, g));
        double x;
        IS(mob_get_copy(mob, holds, &x, sizeof x, 20 * SEC), MOB_ERR_CANCELLED);
        mob_release(mob, holds);
    }
    mob_shutdown(mob);
}

static const struct api_case cases[] = {
    {"tasks_run_in_it_and_the_rest_is_for_others",
     tasks_run_in_it_and_the_rest_is_for_others, 0},
    {"it_waits_until_there_is_room", it_waits_until_there_is_room, 0},
    {"what_can_never_be_is_an_error", what_can_never_be_is_an_error, 0},
    {"removing_it_ends_its_tasks", removing_it_ends_its_tasks, 0},
    {"tasks_have_groups_of_their_own", tasks_have_groups_of_their_own, 40},
    {"a_killed_worker_leaves_its_bundle", a_killed_worker_leaves_its_bundle, 0},
    {"removing_it_ends_a_gang", removing_it_ends_a_gang, 60},
    {"as_many_as_one_likes_one_after_the_other", as_many_as_one_likes_one_after_the_other,
     60},
    {"a_new_kind_waits_for_the_place_of_an_old_one",
     a_new_kind_waits_for_the_place_of_an_old_one, 60},
    {"a_task_ends_before_it_has_its_slot_again", a_task_ends_before_it_has_its_slot_again,
     60},
    {"it_may_be_removed_while_threads_submit", it_may_be_removed_while_threads_submit,
     60},
};

int main(int argc, char **argv)
{
    return api_main(argc, argv, cases, sizeof cases / sizeof *cases);
}
