/* The checker checks itself: classic programs of a few lines whose possible results under the C11
 * memory model are known. A program that can go wrong must be seen to go wrong. */
#include <string.h>

#include "core/atomic.h"
#include "model.h"

static struct shared {
    at_u32 x, y, flag;
    uint32_t data, other;
} * m;
static unsigned got[4];

static void setup(void)
{
    m = model_alloc("m", sizeof *m);
    memset(got, 0, sizeof got);
}

/* Store buffering: both may read the old value unless a fence stands between. */
static void sb_a(void)
{
    at_store(&m->x, 1, AT_RELEASE);
    got[0] = at_load(&m->y, AT_ACQUIRE);
}
static void sb_b(void)
{
    at_store(&m->y, 1, AT_RELEASE);
    got[1] = at_load(&m->x, AT_ACQUIRE);
}
static void sb_fence_a(void)
{
    at_store(&m->x, 1, AT_RELAXED);
    at_fence();
    got[0] = at_load(&m->y, AT_RELAXED);
}
static void sb_fence_b(void)
{
    at_store(&m->y, 1, AT_RELAXED);
    at_fence();
    got[1] = at_load(&m->x, AT_RELAXED);
}
static void sb_strong_a(void)
{
    at_store(&m->x, 1, AT_SEQ_CST);
    got[0] = at_load(&m->y, AT_SEQ_CST);
}
static void sb_strong_b(void)
{
    at_store(&m->y, 1, AT_SEQ_CST);
    got[1] = at_load(&m->x, AT_SEQ_CST);
}
/* A locked instruction is a full fence on x86 alone. */
static void sb_swap_a(void)
{
    at_swap(&m->x, 1, AT_SEQ_CST);
    got[0] = at_load(&m->y, AT_RELAXED);
}
static void sb_swap_b(void)
{
    at_swap(&m->y, 1, AT_SEQ_CST);
    got[1] = at_load(&m->x, AT_RELAXED);
}
static void sb_end(void)
{
    MODEL_CHECK(got[0] || got[1], "both stores were still in their buffers");
}

/* Message passing: through atomics, and of plain data. */
static void mp_send(void)
{
    at_store(&m->x, 1, AT_RELAXED);
    m->data = 7;
    at_store(&m->flag, 1, MODEL_MUTANT(1) ? AT_RELAXED : AT_RELEASE);
}
static void mp_receive(void)
{
    if (at_load(&m->flag, MODEL_MUTANT(2) ? AT_RELAXED : AT_ACQUIRE)) {
        MODEL_CHECK(at_load(&m->x, AT_RELAXED) == 1, "the flag overtook the message");
    }
}
static void mp_receive_plain(void)
{
    if (at_load(&m->flag, MODEL_MUTANT(2) ? AT_RELAXED : AT_ACQUIRE)) {
        MODEL_CHECK(m->data == 7, "the flag overtook the data");
    }
}
static void mp_fence_send(void)
{
    m->data = 7;
    at_store(&m->x, 1, AT_RELAXED);
    if (!MODEL_MUTANT(1)) {
        at_fence();
    }
    at_store(&m->flag, 1, AT_RELAXED);
}
static void mp_fence_receive(void)
{
    if (at_load(&m->flag, AT_RELAXED)) {
        if (!MODEL_MUTANT(2)) {
            at_fence();
        }
        MODEL_CHECK(at_load(&m->x, AT_RELAXED) == 1, "the flag overtook the message");
        MODEL_CHECK(m->data == 7, "the flag overtook the data");
    }
}
/* A relaxed read-modify-write in the middle keeps the chain of a release store. */
static void mp_middle(void)
{
    if (MODEL_MUTANT(2)) {
        if (at_load(&m->flag, AT_RELAXED)) {
            at_store(&m->flag, 2, AT_RELAXED);
        }
    } else {
        at_add(&m->flag, 1, AT_RELAXED);
    }
}
static void mp_receive_two(void)
{
    if (at_load(&m->flag, AT_ACQUIRE) == 2) {
        MODEL_CHECK(m->data == 7, "the flag overtook the data");
    }
}

/* Load buffering: allowed by C11 for relaxed accesses, not explored (see README.md). */
static void lb_a(void)
{
    got[0] = at_load(&m->x, AT_RELAXED);
    at_store(&m->y, 1, AT_RELAXED);
}
static void lb_b(void)
{
    got[1] = at_load(&m->y, AT_RELAXED);
    at_store(&m->x, 1, AT_RELAXED);
}
static void lb_end(void)
{
    MODEL_CHECK(!(got[0] && got[1]), "both loads saw what came later");
}

