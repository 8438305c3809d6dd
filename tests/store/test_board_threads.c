/* A board with threads as processes, so that ThreadSanitizer sees its protocols: drivers submit, wait,
 * pin, cancel and release; workers claim, run, submit children, seal, and now and then die in the middle
 * of a task; the daemon sweeps. Results are right, no place is freed twice, and at the end every record
 * is FREE. A plain program; without the sanitizer it is a stress test. */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "store/sweep.h"
#include "store/task.h"

#ifndef BOARD_WORKERS
#define BOARD_WORKERS 3
#endif

enum {
    DRIVERS = BOARD_WORKERS - 1,
    WORKERS = BOARD_WORKERS,
    PROCS = 1 + DRIVERS + WORKERS,
    WINDOW = 64,
    DEATH_ONE_IN = 1500
};
enum { SEGMENTS = 512, PLACES = 4096 };

struct process {
    uint32_t index;
    struct lane lane;
    pthread_t thread;
    uint64_t seed;
    uint32_t segment, place; /* where its next result goes */
    bool died;
};

static struct board board;
static struct process processes[PROCS];
static at_u32 stop, dead, rounds_left;
static at_u32 freed[SEGMENTS][PLACES / 32];
static at_u32 segments_made = {1};

#define CHECK(cond)                                                                      \
    ((cond) ? (void)0                                                                    \
            : (fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #cond,    \
                       mob_last_error()),                                                \
               exit(1)))

static uint32_t dice(struct process *p, uint32_t sides)
{
    p->seed = p->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(p->seed >> 33) % sides;
}

static void free_place(void *arg, uint32_t segment, uint64_t offset)
{
    uint32_t i = (uint32_t)(offset / 64);
    (void)arg;
    CHECK(segment < SEGMENTS && i < PLACES);
    uint32_t before = at_or(&freed[segment][i / 32], 1u << i % 32, AT_RELAXED);
    CHECK(!(before & 1u << i % 32)); /* no place is freed twice */
}

static void join_board(struct process *p)
{
    CHECK(lane_init(&p->lane, &board, p->index, free_place, p) == MOB_OK);
    p->segment = at_add(&segments_made, 1, AT_RELAXED);
    CHECK(p->segment < SEGMENTS); /* of its own: more rounds, and so deaths, take more */
    p->place = 0;
    at_store(&board.segments[p->segment], SEGMENT_USED | (uint64_t)p->index << 40,
             AT_RELEASE);
    at_store(&board.procs[p->index].state, PROC_BUSY, AT_RELEASE);
}

/* ---- both sides ------------------------------------------------------------------------------------------- */

static uint64_t submit(struct process *p, uint64_t x, const uint64_t *refs,
                       uint32_t nrefs, uint64_t parent, uint32_t attempt)
{
    struct record *r;
    uint64_t link;
    struct call call = {.fn = 1, .retries = 100, .counts = call_counts(nrefs + 1, 1)};
    call.class_options = nrefs ? CALL_HAS_REFS << 4 : 0;
    if (lane_record(&p->lane, &r) != MOB_OK) {
        return LINK_NONE;
    }
    task_begin(&p->lane, r, &call, parent);
    memcpy(task_add_value(r, 0, sizeof x), &x, sizeof x);
    for (uint32_t i = 0; i < nrefs; i++) {
        CHECK(task_add_ref(r, i + 1, refs[i]));
    }
    if (parent != LINK_NONE) {
        r->parent_attempt = (uint8_t)attempt;
        task_add_child(&board, parent, attempt);
    }
    CHECK(task_publish(&p->lane, r, &link) == MOB_OK);
    return link;
}

/* The value of a sealed record; false if it is an error. */
static bool read_value(struct process *p, uint64_t link, uint64_t *ret)
{
    uint64_t pin, s;
    CHECK(lane_pin(&p->lane, link, &pin) == MOB_OK);
    struct record *r = lane_find(&p->lane, link, &s);
    CHECK(r && state_sealed(s));
    struct place place = record_get_place(r, 0);
    bool error = s & STATE_ERROR;
    if (!error && place.kind == PLACE_INLINE) {
        memcpy(ret, r->payload + place.offset, sizeof *ret);
    } else if (!error) {
        *ret = place.size;
    }
    lane_unpin(&p->lane, pin);
    return !error;
}

/* ---- workers ------------------------------------------------------------------------------------------------ */

