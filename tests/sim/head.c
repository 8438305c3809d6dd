/* head.c - the words between nodes and the head. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- at the head ------------------------------------------------------------------------------------ */

static void tell(uint32_t i, const struct plan_head_action *a)
{
    struct message *m = a->kind == PLAN_HOLD
                            ? message_more(DOWN, sim.count, i, a->hold, sizeof *a->hold)
                        : a->kind == PLAN_GROUP
                            ? message_more(DOWN, sim.count, i, a->group, sizeof *a->group)
                            : message_new(DOWN, sim.count, i, 0);
    m->down = *a;
    m->down.demand = NULL; /* valid in the call alone, as these */
    m->down.hold = NULL;
    m->down.group = NULL;
    if (a->demand) {
        m->demand = *a->demand;
    }
    link_send(m);
}

static void act(void *arg, const struct plan_head_action *a)
{
    (void)arg;
    if (a->kind == PLAN_NODE_DEAD) {
        check_node_dead(a->node);
        for (uint32_t i = 0; i < sim.count; i++) {
            if (sim.joined[i]) {
                tell(i, a);
            }
            sim.joined[i] = sim.joined[i] == a->node ? 0 : sim.joined[i];
        }
        return;
    }
    if (a->kind == PLAN_LEASE) {
        sim.changes++;
        check_lease(a);
    } else if (a->kind == PLAN_GRANT) {
        check_grant(a);
    } else if (a->kind == PLAN_HOLD) {
        sim.changes += a->hold->state == PLAN_HOLD_WANT;
        check_hold(a);
    } else if (a->kind == PLAN_GROUP) {
        check_view(a->group);
    }
    uint32_t i = node_of(a->to);
    if (i != NONE && sim.joined[i] == a->to) {
        tell(i, a);
    }
}

void head_up(void)
{
    sim.head_id++;
    check_forget();
    sim.head = plan_head_create(
        &(struct plan_head_config){
            .head = sim.head_id, .seed = sim.o.seed, .leases_max = 64 * 4096, .act = act},
        head_clock());
    sim.head_tick_at = CLOCK_NEVER;
    if (!sim.head) {
        sim_fail("no head", 0);
    }
    for (size_t k = 0; k < sim.members_count;
         k++) { /* it kept who they are, and nothing else */
        const struct plan_member_view *v = &sim.members[k];
        struct plan_join join = {.node = v->node,
                                 .session = v->node ^ 77,
                                 .capacity = v->capacity,
                                 .remembered = true};
        join.labels = sim.nodes[node_place(v->node)].labels;
        sim_must(plan_head_join(sim.head, &join, head_clock()), "kept member", sim.count);
    }
    sim.members_count = 0;
}

/* What its database has. A head of histories without groups has none: its members come anew. */
static void keep_members(void)
{
    sim.members_count = plan_head_nodes(sim.head, NULL, 0, head_clock());
    sim.members = realloc(sim.members, (sim.members_count + 1) * sizeof *sim.members);
    if (!sim.members) {
        sim_fail("no memory for members", sim.count);
    }
    plan_head_nodes(sim.head, sim.members, sim.members_count, head_clock());
}

/* Its process dies, and with it all that it knew. */
void head_down(void)
{
    if (sim.o.groups) {
        keep_members();
    } else {
        memset(sim.joined, 0, sim.count * sizeof *sim.joined);
    }
    plan_head_destroy(sim.head);
    sim.head = NULL;
    check_head_down();
    for (uint32_t i = 0; i < sim.count; i++) {
        uint32_t at = link_find(i, sim.count);
        if (at != NONE) {
            link_close(at, 1);
        }
    }
}

static void join(const struct message *m)
{
    uint32_t i = m->from;
    bool known = sim.joined[i] == m->join.node;
    /* With a database this head and those before it are one. */
    bool was = m->join.member_of == sim.head_id || (sim.o.groups && m->join.member_of);
    if (!known && was) {
        link_send(message_new(REFUSED, sim.count, i, 0));
        return;
    }
    struct message *w = message_new(WELCOME, sim.count, i, 0);
    w->id = sim.head_id;
    link_send(w);
    sim.joined[i] = m->join.node;
    sim_must(plan_head_join(sim.head, &m->join, head_clock()), "join", i);
}

