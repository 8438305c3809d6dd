#include "core/demand.h"

#include <string.h>

bool demand_ok(const struct demand *d)
{
    bool names_node = d->strategy == DEMAND_NODE || d->strategy == DEMAND_NODE_SOFT;
    return resources_ok(&d->need) && d->strategy < DEMAND_STRATEGIES &&
           (d->node != 0) == names_node &&
           memchr(d->selector, 0, sizeof d->selector) != NULL;
}

bool demand_equal(const struct demand *a, const struct demand *b)
{
    return a->priority == b->priority && a->strategy == b->strategy &&
           a->node == b->node && resources_equal(&a->need, &b->need) &&
           strcmp(a->selector, b->selector) == 0;
}
