#include "share.h"

/* Longer gaps between two events count as this: the products below stay within 64 bits
 * (4096 nodes of 4096 CPUs are 1.7e11 units). */
#define DT_US_MAX 1000000
#define TURN_PARTS 4

uint64_t share_cost(const struct resources *need, const struct resources *total)
{
    __extension__ typedef unsigned __int128 wide;
    uint64_t cpus = total->amount[RESOURCE_CPU];
    uint64_t cost = need->amount[RESOURCE_CPU];
    cpus = cpus > CPU_UNITS ? cpus : CPU_UNITS;
    for (uint32_t k = RESOURCE_MEMORY; k < RESOURCE_BASIC; k++) {
        uint64_t all = total->amount[k], part = need->amount[k];
        part = part < all ? part : all;
        uint64_t as_cpus = all ? (uint64_t)((wide)part * cpus / all) : 0;
        cost = as_cpus > cost ? as_cpus : cost;
    }
    return cost > 0 ? cost : !resources_none(need);
}

void share_account(struct share *const *list, uint32_t count, uint64_t dt_us)
{
    int64_t used = 0, weight = 0;
    bool needy = false;
    for (uint32_t i = 0; i < count; i++) {
        list[i]->settled = false;
        needy = needy || list[i]->needy;
        used += (int64_t)list[i]->used;
        weight += list[i]->weight;
    }
    for (bool again = needy; again;) {
        again = false;
        for (uint32_t i = 0; i < count; i++) {
            struct share *s = list[i];
            if (!s->settled && !s->needy &&
                (int64_t)s->used * weight <= used * (int64_t)s->weight) {
                s->settled = true;
                used -= (int64_t)s->used;
                weight -= s->weight;
                again = true;
            }
        }
    }
    int64_t dt = (int64_t)(dt_us < DT_US_MAX ? dt_us : DT_US_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct share *s = list[i];
        if (!needy || s->settled) {
            s->deficit = 0;
            continue;
        }
        s->deficit += used * dt / weight - (int64_t)s->used * dt / s->weight;
        if (s->deficit > SHARE_DEFICIT_MAX) {
            s->deficit = SHARE_DEFICIT_MAX;
        } else if (s->deficit < -SHARE_DEFICIT_MAX) {
            s->deficit = -SHARE_DEFICIT_MAX;
        }
    }
}

bool share_below(const struct share *a, const struct share *b)
{
    return a->used * b->weight < b->used * a->weight;
}

int64_t share_ahead(const struct share *s, uint64_t ns)
{
    return (int64_t)((s->used + CPU_UNITS) / s->weight * (ns / NS_PER_US)) - s->deficit;
}

/* For which weight a turn is a quantum of CPU time: the larger one, so that neither is further behind than that.
 * But a turn has its price, so one of little weight has a part of a quantum at least, and seldom. */
static int64_t turn_weight(const struct share *from, const struct share *to)
{
    uint32_t most = TURN_PARTS * to->weight;
    uint32_t larger = from->weight > to->weight ? from->weight : to->weight;
    return larger < most ? larger : most;
}

uint64_t share_to_move(const struct share *from, const struct share *to,
                       uint64_t quantum_ns)
{
    if (to->deficit - from->deficit < SHARE_CPU(quantum_ns) / turn_weight(from, to) ||
        !share_below(to, from)) {
        return 0;
    }
    uint64_t level = (from->used * to->weight - to->used * from->weight) /
                     ((uint64_t)from->weight + to->weight);
    return level ? level : 1;
}
