/* guest_tasks.c - tasks of other nodes that come to run here.
 *
 * Each has a record on the guest job's board, its proxy, whose submitter is the daemon and whose
 * seal is told to it (CALL_FOREIGN). It is there until its results were told and, if they are
 * large, taken. */
#include <stdlib.h>
#include <string.h>

#include "cluster.h"
#include "core/status.h"
#include "core/text.h"
#include "store/request.h"
#include "store/task.h"

/* ---- proxies ------------------------------------------------------------------------------------------- */

static struct proxy *proxy_new(struct guest *g)
{
    if (g->free_proxy) {
        struct proxy *x = &g->proxies[g->free_proxy - 1];
        g->free_proxy = x->next_free;
        return x;
    }
    if (g->proxies_count == g->proxies_room) {
        uint32_t room = g->proxies_room ? g->proxies_room * 2 : 256;
        struct proxy *grown = realloc(g->proxies, room * sizeof *grown);
        if (!grown) {
            return NULL;
        }
        g->proxies = grown;
        g->proxies_room = room;
    }
    return &g->proxies[g->proxies_count++];
}

static void proxy_free(struct guest *g, struct proxy *x)
{
    g->late -= x->late;
    g->kept_bytes -= x->told;
    g->open[x->cls] -= x->link != LINK_NONE && !x->done;
    *x = (struct proxy){.next_free = g->free_proxy};
    g->free_proxy = (uint32_t)(x - g->proxies) + 1;
}

void guest_proxy_drop(struct job *j, struct proxy *x)
{
    uint64_t link = x->link;
    proxy_free(j->guest, x);
    for (uint32_t k = 0; k < MOB_RETURNS_MAX; k++) {
        lane_drop(&j->lane, link | k);
    }
}

/* ---- tasks that come --------------------------------------------------------------------------------------- */

struct arrival { /* a task as it stands in a message */
    uint32_t slot;
    uint64_t link;
    uint8_t retries, options, nrets, nargs;
    char fn[MOB_NAME_MAX + 1], name[MOB_NAME_MAX + 1];
    struct arrival_arg {
        uint32_t kind;
        uint64_t link, size, node;
        const void *bytes;
        mob_status status;
        char *text;
        bool has_meta;
        struct mob_meta meta;
        struct fold_order order;
    } args[MOB_ARGS_MAX];
    char texts[MOB_ARGS_MAX][WIRE_TEXT_MAX];
};

static bool read_arg_bytes(struct codec_reader *r, struct arrival_arg *a, char *text)
{
    size_t size = 0;
    a->link = a->kind == WIRE_VALUE ? 0 : codec_get_u64(r);
    switch (a->kind) {
    case WIRE_VALUE:
        a->bytes = codec_get_bytes(r, RECORD_VALUE_MAX, &size);
        a->size = size;
        return r->ok;
    case WIRE_OBJECT:
        a->bytes = codec_get_bytes(r, WIRE_INLINE_MAX, &size);
        a->size = size;
        return r->ok;
    case WIRE_REMOTE:
        a->size = codec_get_u64(r);
        return r->ok && a->size > 0 && a->size <= ARENA_OBJECT_MAX;
    case WIRE_AWAY:
        a->size = codec_get_u64(r);
        a->node = codec_get_u64(r);
        return r->ok && a->size > 0 && a->size <= ARENA_OBJECT_MAX;
    case WIRE_ORDER:
        a->link |= STANDIN_FOLD;
        return fold_get_order(r, &a->order);
    case WIRE_ERROR: {
        a->status = (mob_status)(int32_t)codec_get_u32(r);
        const char *bytes = codec_get_bytes(r, WIRE_TEXT_MAX, &size);
        if (!r->ok || a->status >= 0) {
            return false;
        }
        (void)text_shorten(text, WIRE_TEXT_MAX, bytes, size);
        a->text = text;
        return true;
    }
    default:
        return false;
    }
}

static bool read_arg(struct codec_reader *r, struct arrival_arg *a, char *text)
{
    uint32_t kind = codec_get_u8(r);
    *a = (struct arrival_arg){.kind = kind & ~WIRE_META, .has_meta = kind & WIRE_META};
    return read_arg_bytes(r, a, text) && (!a->has_meta || wire_get_meta(r, &a->meta));
}

