/* census.c - how many records of each job are at what.
 *
 * Nobody counts while tasks flow: that would be a shared counter on their path. Who asks has the records
 * walked, a slice in each turn of the loop, so that the daemon serves others meanwhile however many there are.
 * One walk is enough for all who ask while it runs: what they get is as old as the walk is long. */
#include "node.h"
#include "store/task.h"

/* Records in a turn. Each is a cache line that is far away: some 0.1 us, so less than 1 ms. */
enum { CENSUS_SLICE = 8192 };

static void count(const struct job *j, struct job_census *t, const struct record *r)
{
    static const uint8_t rows[PHASE_RETIRED + 1] = {[PHASE_WAITING] = CENSUS_WAITING + 1,
                                                    [PHASE_QUEUED] = CENSUS_QUEUED + 1,
                                                    [PHASE_TAKEN] = CENSUS_RUNNING + 1};
    uint64_t s = at_load(&r->state, AT_RELAXED);
    enum phase phase = state_phase(s);
    if (phase > PHASE_RETIRED) {
        return; /* a broken job may have written anything */
    }
    t->phases[phase]++;
    struct call call = record_call(r);
    uint32_t row = rows[phase], cls = call_class(&call);
    if (cls < j->classes && j->demand[cls].together &&
        !(call_options(&call) & CALL_FOREIGN)) {
        return; /* a gang's seat: its members are counted */
    }
    if (row && call.fn != CALL_PUT && cls < CLASSES_MAX) {
        row += row == CENSUS_RUNNING + 1 && state_holder(s) == DAEMON;
        t->tasks[cls][row - 1]++;
    }
}

static void done(struct node *n)
{
    struct census_wait *w;
    n->census.runs = false;
    while ((w = n->census.waits)) {
        n->census.waits = w->next;
        w->waits = false;
        w->done(w);
    }
}

static void step(struct loop_timer *timer)
{
    struct node *n = LOOP_OWNER(timer, struct node, census.timer);
    struct census *c = &n->census;
    uint32_t left = CENSUS_SLICE;
    for (; c->job < JOBS_MAX && left; c->job++, c->record = 0) {
        struct job *j = n->jobs[c->job];
        uint32_t records = j && !j->ended ? board_committed(&j->board) : 0;
        if (records && (c->record == 0 || c->number != j->number)) {
            c->record = 0;
            c->number = j->number;
            j->census = (struct job_census){0};
        }
        for (; c->record < records && left; left--) {
            count(j, &j->census, &j->board.records[c->record++]);
        }
        if (c->record < records) {
            break;
        }
    }
    if (c->job < JOBS_MAX) { /* the others' turn is the next one of the loop */
        loop_timer_start(n->loop, timer, loop_now_ns(n->loop), step);
    } else {
        done(n);
    }
}

void census_take(struct node *n, struct census_wait *w,
                 void (*told)(struct census_wait *w))
{
    w->done = told;
    w->waits = true;
    w->next = n->census.waits;
    n->census.waits = w;
    if (!n->census.runs) {
        n->census.runs = true;
        n->census.job = n->census.record = 0;
        loop_timer_start(n->loop, &n->census.timer, loop_now_ns(n->loop), step);
    }
}

void census_forget(struct node *n, struct census_wait *w)
{
    struct census_wait **at = &n->census.waits;
    while (*at && *at != w) {
        at = &(*at)->next;
    }
    if (*at) {
        *at = w->next;
        w->waits = false;
    }
}
