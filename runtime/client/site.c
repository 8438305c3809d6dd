/* site.c - where in a program something was made, and what its bytes are: for tools and for readers. */
#include <string.h>

#include "client.h"
#include "core/status.h"
#include "store/meta.h"

enum { REFS_DEEP_MAX = 64 };

uint32_t client_site_slow(struct mob *mob, struct mob_site *site)
{
    uint16_t number = 0;
    if (!site || !site->file ||
        board_site(&mob->board, mob->self, site->file, site->line, &number) != MOB_OK) {
        number = 0; /* a job with more places than the table has shows some without */
    }
    if (site) {
        __atomic_store_n(&site->number, number, __ATOMIC_RELAXED);
        __atomic_store_n(&site->of, mob->serial, __ATOMIC_RELEASE);
    }
    return number;
}

mob_status client_check_meta(const struct mob_meta *given, struct mob_meta *ret)
{
    struct mob_meta m = {0};
    if (!given || given->struct_size < sizeof(size_t) || given->struct_size > sizeof m) {
        return status_fail(MOB_ERR_INVALID,
                           "metadata without its struct_size, which is %zu", sizeof m);
    }
    memcpy(&m, given, given->struct_size);
    if (m.type > UINT8_MAX || m.dims > MOB_DIMS_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "metadata of type %u with %u dimensions; up to 255 and %d are "
                           "allowed",
                           m.type, m.dims, MOB_DIMS_MAX);
    }
    *ret = m;
    return MOB_OK;
}

/* Through results that are other objects: the first that says something counts. */
static mob_status find_meta(struct mob *mob, struct thread *t, uint64_t link,
                            struct record *r, struct mob_meta *ret)
{
    struct mob_meta m = {.struct_size = ret->struct_size};
    struct place p;
    uint64_t s;
    (void)mob;
    for (int deep = 0; !meta_find(r, link_ret(link), &m); deep++) {
        struct call call = record_call(r);
        p = link_ret(link) < call_nrets(&call) ? record_get_place(r, link_ret(link))
                                               : (struct place){0};
        struct record *next =
            p.kind == PLACE_REF ? lane_find(&t->lane, p.size, &s) : NULL;
        if (!next || deep == REFS_DEEP_MAX) {
            return status_fail(MOB_ERR_NOT_FOUND,
                               "nobody said what the bytes of this object are");
        }
        link = p.size;
        r = next;
    }
    if (lane_find(&t->lane, link, &s) != r) { /* used again while it was read */
        return status_fail(MOB_ERR_RELEASED, "the object was released");
    }
    memcpy(ret, &m, m.struct_size);
    return MOB_OK;
}

static mob_status check_out(const struct mob_meta *ret)
{
    return ret && ret->struct_size >= sizeof(size_t) &&
                   ret->struct_size <= sizeof(struct mob_meta)
               ? MOB_OK
               : status_fail(MOB_ERR_INVALID,
                             "no place for metadata, or its struct_size is not set");
}

mob_status mob_get_meta(struct mob *mob, mob_ref ref, uint64_t timeout_ns,
                        struct mob_meta *ret)
{
    struct thread *t;
    struct record *r;
    uint64_t link, s;
    struct place p;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(check_out(ret));
    MOB_TRY(client_value(mob, t, ref, &(struct limit){timeout_ns, 0}, &link, &r,
                         &p)); /* or its failure */
    MOB_TRY(client_link(mob, ref, &link));
    r = lane_find(&t->lane, link, &s);
    return r ? find_meta(mob, t, link, r, ret)
             : status_fail(MOB_ERR_RELEASED, "the object was released");
}

mob_status mob_arg_meta(struct mob_task *task, size_t index, struct mob_meta *ret)
{
    uint64_t link, s;
    MOB_TRY(check_out(ret));
    MOB_TRY(task_arg_link(task, index, &link));
    struct record *r =
        link == LINK_NONE ? NULL : lane_find(&task->thread->lane, link, &s);
    return r ? find_meta(task->mob, task->thread, link, r, ret)
             : status_fail(MOB_ERR_NOT_FOUND, "argument %zu is a value", index);
}

mob_status mob_return_meta(struct mob_task *task, size_t index,
                           const struct mob_meta *meta)
{
    struct mob_meta m;
    MOB_TRY(client_check_meta(meta, &m));
    if (index >= call_nrets(&task->call)) {
        return status_fail(MOB_ERR_INVALID, "there is no result %zu: the task has %u",
                           index, call_nrets(&task->call));
    }
    uint32_t need = meta_bytes(m.dims);
    if (need > RECORD_PAYLOAD - task->fill) {
        return status_fail(MOB_ERR_FULL,
                           "the task's arguments and results leave no room for metadata "
                           "of result %zu",
                           index);
    }
    meta_add(task->r, task->fill, (uint32_t)index, &m);
    task->fill += need;
    return MOB_OK;
}
