/* start.h - the parts of `mobula start`: start.c begins the daemon and waits for it, start_key.c finds
 * the cluster's key for it, start_show.c says what came of it. */
#ifndef TOOLS_START_H
#define TOOLS_START_H

#include "mobula_tool.h"
#include "transport/key.h"

enum { ARGS_MAX = 64 }; /* to the daemon */

struct start {
    char *args[ARGS_MAX + 1]; /* the daemon's */
    unsigned count;
    bool block, head, clustered;
    bool encrypt, unchecked; /* for the next machine's line, too */
    struct key_source key_source;
    struct key key; /* of a node in a cluster */
    int key_pipe;   /* where the daemon reads it, or -1 */
    pid_t pid;
    int ready; /* what the daemon says */
    int signals;
};

/* Finds the key, and makes the pipe from which the daemon reads it. A head makes a key where there
 * is none. MOB_ERR_KEY, MOB_ERR_SYSTEM. */
mob_status start_key(struct start *s);

/* Prints what @node, the daemon's JSON, says about itself, and for a head the lines to type on the
 * next machine. */
void start_show(const struct start *s, const json_t *node);

#endif
