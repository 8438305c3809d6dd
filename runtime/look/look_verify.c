/* look_verify.c - every structure of every board, and with data every byte of every object.
 *
 * While processes work, a count and what it counts may be seen at different moments, and a check
 * names problems that are none. A real one stays: so a board is looked at again as long as it has
 * problems, a few times, and those count that were there each time, in the same words. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "core/status.h"
#include "look_int.h"
#include "store/check.h"

enum { PASSES = 4, STEP = 1 << 20 };

typedef char text[CHECK_TEXT_MAX];

/* ---- structures -------------------------------------------------------------------------------------- */

static bool among(const text *texts, uint32_t count, const char *what)
{
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(texts[i], what) == 0) {
            return true;
        }
    }
    return false;
}

static uint32_t told(const struct check_result *r)
{
    return r->problems < CHECK_TEXTS_MAX ? r->problems : CHECK_TEXTS_MAX;
}

/* Keeps what both passes named. */
static uint32_t intersect(text *kept, uint32_t count, const struct check_result *now)
{
    uint32_t left = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (among((const text *)now->texts, told(now), kept[i])) {
            memmove(kept[left++], kept[i], sizeof kept[0]);
        }
    }
    return left;
}

static void nap(void)
{
    /* Not to wait for anything: so that the next look is at another moment. */
    struct timespec ts = {0, 20000000};
    nanosleep(&ts, NULL);
}

/* @kept: room for CHECK_TEXTS_MAX texts. */
static mob_status check_structures(const struct board *b, struct check_result *ret,
                                   text *kept, uint32_t *ret_kept)
{
    text *now = calloc(CHECK_TEXTS_MAX, sizeof *now);
    struct check_result r = {.texts = now};
    mob_status st = now ? board_check(b, &r)
                        : status_fail(MOB_ERR_NOMEM, "no memory to check a board");
    uint32_t count = st == MOB_ERR_CORRUPT ? told(&r) : 0;
    memcpy(kept, now ? now : kept, count * sizeof *kept);
    for (int i = 1; i < PASSES && st != MOB_ERR_NOMEM && count; i++) {
        nap();
        st = board_check(b, &r);
        count = st == MOB_ERR_CORRUPT ? intersect(kept, count, &r) : 0;
    }
    free(now);
    r.texts = NULL;
    *ret = r;
    *ret_kept = count;
    return st == MOB_ERR_CORRUPT ? MOB_OK : st;
}

/* ---- bytes ------------------------------------------------------------------------------------------- */

struct sums {
    uint64_t objects, bytes, failed;
    char first[CHECK_TEXT_MAX];
};

static mob_status sum_bytes(const struct look_job *j, uint64_t link,
                            const struct place *p, void *buf, uint64_t *ret)
{
    XXH3_state_t *state = XXH3_createState();
    mob_status st = MOB_OK;
    if (!state) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a checksum");
    }
    XXH3_64bits_reset(state);
    for (uint64_t at = 0; at < p->size && !st; at += STEP) {
        size_t n = p->size - at < STEP ? (size_t)(p->size - at) : STEP;
        st = look_read(j, link, p, at, buf, n);
        if (!st) {
            XXH3_64bits_update(state, buf, n);
        }
    }
    *ret = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return st;
}

json_t *look_sum(const struct look_job *j, uint64_t link)
{
    struct place p;
    uint64_t sum, s;
    void *buf = malloc(STEP);
    json_t *ret = NULL;
    if (buf && look_resolve(j, &link, &p) == MOB_OK &&
        sum_bytes(j, link, &p, buf, &sum) == MOB_OK) {
        at_fence_acquire(); /* the bytes before the look at the generation */
        ret = look_find(j, link, &s) && state_sealed_used(s)
                  ? json_pack("{s:I,s:I}", "xxh3", (json_int_t)sum, "size",
                              (json_int_t)p.size)
                  : NULL;
    }
    free(buf);
    return ret;
}

