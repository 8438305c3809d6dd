/* guest_back.c - tasks of other nodes that will not run here after all.
 *
 * A task that came under a lease waits in a queue like any other. When the lease is over before a
 * worker took it, because this node's own jobs need the CPUs, nobody here may ever do so, while its
 * owner thinks that it runs: so it goes back. Its owner counts an attempt that began here. */
#include "cluster.h"
#include "core/status.h"
#include "store/task.h"

static struct wire_batch begin(struct peer *p, uint32_t number)
{
    struct wire_batch b = {.w = cluster_begin(p->cluster, WIRE_BACK)};
    codec_put_u32(&b.w, number);
    wire_batch_begin(&b);
    return b;
}

static void put(struct wire_batch *b, uint32_t slot, uint64_t link, bool begun)
{
    codec_put_u32(&b->w, slot);
    codec_put_u64(&b->w, link);
    codec_put_u8(&b->w, begun);
    b->count++;
}

static void end(struct peer *p, struct wire_batch *b)
{
    if (b->count) {
        wire_batch_end(b);
        cluster_send(p, &b->w);
        b->count = 0;
    }
}

void guest_refuse(struct peer *p, uint32_t number, uint32_t slot, uint64_t link)
{
    struct wire_batch b = begin(p, number);
    put(&b, slot, link, false);
    end(p, &b);
}

/* A task that nobody is at goes into the batch. False: somebody is, or it waits for arguments. */
static bool give_one(struct job *j, struct proxy *x, struct wire_batch *b)
{
    struct guest *g = j->guest;
    uint64_t s;
    struct record *r = lane_find(&j->lane, x->link, &s);
    if (!r || !task_claim_one(&j->lane, r, link_gen(x->link))) {
        return false;
    }
    s = at_load(&r->state, AT_RELAXED); /* ours now: nobody else counts an attempt */
    if (b->count == 0) {
        *b = begin(g->owner, g->number);
    }
    put(b, x->slot, x->theirs, state_attempt(s) > 0);
    task_set_error(r, MOB_ERR_CANCELLED, "it went back to its node");
    (void)task_seal(&j->lane, r, true); /* nobody waits for it */
    guest_proxy_drop(j, x);
    return true;
}

void guest_undone(struct job *j, uint64_t theirs)
{
    struct guest *g = j->guest;
    for (uint32_t i = 0; i < g->proxies_count; i++) {
        struct proxy *x = &g->proxies[i];
        uint64_t s;
        struct record *r = x->link == LINK_NONE || x->done || x->theirs != theirs
                               ? NULL
                               : lane_find(&j->lane, x->link, &s);
        if (r && state_phase(s) == PHASE_WAITING) {
            uint32_t cls = x->cls;
            task_cancel(&j->lane, r, link_gen(x->link));
            guest_refuse(g->owner, g->number, x->slot, x->theirs);
            guest_proxy_drop(j, x);
            (void)plan_node_finished(j->node->plan, job_plan_id(j), j->class_name[cls], 1,
                                     loop_now_ns(j->node->loop));
            job_refresh(j);
        }
    }
}

/* Each hint once: those of what was given back are dropped, others go to the queue's end. Else they
 * would count as tasks that wait here for as long as no worker comes by. */
static void drop_hints(struct job *j, uint32_t cls)
{
    struct queue_view ready = board_ready(&j->board, cls);
    struct record *r;
    struct queue_item item;
    for (uint64_t left = queue_count(&ready);
         left > 0 && task_claim(&j->lane, cls, &r, &item) == QUEUE_OK; left--) {
        (void)task_unclaim(&j->lane, r);
    }
}

static uint32_t give_class(struct job *j, uint32_t cls)
{
    struct guest *g = j->guest;
    struct wire_batch b = {.count = 0};
    uint32_t given = 0;
    for (uint32_t i = 0; i < g->proxies_count; i++) {
        struct proxy *x = &g->proxies[i];
        given += x->link != LINK_NONE && !x->done && x->cls == cls && give_one(j, x, &b);
        if (b.count && wire_batch_full(&b)) {
            end(g->owner, &b);
        }
    }
    end(g->owner, &b);
    return given;
}

void guest_give_back(struct job *j)
{
    struct guest *g = j->guest;
    struct plan_node *plan = j->node->plan;
    struct plan_job id = job_plan_id(j);
    bool any = false;
    for (uint32_t c = 0; c < j->classes && !j->ended && !j->leaving && !j->failed; c++) {
        struct plan_class_view v;
        if (g->open[c] == 0 || task_ready_count(&j->board, c) == 0 ||
            plan_node_view(plan, id, j->class_name[c], &v) != MOB_OK || v.leased > 0) {
            continue;
        }
        uint32_t given = give_class(j, c);
        if (given) {
            drop_hints(j, c);
            (void)plan_node_finished(plan, id, j->class_name[c], given,
                                     loop_now_ns(j->node->loop));
            any = true;
        }
    }
    if (any) {
        job_refresh(j);
    }
}
