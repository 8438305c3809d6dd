/* look_int.h - what the files of look share. */
#ifndef LOOK_INT_H
#define LOOK_INT_H

#include "look.h"

#define LOOK_REFS_DEEP_MAX 64

/* All pins of a board, sorted by the record that they name. */
struct look_pins {
    struct look_pin {
        uint64_t link;
        uint32_t ledger;
    } * pins;
    size_t count, room;
};

mob_status look_pins_collect(const struct board *b, struct look_pins *ret);
void look_pins_free(struct look_pins *p);
/* How many there are of a record; @ret_first: the first of them. */
size_t look_pins_of(const struct look_pins *p, uint32_t gen, uint32_t index,
                    const struct look_pin **ret_first);

/* One result of a record, looked at once. */
struct look_object {
    const struct look_job *job;
    uint32_t index, ret;
    uint64_t state, refs;
    struct call call;
    struct place place; /* where its own place says that the bytes are */
    bool has_size, has_age;
    uint64_t size, age_ms; /* through references to other records */
    char site[MOB_NAME_MAX + 1], name[MOB_NAME_MAX + 1];
    size_t pins;
};

/* NULL: no object is in that state. */
const char *look_state_name(uint64_t state);
/* False: there is no object. */
bool look_object(const struct look_job *j, uint32_t index, uint32_t ret,
                 const struct look_pins *pins, struct look_object *out);
/* The board's clock now, in its steps. */
uint32_t look_now(const struct board *b);
json_t *look_object_json(const struct look_object *o);
/* An id as member @key. */
void look_add_id(json_t *o, const char *key, const struct look_job *j, uint64_t link);
/* The process that works on a record, by its pid; 0 if none does. */
int look_holder_pid(const struct board *b, uint64_t state);
/* The record that a link names, in that generation. */
struct record *look_find(const struct look_job *j, uint64_t link, uint64_t *ret_state);
/* Where the bytes are, through references. MOB_ERR_NOT_FOUND, MOB_ERR_STATE (not sealed, or failed),
 * MOB_ERR_CORRUPT. @io_link becomes the record's that has them. */
mob_status look_resolve(const struct look_job *j, uint64_t *io_link, struct place *ret);
/* Copies bytes of a place. */
mob_status look_read(const struct look_job *j, uint64_t link, const struct place *p,
                     uint64_t offset, void *buf, size_t size);

json_t *look_show(const struct look_job *j, uint64_t link);
json_t *look_uses(const struct look_job *j, uint64_t link, uint64_t from);
json_t *look_bytes(const struct look_job *j, uint64_t link, uint64_t offset);
json_t *look_verify(const struct look *l, bool data);

#endif
