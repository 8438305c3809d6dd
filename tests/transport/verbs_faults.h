/* verbs_faults.h - two nodes that exchange objects and messages over the double, whatever
 * its devices do meanwhile. */
#ifndef TESTS_VERBS_FAULTS_H
#define TESTS_VERBS_FAULTS_H

#include "conforms.h"

enum { SIZE = 5 * CHUNK_BYTES + 4321, MESSAGES = 6 };

/* Two nodes between which RDMA moves objects already; node 1 owns one. */
static inline struct transport_peer *begin(struct world *w, const struct backend *backend)
{
    struct pull p = {0};
    struct transport_stats stats;
    world_over(w, backend, 2);
    struct transport_peer *peer = world_join(w, 0, 1);
    world_object(w, 1, SIZE);
    world_object(w, 0, SIZE);
    for (unsigned i = 0;; i++) {
        cr_assert_eq(world_pull(peer, &p, 0, CHUNK_BYTES), MOB_OK);
        WORLD_UNTIL(w, p.calls && w->nodes[1].pins == 0);
        transport_stats(peer, &stats);
        if (stats.rdma_bytes != 0) {
            break;
        }
        cr_assert_lt(i, 100, "RDMA is never used: %s", stats.why);
    }
    pull_free(&p);
    return peer;
}

static inline void say(struct world *w, struct transport_peer *peer, uint64_t *number)
{
    (void)w;
    cr_assert_eq(transport_send(peer, number, sizeof *number), MOB_OK);
    ++*number;
}

/* Pulls both ways with messages between, which all arrive whatever happens. */
static inline void exchange(struct world *w, struct transport_peer *peer)
{
    struct transport_peer *back = w->nodes[1].peers[0];
    struct pull p = {0}, q = {0};
    uint64_t to = w->nodes[1].next_number, fro = w->nodes[0].next_number;
    cr_assert_eq(world_pull(peer, &p, 7, SIZE - 7), MOB_OK);
    cr_assert_eq(world_pull(back, &q, 0, SIZE), MOB_OK);
    for (unsigned i = 0; i < MESSAGES; i++) {
        say(w, peer, &to);
        say(w, back, &fro);
        world_turn(w, 4);
    }
    WORLD_UNTIL(w, p.calls && q.calls && w->nodes[0].pins == 0 && w->nodes[1].pins == 0 &&
                       w->nodes[0].next_number == fro && w->nodes[1].next_number == to);
    cr_assert(p.status == MOB_OK && q.status == MOB_OK, "%d, %d", p.status, q.status);
    cr_assert_eq(memcmp(p.dst, w->nodes[1].object + 7, SIZE - 7), 0);
    cr_assert_eq(memcmp(q.dst, w->nodes[0].object, SIZE), 0);
    world_turn(w, 200); /* what comes late finds the guards */
    cr_assert(p.calls == 1 && q.calls == 1);
    cr_assert_not(w->nodes[0].disorder || w->nodes[1].disorder);
    cr_assert(w->nodes[0].downs == 0 && w->nodes[1].downs == 0);
    pull_free(&p);
    pull_free(&q);
}

static inline void wait_ns(struct world *w, uint64_t ns)
{
    uint64_t until = fake_net_now_ns(w->net) + ns;
    WORLD_UNTIL(w, fake_net_now_ns(w->net) >= until);
}

#endif