static bool read_task(struct codec_reader *r, struct arrival *t)
{
    t->slot = codec_get_u32(r);
    t->link = codec_get_u64(r);
    t->retries = codec_get_u8(r);
    t->options = codec_get_u8(r);
    t->nrets = codec_get_u8(r);
    t->nargs = codec_get_u8(r);
    codec_get_str(r, t->fn, sizeof t->fn);
    codec_get_str(r, t->name, sizeof t->name);
    if (!r->ok || t->nargs > MOB_ARGS_MAX || t->nrets == 0 ||
        t->nrets > MOB_RETURNS_MAX || t->options & ~CALL_RETRY_ON_ERROR) {
        return false;
    }
    for (uint32_t i = 0; i < t->nargs; i++) {
        if (!read_arg(r, &t->args[i], t->texts[i])) {
            return false;
        }
    }
    return true;
}

/* Makes an argument by id ready for use; its bytes may come later. */
static mob_status take_object(struct job *j, const struct arrival_arg *a, uint64_t *ret)
{
    struct standin *s;
    bool fresh;
    MOB_TRY(standin_get(j, a->link, &s, &fresh));
    *ret = s->ours;
    if (fresh && a->has_meta) {
        standin_meta(j, s, &a->meta);
    }
    if (fresh && a->kind == WIRE_OBJECT) {
        standin_bytes(j, s, a->bytes, a->size);
    } else if (fresh && a->kind == WIRE_REMOTE) {
        standin_pull(j, s, a->size);
    } else if (fresh && a->kind == WIRE_AWAY) {
        standin_pull_from(j, s, a->size, a->node);
    } else if (fresh && a->kind == WIRE_ORDER) {
        return standin_fold(j, s, &a->order);
    } else if (fresh) {
        standin_error(j, s, a->status, a->text);
    }
    return MOB_OK;
}

static mob_status fill(struct job *j, struct record *r, const struct arrival *t)
{
    for (uint32_t i = 0; i < t->nargs; i++) {
        const struct arrival_arg *a = &t->args[i];
        if (a->kind == WIRE_VALUE) {
            void *to = task_add_value(r, i, a->size);
            if (!to) {
                return MOB_ERR_PROTOCOL;
            }
            memcpy(to, a->bytes, a->size);
            continue;
        }
        uint64_t link;
        MOB_TRY(take_object(j, a, &link));
        if (!task_add_ref(r, i, link)) {
            return MOB_ERR_PROTOCOL;
        }
    }
    return MOB_OK;
}

/* Puts a task on the board. */
static mob_status accept_task(struct job *j, uint32_t cls, const struct arrival *t)
{
    struct guest *g = j->guest;
    struct call call = {.class_options =
                            (uint8_t)(cls | (t->options | CALL_FOREIGN) << 4),
                        .counts = call_counts(t->nargs, t->nrets),
                        .retries = t->retries};
    struct record *r;
    g->clock++;
    for (uint32_t i = 0; i < t->nargs; i++) {
        call.class_options |= t->args[i].kind != WIRE_VALUE ? CALL_HAS_REFS << 4 : 0;
    }
    MOB_TRY(board_name(&j->board, DAEMON, t->fn, &call.fn));
    uint16_t name;
    MOB_TRY(board_name(&j->board, DAEMON, t->name, &name));
    struct proxy *x = proxy_new(g);
    if (!x) {
        return MOB_ERR_NOMEM;
    }
    mob_status st = lane_record(&j->lane, &r);
    if (st == MOB_ERR_FULL && grant_records(j) == MOB_OK) {
        st = lane_record(&j->lane, &r);
    }
    if (st) {
        *x = (struct proxy){0};
        proxy_free(g, x);
        return st;
    }
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = name;
    record_set_origin(r, (uint32_t)(x - g->proxies), 0);
    *x = (struct proxy){.link = link_make(lane_gen(r), board_index(&j->board, r), 0),
                        .theirs = t->link,
                        .slot = t->slot,
                        .cls = cls};
    g->open[cls]++;
    uint64_t link;
    st = fill(j, r, t);
    st = st ? st : task_publish(&j->lane, r, &link);
    if (st) {
        lane_unrecord(&j->lane, r);
        x->late = false;
        proxy_free(g, x);
    }
    return st;
}

