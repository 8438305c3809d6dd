#include "store/line.h"

#include <string.h>

static void leave(struct line *l, uint32_t i, uint64_t now)
{
    l->count--;
    memmove(&l->places[i], &l->places[i + 1], (l->count - i) * sizeof l->places[0]);
    if (i == 0) {
        l->turn_ns = now;
    }
}

static uint32_t find(const struct line *l, uint64_t who)
{
    uint32_t i = 0;
    while (i < l->count && l->places[i].who != who) {
        i++;
    }
    return i;
}

/* Forgets who has given up; ends the turn of who has been the first for too long. */
static void tidy(struct line *l, uint64_t now)
{
    for (uint32_t i = l->count; i-- > 0;) {
        if (now > l->places[i].until_ns) {
            leave(l, i, now);
        }
    }
    if (l->count > 1 && now - l->turn_ns > LINE_TURN_NS) {
        struct line_place first = l->places[0];
        leave(l, 0, now);
        l->places[l->count++] = first;
    }
}

bool line_may(struct line *l, uint64_t who, uint64_t bytes, uint64_t left, uint64_t now)
{
    tidy(l, now);
    if (l->count == 0 || l->places[0].who == who) {
        return true;
    }
    uint64_t kept = l->places[0].bytes;
    return bytes <= left && left - bytes >= kept;
}

void line_refused(struct line *l, uint64_t who, uint64_t bytes, uint64_t now,
                  uint64_t patience_ns)
{
    uint32_t i = find(l, who);
    if (i == LINE_PLACES) {
        return;
    }
    if (i == l->count) {
        l->turn_ns = l->count++ ? l->turn_ns : now;
    }
    l->places[i] = (struct line_place){who, bytes, now + patience_ns};
}

void line_served(struct line *l, uint64_t who, uint64_t now)
{
    uint32_t i = find(l, who);
    if (i < l->count) {
        leave(l, i, now);
    }
}
