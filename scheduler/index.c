#include "index.h"

#include <stdlib.h>

uint64_t index_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* All is 0 at first, which is what the kernel has: room that is not used yet costs no memory. */
bool index_create(struct index_map *m, uint32_t max)
{
    uint32_t size = 8;
    while (size / 2 < max) { /* at most half full, so that probes stay short */
        size *= 2;
    }
    m->cells = calloc(size, sizeof *m->cells);
    m->mask = size - 1;
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
    while (m->cells[i].above != 0 && m->cells[i].key != key) {
        i = (i + 1) & m->mask;
    }
    return i;
}

uint32_t index_find(const struct index_map *m, uint64_t key)
{
    return m->cells[cell_of(m, key)].above - 1; /* of 0: INDEX_NONE */
}

void index_put(struct index_map *m, uint64_t key, uint32_t value)
{
    m->cells[cell_of(m, key)] = (struct index_cell){key, value + 1};
}

void index_remove(struct index_map *m, uint64_t key)
{
    uint32_t hole = cell_of(m, key);
    if (m->cells[hole].above == 0) {
        return;
    }
    /* What a probe reached across the hole moves back into it, so that no tombstones
     * gather. */
    for (uint32_t i = (hole + 1) & m->mask; m->cells[i].above != 0;
         i = (i + 1) & m->mask) {
        uint32_t home = (uint32_t)index_mix(m->cells[i].key) & m->mask;
        if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
            m->cells[hole] = m->cells[i];
            hole = i;
        }
    }
    m->cells[hole].above = 0;
}

bool index_set_create(struct index_set *s, uint32_t max)
{
    s->list = calloc(max, sizeof *s->list);
    s->above = calloc(max, sizeof *s->above);
    return s->list && s->above;
}

void index_set_destroy(struct index_set *s)
{
    free(s->list);
    free(s->above);
}

bool index_set_put(struct index_set *s, uint32_t place, bool in)
{
    uint32_t above = s->above[place];
    if (in == (above > 0)) {
        return false;
    }
    if (in) {
        s->list[s->count++] = place;
        s->above[place] = s->count;
    } else {
        uint32_t last = s->list[--s->count];
        s->list[above - 1] = last;
        s->above[last] = above;
        s->above[place] = 0;
    }
    return true;
}
