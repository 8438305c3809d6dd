/* What a node makes of messages that are malformed, out of place, or true but inconvenient. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "messages.h"
#include "node_world.h"
#include "store/task.h"

static struct world w;
static struct draft m;
static struct facts f;

static void begin(bool head)
{
    world_make(&w, head);
    memset(&f, 0, sizeof f);
    f.dice = 1;
    f.self = w.peers[1].id;
    f.node = w.peers[2].id;
    f.head = f.session = 5;
    f.key = (struct plan_job){f.self, 1};
    f.lease = f.epoch = f.job = 1;
    f.units = CPU_UNITS;
    f.exe_size = f.start_size = 4096;
    world_up(&w, 0);
    world_up(&w, 1);
}

static bool say(int peer, enum wire_op op)
{
    message_make(&m, &f, op);
    return world_say(&w, peer, m.bytes, m.size);
}

static unsigned peers_known(void)
{
    unsigned count = 0;
    for (struct peer *p = w.node.cluster->peers; p; p = p->next) {
        count++;
    }
    return count;
}

/* Runs what is due until the record is sealed; false if it is not after many turns. */
static bool sealed(struct job *j, uint64_t link, uint64_t *ret_state)
{
    for (int i = 0; i < 2000; i++) {
        struct record *r = lane_find(&j->lane, link, ret_state);
        if (!r || state_sealed(*ret_state)) {
            return r != NULL;
        }
        world_turn(&w);
        MUST(loop_turn(w.node.loop, NS_PER_MS) == MOB_OK);
    }
    return false;
}

static const char *error_of(struct job *j, uint64_t link, mob_status *ret)
{
    static char text[RECORD_PAYLOAD + 1];
    struct record *r = board_record(&j->board, link_index(link));
    struct place p = record_get_place(r, 0);
    const void *bytes;
    *ret = (mob_status)(int32_t)at_load(&r->error, AT_RELAXED);
    cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
    snprintf(text, sizeof text, "%.*s", (int)p.size, (const char *)bytes);
    return text;
}

/* ---- every message, cut anywhere and grown ------------------------------------------------------- */

/* Who may say @op to a head (or else to a member), so that only its form can be wrong. */
static int speaker(enum wire_op op, bool head)
{
    bool from_head = op == WIRE_WELCOME || op == WIRE_REFUSED || op == WIRE_NODE ||
                     op == WIRE_DEAD || op == WIRE_LEASE || op == WIRE_GRANT ||
                     op == WIRE_SYNCED || op == WIRE_INFEASIBLE || op == WIRE_STATUS_TEXT;
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
    cr_assert_eq(p->cpus, 1);
    cr_assert_str_eq(p->host, "host");
    world_end(&w);
}

Test(messages, a_host_is_called_what_can_be_printed)
{
    begin(true);
    join_as(CPU_UNITS, 7, "a\nb\033[2Jc d\xff");
    cr_assert_str_eq(cluster_peer(w.node.cluster, w.peers[1].id)->host, "a?b?[2Jc?d?");
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

/* ---- results -------------------------------------------------------------------------------------------------- */

static struct codec_writer done_begin(struct job *j, int peer)
{
    struct away *s = world_slot(&w, j, peer, 0);
    struct codec_writer c;
    cr_assert_not_null(s);
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_DONE);
    codec_put_u32(&c, j->number);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, (uint32_t)(s - j->away.slots));
    codec_put_u64(&c, s->link);
    codec_put_u32(&c, 3);
    codec_put_u64(&c, 1ull << 32 | 16);
    codec_put_u32(&c, MOB_OK);
    return c;
}

static void put_value(struct codec_writer *c, size_t size, int fill)
{
    uint8_t bytes[WIRE_INLINE_MAX];
    memset(bytes, fill, size);
    codec_put_u8(c, WIRE_VALUE);
    codec_put_bytes(c, bytes, size);
}

static bool done_remote(struct job *j, int peer, uint64_t size)
{
    struct codec_writer c = done_begin(j, peer);
    codec_put_u8(&c, 1);
    codec_put_u8(&c, WIRE_REMOTE);
    codec_put_u64(&c, size);
    return world_say(&w, peer, m.bytes, codec_written(&c));
}

Test(messages, a_result_of_no_size_or_of_any_is_malformed)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    uint64_t sizes[] = {0, ARENA_OBJECT_MAX + 1, UINT64_MAX};
    for (size_t i = 0; i < 3; i++) {
        world_turn(&w);
        world_up(&w, 1);
        world_send(&w, j, 1, 1);
        cr_assert(!done_remote(j, 1, sizes[i]), "a result of %llu bytes",
                  (unsigned long long)sizes[i]);
    }
    world_turn(&w);
    cr_assert_not_null(lane_find(&j->lane, link, &state));
    cr_assert_eq(state_phase(state), PHASE_QUEUED, "it is to run elsewhere");
    cr_assert_eq(state_attempt(state), 3);
    world_end(&w);
}

