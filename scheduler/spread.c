/* spread.c - the rule by which copies spread. */
#include "spread_state.h"

static uint32_t number_of(const struct spread *s, const struct holder *h)
{
    return (uint32_t)(h - s->holders);
}

/* ---- flows --------------------------------------------------------------------------------------------- */

/* The node out of which the flow into @h comes. */
static struct spread_node *giver(struct spread *s, const struct holder *h)
{
    return &s->nodes[h->source == NONE ? OWNER : s->holders[h->source].node];
}

static void uncount(struct spread *s, struct holder *h)
{
    giver(s, h)->flows -= h->counted;
    h->counted = false;
}

static void flow_end(struct spread *s, struct holder *h)
{
    if (h->flowing) {
        uncount(s, h);
        if (h->source != NONE) {
            s->holders[h->source].children--;
        }
        h->flowing = false;
        h->source = NONE;
    }
}

static void flow_begin(struct spread *s, struct holder *h, struct holder *source)
{
    h->source = source ? number_of(s, source) : NONE;
    h->flowing = h->counted = true;
    struct spread_node *from = giver(s, h);
    from->flows++;
    uint32_t width = source && !source->whole ? source->width : 0;
    h->width = width > from->flows ? width : from->flows;
    h->depth = source && !source->whole ? source->depth + 1 : 1;
    if (source) {
        source->children++;
    }
}

/* @h gets its bytes from @ancestor. */
static bool descends(const struct spread *s, const struct holder *h,
                     const struct holder *ancestor)
{
    while (h != ancestor && h->source != NONE) {
        h = &s->holders[h->source];
    }
    return h == ancestor;
}

static uint64_t cost(const struct spread *s, const struct holder *h, uint64_t parts)
{
    uint32_t flows = s->nodes[h ? h->node : OWNER].flows + 1;
    uint32_t width = h && !h->whole ? h->width : 0, depth = h && !h->whole ? h->depth : 0;
    return parts * (width > flows ? width : flows) + depth;
}

/* Whom @asker should pull from; NULL: the owner. */
static struct holder *choose(const struct spread *s, const struct object *o,
                             const struct holder *asker, uint64_t parts)
{
    struct holder *best = NULL;
    uint64_t least = cost(s, NULL, parts);
    for (uint32_t i = o->holders; i != NONE; i = s->holders[i].next) {
        struct holder *h = &s->holders[i];
        bool of_use = !h->useless && (h->whole || h->flowing) &&
                      s->nodes[h->node].flows < SPREAD_FLOWS_MAX;
        if (h == asker || !of_use || (asker->children && descends(s, h, asker))) {
            continue;
        }
        uint64_t c = cost(s, h, parts);
        if (c < least) {
            least = c;
            best = h;
        }
    }
    return best;
}

/* ---- entries ------------------------------------------------------------------------------------------- */

/* Who pulls from @h has no source any more, until it asks again. */
static void remove_holder(struct spread *s, struct object *o, struct holder *h)
{
    uint32_t number = number_of(s, h), *at = &o->holders;
    flow_end(s, h);
    for (uint32_t i = o->holders; i != NONE && h->children; i = s->holders[i].next) {
        if (s->holders[i].source == number) {
            flow_end(s, &s->holders[i]);
        }
    }
    while (*at != number) {
        at = &s->holders[*at].next;
    }
    *at = h->next;
    spread_node_put(s, h->node);
    h->next = s->holders_free;
    s->holders_free = number;
}

static void remove_object(struct spread *s, struct object *o)
{
    while (o->holders != NONE) {
        remove_holder(s, o, &s->holders[o->holders]);
    }
    spread_unlink(s, o);
    index_remove(&s->by_name, spread_key(o->name));
    o->name = (struct spread_object){0};
    o->older = s->objects_free;
    s->objects_free = (uint32_t)(o - s->objects);
}

static bool flows(const struct spread *s, const struct object *o)
{
    for (uint32_t i = o->holders; i != NONE; i = s->holders[i].next) {
        if (s->holders[i].flowing) {
            return true;
        }
    }
    return false;
}

/* Forgets the object that nobody asked for for longest. False: all are on their way. */
static bool forget(struct spread *s, const struct object *but)
{
    enum { LOOKS = 16 };
    uint32_t i = s->oldest;
    for (int k = 0; k < LOOKS && i != NONE; k++) {
        struct object *o = &s->objects[i];
        if ((!but || o != but) && !flows(s, o)) {
            remove_object(s, o);
            return true;
        }
        i = o->newer;
    }
    return false;
}

static struct object *object_get(struct spread *s, struct spread_object name)
{
    struct object *o = spread_find(s, name);
    if (o) {
        spread_unlink(s, o);
        spread_link_newest(s, o);
        return o;
    }
    if (index_find(&s->by_name, spread_key(name)) != INDEX_NONE) {
        return NULL; /* two names with one key: the second is not kept */
    }
    if (s->objects_free == NONE && s->objects_used == SPREAD_OBJECTS_MAX &&
        !forget(s, NULL)) {
        return NULL;
    }
    uint32_t i = s->objects_free;
    if (i != NONE) {
        s->objects_free = s->objects[i].older;
    } else {
        i = s->objects_used++;
    }
    o = &s->objects[i];
    *o = (struct object){.name = name, .holders = NONE};
    spread_link_newest(s, o);
    index_put(&s->by_name, spread_key(name), i);
    return o;
}

