/* loop_ring.h - the inside of a loop, shared by its files. */
#ifndef CORE_LOOP_RING_H
#define CORE_LOOP_RING_H

#include <liburing.h>

#include "core/loop.h"

struct loop {
    struct io_uring ring;
    uint64_t now_ns;
    struct loop_op *queue_head; /* requests that found the submission queue full */
    struct loop_op **queue_tail;
    struct loop_timer *timers; /* root of a pairing heap: the earliest */
    unsigned in_flight;
    bool stopped;
    const char *backend;
};

/* Sets up loop->ring, or says why not. */
mob_status loop_ring_open(struct loop *loop, unsigned entries);

/* Calls what is due at loop->now_ns. */
void loop_timers_fire(struct loop *loop);
/* The earliest deadline, or CLOCK_NEVER. */
uint64_t loop_timers_next(const struct loop *loop);

#endif
