/* fuzz_messages.c - what peers with the cluster's key may say: messages of every kind, true and harmed, to a
 * head and to a member that work meanwhile.
 *
 *   fuzz_messages [SEED [COUNT]]
 *
 * After each message both planners' invariants hold. When all peers are gone, each task of the
 * node's own job is sealed or ready to run again, and nothing is on its way any more. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "messages.h"
#include "node_world.h"
#include "store/task.h"

enum { SEEDS = 12, COUNT = 3000, COUNT_FULL = 100000, TASKS_MAX = 400, JOBS = 3 };

static struct world w;
static struct draft m;
static struct facts f;
static uint64_t task[TASKS_MAX];
static uint32_t tasks;
static uint64_t taken, refused;
static uint32_t harm_of_64; /* few: long lives of connections; many: all kinds of ends */

/* ---- what the peers know ------------------------------------------------------------------------- */

static struct job *a_guest_of(int peer)
{
    struct peer *p = cluster_peer(w.node.cluster, w.peers[peer].id);
    struct job *found = NULL;
    for (uint32_t i = 0, seen = 0; p && i < JOBS_MAX; i++) {
        struct job *j = w.node.jobs[i];
        if (j && j->guest && !j->ended && j->guest->owner == p && dice(&f, ++seen) == 0) {
            found = j;
        }
    }
    return found;
}

/* Of a member, each job of each peer has a lease of its own here; a head's are its planner's. */
static void know_lease(uint32_t owner)
{
    struct plan_lease_view views[16];
    f.lease = dice(&f, 8) ? 1 + owner * JOBS + f.key.number : dice(&f, 100);
    f.epoch = 1;
    if (w.node.cluster->plan) {
        size_t count = plan_head_leases(w.node.cluster->plan, views, 16);
        count = count < 16 ? count : 16;
        for (size_t i = 0; i < count; i++) {
            if (views[i].owner == f.key.node && views[i].job.number == f.key.number) {
                f.lease = views[i].lease;
                f.epoch = views[i].epoch;
            }
        }
    }
}

static void know(struct job *own, int peer, enum wire_op op)
{
    struct job *guest = a_guest_of(peer);
    struct away *s = world_slot(&w, own, peer, (uint32_t)dice(&f, 4));
    uint32_t owner = op <= WIRE_STATUS_TEXT || dice(&f, 16) == 0
                         ? (uint32_t)dice(&f, WORLD_PEERS)
                         : (uint32_t)peer;
    f.self = w.peers[owner].id;
    f.node = dice(&f, 8) ? w.peers[dice(&f, WORLD_PEERS)].id : w.node.cluster->self->id;
    f.key = (struct plan_job){f.self, 1 + (uint32_t)dice(&f, JOBS)};
    if (guest && op > WIRE_OPEN && op < WIRE_CLOSED) {
        f.key = guest->guest->key->theirs;
    }
    f.units = dice(&f, 8) ? CPU_UNITS : 2 * CPU_UNITS;
    f.cls = (uint32_t)dice(&f, 2);
    f.head = f.session = 5;
    f.exe_size = f.start_size = 4096;
    know_lease(owner);
    f.job = op >= WIRE_CLOSED ? own->number : f.key.number;
    f.slot = s ? (uint32_t)(s - own->away.slots) : (uint32_t)dice(&f, 8);
    f.link = s ? s->link : 1ull << 32 | dice(&f, 32) << 4;
    f.proxy = (uint32_t)dice(&f, 4);
    f.proxy_link = guest && f.proxy < guest->guest->proxies_count
                       ? guest->guest->proxies[f.proxy].link
                       : dice(&f, UINT64_MAX);
}

/* A file of gigabytes that a harmed size asks for would be made: only the disk would be tested. */
static bool asks_for_disk(void)
{
    struct codec_reader r;
    char name[64];
    codec_reader_init(&r, m.bytes, m.size);
    bool open = codec_get_u8(&r) == WIRE_OPEN;
    (void)codec_get_u32(&r);
    (void)wire_get_key(&r);
    codec_get_str(&r, name, sizeof name);
    (void)codec_get_raw(&r, WIRE_HASH_BYTES);
    return open && codec_get_u64(&r) > 1 << 20;
}

static bool for_head(enum wire_op op)
{
    return op == WIRE_JOIN || op == WIRE_HEARTBEAT || op == WIRE_GOODBYE ||
           op == WIRE_REPORT || op == WIRE_DEMAND || op == WIRE_HELD || op == WIRE_STATUS;
}