/* False: it dies here. */
static bool run(struct process *p, struct record *r)
{
    struct call call = record_call(r);
    uint64_t s = at_load(&r->state, AT_RELAXED), sum, x;
    uint64_t link = link_make(state_gen(s), board_index(&board, r), 0);
    memcpy(&sum, r->payload + record_arg_offset(r, &call, 0), sizeof sum);
    bool error = s & STATE_CANCEL;
    for (uint32_t i = 1; i < call_nargs(&call); i++) {
        struct arg_ref *ref = record_arg_ref(r, &call, i);
        CHECK(ref != NULL);
        bool good = read_value(p, at_load(&ref->link, AT_RELAXED), &x);
        error |= !good;
        sum += good ? x : 0;
    }
    if (dice(p, DEATH_ONE_IN) == 0) {
        return false;
    }
    uint64_t child = LINK_NONE;
    if (dice(p, 4) == 0) { /* a child, which may run after its parent */
        child = submit(p, 1, NULL, 0, link, state_attempt(s));
    }
    if (child != LINK_NONE) {
        lane_drop(&p->lane, child);
    }
    if (error) {
        task_set_error(r, MOB_ERR_ARG_FAILED, "an argument failed");
    } else if (dice(p, 3) == 0 && p->place < PLACES) {
        record_set_place(r, 0, PLACE_ARENA, p->segment, 64ull * p->place++, sum);
    } else {
        uint32_t at = record_arg_offset(r, &call, call_nargs(&call));
        memcpy(r->payload + at, &sum, sizeof sum);
        record_set_place(r, 0, PLACE_INLINE, 0, at, sizeof sum);
    }
    if (dice(p, DEATH_ONE_IN) == 0) {
        return false;
    }
    CHECK(task_seal(&p->lane, r, error));
    return true;
}

static void sleep_until_woken(struct process *p)
{
    at_u32 *wake = &board.procs[p->index].wake;
    struct queue_view ready = board_ready(&board, 0);
    struct queue_item item;
    uint32_t seen = at_load(wake, AT_SEQ_CST);
    lane_drain_ring(&p->lane);
    lane_reclaim(&p->lane);
    task_park(&board, p->index, 0);
    if (queue_peek(&ready, &item) == QUEUE_NONE && !at_load(&stop, AT_SEQ_CST)) {
        (void)park_wait(wake, seen, CLOCK_NEVER);
    }
    task_unpark(&board, p->index, 0);
}

static void *worker(void *arg)
{
    struct process *p = arg;
    struct record *r;
    struct queue_item item;
    while (!at_load(&stop, AT_SEQ_CST)) {
        if (task_claim(&p->lane, 0, &r, &item) != QUEUE_OK) {
            sleep_until_woken(p);
        } else if (!run(p, r)) {
            __atomic_store_n(&p->died, true, __ATOMIC_RELEASE);
            at_store(&dead, 1, AT_SEQ_CST);
            park_wake(&dead, PARK_ALL);
            return NULL;
        }
    }
    return NULL;
}

/* ---- drivers ------------------------------------------------------------------------------------------------ */

struct mine {
    uint64_t link, value;
    bool cancelled; /* or an argument of it was */
};

static void settle(struct process *p, struct mine *m)
{
    uint64_t s, value;
    struct record *r = lane_find(&p->lane, m->link, &s);
    CHECK(r != NULL);
    while (task_mark_waited(r, link_gen(m->link), STATE_WAITERS, &s)) {
        (void)park_wait(park_low(&r->state), (uint32_t)s, CLOCK_NEVER);
    }
    bool good = read_value(p, m->link, &value);
    CHECK(good ? value == m->value : m->cancelled);
    lane_drop(&p->lane, m->link);
    m->link = LINK_NONE;
}

static void *driver(void *arg)
{
    struct process *p = arg;
    struct mine mine[WINDOW] = {0};
    uint32_t rounds = at_load(&rounds_left, AT_RELAXED);
    for (uint32_t i = 0; i < rounds; i++) {
        struct mine *m = &mine[i % WINDOW], next = {.value = i};
        uint64_t refs[3];
        uint32_t nrefs = 0;
        if (m->link != LINK_NONE) {
            settle(p, m);
        }
        for (uint32_t want = dice(p, 4); nrefs < want; nrefs++) {
            struct mine *from = &mine[dice(p, WINDOW)];
            if (from->link == LINK_NONE) {
                break;
            }
            refs[nrefs] = from->link;
            next.value += from->value;
            next.cancelled |= from->cancelled;
        }
        while ((next.link = submit(p, i, refs, nrefs, LINK_NONE, 0)) == LINK_NONE) {
            sched_yield(); /* the daemon commits no more here: others give records back */
        }
        if (dice(p, 50) == 0) {
            uint64_t s;
            struct record *r = lane_find(&p->lane, next.link, &s);
            next.cancelled = true;
            task_cancel(&p->lane, r, link_gen(next.link));
        }
        *m = next;
    }
    for (uint32_t i = 0; i < WINDOW; i++) {
        if (mine[i].link != LINK_NONE) {
            settle(p, &mine[i]);
        }
    }
    return NULL;
}

/* ---- the daemon --------------------------------------------------------------------------------------------- */

