#include "store/check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "store/meta.h"

struct span { /* bytes of an object in a segment */
    uint32_t segment, index;
    uint64_t from, to;
};

struct check {
    const struct board *b;
    struct check_result *out;
    uint32_t committed;
    uint32_t *uses, *children; /* per record: as found by looking at all others */
    uint8_t *hinted;           /* per record: stands in a queue */
    struct span *spans;
    size_t spans_count, spans_room;
    bool no_memory;
};

static void problem(struct check *k, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void problem(struct check *k, const char *format, ...)
{
    uint32_t n = k->out->problems++;
    char *to = n < CHECK_TEXTS_MAX && k->out->texts ? k->out->texts[n]
               : n == 0                             ? k->out->first
                                                    : NULL;
    va_list ap;
    if (to) {
        va_start(ap, format);
        vsnprintf(to, CHECK_TEXT_MAX, format, ap);
        va_end(ap);
    }
    if (to && n == 0 && to != k->out->first) {
        memcpy(k->out->first, to, CHECK_TEXT_MAX);
    }
}

static bool is_live(const struct check *k, uint32_t process)
{
    uint32_t state = process < PROCS_MAX
                         ? at_load(&k->b->procs[process].state, AT_ACQUIRE)
                         : PROC_NONE;
    return state != PROC_NONE && state < PROC_DEAD;
}

static bool is_open(enum phase p)
{
    return p >= PHASE_CREATING && p <= PHASE_DONE;
}

/* ---- the fixed part ------------------------------------------------------------------------- */

static void check_ledgers(struct check *k)
{
    for (uint32_t i = 0; i < BOARD_LEDGERS_MAX; i++) {
        const struct ledger *g = &k->b->ledgers[i];
        uint32_t owner = at_load(&g->owner, AT_ACQUIRE);
        if (owner && !is_live(k, owner - 1)) {
            problem(k, "ledger %u is leased by process %u, which is dead", i, owner - 1);
        }
        for (uint32_t n = 0; n < BOARD_PINS; n++) {
            uint64_t link = at_load(&g->pin[n], AT_ACQUIRE);
            if (link == LINK_NONE) {
                continue;
            }
            k->out->pins++;
            const struct record *r =
                link_index(link) < k->committed ? &k->b->records[link_index(link)] : NULL;
            if (!owner || !r ||
                state_gen(at_load(&r->state, AT_ACQUIRE)) != link_gen(link)) {
                problem(k, "ledger %u, which is %s, pins %#llx", i,
                        owner ? "leased" : "free", (unsigned long long)link);
            }
        }
    }
}

static void check_blocks(struct check *k)
{
    for (uint32_t i = 0; i < BOARD_BLOCKS_MAX; i++) {
        uint32_t owner = at_load(&k->b->block_owner[i], AT_ACQUIRE);
        if (owner && (!is_live(k, owner - 1) || i >= k->committed / BOARD_BLOCK)) {
            problem(k, "block %u is leased by process %u", i, owner - 1);
        }
    }
}

static void check_names(struct check *k)
{
    for (uint32_t i = 0; i < BOARD_NAMES_MAX + BOARD_SITES_MAX; i++) { /* and sites */
        const struct name *n = &k->b->names[i];
        uint32_t state = at_load(&n->state, AT_ACQUIRE);
        if (state == NAME_READY && !memchr(n->text, 0, sizeof n->text)) {
            problem(k, "name %u has no end", i);
        }
        if (state > NAME_READY && !is_live(k, state - NAME_CLAIMED(0))) {
            problem(k, "name %u is claimed by process %u, which is dead", i,
                    state - NAME_CLAIMED(0));
        }
    }
}

/* From head to tail every cell is full, or was emptied by a popper that did not move the cursor. */
static void check_queue(struct check *k, const char *what, uint32_t number,
                        const struct queue_view *v, bool hints)
{
    uint64_t head = at_load(&v->queue->head, AT_ACQUIRE);
    uint64_t tail = at_load(&v->queue->tail, AT_ACQUIRE);
    if (tail - head > 1ull << v->order) {
        problem(k, "%s %u: head %llu, tail %llu", what, number, (unsigned long long)head,
                (unsigned long long)tail);
        return;
    }
    /* A pusher may have died before it moved the tail. */
    for (uint64_t p = head; p < head + (1ull << v->order); p++) {
        uint64_t c = at_load(queue_cell(v, p), AT_ACQUIRE);
        int64_t ahead = queue_ahead(v, c, p);
        uint32_t index = (uint32_t)(c & QUEUE_INDEX_MASK);
        if (ahead == 0 && c & QUEUE_FULL) {
            if (index >= k->committed) {
                problem(k, "%s %u holds record %u, which does not exist", what, number,
                        index);
            } else if (hints) {
                k->hinted[index] = 1;
            }
        } else if (ahead == 0 && p >= tail) {
            return;
        } else if (ahead != 1) {
            problem(k, "%s %u: cell %llu makes no sense: %#llx", what, number,
                    (unsigned long long)p, (unsigned long long)c);
            return;
        }
    }
}

static void check_segments(struct check *k)
{
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        uint64_t word = at_load(&k->b->segments[i], AT_ACQUIRE);
        if (!(word & SEGMENT_USED)) {
            continue;
        }
        k->out->segments++;
        k->out->segment_bytes += (word & 0xffffffffffull) * 4096;
        k->out->orphans += segment_owner(word) == DAEMON;
        if (!is_live(k, segment_owner(word))) {
            problem(k, "segment %u is of process %u, which is dead", i,
                    segment_owner(word));
        }
    }
}

