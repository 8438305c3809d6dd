/* plan.c - the planner's wishes, carried out. */
#include <stdio.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "spill.h"
#include "store/task.h"

struct job *plan_find_job(struct node *n, struct plan_job id)
{
    for (uint32_t i = 0; i < n->jobs_top; i++) {
        if (n->jobs[i]) {
            struct plan_job have = job_plan_id(n->jobs[i]);
            if (have.node == id.node && have.number == id.number) {
                return n->jobs[i];
            }
        }
    }
    return NULL;
}

void plan_start(struct job *j, uint32_t cls, uint32_t count)
{
    if (j->guest) {
        job_sync_classes(j);
        if (!j->guest->ready && !j->ended) {
            j->guest->starts[cls] += count;
            return;
        }
    }
    uint64_t units = j->demand[cls].need.amount[RESOURCE_GPU];
    for (uint32_t i = 0; i < count; i++) {
        bool over = j->ended || j->leaving || j->failed;
        uint64_t gpus = units && !over ? gpu_take(&j->node->gpus, units) : 0;
        if (units && !over && !gpus) {
            j->gpu_waits[cls]++;
            gpu_gather(j->node);
            continue;
        }
        mob_status st = over ? MOB_ERR_CLOSED : proc_start(j, cls, gpus);
        if (st) {
            gpu_give(&j->node->gpus, gpus, units);
            if (st != MOB_ERR_CLOSED) {
                log_error("%s", mob_last_error());
                snprintf(j->start_why, sizeof j->start_why, "%s", mob_last_error());
            }
            j->start_failures
                [cls]++; /* told to the planner later: not from within its event */
        }
    }
}

void plan_start_waiting(struct node *n)
{
    for (uint32_t i = 0; i < n->jobs_top; i++) {
        struct job *j = n->jobs[i];
        for (uint32_t c = 0; j && c < j->classes; c++) {
            uint32_t waiting = j->gpu_waits[c];
            j->gpu_waits[c] = 0;
            if (waiting > 0) {
                plan_start(j, c, waiting);
            }
        }
    }
}

/* A worker in a slot's state, of a class or (CLASSES_MAX) any. One that is dead counts for the planner
 * until its end is told, from the state that it has by then: it gets what no living one is there for. */
static struct member *find(struct job *j, enum slot_state slot, uint32_t cls)
{
    struct member *dead = NULL;
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        struct member *m = &j->members[i];
        if (m->used && m->slot == slot && (cls == CLASSES_MAX || m->class == cls)) {
            if (!m->dead) {
                return m;
            }
            dead = m;
        }
    }
    return dead;
}

/* A worker without a slot for a class: one whose libraries have as many threads as it asks for, if there is one. */
static struct member *find_bare(struct job *j, uint32_t cls)
{
    uint64_t cpus = j->demand[cls].need.amount[RESOURCE_CPU];
    for (uint32_t c = 0; c < j->classes; c++) {
        uint64_t had = j->demand[c].need.amount[RESOURCE_CPU];
        struct member *m =
            local_threads(had) == local_threads(cpus) ? find(j, SLOT_BARE, c) : NULL;
        if (m && !m->dead) {
            return m;
        }
    }
    return find(j, SLOT_BARE, CLASSES_MAX);
}

static void give(struct job *j, const struct plan_node_action *a)
{
    struct member *m;
    uint32_t cls = plan_class_place(a->cls);
    for (uint32_t left = a->count; left && (m = find_bare(j, cls)); left--) {
        m->class = cls;
        m->slot = SLOT_BUSY;
        pin_take(m);
        if (!m->dead) {
            proc_run(m, cls + 1);
        }
    }
}

static void take(struct job *j, const struct plan_node_action *a)
{
    uint32_t left = a->count, cls = plan_class_place(a->cls);
    for (int busy = 0; busy < 2; busy++) {
        for (uint32_t i = 2; i < PROCS_MAX && left; i++) {
            struct member *m = &j->members[i];
            if (m->used && !m->dead && m->class == cls && !m->asked_back &&
                m->slot == (busy ? SLOT_BUSY : SLOT_IDLE)) {
                proc_ask_back(m);
                left--;
            }
        }
    }
}

static void resume(struct job *j, const struct plan_node_action *a)
{
    struct member *m;
    uint32_t cls = plan_class_place(a->cls);
    for (uint32_t left = a->count; left && (m = find(j, SLOT_RESUMING, cls)); left--) {
        m->slot = SLOT_BUSY;
        pin_take(m);
    }
}

void plan_act(void *arg, const struct plan_node_action *a)
{
    struct node *n = arg;
    bool remote = a->kind == PLAN_SEND || a->kind == PLAN_REPORT ||
                  a->kind == PLAN_DEMAND || a->kind == PLAN_LEASE_HELD ||
                  a->kind == PLAN_HOLD_SAID;
    if (remote && n->cluster) {
        member_act(n->cluster, a);
    } else if (a->kind == PLAN_HOLD_SAID) {
        group_alone_held(n, a->hold);
    }
    struct job *j = remote ? NULL : plan_find_job(n, a->job);
    if (!j) {
        return;
    }
    switch (a->kind) {
    case PLAN_START:
        plan_start(j, plan_class_place(a->cls), a->count);
        break;
    case PLAN_GIVE:
        give(j, a);
        break;
    case PLAN_TAKE:
        take(j, a);
        break;
    case PLAN_RESUME:
        resume(j, a);
        break;
    case PLAN_JOB_FAILED:
        j->give_up = true;
        break;
    case PLAN_SEND:
    case PLAN_REPORT:
    case PLAN_DEMAND:
    case PLAN_LEASE_HELD:
    case PLAN_HOLD_SAID:
        break; /* sent above */
    }
}

/* What the callbacks above could not tell the planner, because it was in the middle of an event. */
static void tell_failures(struct node *n)
{
    for (uint32_t i = 0; i < n->jobs_top; i++) {
        struct job *j = n->jobs[i];
        for (uint32_t c = 0; j && c < j->classes; c++) {
            while (j->start_failures[c]) {
                j->start_failures[c]--;
                (void)plan_node_worker_failed(n->plan, job_plan_id(j), j->class_name[c],
                                              loop_now_ns(n->loop));
            }
        }
        if (j && j->give_up && !j->failed && !j->leaving) {
            job_fail(j, MOB_ERR_JOB_FAILED,
                     "the job's workers do not start; the node's log says "
                     "why");
        }
    }
}

static void tick(struct loop_timer *timer)
{
    struct node *n = LOOP_OWNER(timer, struct node, plan_timer);
    for (uint32_t i = 0; i < n->jobs_top; i++) {
        if (n->jobs[i]) {
            (void)board_tick(&n->jobs[i]->board);
            job_refresh(n->jobs[i]);
        }
    }
    spill_look(n);
    plan_node_tick(n->plan, loop_now_ns(n->loop));
    plan_arm(n);
}

static void give_back(struct node *n)
{
    for (uint32_t i = 0; i < n->jobs_top; i++) {
        if (n->jobs[i] && n->jobs[i]->guest) {
            guest_give_back(n->jobs[i]);
        }
    }
}

void plan_arm(struct node *n)
{
    give_back(n);
    tell_failures(n);
    loop_timer_start(n->loop, &n->plan_timer, plan_node_deadline(n->plan), tick);
}
