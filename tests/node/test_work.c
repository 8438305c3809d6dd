/* What comes of results, arguments and leases that other nodes speak of. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "talk.h"
#include "store/task.h"

/* Runs what is due until the record is sealed; false if it is not after many turns. */
static bool sealed(struct job *j, uint64_t link, uint64_t *ret_state)
{
    for (int i = 0; i < 2000; i++) {
        struct record *r = lane_find(&j->lane, link, ret_state);
        if (!r || state_sealed(*ret_state)) {
            return r != NULL;
        }
        world_turn(&w);
        MUST(loop_turn(w.node.loop, NS_PER_MS) == MOB_OK);
    }
    return false;
}

static const char *error_of(struct job *j, uint64_t link, mob_status *ret)
{
    static char text[RECORD_PAYLOAD + 1];
    struct record *r = board_record(&j->board, link_index(link));
    struct place p = record_get_place(r, 0);
    const void *bytes;
    *ret = (mob_status)(int32_t)at_load(&r->error, AT_RELAXED);
    cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
    snprintf(text, sizeof text, "%.*s", (int)p.size, (const char *)bytes);
    return text;
}

/* ---- results -------------------------------------------------------------------------------------------------- */

static struct codec_writer done_begin(struct job *j, int peer)
{
    struct away *s = world_slot(&w, j, peer, 0);
    struct codec_writer c;
    cr_assert_not_null(s);
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_DONE);
    codec_put_u32(&c, j->number);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, (uint32_t)(s - j->away.slots));
    codec_put_u64(&c, s->link);
    codec_put_u32(&c, 3);
    codec_put_u64(&c, 1ull << 32 | 16);
    codec_put_u32(&c, MOB_OK);
    return c;
}

static void put_value(struct codec_writer *c, size_t size, int fill)
{
    uint8_t bytes[WIRE_INLINE_MAX];
    memset(bytes, fill, size);
    codec_put_u8(c, WIRE_VALUE);
    codec_put_bytes(c, bytes, size);
}

static bool done_remote(struct job *j, int peer, uint64_t size)
{
    struct codec_writer c = done_begin(j, peer);
    codec_put_u8(&c, 1);
    codec_put_u8(&c, WIRE_REMOTE);
    codec_put_u64(&c, size);
    return world_say(&w, peer, m.bytes, codec_written(&c));
}

Test(work, a_result_of_no_size_or_of_any_is_malformed)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    uint64_t sizes[] = {0, ARENA_OBJECT_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        world_turn(&w);
        world_up(&w, 1);
        world_send(&w, j, 1, 1);
        cr_assert(!done_remote(j, 1, sizes[i]), "a result of %llu bytes",
                  (unsigned long long)sizes[i]);
    }
    world_turn(&w);
    cr_assert_not_null(lane_find(&j->lane, link, &state));
    cr_assert_eq(state_phase(state), PHASE_QUEUED, "it is to run elsewhere");
    cr_assert_eq(state_attempt(state), 3);
    world_end(&w);
}

Test(work, a_result_larger_than_the_store_fails_by_name)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    mob_status st;
    world_send(&w, j, 1, 1);
    cr_assert(done_remote(j, 1, WORLD_STORE));
    cr_assert(sealed(j, link, &state), "it waits for ever");
    const char *text = error_of(j, link, &st);
    cr_assert_eq(st, MOB_ERR_NOMEM);
    cr_assert(strstr(text, "task") && strstr(text, "64 MiB"), "%s", text);
    cr_assert_eq(j->away.out, 0);
    world_end(&w);
}

/* Takes all of the store but what no place of 4000 bytes fits into. */
static uint32_t fill_store(struct job *j, struct arena_place *ret, uint32_t room)
{
    uint32_t count = 0;
    void *data;
    for (size_t size = 1 << 20; size >= 64; size /= 4) {
        while (count < room && grant_place(j, size, &ret[count], &data) == MOB_OK) {
            grant_landed(j, &ret[count]);
            count++;
        }
    }
    return count;
}

static struct arena_place places[100000];

