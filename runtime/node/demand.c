/* demand.c - tasks that ask for more CPUs than any node has.
 *
 * Where no other node can join, such a task is refused when it is submitted. In a cluster a larger node
 * may come:
 *
 *   met --tasks wait, no node is large enough--> unmet, the driver is told --unmet_grace_ns--> over
 *    ^                                             |                                             |
 *    +-------------- a node that is large enough has joined -------------------------------------+
 *
 * While it is over, the class's tasks fail, those that come later too. Each node judges its own board by
 * the members that it knows of. */
#include <stdio.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "store/task.h"

enum { FAIL_AT_ONCE = 4096 }; /* tasks; the others' turn is the next one of the loop */

/* The CPUs of the largest node, its host's name, and how many nodes there are. */
static uint32_t largest(const struct node *n, const char **ret_host, unsigned *ret_nodes)
{
    uint32_t cpus = n->cpus;
    *ret_host = n->host;
    *ret_nodes = 1;
    for (const struct peer *p = n->cluster ? n->cluster->peers : NULL; p; p = p->next) {
        if (!p->member || p->gone || p == n->cluster->self) {
            continue;
        }
        ++*ret_nodes;
        if (p->cpus > cpus) {
            cpus = p->cpus;
            *ret_host = p->host;
        }
    }
    return cpus;
}

static bool too_large(const struct node *n, uint64_t units)
{
    const char *host;
    unsigned nodes;
    return units > (uint64_t)n->cpus * CPU_UNITS &&
           units > (uint64_t)largest(n, &host, &nodes) * CPU_UNITS;
}

mob_status demand_check(const struct job *j, uint64_t units)
{
    const struct node *n = j->node;
    if (j->inline_tasks || node_clustered(&n->config) || !too_large(n, units)) {
        return MOB_OK;
    }
    return status_fail(
        MOB_ERR_DEMAND,
        "a task asks for %g CPUs, the node has %u, and it is no node of a "
        "cluster, which another could join: ask for less, or start it with "
        "more (%s)",
        (double)units / CPU_UNITS, n->cpus,
        n->config.embedded >= 0 ? "mob_config.num_cpus" : "--num-cpus");
}

static uint64_t waiting(const struct job *j, uint32_t c)
{
    struct queue_view ready = board_ready(&j->board, c);
    return queue_count(&ready);
}

bool demand_unmet(const struct job *j, uint32_t c)
{
    return too_large(j->node, j->class_units[c]) && waiting(j, c) > 0;
}

static void tell(struct job *j, uint32_t c)
{
    const char *host;
    unsigned nodes, cpus = largest(j->node, &host, &nodes);
    char text[320];
    int size = snprintf(text, sizeof text,
                        "mobula: tasks of this job ask for %g CPUs each, and the largest "
                        "of %u nodes, %s, has %u: they fail unless a larger node joins "
                        "within %g s\n",
                        (double)j->class_units[c] / CPU_UNITS, nodes, host, cpus,
                        (double)j->node->config.unmet_grace_ns / 1e9);
    log_warn("job %u: %.*s", j->number, size - 1, text);
    output_add(&j->err, text, (size_t)size);
}

static void fail_one(struct job *j, uint32_t c, struct record *r)
{
    const char *host;
    unsigned nodes, cpus = largest(j->node, &host, &nodes);
    char text[FAILURE_TEXT_MAX], name[MOB_NAME_MAX + 1];
    bool cancelled = at_load(&r->state, AT_ACQUIRE) & STATE_CANCEL;
    board_name_text(&j->board, r->name, name);
    snprintf(text, sizeof text,
             "task %s: it asks for %g CPUs, and the largest of %u nodes, %s, has %u; no "
             "larger one joined within %g s: ask for less, or start a node with so many",
             name, (double)j->class_units[c] / CPU_UNITS, nodes, host, cpus,
             (double)j->node->config.unmet_grace_ns / 1e9);
    grant_error(j, r, cancelled ? MOB_ERR_CANCELLED : MOB_ERR_DEMAND, text);
    (void)task_seal(&j->lane, r, true);
    j->failed_tasks++;
}

/* Fails what waits in a class. False: there is more. */
static bool fail_some(struct job *j, uint32_t c)
{
    struct record *r;
    struct queue_item item;
    for (int i = 0; i < FAIL_AT_ONCE; i++) {
        if (task_claim(&j->lane, c, &r, &item) != QUEUE_OK) {
            return true;
        }
        fail_one(j, c, r);
    }
    return false;
}

static void look_later(struct loop_timer *timer)
{
    job_refresh(LOOP_OWNER(timer, struct job, demand_timer));
}

void demand_look(struct job *j)
{
    struct node *n = j->node;
    uint64_t now = loop_now_ns(n->loop), next = UINT64_MAX;
    for (uint32_t c = 0; c < j->classes && !j->leaving; c++) {
        uint64_t *since = &j->unmet_ns[c];
        if (!too_large(n, j->class_units[c])) {
            *since = 0;
            continue;
        }
        if (waiting(j, c) == 0) {
            continue;
        }
        if (*since == 0) {
            *since = now;
            tell(j, c);
        }
        uint64_t over = *since + n->config.unmet_grace_ns;
        if (now >= over) {
            over = fail_some(j, c) ? UINT64_MAX : now;
        }
        next = over < next ? over : next;
    }
    if (next != UINT64_MAX) {
        loop_timer_start(n->loop, &j->demand_timer, next, look_later);
    }
}

void demand_look_all(struct node *n)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (j && !j->ended && !j->failed && !j->inline_tasks) {
            demand_look(j);
        }
    }
}
