/* census.h - how many records are at what; census.c. */
#ifndef NODE_CENSUS_H
#define NODE_CENSUS_H

#include <stdbool.h>

#include "core/loop.h"
#include "store/board.h"

struct node;

enum census_row {
    CENSUS_WAITING,
    CENSUS_QUEUED,
    CENSUS_RUNNING,
    CENSUS_AWAY,
    CENSUS_ROWS
};
struct job_census { /* as of the last walk over the job's board */
    uint64_t phases[PHASE_RETIRED + 1];
    uint64_t tasks[CLASSES_MAX][CENSUS_ROWS];
};
struct census_wait { /* in whoever asks */
    struct census_wait *next;
    void (*done)(struct census_wait *w);
    bool waits;
};
struct census {
    struct loop_timer timer;
    struct census_wait *waits;
    bool runs;
    uint32_t job, number, record; /* where the walk is */
};
/* Calls @told in a later turn, when all boards were walked. @w waits for nothing else. */
void census_take(struct node *n, struct census_wait *w,
                 void (*told)(struct census_wait *w));
/* Who asked goes. */
void census_forget(struct node *n, struct census_wait *w);

#endif
