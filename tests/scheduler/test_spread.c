/* Whom a node is sent to for an object of another. */
#include <criterion/criterion.h>

#include "scheduler/spread.h"

enum { OWNER = 1, PART = 1 << 20 };
#define SIZE (64ull << 20)

static struct spread *s;
static const struct spread_object it = {7, 42};

static void make(void)
{
    cr_assert_eq(spread_create(OWNER, PART, &s), MOB_OK);
}
static void unmake(void)
{
    spread_destroy(s);
}
TestSuite(spread, .init = make, .fini = unmake, .timeout = 60);

static uint64_t ask(uint64_t node, uint64_t failed)
{
    return spread_ask(s, it, SIZE, node, failed);
}

static struct spread_view view(uint64_t node)
{
    struct spread_view v;
    cr_assert_eq(spread_view(s, it, node, &v), MOB_OK);
    return v;
}

Test(spread, who_come_while_it_is_on_its_way_make_a_chain)
{
    for (uint64_t node = 10; node < 20; node++) {
        cr_assert_eq(ask(node, 0), node == 10 ? OWNER : node - 1);
        cr_assert_eq(view(node).depth, node - 9);
        cr_assert_eq(view(node).width, 1);
    }
}

/* No chain is longer than the object has parts, if that can be helped. */
Test(spread, a_long_chain_branches)
{
    uint32_t depth = 0;
    for (uint64_t node = 10; node < 1010; node++) {
        (void)ask(node, 0);
        depth = view(node).depth > depth ? view(node).depth : depth;
        cr_assert_leq(view(node).width, SPREAD_FLOWS_MAX);
    }
    cr_assert_geq(depth, SIZE / PART);
    cr_assert_leq(depth, SIZE / PART + 16);
}

Test(spread, whole_copies_share_the_load)
{
    uint64_t from[4] = {0};
    for (uint64_t node = 10; node < 13; node++) {
        spread_whole(s, it, node);
    }
    for (uint64_t node = 20; node < 24; node++) {
        uint64_t source = ask(node, 0);
        from[source == OWNER ? 0 : source - 9]++;
    }
    for (int i = 0; i < 4; i++) {
        cr_assert_eq(from[i], 1, "one of four has to give it %d times", (int)from[i]);
    }
}

/* The load of other objects counts too. */
Test(spread, a_busy_node_is_spared)
{
    const struct spread_object other = {7, 43};
    spread_whole(s, it, 10);
    spread_whole(s, it, 11);
    spread_whole(s, other, 10);
    cr_assert_eq(spread_ask(s, other, SIZE, 30, 0), OWNER);
    cr_assert_eq(spread_ask(s, other, SIZE, 31, 0), 10);
    cr_assert_eq(ask(20, 0), 11);
}

Test(spread, a_link_that_broke_is_spliced_out)
{
    for (uint64_t node = 10; node < 15; node++) {
        (void)ask(node, 0);
    }
    spread_node_lost(s, 12);
    cr_assert_eq(view(13).source, 0);
    cr_assert_eq(view(14).source, 13, "it goes on waiting for the one before it");
    uint64_t source = ask(13, 12);
    cr_assert(source == 11 || source == OWNER);
    cr_assert_eq(view(13).source, source);
}

/* Everybody behind a node that asks again gets its bytes from it. */
Test(spread, nobody_is_sent_to_who_waits_for_him)
{
    for (uint64_t node = 10; node < 30; node++) {
        (void)ask(node, 0);
    }
    for (uint64_t node = 10; node < 30; node++) {
        uint64_t source = ask(node, 0), at = source;
        for (int steps = 0; at != OWNER; steps++) {
            cr_assert_lt(steps, 64);
            cr_assert_neq(at, node, "a loop");
            at = view(at).source;
            cr_assert_neq(at, 0);
        }
    }
}

