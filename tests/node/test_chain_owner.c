/* Arrays of several nodes that are folded on their way, on the side of the task's owner: which nodes it names, and what
 * it sends when the chain broke. */
#include "chain_talk.h"

/* An object of the node's own job, of which @at, or nobody else if that is 0, has a copy. */
static uint64_t array_of(uint64_t size, int at)
{
    uint64_t link = object(j, size);
    if (at) {
        hint_there(j, cluster_peer(w.node.cluster, id_of(at)), link, size);
    }
    return link;
}

/* A reduction of those, of 32-bit integers. */
static struct record *reduction_of(const uint64_t *arrays, uint32_t count,
                                   uint8_t retries)
{
    struct call call = {.class_options = (uint8_t)(w.big | CALL_HAS_REFS << 4),
                        .counts = call_counts(1 + count, 1),
                        .retries = retries};
    struct fold_what what = {FOLD_MAX, FOLD_I32};
    struct record *r;
    uint64_t link;
    cr_assert_eq(board_name(&j->board, DAEMON, FOLD_TASK, &call.fn), MOB_OK);
    cr_assert_eq(lane_record(&j->lane, &r), MOB_OK);
    task_begin(&j->lane, r, &call, LINK_NONE);
    memcpy(task_add_value(r, 0, sizeof what), &what, sizeof what);
    for (uint32_t i = 0; i < count; i++) {
        cr_assert(task_add_ref(r, 1 + i, arrays[i]));
    }
    cr_assert_eq(task_publish(&j->lane, r, &link), MOB_OK);
    return r;
}

static void owner(void)
{
    begin(true);
    world_up(&w, OTHER);
    world_up(&w, THIRD);
    j = world_job(&w);
}

/* Whether arrays of @size at those nodes are folded on their way to THIRD; then by whom: "2.13" is OTHER, this node,
 * OWNER, THIRD. */
static const char *way_of(uint64_t size, int a, int b, int c, int d)
{
    static char text[8];
    int at[] = {a, b, c, d};
    uint64_t arrays[4];
    struct fold_order o;
    owner();
    for (int i = 0; i < 4; i++) {
        arrays[i] = array_of(size, at[i]);
    }
    struct record *r = reduction_of(arrays, 4, 3);
    bool pays = fold_pays(j, r, cluster_peer(w.node.cluster, id_of(THIRD)), &o);
    for (uint32_t i = 0; pays && i < o.count; i++) {
        cr_assert_eq(o.arrays[i].link, arrays[i]);
        text[i] = '.';
        for (int peer = OWNER; peer <= THIRD; peer++) {
            text[i] = o.arrays[i].node == id_of(peer) ? (char)('0' + peer) : text[i];
        }
        text[i + 1] = '\0';
    }
    world_end(&w);
    return pays ? text : "no";
}

Test(chain_owner, the_owner_names_nodes_that_have_the_arrays)
{
    cr_assert_str_eq(way_of(SIZE, 1, 2, 1, 2), "1212");
    cr_assert_str_eq(way_of(SIZE, 1, 2, 2, 3), "1223");
    cr_assert_str_eq(way_of(SIZE, 1, 2, 3, 3), "1233");
    cr_assert_str_eq(way_of(SIZE, 2, 0, 0, 1), "2..1");
    cr_assert_str_eq(way_of(SIZE, 3, 2, 1, 0), ".21.", "not twice through the last");
    cr_assert_str_eq(way_of(SIZE, 1, 1, 2, 2), ".122", "the first shows one array");
    cr_assert_str_eq(way_of(SIZE, 0, 0, 0, 0), "no", "one node has them all");
    cr_assert_str_eq(way_of(SIZE, 1, 3, 3, 3), "no", "one is missing");
    cr_assert_str_eq(way_of(SIZE / 8, 1, 2, 1, 2), "no", "small ones");
    cr_assert_str_eq(way_of(SIZE + 2, 1, 2, 1, 2), "no", "no whole numbers");
}

/* Arguments of the task in the last TASKS to @peer. */
static uint8_t args_sent(int peer)
{
    struct codec_reader r;
    struct demand demand;
    codec_reader_init(&r, w.peers[peer].last[WIRE_TASKS], WORLD_LAST_BYTES);
    (void)codec_get_u8(&r);
    (void)codec_get_u32(&r);
    (void)codec_get_u64(&r);
    (void)codec_get_u64(&r); /* epoch and class */
    cr_assert(wire_get_demand(&r, &demand));
    (void)codec_get_u64(&r); /* count and slot */
    (void)codec_get_u64(&r);
    (void)codec_get_u16(&r); /* retries and options */
    (void)codec_get_u8(&r);
    return codec_get_u8(&r);
}

Test(chain_owner, what_comes_back_goes_out_with_the_arrays_themselves)
{
    owner();
    world_task(&w, j, 0, 0, 1);
    world_send(&w, j, THIRD, 1); /* which makes the job known there */
    uint64_t arrays[3];
    for (int i = 0; i < 3; i++) {
        arrays[i] = array_of(SIZE, OWNER + i % 2);
    }
    (void)reduction_of(arrays, 3, 1);
    world_send(&w, j, THIRD, 1);
    cr_assert_eq(args_sent(THIRD), 2);
    struct away *s = world_slot(&w, j, THIRD, 1);
    cr_assert_not_null(s);
    uint64_t link = s->link;
    begin_words(WIRE_BACK);
    codec_put_u32(&out, j->number);
    codec_put_u32(&out, 1);
    codec_put_u32(&out, (uint32_t)(s - j->away.slots));
    codec_put_u64(&out, link);
    codec_put_u8(&out, 0);
    cr_assert(said(THIRD));
    world_send(&w, j, THIRD, 1);
    cr_assert_eq(args_sent(THIRD), 4);
    s = world_slot(&w, j, THIRD, 1);
    cr_assert_eq(s->attempt, 1);
    cr_assert_eq(s->link, link);
    (void)reduction_of(arrays, 3, 0); /* which may not run twice */
    world_send(&w, j, THIRD, 1);
    cr_assert_eq(args_sent(THIRD), 4);
    world_end(&w);
}
