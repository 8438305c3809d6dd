/* show.c - one object: all that is known of it, and why it is still there. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/status.h"
#include "core/text.h"
#include "look/look.h"
#include "storectl.h"

mob_status object_request(const struct source *src, const struct settings *s,
                          const char *what, size_t *ret_node, json_t **ret)
{
    uint64_t node, link;
    uint32_t job;
    MOB_TRY(look_id_parse(s->words[0], &node, &job, &link));
    MOB_TRY(source_find(src, node, ret_node));
    *ret = json_pack("{s:s,s:I,s:I}", "what", what, "job", (json_int_t)job, "link",
                     (json_int_t)link);
    return *ret ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory for a request");
}

static mob_status ask_uses(struct source *src, size_t node, json_t *all, uint64_t job,
                           uint64_t link)
{
    uint64_t record = 0;
    for (;;) {
        json_t *answer,
            *ask = json_pack("{s:s,s:I,s:I,s:I}", "what", "uses", "job", (json_int_t)job,
                             "link", (json_int_t)link, "record", (json_int_t)record);
        MOB_TRY(source_ask(src, node, ask, &answer));
        json_array_extend(all, json_object_get(answer, "uses"));
        const json_t *next = json_object_get(answer, "next");
        uint64_t to = tool_u64(next, "record");
        bool go_on = json_is_object(next) && to > record;
        json_decref(answer);
        if (!go_on) {
            return MOB_OK;
        }
        record = to;
    }
}

json_t *object_uses(struct source *src, size_t node, const json_t *object)
{
    uint64_t id, link;
    uint32_t job;
    json_t *all = json_array();
    if (tool_u64(object, "uses") &&
        look_id_parse(tool_str(object, "id"), &id, &job, &link) == MOB_OK &&
        ask_uses(src, node, all, job, link)) {
        fprintf(stderr, "%s: its uses: %s\n", tool_name, mob_last_error());
    }
    return all;
}

/* Copies of it that other nodes have. */
static json_t *object_copies(struct source *src, size_t node, const json_t *object)
{
    uint64_t owner, link;
    uint32_t job;
    json_t *all = json_array();
    if (look_id_parse(tool_str(object, "id"), &owner, &job, &link)) {
        return all;
    }
    for (size_t i = 0; i < json_array_size(src->nodes); i++) {
        json_t *answer, *ask = json_pack("{s:s,s:I,s:I,s:I}", "what", "copy", "owner",
                                         (json_int_t)owner, "job", (json_int_t)job,
                                         "link", (json_int_t)link);
        if (i == node) {
            json_decref(ask);
        } else if (source_ask(src, i, ask, &answer) == MOB_OK) {
            const char *id = tool_str(answer, "copy");
            if (*id) {
                json_array_append_new(
                    all, json_pack("{s:s,s:s}", "node", source_host(src, i), "id", id));
            }
            json_decref(answer);
        }
    }
    return all;
}

/* The object with its uses and copies, or NULL. */
static json_t *find(struct source *src, const struct settings *s)
{
    json_t *ask, *answer;
    size_t node;
    if (object_request(src, s, "show", &node, &ask) ||
        source_ask(src, node, ask, &answer)) {
        return NULL;
    }
    json_t *object = json_incref(json_object_get(answer, "object"));
    json_decref(answer);
    if (object) {
        json_object_set_new(object, "node", json_string(source_host(src, node)));
        json_object_set_new(object, "used_by", object_uses(src, node, object));
        json_object_set_new(object, "copies", object_copies(src, node, object));
    }
    return object;
}

/* ---- show --------------------------------------------------------------------------------------------- */

static void line(const char *label, const char *text)
{
    if (*text) {
        printf("%-12s", label);
        for (; *text; text++) { /* what would steer a terminal */
            putchar((unsigned char)*text < ' ' || *text == 127 ? '?' : *text);
        }
        putchar('\n');
    }
}

static const char *brief(const json_t *o, char *buf, size_t size)
{
    uint64_t pid = tool_u64(o, "pid");
    int n = snprintf(buf, size, "%s %s, %s", tool_str(o, "id"), tool_str(o, "name"),
                     tool_str(o, "state"));
    if (pid && n > 0 && (size_t)n < size) {
        snprintf(buf + n, size - (size_t)n, " in process %" PRIu64, pid);
    }
    return buf;
}

static void show_list(const json_t *object, const char *key, const char *label,
                      const char *(*text)(const json_t *o, char *buf, size_t size))
{
    const json_t *o;
    size_t i;
    char buf[512];
    json_array_foreach(json_object_get(object, key), i, o)
    {
        line(i ? "" : label, text(o, buf, sizeof buf));
    }
}

static const char *argument_text(const json_t *o, char *buf, size_t size)
{
    if (json_object_get(o, "id")) {
        return brief(o, buf, size);
    }
    snprintf(buf, size, "a value of %" PRIu64 " bytes", tool_u64(o, "bytes"));
    return buf;
}

static const char *use_text(const json_t *o, char *buf, size_t size)
{
    char what[384];
    snprintf(buf, size, "%s %" PRIu64 " of %s", tool_str(o, "as"), tool_u64(o, "number"),
             brief(o, what, sizeof what));
    return buf;
}

static const char *pin_text(const json_t *o, char *buf, size_t size)
{
    const json_t *task = json_object_get(o, "task");
    char what[384] = "";
    snprintf(buf, size, "%s %" PRIu64 "%s%s", tool_str(o, "role"), tool_u64(o, "pid"),
             task ? ", which runs " : "", task ? brief(task, what, sizeof what) : "");
    return buf;
}

static const char *copy_text(const json_t *o, char *buf, size_t size)
{
    snprintf(buf, size, "%s on %s", tool_str(o, "id"), tool_str(o, "node"));
    return buf;
}