static void start(struct process *p, void *(*fn)(void *))
{
    __atomic_store_n(&p->died, false, __ATOMIC_RELEASE);
    join_board(p);
    CHECK(pthread_create(&p->thread, NULL, fn, p) == 0);
}

static uint32_t bury(struct process *p)
{
    struct sweep_result res;
    CHECK(pthread_join(p->thread, NULL) == 0);
    at_store(&board.segments[p->segment], SEGMENT_USED | (uint64_t)DAEMON << 40,
             AT_RELEASE);
    free(p->lane.blocks); /* the private memory of the dead */
    free(p->lane.block_slot);
    sweep_process(&processes[DAEMON].lane, p->index, false, NULL, NULL, &res);
    (void)sweep_audit(&processes[DAEMON].lane, NULL);
    (void)sweep_blocks(&processes[DAEMON].lane);
    return res.requeued;
}

static void *serve(void *arg)
{
    uint32_t *deaths = arg;
    struct lane *d = &processes[DAEMON].lane;
    while (!at_load(&stop, AT_SEQ_CST)) {
        (void)park_wait(&dead, 0, clock_deadline_ns(2 * NS_PER_MS));
        at_store(&dead, 0, AT_SEQ_CST);
        for (int i = 1 + DRIVERS; i < PROCS; i++) {
            if (__atomic_load_n(&processes[i].died, __ATOMIC_ACQUIRE)) {
                bury(&processes[i]);
                start(&processes[i], worker);
                ++*deaths;
            }
        }
        if (at_swap(&board.header->notice, 0, AT_SEQ_CST)) {
            lane_drain_ring(d);
            (void)sweep_rescan(d);
        }
    }
    return NULL;
}

static void check_all_free(void)
{
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < PROCS; i++) {
            lane_drain_ring(&processes[i].lane);
            lane_reclaim(&processes[i].lane);
        }
        (void)sweep_rescan(&processes[DAEMON].lane);
    }
    (void)sweep_audit(&processes[DAEMON].lane, NULL);
    lane_reclaim(&processes[DAEMON].lane);
    for (uint32_t i = 0; i < at_load(&board.header->committed, AT_RELAXED); i++) {
        enum phase phase = state_phase(at_load(&board.records[i].state, AT_RELAXED));
        if (phase != PHASE_FREE) {
            fprintf(stderr, "record %u is in phase %d\n", i, phase);
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    uint64_t bytes;
    uint32_t deaths = 0, rounds = argc > 1 ? (uint32_t)atoi(argv[1]) : 40000;
    pthread_t daemon;
    at_store(&rounds_left, rounds, AT_RELAXED);
    CHECK(board_create(7, 1, &board, &bytes) == MOB_OK);
    at_store(&board.classes[0].used, 1, AT_RELAXED);
    at_store(&board.classes[0].made, 1, AT_RELAXED);
    for (uint32_t i = 0; i < PROCS; i++) {
        processes[i].index = i;
        processes[i].seed = 1000 + i;
    }
    join_board(&processes[DAEMON]);
    for (int i = 1; i < PROCS; i++) {
        start(&processes[i], i <= DRIVERS ? driver : worker);
    }
    CHECK(pthread_create(&daemon, NULL, serve, &deaths) == 0);
    for (int i = 1; i <= DRIVERS; i++) {
        CHECK(pthread_join(processes[i].thread, NULL) == 0);
    }
    /* Children whose parents have gone still run; they are waited for by the audit of the end. */
    struct queue_view ready = board_ready(&board, 0);
    while (queue_count(&ready) != 0) {
        sched_yield();
    }
    at_store(&stop, 1, AT_SEQ_CST);
    sweep_wake_all(&board);
    CHECK(pthread_join(daemon, NULL) == 0);
    sweep_wake_all(&board); /* those that the daemon started last */
    for (int i = 1 + DRIVERS; i < PROCS; i++) {
        if (__atomic_load_n(&processes[i].died, __ATOMIC_ACQUIRE)) {
            bury(&processes[i]);
            join_board(&processes[i]);
        } else {
            CHECK(pthread_join(processes[i].thread, NULL) == 0);
        }
    }
    struct record *r;
    struct queue_item item;
    processes[1].seed = 5; /* what a last death requeued */
    while (task_claim(&processes[1].lane, 0, &r, &item) == QUEUE_OK) {
        task_set_error(r, MOB_ERR_CANCELLED, "");
        CHECK(task_seal(&processes[1].lane, r, true));
    }
    check_all_free();
    for (int i = 0; i < PROCS; i++) {
        lane_fini(&processes[i].lane);
    }
    board_unmap(&board);
    printf("%u tasks of each of %d drivers, %u workers died\n", rounds, DRIVERS, deaths);
    return 0;
}
