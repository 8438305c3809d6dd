/* guest.c - jobs of other nodes that run here.
 *
 * A guest job has a board and workers as every job, and no driver. Each task of the owner has a
 * record here, its proxy, whose submitter is the daemon and whose seal is told to it (CALL_FOREIGN).
 *
 *   OPEN --> opening --executable here--> ready --CLOSE--> closing --workers gone--> CLOSED, ended
 *                \--no executable, no worker starts--> FAILED, ended
 *   a lost owner, and CLOSE with `kill`, end it at once */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "core/text.h"
#include "store/task.h"

#define KEYS_MAX 1024u
#define PROXY_NONE UINT32_MAX
#define OUTPUT_PIECE 65536u

/* ---- names of jobs ------------------------------------------------------------------------------- */

/* A key without a job that the planner has forgotten may go. */
static void drop_old_key(struct cluster *c)
{
    for (struct guest_key **at = &c->keys; *at; at = &(*at)->next) {
        struct guest_key *k = *at;
        struct plan_class_view view;
        bool known = k->job != NULL;
        for (uint32_t i = 0; i < k->classes && !known; i++) {
            known = plan_node_view(c->node->plan, k->ours, i, &view) == MOB_OK;
        }
        if (!known) {
            *at = k->next;
            free(k);
            return;
        }
    }
}

struct guest_key *guest_key_get(struct cluster *c, uint64_t owner, struct plan_job theirs,
                                bool make)
{
    uint32_t count = 0;
    for (struct guest_key *k = c->keys; k; k = k->next, count++) {
        if (k->owner == owner && k->theirs.node == theirs.node &&
            k->theirs.number == theirs.number) {
            return k;
        }
    }
    if (!make) {
        return NULL;
    }
    if (count >= KEYS_MAX) {
        drop_old_key(c);
    }
    struct guest_key *k = calloc(1, sizeof *k);
    if (k) {
        k->owner = owner;
        k->theirs = theirs;
        /* Not an incarnation of 40 bits: a name that is nobody's. */
        k->ours = (struct plan_job){1ull << 63 | ++c->last_key, 1};
        k->next = c->keys;
        c->keys = k;
    }
    return k;
}

mob_status guest_key_class(struct guest_key *k, uint32_t units, uint32_t *ret)
{
    uint32_t i = 0;
    while (i < k->classes && k->units[i] != units) {
        i++;
    }
    if (i == CLASSES_MAX) {
        return status_fail(MOB_ERR_FULL, "the job has %d classes, the most it may have",
                           CLASSES_MAX);
    }
    if (i == k->classes) {
        k->units[i] = units;
        k->classes++;
    }
    *ret = i;
    return MOB_OK;
}

struct job *guest_find(struct cluster *c, const struct peer *owner, uint32_t number)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = c->node->jobs[i];
        if (j && j->guest && !j->ended && j->guest->owner == owner &&
            j->guest->number == number) {
            return j;
        }
    }
    return NULL;
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static void say(struct job *j, enum wire_op op, const char *text)
{
    struct codec_writer w = cluster_begin(j->node->cluster, op);
    codec_put_u32(&w, j->guest->number);
    if (text) {
        codec_put_str(&w, text);
    }
    cluster_send(j->guest->owner, &w);
}

void guest_failed(struct job *j, const char *text)
{
    char cut[WIRE_TEXT_MAX];
    if (j->ended) {
        return;
    }
    snprintf(cut, sizeof cut, "%s", text);
    j->failed = true;
    j->guest->key->failed = true;
    log_warn("job %u of node %s does not run here: %s", j->guest->number,
             j->guest->owner->host, cut);
    say(j, WIRE_FAILED, cut);
    job_end(j);
}

