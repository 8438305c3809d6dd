/* transport_bench.h - the parts of transport_bench: what is measured, how, and what came
 * out.
 *
 * transport_bench.c reads the options, measures in turn and prints; transport_ours.c is
 * two transports in two threads, transport_plain.c two threads with blocking sockets that
 * do the same. Both put the owner on the second CPU and the puller on the first one.
 * A failure ends the program with status 1. */
#ifndef BENCH_TRANSPORT_BENCH_H
#define BENCH_TRANSPORT_BENCH_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_BYTES = 64 };

/* The same for both sides. */
struct setup {
    const uint8_t *object; /* what the owner shows */
    uint8_t *place;        /* where it lands */
    size_t size;
    bool checked;
    bool encrypt;   /* ours alone */
    unsigned lanes; /* ours alone: data connections */
    bool poll;      /* nobody sleeps */
    int owner_cpu;
};

struct ours *ours_start(const struct setup *setup);
void ours_stop(struct ours *ours);
/* Nanoseconds of one pull; of @count messages there and back. */
uint64_t ours_pull(struct ours *ours);
uint64_t ours_trips(struct ours *ours, unsigned count);

struct plain *plain_start(const struct setup *setup);
void plain_stop(struct plain *plain);
uint64_t plain_pull(struct plain *plain);
uint64_t plain_trips(struct plain *plain, unsigned count);

/* Ends the program. */
void bench_die(const char *what) __attribute__((noreturn));

#endif
