/* status.h - what the daemon tells of itself. */
#ifndef NODE_STATUS_H
#define NODE_STATUS_H

#include <mobula.h>
#include <stdbool.h>

#include "local.h"

struct codec_reader;
struct conn;
struct demand;
struct job;
struct json_t;
struct node;

/* ---- status.c ---- */
void status_reply(struct conn *c, struct local_msg *m);
void status_info(struct conn *c, struct local_msg *m);
/* Which cluster this node is of. */
void status_cluster(struct conn *c, struct local_msg *m);
/* The node alone, in one line of JSON, malloc'd; NULL if there is no memory. */
char *status_node_text(struct node *n);

/* ---- json.c: answers as JSON; the daemon's texts may come from clients ---- */
/* Answers with @root, whose reference goes. */
void json_reply(struct conn *c, uint32_t op, struct json_t *root);
/* Adds which CPUs workers are pinned to, or why they are not. */
void status_pins(const struct node *n, struct json_t *o);
/* All jobs here; the messages about leases. Of the last census. */
struct json_t *status_jobs(const struct node *n);
struct json_t *status_words(const struct node *n);
/* Adds the groups of a job; and to a class of tasks in which they run. */
void status_groups(const struct job *j, struct json_t *o);
void status_class_group(const struct demand *demand, struct json_t *o);
/* The records of a job by phase, as of the last census. */
struct json_t *json_phases(const struct job *j);

/* ---- inspect.c ---- */
void inspect_reply(struct conn *c, struct local_msg *m);
/* The connection is going. */
void inspect_conn_gone(struct conn *c);
/* The node stops: its children too. */
void checker_stop(struct node *n);
/* The head's answer. False: malformed. */
bool status_text(struct node *n, struct codec_reader *r);
/* The head will not answer what it was asked. */
void status_head_lost(struct node *n);
/* Tasks that ended in the job's processes here, its places' earlier ones among them. */
uint64_t status_tasks_done(const struct job *j);
/* Tasks that run on this node now. */
uint32_t status_tasks(const struct node *n);
/* The connection is going. */
void status_drop(struct conn *c);

#endif
