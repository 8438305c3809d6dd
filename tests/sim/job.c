/* job.c - a driver: submits its graph as records come free, and sees each result once. */
#include <stdlib.h>

#include "sim.h"

/* Its record, which must be there: an argument is not freed before who takes it is done. */
static struct task *record_of(struct job *j, uint32_t index)
{
    uint32_t at = j->record[index];
    if (at == NONE || sim.tasks[at].phase == FREE || sim.tasks[at].index != index) {
        sim_fail("an object that is in use is gone", j->home);
    }
    return &sim.tasks[at];
}

void job_use(struct job *j, int64_t units)
{
    j->used += j->running * (sim.now - j->used_at);
    j->used_at = sim.now;
    j->running += (uint64_t)units;
}

/* The tasks of one group come before those of the next. */
static uint32_t round_end(const struct job *j)
{
    return j->groups ? (j->round + 1) * j->graph.count / j->groups : j->graph.count;
}

static void submit_one(struct job *j, uint32_t index)
{
    uint32_t with[EDGES_MAX], args = graph_edges(&j->graph, index, false, with);
    uint32_t at = task_new(j->home, j->board, graph_class(j, index));
    struct task *t = &sim.tasks[at];
    uint64_t begins = 0;
    t->index = index;
    t->time_us = graph_time_us(j, index);
    t->refs = 1 + graph_edges(&j->graph, index, true, (uint32_t[EDGES_MAX]){0});
    j->record[index] = at;
    j->records++;
    for (uint32_t i = 0; i < args; i++) {
        t->missing += record_of(j, with[i])->phase != DONE;
        uint64_t end = j->finish[with[i]];
        begins = begins > end ? begins : end;
    }
    uint64_t ns = t->time_us * NS_PER_US;
    if (j->finish) {
        j->finish[index] = begins + ns;
    }
    j->path = j->path > begins + ns ? j->path : begins + ns;
    j->work[t->cls] += ns;
    if (t->missing == 0) {
        task_queued(at);
    }
}

static void submit(struct job *j)
{
    uint32_t before = j->submitted;
    while (j->submitted < round_end(j) && j->records < WINDOW) {
        submit_one(j, j->submitted++);
    }
    for (uint32_t cls = 0; cls < j->classes && j->submitted > before; cls++) {
        board_kick(j->home, j->board, cls);
    }
}

static void over(struct job *j)
{
    group_end(j);
    j->over = true;
    j->ended_at = sim.now;
    free(j->record);
    free(j->finish);
    j->record = NULL;
    j->finish = NULL;
}

void job_dead(struct job *j)
{
    j->dead = true;
    if (!j->over) {
        over(j);
    }
}

static void drop_ref(struct job *j, uint32_t index)
{
    struct task *t = record_of(j, index);
    if (--t->refs > 0) {
        return;
    }
    task_free(j->record[index]);
    j->record[index] = NONE;
    j->records--;
}

void job_result(uint32_t at)
{
    const struct task *t = &sim.tasks[at];
    uint32_t node = t->node, board = t->board, index = t->index, with[EDGES_MAX];
    struct job *j = &sim.jobs[sim.nodes[node].boards[board].job];
    if (j->seen[index / 8] & 1u << index % 8) {
        sim_fail("a task has two visible results", node);
    }
    j->seen[index / 8] |= (uint8_t)(1u << index % 8);
    sim.nodes[node].bytes += j->arg_bytes;
    j->left--;
    sim.done++;
    bool ready[CLASSES] = {false};
    uint32_t count = graph_edges(&j->graph, index, true, with);
    for (uint32_t i = 0; i < count; i++) {
        if (with[i] < j->submitted) {
            struct task *next = record_of(j, with[i]);
            if (--next->missing == 0) {
                ready[next->cls] = true;
                task_queued(j->record[with[i]]);
            }
        }
    }
    count = graph_edges(&j->graph, index, false, with);
    for (uint32_t i = 0; i < count; i++) {
        drop_ref(j, with[i]);
    }
    drop_ref(j, index);
    for (uint32_t cls = 0; cls < j->classes; cls++) {
        if (ready[cls]) {
            board_kick(node, board, cls);
        }
    }
    if (j->left == 0) {
        over(j);
        board_end(node, board);
    } else {
        if (j->left ==
            j->graph.count - round_end(j)) { /* another group takes its place */
            group_end(j);
            j->round++;
            group_begin(j);
        }
        submit(j);
    }
}

void job_ends_soon(struct job *j)
{
    if (!j->ends) {
        j->ends = true;
        sim_after(EV_ENDS, j->home, 10 * NS_PER_US, (uint32_t)(j - sim.jobs), 0, 0);
    }
}

/* Its group was removed: what is queued here and runs here ends; what is elsewhere ends there, and the rest when it
 * is queued. */
static void end_tasks(struct job *j)
{
    uint32_t round = j->round,
             first = round * j->graph.count / (j->groups ? j->groups : 1);
    const struct group *g = group_now(j);
    for (uint32_t i = first; !j->over && j->round == round && !g->wanted &&
                             i < j->submitted && i < round_end(j);
         i++) {
        uint32_t at = j->record[i];
        if (at != NONE &&
            (sim.tasks[at].phase == QUEUED || sim.tasks[at].phase == RUNNING)) {
            task_end(at);
        }
    }
}

void job_event(struct event *e)
{
    struct job *j = &sim.jobs[e->a];
    struct node *n = &sim.nodes[j->home];
    if (j->over) {
        return;
    }
    if (e->kind == EV_STOP) { /* its program ends, whatever is left */
        if (sim.o.rivals) {
            check_shares();
        }
        over(j);
        if (j->arrived) {
            board_end(j->home, j->board);
        }
        return;
    }
    if (e->kind == EV_ENDS) {
        j->ends = false;
        end_tasks(j);
        return;
    }
    if (e->kind == EV_REMOVE) {
        if (j->round == e->b && group_now(j)->wanted) {
            group_end(j);
            end_tasks(j);
        }
        return;
    }
    j->arrived = true;
    bool edges = j->graph.steps > 1;
    j->record = malloc(j->graph.count * sizeof *j->record);
    j->finish = edges ? malloc(j->graph.count * sizeof *j->finish) : NULL;
    if (!j->record || (edges && !j->finish)) {
        sim_fail("no memory for a job", j->home);
    }
    struct board *b = board_new(j->home, e->a, &j->board);
    b->open = true;
    b->owner = j->home;
    b->key = (struct plan_job){n->birth, b->serial};
    sim_must(plan_node_job_add(n->plan, b->key, j->weight, clock_of(n)), "job", j->home);
    for (uint32_t cls = 0; cls < j->classes && !j->groups; cls++) {
        klass_add(j->home, j->board, cls);
    }
    group_begin(j);
    submit(j);
}
