/* room.c - what a submission or a put waits for: a free record, and room in the queue of its class. */
#include <stdlib.h>

#include "client.h"
#include "core/clock.h"
#include "core/park.h"
#include "core/status.h"
#include "local.h"
#include "submit.h"

#define FULL_NAP_NS                                                                      \
    (5 * NS_PER_MS) /* between looks, while the largest table there is is full */

__attribute__((noinline)) mob_status
submit_wait_for_room(struct mob *mob, struct thread *t, uint32_t class, bool no_wait)
{
    struct klass *k = &mob->board.classes[class];
    struct queue_view ready = board_ready(&mob->board, class);
    const uint64_t enough = (1ull << BOARD_QUEUE_ORDER) - PROCS_MAX * 64;
    mob_status st = MOB_OK;
    while (!st && queue_count(&ready) >= enough) {
        if (no_wait || t->task) {
            return status_fail(MOB_ERR_FULL,
                               "%llu tasks are queued, the most that a job may have",
                               (unsigned long long)queue_count(&ready));
        }
        uint32_t seen = at_load(&k->room, AT_SEQ_CST);
        at_add(&k->room_waiters, 1, AT_SEQ_CST);
        if (queue_count(&ready) >= enough) {
            st = client_health(mob);
            if (!st) {
                (void)park_client(mob, t, &k->room, seen, CLOCK_NEVER);
            }
        }
        at_sub(&k->room_waiters, 1, AT_SEQ_CST);
    }
    /* Others push too; what then does not fit is pushed by the daemon later. */
    t->room[class] = 1 + (int32_t)((enough - queue_count(&ready)) / PROCS_MAX);
    return st;
}

/* More records from the daemon, or the reason why there are none. */
static mob_status ask_records(struct mob *mob)
{
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    local_msg_init(m, LOCAL_RECORDS);
    mob_status st = client_ask(mob, m, NULL, 0, NULL, NULL);
    free(m);
    return st;
}

mob_status client_record(struct mob *mob, struct thread *t, uint64_t deadline_ns,
                         struct record **ret)
{
    for (;;) {
        mob_status st = lane_record(&t->lane, ret);
        if (st != MOB_ERR_FULL) {
            return st;
        }
        MOB_TRY(client_health(mob));
        st = ask_records(mob);
        if (st == MOB_OK) {
            continue;
        }
        /* The table is at its maximum, or memory is. Records come back when ids are released, and
         * when tasks end whose ids were released before: the latter is worth waiting for, as is memory
         * that objects leave for the disk (MOB_ERR_TIMEOUT). */
        if (deadline_ns == 0 || t->task) {
            return status_fail(MOB_ERR_FULL, "%s", mob_last_error());
        }
        if (st != MOB_ERR_TIMEOUT && !lane_await_record(&t->lane)) {
            return status_fail(MOB_ERR_FULL,
                               "every record of the job is held by an id; release "
                               "ids that are no longer needed");
        }
        uint64_t nap_ns = clock_deadline_ns(FULL_NAP_NS);
        if (clock_now_ns() >= deadline_ns) {
            return status_fail(MOB_ERR_FULL,
                               "no record became free within the time limit");
        }
        at_u32 nobody = {0};
        (void)park_client(mob, t, &nobody, 0,
                          nap_ns < deadline_ns ? nap_ns : deadline_ns);
    }
}
