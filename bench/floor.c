#include "floor.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/atomic.h"

enum {
    QUEUE_CELLS = 1024,  /* a power of two; 16 KiB stay in the first-level cache */
    LINE_COUNT = 256,    /* lines of one pass: enough to hide the clock, in any L1 */
    LINE_STEP = 97,      /* prime to LINE_COUNT: an order that no prefetcher follows */
    COLD_STEP = 1000003, /* the same for FLOOR_COLD, a prime */
    SPINS_BEFORE_PAUSE =
        2000, /* a short wait reacts at once, a long one saves the sibling */
    PAUSES_PER_YIELD = 1000, /* lets the other run if both are on one CPU */
    YIELDS_PER_LOOK = 64,    /* then look whether the child is alive */
};

struct cell { /* both words: whoever the sequence number admits */
    at_u64 sequence;
    at_u64 value;
};

struct line { /* written by the child, read by the parent */
    at_u64 next;
} __attribute__((aligned(CACHE_LINE)));

/* Everything that the two processes share. Each group has a line of its own. */
struct shared {
    /* The parent says "next round" and the child "I am awake". */
    at_u32 go __attribute__((aligned(CACHE_LINE)));    /* parent; a futex */
    at_u64 count;                                      /* parent, before go */
    at_u32 ready __attribute__((aligned(CACHE_LINE))); /* child */
    at_u64 sum;                                        /* child, before done */
    at_u32 done __attribute__((aligned(CACHE_LINE)));  /* child */
    at_u32 ball __attribute__((aligned(CACHE_LINE)));  /* FLOOR_BOUNCE: both, in turn */
    at_u32 ping __attribute__((aligned(CACHE_LINE)));  /* parent */
    at_u32 pong __attribute__((aligned(CACHE_LINE)));  /* child */
    at_u64 tail __attribute__((aligned(CACHE_LINE)));  /* FLOOR_QUEUE: pushers */
    at_u64 head __attribute__((aligned(CACHE_LINE)));  /* FLOOR_QUEUE: poppers */
    struct cell cells[QUEUE_CELLS] __attribute__((aligned(CACHE_LINE)));
    struct line lines[LINE_COUNT];
};

struct floor {
    enum floor_kind kind;
    struct floor_options options;
    struct shared *shared;
    unsigned char *copy; /* FLOOR_COPY: two buffers, one behind the other */
    struct line *lines;  /* FLOOR_COLD: each says which is next */
    uint64_t at;         /* of them */
    pid_t child;         /* 0: none, or reaped */
    uint32_t round;
};

const char *floor_name(enum floor_kind kind)
{
    static const char *const names[FLOOR_KINDS] = {"bounce", "futex pair", "CAS queue",
                                                   "memcpy", "line load",  "cold load"};
    return kind < FLOOR_KINDS ? names[kind] : "?";
}

int floor_child_pid(const struct floor *floor)
{
    return floor->child;
}

void floor_sleep_ns(uint64_t ns)
{
    struct timespec left = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
    }
}

/* ---- waiting
 * ------------------------------------------------------------------------------- */

static void futex_wait(const at_u32 *word, uint32_t seen)
{
    syscall(SYS_futex, &word->v, FUTEX_WAIT, seen, NULL, NULL, 0);
}

