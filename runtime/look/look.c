/* look.c - requests, filters, and pages of objects. */
#include "look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "core/text.h"
#include "look_int.h"

enum {
    PAGE_OBJECTS = 256,     /* in one answer */
    PAGE_RECORDS = 1 << 16, /* looked at for one answer: some milliseconds */
    PAGE_GROUPS = 512
};

json_t *look_text(const char *text)
{
    json_t *s = json_string(text);
    char *copy = s ? NULL : strdup(text);
    for (char *c = copy; c && *c; c++) {
        *c = (unsigned char)*c < 128 ? *c : '?';
    }
    if (copy) {
        s = json_string(copy);
        free(copy);
    }
    return s;
}

/* ---- ids ------------------------------------------------------------------------------------------- */

void look_id_text(uint64_t node, uint32_t job, uint64_t link, char buf[LOOK_ID_SIZE])
{
    uint64_t hi = node << 24 | (uint64_t)(job & 0xfffff) << 4 | 1;
    snprintf(buf, LOOK_ID_SIZE, "%016llx%016llx", (unsigned long long)hi,
             (unsigned long long)link);
}

mob_status look_id_parse(const char *text, uint64_t *ret_node, uint32_t *ret_job,
                         uint64_t *ret_link)
{
    char half[17];
    bool ok = strlen(text) == 32 && strspn(text, "0123456789abcdefABCDEF") == 32;
    snprintf(half, sizeof half, "%.16s", text);
    uint64_t hi = ok ? strtoull(half, NULL, 16) : 0;
    if ((hi & 0xf) != 1) {
        return status_fail(MOB_ERR_INVALID,
                           "'%s' is no id: `storectl ls` shows them, 32 digits each",
                           text);
    }
    *ret_node = hi >> 24;
    *ret_job = (uint32_t)(hi >> 4) & 0xfffff;
    *ret_link = strtoull(text + 16, NULL, 16);
    return MOB_OK;
}

/* ---- filters ----------------------------------------------------------------------------------------- */

struct filter {
    const char *state, *name, *site;
    json_int_t min_bytes, max_bytes, min_age_ms, max_age_ms; /* -1: none */
    int only_handle;
};

static mob_status read_filter(const json_t *ask, struct filter *ret)
{
    struct filter f = {
        .min_bytes = -1, .max_bytes = -1, .min_age_ms = -1, .max_age_ms = -1};
    json_t *o = json_object_get(ask, "filter");
    if (o && json_unpack(o, "{s?s,s?s,s?s,s?I,s?I,s?I,s?I,s?b}", "state", &f.state,
                         "name", &f.name, "site", &f.site, "min_bytes", &f.min_bytes,
                         "max_bytes", &f.max_bytes, "min_age_ms", &f.min_age_ms,
                         "max_age_ms", &f.max_age_ms, "only_handle", &f.only_handle)) {
        return status_fail(MOB_ERR_INVALID, "a filter that makes no sense");
    }
    *ret = f;
    return MOB_OK;
}

/* A bound on what is not known leaves it out. */
static bool within(bool known, uint64_t value, json_int_t min, json_int_t max)
{
    return (min < 0 || (known && value >= (uint64_t)min)) &&
           (max < 0 || (known && value <= (uint64_t)max));
}

static bool passes(const struct filter *f, const struct look_object *o)
{
    bool handle = o->refs >> (REFS_HANDLE_SHIFT + o->ret) & 1;
    if (f->only_handle &&
        (!state_sealed(o->state) || !handle || o->pins || (o->refs & REFS_USES_MASK))) {
        return false;
    }
    return (!f->state || strcmp(f->state, look_state_name(o->state)) == 0) &&
           (!f->name || strcmp(f->name, o->name) == 0) &&
           (!f->site || strstr(o->site, f->site)) &&
           within(o->has_size, o->size, f->min_bytes, f->max_bytes) &&
           within(o->has_age, o->age_ms, f->min_age_ms, f->max_age_ms);
}

/* ---- pages -------------------------------------------------------------------------------------------- */

struct page {
    struct filter filter;
    json_t *objects; /* of ls; NULL for sums */
    struct group {
        uint32_t job;
        char site[MOB_NAME_MAX + 1];
        const char *state;
        uint64_t count, bytes, spilled, pinned, oldest_ms;
    } * groups;
    unsigned groups_count, last;
    uint32_t looked;
};

static bool full(const struct page *p)
{
    return p->looked >= PAGE_RECORDS ||
           (p->objects && json_array_size(p->objects) >= PAGE_OBJECTS) ||
           p->groups_count + MOB_RETURNS_MAX > PAGE_GROUPS;
}

