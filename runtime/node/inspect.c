/* inspect.c - what storectl asks: answered here, by a child, or by the node that is meant.
 *
 * A request is JSON. What the boards say is answered by look/ (look.h has the requests); a walk over all
 * of a board is a child's, so that it neither keeps the daemon from its other work nor harms it. Here:
 *   stat    {}                   this node's memory, all figures at once
 *   jobs    {}                   its jobs and the messages about leases, as in status.c: {jobs, head_words}
 *   timeline ...                 what is recorded of tasks and transfers; see timeline.c
 *   copy    {owner, job, link}   the copy here of an object of another node: {copy: id, or null}
 *   rm      {job, link}          drops the handle that keeps a sealed object
 *   put     {job, path}          a file's bytes as an object: {id}. Of a tool here alone; /proc/PID/fd/N does
 *   spill   {bytes}              moves so many bytes to disk, soon
 *   evict   {}                   drops copies of other nodes' objects: {bytes}
 *   busy    {}                   whether something is on its way to disk: {busy}
 * and bytes of an object on disk brings it back first: {later: true} until it is there.
 * With "node" it is for another node of the cluster, and goes there (ask.c). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "inspect.h"
#include "look/look.h"
#include "spill.h"
#include "store/task.h"

/* ---- figures ------------------------------------------------------------------------------------- */

static json_t *process_json(const struct job *j, uint32_t proc, int pid, const char *role)
{
    struct budget_owner owner = {j->index, proc == DAEMON ? BUDGET_DAEMON : proc};
    uint64_t segments = 0;
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        segments += j->segments[i].state != SEGMENT_NONE && j->segments[i].owner == proc;
    }
    return json_pack("{s:i,s:s,s:I,s:I}", "pid", pid, "role", role, "segments",
                     (json_int_t)segments, "bytes",
                     (json_int_t)budget_of(&j->node->budget, owner));
}

static json_t *processes_json(const struct job *j)
{
    json_t *list = json_array();
    json_array_append_new(list, process_json(j, DAEMON, (int)getpid(), "daemon"));
    json_array_append_new(
        list, process_json(j, 1, j->driver ? (int)j->driver->pid : 0, "driver"));
    for (uint32_t i = 2; i < PROCS_MAX; i++) {
        if (j->members[i].used && !j->members[i].dead) {
            json_array_append_new(list,
                                  process_json(j, i, (int)j->members[i].pid, "worker"));
        }
    }
    return list;
}

static json_t *segments_json(const struct job *j)
{
    static const char *const names[] = {"none", "ahead",  "granted",
                                        "held", "orphan", "leaving"};
    uint64_t count[SEGMENT_LEAVING + 1] = {0}, bytes[SEGMENT_LEAVING + 1] = {0};
    json_t *states = json_object();
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        const struct segment *s = &j->segments[i];
        count[s->state]++;
        bytes[s->state] += s->bytes;
    }
    for (int i = SEGMENT_AHEAD; i <= SEGMENT_LEAVING; i++) {
        json_object_set_new(states, names[i],
                            json_pack("{s:I,s:I}", "count", (json_int_t)count[i], "bytes",
                                      (json_int_t)bytes[i]));
    }
    return states;
}

static uint64_t gets_done(const struct job *j)
{
    uint64_t gets = 0;
    for (uint32_t i = 1; i < PROCS_MAX; i++) {
        gets += at_load(&j->board.procs[i].gets, AT_RELAXED);
    }
    return gets;
}

static uint64_t copies_bytes(const struct node *n)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        const struct job *j = n->jobs[i];
        bytes += j && !j->ended && j->guest ? j->guest->standin_bytes : 0;
    }
    return bytes;
}

