/* classes.c - what tasks of a job ask for: its classes, each with a place on the board.
 *
 * There are CLASSES_MAX places, and a class of a group is of no use when the group is gone. So its place is given back:
 *
 *   open --its group is removed--> closing --nothing of it is left--> free --a new class--> open, by another name
 *
 * Closing, it takes no new tasks (store/klass.h), and those that it has are ended with the group (group.c, demand.c).
 * It is left when
 *   - the planner has no slot, lease or grant of it (plan_node_class_end()), so no word of it waits for an answer,
 *   - no task of it is open on the board, and no thread makes one (klass_left()),
 *   - of a guest, no task that came has to be answered.
 * What its tasks made can never be made again: lineage_group_gone() saw to that.
 *
 * Each node does this for its own board, in its own time. Nodes speak of a class by what it asks for, in which is its
 * group, and groups have names that are never used again. With the head and the planner a class has a name besides
 * (plan_class_place()), that is never used again either. So a late word makes, at most, a class of a group that is not
 * there, which is closed at once. */
#include <string.h>

#include "cluster.h"
#include "core/status.h"
#include "store/klass.h"
#include "store/task.h"

#define LOOK_MIN_NS                                                                      \
    RESCAN_NS /* between looks at what is closing: each looks at all records */
#define LOOK_MAX_NS (1000000000ull)

static mob_status full(void)
{
    return status_fail(
        MOB_ERR_FULL,
        "the job has %d kinds of tasks, which differ in what they ask for (CPUs, memory, "
        "GPUs, resources, priority, strategy, labels, group), the most that it may have: "
        "let some ask for the same, rounded up for example, or remove groups",
        CLASSES_MAX);
}

/* What the board calls a class: its name, and never 0. */
static uint32_t word_of(const struct job *j, uint32_t c)
{
    return j->class_name[c] + 1;
}

static bool of_no_group(const struct job *j, const struct demand *d)
{
    return d->group && !group_find(j, d->group);
}

/* ---- made ------------------------------------------------------------------------------------------ */

/* A class in a place that has none, under a name. */
static mob_status open_class(struct job *j, uint32_t c, uint32_t name,
                             const struct demand *demand)
{
    MOB_TRY(plan_node_class_add(j->node->plan, job_plan_id(j), name, demand,
                                loop_now_ns(j->node->loop)));
    while (j->classes <= c) {
        j->no_class |= 1u << j->classes++;
    }
    j->no_class &= ~(1u << c);
    j->class_name[c] = name;
    j->demand[c] = *demand;
    j->unmet_ns[c] = 0;
    at_store(&j->board.classes[c].alert, j->inline_tasks ? 0 : 1, AT_RELAXED);
    klass_open(&j->board, c, demand, word_of(j, c));
    if (of_no_group(j, demand)) {
        job_close_classes(j, demand->group);
    }
    return MOB_OK;
}

/* Where a class is, or could be; CLASSES_MAX: nowhere. */
static uint32_t find_place(const struct demand *have, uint32_t count, uint32_t none,
                           const struct demand *demand)
{
    uint32_t at = count;
    for (uint32_t c = count; c-- > 0;) {
        if (none >> c & 1) {
            at = c;
        } else if (demand_equal(&have[c], demand)) {
            return c;
        }
    }
    return at;
}

static mob_status add_class(struct job *j, const struct demand *demand, uint32_t *ret)
{
    uint32_t c = find_place(j->demand, j->classes, j->no_class, demand);
    if (c == CLASSES_MAX) {
        return full();
    }
    if (!job_has_class(j, c)) {
        MOB_TRY(open_class(j, c, j->classes <= c ? c : j->class_name[c], demand));
    }
    *ret = c;
    return MOB_OK;
}

void job_sync_classes(struct job *j)
{
    const struct guest_key *k = j->guest->key;
    for (uint32_t c = 0; c < k->classes; c++) {
        if (!(k->no_class >> c & 1) && !job_has_class(j, c)) {
            (void)open_class(j, c, k->class_name[c], &k->demand[c]);
        }
    }
}

mob_status guest_key_class(struct guest_key *k, const struct demand *demand,
                           uint32_t *ret)
{
    uint32_t c = find_place(k->demand, k->classes, k->no_class, demand);
    if (c == CLASSES_MAX) {
        return full();
    }
    if (c == k->classes) {
        k->class_name[c] = c;
        k->classes++;
    }
    k->no_class &= ~(1u << c);
    k->demand[c] = *demand;
    *ret = c;
    return MOB_OK;
}

/* On another node than home a class may have come before its group did. */
static void open_again(struct job *j, uint32_t c)
{
    if (j->closing >> c & 1 && !of_no_group(j, &j->demand[c])) {
        j->closing &= ~(1u << c);
        klass_open(&j->board, c, &j->demand[c], word_of(j, c));
    }
}

mob_status job_add_class(struct job *j, const struct demand *demand, uint32_t *ret)
{
    if (j->guest) { /* a lease may have named classes before: numbered as the planner knows them */
        MOB_TRY(guest_key_class(j->guest->key, demand, ret));
        job_sync_classes(j);
    } else {
        MOB_TRY(add_class(j, demand, ret));
    }
    open_again(j, *ret);
    return job_has_class(j, *ret) ? MOB_OK : MOB_ERR_FULL;
}

/* ---- given back -------------------------------------------------------------------------------------- */

