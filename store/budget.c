#include "store/budget.h"

#include <stdlib.h>

#include "core/status.h"
#include "core/text.h"

enum { TEXT = 24 }; /* of a size as text */

struct budget_job {
    uint64_t bytes;
    uint64_t procs[PROCS_MAX + 1];
};

static mob_status look_at_machine(void *arg, struct machine_memory *ret)
{
    (void)arg;
    return machine_memory(ret);
}

/* What of the machine may still be promised. */
static uint64_t machine_left(const struct budget *budget,
                             const struct machine_memory *memory)
{
    uint64_t kept = budget->pending_bytes + budget->reserve_bytes;
    if (kept < budget->reserve_bytes || kept > memory->available_bytes) {
        return 0;
    }
    return memory->available_bytes - kept;
}

/* Less than is used, where the reserve is not whole any more. Not less than a part of the limit: where others take
 * all that there is, what went to disk for them could not come back. */
static void note_machine(struct budget *budget, const struct machine_memory *memory)
{
    uint64_t least = budget->limit_bytes / BUDGET_LEAST_DIVISOR,
             held = budget->used_bytes - budget->pending_bytes,
             all = held + memory->available_bytes, kept = least + budget->reserve_bytes,
             most = all > kept ? all - budget->reserve_bytes : least;
    budget->most_bytes = most < budget->limit_bytes ? most : budget->limit_bytes;
}

uint64_t budget_default_limit(const struct machine_memory *memory)
{
    uint64_t bytes = memory->limit_bytes / 100 * BUDGET_SHARE_PERCENT;
    return bytes >= 1u << 20 ? bytes & ~((1ull << 20) - 1) : bytes;
}

uint64_t budget_default_reserve(const struct machine_memory *memory)
{
    uint64_t bytes = memory->limit_bytes / BUDGET_RESERVE_DIVISOR;
    bytes = bytes < BUDGET_RESERVE_MIN ? BUDGET_RESERVE_MIN : bytes;
    return bytes > BUDGET_RESERVE_MAX ? BUDGET_RESERVE_MAX : bytes;
}

mob_status budget_init(struct budget *budget, const struct budget_config *config)
{
    static const struct budget_config defaults;
    config = config ? config : &defaults;
    budget_look_fn look = config->look ? config->look : look_at_machine;
    struct machine_memory memory;
    MOB_TRY(look(config->look_arg, &memory));
    *budget = (struct budget){
        .limit_bytes =
            config->limit_bytes ? config->limit_bytes : budget_default_limit(&memory),
        .reserve_bytes = config->reserve_bytes ? config->reserve_bytes
                                               : budget_default_reserve(&memory),
        .look = look,
        .look_arg = config->look_arg,
    };
    note_machine(budget, &memory);
    return MOB_OK;
}

void budget_fini(struct budget *budget)
{
    for (unsigned i = 0; i <= JOBS_MAX; i++) {
        free(budget->jobs[i]);
        budget->jobs[i] = NULL;
    }
}

/* ---- accounts ------------------------------------------------------------------ */

/* The job's account, made if need be. */
static mob_status open_job(struct budget *budget, struct budget_owner owner,
                           struct budget_job **ret)
{
    MOB_ASSERT(owner.job <= JOBS_MAX && owner.proc <= PROCS_MAX);
    struct budget_job **job = &budget->jobs[owner.job];
    if (!*job) {
        *job = calloc(1, sizeof **job);
    }
    if (!*job) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the accounts of job %u",
                           owner.job);
    }
    *ret = *job;
    return MOB_OK;
}

static void subtract(struct budget *budget, struct budget_owner owner, uint64_t bytes)
{
    if (bytes == 0) {
        return;
    }
    MOB_ASSERT(budget_of(budget, owner) >= bytes);
    struct budget_job *job = budget->jobs[owner.job];
    job->procs[owner.proc] -= bytes;
    job->bytes -= bytes;
    if (job->bytes == 0) {
        free(job); /* jobs come and go; an account of 2 KiB need not stay */
        budget->jobs[owner.job] = NULL;
    }
}

uint64_t budget_of_job(const struct budget *budget, uint32_t job)
{
    MOB_ASSERT(job <= JOBS_MAX);
    return budget->jobs[job] ? budget->jobs[job]->bytes : 0;
}

uint64_t budget_of(const struct budget *budget, struct budget_owner owner)
{
    MOB_ASSERT(owner.job <= JOBS_MAX && owner.proc <= PROCS_MAX);
    return budget->jobs[owner.job] ? budget->jobs[owner.job]->procs[owner.proc] : 0;
}

/* ---- what is left -------------------------------------------------------------- */

