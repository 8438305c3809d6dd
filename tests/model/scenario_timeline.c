/* A ring of recorded events (store/timeline.h) as it ships, with two slots: one process records, another reads, and
 * the first may be killed at any step. What is read is one event, whole. */
#include <stddef.h>

#include "model.h"
#include "store/timeline.h"

enum { ORDER = 1, EVENTS = 3 };

static struct timeline_ring *ring;

static void setup(void)
{
    ring = model_alloc("ring", offsetof(struct timeline_ring, slots) +
                                   (sizeof(struct timeline_slot) << ORDER));
    at_store(&ring->order, ORDER, AT_RELAXED);
}

/* An event says its number in each of its words. */
static void records(void)
{
    for (uint64_t i = 1; i <= EVENTS; i++) {
        uint64_t number = timeline_put(ring, i, i, 0, i, i, i, (uint32_t)i);
        MODEL_CHECK(number == i, "event %u has number %u", (unsigned)i, (unsigned)number);
        timeline_end(ring, number, i);
    }
}

static void reads(void)
{
    uint64_t first, end;
    struct timeline_event e;
    timeline_range(ring, ORDER, &first, &end);
    MODEL_CHECK(end - first <= 1u << ORDER, "%u events", (unsigned)(end - first));
    for (uint64_t at = first; at < end; at++) {
        if (!timeline_read(ring, ORDER, at, &e)) {
            continue;
        }
        for (int w = 0; w < TIMELINE_WORDS; w++) {
            bool open = w == TIMELINE_OUTCOME && e.word[w] == 0;
            MODEL_CHECK(e.word[w] == at + 1 || open, "word %d of event %u is of event %u",
                        w, (unsigned)at + 1, (unsigned)e.word[w]);
        }
    }
}

/* The events of a process that died are read as those of one that lives. */
static void sweep(unsigned dead)
{
    if (dead == 0) {
        reads();
    }
}

static const struct model_mutant mutants[] = {
    {"no fence after a slot was emptied", MUTATE_SKIP, "timeline_put", "fence"},
    {"does not look whether the slot is still that event's", MUTATE_FREEZE,
     "timeline_read", "TIMELINE_SEQ"},
    {"the number comes before the words", MUTATE_RELAX, "timeline_put", "TIMELINE_SEQ"},
    {0}};

const struct model_scenario model_scenarios[] = {
    {.name = "timeline",
     .about = "a reader in the middle of a lap",
     .setup = setup,
     .procs = {{"writer", records, 0}, {"reader", reads, 0}},
     .bounds = {.preemptions = 2, .stale = 2},
     .full = {{.preemptions = MODEL_UNBOUNDED, .stale = 2}},
     .mutants = mutants},
    {.name = "timeline-kill",
     .about = "a writer that dies at any step",
     .setup = setup,
     .procs = {{"writer", records, 0}, {"reader", reads, 0}},
     .sweep = sweep,
     .bounds = {.preemptions = 1, .stale = 1, .crashes = 1},
     .full = {{.preemptions = 2, .stale = 2, .crashes = 1}}},
    {0}};
