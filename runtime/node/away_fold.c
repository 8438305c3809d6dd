/* away_fold.c - tasks that combine arrays of several nodes: from where they are folded on their way (fold.h). */
#include <string.h>

#include "cluster.h"
#include "scheduler/spread.h"

static bool whole_at(struct job *j, uint64_t link, uint64_t node)
{
    struct spread_view v;
    return spread_view(j->node->cluster->spread, (struct spread_object){j->number, link},
                       node, &v) == MOB_OK &&
           v.whole;
}

/* What the task does, if it is one of the library's for that. */
static bool is_fold(struct job *j, const struct record *r, const struct call *call,
                    struct fold_what *ret)
{
    char name[MOB_NAME_MAX + 1];
    uint32_t at = record_arg_offset(r, call, 0);
    if (record_arg_len(r, call, 0) != sizeof *ret || at + sizeof *ret > RECORD_PAYLOAD) {
        return false;
    }
    board_name_text(&j->board, call->fn, name);
    memcpy(ret, r->payload + at, sizeof *ret);
    return strcmp(name, FOLD_TASK) == 0 && ret->op < FOLD_OPS;
}

/* Array @i, if it is as the others are. */
static bool note_array(struct job *j, struct record *r, const struct call *call,
                       uint32_t i, struct fold_order *o)
{
    struct arg_ref *ref =
        record_arg_len(r, call, i + 1) == ARG_REF ? record_arg_ref(r, call, i + 1) : NULL;
    struct record *made;
    struct place p;
    uint64_t link = ref ? at_load(&ref->link, AT_RELAXED) : LINK_NONE;
    if (link == LINK_NONE || grant_resolve(j, &link, &made, &p) != MOB_OK ||
        (i > 0 && p.size != o->size)) {
        return false;
    }
    o->size = p.size;
    o->arrays[i].link = link;
    return true;
}

/* Each array from a node that has it: from @to what is last, which it adds itself; then as few nodes as can be. */
static void choose(struct job *j, const struct peer *to, struct fold_order *o)
{
    struct cluster *c = to->cluster;
    uint32_t end = o->count;
    for (; end > 0 && whole_at(j, o->arrays[end - 1].link, to->id); end--) {
        o->arrays[end - 1].node = to->id;
    }
    for (uint32_t i = 0; i < end; i++) {
        struct fold_array *a = &o->arrays[i];
        struct spread_object name = {j->number, a->link};
        uint64_t before = i > 0 ? o->arrays[i - 1].node : 0;
        if (before && whole_at(j, a->link, before)) {
            a->node = before;
        } else {
            uint64_t some = spread_some(c->spread, name, to->id);
            a->node = some ? some : c->self->id;
        }
    }
}

/* The first array is shown as it is, so the second has to be another node's. This one has all of them. */
static bool begins_at_one(struct job *j, struct fold_order *o)
{
    uint64_t self = j->node->cluster->self->id;
    if (o->arrays[0].node != o->arrays[1].node) {
        return true;
    }
    o->arrays[0].node = self;
    return o->arrays[1].node != self;
}

bool fold_pays(struct job *j, struct record *r, const struct peer *to,
               struct fold_order *ret)
{
    struct call call = record_call(r);
    struct fold_order o = {.count = call_nargs(&call) - 1};
    uint32_t missing = 0;
    if (call_nargs(&call) < 3 || o.count > FOLD_ARRAYS_MAX || call.retries == 0 ||
        !is_fold(j, r, &call, &o.what)) {
        return false;
    }
    for (uint32_t i = 0; i < o.count; i++) {
        if (!note_array(j, r, &call, i, &o)) {
            return false;
        }
        missing += !whole_at(j, o.arrays[i].link, to->id);
    }
    size_t item = fold_item((enum fold_type)o.what.type);
    if (missing < 2 || o.size < SPREAD_BYTES_MIN || item == 0 || o.size % item != 0) {
        return false;
    }
    choose(j, to, &o);
    *ret = o;
    return begins_at_one(j, ret);
}