Test(spread, who_was_of_no_use_is_not_named_until_it_has_a_copy_again)
{
    spread_whole(s, it, 10);
    cr_assert_eq(ask(20, 0), OWNER);
    cr_assert_eq(ask(21, 0), 10);
    cr_assert_neq(ask(21, 10), 10);
    for (uint64_t node = 30; node < 60; node++) {
        cr_assert_neq(ask(node, 0), 10);
    }
    spread_whole(s, it, 10);
    cr_assert_eq(ask(60, 0), 10);
}

Test(spread, who_asks_for_the_owner_gets_the_owner)
{
    spread_whole(s, it, 10);
    (void)ask(20, 0);
    cr_assert_eq(ask(21, 21), OWNER);
}

Test(spread, it_forgets_nodes_and_jobs)
{
    (void)ask(10, 0);
    spread_whole(s, it, 11);
    cr_assert(spread_has(s, it, 10) && spread_has(s, it, 11));
    spread_gone(s, it, 10);
    cr_assert(!spread_has(s, it, 10));
    spread_node_lost(s, 11);
    cr_assert(!spread_has(s, it, 11));
    spread_whole(s, it, 11);
    spread_job_over(s, 8);
    cr_assert(spread_has(s, it, 11));
    spread_job_over(s, 7);
    cr_assert(!spread_has(s, it, 11));
    cr_assert_eq(ask(12, 0), OWNER);
}

/* Full tables forget the oldest; whoever is not known is served by the owner. */
Test(spread, it_is_bounded)
{
    for (uint64_t link = 0; link < 2 * SPREAD_OBJECTS_MAX; link++) {
        spread_whole(s, (struct spread_object){7, link}, 10 + link % 5);
    }
    cr_assert(!spread_has(s, (struct spread_object){7, 0}, 10));
    cr_assert(spread_has(s, (struct spread_object){7, 2 * SPREAD_OBJECTS_MAX - 1},
                         10 + (2 * SPREAD_OBJECTS_MAX - 1) % 5));
    for (uint64_t link = 0; link < 20; link++) { /* more copies than there is room for */
        for (uint64_t node = 10; node < 10 + NODES_MAX + 50; node++) {
            spread_whole(s, (struct spread_object){8, link}, node);
        }
    }
    cr_assert(!spread_has(s, (struct spread_object){8, 0}, 10));
    cr_assert(spread_has(s, (struct spread_object){8, 19}, 10));
    spread_reset(s, 2);
    cr_assert(!spread_has(s, (struct spread_object){8, 19}, 10));
    cr_assert_eq(ask(10, 0), 2);
}

/* Whatever is said in whatever order: no loops, and counts that come back to nothing. */
Test(spread, any_history)
{
    uint64_t random = 1;
    enum { N = 12, LINKS = 3 };
    for (int step = 0; step < 200000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t node = 10 + (random >> 33) % N, other = 10 + (random >> 40) % N;
        struct spread_object o = {1, (random >> 50) % LINKS};
        switch ((random >> 58) % 8) {
        case 0:
            spread_gone(s, o, node);
            break;
        case 1:
            spread_node_lost(s, node);
            break;
        case 2:
        case 3:
            spread_whole(s, o, node);
            break;
        default:
            cr_assert_neq(spread_ask(s, o, SIZE, node, (random >> 30) % 3 ? 0 : other),
                          node);
        }
        struct spread_view v = {.source = 0};
        uint64_t at = node;
        for (int deep = 0; spread_view(s, o, at, &v) == MOB_OK && v.source > OWNER;
             deep++) {
            cr_assert_lt(deep, N, "a loop");
            at = v.source;
        }
    }
    for (uint64_t node = 10; node < 10 + N; node++) {
        for (uint64_t link = 0; link < LINKS; link++) {
            spread_whole(s, (struct spread_object){1, link}, node);
        }
    }
    struct spread_view v;
    for (uint64_t node = 10; node < 10 + N; node++) {
        cr_assert_eq(spread_view(s, (struct spread_object){1, 0}, node, &v), MOB_OK);
        cr_assert_eq(v.flows, 0, "a flow that nobody ended");
    }
}
