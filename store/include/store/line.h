/* line.h - who waits for memory, in the order of arrival.
 *
 * A process that was refused memory asks again and again until it gives up. Without a line, who asks for little
 * would always find it and who asks for much never. So what the first in the line asked for is kept for him: others
 * get only what is left beside that. His turn ends after LINE_TURN_NS, when he goes to the end of the line: what
 * he waits for may be held by those behind him, who need a little more to come to an end with theirs.
 *
 * A hint about fairness alone: who is not in the line, because it is full, takes what is left. No clock, no I/O;
 * one thread. */
#ifndef STORE_LINE_H
#define STORE_LINE_H

#include <stdbool.h>
#include <stdint.h>

#define LINE_PLACES 64u              /* processes that wait in order */
#define LINE_TURN_NS (1000000000ull) /* at the head */
#define LINE_FORGET_NS                                                                   \
    (100 * 1000000ull) /* a process that has not asked for so long has given up */

struct line_place {
    uint64_t who, bytes;
    uint64_t until_ns; /* when it has given up */
};

/* Zeroed: empty. */
struct line {
    struct line_place places[LINE_PLACES];
    uint32_t count;
    uint64_t turn_ns; /* since when the first is the first */
};

/* Whether @who may take @bytes of the @left bytes now. */
bool line_may(struct line *l, uint64_t who, uint64_t bytes, uint64_t left, uint64_t now);
/* It was refused, and will ask again within @patience_ns, or not at all. */
void line_refused(struct line *l, uint64_t who, uint64_t bytes, uint64_t now,
                  uint64_t patience_ns);
/* It got what it asked for. */
void line_served(struct line *l, uint64_t who, uint64_t now);

#endif
