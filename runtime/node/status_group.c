/* status_group.c - the groups of a job as `mobula status` shows them, on the node of its driver, which hears of all.
 *   GROUP  group (its name, as messages have it), strategy ("pack", "spread", "strict pack" or "strict spread"), state
 *          ("waits"; "nowhere": no nodes could hold it; "gathers": nodes do; "whole"; "unmet": nowhere for too long;
 *          "full": there are too many), bundles [node] (of each; "": none yet), waiting_ms (for how long it has not been
 *          whole) and why ("" of one that is) */
#include <jansson.h>
#include <stdio.h>

#include "cluster.h"
#include "look/look.h"

/* Of a job, those that wait first; of more it is said how many there are. */
enum { GROUPS_SHOWN = 32 };

/* As messages have it; of none nothing. */
static const char *group_text(uint64_t group, char buf[24])
{
    buf[0] = '\0';
    if (group) {
        snprintf(buf, 24, "%llx", (unsigned long long)group);
    }
    return buf;
}

static const char *node_text(uint64_t node, char buf[24])
{
    buf[0] = '\0';
    if (node) {
        snprintf(buf, 24, "%010llx", (unsigned long long)node);
    }
    return buf;
}

static json_t *group_json(const struct group *g)
{
    static const char *const strategies[] = {
        [MOB_GROUP_PACK] = "pack",
        [MOB_GROUP_SPREAD] = "spread",
        [MOB_GROUP_STRICT_PACK] = "strict pack",
        [MOB_GROUP_STRICT_SPREAD] = "strict spread",
    };
    static const char *const states[GROUP_STATES] = {
        [GROUP_WAITS] = "waits", [GROUP_NOWHERE] = "nowhere", [GROUP_GATHERS] = "gathers",
        [GROUP_WHOLE] = "whole", [GROUP_UNMET] = "unmet",     [GROUP_FULL] = "full",
    };
    char name[24], node[24], why[1024] = "";
    json_t *bundles = json_array();
    for (uint32_t i = 0; i < g->count; i++) {
        json_array_append_new(bundles, json_string(node_text(g->nodes[i], node)));
    }
    uint64_t waiting_ns = 0;
    if (g->state != GROUP_WHOLE) {
        waiting_ns = loop_now_ns(g->job->node->loop) - g->since_ns;
        (void)group_why(g, why, sizeof why);
    }
    return json_pack("{s:s,s:s,s:s,s:o,s:I,s:o}", "group", group_text(g->id, name),
                     "strategy", strategies[g->strategy], "state", states[g->state],
                     "bundles", bundles, "waiting_ms",
                     (json_int_t)(waiting_ns / NS_PER_MS), "why", look_text(why));
}

void status_groups(const struct job *j, json_t *o)
{
    json_t *list = json_array();
    for (int whole = 0; whole < 2; whole++) {
        for (const struct group *g = j->guest ? NULL : j->groups; g; g = g->next) {
            if ((g->state == GROUP_WHOLE) == whole &&
                json_array_size(list) < GROUPS_SHOWN) {
                json_array_append_new(list, group_json(g));
            }
        }
    }
    json_object_set_new(o, "groups", list);
    json_object_set_new(o, "groups_count",
                        json_integer(j->guest ? 0 : (json_int_t)j->groups_count));
}

void status_class_group(const struct demand *demand, json_t *o)
{
    char name[24];
    int bundle = demand->group && demand->bundle ? (int)demand->bundle - 1 : -1;
    json_object_set_new(o, "group", json_string(group_text(demand->group, name)));
    json_object_set_new(o, "bundle", json_integer(bundle));
}
