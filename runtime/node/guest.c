/* guest.c - jobs of other nodes that run here: their names, their beginning and their end.
 *
 * A guest job has a board and workers as every job, and no driver.
 *
 *   OPEN --> opening --executable here--> ready --CLOSE--> closing --workers gone--> CLOSED, ended
 *    |           \--no executable, no worker starts--> FAILED, ended
 *    \--no room for its board--> FAILED, to be opened again later: what is freed meanwhile is kept for it
 *   a lost owner, and CLOSE with `kill`, end it at once */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"

#define KEYS_MAX 1024u
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
            known =
                plan_node_view(c->node->plan, k->ours, k->class_name[i], &view) == MOB_OK;
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
        /* Class 0 is that of tasks without options, here as at home: whose tasks came first does not say
         * what those that they submit ask for. */
        k->demand[k->classes++] = demand_usual();
        k->next = c->keys;
        c->keys = k;
    }
    return k;
}

struct job *guest_find(struct cluster *c, const struct peer *owner, uint32_t number)
{
    for (uint32_t i = 0; i < c->node->jobs_top; i++) {
        struct job *j = c->node->jobs[i];
        if (j && j->guest && !j->ended && j->guest->owner == owner &&
            j->guest->number == number) {
            return j;
        }
    }
    return NULL;
}

/* The name under which it was opened last. */
static struct guest_key *find_key(const struct cluster *c, const struct peer *owner,
                                  uint32_t number)
{
    struct guest_key *k = c->keys;
    while (k && (k->owner != owner->id || k->number != number)) {
        k = k->next;
    }
    return k;
}

bool guest_was_refused(const struct cluster *c, const struct peer *owner, uint32_t number)
{
    const struct guest_key *k = find_key(c, owner, number);
    return k && (k->failed || k->waits);
}

/* It has found room, or will not be opened again: nothing is kept for it any more. */
static void wait_no_more(struct cluster *c, struct guest_key *k)
{
    if (k && k->waits) {
        k->waits = false;
        line_served(&c->node->memory_line, k->ours.node, loop_now_ns(c->node->loop));
    }
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static void say_failed(struct peer *p, uint32_t number, bool later, const char *text)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_FAILED);
    codec_put_u32(&w, number);
    codec_put_u8(&w, later);
    codec_put_str(&w, text);
    cluster_send(p, &w);
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
    say_failed(j->guest->owner, j->guest->number, false, cut);
    job_end(j);
}