static struct group *find_group(struct page *p, const struct look_object *o)
{
    const char *state = look_state_name(o->state);
    for (unsigned k = 0; k < p->groups_count; k++) {
        struct group *g =
            &p->groups[(p->last + k) % p->groups_count]; /* mostly the same again */
        if (g->job == o->job->number && g->state == state && !strcmp(g->site, o->site)) {
            p->last = (unsigned)(g - p->groups);
            return g;
        }
    }
    struct group *g = &p->groups[p->groups_count++];
    *g = (struct group){.job = o->job->number, .state = state};
    memcpy(g->site, o->site, sizeof g->site);
    return g;
}

static void add(struct page *p, const struct look_object *o)
{
    if (!passes(&p->filter, o)) {
        return;
    }
    if (p->objects) {
        json_array_append_new(p->objects, look_object_json(o));
        return;
    }
    struct group *g = find_group(p, o);
    /* Bytes that are another object's are counted there, and those of another node there. */
    bool here = o->has_size && o->place.kind != PLACE_REF && o->place.kind != PLACE_AWAY;
    uint64_t bytes = here ? o->size : 0;
    g->count++;
    g->bytes += o->place.kind == PLACE_SPILLED ? 0 : bytes;
    g->spilled += o->place.kind == PLACE_SPILLED ? bytes : 0;
    g->pinned += o->pins ? bytes : 0;
    g->oldest_ms = o->has_age && o->age_ms > g->oldest_ms ? o->age_ms : g->oldest_ms;
}

/* From record @from of the first job on whose number is not below @number. @ret_next: a new object,
 * or null. */
static mob_status walk(const struct look *l, uint64_t number, uint64_t from, bool one_job,
                       struct page *p, json_t **ret_next)
{
    for (unsigned k = 0; k < l->count; k++) {
        const struct look_job *j = &l->jobs[k];
        struct look_pins pins;
        if (j->number < number || (one_job && j->number != number)) {
            continue;
        }
        MOB_TRY(look_pins_collect(j->board, &pins));
        uint32_t committed = board_committed(j->board);
        for (uint64_t i = j->number == number ? from : 0;
             i < committed && i < BOARD_RECORDS_MAX; i++) {
            struct look_object o;
            if (full(p)) {
                look_pins_free(&pins);
                *ret_next = json_pack("{s:I,s:I}", "job", (json_int_t)j->number, "record",
                                      (json_int_t)i);
                return MOB_OK;
            }
            p->looked++;
            for (uint32_t r = 0; look_object(j, (uint32_t)i, r, &pins, &o); r++) {
                add(p, &o);
            }
        }
        look_pins_free(&pins);
    }
    *ret_next = json_null();
    return MOB_OK;
}

static json_t *groups_json(const struct page *p)
{
    json_t *groups = json_array();
    for (unsigned i = 0; i < p->groups_count; i++) {
        const struct group *g = &p->groups[i];
        json_array_append_new(
            groups,
            json_pack("{s:I,s:o,s:s,s:I,s:I,s:I,s:I,s:I}", "job", (json_int_t)g->job,
                      "site", look_text(g->site), "state", g->state, "count",
                      (json_int_t)g->count, "bytes", (json_int_t)g->bytes,
                      "spilled_bytes", (json_int_t)g->spilled, "pinned_bytes",
                      (json_int_t)g->pinned, "oldest_ms", (json_int_t)g->oldest_ms));
    }
    return groups;
}

static json_t *page(const struct look *l, const json_t *ask, bool sums)
{
    struct page p = {0};
    json_int_t job = 0, record = 0;
    int one_job = 0;
    json_t *next = NULL, *ret = NULL;
    if (json_unpack((json_t *)(uintptr_t)ask, "{s?I,s?I,s?b}", "job", &job, "record",
                    &record, "one_job", &one_job) ||
        job < 0 || record < 0) {
        status_fail(MOB_ERR_INVALID, "a place to go on that makes no sense");
        return NULL;
    }
    if (read_filter(ask, &p.filter)) {
        return NULL;
    }
    p.objects = sums ? NULL : json_array();
    p.groups = sums ? calloc(PAGE_GROUPS, sizeof *p.groups) : NULL;
    if (!p.objects && !p.groups) {
        status_fail(MOB_ERR_NOMEM, "no memory for an answer");
    } else if (walk(l, (uint64_t)job, (uint64_t)record, one_job, &p, &next) == MOB_OK) {
        ret = json_pack("{s:o,s:o}", sums ? "groups" : "objects",
                        sums ? groups_json(&p) : json_incref(p.objects), "next", next);
    }
    json_decref(p.objects);
    free(p.groups);
    return ret;
}

/* ---- what the boards say of themselves ---------------------------------------------------------------- */

