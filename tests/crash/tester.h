/* tester.h - what the testers of this folder share: a seed, a folder, a word of failure, nodes that
 * they start, and what those say of themselves.
 *
 * MOB_TEST_SEED repeats the decisions of a run (the moments are up to the machine), MOB_TEST_FULL=1
 * asks for the long variant, MOB_TEST_HOLD=SECONDS stands still on failure, for a debugger. */
#ifndef TESTS_TESTER_H
#define TESTS_TESTER_H

#include <jansson.h>

#include "procs.h"
#include "store/board.h"

enum {
    GONE_MS = 1000,      /* what is promised for what a killed driver leaves */
    PROGRESS_MS = 60000, /* for one round of work; far more than it takes */
    PATIENCE_MS = 20000  /* for what should come at once, on a slow machine */
};

struct tester {
    const char *name, *unit; /* "crash", "kills" */
    char folder[40];         /* of this run; removed at its end */
    uint64_t seed;
    bool full;
    unsigned done; /* units, for what is said on failure */
};
extern struct tester tester;

/* First of all. Finds no node of the machine from here on, and takes descendants whose parents end. */
void tester_begin(const char *name, const char *unit);
uint64_t tester_dice(uint64_t sides);
/* Says what happened, with seed and count, and ends the run; all children end with it. */
void broken(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* The end of a run that went well: no descendant may be left. */
void tester_end(void);

/* ---- nodes -------------------------------------------------------------------------------------- */

#define DAEMON_OPTIONS_MAX 8
#define CLUSTER_PORT 6379

/* Starts a daemon in a folder, with options up to a NULL; waits until it answers; or both. */
struct kid daemon_launch(const char *mobulad, const char *dir,
                         const char *const *options);
void daemon_await(const struct kid *daemon, const char *dir);
struct kid daemon_start(const char *mobulad, const char *dir, const char *const *options);
/* Asks it to end, as people do: it must end well, and its folder be gone. */
void daemon_stop(struct kid *daemon, const char *dir);
/* It must be there. */
void daemon_check(const struct kid *daemon);

/* An address of the loopback's that no other test has, so that CLUSTER_PORT is free there. */
void tester_host(char *buf, size_t size);
/* Makes a cluster's key, and gives the option that names it. */
void tester_key(char *buf, size_t size);

/* A driver of crash_load on the node in @dir, or with an embedded one if NULL. */
struct kid load_start(const char *load, const char *dir);

/* What a node says, as the command line asks it. NULL: it does not answer. */
json_t *node_status(const char *dir);
/* The same; it must answer. */
json_t *node_tells(const char *dir);
uint64_t status_number(const json_t *status, const char *key);

/* Maps the boards that a daemon has now, @max at most; board_unmap() each. */
size_t boards_map(pid_t daemon, struct board *ret, size_t max);

#endif
