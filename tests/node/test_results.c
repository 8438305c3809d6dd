/* What comes of results that other nodes speak of. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "talk.h"
#include "store/task.h"

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

Test(results, a_result_of_no_size_or_of_any_is_malformed)
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

Test(results, a_result_larger_than_the_store_fails_by_name)
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
Test(results, results_that_wait_for_room_outlive_their_node)
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
Test(results, results_do_not_run_over_their_record)
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

/* ---- the queue of what is sent ---------------------------------------------------------------------------------- */

static bool hears_of(struct job *j, uint32_t tasks)
{
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    return j->backlog[w.big] == tasks;
}

/* Nobody here can run them, so only the submitter's ring tells of the next one; and it rings only if the
 * daemon, which took the last one away itself, asked for it. */
Test(results, the_next_task_is_heard_of_when_all_are_sent)
{
    begin(true);
    struct job *j = world_job(&w);
    const at_u32 *alert = &j->board.classes[w.big].alert;
    for (int i = 0; i < 3; i++) {
        (void)world_task(&w, j, 0, 0, 1);
        cr_assert(hears_of(j, 1), "task %d", i);
        cr_assert_eq(at_load(alert, AT_RELAXED), 0, "it knows, and nobody need ring");
        world_send(&w, j, 1, 1);
        cr_assert_not_null(world_slot(&w, j, 1, (uint32_t)i));
        cr_assert_eq(at_load(alert, AT_RELAXED), 1, "nobody tells it of the next one");
    }
    world_end(&w);
}

/* ---- no results -------------------------------------------------------------------------------------------------- */

static void back(struct job *j, bool begun)
{
    struct away *s = world_slot(&w, j, 1, 0);
    struct codec_writer c;
    cr_assert_not_null(s);
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_BACK);
    codec_put_u32(&c, j->number);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, (uint32_t)(s - j->away.slots));
    codec_put_u64(&c, s->link);
    codec_put_u8(&c, begun);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

/* What came back undone may run again; only a worker's death there was an attempt. */
Test(results, a_task_that_comes_back_has_the_attempts_that_it_had)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    for (uint32_t begun = 0; begun < 2; begun++) {
        world_send(&w, j, 1, 1);
        back(j, begun);
        cr_assert_not_null(lane_find(&j->lane, link, &state));
        cr_assert_eq(state_phase(state), PHASE_QUEUED);
        cr_assert_eq(state_attempt(state), begun);
    }
    world_end(&w);
}

/* The node is lost, the task is tried on another one; then the first one is back and says what it had made. */
Test(results, an_answer_of_an_earlier_try_is_not_seen)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    static uint8_t late[256];
    world_up(&w, 2);
    world_send(&w, j, 1, 1);
    struct codec_writer c = done_begin(j, 1);
    codec_put_u8(&c, 1);
    put_value(&c, 8, 0x11);
    size_t size = codec_written(&c);
    cr_assert_leq(size, sizeof late);
    memcpy(late, m.bytes, size);
    world_down(&w, 1);
    world_turn(&w);
    for (uint32_t begun = 0; begun < 2;
         begun++) { /* before the next try and after it began */
        world_up(&w, 1);
        (void)world_say(&w, 1, late, size);
        struct record *r = lane_find(&j->lane, link, &state);
        cr_assert_not_null(r);
        cr_assert_eq(state_phase(state), begun ? PHASE_TAKEN : PHASE_QUEUED);
        cr_assert_eq(state_attempt(state), 1);
        if (!begun) {
            world_send(&w, j, 2, 1);
            cr_assert_eq(world_slot(&w, j, 2, 0) - j->away.slots, 0,
                         "the slot is used again");
        }
    }
    /* Once it has another task of the job it is heard again, and the slot and the task that it names are in use. */
    (void)world_task(&w, j, 0, 0, 1);
    world_send(&w, j, 1, 1);
    cr_assert(world_say(&w, 1, late, size));
    (void)lane_find(&j->lane, link, &state);
    cr_assert_eq(state_phase(state), PHASE_TAKEN,
                 "the answer of another node is not taken");
    c = done_begin(j, 2);
    codec_put_u8(&c, 1);
    put_value(&c, 8, 0x22);
    cr_assert(world_say(&w, 2, m.bytes, codec_written(&c)));
    cr_assert(sealed(j, link, &state));
    struct record *r = board_record(&j->board, link_index(link));
    struct place p = record_get_place(r, 0);
    cr_assert_eq(p.kind, PLACE_INLINE);
    cr_assert_eq(r->payload[p.offset], 0x22);
    (void)world_say(&w, 1, late, size);
    cr_assert_eq(r->payload[p.offset], 0x22);
    world_end(&w);
}
