/* board.h - the board: a job's shared memory on one node, as a table of contents.
 *
 * One sparse segment, reserved at its maximum and committed ahead by the daemon: records, a ready
 * queue for each class, the processes, their ledgers, the segments, the names. Everything is at
 * an offset that is fixed by the layout version; nothing is a pointer.
 *
 * Owns: the mapping. Threads: the view is constant after board_map(); the memory is shared. */
#ifndef STORE_BOARD_H
#define STORE_BOARD_H

#include <mobula.h>
#include <stddef.h>

#include "core/demand.h"
#include "core/limits.h"
#include "store/feed.h"
#include "store/queue.h"
#include "store/record.h"

#define BOARD_MAGIC 0x31616c75626f6dull /* "mobula1" */
#define BOARD_LAYOUT 9u

#define BOARD_RECORDS_MAX (1u << 22)
#define BOARD_BLOCK 64u /* records in a block: one word of bitmap */
#define BOARD_BLOCKS_MAX (BOARD_RECORDS_MAX / BOARD_BLOCK)
_Static_assert(BOARD_RECORDS_MAX <= 1u << (32 - SUCC_SLOT_BITS),
               "an index fits into an entry");
#define BOARD_COMMIT_STEP 4096u /* records that the daemon commits at a time: 1.5 MiB */
#define BOARD_STEP_BYTES                                                                 \
    (BOARD_COMMIT_STEP * (sizeof(struct record) + sizeof(at_u32) + sizeof(at_u64)) +     \
     BOARD_COMMIT_STEP / BOARD_BLOCK * sizeof(at_u32))
#define BOARD_QUEUE_ORDER 20u /* 2^20 tasks ready in one class */
#define BOARD_RING_ORDER 10u  /* freed places on their way to an arena's owner */
#define BOARD_NAMES_MAX 1024u
#define BOARD_SITES_MAX 1024u /* places in programs that make objects and tasks */
#define BOARD_JOB_NAME_MAX 63u
#define BOARD_TICK_NS (100000000ull) /* one step of board_header.now */
#define BOARD_SEGMENTS_MAX 8192u
#define BOARD_LEDGERS_MAX 512u
#define BOARD_PINS                                                                       \
    60u /* views that one ledger can hold; a thread may lease several ledgers */

#define DAEMON 0u /* the daemon's index among the processes */
#define UNHINTED                                                                         \
    0xffffu /* as holder of a QUEUED record: its queue was full, the daemon pushes it */

/* Reasons for which a client wakes the daemon; bits of board_header.notice. */
#define NOTICE_ALERT 1u   /* ready tasks and no idle worker */
#define NOTICE_RECORDS 2u /* few committed records are left */
#define NOTICE_RESCAN                                                                    \
    4u /* records wait for the daemon: a queue or ring was full, a view pins */
#define NOTICE_LENT 8u     /* a worker waits inside a task */
#define NOTICE_PLACES 16u  /* the daemon's places were freed, or segments unmapped */
#define NOTICE_FOREIGN 32u /* tasks of other nodes were sealed; they are on its ring */
#define NOTICE_CANCEL                                                                    \
    64u /* a task that the daemon holds for another node is to be cancelled */
#define NOTICE_DUE 128u    /* something is asked for a time before board_header.due */
#define NOTICE_GATHER 256u /* the daemon's own: see board_gather() */