/* The peer is gone for good while its results wait for room here; they are here already. */
Test(work, results_that_wait_for_room_outlive_their_node)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    cr_assert(say(1, WIRE_JOIN));
    world_send(&w, j, 1, 1);
    uint32_t count = fill_store(j, places, 100000);
    struct codec_writer c = done_begin(j, 1);
    codec_put_u8(&c, 1);
    put_value(&c, 4000, 9);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
    cr_assert_eq(j->busy, 1, "it waits for room");
    cr_assert(say(1, WIRE_GOODBYE)); /* declared dead, so its struct may go */
    world_turn(&w);
    world_down(&w, 1);
    for (int i = 0; i < 10; i++) {
        world_turn(&w);
    }
    cr_assert_null(cluster_peer(w.node.cluster, w.peers[1].id));
    for (uint32_t i = 0; i < count; i++) {
        grant_unplace(j, &places[i]);
    }
    cr_assert(sealed(j, link, &state));
    cr_assert_not(state & STATE_ERROR);
    world_end(&w);
}

/* Results that have no room beside the arguments, while the store is full. */
Test(work, results_do_not_run_over_their_record)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 2, 120, 2), after = world_task(&w, j, 0, 0, 1),
             state;
    world_send(&w, j, 1, 1);
    uint32_t count = fill_store(j, places, 100000);
    struct codec_writer c = done_begin(j, 1);
    codec_put_u8(&c, 2);
    put_value(&c, 100, 0xaa);
    put_value(&c, 100, 0xbb);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
    for (uint32_t i = 0; i < count; i++) {
        grant_unplace(j, &places[i]);
    }
    cr_assert(sealed(j, link, &state));
    struct record *r = board_record(&j->board, link_index(link));
    cr_assert_eq(at_load(&r->parent, AT_RELAXED), LINK_NONE, "written over");
    for (uint32_t i = 0; i < 2; i++) {
        struct place p = record_get_place(r, i);
        const void *bytes;
        cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
        cr_assert_eq(p.size, 100);
        cr_assert_eq(((const uint8_t *)bytes)[99], i ? 0xbb : 0xaa);
    }
    cr_assert_not_null(lane_find(&j->lane, after, &state));
    world_end(&w);
}

/* ---- jobs of other nodes -------------------------------------------------------------------------- */

static struct job *guest(void)
{
    f.node = f.self;
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(say(0, WIRE_LEASE));
    cr_assert(say(1, WIRE_OPEN));
    struct job *j =
        guest_find(w.node.cluster, cluster_peer(w.node.cluster, w.peers[1].id), f.job);
    cr_assert_not_null(j);
    return j;
}

/* An owner's task here, with an argument there if @size is not 0. */
static void guest_task(uint64_t size)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_TASKS);
    codec_put_u32(&c, f.job);
    codec_put_u64(&c, f.lease);
    codec_put_u32(&c, f.epoch);
    codec_put_u32(&c, 0);
    codec_put_u32(&c, f.units);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, 0);
    codec_put_u64(&c, 1ull << 32 | 16);
    codec_put_u8(&c, 3);
    codec_put_u8(&c, 0);
    codec_put_u8(&c, 1);
    codec_put_u8(&c, size > 0);
    codec_put_str(&c, "a_function");
    codec_put_str(&c, "name");
    if (size) {
        codec_put_u8(&c, WIRE_REMOTE);
        codec_put_u64(&c, 1ull << 32 | 32);
        codec_put_u64(&c, size);
    }
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

/* No worker will come for them any more. */
Test(work, tasks_that_wait_under_a_lease_that_is_over_go_back)
{
    begin(false);
    struct job *j = guest();
    uint64_t state;
    guest_task(0);
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 0);
    uint64_t link = j->guest->proxies[0].link;
    cr_assert_not_null(lane_find(&j->lane, link, &state));
    cr_assert_eq(state_phase(state), PHASE_QUEUED);
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_LEASE);
    codec_put_u64(&c, f.lease);
    codec_put_u32(&c, f.epoch + 1);
    wire_put_key(&c, f.key);
    codec_put_u64(&c, f.self);
    codec_put_u32(&c, 0);
    codec_put_u32(&c, f.units);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, 0); /* slots */
    cr_assert(world_say(&w, 0, m.bytes, codec_written(&c)));
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 1, "it stays, and nobody runs it");
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    struct queue_view ready = board_ready(&j->board, 0);
    cr_assert_eq(j->guest->open[0], 0);
    cr_assert_eq(j->guest->proxies[0].link, LINK_NONE);
    cr_assert_neq(
        plan_node_view(w.node.plan, j->guest->key->ours, 0, &(struct plan_class_view){0}),
        MOB_ERR_NOT_FOUND);
    cr_assert_leq(queue_count(&ready), 1, "a stale hint at most");
    world_end(&w);
}