static void futex_wake(const at_u32 *word)
{
    syscall(SYS_futex, &word->v, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Has the child ended? The child itself (floor->child == 0 there) need not ask about its
 * parent: the kernel ends it. */
static int child_gone(struct floor *floor)
{
    if (floor->child == 0 || waitpid(floor->child, NULL, WNOHANG) == 0) {
        return 0;
    }
    floor->child = 0;
    return 1;
}

/* One step of a wait that has lasted *spins steps. Returns 1 if there is nobody to wait
 * for. */
static int spin_step(struct floor *floor, uint64_t *spins)
{
    uint64_t n = ++*spins;
    if (n < SPINS_BEFORE_PAUSE) {
        return 0;
    }
    at_pause();
    if (n % PAUSES_PER_YIELD != 0) {
        return 0;
    }
    sched_yield();
    return n % (PAUSES_PER_YIELD * YIELDS_PER_LOOK) == 0 && child_gone(floor);
}

/* Spins until *word is @value. The acquire pairs with the other process's release store.
 */
static int spin_until(struct floor *floor, const at_u32 *word, uint32_t value)
{
    uint64_t spins = 0;
    while (at_load(word, AT_ACQUIRE) != value) {
        if (spin_step(floor, &spins)) {
            return -ECHILD;
        }
    }
    return 0;
}

/* Sleeps until *word is @value. A child that dies does not wake us, so look at times. */
static int futex_until(struct floor *floor, const at_u32 *word, uint32_t value)
{
    static const struct timespec look = {0, 200 * 1000000};
    uint32_t seen;
    while ((seen = at_load(word, AT_ACQUIRE)) != value) {
        long rc = syscall(SYS_futex, &word->v, FUTEX_WAIT, seen, &look, NULL, 0);
        if (rc == -1 && errno == ETIMEDOUT && child_gone(floor)) {
            return -ECHILD;
        }
    }
    return 0;
}

/* ---- the bounded queue
 * --------------------------------------------------------------------- */

/* A cell whose sequence is the cursor is free for the pusher at that cursor; cursor + 1
 * says that it holds that pusher's item; the popper hands it on to the next lap. */
static int queue_push(struct floor *floor, uint64_t value)
{
    struct shared *s = floor->shared;
    uint64_t spins = 0;
    uint64_t at = at_load(&s->tail, AT_RELAXED);
    for (;;) {
        struct cell *cell = &s->cells[at % QUEUE_CELLS];
        /* Acquire pairs with the popper's release of the cell. */
        int64_t lag = (int64_t)(at_load(&cell->sequence, AT_ACQUIRE) - at);
        if (lag == 0 && at_cas(&s->tail, &at, at + 1, AT_ACQUIRE)) {
            at_store(&cell->value, value, AT_RELAXED);
            at_store(&cell->sequence, at + 1, AT_RELEASE); /* pairs with queue_pop() */
            return 0;
        }
        if (lag < 0 && spin_step(floor, &spins)) {
            return -ECHILD;
        }
        at = at_load(&s->tail, AT_RELAXED);
    }
}

static uint64_t queue_pop(struct floor *floor)
{
    struct shared *s = floor->shared;
    uint64_t spins = 0;
    uint64_t at = at_load(&s->head, AT_RELAXED);
    for (;;) {
        struct cell *cell = &s->cells[at % QUEUE_CELLS];
        /* Acquire pairs with the pusher's release of the item. */
        int64_t lag = (int64_t)(at_load(&cell->sequence, AT_ACQUIRE) - (at + 1));
        if (lag == 0 && at_cas(&s->head, &at, at + 1, AT_ACQUIRE)) {
            uint64_t value = at_load(&cell->value, AT_RELAXED);
            at_store(&cell->sequence, at + QUEUE_CELLS, AT_RELEASE); /* queue_push() */
            return value;
        }
        if (lag < 0) {
            (void)spin_step(floor, &spins);
        }
        at = at_load(&s->head, AT_RELAXED);
    }
}

/* ---- the child's half
 * ---------------------------------------------------------------------- */

static void child_bounce(struct floor *floor, uint64_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)spin_until(floor, &floor->shared->ball, 2 * i + 1);
        at_store(&floor->shared->ball, 2 * i + 2, AT_RELEASE);
    }
}

static void child_futex(struct floor *floor, uint64_t count)
{
    for (uint32_t i = 1; i <= count; i++) {
        (void)futex_until(floor, &floor->shared->ping, i);
        at_store(&floor->shared->pong, i, AT_SEQ_CST);
        futex_wake(&floor->shared->pong);
    }
}

static void child_queue(struct floor *floor, uint64_t count)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum += queue_pop(floor);
    }
    at_store(&floor->shared->sum, sum, AT_RELAXED);
    at_store(&floor->shared->done, 1, AT_RELEASE); /* pairs with parent_queue() */
}

/* Writes all lines, so that they are dirty in this core's cache, once for each pass. */
static void child_line(struct floor *floor, uint64_t count)
{
    struct shared *s = floor->shared;
    uint32_t passes = (uint32_t)((count + LINE_COUNT - 1) / LINE_COUNT);
    for (uint32_t pass = 1; pass <= passes; pass++) {
        (void)spin_until(floor, &s->ping, pass);
        for (uint64_t i = 0; i < LINE_COUNT; i++) {
            at_store(&s->lines[i].next, (i + LINE_STEP) % LINE_COUNT, AT_RELAXED);
        }
        at_store(&s->pong, pass, AT_RELEASE); /* pairs with parent_line() */
    }
}

static void child_main(struct floor *floor, pid_t parent)
{
    static void (*const halves[FLOOR_KINDS])(struct floor *, uint64_t) = {
        [FLOOR_BOUNCE] = child_bounce,
        [FLOOR_FUTEX] = child_futex,
        [FLOOR_QUEUE] = child_queue,
        [FLOOR_LINE] = child_line,
    };
    struct shared *s = floor->shared;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) { /* it died before the line above */
        _exit(0);
    }
    if (floor->options.child_cpu != FLOOR_ANY_CPU) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)floor->options.child_cpu, &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0) {
            _exit(1); /* the first round answers -ECHILD */
        }
    }
    for (uint32_t seen = 0;;) {
        uint32_t go;
        while ((go = at_load(&s->go, AT_ACQUIRE)) ==
               seen) { /* pairs with floor_round() */
            futex_wait(&s->go, seen);
        }
        seen = go;
        uint64_t count = at_load(&s->count, AT_RELAXED);
        at_store(&s->ready, go, AT_RELEASE); /* pairs with floor_round() */
        halves[floor->kind](floor, count);
    }
}