static mob_status refuse_own(const struct budget *budget, uint64_t bytes)
{
    char asked[TEXT], limit[TEXT], left[TEXT];
    return status_fail(
        MOB_ERR_NOMEM,
        "%s asked, but the object store has %s left of its limit of %s; release "
        "objects, or start the node with a larger --object-store-memory",
        text_bytes(bytes, asked, TEXT),
        text_bytes(budget->limit_bytes - budget->used_bytes, left, TEXT),
        text_bytes(budget->limit_bytes, limit, TEXT));
}

static mob_status refuse_machine(const struct budget *budget, uint64_t bytes,
                                 const struct machine_memory *memory)
{
    const struct machine_cgroup *cgroup = &memory->tightest;
    char asked[TEXT], left[TEXT], reserve[TEXT], pending[TEXT], used[TEXT], limit[TEXT];
    text_bytes(bytes, asked, TEXT);
    text_bytes(memory->available_bytes, left, TEXT);
    text_bytes(budget->reserve_bytes, reserve, TEXT);
    text_bytes(budget->pending_bytes, pending, TEXT);
    if (!memory->cgroup_binds) {
        return status_fail(
            MOB_ERR_NOMEM,
            "%s asked, but this machine's RAM of %s has %s available, of which %s "
            "are kept in reserve and %s promised already; end other programs, "
            "release objects, or use a machine with more memory",
            asked, text_bytes(memory->total_bytes, limit, TEXT), left, reserve, pending);
    }
    bool high = cgroup->high_bytes < cgroup->limit_bytes;
    text_bytes(cgroup->usage_bytes, used, TEXT);
    text_bytes(high ? cgroup->high_bytes : cgroup->limit_bytes, limit, TEXT);
    return status_fail(
        MOB_ERR_NOMEM,
        "%s asked, but the memory cgroup %s (%s %s, %s used) has %s available, of "
        "which %s are kept in reserve and %s promised already; raise its limit, or "
        "release objects",
        asked, cgroup->path, high ? "high mark" : "limit", limit, used, left, reserve,
        pending);
}

/* ---- the life of bytes --------------------------------------------------------- */

mob_status budget_take(struct budget *budget, struct budget_owner owner, uint64_t bytes)
{
    struct machine_memory memory;
    struct budget_job *job;
    if (bytes > budget->limit_bytes - budget->used_bytes) {
        return refuse_own(budget, bytes);
    }
    if (bytes == 0) {
        return MOB_OK;
    }
    MOB_TRY(budget->look(budget->look_arg, &memory));
    note_machine(budget, &memory);
    if (bytes > machine_left(budget, &memory)) {
        return refuse_machine(budget, bytes, &memory);
    }
    MOB_TRY(open_job(budget, owner, &job));
    job->procs[owner.proc] += bytes;
    job->bytes += bytes;
    budget->used_bytes += bytes;
    budget->pending_bytes += bytes;
    return MOB_OK;
}

mob_status budget_refresh(struct budget *budget)
{
    struct machine_memory memory;
    MOB_TRY(budget->look(budget->look_arg, &memory));
    note_machine(budget, &memory);
    return MOB_OK;
}

void budget_committed(struct budget *budget, uint64_t bytes)
{
    MOB_ASSERT(bytes <= budget->pending_bytes);
    budget->pending_bytes -= bytes;
}

void budget_cancel(struct budget *budget, struct budget_owner owner, uint64_t bytes)
{
    budget_committed(budget, bytes);
    budget_give(budget, owner, bytes);
}

void budget_give(struct budget *budget, struct budget_owner owner, uint64_t bytes)
{
    subtract(budget, owner, bytes);
    budget->used_bytes -= bytes;
    MOB_ASSERT(budget->pending_bytes <= budget->used_bytes);
}

mob_status budget_move(struct budget *budget, struct budget_owner from,
                       struct budget_owner to, uint64_t bytes)
{
    struct budget_job *job;
    MOB_ASSERT(budget_of(budget, from) >= bytes);
    if (bytes > 0) {
        MOB_TRY(open_job(budget, to, &job));
        job->procs[to.proc] += bytes;
        job->bytes += bytes;
        subtract(budget, from, bytes);
    }
    return MOB_OK;
}

mob_status budget_status(const struct budget *budget, struct budget_status *ret)
{
    struct machine_memory memory;
    MOB_TRY(budget->look(budget->look_arg, &memory));
    uint64_t own = budget->limit_bytes - budget->used_bytes;
    uint64_t machine = machine_left(budget, &memory);
    *ret = (struct budget_status){
        .limit_bytes = budget->limit_bytes,
        .reserve_bytes = budget->reserve_bytes,
        .used_bytes = budget->used_bytes,
        .pending_bytes = budget->pending_bytes,
        .left_bytes = own < machine ? own : machine,
        .memory = memory,
    };
    return MOB_OK;
}