/* ---- records: first what they say of each other ----------------------------------------------- */

static void count_use(struct check *k, uint32_t by, uint64_t link)
{
    uint32_t i = link_index(link);
    if (i >= k->committed ||
        state_gen(at_load(&k->b->records[i].state, AT_ACQUIRE)) != link_gen(link)) {
        problem(k, "record %u uses %#llx, which is gone", by, (unsigned long long)link);
        return;
    }
    k->uses[i]++;
}

static void note_span(struct check *k, uint32_t index, const struct place *p)
{
    uint64_t word = p->segment < BOARD_SEGMENTS_MAX
                        ? at_load(&k->b->segments[p->segment], AT_ACQUIRE)
                        : 0;
    uint64_t bytes = (word & 0xffffffffffull) * 4096;
    if (!(word & SEGMENT_USED) || p->offset > bytes || p->size > bytes - p->offset) {
        problem(k, "record %u: %llu bytes at %llu of segment %u, which has %llu", index,
                (unsigned long long)p->size, (unsigned long long)p->offset, p->segment,
                (unsigned long long)bytes);
        return;
    }
    if (k->spans_count == k->spans_room) {
        size_t room = k->spans_room ? k->spans_room * 2 : 256;
        struct span *grown = realloc(k->spans, room * sizeof *grown);
        if (!grown) {
            k->no_memory = true;
            return;
        }
        k->spans = grown;
        k->spans_room = room;
    }
    k->spans[k->spans_count++] =
        (struct span){p->segment, index, p->offset, p->offset + p->size};
}

static void look_at_places(struct check *k, uint32_t i, const struct call *call)
{
    for (uint32_t n = 0; n < call_nrets(call); n++) {
        struct place p = record_get_place(&k->b->records[i], n);
        if (p.kind == PLACE_REF) {
            count_use(k, i, p.size);
        } else if (p.kind == PLACE_ARENA) {
            note_span(k, i, &p);
        } else if (p.kind == PLACE_INLINE &&
                   (p.offset > RECORD_PAYLOAD || p.size > RECORD_PAYLOAD - p.offset)) {
            problem(k, "record %u: result %u is outside of it", i, n);
        }
    }
}

static void look_around(struct check *k, uint32_t i)
{
    struct record *r = &k->b->records[i];
    enum phase p = state_phase(at_load(&r->state, AT_ACQUIRE));
    struct call call = record_call(r);
    k->out->phases[p <= PHASE_RETIRED ? p : PHASE_RETIRED]++;
    for (uint32_t n = 0; is_open(p) && n < call_nargs(&call); n++) {
        struct arg_ref *ref = record_arg_ref(r, &call, n);
        uint64_t link = ref ? at_load(&ref->link, AT_RELAXED) : LINK_NONE;
        if (link != LINK_NONE) { /* else a submit that was cut off never had it */
            count_use(k, i, link);
        }
    }
    uint64_t parent = at_load(&r->parent, AT_RELAXED);
    if (is_open(p) && parent != LINK_NONE && link_index(parent) < k->committed) {
        struct record *up = &k->b->records[link_index(parent)];
        uint64_t s = at_load(&up->state, AT_ACQUIRE);
        k->children[link_index(parent)] += state_gen(s) == link_gen(parent) &&
                                           (state_attempt(s) & 0xff) == r->parent_attempt;
    }
    if (p >= PHASE_TAKEN && p <= PHASE_DRAINING) {
        look_at_places(k, i, &call);
    }
}

