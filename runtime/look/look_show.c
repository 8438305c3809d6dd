/* look_show.c - what keeps one object, where it came from, who uses it. */
#include "core/status.h"
#include "look_int.h"

enum {
    USES_MAX = 128,        /* in one answer */
    USES_RECORDS = 1 << 16 /* looked at for one answer */
};

/* ---- show ---------------------------------------------------------------------------------------------- */

/* A record that another one names, in a few words. */
static json_t *brief(const struct look_job *j, uint64_t link)
{
    uint64_t s;
    char name[MOB_NAME_MAX + 1] = "(put)";
    struct record *r = look_find(j, link, &s);
    json_t *o = json_object();
    look_add_id(o, "id", j, link);
    if (r && look_state_name(s)) {
        if (record_call(r).fn != CALL_PUT) {
            board_name_text(j->board, r->name, name);
        }
        json_object_set_new(o, "name", look_text(name));
        json_object_set_new(o, "state", json_string(look_state_name(s)));
        json_object_set_new(o, "pid", json_integer(look_holder_pid(j->board, s)));
    } else {
        json_object_set_new(o, "state", json_string("gone"));
    }
    return o;
}

static json_t *pins_json(const struct look_job *j, const struct look_pin *first,
                         size_t count)
{
    const struct board *b = j->board;
    json_t *list = json_array();
    for (size_t i = 0; i < count && i < USES_MAX; i++) {
        uint32_t owner = at_load(&b->ledgers[first[i].ledger].owner, AT_ACQUIRE);
        uint32_t proc = (owner & ~LEDGER_LEFT) - 1;
        json_t *o = json_object();
        if (proc < PROCS_MAX) {
            uint64_t task = at_load(&b->procs[proc].task, AT_RELAXED);
            json_object_set_new(o, "pid",
                                json_integer(at_load(&b->procs[proc].pid, AT_RELAXED)));
            json_object_set_new(o, "role",
                                json_string(proc == DAEMON ? "daemon"
                                            : proc == 1    ? "driver"
                                                           : "worker"));
            if (task != LINK_NONE) {
                json_object_set_new(o, "task", brief(j, task));
            }
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *args_json(const struct look_job *j, struct record *r,
                         const struct call *call)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < call_nargs(call) && i < MOB_ARGS_MAX; i++) {
        struct arg_ref *ref = record_arg_ref(r, call, i);
        json_t *o =
            ref ? brief(j, at_load(&ref->link, AT_RELAXED))
                : json_pack("{s:I}", "bytes", (json_int_t)record_arg_len(r, call, i));
        json_array_append_new(list, o);
    }
    return list;
}

static void add_lineage(json_t *o, const struct look_job *j, const struct look_object *x)
{
    struct record *r = &j->board->records[x->index];
    uint64_t parent = at_load(&r->parent, AT_RELAXED);
    bool put = x->call.fn == CALL_PUT;
    if (parent != LINK_NONE && (put || call_options(&x->call) & CALL_HAS_PARENT)) {
        json_object_set_new(o, "parent", brief(j, parent));
    }
    if (!put) {
        char fn[MOB_NAME_MAX + 1];
        board_name_text(j->board, x->call.fn, fn);
        json_object_set_new(o, "function", look_text(fn));
        json_object_set_new(o, "arguments", args_json(j, r, &x->call));
        json_object_set_new(o, "results", json_integer(call_nrets(&x->call)));
        json_object_set_new(o, "retries", json_integer(x->call.retries));
        json_object_set_new(o, "foreign",
                            json_boolean(call_options(&x->call) & CALL_FOREIGN));
    }
    if (x->place.kind == PLACE_REF) {
        json_object_set_new(o, "bytes_of", brief(j, x->place.size));
    }
    uint64_t children = at_load(&r->children, AT_RELAXED);
    bool now = children >> 32 == state_attempt(x->state);
    json_object_set_new(o, "open_children", json_integer(now ? (uint32_t)children : 0));
}

json_t *look_show(const struct look_job *j, uint64_t link)
{
    struct look_pins pins;
    struct look_object x;
    const struct look_pin *first;
    uint64_t s;
    json_t *o = NULL;
    if (look_pins_collect(j->board, &pins)) {
        return NULL;
    }
    if (!look_find(j, link, &s) ||
        !look_object(j, link_index(link), link_ret(link), &pins, &x) ||
        state_gen(x.state) != link_gen(link)) {
        status_fail(MOB_ERR_NOT_FOUND,
                    "there is no such object: it was freed, or never existed");
    } else {
        o = look_object_json(&x);
    }
    if (o) {
        size_t count = look_pins_of(&pins, state_gen(x.state), x.index, &first);
        json_object_set_new(o, "pinned_by", pins_json(j, first, count));
        json_object_set_new(
            o, "handles", json_integer((json_int_t)(x.refs >> REFS_HANDLE_SHIFT & 0xff)));
        add_lineage(o, j, &x);
    }
    look_pins_free(&pins);
    return o ? json_pack("{s:o}", "object", o) : NULL;
}

/* ---- uses ---------------------------------------------------------------------------------------------- */

static void add_use(json_t *uses, const struct look_job *j, uint32_t index,
                    uint64_t state, const char *as, uint32_t which)
{
    json_t *o = brief(j, link_make(state_gen(state), index, 0));
    json_object_set_new(o, "as", json_string(as));
    json_object_set_new(o, "number", json_integer(which));
    json_array_append_new(uses, o);
}

static bool names(uint64_t link, uint64_t wanted)
{
    return (link & ~0xfull) == (wanted & ~0xfull);
}

/* Open tasks that have it as an argument, and results that are its bytes: as the audit counts uses. */
static void uses_of_record(json_t *uses, const struct look_job *j, uint32_t i,
                           uint64_t link)
{
    struct record *r = &j->board->records[i];
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    enum phase p = state_phase(s);
    struct call call = record_call(r);
    bool open = p >= PHASE_CREATING && p <= PHASE_DONE;
    for (uint32_t k = 0; open && k < call_nargs(&call) && k < MOB_ARGS_MAX; k++) {
        struct arg_ref *ref = record_arg_ref(r, &call, k);
        if (ref && names(at_load(&ref->link, AT_RELAXED), link)) {
            add_use(uses, j, i, s, "argument", k);
        }
    }
    for (uint32_t k = 0; p >= PHASE_TAKEN && p <= PHASE_DRAINING && k < call_nrets(&call);
         k++) {
        struct place place = record_get_place(r, k);
        if (place.kind == PLACE_REF && names(place.size, link)) {
            add_use(uses, j, i, s, "result", k);
        }
    }
}

json_t *look_uses(const struct look_job *j, uint64_t link, uint64_t from)
{
    json_t *uses = json_array(), *next = json_null();
    uint32_t committed = board_committed(j->board);
    for (uint64_t i = from; i < committed && i < BOARD_RECORDS_MAX; i++) {
        if (i - from >= USES_RECORDS || json_array_size(uses) >= USES_MAX) {
            next = json_pack("{s:I}", "record", (json_int_t)i);
            break;
        }
        uses_of_record(uses, j, (uint32_t)i, link);
    }
    return json_pack("{s:o,s:o}", "uses", uses, "next", next);
}