struct board_header {
    at_u64 magic; /* daemon, last */
    at_u32 layout;
    at_u32 job;
    at_u64 node;
    at_u32 committed; /* daemon: records that exist */
    at_u32 unusual;   /* daemon: a mob_status that ends the job; BOARD_RECORDED; or 0 */
    at_u32 ledgers;   /* anyone: ledgers ever leased, so that scans stay short */
    at_u32 blocks;    /* anyone: blocks ever leased, likewise */
    at_u32
        now; /* anyone, forward only: BOARD_TICK_NS since `born_ns`; see board_tick() */
    at_u64 born_ns; /* daemon: the machine's monotonic clock when the board was made */
    at_u32 notice __attribute__((aligned(CACHE_LINE))); /* anyone sets; daemon clears */
    at_u32
        revoked; /* daemon: counts segments taken back; a client that sees it change unmaps */
    at_u32
        wanted; /* daemon: counts refused grants; a client that sees it change gives back */
    at_u32 epoch; /* daemon: counts its looks for bytes that could go to disk */
    /* Each its own bit: a process that runs or spins. A hint for who considers spinning. */
    at_u64 awake[PROCS_MAX / 64] __attribute__((aligned(CACHE_LINE)));
    char failure[FAILURE_TEXT_MAX];        /* daemon, before `failed`: why */
    char job_name[BOARD_JOB_NAME_MAX + 1]; /* daemon: for people, with a NUL */
    /* Who waits for several records, or for bytes from disk, sleeps on it. The daemon bumps it when bytes have
     * moved; sealers, once for all sleepers, if `asleep` says that somebody waits for records. */
    at_u32 event __attribute__((aligned(CACHE_LINE)));
    at_u32 asleep; /* sleepers set it, who wakes them clears it */
    at_u32 groups; /* daemon: counts changes of groups; who waits for one sleeps on it */
    at_u32 due;    /* anyone lowers it, the daemon sets it anew: request.h */
};

enum proc_state {
    PROC_NONE,
    PROC_STARTING, /* a worker before mob_init() */
    PROC_IDLE,
    PROC_BUSY,
    PROC_LENT, /* waits inside a task; its slot serves others */
    PROC_DRIVER,
    PROC_DAEMON,
    PROC_DEAD
};

/* board_header.unusual: what processes do is recorded (timeline.h). */
#define BOARD_RECORDED 1u

#define RUN_NONE 0u /* proc.run: may claim nothing; else the class + 1 */
#define RUN_EXIT UINT32_MAX

struct proc {
    at_u32 wake;  /* waker bumps; the process sleeps on it */
    at_u32 run;   /* daemon: the class that it may claim from */
    at_u32 state; /* the process itself, for people and for lending */
    at_u32 pid;   /* daemon */
    at_u64 task;  /* the process: link of the task that it runs, for people */
    at_u64 done;  /* the process: tasks finished, for people */
    at_u32
        revoked_seen; /* the process: board_header.revoked up to which it has unmapped */
    at_u32 last_fn;   /* the process: the function that it ran last + 1, for people */
    at_u64 gets; /* the process: looks at bytes outside of records, about; for people */
    at_u64
        awaits; /* the process: what it waits for while it is PROC_LENT; LINK_NONE: any of several, or no object */
    struct queue ring __attribute__((aligned(CACHE_LINE))); /* its freed places */
} __attribute__((aligned(CACHE_LINE)));

struct klass { /* one class of demand */
    struct queue ready;
    at_u64 parked[PROCS_MAX / 64]
        __attribute__((aligned(CACHE_LINE))); /* workers asleep */
    at_u32 alert; /* daemon arms; a submitter that finds no idle worker takes it */
    at_u32 used;  /* daemon: the word of the class that is open; klass.h. And then: */
    struct demand demand; /* daemon: what its tasks ask for */
    at_u32 made; /* daemon: 1 once the place has had a class: its queue is in use */
    at_u32 room; /* submitters that wait for room sleep on it; poppers bump it */
    at_u32 room_waiters;
} __attribute__((aligned(CACHE_LINE)));

/* With the owner: the thread has ended, and views that it made are still held. The process leases the
 * ledger again once they were given back. */
#define LEDGER_LEFT (1u << 31)

