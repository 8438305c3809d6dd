#include "node_world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/seg.h"
#include "core/status.h"
#include "store/task.h"

const char *world_program;

void world_broken(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: %s: does not hold (%s)\n", file, line, what,
            mob_last_error());
    abort();
}

/* ---- the peers' transport ----------------------------------------------------------------------- */

static struct world_peer *peer_of(struct transport_peer *tp)
{
    return LOOP_OWNER(tp, struct world_peer, tp);
}

static mob_status take_message(struct transport_peer *tp, const struct iovec *iov,
                               unsigned count)
{
    uint8_t op = *(const uint8_t *)iov[0].iov_base;
    MUST(count == 1 && op > 0 && op < WIRE_OPS);
    if (peer_of(tp)->full) {
        return MOB_ERR_FULL;
    }
    peer_of(tp)->sent[op]++;
    memcpy(peer_of(tp)->last[op], iov[0].iov_base,
           iov[0].iov_len < WORLD_LAST_BYTES ? iov[0].iov_len : WORLD_LAST_BYTES);
    return peer_of(tp)->going ? MOB_ERR_STATE : MOB_OK;
}

static mob_status begin_pull(struct transport_peer *tp,
                             const struct transport_source *source, void *dst,
                             struct transport_xfer *xfer)
{
    struct world *w = peer_of(tp)->world;
    if (peer_of(tp)->going) {
        return MOB_ERR_STATE;
    }
    if (w->pulls_count == WORLD_PULLS) {
        return MOB_ERR_FULL;
    }
    *xfer = (struct transport_xfer){.peer = tp, .dst = dst, .size = source->size};
    struct world_pull *pull = &w->pulls[w->pulls_count++];
    MUST(wire_get_name(source->object, &pull->name));
    pull->what = pull->name.kind;
    pull->offset = source->offset;
    pull->xfer = xfer;
    return MOB_OK;
}

static void cancel_pull(struct transport_xfer *xfer)
{
    xfer->status = MOB_ERR_CANCELLED; /* done with the next turn */
}

static void disconnect(struct transport_peer *tp)
{
    struct world_peer *p = peer_of(tp);
    if (!p->going) {
        p->going = true;
        p->world->dropped++;
    }
}

static void more_is_there(struct transport_peer *tp, uint64_t cookie)
{
    (void)cookie;
    peer_of(tp)->grown++;
}

static void revoked(struct transport_peer *tp, uint64_t cookie, mob_status st)
{
    (void)cookie;
    MUST(st != MOB_OK);
    peer_of(tp)->revoked++;
}

static void no_stats(const struct transport_peer *tp, struct transport_stats *ret)
{
    (void)tp;
    *ret = (struct transport_stats){.carrier = "world"};
}

static const struct transport_ops ops = {.name = "world",
                                         .send = take_message,
                                         .pull = begin_pull,
                                         .cancel = cancel_pull,
                                         .grown = more_is_there,
                                         .revoke = revoked,
                                         .stats = no_stats,
                                         .disconnect = disconnect};

void world_pulled(struct world *w, uint32_t pull, mob_status st, int fill)
{
    struct transport_xfer *x = w->pulls[pull].xfer;
    if (!st) {
        memset(x->dst, fill, x->size);
        x->received = x->size;
    }
    w->pulls[pull] = w->pulls[--w->pulls_count];
    x->peer = NULL;
    w->node.cluster->user.pull_done(w->node.cluster, x, st);
}

/* As a transport does: all that it owes of a peer, then the peer's end. */
static void go_down(struct world *w, struct world_peer *p)
{
    struct cluster *c = w->node.cluster;
    for (uint32_t i = 0; i < w->pulls_count;) {
        if (w->pulls[i].xfer->peer == &p->tp) {
            world_pulled(w, i, MOB_ERR_PEER_LOST, 0);
            i = 0; /* others may have gone or come */
        } else {
            i++;
        }
    }
    p->up = p->going = false;
    c->user.peer_down(c, &p->tp, MOB_ERR_PEER_LOST, "the test says so");
}

void world_down(struct world *w, int peer)
{
    if (w->peers[peer].up) {
        go_down(w, &w->peers[peer]);
    }
}