static void ready(struct job *j)
{
    struct guest *g = j->guest;
    mob_status st = local_spawn_unpack(g->start, g->start_size, &j->spawn);
    if (st) {
        guest_failed(j, mob_last_error());
        return;
    }
    g->ready = true;
    for (uint32_t c = 0; c < CLASSES_MAX; c++) {
        plan_start(j, c, g->starts[c]);
        g->starts[c] = 0;
    }
    plan_arm(j->node);
}

static void start_pulled(struct fetch *f, mob_status st)
{
    if (f->job->ended) {
        return;
    }
    if (st) {
        guest_failed(f->job, "what its workers are started with could not be fetched");
    } else {
        ready(f->job);
    }
}

static void pull_start(struct job *j)
{
    struct guest *g = j->guest;
    fetch_start(j, g->owner, WIRE_START, g->number, 0, g->start_size, g->start, NULL,
                start_pulled, NULL, 0);
}

static void exe_pulled(struct fetch *f, mob_status st)
{
    struct job *j = f->job;
    struct guest *g = j->guest;
    if (st || j->ended) {
        munmap(g->temp_map, g->exe_size);
        close(g->temp);
        unlink(g->temp_path);
        if (!j->ended) {
            guest_failed(j, "its executable could not be fetched");
        }
        return;
    }
    st = exe_commit(g->temp_path, g->temp, g->temp_map, g->exe_size, g->hash, &j->exe);
    if (st) {
        j->exe = -1;
        guest_failed(j, mob_last_error());
        return;
    }
    log_info("executable of job %u from node %s: %llu bytes", g->number, g->owner->host,
             (unsigned long long)g->exe_size);
    pull_start(j);
}

static void fetch_program(struct job *j)
{
    struct guest *g = j->guest;
    if (exe_open(g->hash, g->exe_size, &j->exe) == MOB_OK) {
        pull_start(j);
        return;
    }
    j->exe = -1;
    mob_status st =
        exe_temp(g->exe_size, g->temp_path, sizeof g->temp_path, &g->temp, &g->temp_map);
    if (st) {
        guest_failed(j, mob_last_error());
        return;
    }
    fetch_start(j, g->owner, WIRE_EXECUTABLE, g->number, 0, g->exe_size, g->temp_map,
                NULL, exe_pulled, NULL, 0);
}

static void refuse_job(struct peer *p, uint32_t number, const char *text)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_FAILED);
    codec_put_u32(&w, number);
    codec_put_str(&w, text);
    cluster_send(p, &w);
}

static bool open_job(struct peer *p, uint32_t number, struct codec_reader *r)
{
    enum { START_MAX = 8 << 20 };
    struct cluster *c = p->cluster;
    struct plan_job theirs = wire_get_key(r);
    char name[64];
    codec_get_str(r, name, sizeof name);
    const void *hash = codec_get_raw(r, WIRE_HASH_BYTES);
    uint64_t exe_size = codec_get_u64(r), start_size = codec_get_u64(r);
    if (!codec_done(r) || start_size == 0 || start_size > START_MAX ||
        guest_find(c, p, number)) {
        return false;
    }
    struct guest_key *k = guest_key_get(c, p->id, theirs, true);
    if (!k || k->failed) {
        refuse_job(p, number, "it did not run here before");
        return true;
    }
    if (k->job || c->node->stopping) {
        return true; /* the one before is still ending: its tasks go BACK until it has */
    }
    struct guest *g = calloc(1, sizeof *g);
    struct job *j = NULL;
    mob_status st = g ? MOB_OK : MOB_ERR_NOMEM;
    if (g) {
        g->owner = p;
        g->number = number;
        g->key = k;
        g->temp = -1;
        g->clock = 1;
        g->exe_size = exe_size;
        g->start_size = start_size;
        memcpy(g->hash, hash, sizeof g->hash);
        g->start = malloc(start_size);
        st = g->start ? job_open_guest(c->node, g, name, &j) : MOB_ERR_NOMEM;
    }
    if (st) {
        refuse_job(p, number, mob_last_error());
        if (g) {
            free(g->start);
        }
        free(g);
        return true;
    }
    k->job = j;
    fetch_program(j);
    return true;
}

