#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "client.h"
#include "core/clock.h"
#include "core/park.h"
#include "core/seg.h"
#include "core/status.h"
#include "local.h"

/* While the store is full a creator looks again after this long, doubled up to the maximum. */
enum { FULL_NAP_MIN_MS = 1, FULL_NAP_MAX_MS = 16 };

static mob_status ask_fd(struct mob *mob, enum local_op op, uint64_t arg,
                         uint64_t arg_too, uint64_t *ret_a, uint64_t *ret_b, int *ret_fd)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count = 0;
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    local_msg_init(m, op);
    m->arg[0] = arg;
    m->arg[1] = arg_too;
    mob_status st = client_ask(mob, m, NULL, 0, fds, &count);
    *ret_a = m->arg[0];
    *ret_b = m->arg[1];
    free(m);
    if (!st && count != 1) {
        while (count) {
            close(fds[--count]);
        }
        st = status_fail(MOB_ERR_PROTOCOL, "the node's daemon sent no segment");
    }
    if (!st) {
        *ret_fd = fds[0];
    }
    return st;
}

static void tell(struct mob *mob, enum local_op op, uint64_t a, uint64_t b)
{
    struct local_msg *m = malloc(sizeof *m);
    if (m) {
        local_msg_init(m, op);
        m->arg[0] = a;
        m->arg[1] = b;
        (void)client_tell(mob, m);
        free(m);
    }
}

/* ---- own segments ------------------------------------------------------------------------------------- */

/* Makes the pages exist, and this process's way to them, in one pass: the daemon has found the
 * memory and promised it, and must not be kept busy with it. */
static mob_status commit(int fd, void *base, size_t size)
{
    if (madvise(base, size, MADV_POPULATE_WRITE) == 0) {
        return MOB_OK;
    }
    return errno == EINVAL ? seg_commit(fd, 0, size) /* before Linux 5.14 */
                           : status_fail(MOB_ERR_NOMEM, "committing %zu bytes: %m", size);
}

/* Asks for a segment in which @size bytes fit. Under memory_lock. */
static mob_status grow(struct mob *mob, size_t size)
{
    uint64_t segment, bytes;
    int fd;
    void *rw, *ro;
    MOB_TRY(ask_fd(mob, LOCAL_GRANT, arena_grant_size(mob->arena, size),
                   arena_grant_least(size), &segment, &bytes, &fd));
    mob_status st;
    if (segment >= BOARD_SEGMENTS_MAX || mob->maps[segment].size) {
        close(fd);
        return status_fail(MOB_ERR_PROTOCOL, "the node's daemon granted a segment twice");
    }
    st = seg_map(fd, bytes, SEG_WRITE, &rw);
    if (st) {
        goto err_fd;
    }
    st = seg_map(fd, bytes, SEG_READ, &ro);
    if (st) {
        goto err_rw;
    }
    st = commit(fd, rw, bytes);
    if (st) {
        goto err_ro;
    }
    st = arena_add(mob->arena, (uint32_t)segment, rw, bytes);
    if (st) {
        goto err_ro;
    }
    seg_seal(fd); /* all writable mappings that it will ever have are there */
    close(fd);
    mob->maps[segment] = (struct segment_map){ro, rw, bytes};
    tell(mob, LOCAL_COMMITTED, segment, 0);
    return MOB_OK;

err_ro:
    seg_unmap(ro, bytes);
err_rw:
    seg_unmap(rw, bytes);
err_fd:
    close(fd);
    tell(mob, LOCAL_COMMITTED, segment, 1);
    return st;
}

/* Gives wholly free segments back. Under memory_lock. */
static void give_back(struct mob *mob, bool all)
{
    uint32_t segment;
    void *base;
    size_t size;
    while (arena_take_empty(mob->arena, all, &segment, &base, &size) == MOB_OK) {
        struct segment_map *map = &mob->maps[segment];
        seg_unmap(map->rw, map->size);
        seg_unmap((void *)map->ro, map->size);
        *map = (struct segment_map){0};
        tell(mob, LOCAL_GIVE, segment, 0);
    }
}

/* How often this thread has taken memory_lock and not let go of it: who frees many places takes it once
 * for all of them, and each place takes it again. */
static _Thread_local unsigned holds __attribute__((tls_model("initial-exec")));

static void hold(struct mob *mob)
{
    if (holds++ == 0) {
        pthread_mutex_lock(&mob->memory_lock);
    }
}

static void let_go(struct mob *mob)
{
    if (--holds == 0) {
        pthread_mutex_unlock(&mob->memory_lock);
    }
}

