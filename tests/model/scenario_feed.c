/* The feed of sealed records (store/feed.h) as it ships, with two cells, and who sleeps for it: the
 * protocol of tell_seal() in store/ready.c and of park_for_feed() in client/waitset.c. */
#include <string.h>

#include "core/clock.h"
#include "core/park.h"
#include "model.h"
#include "store/feed.h"

enum { ITEMS = 3, WRITERS = 2 };

static struct shared {
    struct feed feed;
    at_u32 sealed[ITEMS]; /* the truth, which the feed tells of */
    at_u32 event, asleep;
} * m;
static bool reader_ended;

static void setup(void)
{
    m = model_alloc("m", sizeof *m);
    reader_ended = false;
}

static void tell(uint32_t item)
{
    (void)feed_push(&m->feed, item);
    if (at_load(&m->asleep, AT_SEQ_CST) && at_swap(&m->asleep, 0, AT_SEQ_CST)) {
        at_add(&m->event, 1, AT_SEQ_CST);
        park_wake(&m->event, PARK_ALL);
    }
}

static void seal(uint32_t item)
{
    at_store(&m->sealed[item], 1, AT_SEQ_CST);
    tell(item);
}

static void seals_0(void)
{
    seal(0);
}
static void seals_1(void)
{
    seal(1);
}
static void seals_all(void)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        seal(i);
    }
}

/* What a set of the items from 0 to @count does. */
struct set {
    uint64_t position;
    bool there[ITEMS];
    uint32_t left, count;
};

static void found(struct set *s, uint32_t item)
{
    if (item < s->count && !s->there[item] && at_load(&m->sealed[item], AT_SEQ_CST)) {
        s->there[item] = true;
        s->left--;
    }
}

static void look_at_all(struct set *s)
{
    if (!MODEL_MUTANT(2)) {
        s->position = feed_end(&m->feed);
    }
    for (uint32_t i = 0; i < s->count; i++) {
        found(s, i);
    }
    if (MODEL_MUTANT(2)) {
        s->position = feed_end(&m->feed);
    }
}

static bool look(struct set *s)
{
    uint32_t item, before = s->left;
    for (;;) {
        switch (feed_next(&m->feed, &s->position, &item)) {
        case FEED_ITEM:
            MODEL_CHECK(item < ITEMS, "item %u", item);
            found(s, item);
            break;
        case FEED_LAPPED:
            look_at_all(s);
            break;
        case FEED_NONE:
            return s->left < before;
        }
    }
}

static void reads(uint32_t count)
{
    struct set s = {.left = count, .count = count};
    look_at_all(&s);
    while (s.left) {
        uint32_t seen = at_load(&m->event, AT_SEQ_CST);
        at_store(&m->asleep, 1, AT_SEQ_CST);
        if (!look(&s) && s.left) {
            park_wait(&m->event, seen, CLOCK_NEVER);
        }
    }
    reader_ended = true;
}
static void reads_2(void)
{
    reads(2);
}
static void reads_all(void)
{
    reads(ITEMS);
}

/* As the daemon does: what the dead one sealed is told once more (what it had not sealed is sealed for it), and
 * all who might sleep are woken. */
static void sweep(unsigned dead)
{
    if (dead < WRITERS) {
        at_store(&m->sealed[dead], 1, AT_SEQ_CST);
        if (!MODEL_MUTANT(4)) {
            tell(dead);
        }
    }
    at_add(&m->event, 1, AT_SEQ_CST);
    park_wake(&m->event, PARK_ALL);
}

static void end(void)
{
    MODEL_CHECK(reader_ended || model_died(WRITERS), "the reader never saw all of them");
}

static void end_lapped(void)
{
    MODEL_CHECK(reader_ended, "the reader never saw all of them");
}

static const struct model_mutant feed_mutants[] = {
    {"push does not look what is in the cell", MUTATE_FORCE, "feed_push", "cell"},
    {"looks at the records before the position", MUTATE_CODE, NULL, NULL},
    {"sleeps without saying so", MUTATE_SKIP, "reads", "&m->asleep"},
    {0}};
static const struct model_mutant lapped_mutants[] = {
    {"no wake", MUTATE_SKIP, "tell", "wake"},
    {"looks at the records before the position", MUTATE_CODE, NULL, NULL},
    {"no look at the feed before the sleep", MUTATE_FREEZE, "feed_next", "cell"},
    {0}};
static const struct model_mutant kill_mutants[] = {
    {"no wake", MUTATE_SKIP, "tell", "wake"},
    {"looks at the records before the position", MUTATE_CODE, NULL, NULL},
    {"sleeps without saying so", MUTATE_SKIP, "reads", "&m->asleep"},
    {"the sweep does not tell again", MUTATE_CODE, NULL, NULL},
    {0}};

const struct model_scenario model_scenarios[] = {
    {.name = "feed",
     .about = "two seal, one waits for both",
     .setup = setup,
     .procs = {{"s0", seals_0, 0}, {"s1", seals_1, 0}, {"reader", reads_2, 0}},
     .end = end,
     .bounds = {.preemptions = 3, .stale = 1},
     .full = {{.preemptions = MODEL_UNBOUNDED, .stale = 2, .spurious = 1}},
     .mutants = feed_mutants},
    {.name = "feed-lapped",
     .about = "a reader that is slower than a lap",
     .setup = setup,
     .procs = {{"sealer", seals_all, 0}, {"reader", reads_all, 0}},
     .end = end_lapped,
     .bounds = {.preemptions = 4, .stale = 1},
     .full = {{.preemptions = MODEL_UNBOUNDED, .stale = 2, .spurious = 1}},
     .mutants = lapped_mutants},
    {.name = "feed-kill",
     .about = "whoever dies, the other hears of both",
     .setup = setup,
     .procs = {{"s0", seals_0, 0}, {"s1", seals_1, 0}, {"reader", reads_2, 0}},
     .sweep = sweep,
     .end = end,
     .bounds = {.preemptions = 2, .stale = 1, .crashes = 1},
     .full = {{.preemptions = 3, .stale = 1, .crashes = 2}},
     .mutants = kill_mutants},
    {0}};
