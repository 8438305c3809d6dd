/* floor.h - physical floors: the least that the machine itself takes for a step like
 * ours.
 *
 * A time alone says nothing on a shared machine; its ratio to a floor taken in the same
 * run does. So a floor is measured in short rounds that alternate with rounds of the
 * thing that is measured. Between rounds its child process sleeps on a futex and takes no
 * CPU from anybody.
 *
 * Owns: one shared mapping and at most one child process. The child ends with
 * floor_stop(), and with the thread that called floor_start() if that dies. Limits:
 * LINE_COUNT, QUEUE_CELLS, COPY_BYTES_MAX below. Threads: a floor belongs to the thread
 * that started it. No part of the library is used, so that floors can start before
 * mob_init() and nothing of ours is in them. */
#ifndef BENCH_FLOOR_H
#define BENCH_FLOOR_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum floor_kind {
    FLOOR_BOUNCE, /* two processes write one cache line in turn, spinning; unit: round
                     trip */
    FLOOR_FUTEX,  /* two processes wake each other by futex; unit: round trip. Without a
                     gap  before each trip the two may stay awake and never sleep at all.
                   */
    FLOOR_QUEUE,  /* bounded CAS queue, one producer, one consumer process; unit: 8-byte
                     item */
    FLOOR_COPY,   /* memcpy between two warm buffers; unit: one copy of copy_bytes */
    FLOOR_LINE,   /* load of a cache line that another core wrote; unit: load */
    FLOOR_COLD, /* load of a line of copy_bytes bytes, which no cache holds; unit: load */
    FLOOR_KINDS,
};

#define FLOOR_COPY_BYTES_MAX ((size_t)1 << 32) /* a buffer; two are mapped */
#define FLOOR_ANY_CPU (-1)

struct floor_options {
    size_t copy_bytes; /* FLOOR_COPY: bytes of one copy, 1 to FLOOR_COPY_BYTES_MAX;
                          FLOOR_COLD: bytes of what is walked through, likewise, from 64 */
    uint64_t
        gap_ns;    /* FLOOR_BOUNCE and _FUTEX: sleep before each trip, outside the time */
    int child_cpu; /* where to pin the child; FLOOR_ANY_CPU pins nothing */
};
#define FLOOR_OPTIONS_INIT                                                               \
    {                                                                                    \
        0, 0, FLOOR_ANY_CPU                                                              \
    }

struct floor;

const char *floor_name(enum floor_kind kind);

/* Maps the memory and starts the child. @options may be NULL.
 * @ret: ended by floor_stop().
 * Returns 0, -EINVAL, or the negative errno of mmap() or fork(). */
int floor_start(enum floor_kind kind, const struct floor_options *options,
                struct floor **ret);

/* Runs @count units. The waking of the child and its first steps are not in the time.
 * @ret_ns: the time of all @count units.
 * Blocks until done. Returns 0, -EINVAL (count is 0), -ECHILD (the child died), -EBADMSG
 * (what came over is not what was sent). After a failure only floor_stop() is allowed. */
int floor_round(struct floor *floor, uint64_t count, uint64_t *ret_ns);

/* Ends the child and unmaps. NULL is allowed. */
void floor_stop(struct floor *floor);

/* The process that the floor runs against; 0 for FLOOR_COPY and FLOOR_COLD. */
int floor_child_pid(const struct floor *floor);

static inline uint64_t floor_now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Sleeps; a signal does not shorten it. */
void floor_sleep_ns(uint64_t ns);

#endif
