/* messages.h - what daemons say to each other, well-formed and then harmed.
 *
 * message_make() writes any message of wire.h, with the names that its user knows (facts) and
 * small numbers elsewhere, and notes where its fields are. message_harm() breaks it in one way of
 * many. All of it follows from the dice: the same seed, the same bytes. */
#ifndef TESTS_MESSAGES_H
#define TESTS_MESSAGES_H

#include "fold.h"
#include "wire.h"

enum { FIELDS_MAX = 512 };

struct draft {
    size_t size;
    uint32_t fields; /* how many, and where: */
    struct {
        uint32_t at, size;
    } field[FIELDS_MAX];
    uint8_t bytes[MESSAGE_BYTES_MAX];
};

struct facts {
    uint64_t dice;       /* state of the random numbers; the seed at first */
    uint64_t self, node; /* who speaks, and another member */
    uint64_t head, session;
    struct plan_job key; /* a planner's name for a job */
    uint64_t lease;
    uint32_t epoch, cls, units;
    uint32_t job; /* the owner's number of it */
    uint32_t slot, proxy;
    uint64_t link, proxy_link;
    uint64_t exe_size, start_size, token;
};

uint64_t dice(struct facts *f, uint64_t sides);
/* As a peer would say it. */
void message_make(struct draft *m, struct facts *f, enum wire_op op);

enum harm {
    HARM_CUT,     /* its end is missing */
    HARM_GROWN,   /* more bytes follow */
    HARM_EXTREME, /* a field has the least or the greatest value, or one beside it */
    HARM_BIT,     /* one bit is another */
    HARM_BYTES,   /* some bytes are others */
    HARM_OP,      /* it is said to be another message */
    HARM_NOISE,   /* nothing of it is left but the op */
    HARMS
};
void message_harm(struct draft *m, struct facts *f, enum harm how);

#endif
