/* talk.h - a node and two peers that talk to it: peer 0 is its head, or nobody if it is one itself. */
#ifndef TESTS_TALK_H
#define TESTS_TALK_H

#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "messages.h"
#include "node_world.h"
#include "store/task.h"

static struct world w;
static struct draft m;
static struct facts f;

static inline void begin(bool head)
{
    world_make(&w, head);
    memset(&f, 0, sizeof f);
    f.dice = 1;
    f.self = w.peers[1].id;
    f.node = w.peers[2].id;
    f.head = f.session = 5;
    f.key = (struct plan_job){f.self, 1};
    f.lease = f.epoch = f.job = 1;
    f.units = CPU_UNITS;
    f.exe_size = f.start_size = 4096;
    f.token = 99;
    world_up(&w, 0);
    world_up(&w, 1);
}

/* Says a well-formed message. False: the peer is disconnected for it. */
static inline bool say(int peer, enum wire_op op)
{
    message_make(&m, &f, op);
    return world_say(&w, peer, m.bytes, m.size);
}

/* Runs what is due until the record is sealed; false if it is not after many turns. */
static inline bool sealed(struct job *j, uint64_t link, uint64_t *ret_state)
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

static inline const char *error_of(struct job *j, uint64_t link, mob_status *ret)
{
    static char text[RECORD_PAYLOAD + 1];
    struct record *r = board_record(&j->board, link_index(link));
    struct place p = record_get_place(r, 0);
    const void *bytes;
    *ret = (mob_status)(int32_t)at_load(&r->error, AT_RELAXED);
    MUST(grant_read(j, r, &p, &bytes) == MOB_OK);
    snprintf(text, sizeof text, "%.*s", (int)p.size, (const char *)bytes);
    return text;
}

/* An object of the node's own job. */
static inline uint64_t object(struct job *j, size_t size)
{
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct arena_place place;
    struct record *r;
    void *data;
    cr_assert_eq(lane_record(&j->lane, &r), MOB_OK);
    cr_assert_eq(grant_place(j, size, &place, &data), MOB_OK);
    grant_landed(j, &place);
    task_begin(&j->lane, r, &call, LINK_NONE);
    uint32_t gen = lane_gen(r);
    at_store(&r->state, state_make(gen, DAEMON, 0, PHASE_CREATING), AT_RELEASE);
    record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    cr_assert(task_seal(&j->lane, r, false));
    return link_make(gen, board_index(&j->board, r), 0);
}

#endif