bool guest_tasks(struct peer *p, uint32_t number, struct codec_reader *r)
{
    static struct arrival t; /* large; one thread */
    struct cluster *c = p->cluster;
    struct plan_node *plan = c->node->plan;
    uint64_t lease = codec_get_u64(r), now = loop_now_ns(c->node->loop);
    struct demand demand;
    uint32_t epoch = codec_get_u32(r), cls;
    (void)codec_get_u32(r); /* what its owner calls the class */
    bool good = wire_get_demand(r, &demand);
    uint32_t count = codec_get_u32(r), undone = 0;
    if (!good || !r->ok) {
        return false;
    }
    struct job *j = guest_find(c, p, number);
    bool take = j && !j->leaving && !j->failed &&
                job_add_class(j, &demand, &cls) == MOB_OK &&
                plan_node_received(plan, job_plan_id(j), j->class_name[cls], lease, epoch,
                                   count, now) == MOB_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_task(r, &t)) {
            return false;
        }
        mob_status st = take ? accept_task(j, cls, &t) : MOB_ERR_STATE;
        if (st == MOB_ERR_PROTOCOL) {
            return false;
        }
        if (st) {
            guest_refuse(p, number, t.slot, t.link);
            undone += take;
        }
    }
    if (undone) {
        (void)plan_node_finished(plan, job_plan_id(j), j->class_name[cls], undone, now);
    }
    if (!j && !guest_was_refused(c, p, number)) {
        /* So that the owner makes it known anew when it sends more. */
        struct codec_writer w = cluster_begin(c, WIRE_CLOSED);
        codec_put_u32(&w, number);
        cluster_send(p, &w);
    } else if (j) {
        j->guest->clock++; /* the last task's arguments have their uses */
        guest_flush(j);
        job_refresh(j);
    }
    return codec_done(r);
}

/* ---- the owner's other words about them --------------------------------------------------------- */

/* The owner has these results, or some of them stay here; tasks that it sends here with them as arguments find them
 * where they were made. */
static void keep_results(struct job *j, struct proxy *x, bool stays)
{
    uint64_t link = x->link, theirs = x->theirs;
    proxy_free(j->guest, x);
    for (uint32_t k = 0; k < MOB_RETURNS_MAX; k++) {
        uint64_t at = link | k;
        struct record *r;
        struct place p;
        bool large = grant_resolve(j, &at, &r, &p) == MOB_OK && p.size > WIRE_INLINE_MAX;
        bool kept = stays && large && p.size >= LINEAGE_BYTES_MIN;
        if (!large || !standin_adopt(j, theirs | k, link | k, p.size, kept)) {
            lane_drop(&j->lane, link | k);
        }
    }
}

bool guest_release(struct job *j, struct codec_reader *r)
{
    uint32_t count = codec_get_u32(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        uint32_t at = codec_get_u32(r);
        uint64_t link = codec_get_u64(r);
        uint32_t taken = codec_get_u8(r);
        struct guest *g = j ? j->guest : NULL;
        bool there = g && r->ok && at < g->proxies_count && link != LINK_NONE &&
                     g->proxies[at].link == link && g->proxies[at].done;
        if (there && taken) {
            keep_results(j, &g->proxies[at], taken == 2);
        } else if (there) {
            guest_proxy_drop(j, &g->proxies[at]);
        }
    }
    return codec_done(r);
}

bool guest_let_go(struct job *j, struct codec_reader *r)
{
    uint32_t count = codec_get_u32(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        uint64_t theirs = codec_get_u64(r);
        bool gone = codec_get_u8(r);
        if (j && r->ok) {
            standin_let_go(j, theirs, gone);
        }
    }
    if (j) {
        lane_reclaim(&j->lane);
    }
    return codec_done(r);
}

static bool may_ask(uint32_t how, uint64_t left_ns)
{
    uint32_t kind = how & ~WIRE_RECURSIVE;
    return (kind == REQUEST_NOTHING || kind == REQUEST_LATE || kind == REQUEST_END) &&
           left_ns <= REQUEST_AHEAD_MAX_NS;
}

static void cancel_proxy(struct job *j, const struct proxy *x, uint32_t how,
                         uint64_t left_ns)
{
    uint64_t s, now = loop_now_ns(j->node->loop);
    struct record *r = lane_find(&j->lane, x->link, &s);
    enum request_kind kind = (enum request_kind)(how & ~WIRE_RECURSIVE);
    uint32_t tick = kind ? request_tick_at(&j->board, now + left_ns) : 0;
    uint32_t more = how & WIRE_RECURSIVE ? REQUEST_RECURSIVE : 0;
    if (r) {
        (void)task_cancel_as(&j->lane, r, link_gen(x->link),
                             request_make(kind, tick) | more);
    }
}

bool guest_cancel(struct job *j, struct codec_reader *r)
{
    uint32_t count = codec_get_u32(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        uint32_t slot = codec_get_u32(r);
        uint64_t link = codec_get_u64(r);
        uint32_t how = codec_get_u8(r);
        uint64_t left = codec_get_u64(r);
        if (!r->ok || !may_ask(how, left)) {
            return false;
        }
        for (uint32_t k = 0; j && k < j->guest->proxies_count; k++) {
            struct proxy *x = &j->guest->proxies[k];
            if (x->link != LINK_NONE && x->slot == slot && x->theirs == link) {
                cancel_proxy(j, x, how, left);
                break;
            }
        }
    }
    if (j) {
        standin_unwanted(j);
    }
    return codec_done(r);
}
