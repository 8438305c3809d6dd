/* hints.c - where arguments of tasks that wait are already, so that the head leases slots there.
 *
 * Each node keeps copies of the arguments that it pulled and of the large results that it made, until it
 * needs the room. The owner keeps a directory of them (scheduler/spread.h). That is a hint: a copy
 * may be gone, and is pulled again then. What counts are the arguments of the task that is next in its queue. */
#include "cluster.h"
#include "scheduler/spread.h"
#include "store/task.h"

void hint_there(struct job *j, const struct peer *p, uint64_t link, uint64_t bytes)
{
    if (bytes >= HINT_BYTES_MIN) {
        spread_whole(p->cluster->spread, (struct spread_object){j->number, link}, p->id);
    }
}

/* Adds to what a node has; the node with least makes room for another. */
static uint32_t add(struct plan_hint *hints, uint32_t count, uint64_t node,
                    uint64_t bytes)
{
    uint32_t least = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (hints[i].node == node) {
            hints[i].bytes += bytes;
            return count;
        }
        least = hints[i].bytes < hints[least].bytes ? i : least;
    }
    if (count < PLAN_HINTS_MAX) {
        hints[count] = (struct plan_hint){node, bytes};
        return count + 1;
    }
    if (bytes > hints[least].bytes) {
        hints[least] = (struct plan_hint){node, bytes};
    }
    return count;
}

uint32_t hint_backlog(struct job *j, uint32_t cls, struct plan_hint hints[PLAN_HINTS_MAX])
{
    struct queue_view ready = board_ready(&j->board, cls);
    struct queue_item item;
    uint32_t count = 0;
    struct record *r = j->away.hosts && queue_peek(&ready, &item) == QUEUE_OK
                           ? board_record(&j->board, item.index)
                           : NULL;
    struct call call = r ? record_call(r) : (struct call){0};
    for (uint32_t i = 0; i < call_nargs(&call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, &call, i);
        uint64_t link = ref ? at_load(&ref->link, AT_RELAXED) : LINK_NONE;
        struct record *made;
        struct place p;
        if (link == LINK_NONE || grant_resolve(j, &link, &made, &p) != MOB_OK ||
            p.size < HINT_BYTES_MIN) {
            continue;
        }
        for (struct away_host *h = j->away.hosts; h; h = h->next) {
            if (spread_has(j->node->cluster->spread,
                           (struct spread_object){j->number, link}, h->peer->id)) {
                count = add(hints, count, h->peer->id, p.size);
            }
        }
    }
    return count;
}
