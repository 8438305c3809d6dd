/* look_object.c - one object: what it is, and its bytes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/status.h"
#include "core/text.h"
#include "look_int.h"
#include "store/meta.h"

enum {
    MESSAGE_MAX = 512,    /* of a failed one; mob_failure() has all of it */
    BYTES_MAX = 96 << 10, /* in one answer */
};

/* ---- pins ---------------------------------------------------------------------------------------------- */

static int by_record(const void *a, const void *b)
{
    uint64_t x = ((const struct look_pin *)a)->link,
             y = ((const struct look_pin *)b)->link;
    return x < y ? -1 : x > y;
}

mob_status look_pins_collect(const struct board *b, struct look_pins *ret)
{
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
                struct look_pin *more = realloc(ret->pins, room * sizeof *more);
                if (!more) {
                    look_pins_free(ret);
                    return status_fail(MOB_ERR_NOMEM, "no memory for a list of pins");
                }
                ret->pins = more;
                ret->room = room;
            }
            ret->pins[ret->count++] = (struct look_pin){link & ~0xfull, i};
        }
    }
    if (ret->count) {
        qsort(ret->pins, ret->count, sizeof *ret->pins, by_record);
    }
    return MOB_OK;
}

void look_pins_free(struct look_pins *p)
{
    free(p->pins);
    memset(p, 0, sizeof *p);
}

size_t look_pins_of(const struct look_pins *p, uint32_t gen, uint32_t index,
                    const struct look_pin **ret_first)
{
    uint64_t link = link_make(gen, index, 0);
    size_t low = 0, high = p->count, count = 0;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (p->pins[mid].link < link) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    while (low + count < p->count && p->pins[low + count].link == link) {
        count++;
    }
    *ret_first = count > 0 ? p->pins + low : NULL; /* there may be no array */
    return count;
}

/* ---- what it is ---------------------------------------------------------------------------------------- */

const char *look_state_name(uint64_t s)
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
    static const char *const names[] = {"empty",   "inline", "segment", "ref",
                                        "spilled", "lost",   "away"};
    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "?";
}

struct record *look_find(const struct look_job *j, uint64_t link, uint64_t *ret_state)
{
    struct record *r = link_index(link) < board_committed(j->board)
                           ? &j->board->records[link_index(link)]
                           : NULL;
    if (!r) {
        return NULL;
    }
    *ret_state = at_load(&r->state, AT_ACQUIRE);
    return state_gen(*ret_state) == link_gen(link) ? r : NULL;
}

mob_status look_resolve(const struct look_job *j, uint64_t *io_link, struct place *ret)
{
    for (int deep = 0; deep < LOOK_REFS_DEEP_MAX; deep++) {
        uint64_t s;
        struct record *r = look_find(j, *io_link, &s);
        if (!r || !look_state_name(s)) {
            return status_fail(MOB_ERR_NOT_FOUND, "the object is gone");
        }
        if (!state_sealed_used(s) || s & STATE_ERROR) {
            return status_fail(MOB_ERR_STATE, "the object is %s", look_state_name(s));
        }
        struct call call = record_call(r);
        if (link_ret(*io_link) >= call_nrets(&call)) {
            break;
        }
        struct place p = record_get_place(r, link_ret(*io_link));
        if (p.kind != PLACE_REF) {
            *ret = p;
            return MOB_OK;
        }
        *io_link = p.size;
    }
    return status_fail(MOB_ERR_CORRUPT, "the object's place makes no sense");
}

uint32_t look_now(const struct board *b)
{
    uint64_t born = at_load(&b->header->born_ns, AT_RELAXED), now = clock_now_ns();
    return now > born ? (uint32_t)((now - born) / BOARD_TICK_NS) : 0;
}

static void look_at_age(struct look_object *o, const struct record *r)
{
    uint32_t made = at_load(&r->made, AT_RELAXED), now = look_now(o->job->board);
    o->has_age = !(call_options(&o->call) & CALL_FOREIGN);
    o->age_ms = now > made ? (uint64_t)(now - made) * (BOARD_TICK_NS / NS_PER_MS) : 0;
}

bool look_object(const struct look_job *j, uint32_t index, uint32_t ret,
                 const struct look_pins *pins, struct look_object *out)
{
    const struct board *b = j->board;
    const struct record *r = &b->records[index];
    const struct look_pin *first;
    uint64_t s = at_load(&r->state, AT_ACQUIRE);
    struct call call = record_call(r);
    if (!look_state_name(s) || ret >= call_nrets(&call)) {
        return false;
    }
    *out = (struct look_object){
        .job = j, .index = index, .ret = ret, .state = s, .call = call};
    out->refs = record_refs(r);
    out->pins = look_pins_of(pins, state_gen(s), index, &first);
    board_site_text(b, record_site(r), out->site);
    if (call.fn == CALL_PUT) {
        memcpy(out->name, "(put)", 6);
    } else {
        board_name_text(b, r->name, out->name);
    }
    look_at_age(out, r);
    if (state_sealed(s)) {
        out->place = record_get_place(r, ret);
        out->has_size = !(s & STATE_ERROR) && out->place.kind != PLACE_REF;
        out->size = out->place.size;
    }
    if (state_sealed(s) && !(s & STATE_ERROR) && out->place.kind == PLACE_REF) {
        uint64_t link = link_make(state_gen(s), index, ret);
        struct place p;
        out->has_size = look_resolve(j, &link, &p) == MOB_OK;
        out->size = out->has_size ? p.size : 0;
    }
    return true;
}