static json_t *spill_json(const struct node *n)
{
    const struct spill_disk *d = n->spill ? &n->spill->disk : NULL;
    json_t *folders = json_array();
    for (unsigned i = 0; d && i < d->count; i++) {
        json_array_append_new(folders, json_pack("{s:o,s:o}", "path",
                                                 look_text(d->folders[i].path), "failure",
                                                 look_text(d->folders[i].why)));
    }
    return d ? json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "live_bytes",
                         (json_int_t)d->live_bytes, "disk_bytes",
                         (json_int_t)d->disk_bytes, "out_objects",
                         (json_int_t)d->out_objects, "out_bytes",
                         (json_int_t)d->out_bytes, "in_objects",
                         (json_int_t)d->in_objects, "in_bytes", (json_int_t)d->in_bytes,
                         "corrupt", (json_int_t)d->corrupt, "folders", folders)
             : json_pack("{s:o}", "folders", folders);
}

static json_t *stat_json(const struct node *n)
{
    struct budget_status b;
    json_t *jobs = json_array();
    char id[24], huge[16];
    uint64_t gets = 0;
    if (budget_status(&n->budget, &b) != MOB_OK) {
        json_decref(jobs);
        return NULL;
    }
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        const struct job *j = n->jobs[i];
        if (j && !j->ended) {
            gets += gets_done(j);
            json_array_append_new(
                jobs,
                json_pack("{s:i,s:o,s:I,s:I,s:I,s:o,s:o,s:o}", "number", (int)j->number,
                          "name", look_text(j->name), "tasks_done",
                          (json_int_t)status_tasks_done(j), "bytes",
                          (json_int_t)budget_of_job(&n->budget, j->index), "board_bytes",
                          (json_int_t)j->board_bytes, "processes", processes_json(j),
                          "records", json_phases(j), "segments", segments_json(j)));
        }
    }
    snprintf(id, sizeof id, "%010llx", (unsigned long long)n->id);
    return json_pack(
        "{s:s,s:I,s:s,s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:o}", "node", id, "gets",
        (json_int_t)gets, "huge_pages", machine_huge_pages(huge, sizeof huge),
        "evictable_bytes", (json_int_t)copies_bytes(n), "spill", spill_json(n),
        "limit_bytes", (json_int_t)b.limit_bytes, "used_bytes", (json_int_t)b.used_bytes,
        "pending_bytes", (json_int_t)b.pending_bytes, "left_bytes",
        (json_int_t)b.left_bytes, "reserve_bytes", (json_int_t)b.reserve_bytes,
        "machine_free_bytes", (json_int_t)b.memory.available_bytes, "jobs", jobs, "peers",
        status_peers(n));
}

/* ---- the boards ---------------------------------------------------------------------------------- */

static mob_status read_segment(void *arg, uint32_t segment, uint64_t offset, void *buf,
                               size_t size)
{
    const struct job *j = arg;
    const struct segment *s = &j->segments[segment];
    if (s->state == SEGMENT_NONE || offset > s->bytes || size > s->bytes - offset) {
        return status_fail(MOB_ERR_CORRUPT, "segment %u has no such bytes", segment);
    }
    for (size_t at = 0; at < size;) {
        ssize_t n = pread(s->fd, (char *)buf + at, size - at, (off_t)(offset + at));
        if (n <= 0) {
            return status_fail(MOB_ERR_SYSTEM, "reading segment %u: %m", segment);
        }
        at += (size_t)n;
    }
    return MOB_OK;
}

static mob_status check_spilled(void *arg, uint64_t link, const struct place *p)
{
    const struct job *j = arg;
    return spill_verify(j->spill.files, link, p);
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const struct look_job *)a)->number,
             y = ((const struct look_job *)b)->number;
    return x < y ? -1 : x > y;
}

unsigned inspect_jobs(struct node *n, struct look_job jobs[JOBS_MAX])
{
    unsigned count = 0;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (j && !j->ended) {
            jobs[count++] = (struct look_job){.number = j->number,
                                              .node = n->id,
                                              .name = j->name,
                                              .board = &j->board,
                                              .read = read_segment,
                                              .spilled = check_spilled,
                                              .arg = j};
        }
    }
    qsort(jobs, count, sizeof *jobs, by_number);
    return count;
}

/* ---- copies -------------------------------------------------------------------------------------- */

static json_t *id_json(const struct node *n, uint32_t job, uint64_t link)
{
    char id[LOOK_ID_SIZE];
    look_id_text(n->id, job, link, id);
    return json_string(id);
}

