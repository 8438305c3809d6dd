/* What comes of jobs of other nodes: their tasks, arguments, leases, results and output. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "core/clock.h"
#include "talk.h"
#include "store/task.h"

/* ---- jobs of other nodes -------------------------------------------------------------------------- */

static struct job *guest(void)
{
    f.node = f.self;
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(say(0, WIRE_LEASE));
    cr_assert(say(1, WIRE_OPEN));
    struct job *j =
        guest_find(w.node.cluster, cluster_peer(w.node.cluster, w.peers[1].id), f.job);
    cr_assert_not_null(j);
    return j;
}

/* An owner's task here, with an argument @link there if @size is not 0. */
static void guest_task_with(uint64_t link, uint64_t size)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_TASKS);
    codec_put_u32(&c, f.job);
    codec_put_u64(&c, f.lease);
    codec_put_u32(&c, f.epoch);
    codec_put_u32(&c, 0);
    wire_put_demand(&c, &(struct demand){.need = resources_cpus(f.units)});
    codec_put_u32(&c, 1);
    codec_put_u32(&c, 0);
    codec_put_u64(&c, 1ull << 32 | 16);
    codec_put_u8(&c, 3);
    codec_put_u8(&c, 0);
    codec_put_u8(&c, 1);
    codec_put_u8(&c, size > 0);
    codec_put_str(&c, "a_function");
    codec_put_str(&c, "name");
    if (size) {
        codec_put_u8(&c, WIRE_REMOTE);
        codec_put_u64(&c, link);
        codec_put_u64(&c, size);
    }
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

static void guest_task(uint64_t size)
{
    guest_task_with(1ull << 32 | 32, size);
}

/* No worker will come for them any more. */
Test(guest, tasks_that_wait_under_a_lease_that_is_over_go_back)
{
    begin(false);
    struct job *j = guest();
    uint64_t state;
    guest_task(0);
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 0);
    uint64_t link = j->guest->proxies[0].link;
    cr_assert_not_null(lane_find(&j->lane, link, &state));
    cr_assert_eq(state_phase(state), PHASE_QUEUED);
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_LEASE);
    codec_put_u64(&c, f.lease);
    codec_put_u32(&c, f.epoch + 1);
    wire_put_key(&c, f.key);
    codec_put_u64(&c, f.self);
    codec_put_u32(&c, 0);
    wire_put_demand(&c, &(struct demand){.need = resources_cpus(f.units)});
    codec_put_u32(&c, 1);
    codec_put_u32(&c, 0); /* slots */
    cr_assert(world_say(&w, 0, m.bytes, codec_written(&c)));
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 1, "it stays, and nobody runs it");
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    struct queue_view ready = board_ready(&j->board, 0);
    cr_assert_eq(j->guest->open[0], 0);
    cr_assert_eq(j->guest->proxies[0].link, LINK_NONE);
    cr_assert_neq(
        plan_node_view(w.node.plan, j->guest->key->ours, 0, &(struct plan_class_view){0}),
        MOB_ERR_NOT_FOUND);
    cr_assert_eq(queue_count(&ready), 0, "a stale hint counts as a task");
    world_end(&w);
}

