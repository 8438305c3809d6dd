/* scene.h - a node in this process with one job; somebody else's objects and pins on its board; and a
 * client that is stopped between two instructions and could be dead.
 *
 * The daemon is the real one, driven by hand. The job's driver is the keeper: a lane of process 1 with
 * objects that the client may read, use and release, and that its death must not harm.
 *
 * What the daemon would do if the client were dead now is done on a copy: a fork()ed child maps the
 * board privately, so that neither the client nor the next look sees anything of it, and has the
 * daemon's tables, lanes and accounts as they are at this moment. One scene at a time, one thread. */
#ifndef TESTS_STEP_SCENE_H
#define TESTS_STEP_SCENE_H

#include "node_world.h"
#include "store/sweep.h"
#include "store/task.h"

enum {
    KEEPER = 1,
    CLIENT_OF_STORE = 200, /* a process index that the daemon gives nobody soon */
    KEEPER_OBJECTS = 3,
    KEEPER_SEGMENT = 8000, /* numbers that the daemon gives nobody soon */
    CLIENT_SEGMENT = 8001,
    SCENE_SEGMENT_BYTES = 4 << 20
};

/* The keeper's objects: all are held, one is pinned. */
enum { SMALL_OBJECT, LARGE_OBJECT, UNSEALED_OBJECT };

struct scene {
    struct world world;
    struct job *job;
    /* Of the tasks that the clients run: of the library's, and of the other one, for which the daemon
     * starts no workers. UNSEALED_OBJECT is of neither. */
    uint32_t class, store_class;
    uint32_t usual_class; /* of one CPU: of tasks that the library's client submits */
    struct lane keeper;
    uint64_t objects[KEEPER_OBJECTS]; /* links */
    uint64_t task;      /* the client's, that the keeper holds; or LINK_NONE */
    uint64_t next_task; /* the one that it claims behind it, likewise */
    uint64_t pin;
    void *keeper_base;     /* its segment, mapped */
    uint32_t keeper_frees; /* of LARGE_OBJECT */
};
extern struct scene scene;

/* @program: what the job's workers run. */
void scene_make(const char *program);
void scene_end(void);
/* What the daemon has to do now. */
void scene_turn(void);
/* A segment for a process, as if the daemon had granted it and the process had committed it. */
void scene_grant(uint32_t segment, uint32_t owner, void **ret_base);
/* Publishes a task for the job's workers with one argument; the daemon hears of it only if @tell. */
uint64_t scene_task(uint32_t class, const char *function, const void *arg, size_t size,
                    bool tell);
/* The keeper runs what is ready in a class, and fails what was cancelled. */
void scene_run_ready(uint32_t class);
/* The keeper lets go of an id, and of what was freed with it. */
void scene_drop(uint64_t link);

/* ---- what the client changed -------------------------------------------------------------------- */

/* Remembers the board as it is. @process: the client. */
void watch_begin(uint32_t process);
/* True if it differs from what is remembered, in the parts that small operations write; remembers
 * that. */
bool watch_changed(void);
/* Cache lines that were changed since watch_begin(): the client's own (its records, ledgers and entry
 * among the processes), and those that others write too. */
struct watch_lines {
    uint32_t own, shared;
    size_t last_shared; /* its offset on the board */
};
struct watch_lines watch_lines(void);
/* The other parts are as they were. */
bool watch_rest_same(void);

/* ---- if it were dead now ------------------------------------------------------------------------ */

enum { VERDICT_TEXT = 512 };
/* Sweeps a copy, with a mutant (0: none), and looks for all that must hold then. False: something does
 * not, and @ret_why says what. */
bool death_ends_well(uint32_t process, int mutant, char ret_why[VERDICT_TEXT]);

/* ---- mutants.c: steps of the sweep that can be left out ----------------------------------------- */

extern int mutant_now; /* in effect; 0: none */
int mutants_count(void);
const char *mutant_name(int mutant); /* 1 to mutants_count() */
bool mutant_stays(int mutant);       /* in effect after the sweep too */

#endif
