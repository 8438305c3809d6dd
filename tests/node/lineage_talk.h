/* lineage_talk.h - tasks of a node whose results stay at the peers that made them. */
#ifndef TESTS_LINEAGE_TALK_H
#define TESTS_LINEAGE_TALK_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "lineage.h"
#include "spill.h"
#include "store/task.h"
#include "talk.h"

enum { MAKER = 1, OTHER = 2, SIZE = 256 << 10, PROXY = 3 };

static inline uint64_t remote(uint32_t n)
{
    return 1ull << 32 | (16 + 16 * n);
}

/* The job of a test, with two peers that work for it. */
static inline struct job *start(void)
{
    begin(true);
    world_up(&w, OTHER);
    return world_job(&w);
}

/* The peer says that the task in its slot @nth is done, with @nrets results of SIZE that may stay there. */
static inline void done(struct job *j, int peer, uint32_t nth, uint32_t nrets, uint32_t n)
{
    struct away *s = world_slot(&w, j, peer, nth);
    struct codec_writer c;
    cr_assert_not_null(s);
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_DONE);
    codec_put_u32(&c, j->number);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, (uint32_t)(s - j->away.slots));
    codec_put_u64(&c, s->link);
    codec_put_u32(&c, PROXY + n);
    codec_put_u64(&c, remote(n));
    codec_put_u32(&c, MOB_OK);
    codec_put_u8(&c, (uint8_t)nrets);
    for (uint32_t i = 0; i < nrets; i++) {
        codec_put_u8(&c, WIRE_REMOTE | WIRE_STAYS);
        codec_put_u64(&c, SIZE);
    }
    cr_assert(world_say(&w, peer, m.bytes, codec_written(&c)));
}

/* A task with one value, or, if @arg is not LINK_NONE, with an object by id. */
static inline uint64_t task(struct job *j, uint64_t arg, uint8_t retries, uint32_t nrets)
{
    struct call call = {.class_options = (uint8_t)w.big,
                        .counts = call_counts(1, nrets),
                        .retries = retries};
    struct record *r;
    uint64_t link;
    if (arg != LINK_NONE) {
        call.class_options |= CALL_HAS_REFS << 4;
    }
    MUST(board_name(&j->board, DAEMON, "maker", &call.fn) == MOB_OK);
    MUST(lane_record(&j->lane, &r) == MOB_OK);
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = call.fn;
    if (arg != LINK_NONE) {
        MUST(task_add_ref(r, 0, arg));
    } else {
        memset(task_add_value(r, 0, 8), 5, 8);
    }
    MUST(task_publish(&j->lane, r, &link) == MOB_OK);
    return link;
}

/* A task that ran at @peer, where its results stayed. */
static inline uint64_t made_at(struct job *j, int peer, uint64_t arg, uint32_t nrets,
                               uint32_t n)
{
    uint64_t link = task(j, arg, 3, nrets);
    world_send(&w, j, peer, 1);
    done(j, peer, 0, nrets, n);
    return link;
}

static inline void turns(void)
{
    for (int i = 0; i < 4; i++) {
        world_turn(&w);
        MUST(loop_turn(w.node.loop, 0) == MOB_OK);
    }
}

static inline struct place place_of(const struct job *j, uint64_t link)
{
    uint64_t state;
    const struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(r && state_sealed_good(state));
    return record_get_place(r, link_ret(link));
}

static inline uint8_t first_byte(struct job *j, uint64_t link)
{
    const void *bytes;
    struct place p = place_of(j, link);
    cr_assert_eq(p.kind, PLACE_ARENA);
    cr_assert_eq(p.size, SIZE);
    struct record *r = board_record(&j->board, link_index(link));
    cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
    return *(const uint8_t *)bytes;
}

/* What is wanted comes: the next turn begins the pull or the task. */
static inline void want(struct job *j, uint64_t link)
{
    lineage_want(j, link);
    turns();
}

/* The task that makes a result again, or LINK_NONE. */
static inline uint64_t repair_of(const struct job *j, uint64_t link)
{
    for (uint32_t i = 0; i < j->lineage.room; i++) {
        const struct lineage *e = j->lineage.entries[i];
        if (e && e->link == (link & ~0xfull)) {
            return e->repair;
        }
    }
    return LINK_NONE;
}

static inline uint32_t class_of(const struct job *j, uint64_t link)
{
    struct call call = record_call(board_record(&j->board, link_index(link)));
    return call_class(&call);
}

/* A worker here runs the task and returns SIZE bytes. */
static inline void run_here(struct job *j, uint64_t link, int fill, size_t size)
{
    struct arena_place place;
    void *data;
    uint64_t state;
    struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(r && task_claim_one(&j->lane, r, link_gen(link)));
    cr_assert_eq(grant_place(j, size, &place, &data), MOB_OK);
    memset(data, fill, size);
    grant_landed(j, &place);
    record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    cr_assert(task_seal(&j->lane, r, false));
    job_notices(j);
    turns();
}

static inline void all_gone(struct job *j)
{
    turns();
    lane_reclaim(&j->lane);
    cr_assert_eq(j->lineage.count, 0, "%u entries are left", j->lineage.count);
    cr_assert_eq(j->lineage.held_bytes, 0);
    cr_assert_null(j->lineage.todo);
}

#endif
