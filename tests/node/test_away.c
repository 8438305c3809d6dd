/* Nodes that take no tasks of a job of this one: for good, or for now. */
#include <criterion/criterion.h>
#include <string.h>

#include "talk.h"

static void say_failed(const struct job *j, bool later)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_FAILED);
    codec_put_u32(&c, j->number);
    codec_put_u8(&c, later);
    codec_put_str(&c, "the object store is full");
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
}

static bool is_queued(struct job *j, uint64_t link)
{
    uint64_t state;
    return lane_find(&j->lane, link, &state) && state_phase(state) == PHASE_QUEUED;
}

static struct away_host *host(struct job *j)
{
    struct away_host *h = away_host_of(j, cluster_peer(w.node.cluster, w.peers[1].id));
    cr_assert_not_null(h);
    return h;
}

/* As if the time had passed after which it is asked again. */
static void wait_is_over(struct job *j)
{
    host(j)->again_ns = 1;
}

Test(away, a_node_that_is_full_is_asked_again_after_a_while)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1), state;
    const uint32_t *sent = w.peers[1].sent;
    for (uint32_t i = 1; i <= 3; i++) {
        world_send(&w, j, 1, 1);
        cr_assert_eq(sent[WIRE_OPEN], i);
        cr_assert_eq(sent[WIRE_TASKS], i);
        say_failed(j, true);
        cr_assert_null(world_slot(&w, j, 1, 0));
        cr_assert(is_queued(j, link));
        world_send(&w, j, 1, 1);
        cr_assert_eq(sent[WIRE_OPEN], i, "at once");
        cr_assert_eq(sent[WIRE_TASKS], i);
        wait_is_over(j);
    }
    world_send(&w, j, 1, 1);
    cr_assert_eq(sent[WIRE_OPEN], 4);
    cr_assert_not_null(world_slot(&w, j, 1, 0), "it runs there");
    world_send(&w, j, 1, 1);
    cr_assert_eq(sent[WIRE_OPEN], 4);
    struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(r && state_attempt(state) == 0, "what did not begin counts as an attempt");
    world_end(&w);
}

Test(away, the_time_between_two_tries_grows_up_to_a_bound)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t want = AWAY_AGAIN_MIN_NS;
    (void)world_task(&w, j, 0, 0, 1);
    for (int i = 0; i < 8; i++) {
        world_send(&w, j, 1, 1);
        say_failed(j, true);
        uint64_t now = loop_now_ns(w.node.loop);
        cr_assert_eq(host(j)->again_ns - now, want);
        want = 2 * want < AWAY_AGAIN_MAX_NS ? 2 * want : AWAY_AGAIN_MAX_NS;
        wait_is_over(j);
    }
    world_end(&w);
}

Test(away, a_node_where_a_program_does_not_run_is_not_asked_again)
{
    begin(true);
    struct job *j = world_job(&w);
    uint64_t link = world_task(&w, j, 0, 0, 1);
    world_send(&w, j, 1, 1);
    say_failed(j, false);
    cr_assert(is_queued(j, link));
    wait_is_over(j);
    world_send(&w, j, 1, 1);
    cr_assert_eq(w.peers[1].sent[WIRE_OPEN], 1);
    world_end(&w);
}

/* The job ends while a node has no room for it: it is not waited for. */
Test(away, a_job_ends_that_is_to_be_opened_again)
{
    begin(true);
    struct job *j = world_job(&w);
    (void)world_task(&w, j, 0, 0, 1);
    world_send(&w, j, 1, 1);
    say_failed(j, true);
    job_close(j);
    cr_assert_eq(w.peers[1].sent[WIRE_CLOSE], 1);
    wait_is_over(j);
    world_send(&w, j, 1, 1);
    cr_assert_eq(w.peers[1].sent[WIRE_OPEN], 1, "a job that leaves is opened");
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_CLOSED);
    codec_put_u32(&c, j->number);
    cr_assert(world_say(&w, 1, m.bytes, codec_written(&c)));
    cr_assert(away_closed(j));
    world_end(&w);
}