static void up_word(uint32_t i, const struct message *m)
{
    const struct plan_node_action *a = &m->up;
    uint64_t node = sim.joined[i];
    if (a->kind == PLAN_REPORT) {
        sim_must(plan_head_report(sim.head, node, &m->offer, head_clock()), "report", i);
    } else if (a->kind == PLAN_DEMAND) {
        struct plan_demand d = {.job = a->job,
                                .cls = a->cls,
                                .demand = m->demand,
                                .weight = a->weight,
                                .want = a->count,
                                .hints_count = a->hints_count};
        memcpy(d.hints, m->hints, sizeof d.hints);
        sim_must(plan_head_demand(sim.head, node, &d, head_clock()), "demand", i);
    } else if (a->kind == PLAN_HOLD_SAID) {
        struct plan_hold said;
        memcpy(&said, m->items, sizeof said);
        check_hold_said(&said);
        mob_status s =
            plan_head_hold_said(sim.head, node, &said, &m->offer, head_clock());
        if (s != MOB_ERR_NOT_FOUND) { /* it may be over */
            sim_must(s, "hold said", i);
        }
    } else {
        bool present = check_held(a);
        mob_status s = plan_head_lease_held(sim.head, node, a->lease, a->epoch, a->count,
                                            &m->offer, head_clock());
        if (s == MOB_OK && !present) {
            sim_fail("the head takes a stale answer", i);
        } else if (s != MOB_ERR_STATE && s != MOB_ERR_NOT_FOUND) {
            sim_must(s, "held", i);
        }
    }
}

void head_message(const struct message *m)
{
    uint32_t i = m->from;
    if (m->kind == JOIN) {
        join(m);
    } else if (sim.joined[i] !=
               sim.nodes[i].incarnation) { /* declared dead, and does not know it */
        link_send(message_new(REFUSED, sim.count, i, 0));
    } else if (m->kind == HEARTBEAT) {
        sim_must(plan_head_heartbeat(sim.head, sim.joined[i], head_clock()), "heartbeat",
                 i);
    } else if (m->kind == UP) {
        up_word(i, m);
    } else {
        group_message(m);
    }
    check_head();
}

void head_timer(void)
{
    uint64_t due = sim.head ? plan_head_deadline(sim.head) : CLOCK_NEVER;
    if (due == CLOCK_NEVER) {
        return;
    }
    due = due > head_clock() ? due - sim.head_skew : sim.now + 1;
    if (due < sim.head_tick_at) {
        sim.head_tick_at = due;
        sim_post((struct event){.at = due, .kind = EV_HEAD_TICK, .node = NONE});
    }
}

void head_event(struct event *e)
{
    if (e->kind == EV_HEAD_CRASH) {
        head_down();
        sim_post((struct event){
            .at = sim.now + sim_draw(3 * NS_PER_S), .kind = EV_HEAD_UP, .node = NONE});
    } else if (e->kind == EV_HEAD_UP) {
        head_up();
    } else if (sim.head) {
        sim.head_tick_at = CLOCK_NEVER;
        plan_head_tick(sim.head, head_clock());
        check_head();
    }
}

/* ---- at a node -------------------------------------------------------------------------------------- */

void head_say(uint32_t i, const struct plan_node_action *a)
{
    struct message *m = a->hold ? message_more(UP, i, sim.count, a->hold, sizeof *a->hold)
                                : message_new(UP, i, sim.count, 0);
    if (a->kind == PLAN_LEASE_HELD) {
        check_said(a);
    }
    m->up = *a;
    if (a->offer) {
        m->offer = sim.nodes[i].offered = *a->offer;
    }
    if (a->demand) {
        m->demand = *a->demand;
    }
    m->up.hints = NULL; /* valid in the call alone, as these */
    m->up.demand = NULL;
    m->up.offer = NULL;
    m->up.hold = NULL;
    for (uint32_t k = 0; k < a->hints_count; k++) {
        m->hints[k] = a->hints[k];
    }
    link_send(m);
}