static bool same_place(const struct place *a, const struct place *b)
{
    return a->kind == b->kind && a->segment == b->segment && a->offset == b->offset &&
           a->size == b->size;
}

/* Reads all bytes of one sealed object. */
static void read_object(const struct look_job *j, uint32_t i, uint32_t ret, void *buf,
                        struct sums *sums)
{
    struct record *r = &j->board->records[i];
    uint64_t s = at_load(&r->state, AT_ACQUIRE), sum, now;
    struct place p = record_get_place(r, ret);
    uint64_t link = link_make(state_gen(s), i, ret);
    if (!state_sealed_good(s) || p.kind == PLACE_REF || p.kind == PLACE_AWAY) {
        return;
    }
    if (p.kind == PLACE_SPILLED && !j->spilled) {
        return;
    }
    mob_status st = p.kind == PLACE_SPILLED ? j->spilled(j->arg, link, &p)
                                            : sum_bytes(j, link, &p, buf, &sum);
    struct record *same = look_find(j, link, &now);
    struct place then = same ? record_get_place(same, ret) : p;
    if (!same || !state_sealed(now) || !same_place(&p, &then)) {
        return; /* freed or moved meanwhile */
    }
    sums->objects++;
    sums->bytes += p.size;
    if (st && sums->failed++ == 0) {
        char id[LOOK_ID_SIZE];
        look_id_text(j->node, j->number, link, id);
        snprintf(sums->first, sizeof sums->first, "object %s cannot be read: %s", id,
                 mob_last_error());
    }
}

static mob_status check_data(const struct look_job *j, struct sums *sums)
{
    void *buf = malloc(STEP);
    if (!buf) {
        return status_fail(MOB_ERR_NOMEM, "no memory to read objects");
    }
    uint32_t committed = board_committed(j->board);
    for (uint32_t i = 0; i < committed; i++) {
        struct call call = record_call(&j->board->records[i]);
        for (uint32_t k = 0; k < call_nrets(&call); k++) {
            read_object(j, i, k, buf, sums);
        }
    }
    free(buf);
    return MOB_OK;
}

/* ---- both -------------------------------------------------------------------------------------------- */

static json_t *verify_job(const struct look_job *j, bool data)
{
    struct check_result r;
    struct sums sums = {0};
    text *texts = calloc(CHECK_TEXTS_MAX, sizeof *texts);
    uint32_t count = 0;
    mob_status st = texts ? check_structures(j->board, &r, texts, &count)
                          : status_fail(MOB_ERR_NOMEM, "no memory to check a board");
    if (!st && data) {
        st = check_data(j, &sums);
    }
    json_t *o = NULL, *list = json_array();
    for (uint32_t i = 0; !st && i < count; i++) {
        texts[i][CHECK_TEXT_MAX - 1] = '\0';
        json_array_append_new(list, look_text(texts[i]));
    }
    if (!st && sums.failed) {
        json_array_append_new(list, look_text(sums.first));
    }
    uint64_t problems = count + sums.failed;
    if (!st) {
        o = json_pack("{s:I,s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "number",
                      (json_int_t)j->number, "name", look_text(j->name), "records",
                      (json_int_t)board_committed(j->board), "segments",
                      (json_int_t)r.segments, "pins", (json_int_t)r.pins, "problems",
                      (json_int_t)problems, "objects_read", (json_int_t)sums.objects,
                      "bytes_read", (json_int_t)sums.bytes, "texts", json_incref(list));
    }
    json_decref(list);
    free(texts);
    return o;
}

json_t *look_verify(const struct look *l, bool data)
{
    json_t *jobs = json_array();
    for (unsigned i = 0; i < l->count; i++) {
        json_t *o = verify_job(&l->jobs[i], data);
        if (!o) {
            json_decref(jobs);
            return NULL;
        }
        json_array_append_new(jobs, o);
    }
    return json_pack("{s:o}", "jobs", jobs);
}