void job_close_classes(struct job *j, uint64_t group)
{
    for (uint32_t c = 0; c < j->classes; c++) {
        if (job_has_class(j, c) && j->demand[c].group == group) {
            klass_close(&j->board, c);
            j->closing |= 1u << c;
            j->closing_at = 0;
            j->closing_ns = LOOK_MIN_NS;
        }
    }
}

static bool is_left(struct job *j, uint32_t c, uint64_t now)
{
    const struct guest *g = j->guest;
    struct plan_class_view v = {0};
    bool busy = g && (g->open[c] || g->finished[c] || g->starts[c]);
    (void)plan_node_view(j->node->plan, job_plan_id(j), j->class_name[c], &v);
    busy = busy || j->start_failures[c] || j->gpu_waits[c] || v.starting || v.busy ||
           v.idle || v.lent || v.resuming || v.leased || v.away;
    if (busy || task_ready_count(&j->board, c) > 0 || now < j->closing_at) {
        return false;
    }
    if (!klass_left(&j->board, c, word_of(j, c))) {
        j->closing_at = now + j->closing_ns; /* it costs a look at all records */
        j->closing_ns *= j->closing_ns < LOOK_MAX_NS ? 2 : 1;
        return false;
    }
    return true;
}

/* Its place may be another's, by the next name. False: the names of the place are used up, or the planner has something of
 * it yet. */
static bool free_class(struct job *j, uint32_t c)
{
    struct guest_key *k = j->guest ? j->guest->key : NULL;
    if (j->class_name[c] >= UINT32_MAX - CLASSES_MAX ||
        plan_node_class_end(j->node->plan, job_plan_id(j), j->class_name[c],
                            loop_now_ns(j->node->loop)) == MOB_ERR_STATE) {
        return false;
    }
    j->closing &= ~(1u << c);
    j->no_class |= 1u << c;
    j->class_name[c] += CLASSES_MAX;
    j->demand[c] = (struct demand){0};
    if (k) {
        k->no_class |= 1u << c;
        k->class_name[c] = j->class_name[c];
        k->demand[c] = (struct demand){0};
    }
    return true;
}

static void look_later(struct loop_timer *timer)
{
    job_refresh(LOOP_OWNER(timer, struct job, class_timer));
}

void job_look_at_classes(struct job *j)
{
    uint64_t now = loop_now_ns(j->node->loop);
    bool any = false;
    for (uint32_t c = 0; c < j->classes && j->closing; c++) {
        open_again(j, c);
        any |= (j->closing >> c & 1) && is_left(j, c, now) && free_class(j, c);
    }
    if (any) {
        group_wake(j); /* who waits for a place asks again */
        gang_class_free(j);
    }
    if (j->closing && !j->class_timer.active) {
        loop_timer_start(j->node->loop, &j->class_timer, now + j->closing_ns, look_later);
    }
}

/* Somebody waits for a place. */
static void hurry(struct job *j)
{
    j->closing_ns = LOOK_MIN_NS;
    loop_timer_start(j->node->loop, &j->class_timer,
                     loop_now_ns(j->node->loop) + LOOK_MIN_NS, look_later);
}

bool job_class_place(struct job *j)
{
    const struct guest_key *k = j->guest ? j->guest->key : NULL;
    uint32_t count = k ? k->classes : j->classes, none = k ? k->no_class : j->no_class;
    if (count < CLASSES_MAX || none) {
        return true;
    }
    if (j->closing) {
        hurry(j);
    }
    return false;
}

void guest_key_tidy(struct cluster *c, struct guest_key *k)
{
    uint64_t now = loop_now_ns(c->node->loop);
    if (k->job && !k->job->ended) {
        job_sync_classes(k->job);
        job_look_at_classes(k->job);
    }
    for (uint32_t i = 0; i < k->classes && !k->job; i++) {
        if (!(k->no_class >> i & 1) && k->demand[i].group &&
            k->class_name[i] < UINT32_MAX - CLASSES_MAX &&
            plan_node_class_end(c->node->plan, k->ours, k->class_name[i], now) !=
                MOB_ERR_STATE) {
            k->no_class |= 1u << i;
            k->class_name[i] += CLASSES_MAX;
            k->demand[i] = (struct demand){0};
        }
    }
}

/* ---- asked for ------------------------------------------------------------------------------------------ */

void job_class(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job;
    uint32_t class = 0;
    struct demand demand;
    mob_status st = MOB_ERR_PROTOCOL;
    if (m->text_size == sizeof demand) {
        memcpy(&demand, m->text, sizeof demand);
        st = demand_ok(&demand) ? demand_check(j, &demand) : st;
    }
    st = st == MOB_ERR_PROTOCOL ? status_fail(st, "a malformed demand") : st;
    st = st ? st : job_add_class(j, &demand, &class);
    if (st == MOB_ERR_FULL && j->closing) {
        job_look_at_classes(j);
        st = job_add_class(j, &demand, &class);
    }
    bool later = st == MOB_ERR_FULL && j->closing; /* a place comes free by and by */
    if (st && !later) {
        conn_deny(c, m->op, st);
        return;
    }
    local_msg_init(m, LOCAL_CLASS);
    m->arg[0] = class;
    m->arg[1] = later ? 0 : word_of(j, class);
    if (later) {
        hurry(j);
    }
    conn_reply(c, m, NULL, 0);
}
