/* status.h - mobula status: what its files share.
 *   status.c          the cluster and the jobs of this node     status_verbose.c  -v     status_group.c  its groups */
#ifndef TOOLS_MOBULA_STATUS_H
#define TOOLS_MOBULA_STATUS_H

#include "common/table.h"
#include "common/tool.h"

/* One table of what all jobs of a node have of one kind, from the array @key of each job; `key_count`
 * beside it says how many there are where only some are told. Nothing is printed if there are none. */
struct status_list {
    const char *key;
    const struct table_column *columns;
    unsigned columns_count;
    void (*row)(struct table *t, const json_t *job, const json_t *item);
};
void status_print_list(const json_t *jobs, const struct status_list *list);

/* Asks the nodes of an answer, or the one with the id @only, about their jobs. Some may not answer: then
 * their place in the list has `error`. */
json_t *status_details(struct tool_node *daemon, const json_t *root, const char *only);
void status_print_groups(const json_t *jobs);
void status_print_details(const json_t *root, const json_t *details);
/* Which CPUs a node's workers are pinned to, or why they are not. */
void status_print_pins(const json_t *node);

#endif
