/* gang.h - what library and daemon know in common of a gang's members (runtime/node/gang.h). */
#ifndef CORE_GANG_H
#define CORE_GANG_H

#include <mobula.h>
#include <stddef.h>
#include <stdint.h>

/* The library's function that all members are tasks of. */
#define GANG_TASK "mob.gang"

/* The last argument of a member: `fn` without what follows its NUL. */
struct gang_ticket {
    uint64_t home;       /* the node whose daemon keeps the gang */
    uint32_t gang, turn; /* its number there, and the time that it gathered */
    uint32_t rank, size;
    char fn[MOB_NAME_MAX + 1]; /* what it is to run */
};
#define GANG_TICKET_MIN offsetof(struct gang_ticket, fn)
#define GANG_ROOM_BYTES                                                                  \
    sizeof(struct gang_ticket) /* a multiple of 8; for it in the record of a seat */

#endif