Test(guest, an_argument_larger_than_the_store_is_an_error_that_says_so)
{
    begin(false);
    struct job *j = guest();
    guest_task(WORLD_STORE);
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

/* The next queued task ends. True: the daemon was called for it. */
static bool ends_and_rings(struct job *j)
{
    struct record *r;
    struct queue_item item;
    eventfd_t rung;
    cr_assert_eq(task_claim(&j->lane, 0, &r, &item), QUEUE_OK);
    task_unhint(&j->lane, 0, &item);
    record_set_place(r, 0, PLACE_EMPTY, 0, 0, 0);
    cr_assert(task_seal(&j->lane, r, false));
    bool rings = eventfd_read(j->bell, &rung) == 0;
    if (rings) {
        (void)eventfd_write(j->bell, 1);
    }
    return rings;
}

static void told(uint32_t messages)
{
    for (int i = 0; i < 2000 && w.peers[1].sent[WIRE_DONE] < messages; i++) {
        MUST(loop_turn(w.node.loop, NS_PER_MS) == MOB_OK);
    }
    cr_assert_eq(w.peers[1].sent[WIRE_DONE], messages);
}

/* While there is work for a while results are told together, by a timer; then each at once. */
Test(guest, results_wait_for_each_other_while_there_is_work)
{
    begin(false);
    struct job *j = guest();
    for (uint32_t i = 0; i < GATHER_TASKS + 5; i++) {
        guest_task(0);
    }
    for (int i = 0; i < 5; i++) {
        MUST(loop_turn(w.node.loop, NS_PER_MS) ==
             MOB_OK); /* what else it is called for */
    }
    cr_assert(ends_and_rings(j), "the first is told at once");
    told(1);
    for (int i = 0; i < 4; i++) {
        cr_assert(!ends_and_rings(j), "the daemon is called for each");
    }
    told(2);
    cr_assert(!ends_and_rings(j), "there was work for one more time");
    told(3);
    for (uint32_t i = 0; i < GATHER_TASKS - 1; i++) {
        cr_assert(ends_and_rings(j), "somebody may wait for it");
        told(4 + i);
    }
    world_end(&w);
}

/* Nobody waits for them, and they can be had again: others have the memory first. */
Test(guest, copies_of_arguments_make_room)
{
    const size_t size = 20 << 20;
    begin(false);
    struct job *j = guest();
    guest_task(size);
    uint32_t pull = 0;
    while (w.pulls[pull].what != WIRE_ARGUMENT) {
        cr_assert_lt(++pull, w.pulls_count);
    }
    world_pulled(&w, pull, MOB_OK, 5);
    struct record *r;
    struct queue_item item;
    cr_assert_eq(task_claim(&j->lane, 0, &r, &item), QUEUE_OK);
    task_unhint(&j->lane, 0, &item);
    record_set_place(r, 0, PLACE_EMPTY, 0, 0, 0);
    uint64_t used = w.node.budget.used_bytes;
    grant_want(&w.node);
    cr_assert_eq(j->guest->standin_bytes, size, "a task has it");
    cr_assert(task_seal(&j->lane, r, false));
    while (w.peers[1].sent[WIRE_DONE] == 0) {
        world_turn(&w);
    }
    grant_want(&w.node);
    cr_assert_eq(j->guest->standin_bytes, 0);
    cr_assert_leq(w.node.budget.used_bytes, used - size);
    world_end(&w);
}

/* A large result that was told, as its owner's task is done here. */
static uint64_t large_result(struct job *j, size_t size)
{
    struct record *r;
    struct queue_item item;
    struct arena_place place;
    void *data;
    guest_task(0);
    cr_assert_eq(task_claim(&j->lane, 0, &r, &item), QUEUE_OK);
    task_unhint(&j->lane, 0, &item);
    cr_assert_eq(grant_place(j, size, &place, &data), MOB_OK);
    grant_landed(j, &place);
    record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    cr_assert(task_seal(&j->lane, r, false));
    uint32_t told = w.peers[1].sent[WIRE_DONE];
    while (w.peers[1].sent[WIRE_DONE] == told) {
        world_turn(&w);
    }
    cr_assert(j->guest->proxies[0].done, "it waits to be pulled");
    return j->guest->proxies[0].link;
}

static void release_result(uint64_t link, bool taken)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_RELEASE);
    codec_put_u32(&c, f.job);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, 0);
    codec_put_u64(&c, link);
    codec_put_u8(&c, taken);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

/* guest_task() gives the owner's record of a task this link, and asks for another one as argument. */
#define TASK_THERE (1ull << 32 | 16)

