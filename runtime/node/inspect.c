/* inspect.c - what storectl shows: the objects on this node, and where its memory is.
 *
 * A request is JSON. {"what": "stat"}: all figures at once. {"what": "ls", "job": J, "record": R}:
 * the objects from record R of job J on; the answer names the place to go on in "next", or null at
 * the end. One answer looks at a bounded number of records, so that a large store does not keep
 * the daemon from its other work, and nothing is remembered between two of them.
 *
 * Boards are written by clients: every index read from one is checked here. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/status.h"
#include "node.h"

enum {
    LS_OBJECTS_MAX = 64,      /* in one answer */
    LS_RECORDS_MAX = 1 << 16, /* looked at for one answer: some milliseconds */
    MESSAGE_MAX = 512         /* of a failed one; mob_failure() has all of it */
};

/* ---- objects ------------------------------------------------------------------------------------- */

struct pins { /* links of records that views hold, from all ledgers of a job */
    uint64_t *links;
    size_t count, room;
};

static void collect_pins(const struct job *j, struct pins *ret)
{
    const struct board *b = &j->board;
    uint32_t ledgers = at_load(&b->header->ledgers, AT_ACQUIRE);
    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; i < ledgers && i < BOARD_LEDGERS_MAX; i++) {
        for (uint32_t k = 0; k < BOARD_PINS; k++) {
            uint64_t link = at_load(&b->ledgers[i].pin[k], AT_RELAXED);
            if (link == LINK_NONE) {
                continue;
            }
            if (ret->count == ret->room) {
                size_t room = ret->room ? 2 * ret->room : 64;
                uint64_t *more = realloc(ret->links, room * sizeof *more);
                if (!more) {
                    return; /* too few are shown */
                }
                ret->links = more;
                ret->room = room;
            }
            ret->links[ret->count++] = link;
        }
    }
}

static unsigned count_pins(const struct pins *pins, uint32_t gen, uint32_t index)
{
    unsigned count = 0;
    for (size_t i = 0; i < pins->count; i++) {
        count += link_gen(pins->links[i]) == gen && link_index(pins->links[i]) == index;
    }
    return count;
}

static const char *state_name(uint64_t s)
{
    switch (state_phase(s)) {
    case PHASE_CREATING:
        return "creating";
    case PHASE_WAITING:
        return "waiting";
    case PHASE_QUEUED:
        return "queued";
    case PHASE_TAKEN:
        return "running";
    case PHASE_DONE:
    case PHASE_CLOSED:
        return s & STATE_ERROR ? "failed" : "sealed";
    case PHASE_DEAD:
    case PHASE_DRAINING:
        return "freed";
    default:
        return NULL; /* no object */
    }
}

static const char *place_name(enum place_kind kind)
{
    static const char *const names[] = {"empty", "inline", "segment", "ref"};
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "?";
}

/* The process that works on the record, by its pid; 0 if none does. */
static int holder_pid(const struct job *j, uint64_t s)
{
    uint32_t holder = state_holder(s);
    enum phase p = state_phase(s);
    bool held = p == PHASE_CREATING || p == PHASE_TAKEN;
    return held && holder != DAEMON && holder < PROCS_MAX
               ? (int)at_load(&j->board.procs[holder].pid, AT_RELAXED)
               : 0;
}

/* What a failed object says of itself. */
static void add_failure(json_t *o, struct job *j, const struct record *r)
{
    char text[MESSAGE_MAX];
    struct place p = record_get_place(r, 0);
    mob_status st = grant_failure(j, r, &p, text, sizeof text);
    json_object_set_new(o, "error", json_string(mob_status_name(st)));
    json_object_set_new(o, "message", json_text(text));
}

static json_t *object_json(struct job *j, uint32_t index, uint32_t ret, uint64_t state,
                           unsigned pins)
{
    const struct record *r = &j->board.records[index];
    struct call call = record_call(r);
    uint64_t refs = at_load(&r->refs, AT_RELAXED);
    char id[40], name[MOB_NAME_MAX + 1] = "(put)";
    snprintf(id, sizeof id, "%016llx%016llx",
             (unsigned long long)(j->node->id << 24 |
                                  (uint64_t)(j->number & 0xfffff) << 4 | 1),
             (unsigned long long)link_make(state_gen(state), index, ret));
    if (call.fn != CALL_PUT) {
        board_name_text(&j->board, r->name, name);
    }
    json_t *o =
        json_pack("{s:s,s:i,s:o,s:s,s:i,s:i,s:b,s:I,s:i}", "id", id, "job",
                  (int)j->number, "name", json_text(name), "state", state_name(state),
                  "pid", holder_pid(j, state), "attempt", (int)state_attempt(state) + 1,
                  "held", (int)(refs >> (REFS_HANDLE_SHIFT + ret) & 1), "uses",
                  (json_int_t)(refs & REFS_USES_MASK), "pins", (int)pins);
    if (o && state_sealed(state) && state & STATE_ERROR) {
        add_failure(o, j, r);
    } else if (o && state_sealed(state)) {
        struct place p = record_get_place(r, ret);
        json_object_set_new(o, "place", json_string(place_name(p.kind)));
        if (p.kind != PLACE_REF) {
            json_object_set_new(o, "size", json_integer((json_int_t)p.size));
        }
        if (p.kind == PLACE_ARENA) {
            json_object_set_new(o, "segment", json_integer((json_int_t)p.segment));
            json_object_set_new(o, "offset", json_integer((json_int_t)p.offset));
        }
    }
    return o;
}

