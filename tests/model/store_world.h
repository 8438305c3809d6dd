/* store_world.h - a small store for the scenarios of store/: a board of four records, a lane for the
 * daemon and for each of three processes, and what must hold after each step and at each end.
 *
 * Process i of a scenario is process i + 1 of the board. */
#ifndef STORE_WORLD_H
#define STORE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "model.h"
#include "store/task.h"

enum { DRIVER = 1, WORKER = 2, OTHER = 3, LANES = 4, RESULT = 77 };

extern struct store_world {
    struct board board;
    struct lane lane[LANES];
    uint64_t x, y, z;    /* links of the tasks of the scenario, 0: none */
    uint64_t third;      /* the driver's that hangs on x too */
    uint64_t reused;     /* OTHER's, in a record used again */
    struct record *mine; /* the task that the worker has TAKEN from the start */
    struct record *others;
    uint64_t parent_of_others; /* the only task that submits one */
    uint32_t owner; /* of the places; after its death their counts are bounds */
    unsigned places_freed[LANES], places_made[LANES];
    unsigned runs[LANES];             /* attempts that were sealed */
    uint64_t last[BOARD_RECORDS_MAX]; /* state words after the last step */
    bool again;                       /* sweep_rescan() said so */
    bool may_take_back;               /* a DEAD record may become CLOSED again */
    uint64_t pinned;                  /* a link that the reader has pinned */
} world;

/* A fresh board. */
void world_setup(void);

/* The same with world.x, submitted by the driver and taken by the worker. */
void world_setup_taken(void);

/* For a process of the board. @arg: a link that the task takes, or 0. claim(): NULL if no task is
 * ready. */
uint64_t world_submit(uint32_t by, uint64_t arg, uint64_t parent);
uint64_t world_submit_both(uint32_t by, uint64_t first, uint64_t second);
struct record *world_claim(uint32_t by);
void world_seal(uint32_t by, struct record *r);
bool world_died(uint32_t process);

/* After each step: generations and phases only go forward, and DEAD records have one reclaimer. */
void world_forward(void);

/* What the daemon does for a dead process of the scenario; then another runs what is ready. */
void world_sweep(unsigned dead);
void world_sweep_and_run(unsigned dead);

/* The end of each execution: runs what is ready, drops all handles, lets the daemon audit, and then
 * every record must be free and every place must have been freed once: that is "nothing lost,
 * nothing freed twice". Without a death settle_exactly() finds that no count was wrong. */
void world_settle(void);
void world_settle_exactly(void);

#endif
