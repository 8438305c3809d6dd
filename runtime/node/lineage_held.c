/* lineage_held.c - arguments that are kept here so that results can be made again, each counted once however many
 * results are made of it. In a table by id, with as many buckets for as long as the job lives. */
#include <stdlib.h>

#include "lineage.h"

enum { BUCKETS_ORDER = 12 };

struct lineage_held {
    struct lineage_held *next;
    uint64_t link, bytes;
    uint32_t users; /* arguments of entries */
};

static struct lineage_held **bucket_of(const struct lineage_job *l, uint64_t link)
{
    return &l->held[(link * 0x9e3779b97f4a7c15ull) >> (64 - BUCKETS_ORDER)];
}

struct lineage_held *lineage_hold(struct job *j, uint64_t link, uint64_t bytes)
{
    struct lineage_job *l = &j->lineage;
    if (!l->held) {
        l->held = calloc(1u << BUCKETS_ORDER, sizeof(struct lineage_held *));
        if (!l->held) {
            return NULL;
        }
    }
    struct lineage_held **at = bucket_of(l, link), *h = *at;
    while (h && h->link != link) {
        h = h->next;
    }
    if (!h) {
        h = malloc(sizeof *h);
        if (!h) {
            return NULL;
        }
        *h = (struct lineage_held){.next = *at, .link = link, .bytes = bytes};
        *at = h;
        l->held_bytes += bytes;
    }
    h->users++;
    return h;
}

void lineage_unhold(struct job *j, struct lineage_held *h)
{
    struct lineage_job *l = &j->lineage;
    if (!h || --h->users > 0) {
        return;
    }
    struct lineage_held **at = bucket_of(l, h->link);
    while (*at != h) {
        at = &(*at)->next;
    }
    *at = h->next;
    l->held_bytes -= h->bytes;
    free(h);
}

void lineage_held_free(struct job *j)
{
    struct lineage_job *l = &j->lineage;
    for (uint32_t b = 0; l->held && b < 1u << BUCKETS_ORDER; b++) {
        while (l->held[b]) {
            struct lineage_held *h = l->held[b];
            l->held[b] = h->next;
            free(h);
        }
    }
    free(l->held);
}