static json_t *copy(struct node *n, const json_t *ask)
{
    json_int_t owner = 0, number = 0, link = 0;
    if (json_unpack((json_t *)(uintptr_t)ask, "{s:I,s:I,s:I}", "owner", &owner, "job",
                    &number, "link", &link)) {
        status_fail(MOB_ERR_INVALID, "a request for a copy that names no object");
        return NULL;
    }
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        struct fetch *arriving;
        uint64_t ours;
        if (j && !j->ended && j->guest && j->guest->owner->id == (uint64_t)owner &&
            (j->guest->number & 0xfffff) == (uint64_t)number &&
            standin_find(j, (uint64_t)link, &ours, &arriving)) {
            return json_pack("{s:o}", "copy", id_json(n, j->number, ours));
        }
    }
    return json_pack("{s:o}", "copy", json_null());
}

/* Says of an object that stands for another node's which one that is. */
static void add_origin(struct node *n, const json_t *ask, json_t *answer)
{
    struct job *j = inspect_job(n, ask);
    uint64_t link = (uint64_t)json_integer_value(json_object_get(ask, "link")), theirs;
    json_t *object = json_object_get(answer, "object");
    char id[LOOK_ID_SIZE];
    if (j && j->guest && object && guest_origin(j, link, &theirs)) {
        look_id_text(j->guest->owner->id, j->guest->number, theirs, id);
        json_object_set_new(object, "copy_of", json_string(id));
    }
}

/* ---- requests ------------------------------------------------------------------------------------ */

struct job *inspect_job(const struct node *n, const json_t *ask)
{
    uint64_t number = (uint64_t)json_integer_value(json_object_get(ask, "job"));
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (j && !j->ended && (j->number & 0xfffff) == number) {
            return j;
        }
    }
    status_fail(MOB_ERR_NOT_FOUND, "there is no job %llu here",
                (unsigned long long)number);
    return NULL;
}

/* spill, evict and busy, by their first letters. */
static json_t *make_room(struct node *n, const json_t *ask, char what)
{
    uint64_t before = copies_bytes(n);
    json_int_t bytes = json_integer_value(json_object_get(ask, "bytes"));
    if (what == 'e') {
        grant_want(n);
        return json_pack("{s:I}", "bytes", (json_int_t)(before - copies_bytes(n)));
    }
    if (!n->spill) {
        status_fail(MOB_ERR_STATE, "this node has no folder for objects on disk; "
                                   "mobula start --spill-dir gives it one");
        return NULL;
    }
    if (what == 's' && bytes > 0) {
        spill_pressure(n, (uint64_t)bytes);
    }
    bool busy = n->spill->state != ROUND_IDLE || n->spill->soon.active;
    return json_pack("{s:b,s:I}", "busy", (int)busy, "out_bytes",
                     (json_int_t)n->spill->disk.out_bytes);
}

/* True if the object is on disk, and on its way back now. */
static bool bring_back(const struct node *n, const json_t *ask)
{
    struct job *j = inspect_job(n, ask);
    uint64_t link = (uint64_t)json_integer_value(json_object_get(ask, "link"));
    struct record *r;
    struct place p;
    if (!j || grant_resolve(j, &link, &r, &p) != MOB_OK || p.kind != PLACE_SPILLED) {
        return false;
    }
    spill_restore(j, link);
    return true;
}

json_t *inspect_answer(struct node *n, const json_t *ask)
{
    const char *what = json_string_value(json_object_get(ask, "what"));
    struct look_job jobs[JOBS_MAX];
    what = what ? what : "";
    if (strcmp(what, "ping") == 0) { /* how long an answer takes */
        return json_object();
    }
    if (strcmp(what, "stat") == 0) {
        return stat_json(n);
    }
    if (strcmp(what, "jobs") == 0) {
        json_t *o =
            json_pack("{s:o,s:o}", "jobs", status_jobs(n), "head_words", status_words(n));
        status_pins(n, o);
        return o;
    }
    if (strcmp(what, "timeline") == 0) {
        return timeline_answer(n, ask);
    }
    if (strcmp(what, "copy") == 0) {
        return copy(n, ask);
    }
    if (strcmp(what, "rm") == 0) {
        return inspect_rm(n, ask);
    }
    if (strcmp(what, "spill") == 0 || strcmp(what, "evict") == 0 ||
        strcmp(what, "busy") == 0) {
        return make_room(n, ask, *what);
    }
    if (strcmp(what, "bytes") == 0 && bring_back(n, ask)) {
        return json_pack("{s:b}", "later", 1);
    }
    struct look l = {jobs, inspect_jobs(n, jobs)};
    json_t *answer = look_answer(&l, ask);
    if (answer && strcmp(what, "show") == 0) {
        add_origin(n, ask, answer);
    }
    return answer;
}

