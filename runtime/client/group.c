/* group.c - groups: made, waited for and removed by asking the daemon. None of it is on the path of a task. */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "core/clock.h"
#include "core/codec.h"
#include "core/status.h"
#include "local.h"
#include "submit.h"

static struct local_msg *question(enum local_group what)
{
    struct local_msg *m = malloc(sizeof *m);
    if (m) {
        local_msg_init(m, LOCAL_GROUP);
        m->arg[0] = what;
    } else {
        status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    return m;
}

/* ---- making ----------------------------------------------------------------------------------------- */

static mob_status need_of_bundle(const void *at, size_t stride, struct resources *ret)
{
    struct mob_bundle b = MOB_BUNDLE_INIT;
    memcpy(&b, at, stride < sizeof b ? stride : sizeof b);
    struct mob_options o = MOB_OPTIONS_INIT;
    o.num_cpus = b.num_cpus;
    o.num_gpus = b.num_gpus;
    o.memory_bytes = b.memory_bytes;
    o.resources = b.resources;
    return options_need(&o, ret);
}

static mob_status pack(const struct mob_bundle *bundles, size_t count,
                       struct local_msg *m)
{
    struct codec_writer w;
    const unsigned char *at = (const void *)bundles;
    size_t stride = bundles->struct_size;
    codec_writer_init(&w, m->text, sizeof m->text);
    for (size_t i = 0; i < count; i++) {
        struct resources need;
        MOB_TRY(need_of_bundle(at + i * stride, stride, &need));
        resources_put(&w, &need);
    }
    if (!w.ok) {
        return status_fail(MOB_ERR_FULL,
                           "the names of all resources in a group take more "
                           "than %u bytes",
                           LOCAL_TEXT_MAX);
    }
    m->text_size = (uint32_t)codec_written(&w);
    return MOB_OK;
}

mob_status mob_group_create(struct mob *mob, const struct mob_bundle *bundles,
                            size_t count, enum mob_group_strategy strategy,
                            mob_group *ret)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    if (!bundles || count == 0 || count > MOB_GROUP_BUNDLES_MAX || strategy < 0 ||
        strategy > MOB_GROUP_STRICT_SPREAD || bundles->struct_size < sizeof(size_t) ||
        bundles->struct_size > sizeof *bundles) {
        return status_fail(
            MOB_ERR_INVALID,
            "a group has 1 to %d bundles, set up with MOB_BUNDLE_INIT, and "
            "one of the strategies; not %zu and %d",
            MOB_GROUP_BUNDLES_MAX, count, (int)strategy);
    }
    struct local_msg *m = question(LOCAL_GROUP_MAKE);
    mob_status st = m ? pack(bundles, count, m) : MOB_ERR_NOMEM;
    if (!st) {
        m->arg[1] = (uint64_t)strategy;
        m->arg[2] = count;
        st = client_ask(mob, m, NULL, 0, NULL, NULL);
    }
    if (!st) {
        *ret = m->arg[0];
    }
    free(m);
    return st;
}

/* ---- looking ------------------------------------------------------------------------------------------ */

/* @m->text: the nodes, then why it is not whole. */
static mob_status look(struct mob *mob, mob_group group, struct local_msg *m)
{
    local_msg_init(m, LOCAL_GROUP);
    m->arg[0] = LOCAL_GROUP_LOOK;
    m->arg[1] = group;
    MOB_TRY(client_ask(mob, m, NULL, 0, NULL, NULL));
    if (m->arg[1] > MOB_GROUP_BUNDLES_MAX ||
        m->text_size < m->arg[1] * sizeof(uint64_t)) {
        return status_fail(MOB_ERR_PROTOCOL, "the node's daemon sent a malformed group");
    }
    return MOB_OK;
}

mob_status mob_group_nodes(struct mob *mob, mob_group group, uint64_t *ret_nodes,
                           size_t max, size_t *ret_count)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    struct local_msg *m = question(LOCAL_GROUP_LOOK);
    mob_status st = m ? look(mob, group, m) : MOB_ERR_NOMEM;
    if (!st) {
        size_t count = m->arg[1];
        if (max > 0) {
            memcpy(ret_nodes, m->text, (count < max ? count : max) * sizeof *ret_nodes);
        }
        if (ret_count) {
            *ret_count = count;
        }
    }
    free(m);
    return st;
}

/* What a look found. MOB_ERR_TIMEOUT: it is not whole, and may become so. */
static mob_status verdict(const struct local_msg *m)
{
    const char *why = m->text + m->arg[1] * sizeof(uint64_t);
    switch (m->arg[0]) {
    case LOCAL_GROUP_WHOLE:
        return MOB_OK;
    case LOCAL_GROUP_UNMET:
        return status_fail(
            MOB_ERR_DEMAND,
            "the group has no place, and no node that could hold it joined "
            "in time: %s",
            why);
    case LOCAL_GROUP_FULL:
        return status_fail(MOB_ERR_FULL, "the group was not made: %s", why);
    default:
        return status_fail(MOB_ERR_TIMEOUT, "the group is not there yet: %s", why);
    }
}

static mob_status wait_whole(struct mob *mob, struct thread *t, mob_group group,
                             uint64_t deadline_ns, struct local_msg *m)
{
    const at_u32 *news = &mob->board.header->groups;
    for (bool known = false;; known = true) {
        /* Noted before the look; the daemon changes a group, then counts. */
        uint32_t seen = at_load(news, AT_SEQ_CST);
        uint32_t asked = at_load(&mob->proc->wake, AT_SEQ_CST);
        MOB_TRY(client_health(mob));
        mob_status st = look(mob, group, m);
        if (st == MOB_ERR_NOT_FOUND && known) {
            return status_fail(MOB_ERR_CANCELLED, "the group was removed");
        }
        st = st ? st : verdict(m);
        if (st != MOB_ERR_TIMEOUT || clock_now_ns() >= deadline_ns) {
            return st;
        }
        client_tidy(mob, t);
        (void)park_in_task(mob, t, news, seen, asked, deadline_ns);
    }
}

mob_status mob_group_wait(struct mob *mob, mob_group group, uint64_t timeout_ns)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    struct local_msg *m = question(LOCAL_GROUP_LOOK);
    if (!m) {
        return MOB_ERR_NOMEM;
    }
    mob_status st = wait_whole(mob, t, group, 0, m); /* it costs no slot if it is there */
    if (st == MOB_ERR_TIMEOUT && timeout_ns > 0) {
        uint64_t deadline_ns = clock_deadline_ns(timeout_ns);
        if (t->task) {
            client_lend(mob, true, LINK_NONE);
        }
        st = wait_whole(mob, t, group, deadline_ns, m);
        if (t->task) {
            client_lend(mob, false, LINK_NONE);
        }
    }
    free(m);
    return st;
}

mob_status mob_group_remove(struct mob *mob, mob_group group)
{
    struct thread *t;
    MOB_TRY(client_thread(mob, &t));
    struct local_msg *m = question(LOCAL_GROUP_DROP);
    if (!m) {
        return MOB_ERR_NOMEM;
    }
    m->arg[1] = group;
    mob_status st = client_ask(mob, m, NULL, 0, NULL, NULL);
    free(m);
    return st;
}