/* ---- the parent's half
 * --------------------------------------------------------------------- */

/* One trip each: there and back. */
static int trip_bounce(struct floor *floor, uint32_t i)
{
    at_store(&floor->shared->ball, 2 * i + 1, AT_RELEASE);
    return spin_until(floor, &floor->shared->ball, 2 * i + 2);
}

static int trip_futex(struct floor *floor, uint32_t i)
{
    at_store(&floor->shared->ping, i + 1, AT_SEQ_CST);
    futex_wake(&floor->shared->ping);
    return futex_until(floor, &floor->shared->pong, i + 1);
}

static int parent_trips(struct floor *floor, uint64_t count, uint64_t *ret_ns)
{
    int (*trip)(struct floor *, uint32_t) =
        floor->kind == FLOOR_BOUNCE ? trip_bounce : trip_futex;
    uint64_t gap_ns = floor->options.gap_ns, ns = 0, start = floor_now_ns();
    for (uint32_t i = 0; i < count; i++) {
        if (gap_ns != 0) {
            floor_sleep_ns(gap_ns);
            start = floor_now_ns();
        }
        int rc = trip(floor, i);
        if (rc != 0) {
            return rc;
        }
        if (gap_ns != 0) {
            ns += floor_now_ns() - start;
        }
    }
    *ret_ns = gap_ns != 0 ? ns : floor_now_ns() - start;
    return 0;
}

static int parent_queue(struct floor *floor, uint64_t count, uint64_t *ret_ns)
{
    uint64_t start = floor_now_ns();
    for (uint64_t i = 1; i <= count; i++) {
        int rc = queue_push(floor, i);
        if (rc != 0) {
            return rc;
        }
    }
    int rc = spin_until(floor, &floor->shared->done, 1);
    if (rc != 0) {
        return rc;
    }
    *ret_ns = floor_now_ns() - start;
    /* The sum wraps as this does. */
    uint64_t sum = count % 2 == 0 ? count / 2 * (count + 1) : (count + 1) / 2 * count;
    return at_load(&floor->shared->sum, AT_RELAXED) == sum ? 0 : -EBADMSG;
}

static int parent_line(struct floor *floor, uint64_t count, uint64_t *ret_ns)
{
    struct shared *s = floor->shared;
    uint64_t ns = 0, left = count;
    for (uint32_t pass = 1; left > 0; pass++) {
        uint64_t loads = left < LINE_COUNT ? left : LINE_COUNT;
        at_store(&s->ping, pass, AT_RELEASE);
        int rc = spin_until(floor, &s->pong, pass);
        if (rc != 0) {
            return rc;
        }
        uint64_t at = 0, start = floor_now_ns();
        for (uint64_t i = 0; i < loads; i++) {
            at = at_load(&s->lines[at].next, AT_RELAXED); /* each needs the one before */
        }
        ns += floor_now_ns() - start;
        if (at != loads * LINE_STEP % LINE_COUNT) {
            return -EBADMSG;
        }
        left -= loads;
    }
    *ret_ns = ns;
    return 0;
}

static int parent_copy(struct floor *floor, uint64_t count, uint64_t *ret_ns)
{
    size_t bytes = floor->options.copy_bytes;
    unsigned char *from = floor->copy, *to = floor->copy + bytes;
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        from[i % bytes] = (unsigned char)i;
        memcpy(to, from, bytes);
        __asm__ __volatile__("" ::"r"(to)
                             : "memory"); /* the copy is looked at, so made */
    }
    *ret_ns = floor_now_ns() - start;
    return to[(count - 1) % bytes] == (unsigned char)(count - 1) ? 0 : -EBADMSG;
}

/* Goes on where the last round ended, so that it comes to a line again only after all others. */
static int walk_cold(struct floor *floor, uint64_t count, uint64_t *ret_ns)
{
    uint64_t lines = floor->options.copy_bytes / sizeof *floor->lines, at = floor->at;
    uint64_t start = floor_now_ns();
    for (uint64_t i = 0; i < count; i++) {
        at = at_load(&floor->lines[at].next, AT_RELAXED);
    }
    *ret_ns = floor_now_ns() - start;
    uint64_t want = (floor->at + count % lines * (COLD_STEP % lines)) % lines;
    floor->at = at;
    return at == want ? 0 : -EBADMSG;
}