Test(messages, a_result_larger_than_the_store_fails_by_name)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    mob_status st;
    world_send(&w, j, 1, 1);
    cr_assert(done_remote(j, 1, WORLD_STORE));
    cr_assert(sealed(j, link, &state), "it waits for ever");
    const char *text = error_of(j, link, &st);
    cr_assert_eq(st, MOB_ERR_NOMEM);
    cr_assert(strstr(text, "task") && strstr(text, "64 MiB"), "%s", text);
    cr_assert_eq(j->away.out, 0);
    world_end(&w);
}

/* Takes all of the store but what no place of 4000 bytes fits into. */
static uint32_t fill_store(struct job *j, struct arena_place *ret, uint32_t room)
{
    uint32_t count = 0;
    void *data;
    for (size_t size = 1 << 20; size >= 64; size /= 4) {
        while (count < room && grant_place(j, size, &ret[count], &data) == MOB_OK) {
            grant_landed(j, &ret[count]);
            count++;
        }
    }
    return count;
}

static struct arena_place places[100000];

/* The peer is gone for good while its results wait for room here; they are here already. */
Test(messages, results_that_wait_for_room_outlive_their_node)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    cr_assert(say(1, WIRE_JOIN));
    world_send(&w, j, 1, 1);
    uint32_t count = fill_store(j, places, 100000);
    struct codec_writer c = done_begin(j, 1);
    codec_put_u8(&c, 1);
    put_value(&c, 4000, 9);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
    cr_assert_eq(j->busy, 1, "it waits for room");
    cr_assert(say(1, WIRE_GOODBYE)); /* declared dead, so its struct may go */
    world_turn(&w);
    world_down(&w, 1);
    for (int i = 0; i < 10; i++) {
        world_turn(&w);
    }
    cr_assert_null(cluster_peer(w.node.cluster, w.peers[1].id));
    for (uint32_t i = 0; i < count; i++) {
        grant_unplace(j, &places[i]);
    }
    cr_assert(sealed(j, link, &state));
    cr_assert_not(state & STATE_ERROR);
    world_end(&w);
}

/* Results that have no room beside the arguments, while the store is full. */
Test(messages, results_do_not_run_over_their_record)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 2, 120, 2), after = world_task(&w, j, 0, 0, 1),
             state;
    world_send(&w, j, 1, 1);
    uint32_t count = fill_store(j, places, 100000);
    struct codec_writer c = done_begin(j, 1);
    codec_put_u8(&c, 2);
    put_value(&c, 100, 0xaa);
    put_value(&c, 100, 0xbb);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
    for (uint32_t i = 0; i < count; i++) {
        grant_unplace(j, &places[i]);
    }
    cr_assert(sealed(j, link, &state));
    struct record *r = board_record(&j->board, link_index(link));
    cr_assert_eq(at_load(&r->parent, AT_RELAXED), LINK_NONE, "written over");
    for (uint32_t i = 0; i < 2; i++) {
        struct place p = record_get_place(r, i);
        const void *bytes;
        cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
        cr_assert_eq(p.size, 100);
        cr_assert_eq(((const uint8_t *)bytes)[99], i ? 0xbb : 0xaa);
    }
    cr_assert_not_null(lane_find(&j->lane, after, &state));
    world_end(&w);
}

/* ---- arguments --------------------------------------------------------------------------------------------------- */

/* An owner's job here, with one task that has an argument of @size bytes there. */
static void guest_with_argument(uint64_t size)
{
    cr_assert(say(0, WIRE_WELCOME));
    message_make(&m, &f, WIRE_LEASE);
    cr_assert(world_say(&w, 0, m.bytes, m.size));
    cr_assert(say(1, WIRE_OPEN));
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_TASKS);
    codec_put_u32(&c, f.job);
    codec_put_u64(&c, f.lease);
    codec_put_u32(&c, f.epoch);
    codec_put_u32(&c, 0);
    codec_put_u32(&c, f.units);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, 0);
    codec_put_u64(&c, 1ull << 32 | 16);
    codec_put_u8(&c, 3);
    codec_put_u8(&c, 0);
    codec_put_u8(&c, 1);
    codec_put_u8(&c, 1);
    codec_put_str(&c, "a_function");
    codec_put_str(&c, "name");
    codec_put_u8(&c, WIRE_REMOTE);
    codec_put_u64(&c, 1ull << 32 | 32);
    codec_put_u64(&c, size);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

Test(messages, an_argument_larger_than_the_store_is_an_error_that_says_so)
{
    begin(false);
    f.node = f.self;
    guest_with_argument(WORLD_STORE);
    struct peer *p = cluster_peer(w.node.cluster, w.peers[1].id);
    struct job *j = guest_find(w.node.cluster, p, f.job);
    cr_assert_not_null(j);
    uint64_t proxy = j->guest->proxies[0].link, state;
    struct record *r = lane_find(&j->lane, proxy, &state);
    cr_assert_not_null(r);
    struct call call = record_call(r);
    uint64_t arg = at_load(&record_arg_ref(r, &call, 0)->link, AT_RELAXED);
    mob_status st;
    cr_assert(sealed(j, arg, &state), "it waits for ever");
    const char *text = error_of(j, arg, &st);
    cr_assert_eq(st, MOB_ERR_NOMEM);
    cr_assert(strstr(text, "64 MiB"), "%s", text);
    world_end(&w);
}
