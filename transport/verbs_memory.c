/* Regions of memory that are known to the devices, in pieces: registering faults pages in
 * and takes its time, so each turn of the loop does one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "core/log.h"
#include "core/status.h"
#include "verbs.h"

/* What the devices may do. Where nobody writes, nothing that needs a writable mapping is
 * asked for: the kernel takes MW_BIND for writing too. */
int verbs_memory_access(const struct verbs *v, bool writable)
{
    int access = IBV_ACCESS_RELAXED_ORDERING;
    access |= writable ? IBV_ACCESS_LOCAL_WRITE : 0;
    return access | (v->strict ? IBV_ACCESS_MW_BIND : IBV_ACCESS_REMOTE_READ);
}

static mob_status say_failure(struct verbs *v, int err, uint64_t size)
{
    struct rlimit limit = {0};
    if (err == ENOMEM || err == EPERM || err == EAGAIN) {
        (void)getrlimit(RLIMIT_MEMLOCK, &limit);
        snprintf(v->memory_why, sizeof v->memory_why,
                 "%llu MiB cannot be locked, memlock is %llu KiB: ulimit -l unlimited, "
                 "LimitMEMLOCK=infinity, or cap_ipc_lock",
                 (unsigned long long)(size >> 20),
                 (unsigned long long)(limit.rlim_cur == RLIM_INFINITY
                                          ? UINT64_MAX
                                          : limit.rlim_cur >> 10));
    } else {
        snprintf(v->memory_why, sizeof v->memory_why, "%llu MiB cannot be registered: %s",
                 (unsigned long long)(size >> 20), strerror(err));
    }
    log_warn("rdma memory: %s", v->memory_why);
    return status_fail(err == ENOMEM || err == EPERM || err == EAGAIN
                           ? MOB_ERR_NOMEM
                           : status_from_errno(err),
                       "%s", v->memory_why);
}

static uint64_t piece_size(const struct verbs_region *region, unsigned piece)
{
    uint64_t left = region->size - piece * region->piece;
    return left < region->piece ? left : region->piece;
}

static void drop_piece(struct verbs *v, struct verbs_region *region, unsigned piece)
{
    for (unsigned i = 0; i < v->rails_count; i++) {
        struct ibv_mr **mr = &region->mrs[piece * v->rails_count + i];
        if (*mr != NULL) {
            (void)v->lib->dereg_mr(*mr);
            *mr = NULL;
        }
    }
}

/* Kernels before 6.2 pin as if for writing whatever is asked for, and refuse a shared
 * mapping that is read-only; and windows need that always. So it is made writable for the
 * moment, which works if it was mapped from a file that was open for writing, before a
 * seal. */
static struct ibv_mr *register_one(struct verbs *v, struct verbs_rail *rail, void *at,
                                   uint64_t size, bool writable)
{
    int access = verbs_memory_access(v, writable);
    struct ibv_mr *mr = NULL;
    errno = EFAULT;
    if (writable || !v->pins_for_writing) { /* else it would only fill the kernel's log */
        errno = 0;
        mr = v->lib->reg_mr(rail->pd, at, size, access);
    }
    if (mr == NULL && errno == EFAULT && !writable &&
        mprotect(at, size, PROT_READ | PROT_WRITE) == 0) {
        errno = 0;
        mr = v->lib->reg_mr(rail->pd, at, size, access);
        int err = errno;
        (void)mprotect(at, size, PROT_READ);
        v->pins_for_writing = v->pins_for_writing || mr != NULL;
        errno = err;
    }
    return mr;
}

/* The next piece, with every device. Strict: where a mapping that is only shown takes no
 * windows, it is registered for each pull by itself. */
static mob_status register_piece(struct verbs *v, struct verbs_region *region)
{
    unsigned piece = region->registered;
    void *at = (void *)(region->base + piece * region->piece);
    for (unsigned i = 0; i < v->rails_count; i++) {
        struct ibv_mr *mr =
            register_one(v, v->rails[i], at, piece_size(region, piece), region->writable);
        int err = errno != 0 ? errno : EIO;
        bool later = v->strict && !region->writable && err == EFAULT;
        if (mr == NULL && !later) {
            drop_piece(v, region, piece);
            return say_failure(v, err, piece_size(region, piece));
        }
        region->mrs[piece * v->rails_count + i] = mr;
    }
    region->registered++;
    return MOB_OK;
}