/* Two plain stores each, in opposite orders: each word may keep its first. */
static void ww_a(void)
{
    at_store(&m->x, 1, AT_RELAXED);
    at_store(&m->y, 2, AT_RELAXED);
}
static void ww_b(void)
{
    at_store(&m->y, 1, AT_RELAXED);
    at_store(&m->x, 2, AT_RELAXED);
}
static void ww_end(void)
{
    MODEL_CHECK(m->x.v != 1 || m->y.v != 1, "each word kept the store that came first");
}

/* Independent reads of independent writes: two readers may disagree. */
static void iriw_x(void)
{
    at_store(&m->x, 1, AT_RELEASE);
}
static void iriw_y(void)
{
    at_store(&m->y, 1, AT_RELEASE);
}
static void iriw_read_x(void)
{
    got[0] = at_load(&m->x, AT_ACQUIRE);
    got[1] = at_load(&m->y, AT_ACQUIRE);
}
static void iriw_read_y(void)
{
    got[2] = at_load(&m->y, AT_ACQUIRE);
    got[3] = at_load(&m->x, AT_ACQUIRE);
}
static void iriw_end(void)
{
    MODEL_CHECK(!(got[0] && !got[1] && got[2] && !got[3]), "the readers disagree");
}

/* A word never goes back, and read-modify-writes lose nothing, whatever their order. */
static void count_up(void)
{
    uint32_t was = at_load(&m->x, AT_RELAXED);
    at_add(&m->x, 1, AT_RELAXED);
    uint32_t is = at_load(&m->x, AT_RELAXED);
    MODEL_CHECK(is > was, "the word went back from %u to %u", was, is);
}
static void count_by_cas(void)
{
    uint32_t was = at_load(&m->x, AT_RELAXED);
    if (MODEL_MUTANT(1)) {
        at_store(&m->x, was + 1, AT_RELAXED);
        return;
    }
    while (!at_cas(&m->x, &was, was + 1, AT_RELAXED)) {
    }
}
static void count_end(void)
{
    MODEL_CHECK(m->x.v == 3, "three steps up gave %u", m->x.v);
}

/* Plain counters race. */
static void race(void)
{
    m->data++;
}

/* A sequence lock around two words. */
static void seq_write(void)
{
    for (uint32_t i = 1; i <= 2; i++) {
        at_store(&m->flag, 2 * i - 1, AT_RELAXED);
        if (!MODEL_MUTANT(1)) {
            at_fence();
        }
        at_store(&m->x, i, AT_RELAXED);
        at_store(&m->y, i, AT_RELAXED);
        at_store(&m->flag, 2 * i, MODEL_MUTANT(2) ? AT_RELAXED : AT_RELEASE);
    }
}
static void seq_read(void)
{
    uint32_t x, y, begin, end;
    for (;;) {
        begin = at_load(&m->flag, AT_ACQUIRE);
        x = at_load(&m->x, AT_RELAXED);
        y = at_load(&m->y, AT_RELAXED);
        if (!MODEL_MUTANT(3)) {
            at_fence();
        }
        end = at_load(&m->flag, AT_RELAXED);
        if (begin == end && (begin % 2 == 0 || MODEL_MUTANT(4))) {
            break;
        }
        at_pause();
    }
    MODEL_CHECK(x == y, "torn: %u and %u", x, y);
}

/* Waiting for what never comes is told, spinning and parked. */
static void spin(void)
{
    while (!at_load(&m->flag, AT_ACQUIRE)) {
        at_pause();
    }
}
static void set_flag(void)
{
    at_store(&m->flag, 1, AT_RELEASE);
}

#define ALL                                                                              \
    {                                                                                    \
        .preemptions = MODEL_UNBOUNDED, .stale = 3                                       \
    }
#define TWO(a, b)                                                                        \
    {                                                                                    \
        {"a", a, 0},                                                                     \
        {                                                                                \
            "b", b, 0                                                                    \
        }                                                                                \
    }
#define MUTANT(text)                                                                     \
    {                                                                                    \
        text, MUTATE_CODE, NULL, NULL                                                    \
    }

static const struct model_mutant mp_mutants[] = {
    MUTANT("a relaxed store of the flag"), MUTANT("a relaxed load of the flag"), {0}};
static const struct model_mutant fence_mutants[] = {
    MUTANT("no fence in the sender"), MUTANT("no fence in the receiver"), {0}};