/* ---- proxies ------------------------------------------------------------------------------------------- */

static struct proxy *proxy_new(struct guest *g)
{
    if (g->free_proxy) {
        struct proxy *x = &g->proxies[g->free_proxy - 1];
        g->free_proxy = x->next_free;
        return x;
    }
    if (g->proxies_count == g->proxies_room) {
        uint32_t room = g->proxies_room ? g->proxies_room * 2 : 256;
        struct proxy *grown = realloc(g->proxies, room * sizeof *grown);
        if (!grown) {
            return NULL;
        }
        g->proxies = grown;
        g->proxies_room = room;
    }
    return &g->proxies[g->proxies_count++];
}

static void proxy_free(struct guest *g, struct proxy *x)
{
    g->late -= x->late;
    *x = (struct proxy){.next_free = g->free_proxy};
    g->free_proxy = (uint32_t)(x - g->proxies) + 1;
}

void guest_proxy_drop(struct job *j, struct proxy *x)
{
    uint64_t link = x->link;
    proxy_free(j->guest, x);
    for (uint32_t k = 0; k < MOB_RETURNS_MAX; k++) {
        lane_drop(&j->lane, link | k);
    }
}

/* ---- tasks that come --------------------------------------------------------------------------------------- */

struct arrival { /* a task as it stands in a message */
    uint32_t slot;
    uint64_t link;
    uint8_t retries, options, nrets, nargs;
    char fn[MOB_NAME_MAX + 1], name[MOB_NAME_MAX + 1];
    struct arrival_arg {
        uint32_t kind;
        uint64_t link, size;
        const void *bytes;
        mob_status status;
        char *text;
    } args[MOB_ARGS_MAX];
    char texts[MOB_ARGS_MAX][WIRE_TEXT_MAX];
};

static bool read_arg(struct codec_reader *r, struct arrival_arg *a, char *text)
{
    size_t size = 0;
    *a = (struct arrival_arg){.kind = codec_get_u8(r)};
    a->link = a->kind == WIRE_VALUE ? 0 : codec_get_u64(r);
    switch (a->kind) {
    case WIRE_VALUE:
        a->bytes = codec_get_bytes(r, RECORD_VALUE_MAX, &size);
        a->size = size;
        return r->ok;
    case WIRE_OBJECT:
        a->bytes = codec_get_bytes(r, WIRE_INLINE_MAX, &size);
        a->size = size;
        return r->ok;
    case WIRE_REMOTE:
        a->size = codec_get_u64(r);
        return r->ok && a->size > 0 && a->size <= ARENA_OBJECT_MAX;
    case WIRE_ERROR: {
        a->status = (mob_status)(int32_t)codec_get_u32(r);
        const char *bytes = codec_get_bytes(r, WIRE_TEXT_MAX, &size);
        if (!r->ok || a->status >= 0) {
            return false;
        }
        (void)text_shorten(text, WIRE_TEXT_MAX, bytes, size);
        a->text = text;
        return true;
    }
    default:
        return false;
    }
}

static bool read_task(struct codec_reader *r, struct arrival *t)
{
    t->slot = codec_get_u32(r);
    t->link = codec_get_u64(r);
    t->retries = codec_get_u8(r);
    t->options = codec_get_u8(r);
    t->nrets = codec_get_u8(r);
    t->nargs = codec_get_u8(r);
    codec_get_str(r, t->fn, sizeof t->fn);
    codec_get_str(r, t->name, sizeof t->name);
    if (!r->ok || t->nargs > MOB_ARGS_MAX || t->nrets == 0 ||
        t->nrets > MOB_RETURNS_MAX || t->options & ~CALL_RETRY_ON_ERROR) {
        return false;
    }
    for (uint32_t i = 0; i < t->nargs; i++) {
        if (!read_arg(r, &t->args[i], t->texts[i])) {
            return false;
        }
    }
    return true;
}