/* A message that may be said now, and who says it; rarely one that is out of place. */
static enum wire_op choose(int *ret_peer)
{
    struct cluster *c = w.node.cluster;
    enum wire_op op = (enum wire_op)(1 + dice(&f, WIRE_OPS - 1));
    *ret_peer = (int)dice(&f, WORLD_PEERS);
    op = dice(&f, 4) ? op : WIRE_TASKS;
    op = dice(&f, 4) ? op : c->is_head ? WIRE_DEMAND : WIRE_LEASE;
    if (op < WIRE_OPEN && dice(&f, 64)) {
        if (for_head(op) != c->is_head) {
            op = c->is_head ? WIRE_REPORT : WIRE_LEASE;
        }
        *ret_peer = c->is_head ? *ret_peer : 0;
    }
    world_up(&w, *ret_peer);
    struct peer *p = cluster_peer(c, w.peers[*ret_peer].id);
    if (c->is_head && p && !p->joined && dice(&f, 8)) {
        return WIRE_JOIN;
    }
    if (*ret_peer == 0 && !c->is_head &&
        dice(&f, 64)) { /* the head was asked, or was not */
        bool asked = c->joining != NULL;
        return asked                                      ? WIRE_WELCOME
               : op == WIRE_WELCOME || op == WIRE_REFUSED ? WIRE_LEASE
                                                          : op;
    }
    return op == WIRE_TASKS && !a_guest_of(*ret_peer) ? WIRE_OPEN : op;
}

static void speak(struct job *own)
{
    int peer;
    enum wire_op op = choose(&peer);
    if (w.peers[peer].going) {
        return;
    }
    know(own, peer, op);
    message_make(&m, &f, op);
    if (dice(&f, 64) < harm_of_64) {
        message_harm(&m, &f, (enum harm)dice(&f, HARMS));
    }
    if (!asks_for_disk()) {
        bool ok = world_say(&w, peer, m.bytes, m.size);
        taken += ok;
        refused += !ok;
    }
}

/* ---- what goes on meanwhile ------------------------------------------------------------------------- */

static void own_work(struct job *own)
{
    while (tasks < TASKS_MAX && dice(&f, 3) == 0) {
        task[tasks++] = world_task(&w, own, (uint32_t)dice(&f, 3),
                                   (uint32_t)dice(&f, 100), 1 + (uint32_t)dice(&f, 2));
    }
    int peer = (int)dice(&f, WORLD_PEERS);
    if (w.peers[peer].up && dice(&f, 4) == 0) {
        world_send(&w, own, peer, 1 + (uint32_t)dice(&f, 4));
    }
}

/* As a worker would: a task of another node runs here. */
static void guest_work(void)
{
    struct job *j = a_guest_of((int)dice(&f, WORLD_PEERS));
    struct record *r;
    struct queue_item item;
    struct arena_place place;
    void *data;
    uint32_t cls = j ? (uint32_t)dice(&f, CLASSES_MAX) : 0;
    if (!j || cls >= j->classes || task_claim(&j->lane, cls, &r, &item) != QUEUE_OK) {
        return;
    }
    struct call call = record_call(r);
    if (dice(&f, 4) == 0) {
        task_set_error(r, MOB_ERR_TASK_FAILED, "it failed here");
        (void)task_seal(&j->lane, r, true);
        return;
    }
    for (uint32_t i = 0; i < call_nrets(&call); i++) {
        size_t size = dice(&f, 2) ? 100 : 20000;
        if (grant_place(j, size, &place, &data) == MOB_OK) {
            grant_landed(j, &place);
            memset(data, 1, size);
            record_set_place(r, i, PLACE_ARENA, place.segment, place.offset, size);
        } else {
            record_set_place(r, i, PLACE_EMPTY, 0, 0, 0);
        }
    }
    (void)task_seal(&j->lane, r, false);
}

static void pulls(void)
{
    static const mob_status ends[] = {
        MOB_OK, MOB_OK, MOB_OK, MOB_ERR_NOT_FOUND, MOB_ERR_PROTOCOL, MOB_ERR_FULL};
    while (w.pulls_count && dice(&f, 3) == 0) {
        uint32_t i = (uint32_t)dice(&f, w.pulls_count);
        bool program = w.pulls[i].what >= WIRE_EXECUTABLE;
        if (program && dice(&f, 40)) {
            continue; /* what comes of that is an end of the job, mostly */
        }
        world_pulled(&w, i, ends[dice(&f, 6)], (int)dice(&f, 256));
    }
}