/* How many regions begin at or before @at. */
static unsigned rank(const struct verbs *v, uintptr_t at)
{
    unsigned low = 0, high = v->regions_count;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        if (v->regions[mid].base <= at) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static bool reserve(struct verbs *v)
{
    if (v->regions_count < v->regions_size) {
        return true;
    }
    unsigned want = v->regions_size != 0 ? 2 * v->regions_size : 64;
    struct verbs_region *grown =
        want <= VERBS_REGIONS_MAX ? realloc(v->regions, want * sizeof *grown) : NULL;
    if (grown == NULL) {
        return false;
    }
    v->regions = grown;
    v->regions_size = want;
    return true;
}

static uint64_t piece_of(const struct verbs *v)
{
    uint64_t piece = VERBS_PIECE_BYTES;
    for (unsigned i = 0; i < v->rails_count; i++) {
        uint64_t most = v->rails[i]->max_mr & ~4095ull;
        piece = most != 0 && most < piece ? most : piece;
    }
    return piece;
}

static bool has_devices(const struct verbs *v)
{
    return v->rails_count != 0 && !v->changing;
}

/* Into pieces, none of which is registered. False: no memory. */
static bool divide(const struct verbs *v, struct verbs_region *region)
{
    uint64_t piece = piece_of(v);
    uint64_t pieces = region->size / piece + (region->size % piece != 0);
    struct ibv_mr **mrs = calloc(pieces * v->rails_count, sizeof(struct ibv_mr *));
    if (mrs == NULL) {
        return false;
    }
    region->piece = piece;
    region->pieces = (unsigned)pieces;
    region->registered = 0;
    region->mrs = mrs;
    return true;
}

mob_status verbs_map(struct transport *tp, void *base, uint64_t size, bool writable)
{
    struct verbs *v = verbs_of(tp);
    struct verbs_region region = {
        (uintptr_t)base, size, piece_of(v), writable, 0, 0, NULL};
    if ((v->rails_count == 0 && v->watch_fd < 0) || size == 0) {
        return MOB_OK; /* there are no devices, and none will come */
    }
    unsigned at = rank(v, region.base);
    if ((at != 0 && v->regions[at - 1].base + v->regions[at - 1].size > region.base) ||
        (at != v->regions_count && v->regions[at].base < region.base + size) ||
        size > UINTPTR_MAX - region.base) {
        return status_fail(MOB_ERR_INVALID, "a region over another one");
    }
    if (!reserve(v) || (has_devices(v) && !divide(v, &region))) {
        return status_fail(MOB_ERR_NOMEM, "no memory, or no room, for another region");
    }
    mob_status st = has_devices(v) ? register_piece(v, &region) : MOB_OK;
    if (st != MOB_OK) {
        free(region.mrs);
        return st;
    }
    memmove(v->regions + at + 1, v->regions + at,
            (v->regions_count - at) * sizeof region);
    v->regions[at] = region;
    v->regions_count++;
    v->unregistered += region.pieces - region.registered;
    if (v->unregistered != 0) {
        verbs_kick(v);
    }
    return MOB_OK;
}

static void touch_all(struct verbs *v)
{
    for (struct verbs_peer *peer = v->peers; peer != NULL; peer = peer->next) {
        verbs_touch(peer);
    }
}

void verbs_memory_work(struct verbs *v)
{
    for (unsigned i = 0; i < v->regions_count && v->unregistered != 0; i++) {
        struct verbs_region *region = &v->regions[i];
        if (region->registered == region->pieces) {
            continue;
        }
        if (register_piece(v, region) == MOB_OK) {
            v->unregistered--;
        } else { /* what there is stays; the rest moves over the network below */
            v->unregistered -= region->pieces - region->registered;
            region->pieces = region->registered;
        }
        touch_all(v); /* somebody may have waited for it */
        return;
    }
}

static void drop(struct verbs *v, struct verbs_region *region)
{
    for (unsigned piece = 0; piece < region->registered; piece++) {
        drop_piece(v, region, piece);
    }
    v->unregistered -= region->pieces - region->registered;
    free(region->mrs);
    region->mrs = NULL;
    region->pieces = region->registered = 0;
}

void verbs_memory_forget(struct verbs *v)
{
    for (unsigned i = 0; i < v->regions_count; i++) {
        drop(v, &v->regions[i]);
    }
}

void verbs_memory_renew(struct verbs *v)
{
    v->memory_why[0] = '\0';
    for (unsigned i = 0; i < v->regions_count; i++) {
        if (divide(v, &v->regions[i])) {
            v->unregistered += v->regions[i].pieces;
        } else {
            snprintf(v->memory_why, sizeof v->memory_why, "no memory for a region");
        }
    }
    verbs_kick(v);
}

void verbs_unmap(struct transport *tp, void *base)
{
    struct verbs *v = verbs_of(tp);
    unsigned at = rank(v, (uintptr_t)base);
    if (at == 0 || v->regions[at - 1].base != (uintptr_t)base) {
        return;
    }
    drop(v, &v->regions[at - 1]);
    memmove(v->regions + at - 1, v->regions + at,
            (v->regions_count - at) * sizeof *v->regions);
    v->regions_count--;
}

void verbs_unmap_all(struct verbs *v)
{
    while (v->regions_count != 0) {
        drop(v, &v->regions[--v->regions_count]);
    }
}

enum verbs_memory verbs_memory_find(const struct verbs *v, const void *at,
                                    struct verbs_piece *ret)
{
    unsigned after = rank(v, (uintptr_t)at);
    if (after == 0) {
        return VERBS_MEMORY_NONE;
    }
    const struct verbs_region *region = &v->regions[after - 1];
    uint64_t offset = (uintptr_t)at - region->base;
    uint64_t piece = offset / region->piece;
    if (offset >= region->size || piece >= region->pieces) {
        return VERBS_MEMORY_NONE;
    }
    *ret = (struct verbs_piece){
        &region->mrs[piece * v->rails_count],
        piece_size(region, (unsigned)piece) - offset % region->piece, region->writable};
    return piece < region->registered ? VERBS_MEMORY_THERE : VERBS_MEMORY_COMING;
}

enum verbs_memory verbs_memory_covers(const struct verbs *v, const void *at,
                                      uint64_t size, bool writable)
{
    enum verbs_memory all = VERBS_MEMORY_THERE;
    const uint8_t *p = at;
    while (size != 0) {
        struct verbs_piece piece;
        enum verbs_memory one = verbs_memory_find(v, p, &piece);
        if (one == VERBS_MEMORY_NONE || (writable && !piece.writable)) {
            return VERBS_MEMORY_NONE;
        }
        all = one == VERBS_MEMORY_COMING ? one : all;
        uint64_t left = piece.left < size ? piece.left : size;
        p += left;
        size -= left;
    }
    return all;
}
