/* conn.h - a local connection; conn.c. */
#ifndef NODE_CONN_H
#define NODE_CONN_H

#include <stdbool.h>
#include <sys/types.h>

#include "census.h"
#include "core/loop.h"
#include "local.h"

struct job;
struct node;
struct peer;
struct put;

struct conn {
    struct node *node;
    struct loop_op op;
    int sock;
    enum local_role role;
    bool greeted, closing, again;
    bool silent; /* it came by the node's socket, and has said nothing yet */
    uint64_t since_ns;
    pid_t pid;
    struct job *job; /* once greeted as driver or worker */
    uint32_t proc;   /* likewise */
    char *answer;    /* of LOCAL_STATUS and LOCAL_STORE, until it is sent to its end */
    size_t answer_at;
    uint64_t cookie; /* of the question to the head that it waits for, or 0 */
    struct loop_timer timer;
    struct census_wait census;
    char *told; /* what the head has said of it so far */
    size_t told_size;
    struct peer *asked; /* NULL: the head, about the cluster; else about its store */
    struct put *put;    /* a file that becomes an object for it; or NULL */
    struct conn *next, *prev;
};

/* Connections that have said nothing yet: so many at once. Beyond it others wait in the kernel, until some
 * have spoken or were silent for so long that they are dropped. */
#define CONNS_SILENT_MAX 256
#define CONN_SILENT_NS 2000000000ull

/* Takes over a connected socket. @ret NULL: one that came by the node's own socket. */
mob_status conn_open(struct node *node, int sock, struct conn **ret);
/* Closes those that are silent for too long, if there is no room for more. True: there is room. */
bool conns_room(struct node *n);
/* Closes it as soon as its watch has ended; `c` is gone some time after. */
void conn_close(struct conn *c);
void conn_reply(struct conn *c, struct local_msg *m, const int *fds, unsigned count);
/* Sends the first part of a text, which is malloc'd and the connection's from here on, or the next
 * part of the text that was begun if @text is NULL. */
void conn_answer(struct conn *c, uint32_t op, char *text);
/* Answers @op with what status_fail() said. */
void conn_deny(struct conn *c, uint32_t op, mob_status st);

#endif
