/* The chunks of a pull: READs, and checking what they brought. Links take chunks as they
 * have room, so that a fast one takes more of them; chunks are verified in their order. */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "verbs.h"

enum chunk_state { CHUNK_TODO, CHUNK_FLYING, CHUNK_THERE };

enum { PARTS_MAX = 48 }; /* READs of one chunk: pieces of both sides, max_read */

struct part {
    uint8_t *to;
    uint64_t from;
    uint32_t size, lkey, rkey;
};

mob_status verbs_read_begin(struct verbs_pull *pull)
{
    bool checked = !pull->peer->unchecked;
    pull->chunks = sums_count(pull->source.size);
    pull->ready =
        pull->here.ready < pull->source.size ? pull->here.ready : pull->source.size;
    pull->states = calloc(pull->chunks, 1);
    pull->sums = checked ? malloc(pull->chunks * sizeof *pull->sums) : NULL;
    if (pull->states == NULL || (checked && pull->sums == NULL) ||
        (checked && sums_table_new(&pull->table) != MOB_OK)) {
        return status_fail(MOB_ERR_NOMEM, "no memory for the chunks of a pull");
    }
    return MOB_OK;
}

void verbs_read_free(struct verbs_pull *pull)
{
    free(pull->states);
    free(pull->sums);
    free(pull->here.ranges);
    sums_table_free(pull->table);
    pull->states = NULL;
    pull->sums = NULL;
    pull->here.ranges = NULL;
    pull->table = NULL;
}

/* ---- posting
 * ----------------------------------------------------------------------------- */

bool verbs_read_usable(const struct verbs_pull *pull, const struct verbs_link *link)
{
    return link->state == LINK_UP && pull->here.links & 1u << link->index &&
           pull->here.generations[link->index] == link->generation;
}

static uint64_t chunk_size(const struct verbs_pull *pull, uint64_t chunk)
{
    uint64_t left = pull->source.size - chunk * CHUNK_BYTES;
    return left < CHUNK_BYTES ? left : CHUNK_BYTES;
}

/* The chunk to be read next. False: none can be now. */
static bool next_chunk(struct verbs_pull *pull, uint64_t *ret)
{
    if (pull->state != PULL_READING || pull->status != MOB_OK) {
        return false;
    }
    for (uint64_t c = pull->verified; pull->again != 0 && c < pull->next; c++) {
        if (pull->states[c] == CHUNK_TODO) {
            *ret = c;
            return true;
        }
    }
    if (pull->next == pull->chunks || pull->next - pull->verified >= VERBS_AHEAD ||
        pull->next * CHUNK_BYTES + chunk_size(pull, pull->next) > pull->ready) {
        return false;
    }
    *ret = pull->next;
    return true;
}

/* Cuts a chunk where memory of either side, or what one READ takes, ends. 0: into too
 * many, or its place is not registered; *ret_later: not yet. */
static unsigned cut(const struct verbs_pull *pull, const struct verbs_link *link,
                    uint64_t chunk, struct part parts[PARTS_MAX], bool *ret_later)
{
    const struct verbs_rail *rail = link->rail;
    uint64_t at = chunk * CHUNK_BYTES, end = at + chunk_size(pull, chunk), skip = at;
    unsigned count = 0, range = 0;
    while (skip >= pull->here.ranges[range].size) {
        skip -= pull->here.ranges[range++].size;
    }
    while (at != end) {
        const struct verbs_range *r = &pull->here.ranges[range];
        uint64_t size = end - at;
        struct verbs_piece piece;
        enum verbs_memory there = verbs_memory_find(rail->v, pull->dst + at, &piece);
        if (there != VERBS_MEMORY_THERE || count == PARTS_MAX) {
            *ret_later = there == VERBS_MEMORY_COMING;
            return 0;
        }
        size = size < piece.left ? size : piece.left;
        size = size < r->size - skip ? size : r->size - skip;
        size = size < rail->max_read ? size : rail->max_read;
        parts[count++] =
            (struct part){pull->dst + at, r->at + skip, (uint32_t)size,
                          piece.mrs[rail->index]->lkey, r->keys[link->index]};
        at += size;
        skip += size;
        if (skip == r->size) {
            skip = 0;
            range++;
        }
    }
    return count;
}

/* Posts the READs of a chunk: all, or as many as went before the link failed. */
static void post(struct verbs_pull *pull, struct verbs_link *link, uint64_t chunk,
                 const struct part *parts, unsigned count)
{
    unsigned done = 0;
    while (done < count) {
        const struct part *p = &parts[done];
        struct ibv_sge sge = {(uintptr_t)p->to, p->size, p->lkey};
        struct ibv_send_wr wr = {.sg_list = &sge,
                                 .num_sge = 1,
                                 .opcode = IBV_WR_RDMA_READ,
                                 .send_flags = IBV_SEND_SIGNALED,
                                 .wr.rdma = {p->from, p->rkey}};
        struct verbs_wr work = {.kind = WORK_READ,
                                .last = done + 1 == count,
                                .bytes = p->size,
                                .chunk = chunk,
                                .owner = pull};
        if (!verbs_post(link, &wr, &work)) {
            break;
        }
        done++;
    }
    if (done == 0) {
        return;
    }
    link->ring[(link->head - 1) % VERBS_SEND_QUEUE].last = true;
    pull->flights++;
    pull->states[chunk] = CHUNK_FLYING;
    if (chunk == pull->next) {
        pull->next++;
    } else {
        pull->again--;
    }
}

