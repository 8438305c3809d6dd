/* pinned.c - the bytes of results that a thread has pinned, brought here if they are on disk or on another node. */
#include <stdlib.h>

#include "client.h"
#include "core/clock.h"
#include "core/status.h"
#include "local.h"

void client_want_bytes(struct mob *mob, uint64_t link)
{
    struct local_msg m; /* sent up to its text, which it has not */
    local_msg_init(&m, LOCAL_RESTORE);
    m.arg[0] = link;
    (void)client_tell(mob, &m); /* a node that is gone is found below */
}

/* Somebody dropped the last handle: the daemon moves nothing for it any more. It looked, if it did, before it told
 * everybody, and we look after we noted the event. */
static bool was_released(const struct thread *t, uint64_t link)
{
    uint64_t s;
    return !lane_find(&t->lane, link, &s) || !state_sealed(s);
}

static bool is_elsewhere(enum place_kind kind)
{
    return kind == PLACE_SPILLED || kind == PLACE_AWAY;
}

/* Waits until the daemon has moved the bytes. It bumps the board's event after that, as sealers do. */
static mob_status await_restored(struct mob *mob, struct thread *t,
                                 const struct record *r, uint64_t link,
                                 struct limit *limit, struct place *ret)
{
    const at_u32 *event = &mob->board.header->event;
    uint64_t deadline_ns = limit_deadline(limit);
    mob_status st = MOB_OK;
    client_want_bytes(mob, link);
    while (!st) {
        /* The event first, then the place; pairs with the daemon's restored(), in the other order. */
        uint32_t seen = at_load(event, AT_SEQ_CST);
        *ret = record_pinned_place(r, link_ret(link));
        if (!is_elsewhere(ret->kind)) {
            break;
        }
        if (was_released(t, link)) {
            return status_fail(MOB_ERR_RELEASED,
                               "the object was released while its bytes were brought "
                               "here from disk or from another node");
        }
        uint32_t asked = at_load(&mob->proc->wake, AT_SEQ_CST);
        st = client_health(mob);
        if (!st) {
            client_tidy(mob, t); /* it may be what the daemon has no room for */
            st = park_in_task(mob, t, event, seen, asked, deadline_ns);
        }
    }
    return st == MOB_ERR_TIMEOUT
               ? status_fail(st, "the object is on disk or on another node, and was not "
                                 "brought here within the time limit")
               : st;
}

static mob_status lost(struct mob *mob, uint64_t link)
{
    struct local_msg *m = malloc(sizeof *m);
    mob_status st = m ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory for a message");
    if (m) {
        local_msg_init(m, LOCAL_WHY);
        m->arg[0] = link;
        st = client_ask(mob, m, NULL, 0, NULL, NULL);
        st = st ? st : status_fail(MOB_ERR_LOST, "%s", m->text);
    }
    free(m);
    return st;
}

/* A worker does not lend its CPU to wait for the disk: the next task would want memory too, which is what there is
 * too little of. It does for another node: what is lost there is made again by a task that needs a CPU. */
static __attribute__((noinline)) mob_status
await_bytes(struct mob *mob, struct thread *t, const struct record *r, uint64_t link,
            struct limit *limit, struct place *io_place)
{
    bool lends = io_place->kind == PLACE_AWAY && t->task;
    mob_status st = MOB_OK;
    if (lends) {
        client_lend(mob, true, link);
    }
    if (is_elsewhere(io_place->kind)) {
        st = await_restored(mob, t, r, link, limit, io_place);
    }
    if (lends) {
        client_lend(mob, false, LINK_NONE);
    }
    return !st && io_place->kind == PLACE_LOST ? lost(mob, link) : st;
}

mob_status client_pinned_bytes(struct mob *mob, struct thread *t, struct record *r,
                               uint64_t link, struct limit *limit,
                               struct place *ret_place, const void **ret)
{
    *ret_place = record_pinned_place(r, link_ret(link));
    if (__builtin_expect(ret_place->kind > PLACE_REF, 0)) {
        MOB_TRY(await_bytes(mob, t, r, link, limit, ret_place));
    }
    MOB_TRY(client_bytes(mob, r, ret_place, ret));
    if (ret_place->kind == PLACE_ARENA) { /* threads may lose a count of each other's */
        at_u64 *gets = &mob->proc->gets;
        at_store(gets, at_load(gets, AT_RELAXED) + 1, AT_RELAXED);
        board_touch(&mob->board, link_index(link));
    }
    return MOB_OK;
}
