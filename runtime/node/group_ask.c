/* group_ask.c - what programs ask of groups: LOCAL_GROUP. */
#include <string.h>

#include "cluster.h"
#include "core/status.h"

static mob_status make(struct job *j, struct local_msg *m)
{
    struct resources needs[MOB_GROUP_BUNDLES_MAX];
    struct codec_reader r;
    struct group *g;
    codec_reader_init(&r, m->text, m->text_size);
    bool good = m->arg[2] > 0 && m->arg[2] <= MOB_GROUP_BUNDLES_MAX &&
                m->arg[1] <= MOB_GROUP_STRICT_SPREAD;
    for (uint64_t i = 0; good && i < m->arg[2]; i++) {
        good = resources_get(&r, &needs[i]);
    }
    if (!good || !codec_done(&r)) {
        return status_fail(MOB_ERR_PROTOCOL, "a malformed group");
    }
    struct group_plan plan = {
        .count = (uint32_t)m->arg[2], .strategy = (uint32_t)m->arg[1], .needs = needs};
    MOB_TRY(group_create(j, &plan, &g));
    local_msg_init(m, LOCAL_GROUP);
    m->arg[0] = g->id;
    return MOB_OK;
}

static mob_status find(const struct job *j, const struct local_msg *m, struct group **ret)
{
    *ret = group_find(j, m->arg[1]);
    return *ret ? MOB_OK
                : status_fail(MOB_ERR_NOT_FOUND,
                              "the job has no group %llx, or it was removed",
                              (unsigned long long)m->arg[1]);
}

static mob_status look(const struct job *j, struct local_msg *m)
{
    struct group *g;
    MOB_TRY(find(j, m, &g));
    size_t size = g->count * sizeof *g->nodes;
    local_msg_init(m, LOCAL_GROUP);
    m->arg[0] = g->state == GROUP_WHOLE   ? LOCAL_GROUP_WHOLE
                : g->state == GROUP_UNMET ? LOCAL_GROUP_UNMET
                : g->state == GROUP_FULL  ? LOCAL_GROUP_FULL
                                          : LOCAL_GROUP_WAITS;
    m->arg[1] = g->count;
    memcpy(m->text, g->nodes, size);
    (void)group_why(g, m->text + size, LOCAL_TEXT_MAX - size);
    m->text_size = (uint32_t)(size + strlen(m->text + size));
    return MOB_OK;
}

static mob_status drop(const struct job *j, struct local_msg *m)
{
    struct group *g;
    MOB_TRY(find(j, m, &g));
    group_remove(g);
    local_msg_init(m, LOCAL_GROUP);
    return MOB_OK;
}

void group_reply(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job;
    mob_status st = m->arg[0] == LOCAL_GROUP_MAKE   ? make(j, m)
                    : m->arg[0] == LOCAL_GROUP_LOOK ? look(j, m)
                    : m->arg[0] == LOCAL_GROUP_DROP
                        ? drop(j, m)
                        : status_fail(MOB_ERR_PROTOCOL, "a malformed question");
    if (st) {
        conn_deny(c, LOCAL_GROUP, st);
    } else {
        conn_reply(c, m, NULL, 0);
    }
    plan_arm(j->node);
}