/* Makes an argument by id ready for use; its bytes may come later. */
static mob_status take_object(struct job *j, const struct arrival_arg *a, uint64_t *ret)
{
    struct standin *s;
    bool fresh;
    MOB_TRY(standin_get(j, a->link, &s, &fresh));
    *ret = s->ours;
    if (fresh && a->kind == WIRE_OBJECT) {
        standin_bytes(j, s, a->bytes, a->size);
    } else if (fresh && a->kind == WIRE_REMOTE) {
        standin_pull(j, s, a->size);
    } else if (fresh) {
        standin_error(j, s, a->status, a->text);
    }
    return MOB_OK;
}

static mob_status fill(struct job *j, struct record *r, const struct arrival *t)
{
    for (uint32_t i = 0; i < t->nargs; i++) {
        const struct arrival_arg *a = &t->args[i];
        if (a->kind == WIRE_VALUE) {
            void *to = task_add_value(r, i, a->size);
            if (!to) {
                return MOB_ERR_PROTOCOL;
            }
            memcpy(to, a->bytes, a->size);
            continue;
        }
        uint64_t link;
        MOB_TRY(take_object(j, a, &link));
        if (!task_add_ref(r, i, link)) {
            return MOB_ERR_PROTOCOL;
        }
    }
    return MOB_OK;
}

/* Puts a task on the board. */
static mob_status accept_task(struct job *j, uint32_t cls, const struct arrival *t)
{
    struct guest *g = j->guest;
    struct call call = {.class_options =
                            (uint8_t)(cls | (t->options | CALL_FOREIGN) << 4),
                        .counts = call_counts(t->nargs, t->nrets),
                        .retries = t->retries};
    struct record *r;
    g->clock++;
    for (uint32_t i = 0; i < t->nargs; i++) {
        call.class_options |= t->args[i].kind != WIRE_VALUE ? CALL_HAS_REFS << 4 : 0;
    }
    MOB_TRY(board_name(&j->board, DAEMON, t->fn, &call.fn));
    uint16_t name;
    MOB_TRY(board_name(&j->board, DAEMON, t->name, &name));
    struct proxy *x = proxy_new(g);
    if (!x) {
        return MOB_ERR_NOMEM;
    }
    mob_status st = lane_record(&j->lane, &r);
    if (st == MOB_ERR_FULL && grant_records(j) == MOB_OK) {
        st = lane_record(&j->lane, &r);
    }
    if (st) {
        *x = (struct proxy){0};
        proxy_free(g, x);
        return st;
    }
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = name;
    at_store(&r->site, (uint64_t)(x - g->proxies), AT_RELAXED);
    *x = (struct proxy){.link = link_make(lane_gen(r), board_index(&j->board, r), 0),
                        .theirs = t->link,
                        .slot = t->slot,
                        .cls = cls};
    uint64_t link;
    st = fill(j, r, t);
    st = st ? st : task_publish(&j->lane, r, &link);
    if (st) {
        lane_unrecord(&j->lane, r);
        x->late = false;
        proxy_free(g, x);
    }
    return st;
}

static void say_back(struct peer *p, uint32_t number, uint32_t slot, uint64_t link)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_BACK);
    codec_put_u32(&w, number);
    codec_put_u32(&w, 1);
    codec_put_u32(&w, slot);
    codec_put_u64(&w, link);
    codec_put_u8(&w, false);
    cluster_send(p, &w);
}