void client_freeing(void *arg, bool begins)
{
    struct mob *mob = arg;
    if (begins) {
        hold(mob);
        return;
    }
    if (holds == 1) { /* else whoever holds it gives back what it does not need */
        give_back(mob, false);
    }
    let_go(mob);
}

void client_free_place(void *arg, uint32_t segment, uint64_t offset)
{
    struct mob *mob = arg;
    client_freeing(mob, true);
    /* A place that is not allocated comes from a board that somebody scribbled on: the arena,
     * whose state is private, refuses it. */
    (void)arena_free(mob->arena, (struct arena_place){segment, offset});
    client_freeing(mob, false);
}

/* Under memory_lock. */
static void return_batches(struct mob *mob, struct thread *t)
{
    for (uint32_t i = 0; i < ARENA_BATCH_CLASSES; i++) {
        arena_batch_return(mob->arena, &t->batches[i]);
    }
}

void client_return_batches(struct mob *mob, struct thread *t)
{
    bool any = false;
    for (uint32_t i = 0; i < ARENA_BATCH_CLASSES && !any; i++) {
        any = t->batches[i].left != 0;
    }
    if (any) {
        client_freeing(mob, true);
        return_batches(mob, t);
        client_freeing(mob, false);
    }
}

mob_status client_shrink_place(struct mob *mob, const struct place *p, size_t size)
{
    struct arena_place at = {p->segment, p->offset};
    pthread_mutex_lock(&mob->memory_lock);
    mob_status st = arena_shrink(mob->arena, at, size);
    pthread_mutex_unlock(&mob->memory_lock);
    return st;
}

/* Out of the arena, or of a batch that is filled for it. */
static mob_status alloc_once(struct mob *mob, struct thread *t, size_t size, size_t align,
                             struct arena_place *ret, void **ret_data)
{
    if (!arena_batched(size, align)) {
        return arena_alloc(mob->arena, size, align, ret, ret_data);
    }
    struct arena_batch *batch = &t->batches[arena_class(size)];
    MOB_TRY(arena_batch_fill(mob->arena, size, batch));
    *ret_data = arena_batch_take(batch, size, ret);
    return MOB_OK;
}

mob_status client_alloc_slow(struct mob *mob, struct thread *t, size_t size, size_t align,
                             uint64_t timeout_ns, struct arena_place *ret,
                             void **ret_data)
{
    unsigned nap_ms = FULL_NAP_MIN_MS;
    uint64_t deadline_ns = 0; /* none yet: there is usually room, and looking costs */
    /* What a segment must have so that an aligned place fits into it wherever it begins. One that gets a
     * segment of its own begins it. */
    size_t room = align > ARENA_PAGE && size <= ARENA_ALONE_MIN ? size + align : size;
    if (size > mob->store_bytes) {
        return status_fail(MOB_ERR_NOMEM,
                           "%zu bytes asked, and the object store has %llu in all", size,
                           (unsigned long long)mob->store_bytes);
    }
    for (;;) {
        client_let_go(mob); /* what is waited for may be what this process still maps */
        hold(mob);
        lane_drain_ring(&t->lane); /* places that others freed */
        mob_status st = alloc_once(mob, t, size, align, ret, ret_data);
        if (st == MOB_ERR_NOMEM) {
            return_batches(mob, t);
            lane_reclaim(&t->lane);
            st = alloc_once(mob, t, size, align, ret, ret_data);
        }
        if (st == MOB_ERR_NOMEM) {
            st = grow(mob, room);
            if (st == MOB_ERR_NOMEM) {
                give_back(mob,
                          true); /* what is free in pieces may do for it as a whole */
                st = grow(mob, room);
            }
            if (!st) {
                st = alloc_once(mob, t, size, align, ret, ret_data);
            }
        }
        let_go(mob);
        if (st != MOB_ERR_NOMEM || timeout_ns == 0) {
            return st;
        }
        uint64_t now = clock_now_ns();
        if (deadline_ns == 0) {
            deadline_ns = clock_deadline_ns(timeout_ns);
        } else if (now >= deadline_ns) {
            return st;
        }
        MOB_TRY(client_health(mob));
        uint64_t until = now + nap_ms * NS_PER_MS;
        at_u32 nobody = {0};
        (void)park_client(mob, t, &nobody, 0, until < deadline_ns ? until : deadline_ns);
        nap_ms = nap_ms * 2 < FULL_NAP_MAX_MS ? nap_ms * 2 : FULL_NAP_MAX_MS;
    }
}

/* ---- others' segments ------------------------------------------------------------------------------------ */

