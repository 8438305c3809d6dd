/* budget.h - the daemon's accountant of shared memory: who has how much, and whether
 * there is more.
 *
 * Before the daemon commits memory for anybody it takes the bytes here. A refusal is a
 * status and a sentence that says what is full and what helps. That must come before the
 * commit: past the limit of a memory cgroup the kernel does not refuse, it kills
 * (fallocate and MADV_POPULATE_WRITE end in SIGKILL, not in ENOMEM).
 *
 * The life of bytes:
 *
 *     take --> pending --committed--> held --give--> gone
 *                 |                     |
 *                 +--cancel--> gone     +--move--> held by another owner
 *
 * Pending bytes are promised and not yet committed, so the machine's figures do not show
 * them; they are subtracted from what the machine says is available. Held bytes are in
 * its figures.
 *
 * Two bounds are looked at on each take:
 *   1. the store's own limit (--object-store-memory): used + asked <= limit, to the byte;
 *   2. the machine, read again each time because others use it too: RAM and the whole
 *      cgroup chain (core/machine.h) must have asked + pending + reserve. The reserve is
 *      left alone for the processes' own memory, for the kernel's, and for what others
 *      take between the look and the commit.
 *
 * Invariants: used = sum over owners; pending <= used; used <= most <= limit at every
 * successful take.
 * Threads: none; only the daemon's loop calls it. Giving more back than an owner
 * has is our own mistake and asserted. Owner indices come from the daemon's private
 * tables, never from a peer. */
#ifndef STORE_BUDGET_H
#define STORE_BUDGET_H

#include <mobula.h>
#include <stdint.h>

#include "core/limits.h"
#include "core/machine.h"

#define BUDGET_SHARE_PERCENT 30 /* of the memory that may be used: the default limit */
#define BUDGET_RESERVE_MIN (8ull << 20)
#define BUDGET_RESERVE_MAX (1ull << 30)
#define BUDGET_RESERVE_DIVISOR 32 /* the default reserve: this part of the limit */

#define BUDGET_LEAST_DIVISOR                                                             \
    16 /* this part of the limit is the store's, however little there is */

/* As a job: the node's own, such as its pool of segments. */
#define BUDGET_NODE JOBS_MAX
/* As a process: the daemon on the job's behalf, such as pulled copies and segments that
 * outlive their process. */
#define BUDGET_DAEMON PROCS_MAX

struct budget_owner {
    uint32_t job;  /* < JOBS_MAX, or BUDGET_NODE */
    uint32_t proc; /* < PROCS_MAX, or BUDGET_DAEMON */
};

typedef mob_status (*budget_look_fn)(void *arg, struct machine_memory *ret);

struct budget_config {
    uint64_t limit_bytes;   /* --object-store-memory; 0: budget_default_limit() */
    uint64_t reserve_bytes; /* left to the machine; 0: budget_default_reserve() */
    budget_look_fn look;    /* reads the machine; NULL: machine_memory() */
    void *look_arg;
};

struct budget {
    uint64_t limit_bytes, reserve_bytes;
    uint64_t used_bytes, pending_bytes;
    /* What the store can grow to as things are: its limit, or less if the machine had less when it was looked
     * at last; a sixteenth of the limit at least. For those who act before it is full; what may be taken is for budget_take() to say. */
    uint64_t most_bytes;
    budget_look_fn look;
    void *look_arg;
    struct budget_job *jobs[JOBS_MAX + 1]; /* made when a job first takes, NULL before */
};

struct budget_status {
    uint64_t limit_bytes, reserve_bytes;
    uint64_t used_bytes;    /* pending and held */
    uint64_t pending_bytes; /* of used: promised and not yet committed */
    uint64_t left_bytes;    /* the largest take that would succeed now */
    struct machine_memory memory;
};

/* 30 % of the least of RAM and all cgroup limits, in whole MiB. */
uint64_t budget_default_limit(const struct machine_memory *memory);
/* 1/32 of the same, from 8 MiB to 1 GiB. */
uint64_t budget_default_reserve(const struct machine_memory *memory);

/* @config may be NULL: all defaults. Returns MOB_OK, or what reading the machine returns.
 */
mob_status budget_init(struct budget *budget, const struct budget_config *config);
/* Forgets all accounts. A zeroed budget is allowed. */
void budget_fini(struct budget *budget);

/* Promises @bytes to @owner. Then exactly one of budget_committed() and budget_cancel()
 * follows for them. Returns MOB_OK, or MOB_ERR_NOMEM with the sentence; nothing changes
 * then. */
mob_status budget_take(struct budget *budget, struct budget_owner owner, uint64_t bytes);
/* Looks at the machine again, as each take does, for most_bytes. Returns what reading it
 * returns; nothing changes then. */
mob_status budget_refresh(struct budget *budget);
/* @bytes that were taken are committed now. */
void budget_committed(struct budget *budget, uint64_t bytes);
/* @bytes that were taken will never be committed. */
void budget_cancel(struct budget *budget, struct budget_owner owner, uint64_t bytes);
/* @bytes that @owner held are back with the kernel. */
void budget_give(struct budget *budget, struct budget_owner owner, uint64_t bytes);
/* @bytes pass from one owner to another and stay committed, such as a pooled segment that
 * is granted again. Returns MOB_OK, or MOB_ERR_NOMEM if there is no memory for the
 * account. */
mob_status budget_move(struct budget *budget, struct budget_owner from,
                       struct budget_owner to, uint64_t bytes);

uint64_t budget_of(const struct budget *budget, struct budget_owner owner);
uint64_t budget_of_job(const struct budget *budget, uint32_t job);
/* All figures, with a fresh look at the machine. Returns what reading the machine
 * returns. */
mob_status budget_status(const struct budget *budget, struct budget_status *ret);

#endif