static const struct model_mutant chain_mutants[] = {
    MUTANT("a relaxed store of the flag"), MUTANT("a plain store in the middle"), {0}};
static const struct model_mutant count_mutants[] = {MUTANT("load and store"), {0}};
static const struct model_mutant seq_mutants[] = {MUTANT("no fence in the writer"),
                                                  MUTANT("a relaxed end of the writer"),
                                                  MUTANT("no fence in the reader"),
                                                  MUTANT("the reader takes odd numbers"),
                                                  {0}};

const struct model_scenario model_scenarios[] = {
    {.name = "sb",
     .about = "store buffering is found",
     .setup = setup,
     .procs = TWO(sb_a, sb_b),
     .end = sb_end,
     .bounds = ALL,
     .must_fail = "buffers"},
    {.name = "sb-fence",
     .about = "fences forbid it",
     .setup = setup,
     .procs = TWO(sb_fence_a, sb_fence_b),
     .end = sb_end,
     .bounds = ALL},
    {.name = "sb-one-fence",
     .about = "one fence does not",
     .setup = setup,
     .procs = TWO(sb_fence_a, sb_b),
     .end = sb_end,
     .bounds = ALL,
     .must_fail = "buffers"},
    {.name = "sb-strong",
     .about = "sequentially consistent accesses forbid it",
     .setup = setup,
     .procs = TWO(sb_strong_a, sb_strong_b),
     .end = sb_end,
     .bounds = ALL},
    {.name = "sb-swap",
     .about = "a swap is no fence for relaxed loads",
     .setup = setup,
     .procs = TWO(sb_swap_a, sb_swap_b),
     .end = sb_end,
     .bounds = ALL,
     .must_fail = "buffers"},
    {.name = "mp",
     .about = "messages between atomics",
     .setup = setup,
     .procs = TWO(mp_send, mp_receive),
     .bounds = ALL,
     .mutants = mp_mutants},
    {.name = "mp-plain",
     .about = "messages of plain data",
     .setup = setup,
     .procs = TWO(mp_send, mp_receive_plain),
     .bounds = ALL,
     .mutants = mp_mutants},
    {.name = "mp-fence",
     .about = "messages with fences",
     .setup = setup,
     .procs = TWO(mp_fence_send, mp_fence_receive),
     .bounds = ALL,
     .mutants = fence_mutants},
    {.name = "mp-chain",
     .about = "messages past a read-modify-write",
     .setup = setup,
     .procs = {{"a", mp_send, 0}, {"b", mp_middle, 0}, {"c", mp_receive_two, 0}},
     .bounds = ALL,
     .mutants = chain_mutants},
    {.name = "lb",
     .about = "load buffering is not explored",
     .setup = setup,
     .procs = TWO(lb_a, lb_b),
     .end = lb_end,
     .bounds = ALL},
    {.name = "2+2w",
     .about = "reordered stores are found",
     .setup = setup,
     .procs = TWO(ww_a, ww_b),
     .end = ww_end,
     .bounds = ALL,
     .must_fail = "each word kept"},
    {.name = "iriw",
     .about = "disagreeing readers are found",
     .setup = setup,
     .procs = {{"x", iriw_x, 0},
               {"y", iriw_y, 0},
               {"rx", iriw_read_x, 0},
               {"ry", iriw_read_y, 0}},
     .end = iriw_end,
     .bounds = ALL,
     .must_fail = "disagree"},
    {.name = "count",
     .about = "read-modify-writes lose nothing",
     .setup = setup,
     .procs = {{"a", count_up, 0}, {"b", count_up, 0}, {"c", count_by_cas, 0}},
     .end = count_end,
     .bounds = ALL,
     .mutants = count_mutants},
    {.name = "race",
     .about = "a data race is found",
     .setup = setup,
     .procs = TWO(race, race),
     .bounds = ALL,
     .must_fail = "data race"},
    {.name = "seqlock",
     .about = "a sequence lock",
     .setup = setup,
     .procs = TWO(seq_write, seq_read),
     .bounds = ALL,
     .mutants = seq_mutants},
    {.name = "spin",
     .about = "spinning with a pause ends",
     .setup = setup,
     .procs = TWO(spin, set_flag),
     .bounds = ALL},
    {.name = "spin-forever",
     .about = "spinning for nothing is found",
     .setup = setup,
     .procs = TWO(spin, spin),
     .bounds = ALL,
     .must_fail = "in a loop"},
    {0}};