/* One chunk of the pull whose turn it is. False: there is none, or no room. */
static bool post_one(struct verbs_peer *peer, struct verbs_link *link)
{
    struct part parts[PARTS_MAX];
    if (link->state != LINK_UP || link->reads >= link->window) {
        return false;
    }
    if (link->rail->flight_bytes >= VERBS_RAIL_BYTES) {
        link->rail->starved = true; /* its completions look at everybody then */
        return false;
    }
    for (unsigned i = 0; i < TRANSPORT_PULLS_MAX; i++) {
        unsigned slot = (peer->turn + i) % TRANSPORT_PULLS_MAX;
        struct verbs_pull *pull = peer->pulls[slot];
        uint64_t chunk;
        if (pull == NULL || !verbs_read_usable(pull, link) || !next_chunk(pull, &chunk)) {
            continue;
        }
        bool later = false;
        unsigned count = cut(pull, link, chunk, parts, &later);
        if (count == 0) {
            if (!later) { /* or the owner shows it in crumbs: the backend below goes on */
                pull->here.links = 0;
                verbs_touch(peer);
            }
            continue;
        }
        if (count > verbs_link_room(link)) {
            return false;
        }
        post(pull, link, chunk, parts, count);
        peer->turn = slot + 1;
        return link->state == LINK_UP;
    }
    return false;
}

void verbs_read_post(struct verbs_peer *peer)
{
    bool any = peer->pulls_count != 0;
    while (any) {
        any = false;
        for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
            any = (peer->links[i] != NULL && post_one(peer, peer->links[i])) || any;
        }
    }
}

/* ---- what came
 * --------------------------------------------------------------------------- */

void verbs_read_done(struct verbs_pull *pull, uint64_t chunk, bool there)
{
    pull->flights--;
    pull->states[chunk] = there ? CHUNK_THERE : CHUNK_TODO;
    pull->again += !there;
    verbs_touch(pull->peer);
}

static bool intact(const struct verbs_pull *pull, uint64_t chunk, uint64_t size)
{
    return pull->peer->unchecked ||
           sums_chunk(pull->dst + chunk * CHUNK_BYTES, size) == pull->sums[chunk];
}

static bool verifiable(const struct verbs_pull *pull)
{
    uint64_t c = pull->verified;
    return c < pull->next && pull->states[c] == CHUNK_THERE &&
           (pull->peer->unchecked || c < pull->sums_count);
}

bool verbs_read_verify(struct verbs_pull *pull)
{
    struct verbs_peer *peer = pull->peer;
    uint64_t *budget = &peer->v->budget, before = pull->user->received;
    while (*budget != 0 && verifiable(pull)) {
        uint64_t size = chunk_size(pull, pull->verified);
        *budget -= *budget < size ? *budget : size;
        if (intact(pull, pull->verified, size)) {
            pull->verified++;
            pull->damaged = 0;
            pull->user->received += size;
            pull->rdma_bytes += size;
            peer->stats.pulled_bytes += size;
            peer->stats.rdma_bytes += size;
            continue;
        }
        peer->stats.damaged++;
        pull->states[pull->verified] = CHUNK_TODO;
        pull->again++;
        if (++pull->damaged == VERBS_DAMAGE_MAX) {
            status_say("the chunk at %llu of a pull from %s arrived damaged %u times",
                       (unsigned long long)pull->verified * CHUNK_BYTES, peer->address,
                       VERBS_DAMAGE_MAX);
            pull->status = MOB_ERR_PROTOCOL;
            break;
        }
    }
    if (pull->user->received != before) {
        user_landed(&peer->base, pull->user);
    }
    return pull->status == MOB_OK && verifiable(pull);
}

bool verbs_read_sums(struct verbs_pull *pull, const struct verbs_sums *sums)
{
    uint8_t root[SUMS_ROOT_BYTES];
    if (pull->state != PULL_READING || pull->peer->unchecked ||
        sums->first != pull->sums_count ||
        sums->count > pull->chunks - pull->sums_count ||
        sums->last != (pull->sums_count + sums->count == pull->chunks)) {
        return false;
    }
    for (unsigned i = 0; i < sums->count; i++) {
        pull->sums[pull->sums_count++] = sums->sums[i];
        sums_table_add(pull->table, sums->sums[i]);
    }
    if (sums->last) {
        sums_table_root(pull->table, root);
        if (!sums_root_equal(root, sums->root)) {
            return false;
        }
    }
    verbs_touch(pull->peer);
    return true;
}
