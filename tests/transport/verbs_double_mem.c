/* Protection domains, memory regions, type 2B windows, and who may touch what. */
#include "verbs_double_in.h"

#include <sys/mman.h>

#include "core/limits.h"

static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
    if (vd_dev(context)->fatal) {
        return vd_null(EIO);
    }
    struct pd *pd = vd_new(sizeof *pd);
    pd->base.context = context;
    ((struct ctx *)context)->children++;
    vd_count(context)->pds++;
    return &pd->base;
}

static int dealloc_pd(struct ibv_pd *base)
{
    struct pd *pd = (struct pd *)base;
    if (pd->children != 0) {
        return EBUSY;
    }
    ((struct ctx *)base->context)->children--;
    vd_count(base->context)->pds--;
    free(pd);
    return 0;
}

/* ---- regions and windows
 * ----------------------------------------------------------------- */

/* Keys are an index and 8 bits of salt, as on devices: near to each other. */
static void add_region(struct verbs_double *d, struct region *region, struct pd *pd)
{
    region->pd = pd;
    region->key = d->next_key_index++ << 8 | (uint32_t)(vd_draw(d) & 0xff);
    region->next = d->regions;
    d->regions = region;
    pd->children++;
}

static void drop_region(struct verbs_double *d, struct region *region)
{
    struct region **at = &d->regions;
    while (*at != region) {
        if (*at == NULL) {
            vd_abort("a region or window is destroyed twice");
        }
        at = &(*at)->next;
    }
    *at = region->next;
    region->pd->children--;
}

static struct region *find_region(const struct verbs_double *d, uint32_t key)
{
    struct region *region = d->regions;
    while (region != NULL && region->key != key) {
        region = region->next;
    }
    return region;
}

/* As the kernel pins: every page is made, for writing if the device might write. A window
 * might, so a region for windows needs memory that may be written. */
static int pin(void *addr, size_t length, int access)
{
    const uintptr_t page = 4096, base = (uintptr_t)addr & ~(page - 1);
    const size_t size = ((uintptr_t)addr + length - base + page - 1) & ~(page - 1);
    const bool writes = access & (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
                                  IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND);
    if (madvise((void *)base, size, writes ? MADV_POPULATE_WRITE : MADV_POPULATE_READ) ==
            0 ||
        errno == EINVAL) { /* a kernel before 5.14 */
        return 0;
    }
    return errno == ENOMEM ? ENOMEM : EFAULT;
}

static struct ibv_mr *reg_mr(struct ibv_pd *base, void *addr, size_t length, int access)
{
    struct dev *dev = vd_dev(base->context);
    struct host *host = dev->host;
    int err;
    if (dev->fatal) {
        return vd_null(EIO);
    }
    if (length == 0 || length > dev->conf->attr.max_mr_size ||
        (access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC) &&
         !(access & IBV_ACCESS_LOCAL_WRITE))) {
        return vd_null(EINVAL);
    }
    if (length > host->conf.memlock - host->locked || host->conf.mr_room == 0) {
        return vd_null(ENOMEM);
    }
    if ((err = pin(addr, length, access)) != 0) {
        return vd_null(err);
    }
    struct mr *mr = vd_new(sizeof *mr);
    host->locked += length;
    host->conf.mr_room -= host->conf.mr_room != UINT64_MAX;
    mr->region.base = (uintptr_t)addr;
    mr->region.size = length;
    mr->region.access = (unsigned)access;
    add_region(host->d, &mr->region, (struct pd *)base);
    mr->base = (struct ibv_mr){.context = base->context,
                               .pd = base,
                               .addr = addr,
                               .length = length,
                               .lkey = mr->region.key,
                               .rkey = mr->region.key};
    host->count.mrs++;
    return &mr->base;
}

static int dereg_mr(struct ibv_mr *base)
{
    struct mr *mr = (struct mr *)base;
    struct host *host = vd_dev(base->context)->host;
    if (mr->region.windows != 0) {
        return EBUSY;
    }
    drop_region(host->d, &mr->region);
    host->locked -= mr->region.size;
    host->count.mrs--;
    free(mr);
    return 0;
}

static void unbind(struct region *window)
{
    if (window->of != NULL) {
        window->of->windows--;
        window->of = NULL;
        window->qp = NULL;
    }
}

static struct ibv_mw *alloc_mw(struct ibv_pd *base, enum ibv_mw_type type)
{
    struct dev *dev = vd_dev(base->context);
    if (dev->fatal) {
        return vd_null(EIO);
    }
    if (type != IBV_MW_TYPE_2 ||
        !(dev->conf->attr.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B)) {
        return vd_null(EOPNOTSUPP);
    }
    if (dev->host->count.mws >= (unsigned)dev->conf->attr.max_mw) {
        return vd_null(ENOMEM);
    }
    struct mw *mw = vd_new(sizeof *mw);
    mw->region.mw = mw;
    add_region(vd_of(dev), &mw->region, (struct pd *)base);
    mw->base = (struct ibv_mw){
        .context = base->context, .pd = base, .rkey = mw->region.key, .type = type};
    dev->host->count.mws++;
    return &mw->base;
}

static int dealloc_mw(struct ibv_mw *base)
{
    struct mw *mw = (struct mw *)base;
    struct host *host = vd_dev(base->context)->host;
    drop_region(host->d, &mw->region);
    unbind(&mw->region);
    host->count.mws--;
    free(mw);
    return 0;
}

