/* klass.c - the classes of a job on a board, each by the name that the planner of its node has for it. As in the daemon
 * (runtime/node/classes.c) each node names them itself; those of a group that was removed are closed and take no more
 * tasks; and when nothing of one is left its place is another's, by another name:
 *
 *   no name --klass_name()--> open --its group is removed--> closing --nothing is left, klass_look()--> no name
 *
 * A late lease may name a class of a group that is gone: it is closed at once. */
#include "sim.h"

uint32_t klass_find(const struct board *b, uint32_t name)
{
    for (uint32_t cls = 0; cls < CLASSES; cls++) {
        if (b->cls[cls].name == name) {
            return cls;
        }
    }
    return NONE;
}

uint32_t klass_of_demand(const struct board *b, const struct demand *d)
{
    const struct job *j = &sim.jobs[b->job];
    for (uint32_t cls = 0; cls < j->classes; cls++) {
        if (demand_equal(&j->demand[cls], d)) {
            return cls;
        }
    }
    return NONE;
}

static bool taken(const struct board *b, uint32_t place)
{
    for (uint32_t cls = 0; cls < CLASSES; cls++) {
        if (b->cls[cls].name != NONE && plan_class_place(b->cls[cls].name) == place) {
            return true;
        }
    }
    return false;
}

void klass_name(struct board *b, uint32_t cls)
{
    uint32_t place = 0;
    if (b->cls[cls].name != NONE) {
        return;
    }
    while (taken(b, place)) {
        place++;
    }
    b->cls[cls].name = b->next[place];
    b->cls[cls].closing = b->gone >> cls / PER_GROUP & 1;
    sim.reused += b->next[place] >= CLASSES_MAX;
}

void klass_add(uint32_t i, uint32_t b, uint32_t cls)
{
    struct node *n = &sim.nodes[i];
    struct board *d = &n->boards[b];
    klass_name(d, cls);
    sim_must(plan_node_class_add(n->plan, d->key, d->cls[cls].name,
                                 &sim.jobs[d->job].demand[cls], clock_of(n)),
             "class", i);
}

/* ---- the end ---------------------------------------------------------------------------------------- */

/* False: the planner has something of it yet. */
static bool let_go(const struct node *n, struct board *d, uint32_t cls)
{
    struct board_class *k = &d->cls[cls];
    if (plan_node_class_end(n->plan, d->key, k->name, clock_of(n)) == MOB_ERR_STATE) {
        return false;
    }
    d->next[plan_class_place(k->name)] = k->name + CLASSES_MAX;
    k->name = NONE;
    k->closing = false;
    k->told = 0;
    return true;
}

static bool is_left(const struct node *n, const struct board *d, uint32_t cls)
{
    struct plan_class_view v = {0};
    const struct board_class *k = &d->cls[cls];
    (void)plan_node_view(n->plan, d->key, k->name, &v);
    return !(v.starting || v.busy || v.idle || v.lent || v.resuming || v.leased ||
             v.away || k->running || board_queued(d, cls));
}

void klass_look(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    for (uint32_t b = 0; b < n->boards_top; b++) {
        struct board *d = &n->boards[b];
        for (uint32_t cls = 0; d->used && d->gone && cls < CLASSES; cls++) {
            if (d->cls[cls].closing && is_left(n, d, cls)) {
                (void)let_go(n, d, cls);
            }
        }
    }
}

/* Of a board that is there for leases alone nobody says that a group is gone: classes that nobody holds are let go
 * when one is named. */
void klass_tidy(uint32_t i, uint32_t b, uint32_t keep)
{
    const struct node *n = &sim.nodes[i];
    struct board *d = &n->boards[b];
    for (uint32_t cls = 0; !d->open && cls < CLASSES; cls++) {
        if (cls / PER_GROUP != keep / PER_GROUP && d->cls[cls].name != NONE &&
            sim.jobs[d->job].demand[cls].group) {
            (void)let_go(n, d, cls);
        }
    }
}

/* What has come from elsewhere ends, and its owner hears so. Not tasks of nested jobs: their groups end when all
 * results are there, and what runs then nobody waits for. */
static void end_foreign(const struct board *d, uint32_t group)
{
    uint32_t next;
    for (uint32_t at = d->all; at != NONE && !sim.jobs[d->job].depth; at = next) {
        const struct task *t = &sim.tasks[at];
        next = t->all_next;
        if (t->foreign && t->cls / PER_GROUP == group) {
            task_end(at);
        }
    }
}

void klass_close(uint32_t i, uint32_t b, uint32_t group)
{
    struct board *d = &sim.nodes[i].boards[b];
    d->gone |= 1u << group;
    for (uint32_t cls = group * PER_GROUP; cls < (group + 1) * PER_GROUP; cls++) {
        d->cls[cls].closing = d->cls[cls].name != NONE;
    }
    end_foreign(d, group);
}

/* At home, and where tasks of the job went. */
void klass_gone(const struct job *j)
{
    const struct board *d = &sim.nodes[j->home].boards[j->board];
    klass_close(j->home, j->board, j->round);
    for (uint32_t at = sim.nodes[j->home].links; d->sent && at != NONE;) {
        const struct link *l = &sim.links[at];
        uint32_t side = link_side(at, j->home), peer = l->end[!side];
        at = l->next[side];
        if (peer < sim.count && (l->up[side] || l->wait[side])) {
            struct message *m = message_new(GONE, j->home, peer, 0);
            m->board = d->serial;
            m->cls = j->round;
            link_send(m);
        }
    }
}
