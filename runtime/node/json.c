#include <jansson.h>
#include <stdlib.h>

#include "core/status.h"
#include "node.h"

void json_reply(struct conn *c, uint32_t op, json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    if (text) {
        conn_answer(c, op, text);
    } else {
        conn_deny(c, op, status_fail(MOB_ERR_NOMEM, "no memory for the answer"));
    }
}

json_t *json_phases(const struct job *j)
{
    static const char *const names[] = {"free",     "creating", "waiting", "queued",
                                        "taken",    "done",     "closed",  "dead",
                                        "draining", "retired"};
    json_t *phases = json_object();
    for (int p = PHASE_FREE; p <= PHASE_RETIRED; p++) {
        json_object_set_new(phases, names[p],
                            json_integer((json_int_t)j->census.phases[p]));
    }
    return phases;
}