/* What its owner took is the owner's object: a task that has it as argument finds it here. */
Test(guest, a_result_is_used_where_it_was_made)
{
    begin(false);
    struct job *j = guest();
    uint64_t link = large_result(j, 1 << 20), state;
    release_result(link, true);
    cr_assert_eq(j->guest->standin_bytes, 1 << 20);
    uint32_t before = w.pulls_count;
    guest_task_with(TASK_THERE, 1 << 20);
    cr_assert_eq(w.pulls_count, before, "it travels");
    cr_assert_not_null(lane_find(&j->lane, j->guest->proxies[0].link, &state));
    cr_assert_eq(state_phase(state), PHASE_QUEUED);
    grant_want(&w.node);
    cr_assert_eq(j->guest->standin_bytes, 1 << 20, "a task has it");
    world_end(&w);
}

/* What its owner did not take is nobody's: another attempt may have made other bytes. */
Test(guest, a_result_that_was_not_taken_is_gone)
{
    begin(false);
    struct job *j = guest();
    uint64_t link = large_result(j, 1 << 20), state;
    release_result(link, false);
    cr_assert_eq(j->guest->standin_bytes, 0);
    struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(!r || state_gone(state), "it takes room");
    uint32_t before = w.pulls_count;
    guest_task_with(TASK_THERE, 1 << 20);
    cr_assert_eq(w.pulls_count, before + 1, "other bytes than the owner's");
    world_end(&w);
}

/* A result that is kept goes when the memory is wanted. */
Test(guest, a_kept_result_makes_room)
{
    begin(false);
    struct job *j = guest();
    uint64_t link = large_result(j, 20 << 20), state, used = w.node.budget.used_bytes;
    release_result(link, true);
    guest_task(0); /* a later task */
    grant_want(&w.node);
    cr_assert_eq(j->guest->standin_bytes, 0);
    struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(!r || state_gone(state));
    cr_assert_leq(w.node.budget.used_bytes, used - (20 << 20));
    world_end(&w);
}

/* Of a DONE about one task with one result. */
static bool said_it_stays(void)
{
    return w.peers[1].last[WIRE_DONE][38] & WIRE_STAYS;
}

/* The owner's words may come when all of them are told. */
Test(guest, results_that_are_told_take_their_part_of_the_store)
{
    begin(false);
    struct job *j = guest();
    uint64_t link = large_result(j, 20 << 20);
    cr_assert(said_it_stays());
    (void)large_result(j, 20 << 20);
    cr_assert(!said_it_stays(), "40 MiB of 64 would be kept");
    release_result(link, false);
    cr_assert_eq(j->guest->kept_bytes, 0);
    (void)large_result(j, 20 << 20);
    cr_assert(said_it_stays());
    world_end(&w);
}

/* ---- a node without room ---------------------------------------------------------------------------- */

static const struct budget_owner somebody = {BUDGET_NODE, BUDGET_DAEMON};

static struct job *guest_of_peer(void)
{
    return guest_find(w.node.cluster, cluster_peer(w.node.cluster, w.peers[1].id), f.job);
}

/* A peer's job comes to a node that has all but a byte of what its board takes in use. */
static uint64_t full_when_it_comes(void)
{
    f.node = f.self;
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(say(0, WIRE_LEASE));
    uint64_t bytes = w.node.budget.limit_bytes - job_least_bytes() + 1;
    cr_assert_eq(budget_take(&w.node.budget, somebody, bytes), MOB_OK);
    budget_committed(&w.node.budget, bytes);
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_null(guest_of_peer());
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 1);
    return bytes;
}

/* Of a FAILED: job u32, later u8. */
static bool said_later(void)
{
    return w.peers[1].last[WIRE_FAILED][5];
}

Test(guest, a_job_that_finds_no_room_may_be_opened_again)
{
    begin(false);
    uint64_t bytes = full_when_it_comes();
    cr_assert(said_later(), "it is refused for good");
    guest_task(0);
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 1);
    cr_assert_eq(w.peers[1].sent[WIRE_CLOSED], 0,
                 "it may come when the owner has opened the job again");
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 2, "there is no room yet");
    cr_assert(said_later());
    budget_give(&w.node.budget, somebody, bytes);
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 2);
    cr_assert_not_null(guest_of_peer());
    guest_task(0);
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 1);
    world_end(&w);
}

