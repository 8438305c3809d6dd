/* inspect.h - storectl's questions, inside the daemon.
 *
 *   inspect.c      requests, figures            inspect_object.c  objects put and removed by hand
 *   ask.c          questions of other nodes     checker.c         the child that checks all boards */
#ifndef NODE_INSPECT_H
#define NODE_INSPECT_H

#include <jansson.h>

#include "cluster.h"
#include "look/look.h"

#define ASK_WAIT_NS (60000000000ull) /* for another node's answer */
#define ASK_TEXT_MAX 4096u           /* a request */
#define CHECKER_NS (120000000000ull) /* for a child that checks */

/* Who waits for an answer: a local connection, or another node and its name for the question. */
struct asker {
    struct conn *conn;
    struct peer *peer;
    uint64_t cookie;
};

/* ---- inspect.c ---- */
void inspect_request(struct node *n, struct asker a, const char *words, size_t size);
json_t *inspect_answer(struct node *n, const json_t *ask);
/* Who asked is gone: what waits for an answer to him goes too. */
void inspect_asker_gone(struct node *n, const struct conn *c, const struct peer *p);
/* The job that a request names, or NULL with what status_fail() said. */
struct job *inspect_job(const struct node *n, const json_t *ask);
/* The boards as look/ sees them; returns how many. */
unsigned inspect_jobs(struct node *n, struct look_job jobs[JOBS_MAX]);

/* ---- inspect_object.c ---- */
json_t *inspect_rm(struct node *n, const json_t *ask);
/* Answers when the file is read. */
void inspect_put(struct conn *c, const json_t *ask);

/* ---- ask.c ---- */
/* Sends the answer, malloc'd, or why there is none. */
void asker_reply(struct node *n, struct asker a, mob_status st, char *text);
void ask_forward(struct node *n, struct asker a, uint64_t node, json_t *ask);

/* ---- checker.c ---- */
/* A child answers, from all boards. */
void checker_start(struct node *n, struct asker a, const json_t *ask);
void checker_asker_gone(struct node *n, const struct conn *c, const struct peer *p);

#endif
