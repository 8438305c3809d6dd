/* submit.h - what the files of a submission share: options.c makes a plan of what the caller says, room.c waits
 * for room, submit.c publishes. */
#ifndef CLIENT_SUBMIT_H
#define CLIENT_SUBMIT_H

#include "client.h"
#include "store/task.h"

enum { RETRIES_DEFAULT = 3 }; /* of who says nothing */

/* What options say of a task. */
struct plan {
    struct call call;
    uint16_t name;
    bool no_wait;
    bool kept;        /* the daemon is to keep it: a seat of a gang */
    uint32_t request; /* of store/request.h */
    uint32_t entered; /* the word of a class that may be closed meanwhile; or 0 */
};

/* @options: the caller's, not yet looked at. Sets all of @ret, in which all is zero; the class is one of the
 * board. MOB_ERR_INVALID, MOB_ERR_FULL (classes, names), and what the daemon says of a new class. */
mob_status submit_plan(struct mob *mob, struct thread *t,
                       const struct mob_options *options, uint32_t nargs,
                       struct plan *ret);

/* What options say that a task needs. MOB_ERR_INVALID, MOB_ERR_FULL. */
mob_status options_need(const struct mob_options *options, struct resources *ret);

/* ---- submit.c ---- */
/* Notes the function that a thread submits. */
mob_status submit_note_fn(struct mob *mob, struct thread *t, mob_fn fn);
/* Whether some argument is given by id, or becomes an object because it is large or finds no room beside @more
 * bytes. */
mob_status submit_look_at_args(struct call *call, const struct mob_arg *args,
                               uint32_t more);
/* Fills a record and publishes it. On failure it is FREE, and the caller's. */
mob_status submit_record(struct mob *mob, struct thread *t, struct record *r,
                         const struct plan *plan, const struct mob_arg *args,
                         uint64_t *ret_link);

/* ---- room.c ---- */
/* Waits until a class's queue has room for more. MOB_ERR_FULL: @no_wait, or in a task. */
mob_status submit_wait_for_room(struct mob *mob, struct thread *t, uint32_t class,
                                bool no_wait);

#endif