/* A thread's pins. One writer, the thread that leased it; anyone who frees reads it. */
struct ledger {
    at_u32 owner; /* process + 1, or 0: free; LEDGER_LEFT: see there */
    at_u32 high;  /* pins in use are below */
    /* The record that its thread seals or closes, or whose successors it serves, right now; with LINK_SUCCESSORS
     * these are held too. */
    at_u64 finishing;
    /* The successor that its thread looks at, the foreseen task that it runs, or the task that it hangs on its last
     * argument, right now. */
    at_u64 touching;
    at_u64 entering; /* the word of the class that its thread makes a task of; klass.h */
    at_u64 pin[BOARD_PINS]; /* link of a record, or LINK_NONE */
} __attribute__((aligned(CACHE_LINE)));
_Static_assert(sizeof(struct ledger) == 512, "eight cache lines");

#define NAME_FREE 0u
#define NAME_CLAIMED(process) (2u + (process))
#define NAME_READY 1u
struct name {
    at_u32 state;
    uint32_t hash;
    char text[MOB_NAME_MAX + 1];
};
_Static_assert(sizeof(struct name) == 64, "one cache line");

/* Segment word, written by the daemon: used:1 | revoked:1 | owner:16 | size in pages:40. */
#define SEGMENT_USED (1ull << 63)
#define SEGMENT_REVOKED (1ull << 62)
static inline uint32_t segment_owner(uint64_t word)
{
    return (uint32_t)(word >> 40) & 0xffff;
}

struct timeline_ring;

struct board {
    struct board_header *header;
    struct proc *procs;
    struct klass *classes;
    struct ledger *ledgers;
    struct feed
        *feed; /* of sealed records that somebody asked to hear of (STATE_NOTIFY) */
    struct name *names, *sites;
    at_u64 *segments;
    at_u32 *block_owner;    /* process + 1, or 0: free */
    at_u64 *block_returned; /* hint: records of the block that others made FREE */
    struct timeline_ring *timelines; /* of each process; board_timeline() */
    at_u64 *ring_cells;
    at_u64 *ready_cells;
    at_u32 *touched; /* per record: the epoch in which its bytes were used last; a hint */
    at_u64 *requests;  /* per record: request.h */
    at_u32 *block_due; /* per block: hints of them */
    struct record *records;
    const struct record
        *records_ro; /* the same, mapped read-only: what views point into */
    void *base;
    const void *base_ro;
    /* How many records exist. The daemon looks at its own count, which no client can write. */
    const at_u32 *committed;
    at_u32 own_committed;
    int fd;   /* of the daemon's; -1 elsewhere */
    int bell; /* eventfd that wakes the daemon, which may ring it for itself; or -1 */
};

/* Makes a board with its fixed part and the first records committed. The daemon's call.
 * @ret_bytes: what is committed. */
mob_status board_create(uint64_t node, uint32_t job, struct board *ret,
                        uint64_t *ret_bytes);

/* Commits the next BOARD_COMMIT_STEP records. The daemon's call, after it found the memory.
 * MOB_ERR_FULL at the maximum. */
mob_status board_commit_more(struct board *b);

/* The ring in which a process records (timeline.h). It has memory once the daemon has called the next one, with
 * 2^order events: board_timeline_bytes(). */
struct timeline_ring *board_timeline(const struct board *b, uint32_t process);
uint64_t board_timeline_bytes(uint32_t order);
mob_status board_timeline_commit(struct board *b, uint32_t process, uint32_t order);
/* The daemon's, of a board that nobody else maps any more: all of its memory goes but the rings, which stay
 * readable after board_unmap(), until board_timeline_drop(). */
mob_status board_timeline_keep(const struct board *b, const struct timeline_ring **ret);
void board_timeline_drop(const struct timeline_ring *rings);

/* Maps a board that the daemon sent and checks that it is one. Takes no ownership of @fd. */
mob_status board_map(int fd, struct board *ret);
/* The same to look at alone: a write through it faults. `committed` is what the memory says, not what
 * clients could write. */
mob_status board_map_ro(int fd, struct board *ret);
void board_unmap(struct board *b);

/* Bytes of address space; bytes of its fixed part. */
size_t board_bytes(void);
size_t board_fixed_bytes(void);

