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
    uint64_t counts[PHASE_RETIRED + 1] = {0};
    json_t *phases = json_object();
    uint32_t committed = board_committed(&j->board);
    for (uint32_t i = 0; i < committed && i < BOARD_RECORDS_MAX; i++) {
        enum phase p = state_phase(at_load(&j->board.records[i].state, AT_RELAXED));
        if (p <= PHASE_RETIRED) { /* a broken job may have written anything */
            counts[p]++;
        }
    }
    for (int p = PHASE_FREE; p <= PHASE_RETIRED; p++) {
        json_object_set_new(phases, names[p], json_integer((json_int_t)counts[p]));
    }
    return phases;
}
