/* labels.h - what a node says of itself, and what a task wants of its node.
 *
 *   labels    "zone=a,disk=ssd"
 *   selector  "zone=a, disk!=hdd, gpu in (a100|h100), rack not in (r1|r2)": all of it must hold. A node that
 *             does not have the label at all satisfies != and not in, as in Kubernetes.
 *
 * Names and values are letters, digits and _ - . : /. Spaces around them mean nothing. An empty text says nothing
 * and wants nothing. Threads: no state. */
#ifndef CORE_LABELS_H
#define CORE_LABELS_H

#include <mobula.h>
#include <stdbool.h>

#include "core/limits.h"

/* MOB_ERR_INVALID with the place that makes no sense: also longer than LABELS_MAX or SELECTOR_MAX. */
mob_status labels_check(const char *labels);
mob_status selector_check(const char *selector);

/* Both have been checked; what makes no sense matches nothing. */
bool selector_match(const char *selector, const char *labels);

#endif