enum ibv_wc_status vd_bind(struct qp *qp, const struct wr *wr)
{
    struct region *window = &((struct mw *)wr->mw)->region;
    struct region *of = wr->bind.mr != NULL ? &((struct mr *)wr->bind.mr)->region : NULL;
    uint64_t end;
    if (of == NULL || window->of != NULL || window->pd != qp->pd || of->pd != qp->pd ||
        !(of->access & IBV_ACCESS_MW_BIND) || wr->bind.length == 0 ||
        __builtin_add_overflow(wr->bind.addr, wr->bind.length, &end) ||
        wr->bind.addr < of->base || end > of->base + of->size ||
        (wr->bind.mw_access_flags & IBV_ACCESS_REMOTE_WRITE &&
         !(of->access & IBV_ACCESS_LOCAL_WRITE)) ||
        wr->rkey >> 8 != window->key >> 8 || wr->rkey == window->key) {
        return IBV_WC_MW_BIND_ERR;
    }
    window->key = wr->rkey;
    window->base = wr->bind.addr;
    window->size = wr->bind.length;
    window->access = wr->bind.mw_access_flags;
    window->of = of;
    window->qp = qp;
    of->windows++;
    return IBV_WC_SUCCESS;
}

enum ibv_wc_status vd_invalidate(struct qp *qp, uint32_t rkey)
{
    struct region *window = find_region(vd_of(qp->dev), rkey);
    if (window == NULL || window->mw == NULL || window->of == NULL || window->qp != qp) {
        return IBV_WC_LOC_QP_OP_ERR;
    }
    unbind(window);
    return IBV_WC_SUCCESS;
}

bool vd_binds(const struct qp *qp)
{
    const struct region *r = vd_of(qp->dev)->regions;
    while (r != NULL && r->qp != qp) {
        r = r->next;
    }
    return r != NULL;
}

void vd_unbind_all(struct qp *qp)
{
    for (struct region *r = vd_of(qp->dev)->regions; r != NULL; r = r->next) {
        if (r->qp == qp) {
            unbind(r);
        }
    }
}

/* ---- access
 * ------------------------------------------------------------------------------ */

static bool covers(const struct region *region, uint64_t addr, uint64_t size)
{
    uint64_t end;
    return !__builtin_add_overflow(addr, size, &end) && addr >= region->base &&
           end <= region->base + region->size;
}

bool vd_local(const struct qp *qp, const struct ibv_pd *pd, const struct ibv_sge *sge,
              bool write)
{
    const struct region *region = find_region(vd_of(qp->dev), sge->lkey);
    return sge->length == 0 ||
           (region != NULL && region->mw == NULL && &region->pd->base == pd &&
            covers(region, sge->addr, sge->length) &&
            (!write || region->access & IBV_ACCESS_LOCAL_WRITE));
}

bool vd_remote(const struct qp *qp, uint32_t rkey, uint64_t addr, uint64_t size)
{
    const struct region *region = find_region(vd_of(qp->dev), rkey);
    if (size == 0) {
        return true; /* no key is looked at */
    }
    return region != NULL && region->pd == qp->pd &&
           region->access & IBV_ACCESS_REMOTE_READ && covers(region, addr, size) &&
           (region->mw == NULL || (region->of != NULL && region->qp == qp));
}

uint64_t verbs_double_readable(const struct verbs_double *d, unsigned host)
{
    uint64_t bytes = 0;
    for (const struct region *r = d->regions; r != NULL; r = r->next) {
        if (vd_dev(r->pd->base.context)->host->index == host &&
            r->access & IBV_ACCESS_REMOTE_READ && (r->mw == NULL || r->of != NULL)) {
            bytes += r->size;
        }
    }
    return bytes;
}

/* ---- guards
 * ------------------------------------------------------------------------------ */

void verbs_double_guard(struct verbs_double *d, unsigned host, const void *base,
                        uint64_t size)
{
    struct guard *guard = vd_new(sizeof *guard);
    guard->base = (uintptr_t)base;
    guard->end = guard->base + size;
    guard->next = d->hosts[host].guards;
    d->hosts[host].guards = guard;
}

void verbs_double_unguard(struct verbs_double *d, unsigned host, const void *base,
                          uint64_t size)
{
    struct guard **at = &d->hosts[host].guards;
    while (*at != NULL) {
        struct guard *guard = *at;
        if ((uintptr_t)base < guard->end && (uintptr_t)base + size > guard->base) {
            *at = guard->next;
            free(guard);
        } else {
            at = &guard->next;
        }
    }
}

void vd_check_guard(const struct host *host, uint64_t addr, uint64_t size,
                    const char *what)
{
    for (const struct guard *g = host->guards; g != NULL; g = g->next) {
        if (addr < g->end && addr + size > g->base) {
            vd_abort("host %u: guarded memory at %#lx is %s", host->index,
                     (unsigned long)addr, what);
        }
    }
}

void vd_mem_lib(struct verbs_lib *lib)
{
    lib->alloc_pd = alloc_pd;
    lib->dealloc_pd = dealloc_pd;
    lib->reg_mr = reg_mr;
    lib->dereg_mr = dereg_mr;
    lib->alloc_mw = alloc_mw;
    lib->dealloc_mw = dealloc_mw;
}
