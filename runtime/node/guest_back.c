/* guest_back.c - tasks of other nodes that will not run here after all.
 *
 * A task that came under a lease waits in a queue like any other. When the lease is over before a
 * worker took it, because this node's own jobs need the CPUs, nobody here may ever do so, while its
 * owner thinks that it runs: so it goes back. Its owner counts an attempt that began here. */
#include "cluster.h"
#include "core/status.h"
#include "store/task.h"

/* The proxy of a task on our board, if it is one that is not told yet. */
static struct proxy *proxy_of(struct job *j, struct record *r, uint64_t state)
{
    struct guest *g = j->guest;
    uint64_t i = at_load(&r->site, AT_RELAXED); /* which clients can write to */
    uint64_t link = link_make(state_gen(state), board_index(&j->board, r), 0);
    struct proxy *x = i < g->proxies_count ? &g->proxies[i] : NULL;
    return x && x->link == link && !x->done ? x : NULL;
}

/* Ends our record of a task that we claimed: nobody waits for it any more. */
static void end_record(struct job *j, struct record *r, struct proxy *x)
{
    task_set_error(r, MOB_ERR_CANCELLED, "it went back to its node");
    (void)task_seal(&j->lane, r, true);
    guest_proxy_drop(j, x);
}

static uint32_t give_back(struct job *j, uint32_t cls)
{
    struct guest *g = j->guest;
    struct queue_view ready = board_ready(&j->board, cls);
    struct wire_batch b = {.w = cluster_begin(j->node->cluster, WIRE_BACK)};
    struct record *r;
    struct queue_item item;
    codec_put_u32(&b.w, g->number);
    wire_batch_begin(&b);
    /* Each hint once: what is not another node's goes to the queue's end. */
    for (uint64_t left = queue_count(&ready);
         left > 0 && !wire_batch_full(&b) &&
         task_claim(&j->lane, cls, &r, &item) == QUEUE_OK;
         left--) {
        uint64_t state = at_load(&r->state, AT_ACQUIRE);
        struct proxy *x = proxy_of(j, r, state);
        if (!x) { /* submitted by a task that ran here */
            (void)task_unclaim(&j->lane, r);
            continue;
        }
        codec_put_u32(&b.w, x->slot);
        codec_put_u64(&b.w, x->theirs);
        codec_put_u8(&b.w, state_attempt(state) > 0);
        b.count++;
        end_record(j, r, x);
    }
    if (b.count) {
        wire_batch_end(&b);
        cluster_send(g->owner, &b.w);
    }
    return b.count;
}

void guest_give_back(struct job *j)
{
    struct plan_node *plan = j->node->plan;
    struct plan_job id = job_plan_id(j);
    if (!j->guest || j->ended || j->leaving || j->failed) {
        return;
    }
    for (uint32_t c = 0; c < j->classes; c++) {
        struct plan_class_view v;
        uint32_t count = 0;
        if (plan_node_view(plan, id, c, &v) == MOB_OK && v.queued > 0 && v.leased == 0 &&
            v.starting + v.busy + v.idle == 0) {
            count = give_back(j, c);
        }
        if (count) {
            (void)plan_node_finished(plan, id, c, count, loop_now_ns(j->node->loop));
            job_refresh(j);
        }
    }
}
