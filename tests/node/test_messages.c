/* What a node makes of messages that are malformed, out of place, or true but inconvenient. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "talk.h"
#include "store/task.h"

static unsigned peers_known(void)
{
    unsigned count = 0;
    for (struct peer *p = w.node.cluster->peers; p; p = p->next) {
        count++;
    }
    return count;
}

/* ---- every message, cut anywhere and grown ------------------------------------------------------- */

/* Who may say @op to a head (or else to a member), so that only its form can be wrong. */
static int speaker(enum wire_op op, bool head)
{
    bool from_head = op == WIRE_WELCOME || op == WIRE_REFUSED || op == WIRE_NODE ||
                     op == WIRE_DEAD || op == WIRE_LEASE || op == WIRE_GRANT ||
                     op == WIRE_SYNCED || op == WIRE_STATUS_TEXT;
    bool to_head = op == WIRE_JOIN || op == WIRE_GOODBYE || op == WIRE_REPORT ||
                   op == WIRE_DEMAND || op == WIRE_HELD || op == WIRE_STATUS ||
                   op == WIRE_HEARTBEAT;
    if (op < WIRE_OPEN && (head ? from_head : to_head)) {
        return -1;
    }
    return from_head ? 0 : 1;
}

static void into_place(int peer, enum wire_op op, bool head)
{
    world_turn(&w);
    world_up(&w, 0);
    world_up(&w, 1);
    if (head && op != WIRE_JOIN && !cluster_peer(w.node.cluster, f.self)->joined) {
        f.session = f.self = w.peers[peer].id = w.peers[peer].id + 1000; /* a new one */
        world_down(&w, peer);
        world_up(&w, peer);
        cr_assert(say(peer, WIRE_JOIN));
    }
    if (!head && !w.node.cluster->head && op != WIRE_WELCOME && op != WIRE_REFUSED) {
        cr_assert(say(0, WIRE_WELCOME));
    }
}

static void harmed(bool head)
{
    begin(head);
    for (uint32_t op = 1; op < WIRE_OPS; op++) {
        int peer = speaker((enum wire_op)op, head);
        message_make(&m, &f, (enum wire_op)op);
        for (size_t i = 0; peer >= 0 && i <= m.size; i++) {
            if (i == 1 && op == WIRE_HEARTBEAT) {
                continue; /* the head's has no fields */
            }
            static struct draft before;
            before = m;
            into_place(peer, (enum wire_op)op, head);
            m = before;
            /* m.size: whole, with one byte more */
            cr_assert(!world_say(&w, peer, m.bytes, i == m.size ? i + 1 : i),
                      "op %u of %zu bytes, cut at %zu, was taken", op, m.size, i);
            m = before;
        }
    }
    world_turn(&w);
    cr_assert_null(plan_node_check(w.node.plan));
    world_end(&w);
}

Test(messages, cut_or_grown_costs_the_connection_to_a_head)
{
    harmed(true);
}

Test(messages, cut_or_grown_costs_the_connection_to_a_member)
{
    harmed(false);
}

Test(messages, what_is_no_message_costs_the_connection)
{
    begin(true);
    uint8_t ops[] = {0, WIRE_OPS, 255};
    for (size_t i = 0; i < sizeof ops; i++) {
        world_turn(&w);
        world_up(&w, 1);
        cr_assert(!world_say(&w, 1, &ops[i], 1));
    }
    world_end(&w);
}

/* ---- who may say what ---------------------------------------------------------------------------------- */

Test(messages, only_a_head_that_was_asked_welcomes)
{
    begin(false);
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(!say(1, WIRE_WELCOME), "a second head was taken");
    world_down(&w, 0);
    world_turn(&w);
    cr_assert_null(w.node.cluster->head);
    world_up(&w, 1);
    cr_assert(!say(1, WIRE_WELCOME), "a stranger became the head");
    cr_assert_null(w.node.cluster->head);
    world_end(&w);
}

Test(messages, only_a_head_refuses)
{
    begin(false);
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(!say(1, WIRE_REFUSED), "a stranger ended this node's membership");
    cr_assert_not(w.node.cluster->rejoining);
    cr_assert_not_null(w.node.cluster->head);
    world_end(&w);
}

/* ---- who joins --------------------------------------------------------------------------------------------- */

static uint8_t join_ip[WIRE_IP_BYTES];

static void join_as(uint64_t units, uint16_t port, const char *host)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_JOIN);
    codec_put_u32(&c, WIRE_VERSION);
    codec_put_u64(&c, 5);
    codec_put_u64(&c, 0);
    codec_put_u64(&c, units);
    codec_put_u64(&c, 1ull << 30);
    codec_put_u16(&c, port);
    codec_put_str(&c, host);
    codec_put_str(&c, "epoll (\033[2J)");
    codec_put_raw(&c, join_ip, sizeof join_ip);
    resources_put(&c, &(struct resources){.amount = {units}});
    codec_put_str(&c, "");
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

Test(messages, a_node_that_cannot_be_is_no_member)
{
    begin(true);
    const struct peer *p = cluster_peer(w.node.cluster, w.peers[1].id);
    join_as((NODE_CPUS_MAX + 1ull) * CPU_UNITS, 7, "host");
    cr_assert_not(p->joined, "more CPUs than a node may have");
    join_as(CPU_UNITS, 0, "host");
    cr_assert_not(p->joined, "no port to reach it at");
    join_as(CPU_UNITS, 7, "host");
    cr_assert(p->joined);
    world_end(&w);
}

/* A member that says other things of itself later: what the others are told stays true. */
Test(messages, a_member_stays_what_it_was)
{
    begin(true);
    const struct peer *p = cluster_peer(w.node.cluster, w.peers[1].id);
    join_as(CPU_UNITS, 7, "host");
    join_as(UINT64_MAX, 7, "other");
    cr_assert(p->joined);
    cr_assert_eq(p->capacity.amount[RESOURCE_CPU], CPU_UNITS);
    cr_assert_str_eq(p->host, "host");
    world_end(&w);
}

Test(messages, a_member_is_reached_where_it_listens)
{
    begin(true);
    const struct peer *p = cluster_peer(w.node.cluster, w.peers[1].id);
    join_as(CPU_UNITS, 7, "host"); /* at all addresses: where it came from */
    cr_assert_str_neq(p->address, "10.9.0.2:7");
    memcpy(join_ip, (uint8_t[]){[10] = 0xff, 0xff, 10, 9, 0, 2}, sizeof join_ip);
    join_as(CPU_UNITS, 7, "host");
    cr_assert_str_eq(p->address, "10.9.0.2:7");
    world_end(&w);
}

Test(messages, a_host_is_called_what_can_be_printed)
{
    begin(true);
    join_as(CPU_UNITS, 7, "a\nb\033[2Jc d\xff");
    cr_assert_str_eq(cluster_peer(w.node.cluster, w.peers[1].id)->host, "a?b?[2Jc?d?");
    cr_assert_str_eq(cluster_peer(w.node.cluster, w.peers[1].id)->loop, "epoll (?[2J)");
    world_end(&w);
}

/* Nodes that come, are no members and go leave nothing. */
Test(messages, strangers_are_forgotten)
{
    begin(true);
    unsigned before = peers_known();
    for (int i = 0; i < 500; i++) {
        w.peers[2].id = 10000 + (uint64_t)i;
        world_up(&w, 2);
        cr_assert(say(2, WIRE_CANCEL));
        world_down(&w, 2);
        world_turn(&w);
    }
    cr_assert_leq(peers_known(), before + 1);
    world_end(&w);
}
