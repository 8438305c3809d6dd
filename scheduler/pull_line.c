#include "scheduler/pull_line.h"

#include <string.h>

void pull_source_init(struct pull_source *s)
{
    memset(s, 0, sizeof *s);
    for (int u = 0; u < PULL_URGENCIES; u++) {
        s->last[u] = &s->first[u];
    }
}

static void append(struct pull_source *s, struct pull_entry *e)
{
    e->next = NULL;
    e->at = s->last[e->urgency];
    *e->at = e;
    s->last[e->urgency] = &e->next;
}

static void take_out(struct pull_source *s, struct pull_entry *e)
{
    *e->at = e->next;
    if (e->next) {
        e->next->at = e->at;
    } else {
        s->last[e->urgency] = e->at;
    }
    e->at = NULL;
    e->next = NULL;
}

void pull_line_add(struct pull_line *l, struct pull_source *s, struct pull_entry *e)
{
    e->source = s;
    append(s, e);
    l->waiting++;
    if (s->waiting++ > 0) {
        return;
    }
    if (!l->turn) {
        l->turn = s->next = s->prev = s;
        return;
    }
    s->next = l->turn; /* the last one to have its turn */
    s->prev = l->turn->prev;
    s->prev->next = s;
    s->next->prev = s;
}

void pull_line_remove(struct pull_line *l, struct pull_entry *e)
{
    struct pull_source *s = e->source;
    take_out(s, e);
    l->waiting--;
    if (--s->waiting > 0) {
        return;
    }
    if (l->turn == s) {
        l->turn = s->next == s ? NULL : s->next;
    }
    s->next->prev = s->prev;
    s->prev->next = s->next;
    s->next = s->prev = NULL;
}

void pull_line_urgent(struct pull_line *l, struct pull_entry *e, enum pull_urgency u)
{
    (void)l;
    if (e->at && e->urgency != u) {
        take_out(e->source, e);
        e->urgency = u;
        append(e->source, e);
    }
}

static bool source_has_room(const struct pull_source *s, uint64_t bytes)
{
    return s->open && s->count < PULL_SOURCE_COUNT &&
           (s->count == 0 ||
            (s->bytes < PULL_SOURCE_BYTES && bytes <= PULL_SOURCE_BYTES - s->bytes));
}

struct pull_entry *pull_line_next(const struct pull_line *l)
{
    for (int u = 0; u < PULL_URGENCIES && l->turn; u++) {
        struct pull_source *s = l->turn;
        do {
            struct pull_entry *e = s->first[u];
            if (e && source_has_room(s, e->bytes)) {
                bool fits = l->bytes == 0 || (l->bytes < PULL_NODE_BYTES &&
                                              e->bytes <= PULL_NODE_BYTES - l->bytes);
                return fits ? e : NULL;
            }
            s = s->next;
        } while (s != l->turn);
    }
    return NULL;
}

static void count(struct pull_source *s, const struct pull_entry *e)
{
    s->count++;
    s->bytes += e->bytes;
}

static void uncount(struct pull_source *s, const struct pull_entry *e)
{
    s->count--;
    s->bytes -= e->bytes;
}

void pull_line_begin(struct pull_line *l, struct pull_entry *e)
{
    struct pull_source *s = e->source;
    l->turn = s->next;
    pull_line_remove(l, e);
    e->under_way = true;
    count(s, e);
    l->bytes += e->bytes;
}

void pull_line_end(struct pull_line *l, struct pull_entry *e)
{
    e->under_way = false;
    uncount(e->source, e);
    l->bytes -= e->bytes;
}

void pull_line_move(struct pull_entry *e, struct pull_source *to)
{
    uncount(e->source, e);
    e->source = to;
    count(to, e);
}
