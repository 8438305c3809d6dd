/* inspect_object.c - objects that people put into a job, or remove from one.
 *
 * What is put has a handle that nobody's program has, until `storectl rm` or the end of the job. What
 * is removed loses the handle that its program has: a later use of the id is MOB_ERR_RELEASED there, as
 * after its own mob_release(), and tasks that have the object as an argument keep it until they end. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/status.h"
#include "inspect.h"
#include "store/task.h"

enum { PUT_STEP = 16 << 20 }; /* of a file, read at once */

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
    uint64_t refs = record_refs(r);
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

/* A file on its way into an object. The loop reads it, so that nobody waits for the disk. */
struct put {
    struct node *node;
    struct conn *conn; /* NULL: gone */
    struct job *job;   /* busy until this is over */
    struct loop_op op;
    int file;
    uint64_t link, size, at;
    struct arena_place place;
    char *data;
};

static mob_status new_record(struct job *j, struct record **ret)
{
    mob_status st = lane_record(&j->lane, ret);
    return st == MOB_ERR_FULL && grant_records(j) == MOB_OK ? lane_record(&j->lane, ret)
                                                            : st;
}

/* The record if it is still being made: its job may be over, or have written over it. */
static struct record *open_record(const struct put *p)
{
    uint64_t s;
    struct record *r = p->job->ended ? NULL : lane_find(&p->job->lane, p->link, &s);
    return r && state_phase(s) == PHASE_CREATING && state_holder(s) == DAEMON ? r : NULL;
}

static void give_up(struct put *p, struct record *r)
{
    struct job *j = p->job;
    grant_unplace(j, &p->place);
    if (r) {
        task_set_error(r, MOB_ERR_CANCELLED, "who put the object gave up");
        (void)task_seal(&j->lane, r, true);
        lane_drop(&j->lane, p->link);
        lane_reclaim(&j->lane);
    }
}

static void end(struct put *p, mob_status st)
{
    struct job *j = p->job;
    struct record *r = open_record(p);
    char id[LOOK_ID_SIZE];
    json_t *answer = NULL;
    if (!st && !r) {
        st = status_fail(MOB_ERR_NOT_FOUND, "the job of that object is over");
    }
    if (st || !p->conn) {
        give_up(p, r);
    } else {
        grant_landed(j, &p->place);
        (void)task_seal(&j->lane, r, false);
        look_id_text(p->node->id, j->number, p->link, id);
        answer = json_pack("{s:s}", "id", id);
    }
    if (p->conn) {
        char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
        p->conn->put = NULL;
        asker_reply(p->node, (struct asker){.conn = p->conn}, st, text);
    }
    json_decref(answer);
    close(p->file);
    free(p);
    j->busy--;
    if (j->ended && j->busy == 0) {
        job_step(j);
    }
}

static void got(struct loop_op *op, int result);

static void read_more(struct put *p)
{
    uint64_t left = p->size - p->at;
    loop_read(p->node->loop, &p->op, p->file, p->data + p->at,
              left < PUT_STEP ? left : PUT_STEP, p->at, got);
}

static void got(struct loop_op *op, int result)
{
    struct put *p = LOOP_OWNER(op, struct put, op);
    if (result > 0) {
        p->at += (uint64_t)result;
    }
    if (!p->conn || p->job->ended) {
        end(p, MOB_ERR_CANCELLED);
    } else if (result <= 0 && result != -EINTR && result != -EAGAIN) {
        end(p, status_fail(MOB_ERR_SYSTEM, "reading the file: %s",
                           result ? strerror(-result) : "it became shorter"));
    } else if (p->at < p->size) {
        read_more(p);
    } else {
        end(p, MOB_OK);
    }
}

/* Opens a file that is named by who asks, who is the same user. */
static mob_status open_file(const char *path, int *ret_fd, uint64_t *ret_size)
{
    struct stat st;
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        if (fd >= 0) {
            close(fd);
        }
        return status_fail(MOB_ERR_INVALID, "the daemon cannot read that file");
    }
    *ret_fd = fd;
    *ret_size = (uint64_t)st.st_size;
    return MOB_OK;
}

/* A record in the making, and room for its bytes. */
static mob_status make_object(struct put *p)
{
    struct job *j = p->job;
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct record *r;
    void *data;
    MOB_TRY(new_record(j, &r));
    if (p->size > ARENA_OBJECT_MAX ||
        grant_place(j, p->size ? p->size : 1, &p->place, &data)) {
        lane_unrecord(&j->lane, r);
        return status_fail(MOB_ERR_NOMEM, "the store has no room for %llu bytes",
                           (unsigned long long)p->size);
    }
    task_begin(&j->lane, r, &call, LINK_NONE);
    record_set_origin(r, board_tick(&j->board), 0);
    board_touch(&j->board, board_index(&j->board, r));
    record_set_place(r, 0, PLACE_ARENA, p->place.segment, p->place.offset, p->size);
    uint32_t gen = lane_gen(r);
    at_store(&r->state, state_make(gen, DAEMON, 0, PHASE_CREATING), AT_RELEASE);
    p->link = link_make(gen, board_index(&j->board, r), 0);
    p->data = data;
    return MOB_OK;
}

static mob_status put(struct conn *c, const json_t *ask)
{
    struct job *j = inspect_job(c->node, ask);
    if (!j || c->put) {
        return j ? status_fail(MOB_ERR_STATE, "one object at a time") : MOB_ERR_NOT_FOUND;
    }
    struct put *p = calloc(1, sizeof *p);
    if (!p) {
        return status_fail(MOB_ERR_NOMEM, "no memory to put an object");
    }
    p->node = c->node;
    p->conn = c;
    p->job = j;
    mob_status st =
        open_file(json_string_value(json_object_get(ask, "path")), &p->file, &p->size);
    if (st) {
        free(p);
        return st;
    }
    st = make_object(p);
    if (st) {
        close(p->file);
        free(p);
        return st;
    }
    c->put = p;
    j->busy++;
    if (p->size) {
        read_more(p);
    } else {
        end(p, MOB_OK);
    }
    return MOB_OK;
}

void inspect_put(struct conn *c, const json_t *ask)
{
    mob_status st = put(c, ask);
    if (st) {
        asker_reply(c->node, (struct asker){.conn = c}, st, NULL);
    }
}

void inspect_conn_gone(struct conn *c)
{
    if (c->put) {
        c->put->conn = NULL; /* got() comes to it */
        c->put = NULL;
    }
    inspect_asker_gone(c->node, c, NULL);
    checker_asker_gone(c->node, c, NULL);
}