int floor_round(struct floor *floor, uint64_t count, uint64_t *ret_ns)
{
    struct shared *s = floor->shared;
    if (count == 0 || count > INT32_MAX) {
        return -EINVAL;
    }
    if (floor->kind == FLOOR_COPY) {
        return parent_copy(floor, count, ret_ns);
    }
    if (floor->kind == FLOOR_COLD) {
        return walk_cold(floor, count, ret_ns);
    }
    at_store(&s->ball, 0, AT_RELAXED);
    at_store(&s->ping, 0, AT_RELAXED);
    at_store(&s->pong, 0, AT_RELAXED);
    at_store(&s->done, 0, AT_RELAXED);
    at_store(&s->count, count, AT_RELAXED);
    at_store(&s->go, ++floor->round, AT_RELEASE); /* pairs with child_main() */
    futex_wake(&s->go);
    int rc = spin_until(floor, &s->ready, floor->round);
    if (rc != 0) {
        return rc;
    }
    switch (floor->kind) {
    case FLOOR_QUEUE:
        return parent_queue(floor, count, ret_ns);
    case FLOOR_LINE:
        return parent_line(floor, count, ret_ns);
    default:
        return parent_trips(floor, count, ret_ns);
    }
}

/* ---- start and stop
 * ------------------------------------------------------------------------ */

static void *map(size_t bytes, int sharing)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
                sharing | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

/* Populating maps the zero page for private memory on some kernels; writing does not. */
static int start_copy(struct floor *floor)
{
    size_t bytes = floor->options.copy_bytes;
    if (bytes == 0 || bytes > FLOOR_COPY_BYTES_MAX) {
        return -EINVAL;
    }
    floor->copy = map(2 * bytes, MAP_PRIVATE);
    if (floor->copy == MAP_FAILED) {
        floor->copy = NULL;
        return -errno;
    }
    memset(floor->copy, 1, 2 * bytes);
    return 0;
}

static int start_cold(struct floor *floor)
{
    size_t lines = floor->options.copy_bytes / sizeof *floor->lines;
    if (lines == 0 || floor->options.copy_bytes > FLOOR_COPY_BYTES_MAX) {
        return -EINVAL;
    }
    floor->lines = map(floor->options.copy_bytes, MAP_PRIVATE);
    if (floor->lines == MAP_FAILED) {
        floor->lines = NULL;
        return -errno;
    }
    for (size_t i = 0; i < lines; i++) {
        at_store(&floor->lines[i].next, (i + COLD_STEP) % lines, AT_RELAXED);
    }
    return 0;
}

static int start_child(struct floor *floor)
{
    floor->shared = map(sizeof *floor->shared, MAP_SHARED);
    if (floor->shared == MAP_FAILED) {
        floor->shared = NULL;
        return -errno;
    }
    for (uint64_t i = 0; i < QUEUE_CELLS; i++) {
        at_store(&floor->shared->cells[i].sequence, i, AT_RELAXED);
    }
    pid_t self = getpid(), child = fork();
    if (child == -1) {
        return -errno;
    }
    if (child == 0) {
        child_main(floor, self);
    }
    floor->child = child;
    return 0;
}

int floor_start(enum floor_kind kind, const struct floor_options *options,
                struct floor **ret)
{
    static const struct floor_options defaults = FLOOR_OPTIONS_INIT;
    options = options != NULL ? options : &defaults;
    if (kind >= FLOOR_KINDS || options->child_cpu >= CPU_SETSIZE) {
        return -EINVAL;
    }
    struct floor *floor = calloc(1, sizeof *floor);
    if (floor == NULL) {
        return -ENOMEM;
    }
    floor->kind = kind;
    floor->options = *options;
    int rc = kind == FLOOR_COPY   ? start_copy(floor)
             : kind == FLOOR_COLD ? start_cold(floor)
                                  : start_child(floor);
    if (rc != 0) {
        floor_stop(floor);
        return rc;
    }
    *ret = floor;
    return 0;
}

void floor_stop(struct floor *floor)
{
    if (floor == NULL) {
        return;
    }
    if (floor->child != 0) {
        kill(floor->child, SIGKILL);
        while (waitpid(floor->child, NULL, 0) == -1 && errno == EINTR) {
        }
    }
    if (floor->shared != NULL) {
        munmap(floor->shared, sizeof *floor->shared);
    }
    if (floor->copy != NULL) {
        munmap(floor->copy, 2 * floor->options.copy_bytes);
    }
    if (floor->lines != NULL) {
        munmap(floor->lines, floor->options.copy_bytes);
    }
    free(floor);
}