static void ready(struct job *j)
{
    struct guest *g = j->guest;
    mob_status st = exe_check(j->exe);
    st = st ? st : local_spawn_unpack(g->start, g->start_size, &j->spawn);
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

/* Says nothing of the program if its owner is gone: guest_peer_lost() ends the job, and the owner may
 * send it again on another connection. */
static void not_fetched(struct job *j, mob_status st, const char *text)
{
    if (st != MOB_ERR_PEER_LOST && st != MOB_ERR_CLOSED && st != MOB_ERR_TIMEOUT) {
        guest_failed(j, text);
    }
}

static void start_pulled(struct fetch *p, mob_status st)
{
    if (p->job->ended) {
        return;
    }
    if (st) {
        not_fetched(p->job, st, "what its workers are started with could not be fetched");
    } else {
        ready(p->job);
    }
}

static void fetch_rest(struct job *j)
{
    struct guest *g = j->guest;
    struct fetch_want want = {.kind = WIRE_START,
                              .number = g->number,
                              .size = g->start_size,
                              .ours = LINK_NONE,
                              .dst = g->start,
                              .done = start_pulled};
    fetch_start(j, g->owner, &want);
}

static void exe_pulled(struct fetch *p, mob_status st)
{
    struct job *j = p->job;
    struct guest *g = j->guest;
    if (st || j->ended) {
        munmap(g->temp_map, g->exe_size);
        close(g->temp);
        unlink(g->temp_path);
        if (!j->ended) {
            not_fetched(j, st, "its executable could not be fetched");
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
    fetch_rest(j);
}

static void fetch_program(struct job *j)
{
    struct guest *g = j->guest;
    if (exe_open(g->hash, g->exe_size, &j->exe) == MOB_OK) {
        fetch_rest(j);
        return;
    }
    j->exe = -1;
    mob_status st =
        exe_temp(g->exe_size, g->temp_path, sizeof g->temp_path, &g->temp, &g->temp_map);
    if (st) {
        guest_failed(j, mob_last_error());
        return;
    }
    struct fetch_want want = {.kind = WIRE_EXECUTABLE,
                              .number = g->number,
                              .size = g->exe_size,
                              .ours = LINK_NONE,
                              .dst = g->temp_map,
                              .done = exe_pulled};
    fetch_start(j, g->owner, &want);
}

/* No job could be made of it, and that may be another time: no node starts with a store in which none would
 * fit. It has a place in the line, so that its owner finds what is freed until it asks again. */
static void refuse_job(struct peer *p, uint32_t number, struct guest_key *k,
                       mob_status st)
{
    struct node *n = p->cluster->node;
    char why[WIRE_TEXT_MAX];
    snprintf(why, sizeof why, "%s", mob_last_error());
    if (!k->waits) { /* once, not at each try */
        log_warn("job %u of node %s does not begin here yet: %s", number, p->host, why);
    }
    k->waits = true;
    say_failed(p, number, true, why);
    if (st == MOB_ERR_NOMEM) {
        line_refused(&n->memory_line, k->ours.node, job_least_bytes(),
                     loop_now_ns(n->loop), GUEST_PATIENCE_NS);
        job_make_room(n);
    }
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
    uint64_t token = codec_get_u64(r);
    if (!codec_done(r) || start_size == 0 || start_size > START_MAX ||
        guest_find(c, p, number)) {
        return false;
    }
    struct guest_key *k = guest_key_get(c, p->id, theirs, true);
    if (!k || k->failed) {
        say_failed(p, number, !k, k ? "it did not run here before" : "no memory");
        return true;
    }
    k->number = number;
    if (k->job || c->node->stopping) {
        return true; /* the one before is still ending: its tasks go BACK until it has */
    }
    struct guest *g = calloc(1, sizeof *g);
    struct job *j = NULL;
    mob_status st = g ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory for a job");
    if (g) {
        g->owner = p;
        g->number = number;
        g->key = k;
        g->temp = -1;
        g->clock = 1;
        g->exe_size = exe_size;
        g->start_size = start_size;
        g->token = token;
        memcpy(g->hash, hash, sizeof g->hash);
        g->start = malloc(start_size);
        st = g->start ? job_open_guest(c->node, g, name, &j)
                      : status_fail(MOB_ERR_NOMEM, "no memory for a job");
    }
    if (st) {
        refuse_job(p, number, k, st);
        if (g) {
            free(g->start);
        }
        free(g);
        return true;
    }
    k->job = j;
    wait_no_more(c, k);
    fetch_program(j);
    return true;
}

/* ---- the owner's words ------------------------------------------------------------------------- */

static void say_closed(struct peer *p, uint32_t number)
{
    struct codec_writer w = cluster_begin(p->cluster, WIRE_CLOSED);
    codec_put_u32(&w, number);
    cluster_send(p, &w);
}

static bool close_job(struct peer *p, uint32_t number, struct job *j,
                      struct codec_reader *r)
{
    bool kill_now = codec_get_u8(r);
    if (!codec_done(r)) {
        return false;
    }
    if (!j) { /* nothing of it is here any more, or not yet */
        wait_no_more(p->cluster, find_key(p->cluster, p, number));
        say_closed(p, number);
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
        return guest_tasks(p, number, r);
    case WIRE_RELEASE:
        return guest_release(j, r);
    case WIRE_CANCEL:
        return guest_cancel(j, r);
    case WIRE_LET_GO:
        return guest_let_go(j, r);
    case WIRE_SOURCE:
        return fetch_named(p, number, r);
    case WIRE_MET:
        return met_message(j, r);
    default:
        return false;
    }
}

/* ---- output, and the end --------------------------------------------------------------------------------------------- */

static void send_output(struct job *j, int stream, const char *text, size_t size)
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

void guest_output(struct job *j, int stream, const char *text, size_t size)
{
    struct guest *g = j->guest;
    char note[128];
    if (g->owner->queue_bytes >
        OUTPUT_QUEUE_MAX) { /* else it would cost the connection */
        g->dropped += size;
        return;
    }
    if (g->dropped) {
        int n = snprintf(
            note, sizeof note,
            "(mobula: %llu bytes of output dropped: the way from %.40s is full)\n",
            (unsigned long long)g->dropped, j->node->host);
        g->dropped = 0;
        send_output(j, stream, note, (size_t)n);
    }
    send_output(j, stream, text, size);
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
    for (struct guest_key *k = c->keys; k; k = k->next) {
        if (k->owner == p->id) {
            wait_no_more(c, k);
        }
    }
}

void guest_ended(struct job *j)
{
    struct guest *g = j->guest;
    if (!g->close_told) {
        g->close_told = true;
        if (g->close_asked) {
            say_closed(g->owner, g->number);
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
    loop_timer_stop(j->node->loop, &g->gather_timer);
    g->key->job = NULL;
    standin_free(j);
    free(g->proxies);
    free(g->ended);
    free(g->start);
    free(g);
    j->guest = NULL;
}