static mob_status map_other(struct mob *mob, uint32_t segment)
{
    uint64_t bytes, unused;
    int fd;
    void *ro;
    MOB_TRY(ask_fd(mob, LOCAL_MAP, segment, 0, &bytes, &unused, &fd));
    mob_status st = seg_map(fd, bytes, SEG_READ, &ro);
    close(fd);
    if (!st) {
        mob->maps[segment].size = bytes;
        /* Release: pairs with the load in client_bytes(). */
        __atomic_store_n(&mob->maps[segment].ro, ro, __ATOMIC_RELEASE);
    }
    return st;
}

mob_status client_bytes(struct mob *mob, const struct record *r, const struct place *p,
                        const void **ret)
{
    const struct board *b = &mob->board;
    if (p->kind == PLACE_EMPTY) {
        static const uint64_t nothing = 0; /* aligned as every other object */
        *ret = &nothing;
        return MOB_OK;
    }
    if (p->kind == PLACE_INLINE) {
        if (p->offset > RECORD_PAYLOAD || p->size > RECORD_PAYLOAD - p->offset) {
            return status_fail(MOB_ERR_CORRUPT, "a record's result is outside of it");
        }
        *ret = b->records_ro[board_index(b, r)].payload + p->offset;
        return MOB_OK;
    }
    if (p->kind != PLACE_ARENA || p->segment >= BOARD_SEGMENTS_MAX) {
        return status_fail(MOB_ERR_CORRUPT,
                           "a record's result is at no place that there is");
    }
    client_let_go(
        mob); /* a task that goes on reading may neither wait nor end for long */
    struct segment_map *map = &mob->maps[p->segment];
    const void *ro = __atomic_load_n(&map->ro, __ATOMIC_ACQUIRE);
    if (!ro) {
        mob_status st = MOB_OK;
        pthread_mutex_lock(&mob->memory_lock);
        if (!map->ro) {
            st = map_other(mob, p->segment);
        }
        ro = map->ro;
        pthread_mutex_unlock(&mob->memory_lock);
        MOB_TRY(st);
    }
    if (p->offset > map->size || p->size > map->size - p->offset) {
        return status_fail(MOB_ERR_CORRUPT,
                           "a record's result is outside of its segment");
    }
    *ret = (const char *)ro + p->offset;
    return MOB_OK;
}

void client_let_go(struct mob *mob)
{
    struct board *b = &mob->board;
    uint32_t revoked = at_load(&b->header->revoked, AT_ACQUIRE);
    if (revoked == __atomic_load_n(&mob->revoked_seen, __ATOMIC_RELAXED)) {
        return;
    }
    pthread_mutex_lock(&mob->memory_lock);
    /* Once more: of two threads, the later one here must not say less than the first. */
    revoked = at_load(&b->header->revoked, AT_ACQUIRE);
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        struct segment_map *map = &mob->maps[i];
        if (map->ro && !map->rw &&
            at_load(&b->segments[i], AT_ACQUIRE) & SEGMENT_REVOKED) {
            void *ro = (void *)map->ro;
            __atomic_store_n(&map->ro, NULL, __ATOMIC_RELEASE);
            seg_unmap(ro, map->size);
            map->size = 0;
        }
    }
    __atomic_store_n(&mob->revoked_seen, revoked, __ATOMIC_RELAXED);
    /* Release: the unmapping before the word that lets the daemon use the memory again. */
    at_store(&b->procs[mob->self].revoked_seen, revoked, AT_RELEASE);
    pthread_mutex_unlock(&mob->memory_lock);
    board_notice(&mob->board, NOTICE_PLACES);
}

void client_tidy(struct mob *mob, struct thread *t)
{
    client_return_batches(mob, t);
    client_tidy_lane(mob, &t->lane);
}

void client_tidy_lane(struct mob *mob, struct lane *lane)
{
    struct board *b = &mob->board;
    struct queue_view ring = board_ring(b, mob->self);
    struct queue_item item;
    client_let_go(mob);
    lane_settle(lane);
    uint32_t wanted = at_load(&b->header->wanted, AT_ACQUIRE);
    bool all = wanted != __atomic_load_n(&mob->wanted_seen, __ATOMIC_RELAXED);
    if (!all && queue_peek(&ring, &item) != QUEUE_OK) {
        return;
    }
    hold(mob);
    lane_drain_ring(lane);
    lane_reclaim(lane);
    give_back(mob, all);
    __atomic_store_n(&mob->wanted_seen, wanted, __ATOMIC_RELAXED);
    let_go(mob);
}

void client_memory_end(struct mob *mob)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        seg_unmap((void *)mob->maps[i].ro, mob->maps[i].size);
        seg_unmap(mob->maps[i].rw, mob->maps[i].size);
    }
    arena_destroy(mob->arena);
}
