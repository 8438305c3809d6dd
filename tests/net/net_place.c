/* net_place.c - tasks that ask for what one node alone has, or for a node.
 *
 * Node 1, the driver's, has one CPU and is in zone a; node 2 joins once the driver was told that nobody has a tape. It
 * has two CPUs and two tapes, and is in zone b. At the end the script kills it. */
#include <string.h>

#include "net_driver.h"

enum { TASKS = 12 };

/* Runs tasks and returns how many of them ran on @node. */
static int ran_on(uint64_t node, const struct mob_options *o, unsigned ms)
{
    mob_ref ref[TASKS];
    int there = 0;
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(mob_submit_name(mob, "where", MOB_ARGS(MOB_VALUE(ms)), o, &ref[i]));
    }
    for (int i = 0; i < TASKS; i++) {
        uint64_t id;
        MOB_CHECK(mob_get_copy(mob, ref[i], &id, sizeof id, 60 * 1000000000ull));
        mob_release(mob, ref[i]);
        there += id == node;
    }
    return there;
}

static void expect(const char *what, int there, int least, int most)
{
    printf("%s: %d of %d on node 2\n", what, there, TASKS);
    if (there < least || there > most) {
        FAIL("%s: %d of %d tasks ran on node 2, and not %d to %d", what, there, TASKS,
             least, most);
    }
}

/* The node where the only tapes are, which comes while this waits. */
static uint64_t find_tapes(void)
{
    struct mob_options tape = MOB_OPTIONS_INIT;
    unsigned ms = 1;
    uint64_t id;
    mob_ref ref;
    tape.resources = "tape=1";
    MOB_CHECK(mob_submit_name(mob, "where", MOB_ARGS(MOB_VALUE(ms)), &tape, &ref));
    MOB_CHECK(mob_get_copy(mob, ref, &id, sizeof id, 60 * 1000000000ull));
    mob_release(mob, ref);
    if (id == node_here(mob)) {
        FAIL("a task with a tape ran where there is none");
    }
    return id;
}

static unsigned nodes(void)
{
    struct mob_info info = {.struct_size = sizeof info};
    MOB_CHECK(mob_get_info(mob, &info));
    return info.nodes;
}

void place(void)
{
    const struct mob_options none = MOB_OPTIONS_INIT;
    struct mob_options o = none;
    uint64_t two = find_tapes();
    o.resources = "tape=0.5";
    expect("tapes", ran_on(two, &o, 1), TASKS, TASKS);
    o = none, o.labels = "zone in (b|c)";
    expect("its labels", ran_on(two, &o, 1), TASKS, TASKS);
    o = none, o.labels = "zone!=b";
    expect("other labels", ran_on(two, &o, 1), 0, 0);
    o = none, o.strategy = MOB_STRATEGY_SPREAD;
    expect("spread", ran_on(two, &o, 200), 1, TASKS - 1);
    o.strategy = MOB_STRATEGY_NODE, o.node = two;
    expect("it and no other", ran_on(two, &o, 1), TASKS, TASKS);
    o.node = node_here(mob);
    expect("the other and not it", ran_on(two, &o, 1), 0, 0);
    o.strategy = MOB_STRATEGY_NODE_SOFT, o.node = two;
    expect("it if it can be", ran_on(two, &o, 1), 1, TASKS);
    puts("kill it");
    fflush(stdout);
    while (nodes() > 1) {
        nap_ms(20);
    }
    expect("it, but it is gone", ran_on(two, &o, 1), 0, 0);
    o.strategy = MOB_STRATEGY_NODE;
    unsigned ms = 1;
    uint64_t id;
    mob_ref ref;
    MOB_CHECK(mob_submit_name(mob, "where", MOB_ARGS(MOB_VALUE(ms)), &o, &ref));
    mob_status st = mob_get_copy(mob, ref, &id, sizeof id, 60 * 1000000000ull);
    if (st != MOB_ERR_DEMAND || !strstr(mob_last_error(), "and no other")) {
        FAIL("a node that is gone: %s: %s", mob_status_name(st), mob_last_error());
    }
}
