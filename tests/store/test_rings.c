/* Rings of events: bounded however many there are, and what a corrupt one can do to its reader. */
#include <criterion/criterion.h>

#include "store/timeline.h"

enum { MANY = 10000000 };

static struct timeline_ring ring;

static void put(uint64_t n)
{
    (void)timeline_put(&ring, timeline_what(TIMELINE_RUN, 1, 2, 3, 4), n, 0, n, n, n, 7);
}

Test(timeline, without_memory_nothing_is_recorded)
{
    cr_assert_eq(timeline_put(&ring, 1, 1, 0, 1, 1, 1, 1), 0);
    timeline_end(&ring, 0, 9);
    timeline_end(&ring, 5, 9);
    cr_assert_eq(at_load(&ring.next, AT_RELAXED), 0);
}

Test(timeline, ten_million_events_take_what_the_ring_has, .timeout = 60)
{
    uint64_t first, end, read = 0;
    struct timeline_event e;
    at_store(&ring.order, TIMELINE_ORDER, AT_RELAXED);
    for (uint64_t i = 0; i < MANY; i++) {
        put(i);
    }
    timeline_range(&ring, TIMELINE_ORDER, &first, &end);
    cr_assert_eq(end, MANY);
    cr_assert_eq(end - first, 1u << TIMELINE_ORDER);
    for (uint64_t at = first; at < end; at++) {
        if (timeline_read(&ring, TIMELINE_ORDER, at, &e)) {
            cr_assert_eq(e.word[TIMELINE_LINK], at);
            read++;
        }
    }
    cr_assert_eq(read, end - first);
    cr_assert(!timeline_read(&ring, TIMELINE_ORDER, first - 1, &e), "overwritten");
    cr_assert(!timeline_read(&ring, TIMELINE_ORDER, end, &e), "not there yet");
    /* Nothing behind the ring's slots was touched. */
    const struct timeline_slot *behind = &ring.slots[1u << TIMELINE_ORDER];
    for (int w = 0; w < TIMELINE_WORDS; w++) {
        cr_assert_eq(at_load(&behind->word[w], AT_RELAXED), 0);
    }
}

Test(timeline, a_run_gets_its_outcome_only_while_its_slot_is_its_own)
{
    struct timeline_event e;
    at_store(&ring.order, 1, AT_RELAXED);
    uint64_t a = timeline_put(&ring, 1, 10, 0, 1, 0, 0, 7), first, end;
    uint64_t b = timeline_put(&ring, 1, 20, 0, 2, 0, 0, 7);
    timeline_end(&ring, b, timeline_outcome(5, MOB_ERR_TASK_FAILED));
    cr_assert(timeline_read(&ring, 1, b - 1, &e));
    cr_assert_eq(e.word[TIMELINE_OUTCOME] >> 8, 6);
    cr_assert_eq(-(mob_status)(e.word[TIMELINE_OUTCOME] & 0xff), MOB_ERR_TASK_FAILED);
    uint64_t c = timeline_put(&ring, 1, 30, 0, 3, 0, 0, 7);
    timeline_end(&ring, a, timeline_outcome(9, MOB_OK)); /* its slot is c's */
    timeline_range(&ring, 1, &first, &end);
    cr_assert_eq(first, b - 1);
    cr_assert(timeline_read(&ring, 1, c - 1, &e));
    cr_assert_eq(e.word[TIMELINE_OUTCOME], 0);
}

Test(timeline, what_a_writer_left_is_input)
{
    uint64_t first, end;
    struct timeline_event e;
    unsigned seen = 0;
    at_store(&ring.order, 77, AT_RELAXED); /* the reader knows better */
    cr_assert_eq(timeline_put(&ring, 1, 1, 0, 1, 1, 1, 1), 0);
    at_store(&ring.next, UINT64_MAX - 3, AT_RELAXED);
    for (uint32_t i = 0; i < 1u << TIMELINE_ORDER; i++) {
        at_store(&ring.slots[i].word[TIMELINE_SEQ], i * 0x9e3779b97f4a7c15ull,
                 AT_RELAXED);
    }
    timeline_range(&ring, TIMELINE_ORDER, &first, &end);
    cr_assert_eq(end - first, 1u << TIMELINE_ORDER);
    for (uint64_t at = first; at != end; at++) {
        seen += timeline_read(&ring, TIMELINE_ORDER, at, &e);
    }
    cr_assert_lt(seen, 2);
}