void world_up(struct world *w, int peer)
{
    struct world_peer *p = &w->peers[peer];
    struct cluster *c = w->node.cluster;
    if (p->up) {
        return;
    }
    p->up = true;
    p->tp = (struct transport_peer){.tp = &w->transport, .node_id = p->id};
    struct transport_peer_info info = {.node_id = p->id, .address = "127.0.0.1:7"};
    c->user.peer_up(c, &p->tp, &info);
    if (peer == 0 && !c->is_head && p->tp.tag) {
        member_join(c, p->tp.tag); /* as if we had dialed it */
    }
}

bool world_say(struct world *w, int peer, const void *data, size_t size)
{
    struct world_peer *p = &w->peers[peer];
    struct cluster *c = w->node.cluster;
    void *copy = malloc(size ? size : 1); /* whoever reads behind the end is seen */
    MUST(p->up && copy);
    if (!p->going) {
        memcpy(copy, data, size);
        c->user.message(c, &p->tp, copy, size);
    }
    free(copy);
    return !p->going;
}

/* What a driver does on its way through the library: it lets go of segments that are revoked. */
static void driver_looks(struct job *j)
{
    uint32_t revoked = at_load(&j->board.header->revoked, AT_ACQUIRE);
    at_store(&j->board.procs[1].revoked_seen, revoked, AT_RELEASE);
    grant_collect(j);
}

void world_turn(struct world *w)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (w->node.jobs[i] && w->node.jobs[i]->driver) {
            driver_looks(w->node.jobs[i]);
        }
    }
    MUST(loop_turn(w->node.loop, 0) == MOB_OK);
    for (uint32_t i = 0; i < w->pulls_count;) {
        if (w->pulls[i].xfer->status) {
            world_pulled(w, i, w->pulls[i].xfer->status, 0);
            i = 0;
        } else {
            i++;
        }
    }
    for (int i = 0; i < WORLD_PEERS; i++) {
        if (w->peers[i].going) {
            go_down(w, &w->peers[i]);
        }
    }
}

/* ---- the node ------------------------------------------------------------------------------------- */

void world_make(struct world *w, bool head)
{
    struct node *n = &w->node;
    struct budget_config budget = {.limit_bytes = WORLD_STORE};
    memset(w, 0, sizeof *w);
    signal(SIGPIPE, SIG_IGN); /* as node_run() does */
    w->driver = -1;
    w->transport.ops = &ops;
    for (int i = 0; i < WORLD_PEERS; i++) {
        w->peers[i].world = w;
        w->peers[i].id = 101 + (uint64_t)i;
    }
    n->config = (struct node_config){.embedded = -1,
                                     .ready_fd = -1,
                                     .num_cpus = WORLD_CPUS,
                                     .store_bytes = WORLD_STORE,
                                     .head = head,
                                     /* nobody listens there: the head is peer 0 */
                                     .head_address = head ? NULL : "127.0.0.1:1",
                                     .listen = "127.0.0.1",
                                     /* what no node may run is sent to those peers */
                                     .unmet_grace_ns = 3600 * NS_PER_S};
    memset(&n->config.key, 7, sizeof n->config.key);
    n->id = 99;
    n->cpus = WORLD_CPUS;
    n->capacity = resources_cpus((uint64_t)WORLD_CPUS * CPU_UNITS);
    n->listener = n->signal_fd = -1;
    snprintf(n->host, sizeof n->host, "world");
    n->scratch = malloc(sizeof *n->scratch);
    MUST(budget_init(&n->budget, &budget) == MOB_OK && n->scratch);
    MUST(loop_create(0, &n->loop) == MOB_OK);
    struct plan_node_config plan = {
        .node = n->id, .capacity = n->capacity, .act = plan_act, .arg = n};
    n->plan = plan_node_create(&plan, clock_now_ns());
    MUST(n->plan && cluster_start(n) == MOB_OK);
    while (n->cluster->head_dial) {
        MUST(loop_turn(n->loop, NS_PER_MS) == MOB_OK);
    }
    world_turn(w);
}