static bool tasks(struct peer *p, uint32_t number, struct codec_reader *r)
{
    static struct arrival t; /* large; one thread */
    struct cluster *c = p->cluster;
    struct plan_node *plan = c->node->plan;
    uint64_t lease = codec_get_u64(r), now = loop_now_ns(c->node->loop);
    uint32_t epoch = codec_get_u32(r), cls = codec_get_u32(r), units = codec_get_u32(r);
    uint32_t count = codec_get_u32(r), undone = 0;
    if (!r->ok || cls >= CLASSES_MAX || units > NODE_CPUS_MAX * CPU_UNITS) {
        return false;
    }
    struct job *j = guest_find(c, p, number);
    bool take = j && !j->leaving && !j->failed &&
                job_add_class(j, units, &cls) == MOB_OK &&
                plan_node_received(plan, lease, epoch, count, now) == MOB_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (!read_task(r, &t)) {
            return false;
        }
        mob_status st = take ? accept_task(j, cls, &t) : MOB_ERR_STATE;
        if (st == MOB_ERR_PROTOCOL) {
            return false;
        }
        if (st) {
            say_back(p, number, t.slot, t.link);
            undone += take;
        }
    }
    if (undone) {
        (void)plan_node_finished(plan, job_plan_id(j), cls, undone, now);
    }
    if (!j) { /* so that the owner makes it known anew when it sends more */
        struct codec_writer w = cluster_begin(c, WIRE_CLOSED);
        codec_put_u32(&w, number);
        cluster_send(p, &w);
    } else {
        guest_flush(j);
        job_refresh(j);
    }
    return codec_done(r);
}

/* ---- tasks that are done ------------------------------------------------------------------------------------- */

static void note_ended(struct guest *g, uint32_t i)
{
    if (g->ended_count == g->ended_room) {
        uint32_t room = g->ended_room ? g->ended_room * 2 : 256;
        uint32_t *grown = realloc(g->ended, room * sizeof *grown);
        if (!grown) {
            return; /* found again by guest_look_all() */
        }
        g->ended = grown;
        g->ended_room = room;
    }
    g->ended[g->ended_count++] = i;
}

void guest_sealed(void *arg, struct record *r)
{
    struct job *j = arg;
    struct guest *g = j->guest;
    uint64_t i =
        at_load(&r->site, AT_RELAXED); /* which clients can write to: looked at below */
    if (g && i < g->proxies_count) {
        note_ended(g, (uint32_t)i);
    }
}

void guest_look_all(struct job *j)
{
    struct guest *g = j->guest;
    for (uint32_t i = 0; g && i < g->proxies_count; i++) {
        if (g->proxies[i].link != LINK_NONE && !g->proxies[i].done) {
            note_ended(g, i);
        }
    }
}

static void look_late(struct loop_timer *timer)
{
    struct guest *g = LOOP_OWNER(timer, struct guest, late_timer);
    guest_look_all(g->key->job);
    guest_flush(g->key->job);
}

struct result {
    struct record *r;
    struct place p;
};

/* Finds a done task's results. MOB_ERR_STATE: one of them is an object that is not there yet;
 * MOB_ERR_TASK_FAILED: with the record whose error it is in the first of @res. */
static mob_status find_results(struct job *j, uint64_t link, uint32_t nrets,
                               struct result *res)
{
    for (uint32_t k = 0; k < nrets; k++) {
        uint64_t at = link | k;
        mob_status st = grant_resolve(j, &at, &res[k].r, &res[k].p);
        if (st) {
            res[0] = res[k];
            return st;
        }
    }
    return MOB_OK;
}

static void put_failure(struct codec_writer *w, struct job *j, mob_status st,
                        const struct result *res)
{
    char text[WIRE_TEXT_MAX] = "its results make no sense";
    mob_status error = MOB_ERR_CORRUPT;
    if (st == MOB_ERR_TASK_FAILED) {
        error = grant_failure(j, res->r, &res->p, text, sizeof text);
    }
    codec_put_u32(w, (uint32_t)error);
    codec_put_str(w, text);
}