static void lease_word(uint32_t i, const struct message *m)
{
    const struct plan_head_action *a = &m->down;
    struct node *n = &sim.nodes[i];
    struct plan_lease l = {.lease = a->lease,
                           .epoch = a->epoch,
                           .job = a->job,
                           .cls = a->cls,
                           .demand = m->demand,
                           .weight = a->weight,
                           .slots = a->slots,
                           .owner = a->owner ? a->owner : 1};
    uint32_t owner = node_of(a->owner), job = NONE;
    if (owner != NONE && owner != i) {
        uint32_t theirs = board_find(owner, a->job.number);
        job = theirs == NONE ? NONE : sim.nodes[owner].boards[theirs].job;
    }
    uint32_t b = job != NONE && a->slots > 0 ? guest_board(i, owner, a->job.number, job)
                 : owner != i                ? guest_find(i, a->job.number)
                                             : NONE;
    if (b != NONE) { /* by the names that it has here */
        uint32_t cls = klass_of_demand(&n->boards[b], &l.demand);
        klass_tidy(i, b, cls);
        klass_name(&n->boards[b], cls);
        l.job = n->boards[b].key;
        l.cls = n->boards[b].cls[cls].name;
    }
    mob_status s = plan_node_lease(n->plan, &l, clock_of(n));
    if (s == MOB_OK) {
        check_taken(a, i);
    }
    if (s != MOB_OK && s != MOB_ERR_STATE) { /* not here: the head looks elsewhere */
        struct resources offer = plan_node_offer(n->plan);
        head_say(i, &(struct plan_node_action){.kind = PLAN_LEASE_HELD,
                                               .lease = a->lease,
                                               .epoch = a->epoch,
                                               .offer = &offer});
    }
}

static void dead_word(uint32_t i, uint64_t node)
{
    struct node *n = &sim.nodes[i];
    if (node == n->incarnation) {
        node_rejoin(i);
        return;
    }
    link_give_up(i, node_place(node), node);
    plan_node_peer_lost(n->plan, node, clock_of(n));
}

static void down_word(uint32_t i, const struct message *m)
{
    const struct plan_head_action *a = &m->down;
    struct node *n = &sim.nodes[i];
    if (a->kind == PLAN_LEASE) {
        lease_word(i, m);
    } else if (a->kind == PLAN_GRANT) {
        /* The planner knows itself by the name that it was born with. */
        uint64_t node = a->node == n->incarnation ? n->birth : a->node;
        mob_status s = plan_node_grant(n->plan, a->lease, a->epoch, a->job, a->cls, node,
                                       a->slots, clock_of(n));
        if (s == MOB_OK) {
            check_taken(a, i);
        }
        if (s != MOB_ERR_NOT_FOUND && s != MOB_ERR_STATE) { /* its job may be over */
            sim_must(s, "grant", i);
        }
    } else if (a->kind == PLAN_SYNCED) {
        plan_node_head_synced(n->plan, clock_of(n));
    } else if (a->kind == PLAN_HOLD) {
        struct plan_hold word;
        memcpy(&word, m->items, sizeof word);
        sim_must(plan_node_hold(n->plan, &word, clock_of(n)), "hold", i);
    } else if (a->kind == PLAN_GROUP) {
        struct plan_group_view view;
        memcpy(&view, m->items, sizeof view);
        group_told(i, &view);
    } else {
        dead_word(i, a->node);
    }
}

void head_word(const struct message *m)
{
    struct node *n = &sim.nodes[m->to];
    if (m->kind == WELCOME) {
        n->member = true;
        n->member_of = m->id;
        plan_node_head_up(n->plan, m->id, clock_of(n));
        group_say_all(m->to);
    } else if (m->kind == REFUSED) {
        node_rejoin(m->to);
    } else {
        down_word(m->to, m);
    }
}
