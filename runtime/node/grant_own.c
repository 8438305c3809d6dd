/* grant_own.c - the daemon's own segments, in which bytes from other nodes and from disk land. */
#include <unistd.h>

#include "cluster.h"
#include "core/seg.h"

static mob_status grow(struct job *j, uint64_t bytes)
{
    struct budget *b = &j->node->budget;
    uint32_t i = grant_free_slot(j);
    if (i == SEGMENT_NO || bytes > GRANT_MAX) {
        return MOB_ERR_NOMEM;
    }
    struct segment s = {
        .state = SEGMENT_HELD, .owner = DAEMON, .bytes = bytes, .pending = true};
    grant_collect(j);
    MOB_TRY(budget_take(b, grant_payer(j, &s), bytes));
    mob_status st = grant_memory(j, i, bytes, &s.fd);
    if (st) {
        budget_cancel(b, grant_payer(j, &s), bytes);
        return st;
    }
    st = seg_map(s.fd, bytes, SEG_WRITE, &s.rw);
    /* The pages of a large one come as its bytes arrive: committing a gigabyte at once would keep
     * this thread from everything else for half a second. The memory is promised meanwhile. */
    if (!st && bytes <= ARENA_SEGMENT_BYTES) {
        st = seg_commit(s.fd, 0, bytes);
    }
    if (!st) {
        st = arena_add(j->arena, i, s.rw, bytes);
    }
    if (st) {
        seg_unmap(s.rw, s.rw ? bytes : 0);
        close(s.fd);
        budget_cancel(b, grant_payer(j, &s), bytes);
        return st;
    }
    seg_seal(s.fd);
    cluster_map(j->node, s.rw, bytes, true);
    j->segments[i] = s;
    grant_publish(j, i, SEGMENT_USED);
    if (bytes <= ARENA_SEGMENT_BYTES) {
        grant_landed(j, &(struct arena_place){i, 0});
    }
    return MOB_OK;
}

mob_status grant_place(struct job *j, uint64_t size, struct arena_place *ret,
                       void **ret_data)
{
    return grant_aligned(j, size, ARENA_ALIGN_MIN, ret, ret_data);
}

mob_status grant_aligned(struct job *j, uint64_t size, size_t align,
                         struct arena_place *ret, void **ret_data)
{
    /* As client_alloc(). */
    uint64_t room = align > ARENA_PAGE && size <= ARENA_ALONE_MIN ? size + align : size;
    if (!j->arena) {
        MOB_TRY(arena_create(&j->arena));
    }
    lane_drain_ring(&j->lane);
    mob_status st = arena_alloc(j->arena, size, align, ret, ret_data);
    if (st != MOB_ERR_NOMEM) {
        return st;
    }
    lane_reclaim(&j->lane);
    size_t want = arena_grant_size(j->arena, room), least = arena_grant_least(room);
    if (grow(j, want) != MOB_OK && (least >= want || grow(j, least) != MOB_OK)) {
        return MOB_ERR_NOMEM;
    }
    return arena_alloc(j->arena, size, align, ret, ret_data);
}

void grant_landed(struct job *j, const struct arena_place *place)
{
    struct segment *s = &j->segments[place->segment];
    if (s->pending) {
        s->pending = false;
        budget_committed(&j->node->budget, s->bytes);
    }
}

void grant_unplace(struct job *j, const struct arena_place *place)
{
    (void)arena_free(j->arena, *place); /* which refuses what a corrupt board makes up */
    grant_give_empty(j, false);
}

void grant_give_empty(struct job *j, bool all)
{
    uint32_t segment;
    void *base;
    size_t size;
    while (j->arena &&
           arena_take_empty(j->arena, all, &segment, &base, &size) == MOB_OK) {
        cluster_unmap(j->node, base);
        seg_unmap(base, size);
        j->segments[segment].rw = NULL;
        grant_leave(j, segment);
    }
}
