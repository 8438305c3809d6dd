/* storectl.h - what the commands of storectl share.
 *
 *   storectl.c  the command line        source.c   nodes, asked through their daemons
 *   direct.c    boards of a daemon that does not answer, mapped read-only
 *   ls.c        ls                      show.c     show, why
 *   stat.c      stat, top               leaks.c    leaks
 *   verify.c    verify                  bytes.c    get, put, rm
 *   room.c      spill, evict */
#ifndef STORECTL_H
#define STORECTL_H

#include "common/tool.h"

#define NODES_MAX 16384     /* as core/limits.h */
enum { TOOL_PROBLEMS = 3 }; /* exit status of verify that found something */

struct settings {
    const char *dir, *node, *sort, *columns;
    bool json, data, direct;
    uint64_t limit; /* 0: all */
    uint64_t older_ms, delay_ms, count;
    uint64_t job; /* 0: not said */
    json_t *filter;
    const char *words[8]; /* that are neither options nor filters */
    unsigned words_count;
};

/* ---- source.c ------------------------------------------------------------------------------------------ */

struct direct;
struct source {
    struct tool_node daemon;
    bool connected;
    struct direct *direct; /* instead, if it does not answer */
    json_t *nodes;         /* [{id, host}], this one first */
};

/* Finds the node on this machine, and those of its cluster that are meant. Says on standard error that a
 * daemon does not answer. */
mob_status source_open(const struct settings *s, struct source *ret);
void source_close(struct source *src);
/* Asks node @i of src->nodes. Takes the reference of @ask. */
mob_status source_ask(struct source *src, size_t i, json_t *ask, json_t **ret);
/* The place of a node in src->nodes by its id. MOB_ERR_NO_NODE. */
mob_status source_find(const struct source *src, uint64_t id, size_t *ret);
const char *source_host(const struct source *src, size_t i);
bool source_many(const struct source *src);

/* Asks node @i page by page until @page says no or all are there. @ask: without a place to go on; stays
 * the caller's. False from @page ends it. */
typedef bool (*source_page)(void *arg, size_t node, json_t *answer);
mob_status source_pages(struct source *src, size_t i, const json_t *ask, source_page page,
                        void *arg);
/* The same for all nodes; those that fail are said on standard error. @ret_failed: how many. */
void source_all(struct source *src, const json_t *ask, source_page page, void *arg,
                unsigned *ret_failed);
/* {"what": @what, "filter": ..., "job": ...} of the settings. */
json_t *source_request(const struct settings *s, const char *what);

/* ---- direct.c ------------------------------------------------------------------------------------------ */

/* Maps the boards of process @pid. MOB_ERR_NO_NODE: it is no daemon of ours. */
mob_status direct_open(pid_t pid, struct direct **ret);
void direct_close(struct direct *d);
json_t *direct_answer(struct direct *d, const json_t *ask);
uint64_t direct_node(const struct direct *d);
/* Whether a signal has stopped the process. */
bool direct_stopped(pid_t pid);

/* ---- the commands ---------------------------------------------------------------------------------------- */

int run_ls(struct source *src, const struct settings *s);
int run_show(struct source *src, const struct settings *s);
int run_why(struct source *src, const struct settings *s);
int run_stat(struct source *src, const struct settings *s);
int run_top(struct source *src, const struct settings *s);
int run_leaks(struct source *src, const struct settings *s);
int run_verify(struct source *src, const struct settings *s);
int run_get(struct source *src, const struct settings *s);
int run_put(struct source *src, const struct settings *s);
int run_rm(struct source *src, const struct settings *s);
int run_spill(struct source *src, const struct settings *s);
int run_evict(struct source *src, const struct settings *s);

/* ---- shared pieces ---------------------------------------------------------------------------------------- */

/* The object that the first word names: its node, and {job, link} in a request for @what. */
mob_status object_request(const struct source *src, const struct settings *s,
                          const char *what, size_t *ret_node, json_t **ret);
/* All uses of an object, as look.h has them. */
json_t *object_uses(struct source *src, size_t node, const json_t *show);
/* "3m", "2.5h": an age as people say it. */
char *age_text(uint64_t ms, char *buf, size_t size);

#endif
