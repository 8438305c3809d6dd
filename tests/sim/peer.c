/* peer.c - tasks on their way to other nodes and back. What another node says of a task counts only if that
 * task is away by this very connection: what ended with an earlier one is over, and runs again. */
#include <stdlib.h>

#include "sim.h"

static void put_item(struct message *m, uint32_t at)
{
    const struct task *t = &sim.tasks[at];
    struct item *i = &m->items[m->count++];
    *i = (struct item){.task = at,
                       .gen = t->gen,
                       .index = t->index,
                       .time_us = t->time_us,
                       .attempt = t->attempt,
                       .level = t->level};
}

/* ---- the owner -------------------------------------------------------------------------------------- */

/* Claims tasks and sends them. Those that came from elsewhere stay: one hop is enough. */
static void send_tasks(uint32_t i, const struct send *s)
{
    struct node *n = &sim.nodes[i];
    uint32_t b = board_find(i, s->serial), to = node_of(s->node);
    if (b == NONE) {
        return;
    }
    struct board *d = &n->boards[b];
    struct list *own = &d->cls[s->cls].queue[0];
    uint32_t count = s->count < own->count ? s->count : own->count;
    count = to == NONE ? 0 : count;
    mob_status st =
        plan_node_sent(n->plan, s->lease, count ? count : s->count, clock_of(n));
    if (st == MOB_OK && count == 0) {
        (void)plan_node_refused(n->plan, s->lease, s->count, clock_of(n));
    }
    if (st == MOB_OK && count > 0) {
        uint32_t link = link_make(i, to),
                 *away = &sim.links[link].away[link_side(link, i)];
        struct message *m = message_new(TASKS, i, to, count);
        m->board = d->serial, m->job = d->job, m->cls = s->cls, m->lease = s->lease;
        m->epoch = s->epoch;
        d->sent = true;
        while (m->count < count) {
            uint32_t at = own->first;
            struct task *t = &sim.tasks[at];
            list_remove(own, at);
            put_item(m, at);
            t->phase = AWAY;
            t->link = link;
            t->lease = s->lease;
            t->prev = NONE;
            t->next = *away;
            if (*away != NONE) {
                sim.tasks[*away].prev = at;
            }
            *away = at;
        }
        link_send(m);
    }
    board_hint(i, b, s->cls);
}

void peer_sends(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    struct send *sends =
        n->sends; /* what is wanted meanwhile comes into a list of its own */
    uint32_t count = n->sends_count;
    n->sends = NULL;
    n->sends_count = n->sends_room = 0;
    for (uint32_t k = 0; k < count; k++) {
        send_tasks(i, &sends[k]);
    }
    free(sends);
}

static void tasks_back(const struct message *m)
{
    struct node *n = &sim.nodes[m->to];
    for (uint32_t k = 0; k < m->count; k++) {
        const struct item *i = &m->items[k];
        struct task *t = &sim.tasks[i->task];
        if (!task_is(i->task, i->gen) || t->phase != AWAY || t->link != m->link) {
            continue;
        }
        uint32_t board = t->board, cls = t->cls, serial = n->boards[board].serial;
        if (m->kind == RESULT) {
            (void)plan_node_back(n->plan, t->lease, 1, clock_of(n));
            n->boards[board].maker = m->from;
            task_seal(i->task);
        } else {
            (void)plan_node_refused(n->plan, t->lease, 1, clock_of(n));
            task_again(i->task, i->begun);
        }
        if (board < n->boards_top && n->boards[board].used &&
            n->boards[board].serial == serial) {
            board_kick(m->to, board, cls);
        }
    }
}

/* ---- the guest's node ------------------------------------------------------------------------------- */

uint32_t guest_find(uint32_t i, uint32_t theirs)
{
    const struct node *n = &sim.nodes[i];
    for (uint32_t b = 0; b < n->boards_top; b++) {
        if (n->boards[b].used && n->boards[b].theirs == theirs) {
            return b;
        }
    }
    return NONE;
}

uint32_t guest_board(uint32_t i, uint32_t owner, uint32_t theirs, uint32_t job)
{
    uint32_t at = guest_find(i, theirs);
    if (at != NONE) {
        return at;
    }
    struct board *b = board_new(i, job, &at);
    b->owner = owner;
    b->theirs = theirs;
    b->key =
        (struct plan_job){1ull << 63 | i, b->serial}; /* a name that is nobody else's */
    return at;
}