/* Writes one result. False: it cannot be told yet. @ret_remote: its bytes are to be pulled. */
static bool put_result(struct wire_batch *b, struct job *j, const struct proxy *x,
                       struct record *r, bool *ret_remote)
{
    struct codec_writer *w = &b->w;
    struct call call = record_call(r);
    struct result res[MOB_RETURNS_MAX];
    uint32_t nrets = call_nrets(&call);
    const void *bytes[MOB_RETURNS_MAX];
    mob_status st = find_results(j, x->link, nrets, res);
    if (st == MOB_ERR_STATE) {
        return false;
    }
    for (uint32_t k = 0; k < nrets && !st; k++) {
        if (res[k].p.size <= WIRE_INLINE_MAX) {
            st = grant_read(j, res[k].r, &res[k].p, &bytes[k]);
        }
    }
    *ret_remote = false;
    codec_put_u32(w, x->slot);
    codec_put_u64(w, x->theirs);
    codec_put_u32(w, (uint32_t)(x - j->guest->proxies));
    codec_put_u64(w, x->link);
    if (st) {
        put_failure(w, j, st, &res[0]);
        return true;
    }
    codec_put_u32(w, MOB_OK);
    codec_put_u8(w, (uint8_t)nrets);
    for (uint32_t k = 0; k < nrets; k++) {
        if (res[k].p.size <= WIRE_INLINE_MAX) {
            codec_put_u8(w, WIRE_VALUE);
            codec_put_bytes(w, bytes[k], res[k].p.size);
        } else {
            codec_put_u8(w, WIRE_REMOTE);
            codec_put_u64(w, res[k].p.size);
            *ret_remote = true;
        }
    }
    return true;
}

static struct wire_batch begin_done(struct job *j)
{
    struct wire_batch b = {.w = cluster_begin(j->node->cluster, WIRE_DONE)};
    codec_put_u32(&b.w, j->guest->number);
    wire_batch_begin(&b);
    return b;
}

static void end_done(struct job *j, struct wire_batch *b)
{
    if (b->count) {
        wire_batch_end(b);
        cluster_send(j->guest->owner, &b->w);
    }
}

/* A proxy whose task may be done: into the batch if it is. */
static void flush_one(struct job *j, struct wire_batch *b, uint32_t i)
{
    struct guest *g = j->guest;
    struct proxy *x = &g->proxies[i];
    uint64_t s;
    struct record *r =
        x->link == LINK_NONE || x->done ? NULL : lane_find(&j->lane, x->link, &s);
    bool remote;
    if (!r || !state_sealed(s)) {
        return;
    }
    if (!put_result(b, j, x, r, &remote)) {
        g->late += !x->late;
        x->late = true;
        return;
    }
    b->count++;
    g->finished[x->cls]++;
    if (remote) {
        g->late -= x->late;
        x->late = false;
        x->done = true;
    } else {
        guest_proxy_drop(j, x);
    }
}

void guest_flush(struct job *j)
{
    struct guest *g = j->guest;
    struct node *n = j->node;
    if (!g || j->ended || g->ended_count == 0) {
        return;
    }
    struct wire_batch b = begin_done(j);
    for (uint32_t at = 0; at < g->ended_count; at++) {
        flush_one(j, &b, g->ended[at]);
        if (wire_batch_full(&b)) {
            end_done(j, &b);
            b = begin_done(j);
        }
    }
    g->ended_count = 0;
    end_done(j, &b);
    for (uint32_t c = 0; c < CLASSES_MAX; c++) {
        uint32_t finished = g->finished[c];
        g->finished[c] = 0;
        if (finished) {
            (void)plan_node_finished(n->plan, job_plan_id(j), c, finished,
                                     loop_now_ns(n->loop));
        }
    }
    if (g->late && !g->late_timer.active) {
        loop_timer_start(n->loop, &g->late_timer, loop_now_ns(n->loop) + RESCAN_NS,
                         look_late);
    }
    standin_evict(j, n->budget.limit_bytes / 8);
    job_refresh(j);
}

/* ---- the owner's other words ------------------------------------------------------------------------------------ */

