/* inspect_object.c - objects that people put into a job, or remove from one.
 *
 * What is put has a handle that nobody's program has, until `storectl rm` or the end of the job. What
 * is removed loses the handle that its program has: a later use of the id is MOB_ERR_RELEASED there, as
 * after its own mob_release(), and tasks that have the object as an argument keep it until they end. */
#include "core/status.h"
#include "inspect.h"
#include "store/task.h"

static json_t *nothing(mob_status st)
{
    (void)st; /* status_fail() has said it */
    return NULL;
}

json_t *inspect_rm(struct node *n, const json_t *ask)
{
    struct job *j = inspect_job(n, ask);
    uint64_t link = (uint64_t)json_integer_value(json_object_get(ask, "link")), s, theirs;
    struct record *r = j ? lane_find(&j->lane, link, &s) : NULL;
    if (!j) {
        return NULL;
    }
    if (!r || state_gone(s)) {
        return nothing(
            status_fail(MOB_ERR_NOT_FOUND,
                        "there is no such object: it was freed, or never existed"));
    }
    if (j->guest && guest_origin(j, link, &theirs)) {
        return nothing(status_fail(
            MOB_ERR_STATE, "it is the copy of another node's object; it goes when "
                           "room is needed, or with that one"));
    }
    if (!state_sealed(s)) {
        return nothing(status_fail(MOB_ERR_STATE,
                                   "it is not there yet: its task waits or runs, and "
                                   "cancelling that is the program's"));
    }
    uint64_t refs = at_load(&r->refs, AT_ACQUIRE);
    if (link_ret(link) >= MOB_RETURNS_MAX ||
        !(refs >> (REFS_HANDLE_SHIFT + link_ret(link)) & 1)) {
        return nothing(
            status_fail(MOB_ERR_STATE,
                        "no handle keeps it any more: it goes when the %llu uses "
                        "of it end; `storectl why` names them",
                        (unsigned long long)(refs & REFS_USES_MASK)));
    }
    lane_drop(&j->lane, link);
    lane_reclaim(&j->lane);
    return json_pack("{s:I}", "uses", (json_int_t)(refs & REFS_USES_MASK));
}

/* ---- put --------------------------------------------------------------------------------------------- */

static mob_status new_record(struct job *j, struct record **ret)
{
    mob_status st = lane_record(&j->lane, ret);
    return st == MOB_ERR_FULL && grant_records(j) == MOB_OK ? lane_record(&j->lane, ret)
                                                            : st;
}

/* The record that the connection put and has not sealed. */
static struct record *open_put(struct job *j, uint64_t link)
{
    uint64_t s;
    struct record *r = lane_find(&j->lane, link, &s);
    return r && state_phase(s) == PHASE_CREATING && state_holder(s) == DAEMON ? r : NULL;
}

json_t *inspect_put(struct conn *c, const json_t *ask)
{
    struct job *j = inspect_job(c->node, ask);
    uint64_t size = (uint64_t)json_integer_value(json_object_get(ask, "size"));
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct arena_place place;
    struct record *r;
    void *data;
    if (!j || c->put_link != LINK_NONE) {
        return j ? nothing(status_fail(MOB_ERR_STATE, "one object at a time")) : NULL;
    }
    if (new_record(j, &r)) {
        return NULL;
    }
    if (size > ARENA_OBJECT_MAX || grant_place(j, size ? size : 1, &place, &data)) {
        lane_unrecord(&j->lane, r);
        return nothing(status_fail(MOB_ERR_NOMEM, "the store has no room for %llu bytes",
                                   (unsigned long long)size));
    }
    task_begin(&j->lane, r, &call, LINK_NONE);
    record_set_origin(r, board_tick(&j->board), 0);
    board_touch(&j->board, board_index(&j->board, r));
    record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    uint32_t gen = lane_gen(r);
    at_store(&r->state, state_make(gen, DAEMON, 0, PHASE_CREATING), AT_RELEASE);
    c->put_job = j->number;
    c->put_link = link_make(gen, board_index(&j->board, r), 0);
    c->put_place = place;
    return json_pack("{s:I,s:I,s:I}", "segment", (json_int_t)place.segment, "offset",
                     (json_int_t)place.offset, "link", (json_int_t)c->put_link);
}

static struct job *put_job(const struct conn *c)
{
    for (uint32_t i = 0; c->put_link != LINK_NONE && i < JOBS_MAX; i++) {
        struct job *j = c->node->jobs[i];
        if (j && !j->ended && j->number == c->put_job) {
            return j;
        }
    }
    return NULL;
}

json_t *inspect_seal(struct conn *c, const json_t *ask)
{
    struct job *j = put_job(c);
    struct record *r = j ? open_put(j, c->put_link) : NULL;
    uint64_t link = (uint64_t)json_integer_value(json_object_get(ask, "link"));
    if (!r || link != c->put_link) {
        return nothing(status_fail(MOB_ERR_NOT_FOUND, "the job of that object is over"));
    }
    grant_landed(j, &c->put_place);
    (void)task_seal(&j->lane, r, false);
    c->put_link = LINK_NONE;
    char id[LOOK_ID_SIZE];
    look_id_text(c->node->id, j->number, link, id);
    return json_pack("{s:s}", "id", id);
}

void inspect_conn_gone(struct conn *c)
{
    struct job *j = put_job(c);
    struct record *r = j ? open_put(j, c->put_link) : NULL;
    if (r) {
        grant_unplace(j, &c->put_place);
        task_set_error(r, MOB_ERR_CANCELLED, "who put the object gave up");
        (void)task_seal(&j->lane, r, true);
        lane_drop(&j->lane, c->put_link);
        lane_reclaim(&j->lane);
    }
    c->put_link = LINK_NONE;
    checker_asker_gone(c->node, c, NULL);
}