/* ---- and then whether that is what they say themselves ------------------------------------------ */

static void check_waiting(struct check *k, uint32_t i)
{
    struct record *r = &k->b->records[i];
    struct call call = record_call(r);
    uint32_t arrived = at_load(&r->arrived, AT_ACQUIRE);
    if (arrived == record_all_args(&call)) {
        problem(k, "record %u waits for arguments, and all are there", i);
    }
    for (uint32_t n = 0; n < call_nargs(&call); n++) {
        struct arg_ref *ref = record_arg_ref(r, &call, n);
        uint64_t link = ref ? at_load(&ref->link, AT_RELAXED) : LINK_NONE;
        if (ref && !(arrived & 1u << n) && link_index(link) < k->committed &&
            state_sealed(at_load(&k->b->records[link_index(link)].state, AT_ACQUIRE))) {
            problem(k, "record %u waits for argument %u, which is sealed", i, n);
        }
    }
}

static void check_counts(struct check *k, uint32_t i, uint64_t s)
{
    const struct record *r = &k->b->records[i];
    uint64_t refs = record_refs(r), children = at_load(&r->children, AT_ACQUIRE);
    struct call call = record_call(r);
    if (refs >> 32 != state_gen(s)) {
        problem(k, "record %u of generation %u has counts of %u", i, state_gen(s),
                (uint32_t)(refs >> 32));
    }
    uint32_t uses = (uint32_t)(refs & REFS_USES_MASK), found = k->uses[i];
    bool kept = found || (refs & REFS_LOW_MASK) >> REFS_HANDLE_SHIFT;
    if (uses < found || (uses > found && !kept)) {
        problem(k, "record %u counts %u uses, and has %u", i, uses, found);
    } else {
        k->out->leftovers += uses - found;
    }
    if ((refs & REFS_LOW_MASK) >> REFS_HANDLE_SHIFT >> call_nrets(&call)) {
        problem(k, "record %u has holders of results that it has not", i);
    }
    uint32_t counted =
        (uint32_t)(children >> 32) == state_attempt(s) ? (uint32_t)children : 0;
    if (state_phase(s) <= PHASE_DONE && counted < k->children[i]) {
        problem(k, "record %u counts %u open children, and has %u", i, counted,
                k->children[i]);
    } else if (state_phase(s) <= PHASE_DONE) {
        k->out->leftovers += counted - k->children[i];
    }
    bool awaits = record_awaits_args(r, &call);
    if (state_phase(s) == PHASE_DONE && k->children[i] == 0 && !awaits) {
        problem(k, "record %u is not closed, though nothing of it runs", i);
    }
    if (state_phase(s) == PHASE_CLOSED && (refs & REFS_LOW_MASK) == 0) {
        problem(k, "record %u is closed and unused, and was not freed", i);
    }
}

/* Where it was made and what it is: for people, but what they see should make sense. */
static void check_about(struct check *k, uint32_t i, uint64_t s, const struct call *call)
{
    const struct record *r = &k->b->records[i];
    uint32_t site = record_site(r), made = at_load(&r->made, AT_RELAXED);
    char text[MOB_NAME_MAX + 1];
    board_site_text(k->b, site, text);
    if (site && !text[0]) {
        problem(k, "record %u was made at place %u, which does not exist", i, site);
    }
    if (!(call_options(call) & CALL_FOREIGN) && made > board_now(k->b)) {
        problem(k, "record %u was made at %u, and it is %u now", i, made,
                board_now(k->b));
    }
    if (state_sealed_good(s) && !meta_sound(r)) {
        problem(k, "record %u: what it says of its bytes makes no sense", i);
    }
}