/* A peer pulls something: by a name that may be true. */
static void exports(struct job *own)
{
    struct transport_export e;
    uint8_t name[TRANSPORT_OBJECT_BYTES];
    int peer = (int)dice(&f, WORLD_PEERS);
    if (!w.peers[peer].up || w.peers[peer].going || dice(&f, 4)) {
        return;
    }
    struct job *guest = a_guest_of(peer);
    enum wire_object kind = (enum wire_object)(dice(&f, 7));
    uint64_t link =
        tasks && kind != WIRE_RESULT ? task[dice(&f, tasks)]
        : guest && guest->guest->proxies_count
            ? guest->guest->proxies[dice(&f, guest->guest->proxies_count)].link
            : dice(&f, UINT64_MAX);
    struct wire_name n = {kind, own->number, link | dice(&f, 3), 0, 0};
    if (kind == WIRE_ARGUMENT) {
        n.node = dice(&f, 2) ? w.peers[dice(&f, WORLD_PEERS)].id : 0;
        n.word = dice(&f, 3);
    } else if (guest && (kind == WIRE_RESULT || kind == WIRE_COPIED)) {
        const struct standin *s = standin_next(guest, NULL);
        n.job = guest->guest->number;
        n.link = s && kind == WIRE_COPIED ? s->theirs : n.link;
        n.node = kind == WIRE_COPIED ? guest->guest->owner->id : 0;
        n.word = kind == WIRE_COPIED ? guest->guest->token : 0;
    }
    wire_put_name(name, &n);
    if (dice(&f, 4) == 0) {
        name[dice(&f, sizeof name)] ^= (uint8_t)(1u << dice(&f, 8));
    }
    struct cluster *c = w.node.cluster;
    if (c->user.export(c, &w.peers[peer].tp, name, &e) == MOB_OK) {
        uint64_t sum = 0; /* all of it can be read */
        for (uint64_t i = 0; i < e.size; i += 512) {
            sum += ((const uint8_t *)e.base)[i];
        }
        MUST(sum <= e.size * 255);
        c->user.unexport(c, &w.peers[peer].tp, &e);
    }
}

static void comings_and_goings(void)
{
    int peer = (int)dice(&f, WORLD_PEERS);
    if (dice(&f, 40) == 0) {
        world_down(&w, peer);
    }
    struct peer *p = cluster_peer(w.node.cluster, w.peers[peer].id);
    if (!w.peers[peer].up && ((p && p->gone) || dice(&f, 8) == 0)) {
        w.peers[peer].id += 1000; /* a new incarnation */
    }
}

/* ---- a run ------------------------------------------------------------------------------------------- */

static void check_planners(void)
{
    const char *broken = plan_node_check(w.node.plan);
    if (!broken && w.node.cluster->plan) {
        broken = plan_head_check(w.node.cluster->plan);
    }
    if (broken) {
        fprintf(stderr, "after op %u of %zu bytes: %s\n", m.bytes[0], m.size, broken);
        abort();
    }
}

/* Nothing of the node's own job is lost, stuck, or still on its way. */
static void check_rest(struct job *own)
{
    for (int i = 0; i < WORLD_PEERS; i++) {
        world_down(&w, i);
    }
    while (own->busy) { /* small results that wait for room */
        for (uint32_t i = 0; i < JOBS_MAX; i++) {
            if (w.node.jobs[i] && w.node.jobs[i]->guest) {
                job_end(w.node.jobs[i]);
            }
        }
        world_turn(&w);
    }
    MUST(own->away.out == 0);
    for (uint32_t i = 0; i < tasks; i++) {
        uint64_t s;
        MUST(lane_find(&own->lane, task[i], &s));
        MUST(state_sealed(s) || state_phase(s) == PHASE_QUEUED);
    }
}

static void run(uint64_t seed, uint64_t count)
{
    memset(&f, 0, sizeof f);
    f.dice = seed;
    harm_of_64 = seed % 3 == 0 ? 40 : seed % 3 == 1 ? 2 : 8;
    tasks = 0;
    world_make(&w, seed % 2);
    struct job *own = world_job(&w);
    for (uint64_t i = 0; i < count; i++) {
        speak(own);
        check_planners();
        own_work(own);
        guest_work();
        pulls();
        exports(own);
        comings_and_goings();
        world_turn(&w);
    }
    check_rest(own);
    world_end(&w);
}

int main(int argc, char **argv)
{
    const char *full = getenv("MOB_TEST_FULL");
    uint64_t count = full && strcmp(full, "1") == 0 ? COUNT_FULL : COUNT;
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    uint64_t last = argc > 1 ? first : SEEDS;
    count = argc > 2 ? strtoull(argv[2], NULL, 0) : count;
    for (uint64_t seed = first; seed <= last; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
        run(seed, count);
    }
    printf("%llu messages were taken, %llu cost the connection\n",
           (unsigned long long)taken, (unsigned long long)refused);
    return 0;
}