static struct holder *holder_get(struct spread *s, struct object *o, uint64_t id)
{
    uint32_t node = spread_node_get(s, id), i = s->holders_free;
    struct holder *h = node == NONE ? NULL : spread_holder(s, o, node);
    if (node == NONE || h) {
        return h;
    }
    s->nodes[node].copies++; /* so that it stays while others are forgotten */
    if (i == NONE && s->holders_used == SPREAD_HOLDERS_MAX) {
        (void)forget(s, o);
        i = s->holders_free;
    }
    if (i != NONE) {
        s->holders_free = s->holders[i].next;
    } else if (s->holders_used < SPREAD_HOLDERS_MAX) {
        i = s->holders_used++;
    } else {
        spread_node_put(s, node);
        return NULL;
    }
    h = &s->holders[i];
    *h = (struct holder){.next = o->holders, .source = NONE, .node = node};
    o->holders = i;
    return h;
}

/* ---- events -------------------------------------------------------------------------------------------- */

uint64_t spread_ask(struct spread *s, struct spread_object name, uint64_t size,
                    uint64_t node, uint64_t failed)
{
    uint64_t self = s->nodes[OWNER].id,
             parts = (size + s->part_bytes - 1) / s->part_bytes;
    struct object *o = node == self || node == 0 ? NULL : object_get(s, name);
    struct holder *h = o ? holder_get(s, o, node) : NULL;
    if (!h) {
        return self;
    }
    flow_end(s, h);
    h->whole = false;
    uint32_t bad = failed && failed != self ? spread_node_find(s, failed) : INDEX_NONE;
    struct holder *source = bad != INDEX_NONE ? spread_holder(s, o, bad) : NULL;
    if (source) { /* most likely it is dead, and takes no bandwidth */
        source->useless = true;
        uncount(s, source);
    }
    source = failed == node ? NULL : choose(s, o, h, parts);
    flow_begin(s, h, source);
    return source ? s->nodes[source->node].id : self;
}

void spread_whole(struct spread *s, struct spread_object name, uint64_t node)
{
    struct object *o =
        node == s->nodes[OWNER].id || node == 0 ? NULL : object_get(s, name);
    struct holder *h = o ? holder_get(s, o, node) : NULL;
    if (h) {
        flow_end(s, h);
        h->whole = true;
        h->useless = false;
        h->depth = h->width = 0;
    }
}

static struct holder *look_up(const struct spread *s, struct spread_object name,
                              uint64_t node, struct object **ret)
{
    uint32_t n = spread_node_find(s, node);
    *ret = spread_find(s, name);
    return *ret && n != INDEX_NONE ? spread_holder(s, *ret, n) : NULL;
}

static void remove_copy(struct spread *s, struct object *o, struct holder *h)
{
    remove_holder(s, o, h);
    if (o->holders == NONE) {
        remove_object(s, o);
    }
}

void spread_gone(struct spread *s, struct spread_object name, uint64_t node)
{
    struct object *o;
    struct holder *h = look_up(s, name, node, &o);
    if (h) {
        remove_copy(s, o, h);
    }
}

void spread_node_lost(struct spread *s, uint64_t node)
{
    uint32_t n = spread_node_find(s, node), next;
    for (uint32_t i = s->oldest; n != INDEX_NONE && n != OWNER && i != NONE; i = next) {
        struct object *o = &s->objects[i];
        struct holder *h = spread_holder(s, o, n);
        next = o->newer;
        if (h) {
            remove_copy(s, o, h);
        }
    }
}

void spread_job_over(struct spread *s, uint32_t job)
{
    uint32_t next;
    for (uint32_t i = s->oldest; i != NONE; i = next) {
        next = s->objects[i].newer;
        if (s->objects[i].name.job == job) {
            remove_object(s, &s->objects[i]);
        }
    }
}

bool spread_has(const struct spread *s, struct spread_object name, uint64_t node)
{
    struct object *o;
    return look_up(s, name, node, &o) != NULL;
}

uint64_t spread_some(const struct spread *s, struct spread_object name, uint64_t but)
{
    const struct object *o = spread_find(s, name);
    const struct spread_node *best = NULL;
    for (uint32_t i = o ? o->holders : NONE; i != NONE; i = s->holders[i].next) {
        const struct holder *h = &s->holders[i];
        const struct spread_node *n = &s->nodes[h->node];
        if (h->whole && !h->useless && n->id != but &&
            (!best || n->flows < best->flows)) {
            best = n;
        }
    }
    return best ? best->id : 0;
}

mob_status spread_view(const struct spread *s, struct spread_object name, uint64_t node,
                       struct spread_view *ret)
{
    struct object *o;
    const struct holder *h = look_up(s, name, node, &o);
    if (!h) {
        return MOB_ERR_NOT_FOUND;
    }
    const struct holder *from = h->source == NONE ? NULL : &s->holders[h->source];
    *ret = (struct spread_view){
        .whole = h->whole,
        .source = h->flowing ? s->nodes[from ? from->node : OWNER].id : 0,
        .depth = h->depth,
        .width = h->width,
        .flows = s->nodes[h->node].flows};
    return MOB_OK;
}

void spread_reset(struct spread *s, uint64_t self)
{
    while (s->oldest != NONE) {
        remove_object(s, &s->objects[s->oldest]);
    }
    s->nodes[OWNER].id = self;
}