static json_t *board_json(const struct look_job *j)
{
    static const char *const phases[] = {"free",     "creating", "waiting", "queued",
                                         "taken",    "done",     "closed",  "dead",
                                         "draining", "retired"};
    const struct board *b = j->board;
    uint64_t counts[PHASE_RETIRED + 1] = {0}, bytes = 0, segments = 0, done = 0;
    uint32_t committed = board_committed(b);
    for (uint32_t i = 0; i < committed && i < BOARD_RECORDS_MAX; i++) {
        enum phase p = state_phase(at_load(&b->records[i].state, AT_RELAXED));
        counts[p <= PHASE_RETIRED ? p : PHASE_RETIRED]++;
    }
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        uint64_t word = at_load(&b->segments[i], AT_ACQUIRE);
        segments += (word & SEGMENT_USED) != 0;
        bytes += word & SEGMENT_USED ? (word & 0xffffffffffull) * 4096 : 0;
    }
    for (uint32_t i = 1; i < PROCS_MAX; i++) {
        done += at_load(&b->procs[i].done, AT_RELAXED);
    }
    json_t *records = json_object();
    for (int p = PHASE_FREE; p <= PHASE_RETIRED; p++) {
        json_object_set_new(records, phases[p], json_integer((json_int_t)counts[p]));
    }
    return json_pack("{s:I,s:o,s:I,s:I,s:I,s:o}", "number", (json_int_t)j->number, "name",
                     look_text(j->name), "segments", (json_int_t)segments, "bytes",
                     (json_int_t)bytes, "tasks_done", (json_int_t)done, "records",
                     records);
}

static json_t *boards(const struct look *l)
{
    json_t *jobs = json_array();
    for (unsigned i = 0; i < l->count; i++) {
        json_array_append_new(jobs, board_json(&l->jobs[i]));
    }
    return json_pack("{s:o}", "jobs", jobs);
}

/* ---- requests ------------------------------------------------------------------------------------------ */

static json_t *of_object(const struct look *l, const json_t *ask, const char *what)
{
    json_int_t job = 0, link = 0, more = 0, offset = 0;
    if (json_unpack((json_t *)(uintptr_t)ask, "{s:I,s:I,s?I,s?I}", "job", &job, "link",
                    &link, "record", &more, "offset", &offset) ||
        more < 0 || offset < 0) {
        status_fail(MOB_ERR_INVALID, "a request for an object that names none");
        return NULL;
    }
    unsigned k = 0;
    while (k < l->count && (l->jobs[k].number & 0xfffff) != (uint64_t)job) {
        k++;
    }
    if (k == l->count) {
        status_fail(MOB_ERR_NOT_FOUND, "the job of that object is over");
        return NULL;
    }
    const struct look_job *j = &l->jobs[k];
    return strcmp(what, "show") == 0   ? look_show(j, (uint64_t)link)
           : strcmp(what, "uses") == 0 ? look_uses(j, (uint64_t)link, (uint64_t)more)
                                       : look_bytes(j, (uint64_t)link, (uint64_t)offset);
}

static json_t *digest(const struct look *l, const json_t *ask)
{
    json_t *id, *sums = json_array();
    size_t i;
    json_array_foreach(json_object_get(ask, "ids"), i, id)
    {
        uint64_t node, link;
        uint32_t job;
        json_t *sum = NULL;
        const char *text = json_string_value(id);
        if (text && look_id_parse(text, &node, &job, &link) == MOB_OK) {
            for (unsigned k = 0; k < l->count; k++) {
                if ((l->jobs[k].number & 0xfffff) == job && l->jobs[k].node == node) {
                    sum = look_sum(&l->jobs[k], link);
                }
            }
        }
        json_array_append_new(sums, sum ? sum : json_null());
    }
    return json_pack("{s:o}", "sums", sums);
}

json_t *look_answer(const struct look *l, const json_t *ask)
{
    const char *what = json_string_value(json_object_get(ask, "what"));
    what = what ? what : "";
    if (strcmp(what, "ls") == 0 || strcmp(what, "sums") == 0) {
        return page(l, ask, *what == 's');
    }
    if (strcmp(what, "show") == 0 || strcmp(what, "uses") == 0 ||
        strcmp(what, "bytes") == 0) {
        return of_object(l, ask, what);
    }
    if (strcmp(what, "digest") == 0) {
        return digest(l, ask);
    }
    if (strcmp(what, "boards") == 0) {
        return boards(l);
    }
    if (strcmp(what, "verify") == 0) {
        return look_verify(l, json_is_true(json_object_get(ask, "data")));
    }
    status_fail(MOB_ERR_INVALID, "the node does not know the request '%.100s'", what);
    return NULL;
}
