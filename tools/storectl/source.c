/* source.c - the nodes that are asked: through the daemon of this machine, or without it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "home.h"
#include "local.h"
#include "storectl.h"

static void only(struct source *src, uint64_t id)
{
    char text[24];
    snprintf(text, sizeof text, "%010llx", (unsigned long long)id);
    src->nodes = json_pack("[{s:s,s:s}]", "id", text, "host", "this machine");
}

/* ---- a daemon that does not answer ----------------------------------------------------------------------- */

static mob_status without_daemon(struct source *src, pid_t pid, bool asked)
{
    MOB_TRY(direct_open(pid, &src->direct));
    if (!asked) {
        fprintf(stderr,
                "%s: the node's daemon (pid %d) does not answer; this is what its memory "
                "shows\n",
                tool_name, (int)pid);
    }
    only(src, direct_node(src->direct));
    src->daemon.pid = pid;
    return MOB_OK;
}

/* ---- the cluster ----------------------------------------------------------------------------------------- */

static bool is_meant(const struct settings *s, const char *id, const char *host)
{
    return !s->node || strcmp(s->node, id) == 0 || strcmp(s->node, host) == 0;
}

/* This one first, then the others that are there. */
static mob_status find_nodes(struct source *src, const struct settings *s)
{
    json_t *status, *node;
    size_t i;
    MOB_TRY(tool_ask(&src->daemon, LOCAL_STATUS, NULL, &status));
    const char *here = tool_str(status, "id");
    src->nodes = json_array();
    if (is_meant(s, here, tool_str(status, "host"))) {
        json_array_append_new(src->nodes, json_pack("{s:s,s:s,s:b}", "id", here, "host",
                                                    tool_str(status, "host"), "here", 1));
    }
    json_array_foreach(json_object_get(status, "nodes"), i, node)
    {
        const char *id = tool_str(node, "id"), *host = tool_str(node, "host");
        if (strcmp(id, here) != 0 && strcmp(tool_str(node, "state"), "dead") != 0 &&
            is_meant(s, id, host) && json_array_size(src->nodes) < NODES_MAX) {
            json_array_append_new(src->nodes,
                                  json_pack("{s:s,s:s}", "id", id, "host", host));
        }
    }
    json_decref(status);
    return json_array_size(src->nodes)
               ? MOB_OK
               : status_fail(MOB_ERR_NO_NODE,
                             "no node '%s' is in the cluster; `mobula status` "
                             "shows them",
                             s->node);
}

mob_status source_open(const struct settings *s, struct source *ret)
{
    char dir[PATH_MAX];
    pid_t pid = 0;
    *ret = (struct source){.daemon = {.sock = -1, .pidfd = -1}};
    MOB_TRY(tool_dir(s->dir, dir, sizeof dir));
    MOB_TRY(home_holder(dir, &pid));
    if (pid && (s->direct || direct_stopped(pid))) {
        return without_daemon(ret, pid, s->direct);
    }
    mob_status st = tool_connect(s->dir, &ret->daemon);
    if (st == MOB_ERR_TIMEOUT && pid) {
        return without_daemon(ret, pid, false);
    }
    MOB_TRY(st);
    ret->connected = true;
    st = find_nodes(ret, s);
    if (st) {
        source_close(ret);
    }
    return st;
}

void source_close(struct source *src)
{
    json_decref(src->nodes);
    src->nodes = NULL;
    if (src->connected) {
        tool_disconnect(&src->daemon);
    }
    direct_close(src->direct);
    src->connected = false;
    src->direct = NULL;
}

/* ---- asking ---------------------------------------------------------------------------------------------- */

mob_status source_ask(struct source *src, size_t i, json_t *ask, json_t **ret)
{
    json_t *node = json_array_get(src->nodes, i);
    mob_status st;
    if (!ask || !node) {
        json_decref(ask);
        return status_fail(MOB_ERR_NOMEM, "no memory for a request");
    }
    if (src->direct) {
        *ret = direct_answer(src->direct, ask);
        st = *ret ? MOB_OK : status_fail(MOB_ERR_NOT_FOUND, "%s", mob_last_error());
    } else {
        if (!json_is_true(json_object_get(node, "here"))) {
            json_object_set(ask, "node", json_object_get(node, "id"));
        }
        st = tool_ask(&src->daemon, LOCAL_STORE, ask, ret);
    }
    json_decref(ask);
    return st;
}

mob_status source_find(const struct source *src, uint64_t id, size_t *ret)
{
    json_t *node;
    size_t i;
    json_array_foreach(src->nodes, i, node)
    {
        if (strtoull(tool_str(node, "id"), NULL, 16) == id) {
            *ret = i;
            return MOB_OK;
        }
    }
    return status_fail(MOB_ERR_NO_NODE,
                       "the object is of node %010llx, which is not here",
                       (unsigned long long)id);
}

const char *source_host(const struct source *src, size_t i)
{
    return tool_str(json_array_get(src->nodes, i), "host");
}

bool source_many(const struct source *src)
{
    return json_array_size(src->nodes) > 1;
}

mob_status source_pages(struct source *src, size_t i, const json_t *ask, source_page page,
                        void *arg)
{
    bool one_job = json_is_true(json_object_get(ask, "one_job"));
    uint64_t job = tool_u64(ask, "job"), record = 0;
    for (bool go_on = true; go_on;) {
        json_t *answer, *next_ask = json_copy((json_t *)(uintptr_t)ask);
        json_object_set_new(next_ask, "job", json_integer((json_int_t)job));
        json_object_set_new(next_ask, "record", json_integer((json_int_t)record));
        MOB_TRY(source_ask(src, i, next_ask, &answer));
        const json_t *next = json_object_get(answer, "next");
        uint64_t next_job = tool_u64(next, "job"), next_record = tool_u64(next, "record");
        go_on = page(arg, i, answer);
        /* It must lead onward, or this would never end. */
        go_on = go_on && json_is_object(next) && (!one_job || next_job == job) &&
                (next_job > job || (next_job == job && next_record > record));
        job = next_job;
        record = next_record;
        json_decref(answer);
    }
    return MOB_OK;
}

void source_all(struct source *src, const json_t *ask, source_page page, void *arg,
                unsigned *ret_failed)
{
    *ret_failed = 0;
    for (size_t i = 0; i < json_array_size(src->nodes); i++) {
        if (source_pages(src, i, ask, page, arg)) {
            fprintf(stderr, "%s: node %s: %s\n", tool_name, source_host(src, i),
                    mob_last_error());
            ++*ret_failed;
        }
    }
}

json_t *source_request(const struct settings *s, const char *what)
{
    json_t *ask = json_pack("{s:s,s:O}", "what", what, "filter", s->filter);
    if (ask && s->job) {
        json_object_set_new(ask, "job", json_integer((json_int_t)s->job));
        json_object_set_new(ask, "one_job", json_true());
    }
    return ask;
}

char *age_text(uint64_t ms, char *buf, size_t size)
{
    double s = (double)ms / 1000;
    if (s < 120) {
        snprintf(buf, size, s < 10 ? "%.1fs" : "%.0fs", s);
    } else if (s < 7200) {
        snprintf(buf, size, "%.0fm", s / 60);
    } else if (s < 48 * 3600) {
        snprintf(buf, size, "%.1fh", s / 3600);
    } else {
        snprintf(buf, size, "%.1fd", s / 86400);
    }
    return buf;
}