static void check_record(struct check *k, uint32_t i)
{
    const struct record *r = &k->b->records[i];
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    enum phase p = state_phase(s);
    struct call call = record_call(r);
    if (p == PHASE_FREE || p == PHASE_RETIRED) {
        return;
    }
    if (p <= PHASE_RETIRED) {
        check_about(k, i, s, &call);
    }
    if (p > PHASE_RETIRED || call_nargs(&call) > MOB_ARGS_MAX ||
        (call.fn != CALL_PUT && call.fn >= BOARD_NAMES_MAX)) {
        problem(k, "record %u makes no sense: state %#llx", i, (unsigned long long)s);
        return;
    }
    if (p == PHASE_DEAD || p == PHASE_DRAINING) {
        k->out->limbo++;
    } else {
        check_counts(k, i, s);
    }
    if (p == PHASE_WAITING || (p == PHASE_DONE && record_awaits_args(r, &call))) {
        check_waiting(k, i);
    }
    if (p == PHASE_QUEUED && !k->hinted[i] && state_holder(s) != UNHINTED) {
        problem(k, "record %u is ready, and in no queue", i);
    }
    bool held =
        p == PHASE_CREATING || p == PHASE_TAKEN || p == PHASE_DEAD || p == PHASE_DRAINING;
    if (held && !is_live(k, state_holder(s))) {
        problem(k, "record %u in phase %d is held by process %u, which is dead", i,
                (int)p, state_holder(s));
    }
}

static int by_place(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    if (x->segment != y->segment) {
        return x->segment < y->segment ? -1 : 1;
    }
    return x->from < y->from ? -1 : x->from > y->from;
}

static void check_spans(struct check *k)
{
    if (k->spans_count) {
        qsort(k->spans, k->spans_count, sizeof *k->spans, by_place);
    }
    for (size_t i = 1; i < k->spans_count; i++) {
        const struct span *a = &k->spans[i - 1], *b = &k->spans[i];
        if (a->segment == b->segment && b->from < a->to) {
            problem(k, "records %u and %u share bytes of segment %u", a->index, b->index,
                    a->segment);
        }
    }
}

mob_status board_check(const struct board *b, struct check_result *ret)
{
    *ret = (struct check_result){.texts = ret->texts};
    struct check k = {.b = b, .out = ret, .committed = board_committed(b)};
    uint32_t said = at_load(&b->header->committed, AT_ACQUIRE);
    if (k.committed > BOARD_RECORDS_MAX || k.committed % BOARD_COMMIT_STEP) {
        problem(&k, "%u records are said to exist", k.committed);
        return status_fail(MOB_ERR_CORRUPT, "%s", ret->first);
    }
    if (said > k.committed) { /* less is a moment in which more are committed */
        problem(&k, "%u records are said to exist, and %u do", said, k.committed);
    }
    k.uses = calloc(k.committed + 1u, sizeof *k.uses);
    k.children = calloc(k.committed + 1u, sizeof *k.children);
    k.hinted = calloc(k.committed + 1u, sizeof *k.hinted);
    k.no_memory = !k.uses || !k.children || !k.hinted;
    if (!k.no_memory) {
        check_ledgers(&k);
        check_blocks(&k);
        check_names(&k);
        check_segments(&k);
        for (uint32_t i = 0; i < CLASSES_MAX; i++) {
            struct queue_view ready = board_ready(b, i);
            if (at_load(&b->classes[i].made, AT_ACQUIRE)) {
                check_queue(&k, "queue", i, &ready, true);
            }
        }
        for (uint32_t i = 0; i < PROCS_MAX; i++) {
            if (at_load(&b->procs[i].state, AT_ACQUIRE) == PROC_NONE) {
                continue; /* its ring is no memory yet, and looking would make it some */
            }
            struct queue_view ring = board_ring(b, i);
            check_queue(&k, "ring", i, &ring, false);
        }
        for (uint32_t i = 0; i < k.committed; i++) {
            look_around(&k, i);
        }
        for (uint32_t i = 0; i < k.committed; i++) {
            check_record(&k, i);
        }
        check_spans(&k);
    }
    free(k.uses);
    free(k.children);
    free(k.hinted);
    free(k.spans);
    if (k.no_memory) {
        return status_fail(MOB_ERR_NOMEM, "no memory to check a board");
    }
    return ret->problems ? status_fail(MOB_ERR_CORRUPT, "%s (%u problems)", ret->first,
                                       ret->problems)
                         : MOB_OK;
}