/* ---- as JSON ------------------------------------------------------------------------------------------- */

void look_add_id(json_t *o, const char *key, const struct look_job *j, uint64_t link)
{
    char id[LOOK_ID_SIZE];
    look_id_text(j->node, j->number, link, id);
    json_object_set_new(o, key, json_string(id));
}

int look_holder_pid(const struct board *b, uint64_t s)
{
    uint32_t holder = state_holder(s);
    enum phase p = state_phase(s);
    bool held = p == PHASE_CREATING || p == PHASE_TAKEN;
    return held && holder != DAEMON && holder < PROCS_MAX
               ? (int)at_load(&b->procs[holder].pid, AT_RELAXED)
               : 0;
}

static void add_failure(json_t *o, const struct look_object *x)
{
    const struct record *r = &x->job->board->records[x->index];
    char bytes[FAILURE_TEXT_MAX], text[MESSAGE_MAX] = "";
    mob_status st = (mob_status)(int32_t)at_load(&r->error, AT_RELAXED);
    struct place p = record_get_place(r, 0);
    uint64_t link = link_make(state_gen(x->state), x->index, 0);
    size_t size = p.size < sizeof bytes ? p.size : sizeof bytes;
    if (look_read(x->job, link, &p, 0, bytes, size) == MOB_OK) {
        (void)text_shorten(text, sizeof text, bytes, size);
    }
    json_object_set_new(o, "error", json_string(mob_status_name(st)));
    json_object_set_new(o, "message", look_text(text));
}

/* "float64[3,4]" */
static void meta_text(const struct mob_meta *m, char *buf, size_t size)
{
    static const char *const names[] = {"bytes",   "int",  "uint", "float",
                                        "complex", "bool", "text", "struct"};
    bool numbered = m->type >= MOB_TYPE_INT && m->type <= MOB_TYPE_COMPLEX;
    size_t at = m->type < sizeof names / sizeof names[0]
                    ? (size_t)snprintf(buf, size, "%s", names[m->type])
                    : (size_t)snprintf(buf, size, "type%u", m->type);
    if (m->item_bytes && numbered) {
        at += (size_t)snprintf(buf + at, size - at, "%llu", 8ull * m->item_bytes);
    } else if (m->item_bytes) {
        at += (size_t)snprintf(buf + at, size - at, ":%u", m->item_bytes);
    }
    for (uint32_t i = 0; i < m->dims && at < size; i++) {
        at += (size_t)snprintf(buf + at, size - at, "%c%llu", i ? ',' : '[',
                               (unsigned long long)m->shape[i]);
    }
    if (m->dims && at < size) {
        snprintf(buf + at, size - at, "]");
    }
}

static void add_meta(json_t *o, const struct look_object *x)
{
    struct mob_meta m = {.struct_size = sizeof m};
    uint64_t link = link_make(state_gen(x->state), x->index, x->ret), s = x->state;
    struct record *r = &x->job->board->records[x->index];
    for (int deep = 0; r && deep < LOOK_REFS_DEEP_MAX; deep++) {
        if (state_sealed_good(s) && meta_find(r, link_ret(link), &m)) {
            char text[256];
            meta_text(&m, text, sizeof text);
            json_object_set_new(o, "meta", json_string(text));
            return;
        }
        struct call call = record_call(r);
        struct place p = link_ret(link) < call_nrets(&call)
                             ? record_get_place(r, link_ret(link))
                             : (struct place){PLACE_EMPTY, 0, 0, 0};
        link = p.size;
        r = p.kind == PLACE_REF ? look_find(x->job, link, &s) : NULL;
    }
}

