#include "core/demand.h"

#include <string.h>

#include "core/labels.h"
#include "core/status.h"

bool demand_allows(const struct demand *d, uint64_t node, const char *labels)
{
    return (d->strategy != DEMAND_NODE || d->node == node) &&
           (!*d->selector || selector_match(d->selector, labels));
}

bool demand_ok(const struct demand *d)
{
    bool names_node = d->strategy == DEMAND_NODE || d->strategy == DEMAND_NODE_SOFT;
    uint64_t gpus = d->need.amount[RESOURCE_GPU];
    return resources_ok(&d->need) && (gpus < CPU_UNITS || gpus % CPU_UNITS == 0) &&
           d->strategy < DEMAND_STRATEGIES && d->together <= 1 &&
           (d->node != 0) == names_node && d->bundle <= MOB_GROUP_BUNDLES_MAX &&
           (d->group ? d->strategy == DEMAND_DEFAULT : d->bundle == 0) &&
           memchr(d->selector, 0, sizeof d->selector) &&
           (!*d->selector || selector_check(d->selector) == MOB_OK);
}

bool demand_equal(const struct demand *a, const struct demand *b)
{
    return a->priority == b->priority && a->strategy == b->strategy &&
           a->together == b->together && a->node == b->node && a->group == b->group &&
           a->bundle == b->bundle && resources_equal(&a->need, &b->need) &&
           strcmp(a->selector, b->selector) == 0;
}