/* Adds the objects of one record. */
static void add_record(json_t *objects, struct job *j, uint32_t index,
                       const struct pins *pins)
{
    const struct record *r = &j->board.records[index];
    uint64_t state = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    if (!state_name(state)) {
        return;
    }
    uint32_t returns = call_nrets(&call);
    unsigned count = count_pins(pins, state_gen(state), index);
    for (uint32_t i = 0; i < returns && i < MOB_RETURNS_MAX; i++) {
        json_array_append_new(objects, object_json(j, index, i, state, count));
    }
}

/* The job of the least number that is not below @number. */
static struct job *job_from(const struct node *n, uint64_t number)
{
    struct job *found = NULL;
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = n->jobs[i];
        if (j && !j->ended && j->number >= number &&
            (!found || j->number < found->number)) {
            found = j;
        }
    }
    return found;
}

static json_t *ls_json(const struct node *n, uint64_t number, uint64_t record)
{
    json_t *objects = json_array(), *next = NULL;
    uint32_t looked = 0;
    struct job *j = job_from(n, number);
    while (j && !next) {
        struct pins pins;
        uint64_t i = j->number == number ? record : 0;
        uint32_t committed = board_committed(&j->board);
        collect_pins(j, &pins);
        for (; i < committed && i < BOARD_RECORDS_MAX; i++) {
            if (looked++ == LS_RECORDS_MAX ||
                json_array_size(objects) >= LS_OBJECTS_MAX) {
                next = json_pack("{s:i,s:I}", "job", (int)j->number, "record",
                                 (json_int_t)i);
                break;
            }
            add_record(objects, j, (uint32_t)i, &pins);
        }
        free(pins.links);
        j = next ? NULL : job_from(n, (uint64_t)j->number + 1);
    }
    return json_pack("{s:o,s:o}", "objects", objects, "next", next ? next : json_null());
}

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

static json_t *stat_json(const struct node *n)
{
    struct budget_status b;
    json_t *jobs = json_array();
    char id[24];
    if (budget_status(&n->budget, &b) != MOB_OK) {
        json_decref(jobs);
        return NULL;
    }
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        const struct job *j = n->jobs[i];
        if (j && !j->ended) {
            json_array_append_new(
                jobs,
                json_pack("{s:i,s:o,s:I,s:I,s:o,s:o,s:o}", "number", (int)j->number,
                          "name", json_text(j->name), "bytes",
                          (json_int_t)budget_of_job(&n->budget, j->index), "board_bytes",
                          (json_int_t)j->board_bytes, "processes", processes_json(j),
                          "records", json_phases(j), "segments", segments_json(j)));
        }
    }
    snprintf(id, sizeof id, "%010llx", (unsigned long long)n->id);
    return json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "node", id, "limit_bytes",
                     (json_int_t)b.limit_bytes, "used_bytes", (json_int_t)b.used_bytes,
                     "pending_bytes", (json_int_t)b.pending_bytes, "left_bytes",
                     (json_int_t)b.left_bytes, "reserve_bytes",
                     (json_int_t)b.reserve_bytes, "machine_free_bytes",
                     (json_int_t)b.memory.available_bytes, "jobs", jobs);
}

/* ---- requests ------------------------------------------------------------------------------------ */

void inspect_reply(struct conn *c, struct local_msg *m)
{
    const char *what = NULL;
    json_int_t job = 0, record = 0;
    uint32_t op = m->op;
    json_t *ask = json_loadb(m->text, m->text_size, JSON_REJECT_DUPLICATES, NULL);
    bool ok = ask && json_unpack(ask, "{s:s,s?I,s?I}", "what", &what, "job", &job,
                                 "record", &record) == 0;
    if (ok && strcmp(what, "stat") == 0) {
        json_reply(c, op, stat_json(c->node));
    } else if (ok && strcmp(what, "ls") == 0 && job >= 0 && record >= 0) {
        json_reply(c, op, ls_json(c->node, (uint64_t)job, (uint64_t)record));
    } else {
        conn_deny(c, op,
                  status_fail(MOB_ERR_INVALID,
                              "the node does not know this request: %.*s",
                              (int)m->text_size, m->text));
    }
    json_decref(ask);
}
