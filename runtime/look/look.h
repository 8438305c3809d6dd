/* look.h - what is on a node's boards, as JSON.
 *
 * For the daemon that is asked, and for storectl, which maps the boards of a daemon that does not
 * answer. It reads only. Boards are written by clients: nothing that is read from one is believed
 * before it is checked, and every walk is bounded.
 *
 * A request is JSON with "what":
 *   ls      {job, record, filter}    objects from record R of job J on: {objects, next: {job, record} or null}
 *   sums    {job, record, filter}    the same objects, added up: {groups, next}
 *   show    {job, link}              one object with pins, parent and arguments: {object}
 *   uses    {job, link, record}      who uses it, from a record on: {uses, next: {record} or null}
 *   bytes   {job, link, offset}      {data: base64, size}
 *   boards  {}                       what the boards say of their jobs: {jobs}
 *   verify  {data}                   {jobs: [{number, records, problems, texts, ...}]}
 *   digest  {ids}                    {sums: [{xxh3, size} or null]}: of their bytes, to compare copies
 * The last two take as long as there is to look at. One answer of the others looks at a bounded number of records, and nothing is remembered between two.
 *
 *   filter  state, name, site: text; min_bytes, max_bytes, min_age_ms, max_age_ms: numbers;
 *           only_handle: true for what is sealed and kept by a handle alone
 *   object  id, job, name, state, attempt, pid, held, uses, pins, and if they are known: place, size,
 *           segment or file, offset, site, age_ms, meta, error, message
 *   group   job, site, state, count, bytes (in memory), spilled_bytes, pinned_bytes, oldest_ms
 *
 * look.c: requests, filters, pages. look_object.c: one object. look_show.c: what keeps it.
 * look_verify.c: the whole board. */
#ifndef LOOK_H
#define LOOK_H

#include <jansson.h>

#include "store/board.h"

struct look_job {
    uint32_t number;
    uint64_t node; /* for ids */
    const char *name;
    struct board *board;
    /* Copies bytes of a segment. MOB_ERR_CORRUPT: there are none. */
    mob_status (*read)(void *arg, uint32_t segment, uint64_t offset, void *buf,
                       size_t size);
    /* Reads bytes that are on disk and compares them with their checksum; NULL: it cannot be done here. */
    mob_status (*spilled)(void *arg, uint64_t link, const struct place *p);
    void *arg;
};

struct look {
    const struct look_job *jobs; /* by ascending number */
    unsigned count;
};

/* The answer to @ask, or NULL with what status_fail() said. */
json_t *look_answer(const struct look *l, const json_t *ask);

/* ---- ids: node:40 | job:20 | 1:4 and a link, as 32 hexadecimal digits ---------------------------- */

#define LOOK_ID_SIZE 33
void look_id_text(uint64_t node, uint32_t job, uint64_t link, char buf[LOOK_ID_SIZE]);
mob_status look_id_parse(const char *text, uint64_t *ret_node, uint32_t *ret_job,
                         uint64_t *ret_link);

/* Of the bytes of an object: {xxh3, size}, or NULL. */
json_t *look_sum(const struct look_job *j, uint64_t link);

/* Texts from boards: what is no UTF-8 becomes '?'. */
json_t *look_text(const char *text);

#endif