/* An answer to who asked, or the last failure. Takes the reference. */
static void reply(struct asker a, struct node *n, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    json_decref(answer);
    if (!text && !mob_last_error()[0]) {
        status_say("no memory for the answer");
    }
    asker_reply(n, a, text ? MOB_OK : MOB_ERR_NOT_FOUND, text);
}

/* ---- those that need a census ---------------------------------------------------------------------- */

enum { COUNTED_MAX = 64 }; /* that wait at once */

struct counted_ask {
    struct counted_ask *next;
    struct node *node;
    struct census_wait wait;
    struct asker asker;
    json_t *ask;
};

static void forget(struct counted_ask *k)
{
    struct counted_ask **at = &k->node->asks;
    while (*at != k) {
        at = &(*at)->next;
    }
    *at = k->next;
    census_forget(k->node, &k->wait);
    json_decref(k->ask);
    free(k);
}

static void counted(struct census_wait *w)
{
    struct counted_ask *k = LOOP_OWNER(w, struct counted_ask, wait);
    struct node *n = k->node;
    struct asker a = k->asker;
    status_forget();
    json_t *answer = inspect_answer(n, k->ask);
    forget(k);
    reply(a, n, answer);
}

static void count_first(struct node *n, struct asker a, json_t *ask)
{
    unsigned waiting = 0;
    for (const struct counted_ask *k = n->asks; k; k = k->next) {
        waiting++;
    }
    struct counted_ask *k = waiting < COUNTED_MAX ? calloc(1, sizeof *k) : NULL;
    if (!k) {
        status_fail(MOB_ERR_FULL, "%u others ask this node the same; ask again", waiting);
        reply(a, n, NULL);
        return;
    }
    *k = (struct counted_ask){n->asks, n, {0}, a, json_incref(ask)};
    n->asks = k;
    census_take(n, &k->wait, counted);
}

void inspect_asker_gone(struct node *n, const struct conn *c, const struct peer *p)
{
    for (struct counted_ask *k = n->asks, *next; k; k = next) {
        next = k->next;
        if ((c && k->asker.conn == c) || (p && k->asker.peer == p)) {
            forget(k);
        }
    }
}

void inspect_request(struct node *n, struct asker a, const char *words, size_t size)
{
    json_t *ask = json_loadb(words, size, JSON_REJECT_DUPLICATES, NULL);
    const char *what = json_string_value(json_object_get(ask, "what"));
    const char *node = json_string_value(json_object_get(ask, "node"));
    uint64_t id = node ? strtoull(node, NULL, 16) : n->id;
    status_forget();
    if (!ask || !what) {
        status_fail(MOB_ERR_INVALID, "the node does not know this request: %.*s",
                    (int)(size < 200 ? size : 200), words);
        reply(a, n, NULL);
    } else if (id != n->id) {
        ask_forward(n, a, id, ask);
    } else if (strcmp(what, "verify") == 0 || strcmp(what, "digest") == 0) {
        checker_start(n, a, ask);
    } else if (strcmp(what, "stat") == 0 || strcmp(what, "jobs") == 0) {
        count_first(n, a, ask);
    } else if (a.conn && strcmp(what, "put") == 0) {
        inspect_put(a.conn, ask);
    } else {
        reply(a, n, inspect_answer(n, ask));
    }
    json_decref(ask);
}

void inspect_reply(struct conn *c, struct local_msg *m)
{
    inspect_request(c->node, (struct asker){.conn = c}, m->text, m->text_size);
}