Test(work, an_argument_larger_than_the_store_is_an_error_that_says_so)
{
    begin(false);
    struct job *j = guest();
    guest_task(WORLD_STORE);
    uint64_t proxy = j->guest->proxies[0].link, state;
    struct record *r = lane_find(&j->lane, proxy, &state);
    cr_assert_not_null(r);
    struct call call = record_call(r);
    uint64_t arg = at_load(&record_arg_ref(r, &call, 0)->link, AT_RELAXED);
    mob_status st;
    cr_assert(sealed(j, arg, &state), "it waits for ever");
    const char *text = error_of(j, arg, &st);
    cr_assert_eq(st, MOB_ERR_NOMEM);
    cr_assert(strstr(text, "64 MiB"), "%s", text);
    world_end(&w);
}

/* Nobody waits for them, and they can be had again: others have the memory first. */
Test(work, copies_of_arguments_make_room)
{
    const size_t size = 20 << 20;
    begin(false);
    struct job *j = guest();
    guest_task(size);
    uint32_t pull = 0;
    while (w.pulls[pull].what != WIRE_ARGUMENT) {
        cr_assert_lt(++pull, w.pulls_count);
    }
    world_pulled(&w, pull, MOB_OK, 5);
    struct record *r;
    struct queue_item item;
    cr_assert_eq(task_claim(&j->lane, 0, &r, &item), QUEUE_OK);
    task_unhint(&j->lane, 0, &item);
    record_set_place(r, 0, PLACE_EMPTY, 0, 0, 0);
    uint64_t used = w.node.budget.used_bytes;
    grant_want(&w.node);
    cr_assert_eq(j->guest->standin_bytes, size, "a task has it");
    cr_assert(task_seal(&j->lane, r, false));
    while (w.peers[1].sent[WIRE_DONE] == 0) {
        world_turn(&w);
    }
    grant_want(&w.node);
    cr_assert_eq(j->guest->standin_bytes, 0);
    cr_assert_leq(w.node.budget.used_bytes, used - size);
    world_end(&w);
}

/* ---- what else crosses ------------------------------------------------------------------------------ */

/* The connection broke while the program was on its way: that says nothing of the program. */
Test(work, a_program_that_was_cut_off_comes_again)
{
    begin(false);
    (void)guest();
    cr_assert_eq(w.pulls_count, 1);
    cr_assert_eq(w.pulls[0].what, WIRE_EXECUTABLE);
    world_down(&w, 1);
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    world_up(&w, 1);
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 0, "refused for ever");
    cr_assert_eq(w.pulls_count, 1);
    world_end(&w);
}

/* A worker that prints more than the network takes costs its lines, and not the connection. */
Test(work, output_that_nobody_takes_is_dropped_and_counted)
{
    static char line[60000];
    begin(false);
    struct job *j = guest();
    struct peer *p = j->guest->owner;
    memset(line, 'x', sizeof line);
    w.peers[1].full = true;
    for (uint64_t i = 0; i < 2 * PEER_QUEUE_MAX; i += sizeof line) {
        guest_output(j, 1, line, sizeof line);
    }
    cr_assert_not(w.peers[1].going, "given up");
    cr_assert_leq(p->queue_bytes, OUTPUT_QUEUE_MAX + 2 * sizeof line);
    cr_assert_gt(j->guest->dropped, PEER_QUEUE_MAX);
    w.peers[1].full = false;
    w.node.cluster->user.writable(w.node.cluster, &w.peers[1].tp);
    uint32_t before = w.peers[1].sent[WIRE_OUTPUT];
    guest_output(j, 1, "more\n", 5);
    cr_assert_eq(w.peers[1].sent[WIRE_OUTPUT], before + 2, "it is not said");
    cr_assert_eq(j->guest->dropped, 0);
    world_end(&w);
}