static void show_bytes(const json_t *o)
{
    char text[128], size[32];
    if (json_object_get(o, "size")) {
        text_bytes(tool_u64(o, "size"), size, sizeof size);
        if (json_object_get(o, "segment")) {
            snprintf(text, sizeof text, "%s, segment %" PRIu64 " at %" PRIu64, size,
                     tool_u64(o, "segment"), tool_u64(o, "offset"));
        } else if (json_object_get(o, "file")) {
            snprintf(text, sizeof text, "%s, on disk, file %" PRIu64 " at %" PRIu64, size,
                     tool_u64(o, "file"), tool_u64(o, "offset"));
        } else {
            snprintf(text, sizeof text, "%s, %s", size, tool_str(o, "place"));
        }
        line("bytes", text);
    }
    line("type", tool_str(o, "meta"));
}

int run_show(struct source *src, const struct settings *s)
{
    json_t *o = find(src, s);
    char text[512], age[32];
    if (!o) {
        return tool_fail();
    }
    if (s->json) {
        return tool_print_json(o);
    }
    line("id", tool_str(o, "id"));
    line("node", tool_str(o, "node"));
    snprintf(text, sizeof text, "%" PRIu64, tool_u64(o, "job"));
    line("job", text);
    line("task", tool_str(o, "name"));
    line("function", tool_str(o, "function"));
    snprintf(text, sizeof text, "%s, attempt %" PRIu64, tool_str(o, "state"),
             tool_u64(o, "attempt"));
    line("state", text);
    line("error", tool_str(o, "error"));
    line("", tool_str(o, "message"));
    show_bytes(o);
    if (json_object_get(o, "age_ms")) {
        snprintf(text, sizeof text, "%s ago%s%s",
                 age_text(tool_u64(o, "age_ms"), age, sizeof age),
                 *tool_str(o, "site") ? ", at " : "", tool_str(o, "site"));
        line("made", text);
    }
    if (json_object_get(o, "parent")) {
        line("parent", brief(json_object_get(o, "parent"), text, sizeof text));
    }
    show_list(o, "arguments", "arguments", argument_text);
    if (json_object_get(o, "bytes_of")) {
        line("bytes of", brief(json_object_get(o, "bytes_of"), text, sizeof text));
    }
    line("copy of", tool_str(o, "copy_of"));
    line("held", json_is_true(json_object_get(o, "held")) ? "yes" : "no");
    show_list(o, "used_by", "used by", use_text);
    show_list(o, "pinned_by", "pinned by", pin_text);
    show_list(o, "copies", "copies", copy_text);
    json_decref(o);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}

/* ---- why ---------------------------------------------------------------------------------------------- */

static void say_handle(const json_t *o)
{
    char text[512];
    const json_t *parent = json_object_get(o, "parent");
    uint64_t handles = tool_u64(o, "handles");
    if (!handles) {
        return;
    }
    bool other = !json_is_true(json_object_get(o, "held"));
    printf("%s%s has not released %s%s%s.\n", parent ? "The task " : "The job's program",
           parent ? brief(parent, text, sizeof text) : "",
           other ? "another result of its task" : "its id",
           *tool_str(o, "site") ? ", which it got at " : "", tool_str(o, "site"));
}

static void say_list(const json_t *o, const char *key, const char *before,
                     const char *(*text)(const json_t *, char *, size_t))
{
    const json_t *x;
    size_t i;
    char buf[512];
    json_array_foreach(json_object_get(o, key), i, x)
    {
        printf("%s%s.\n", before, text(x, buf, sizeof buf));
    }
}

/* How many reasons were said. */
static unsigned say_reasons(const json_t *o)
{
    const char *state = tool_str(o, "state");
    unsigned reasons = 0;
    if (strcmp(state, "sealed") != 0 && strcmp(state, "failed") != 0 &&
        strcmp(state, "freed") != 0) {
        printf("Its task is not done: it is %s.\n", state);
        reasons++;
    }
    if (tool_u64(o, "open_children")) {
        printf("%" PRIu64 " tasks that its task submitted are not done.\n",
               tool_u64(o, "open_children"));
        reasons++;
    }
    say_handle(o);
    reasons += tool_u64(o, "handles") != 0;
    say_list(o, "used_by", "It is ", use_text);
    say_list(o, "pinned_by", "A view of it is held by the ", pin_text);
    if (*tool_str(o, "copy_of")) {
        printf(
            "It is this node's copy of %s, kept for later tasks until room is needed.\n",
            tool_str(o, "copy_of"));
        reasons++;
    }
    return reasons + (unsigned)json_array_size(json_object_get(o, "used_by")) +
           (unsigned)json_array_size(json_object_get(o, "pinned_by"));
}

int run_why(struct source *src, const struct settings *s)
{
    json_t *o = find(src, s);
    char size[32];
    if (!o) {
        return tool_fail();
    }
    if (s->json) {
        return tool_print_json(o);
    }
    printf("%s %s, %s%s%s\n", tool_str(o, "id"), tool_str(o, "name"),
           tool_str(o, "state"), json_object_get(o, "size") ? ", " : "",
           json_object_get(o, "size") ? text_bytes(tool_u64(o, "size"), size, sizeof size)
                                      : "");
    if (say_reasons(o) == 0 && tool_u64(o, "uses")) {
        printf("%" PRIu64
               " uses of it are counted, and nobody is seen who has one: what a death "
               "left, until the node has looked at all records.\n",
               tool_u64(o, "uses"));
    } else if (strcmp(tool_str(o, "state"), "freed") == 0) {
        puts("It was freed; its memory goes when no view holds it and its owner has "
             "looked.");
    }
    json_decref(o);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}