void world_end(struct world *w)
{
    struct node *n = &w->node;
    for (int i = 0; i < WORLD_PEERS; i++) {
        world_down(w, i);
    }
    node_stop(n);
    MUST(loop_run(n->loop) == MOB_OK);
    MUST(w->pulls_count == 0);
    cluster_free(n);
    plan_node_destroy(n->plan);
    budget_fini(&n->budget);
    loop_destroy(n->loop);
    free(n->scratch);
    if (w->driver >= 0) {
        close(w->driver);
    }
}

/* ---- a driver's job ----------------------------------------------------------------------------------- */

void world_hello(int sock)
{
    static struct local_msg m;
    void *start, *base;
    size_t size;
    int fds[4];
    MUST(local_spawn_pack(&start, &size) == MOB_OK);
    MUST(seg_create("mobula-start", size, &fds[1]) == MOB_OK);
    MUST(seg_map(fds[1], size, SEG_WRITE, &base) == MOB_OK);
    memcpy(base, start, size);
    seg_unmap(base, size);
    free(start);
    fds[0] = open(world_program ? world_program : "/proc/self/exe", O_RDONLY | O_CLOEXEC);
    MUST(fds[0] >= 0);
    fds[2] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fds[3] = open("/dev/null", O_WRONLY | O_CLOEXEC);
    local_msg_init(&m, LOCAL_HELLO);
    m.arg[0] = LOCAL_MAGIC;
    m.arg[1] = LOCAL_VERSION;
    m.arg[2] = (uint64_t)getpid();
    m.arg[3] = LOCAL_DRIVER;
    m.arg[4] = size;
    local_msg_text(&m, "world");
    MUST(local_send(sock, &m, fds, 4) == MOB_OK);
    for (int i = 0; i < 4; i++) {
        close(fds[i]);
    }
}

struct job *world_job(struct world *w)
{
    static struct local_msg m;
    int sock[2], fds[LOCAL_FDS_MAX];
    unsigned count;
    struct job *j = NULL;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock) == 0);
    world_hello(sock[0]);
    MUST(conn_open(&w->node, sock[1], NULL) == MOB_OK);
    while (!(j = job_find(&w->node, w->node.last_job)) || !j->driver) {
        world_turn(w);
    }
    MUST(local_recv(sock[0], &m, fds, &count) == MOB_OK && m.status == MOB_OK);
    for (unsigned i = 0; i < count; i++) {
        close(fds[i]);
    }
    w->driver = sock[0];
    struct demand big = demand_cpus((WORLD_CPUS + 1) * CPU_UNITS);
    MUST(job_add_class(j, &big, &w->big) == MOB_OK);
    return j;
}

uint64_t world_task(struct world *w, struct job *j, uint32_t nargs, uint32_t size,
                    uint32_t nrets)
{
    struct call call = {.class_options = (uint8_t)w->big,
                        .counts = call_counts(nargs, nrets),
                        .retries = 3};
    struct record *r;
    uint64_t link;
    MUST(board_name(&j->board, DAEMON, "task", &call.fn) == MOB_OK);
    mob_status st = lane_record(&j->lane, &r);
    if (st == MOB_ERR_FULL) {
        MUST(grant_records(j) == MOB_OK);
        st = lane_record(&j->lane, &r);
    }
    MUST(st == MOB_OK);
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = call.fn;
    for (uint32_t i = 0; i < nargs; i++) {
        void *to = task_add_value(r, i, size);
        MUST(to);
        memset(to, (int)i, size);
    }
    MUST(task_publish(&j->lane, r, &link) == MOB_OK);
    return link;
}

void world_send(struct world *w, struct job *j, int peer, uint32_t count)
{
    struct send_job s = {.job = job_plan_id(j),
                         .node = w->peers[peer].id,
                         .lease = 7,
                         .epoch = 1,
                         .cls = w->big,
                         .count = count};
    away_send(w->node.cluster, &s);
}

struct away *world_slot(struct world *w, struct job *j, int peer, uint32_t nth)
{
    for (uint32_t i = 0; i < j->away.count; i++) {
        struct away *s = &j->away.slots[i];
        if (s->state == AWAY_SENT && s->peer && s->peer->id == w->peers[peer].id &&
            nth-- == 0) {
            return s;
        }
    }
    return NULL;
}