/* Until its owner asks again, others do not take what was freed for it. */
Test(guest, what_is_freed_is_kept_for_a_job_that_found_no_room)
{
    begin(false);
    uint64_t bytes = full_when_it_comes(), least = job_least_bytes(),
             now = loop_now_ns(w.node.loop);
    budget_give(&w.node.budget, somebody, bytes);
    cr_assert(!line_may(&w.node.memory_line, 1, 1, least, now + AWAY_AGAIN_MAX_NS));
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_not_null(guest_of_peer());
    cr_assert(line_may(&w.node.memory_line, 1, 1, least, now), "nobody waits any more");
    world_end(&w);
}

/* Whether others may take the memory that a job found too little of. */
static bool others_may(void)
{
    uint64_t now = loop_now_ns(w.node.loop);
    return line_may(&w.node.memory_line, 1, 1, job_least_bytes(), now);
}

Test(guest, nothing_is_kept_for_a_job_that_will_not_come)
{
    begin(false);
    uint64_t bytes = full_when_it_comes();
    cr_assert(!others_may());
    cr_assert(say(1, WIRE_CLOSE)); /* its owner needs nobody any more */
    cr_assert_eq(w.peers[1].sent[WIRE_CLOSED], 1);
    cr_assert(others_may());
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 2);
    cr_assert(!others_may());
    world_down(&w, 1); /* its owner is gone */
    cr_assert(others_may());
    budget_give(&w.node.budget, somebody, bytes);
    world_end(&w);
}

/* Its tasks that are on their way then do not make the owner open it anew. */
Test(guest, a_job_that_does_not_run_here_is_refused_for_good)
{
    begin(false);
    guest_failed(guest(), "it makes no sense");
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 1);
    cr_assert_not(said_later());
    guest_task(0);
    cr_assert_eq(w.peers[1].sent[WIRE_BACK], 1);
    cr_assert_eq(w.peers[1].sent[WIRE_CLOSED], 0,
                 "its owner would open it again at once");
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 2);
    cr_assert_not(said_later());
    world_end(&w);
}

/* ---- what else crosses ------------------------------------------------------------------------------ */

/* The connection broke while the program was on its way: that says nothing of the program. */
Test(guest, a_program_that_was_cut_off_comes_again)
{
    begin(false);
    (void)guest();
    cr_assert_eq(w.pulls_count, 1);
    cr_assert_eq(w.pulls[0].what, WIRE_EXECUTABLE);
    world_down(&w, 1);
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    world_up(&w, 1);
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 0, "refused for ever");
    cr_assert_eq(w.pulls_count, 1);
    world_end(&w);
}

/* A worker that prints more than the network takes costs its lines, and not the connection. */
Test(guest, output_that_nobody_takes_is_dropped_and_counted)
{
    static char line[60000];
    begin(false);
    struct job *j = guest();
    struct peer *p = j->guest->owner;
    memset(line, 'x', sizeof line);
    w.peers[1].full = true;
    for (uint64_t i = 0; i < 2 * PEER_QUEUE_MAX; i += sizeof line) {
        guest_output(j, 1, line, sizeof line);
    }
    cr_assert_not(w.peers[1].going, "given up");
    cr_assert_leq(p->queue_bytes, OUTPUT_QUEUE_MAX + 2 * sizeof line);
    cr_assert_gt(j->guest->dropped, PEER_QUEUE_MAX);
    w.peers[1].full = false;
    w.node.cluster->user.writable(w.node.cluster, &w.peers[1].tp);
    uint32_t before = w.peers[1].sent[WIRE_OUTPUT];
    guest_output(j, 1, "more\n", 5);
    cr_assert_eq(w.peers[1].sent[WIRE_OUTPUT], before + 2, "it is not said");
    cr_assert_eq(j->guest->dropped, 0);
    world_end(&w);
}