static bool take_in(const struct message *m, uint32_t b)
{
    struct node *n = &sim.nodes[m->to];
    struct board *d = &n->boards[b];
    if (!d->open) {
        sim_must(plan_node_job_add(n->plan, d->key, 1, clock_of(n)), "guest job", m->to);
        d->open = true;
    }
    if (d->gone >> m->cls / PER_GROUP & 1) {
        return false;
    }
    klass_add(m->to, b, m->cls);
    return plan_node_received(n->plan, d->key, d->cls[m->cls].name, m->lease, m->epoch,
                              m->count, clock_of(n)) == MOB_OK;
}

static void tasks_came(const struct message *m)
{
    uint32_t b = guest_board(m->to, m->from, m->board, m->job), args[EDGES_MAX];
    if (!take_in(m, b)) {
        struct message *back = message_new(BACK, m->to, m->from, m->count);
        for (; back->count < m->count; back->count++) {
            back->items[back->count] = m->items[back->count];
            back->items[back->count].begun = false;
        }
        link_send(back);
        return;
    }
    const struct job *j = &sim.jobs[m->job];
    for (uint32_t k = 0; k < m->count; k++) {
        const struct item *i = &m->items[k];
        uint32_t at = task_new(m->to, b, m->cls);
        struct task *t = &sim.tasks[at];
        t->foreign = true;
        t->theirs = i->task, t->theirs_gen = i->gen;
        t->index = i->index, t->time_us = i->time_us, t->level = i->level;
        uint32_t count =
            i->level || !j->arg_bytes ? 0 : graph_edges(&j->graph, i->index, false, args);
        if (count) { /* its large arguments are fetched before it is queued */
            t->missing = (uint16_t)count;
            sim_after(EV_FETCHED, m->to, 2 * sim.lag_ns + count * j->arg_bytes, at,
                      t->gen, 0);
        } else {
            task_queued(at);
        }
    }
    board_kick(m->to, b, m->cls);
}

void peer_result(uint32_t at)
{
    struct task *t = &sim.tasks[at];
    struct node *n = &sim.nodes[t->node];
    const struct board *b = &n->boards[t->board];
    uint32_t node = t->node, cls = t->cls;
    struct message *m = message_new(RESULT, node, b->owner, 1);
    m->items[m->count++] = (struct item){.task = t->theirs, .gen = t->theirs_gen};
    link_send(m);
    sim.remote++;
    task_free(at);
    sim_must(plan_node_finished(n->plan, b->key, b->cls[cls].name, 1, clock_of(n)),
             "finished", node);
}

static void give_back(uint32_t i, uint32_t b, uint32_t cls)
{
    struct node *n = &sim.nodes[i];
    const struct board *d = &n->boards[b];
    const struct list *foreign = &d->cls[cls].queue[1];
    struct message *m = message_new(BACK, i, d->owner, foreign->count);
    while (foreign->count) {
        uint32_t at = foreign->first;
        const struct task *t = &sim.tasks[at];
        m->items[m->count++] = (struct item){
            .task = t->theirs, .gen = t->theirs_gen, .begun = t->attempt > 0};
        task_free(at);
    }
    uint32_t count = m->count;
    link_send(m);
    sim_must(plan_node_finished(n->plan, d->key, d->cls[cls].name, count, clock_of(n)),
             "given back", i);
    board_hint(i, b, cls);
}

/* Tasks that nobody has begun and whose lease is over go back: nobody here may ever begin them. */
void peer_give_back(uint32_t i)
{
    struct node *n = &sim.nodes[i];
    for (uint32_t b = 0; b < n->boards_top; b++) {
        struct board *d = &n->boards[b];
        for (uint32_t cls = 0; d->used && d->open && cls < CLASSES; cls++) {
            struct plan_class_view v;
            if (d->cls[cls].queue[1].count &&
                plan_node_view(n->plan, d->key, d->cls[cls].name, &v) == MOB_OK &&
                v.leased == 0) {
                give_back(i, b, cls);
            }
        }
        if (d->used && !d->open && plan_node_weight(n->plan, d->key) == 0) {
            d->used = false; /* it went with its lease */
        }
    }
    while (n->boards_top > 0 && !n->boards[n->boards_top - 1].used) {
        n->boards_top--;
    }
}

void peer_message(const struct message *m)
{
    if (m->kind == TASKS) {
        tasks_came(m);
    } else if (m->kind == GONE) {
        const struct node *n = &sim.nodes[m->to];
        for (uint32_t b = 0; b < n->boards_top; b++) {
            if (n->boards[b].used && n->boards[b].theirs == m->board) {
                klass_close(m->to, b, m->cls);
            }
        }
    } else if (m->kind == CLOSE) {
        const struct node *n = &sim.nodes[m->to];
        for (uint32_t b = 0; b < n->boards_top; b++) {
            if (n->boards[b].used && n->boards[b].open &&
                n->boards[b].theirs == m->board) {
                board_end(m->to, b);
            }
        }
    } else {
        tasks_back(m);
    }
}