static bool release(struct job *j, struct codec_reader *r)
{
    uint32_t count = codec_get_u32(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        uint32_t at = codec_get_u32(r);
        uint64_t link = codec_get_u64(r);
        struct guest *g = j ? j->guest : NULL;
        if (g && r->ok && at < g->proxies_count && g->proxies[at].link == link &&
            link != LINK_NONE && g->proxies[at].done) {
            guest_proxy_drop(j, &g->proxies[at]);
        }
    }
    return codec_done(r);
}

static bool cancel(struct job *j, struct codec_reader *r)
{
    uint32_t count = codec_get_u32(r);
    for (uint32_t i = 0; i < count && r->ok; i++) {
        uint32_t slot = codec_get_u32(r);
        uint64_t link = codec_get_u64(r), s;
        for (uint32_t k = 0; j && r->ok && k < j->guest->proxies_count; k++) {
            struct proxy *x = &j->guest->proxies[k];
            if (x->link != LINK_NONE && x->slot == slot && x->theirs == link) {
                struct record *rec = lane_find(&j->lane, x->link, &s);
                if (rec) {
                    task_cancel(&j->lane, rec, link_gen(x->link));
                }
                break;
            }
        }
    }
    return codec_done(r);
}

static bool close_job(struct peer *p, uint32_t number, struct job *j,
                      struct codec_reader *r)
{
    bool kill_now = codec_get_u8(r);
    if (!codec_done(r)) {
        return false;
    }
    if (!j) { /* nothing of it is here any more */
        struct codec_writer w = cluster_begin(p->cluster, WIRE_CLOSED);
        codec_put_u32(&w, number);
        cluster_send(p, &w);
    } else if (kill_now) {
        j->guest->close_asked = true;
        job_end(j);
    } else {
        j->guest->close_asked = true;
        job_close(j);
    }
    return true;
}

bool guest_message(struct peer *p, enum wire_op op, struct codec_reader *r)
{
    uint32_t number = codec_get_u32(r);
    struct job *j = guest_find(p->cluster, p, number);
    if (!r->ok) {
        return false;
    }
    switch (op) {
    case WIRE_OPEN:
        return open_job(p, number, r);
    case WIRE_CLOSE:
        return close_job(p, number, j, r);
    case WIRE_TASKS:
        return tasks(p, number, r);
    case WIRE_RELEASE:
        return release(j, r);
    case WIRE_CANCEL:
        return cancel(j, r);
    default:
        return false;
    }
}

/* ---- output, and the end --------------------------------------------------------------------------------------------- */

void guest_output(struct job *j, int stream, const char *text, size_t size)
{
    while (size && !j->ended) {
        size_t part = size < OUTPUT_PIECE ? size : OUTPUT_PIECE;
        struct codec_writer w = cluster_begin(j->node->cluster, WIRE_OUTPUT);
        codec_put_u32(&w, j->guest->number);
        codec_put_u8(&w, (uint8_t)stream);
        codec_put_bytes(&w, text, part);
        cluster_send(j->guest->owner, &w);
        text += part;
        size -= part;
    }
}

void guest_peer_lost(struct cluster *c, struct peer *p)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        struct job *j = c->node->jobs[i];
        if (j && j->guest && j->guest->owner == p) {
            j->guest->owner = c->self; /* nobody to speak to; what is sent is dropped */
            j->guest->close_told = true;
            job_end(j);
        }
    }
}

void guest_ended(struct job *j)
{
    struct guest *g = j->guest;
    if (!g->close_told) {
        g->close_told = true;
        if (g->close_asked) {
            say(j, WIRE_CLOSED, NULL);
        }
    }
}

void guest_free(struct job *j)
{
    struct guest *g = j->guest;
    if (!g) {
        return;
    }
    loop_timer_stop(j->node->loop, &g->late_timer);
    g->key->job = NULL;
    standin_free(j);
    free(g->proxies);
    free(g->ended);
    free(g->start);
    free(g);
    j->guest = NULL;
}