static inline uint32_t board_committed(const struct board *b)
{
    return at_load(b->committed, AT_ACQUIRE);
}

/* The record, or NULL if there is none of that index: indices in shared memory are input. */
static inline struct record *board_record(const struct board *b, uint32_t index)
{
    return index < at_load(b->committed, AT_RELAXED) ? &b->records[index] : NULL;
}
static inline uint32_t board_index(const struct board *b, const struct record *r)
{
    return (uint32_t)(r - b->records);
}

/* Says that the bytes of a record, outside of it, are used now. Once an epoch it writes: else all who read
 * a hot object would take turns at a line. */
static inline void board_touch(struct board *b, uint32_t index)
{
    uint32_t epoch = at_load(&b->header->epoch, AT_RELAXED);
    if (at_load(&b->touched[index], AT_RELAXED) != epoch) {
        at_store(&b->touched[index], epoch, AT_RELAXED);
    }
}

static inline struct queue_view board_ready(const struct board *b, uint32_t class)
{
    return queue_view(&b->classes[class].ready,
                      b->ready_cells + ((size_t) class << BOARD_QUEUE_ORDER),
                      BOARD_QUEUE_ORDER);
}
static inline struct queue_view board_ring(const struct board *b, uint32_t process)
{
    return queue_view(&b->procs[process].ring,
                      b->ring_cells + ((size_t)process << BOARD_RING_ORDER),
                      BOARD_RING_ORDER);
}

/* Sets a notice for the daemon and rings its bell if it was not rung yet. The only system call
 * that a client makes for the daemon's sake. A process that dies in between is made good by the
 * daemon, which looks at the notices after each death. */
void board_notice(struct board *b, uint32_t bits);

/* For the daemon, which has just taken all notices, and will take them again by itself soon, so that nobody
 * has to ring for it: a bit of its own stays set until then.
 *
 *   0 --notice: bits, and the bell--> bits --daemon: taken--> 0
 *   0 --daemon: GATHER, and its timer--> GATHER --notice: bits--> GATHER and bits --timer: taken--> 0
 *
 * False: a notice came first, and has rung. */
bool board_gather(struct board *b);

/* Finds or adds a name. Any process. MOB_ERR_FULL, MOB_ERR_INVALID. */
mob_status board_name(struct board *b, uint32_t process, const char *text, uint16_t *ret);

/* The text of a name into @buf of MOB_NAME_MAX + 1 bytes; "?" if there is none. */
void board_name_text(const struct board *b, uint32_t id, char *buf);

/* The same for a place in a program, "file:line"; of a long path the end. The number is never 0.
 * MOB_ERR_FULL. */
mob_status board_site(struct board *b, uint32_t process, const char *file, uint32_t line,
                      uint16_t *ret);
/* "" for 0. */
void board_site_text(const struct board *b, uint32_t number, char *buf);

/* ---- how old things are -------------------------------------------------------------------------
 * Reading a clock for each task would cost a tenth of it. The board has a coarse clock instead, which
 * those move on who read a real one anyhow, so that nobody ticks on a board at rest. A submitter stamps
 * with what the word says. It is not far behind: who pushes either finds somebody to wake or to ring
 * for, which takes so long that it looks at the clock and stamps again (client/submit.c); or a worker
 * that spins, and moves the word on while it does; or neither, because the daemon knows of a backlog
 * and looks at the queue on its tick, which moves the word on too. Where tasks follow each other so fast
 * that no worker comes to look at a clock, the submitter does when its block of records is used up, at
 * every 64th of them. */

/* Moves the word on to the present, and returns it. Any process. */
uint32_t board_tick(struct board *b);
/* The same for who knows the time on the machine's monotonic clock. */
uint32_t board_tick_at(struct board *b, uint64_t now_ns);
/* As it was moved on last. */
static inline uint32_t board_now(const struct board *b)
{
    return at_load(&b->header->now, AT_RELAXED);
}

#endif
