/* spread_table.c - the tables of who has copies: objects by name and by age, holders by object, nodes by id. */
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "spread_state.h"

uint64_t spread_key(struct spread_object name)
{
    return index_mix(name.link) ^ index_mix(~(uint64_t)name.job);
}

struct object *spread_find(const struct spread *s, struct spread_object name)
{
    uint32_t i = index_find(&s->by_name, spread_key(name));
    struct object *o = i == INDEX_NONE ? NULL : &s->objects[i];
    return o && o->name.job == name.job && o->name.link == name.link ? o : NULL;
}

uint32_t spread_node_find(const struct spread *s, uint64_t id)
{
    return id == s->nodes[OWNER].id ? OWNER : index_find(&s->by_id, id);
}

/* NONE: there are too many. */
uint32_t spread_node_get(struct spread *s, uint64_t id)
{
    uint32_t i = spread_node_find(s, id);
    if (i != INDEX_NONE) {
        return i;
    }
    if (s->nodes_free != NONE) {
        i = s->nodes_free;
        s->nodes_free = s->nodes[i].next_free;
    } else if (s->nodes_used < NODES) {
        i = s->nodes_used++;
    } else {
        return NONE;
    }
    s->nodes[i] = (struct spread_node){.id = id};
    index_put(&s->by_id, id, i);
    return i;
}

void spread_node_put(struct spread *s, uint32_t i)
{
    struct spread_node *n = &s->nodes[i];
    if (--n->copies == 0) {
        index_remove(&s->by_id, n->id);
        *n = (struct spread_node){.next_free = s->nodes_free};
        s->nodes_free = i;
    }
}

struct holder *spread_holder(const struct spread *s, const struct object *o,
                             uint32_t node)
{
    uint32_t i = o->holders;
    while (i != NONE && s->holders[i].node != node) {
        i = s->holders[i].next;
    }
    return i == NONE ? NULL : &s->holders[i];
}

void spread_unlink(struct spread *s, const struct object *o)
{
    if (o->older != NONE) {
        s->objects[o->older].newer = o->newer;
    } else {
        s->oldest = o->newer;
    }
    if (o->newer != NONE) {
        s->objects[o->newer].older = o->older;
    } else {
        s->newest = o->older;
    }
}

void spread_link_newest(struct spread *s, struct object *o)
{
    uint32_t i = (uint32_t)(o - s->objects);
    o->older = s->newest;
    o->newer = NONE;
    if (s->newest != NONE) {
        s->objects[s->newest].newer = i;
    } else {
        s->oldest = i;
    }
    s->newest = i;
}

/* ---- beginning and end ---------------------------------------------------------------------------------- */

static bool fresh(struct spread *s, uint64_t self)
{
    memset(s->nodes, 0, sizeof s->nodes);
    s->nodes[OWNER].id = self;
    s->nodes_used = 1;
    s->holders_used = s->objects_used = 0;
    s->holders_free = s->objects_free = s->nodes_free = s->oldest = s->newest = NONE;
    return index_create(&s->by_name, SPREAD_OBJECTS_MAX) &&
           index_create(&s->by_id, NODES_MAX);
}

mob_status spread_create(uint64_t self, uint64_t part_bytes, struct spread **ret)
{
    struct spread *s = calloc(1, sizeof *s);
    if (s) {
        s->part_bytes = part_bytes;
        s->holders = malloc(SPREAD_HOLDERS_MAX * sizeof *s->holders);
        s->objects = malloc(SPREAD_OBJECTS_MAX * sizeof *s->objects);
    }
    if (!s || !s->holders || !s->objects || !fresh(s, self)) {
        spread_destroy(s);
        return status_fail(MOB_ERR_NOMEM, "no memory for what other nodes have");
    }
    *ret = s;
    return MOB_OK;
}

void spread_destroy(struct spread *s)
{
    if (s) {
        index_destroy(&s->by_name);
        index_destroy(&s->by_id);
        free(s->holders);
        free(s->objects);
        free(s);
    }
}