json_t *look_object_json(const struct look_object *x)
{
    char id[LOOK_ID_SIZE];
    uint64_t s = x->state;
    look_id_text(x->job->node, x->job->number, link_make(state_gen(s), x->index, x->ret),
                 id);
    json_t *o =
        json_pack("{s:s,s:I,s:o,s:s,s:i,s:i,s:b,s:I,s:I}", "id", id, "job",
                  (json_int_t)x->job->number, "name", look_text(x->name), "state",
                  look_state_name(s), "pid", look_holder_pid(x->job->board, s), "attempt",
                  (int)state_attempt(s) + 1, "held",
                  (int)(x->refs >> (REFS_HANDLE_SHIFT + x->ret) & 1), "uses",
                  (json_int_t)(x->refs & REFS_USES_MASK), "pins", (json_int_t)x->pins);
    if (!o) {
        return NULL;
    }
    if (x->site[0]) {
        json_object_set_new(o, "site", look_text(x->site));
    }
    if (x->has_age) {
        json_object_set_new(o, "age_ms", json_integer((json_int_t)x->age_ms));
    }
    if (state_sealed(s) && s & STATE_ERROR) {
        add_failure(o, x);
    } else if (state_sealed(s)) {
        json_object_set_new(o, "place", json_string(place_name(x->place.kind)));
        add_meta(o, x);
    }
    if (x->has_size) {
        json_object_set_new(o, "size", json_integer((json_int_t)x->size));
    }
    if (x->has_size && x->place.kind == PLACE_ARENA) {
        json_object_set_new(o, "segment", json_integer((json_int_t)x->place.segment));
        json_object_set_new(o, "offset", json_integer((json_int_t)x->place.offset));
    }
    if (x->has_size && x->place.kind == PLACE_SPILLED) {
        json_object_set_new(o, "file", json_integer((json_int_t)x->place.segment));
        json_object_set_new(o, "offset", json_integer((json_int_t)x->place.offset));
    }
    return o;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

mob_status look_read(const struct look_job *j, uint64_t link, const struct place *p,
                     uint64_t offset, void *buf, size_t size)
{
    if (offset > p->size || size > p->size - offset) {
        return status_fail(MOB_ERR_CORRUPT, "bytes outside of the object");
    }
    const char *lost = p->offset ? "the object was lost with the node that had it"
                                 : "the object was lost on disk";
    if (place_is_daemons(p) || p->kind == PLACE_LOST) {
        return status_fail(MOB_ERR_STATE, "%s",
                           p->kind == PLACE_LOST ? lost
                           : p->kind == PLACE_AWAY
                               ? "the object is on the node that made it"
                               : "the object is on disk");
    }
    if (p->kind == PLACE_EMPTY || size == 0) {
        return size ? status_fail(MOB_ERR_CORRUPT, "an empty object has bytes") : MOB_OK;
    }
    if (p->kind == PLACE_INLINE) {
        if (p->offset > RECORD_PAYLOAD || p->size > RECORD_PAYLOAD - p->offset) {
            return status_fail(MOB_ERR_CORRUPT, "bytes outside of the record");
        }
        memcpy(buf, j->board->records[link_index(link)].payload + p->offset + offset,
               size);
        return MOB_OK;
    }
    uint64_t word = p->kind == PLACE_ARENA && p->segment < BOARD_SEGMENTS_MAX
                        ? at_load(&j->board->segments[p->segment], AT_ACQUIRE)
                        : 0;
    uint64_t bytes = (word & 0xffffffffffull) * 4096;
    if (!(word & SEGMENT_USED) || p->offset > bytes || p->size > bytes - p->offset) {
        return status_fail(MOB_ERR_CORRUPT, "bytes outside of every segment");
    }
    return j->read(j->arg, p->segment, p->offset + offset, buf, size);
}

/* Reads and makes sure that the record is still the same one. */
static mob_status read_checked(const struct look_job *j, uint64_t link,
                               const struct place *p, uint64_t offset, void *buf,
                               size_t size)
{
    uint64_t s;
    MOB_TRY(look_read(j, link, p, offset, buf, size));
    at_fence_acquire(); /* the bytes before the look at the generation */
    struct record *r = look_find(j, link, &s);
    return r && state_sealed_used(s)
               ? MOB_OK
               : status_fail(MOB_ERR_NOT_FOUND, "the object was freed while it was read");
}

static char *base64(const uint8_t *data, size_t size)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((size + 2) / 3 * 4 + 1), *to = text;
    for (size_t i = 0; text && i < size; i += 3) {
        size_t left = size - i;
        uint32_t bits = (uint32_t)data[i] << 16 |
                        (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                        (left > 2 ? data[i + 2] : 0);
        *to++ = digits[bits >> 18];
        *to++ = digits[bits >> 12 & 63];
        *to++ = left > 1 ? digits[bits >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[bits & 63] : '=';
    }
    if (text) {
        *to = '\0';
    }
    return text;
}

json_t *look_bytes(const struct look_job *j, uint64_t link, uint64_t offset)
{
    struct place p;
    uint8_t *buf = NULL;
    char *text = NULL;
    json_t *ret = NULL;
    if (look_resolve(j, &link, &p)) {
        return NULL;
    }
    uint64_t left = offset < p.size ? p.size - offset : 0;
    size_t size = left < BYTES_MAX ? (size_t)left : BYTES_MAX;
    buf = malloc(size + 1);
    if (buf && read_checked(j, link, &p, p.size - left, buf, size) == MOB_OK) {
        text = base64(buf, size);
        ret = text ? json_pack("{s:s,s:I}", "data", text, "size", (json_int_t)p.size)
                   : NULL;
    }
    free(text);
    free(buf);
    return ret;
}
