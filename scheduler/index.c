#include "index.h"

#include <stdlib.h>

uint64_t index_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

bool index_create(struct index_map *m, uint32_t max)
{
    uint32_t size = 8;
    while (size / 2 < max) { /* at most half full, so that probes stay short */
        size *= 2;
    }
    m->cells = malloc(size * sizeof *m->cells);
    m->mask = size - 1;
    for (uint32_t i = 0; m->cells && i < size; i++) {
        m->cells[i].value = INDEX_NONE;
    }
    return m->cells != NULL;
}

void index_destroy(struct index_map *m)
{
    free(m->cells);
    m->cells = NULL;
}

/* The cell that has @key, or the empty one where it belongs. */
static uint32_t cell_of(const struct index_map *m, uint64_t key)
{
    uint32_t i = (uint32_t)index_mix(key) & m->mask;
    while (m->cells[i].value != INDEX_NONE && m->cells[i].key != key) {
        i = (i + 1) & m->mask;
    }
    return i;
}

uint32_t index_find(const struct index_map *m, uint64_t key)
{
    return m->cells[cell_of(m, key)].value;
}

void index_put(struct index_map *m, uint64_t key, uint32_t value)
{
    m->cells[cell_of(m, key)] = (struct index_cell){key, value};
}

void index_remove(struct index_map *m, uint64_t key)
{
    uint32_t hole = cell_of(m, key);
    if (m->cells[hole].value == INDEX_NONE) {
        return;
    }
    /* What a probe reached across the hole moves back into it, so that no tombstones
     * gather. */
    for (uint32_t i = (hole + 1) & m->mask; m->cells[i].value != INDEX_NONE;
         i = (i + 1) & m->mask) {
        uint32_t home = (uint32_t)index_mix(m->cells[i].key) & m->mask;
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            m->cells[hole] = m->cells[i];
            hole = i;
        }
    }
    m->cells[hole].value = INDEX_NONE;
}

bool index_set_create(struct index_set *s, uint32_t max)
{
    s->list = malloc(max * sizeof *s->list);
    s->at = malloc(max * sizeof *s->at);
    for (uint32_t i = 0; s->at && i < max; i++) {
        s->at[i] = INDEX_NONE;
    }
    return s->list && s->at;
}

void index_set_destroy(struct index_set *s)
{
    free(s->list);
    free(s->at);
}

bool index_set_put(struct index_set *s, uint32_t place, bool in)
{
    uint32_t at = s->at[place];
    if (in == (at != INDEX_NONE)) {
        return false;
    }
    if (in) {
        s->at[place] = s->count;
        s->list[s->count++] = place;
    } else {
        uint32_t last = s->list[--s->count];
        s->list[at] = last;
        s->at[last] = at;
        s->at[place] = INDEX_NONE;
    }
    return true;
}
