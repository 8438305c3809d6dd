/* Results that stay where they were made: pulled when they are wanted, made again when their node is lost. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "lineage.h"
#include "spill.h"
#include "talk.h"
#include "store/task.h"

enum { MAKER = 1, OTHER = 2, SIZE = 256 << 10, PROXY = 3 };

static uint64_t remote(uint32_t n)
{
    return 1ull << 32 | (16 + 16 * n);
}

/* The job of a test, with two peers that work for it. */
static struct job *start(void)
{
    begin(true);
    world_up(&w, OTHER);
    return world_job(&w);
}

/* The peer says that the task in its slot @nth is done, with @nrets results of SIZE that may stay there. */
static void done(struct job *j, int peer, uint32_t nth, uint32_t nrets, uint32_t n)
{
    struct away *s = world_slot(&w, j, peer, nth);
    struct codec_writer c;
    cr_assert_not_null(s);
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_DONE);
    codec_put_u32(&c, j->number);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, (uint32_t)(s - j->away.slots));
    codec_put_u64(&c, s->link);
    codec_put_u32(&c, PROXY + n);
    codec_put_u64(&c, remote(n));
    codec_put_u32(&c, MOB_OK);
    codec_put_u8(&c, (uint8_t)nrets);
    for (uint32_t i = 0; i < nrets; i++) {
        codec_put_u8(&c, WIRE_REMOTE | WIRE_STAYS);
        codec_put_u64(&c, SIZE);
    }
    cr_assert(world_say(&w, peer, m.bytes, codec_written(&c)));
}

/* A task with one value, or, if @arg is not LINK_NONE, with an object by id. */
static uint64_t task(struct job *j, uint64_t arg, uint8_t retries, uint32_t nrets)
{
    struct call call = {.class_options = (uint8_t)w.big,
                        .counts = call_counts(1, nrets),
                        .retries = retries};
    struct record *r;
    uint64_t link;
    if (arg != LINK_NONE) {
        call.class_options |= CALL_HAS_REFS << 4;
    }
    MUST(board_name(&j->board, DAEMON, "maker", &call.fn) == MOB_OK);
    MUST(lane_record(&j->lane, &r) == MOB_OK);
    task_begin(&j->lane, r, &call, LINK_NONE);
    r->name = call.fn;
    if (arg != LINK_NONE) {
        MUST(task_add_ref(r, 0, arg));
    } else {
        memset(task_add_value(r, 0, 8), 5, 8);
    }
    MUST(task_publish(&j->lane, r, &link) == MOB_OK);
    return link;
}

/* A task that ran at @peer, where its results stayed. */
static uint64_t made_at(struct job *j, int peer, uint64_t arg, uint32_t nrets, uint32_t n)
{
    uint64_t link = task(j, arg, 3, nrets);
    world_send(&w, j, peer, 1);
    done(j, peer, 0, nrets, n);
    return link;
}

static void turns(void)
{
    for (int i = 0; i < 4; i++) {
        world_turn(&w);
        MUST(loop_turn(w.node.loop, 0) == MOB_OK);
    }
}

static struct place place_of(const struct job *j, uint64_t link)
{
    uint64_t state;
    const struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(r && state_sealed_good(state));
    return record_get_place(r, link_ret(link));
}

static uint8_t first_byte(struct job *j, uint64_t link)
{
    const void *bytes;
    struct place p = place_of(j, link);
    cr_assert_eq(p.kind, PLACE_ARENA);
    cr_assert_eq(p.size, SIZE);
    struct record *r = board_record(&j->board, link_index(link));
    cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
    return *(const uint8_t *)bytes;
}

/* What is wanted comes: the next turn begins the pull or the task. */
static void want(struct job *j, uint64_t link)
{
    lineage_want(j, link);
    turns();
}

/* The task that makes a result again, or LINK_NONE. */
static uint64_t repair_of(const struct job *j, uint64_t link)
{
    for (uint32_t i = 0; i < j->lineage.room; i++) {
        const struct lineage *e = j->lineage.entries[i];
        if (e && e->link == (link & ~0xfull)) {
            return e->repair;
        }
    }
    return LINK_NONE;
}

static uint32_t class_of(const struct job *j, uint64_t link)
{
    struct call call = record_call(board_record(&j->board, link_index(link)));
    return call_class(&call);
}

/* A worker here runs the task and returns SIZE bytes. */
static void run_here(struct job *j, uint64_t link, int fill, size_t size)
{
    struct arena_place place;
    void *data;
    uint64_t state;
    struct record *r = lane_find(&j->lane, link, &state);
    cr_assert(r && task_claim_one(&j->lane, r, link_gen(link)));
    cr_assert_eq(grant_place(j, size, &place, &data), MOB_OK);
    memset(data, fill, size);
    grant_landed(j, &place);
    record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    cr_assert(task_seal(&j->lane, r, false));
    job_notices(j);
    turns();
}

static void all_gone(struct job *j)
{
    turns();
    lane_reclaim(&j->lane);
    cr_assert_eq(j->lineage.count, 0, "%u entries are left", j->lineage.count);
    cr_assert_eq(j->lineage.held_bytes, 0);
    cr_assert_null(j->lineage.todo);
}

/* ---- pulled ------------------------------------------------------------------------------------------- */

Test(lineage, a_result_comes_when_it_is_wanted_and_not_before)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    cr_assert_eq(place_of(j, link).kind, PLACE_AWAY);
    cr_assert_eq(place_of(j, link).size, SIZE);
    turns();
    cr_assert_eq(w.pulls_count, 0, "nobody wants it");
    cr_assert_eq(w.peers[MAKER].sent[WIRE_RELEASE], 1);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    cr_assert_eq(w.pulls[0].name.link, remote(0));
    want(j, link);
    cr_assert_eq(w.pulls_count, 1, "once");
    world_pulled(&w, 0, MOB_OK, 0x5a);
    cr_assert_eq(first_byte(j, link), 0x5a);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1);
    all_gone(j);
    lane_drop(&j->lane, link);
    world_end(&w);
}

Test(lineage, a_released_result_is_let_go_where_it_is)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 2, 0);
    cr_assert_eq(place_of(j, link | 1).kind, PLACE_AWAY);
    lane_drop(&j->lane, link);
    lane_drop(&j->lane, link | 1);
    lane_reclaim(&j->lane);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 2);
    cr_assert_eq(w.peers[MAKER].last[WIRE_LET_GO][17], 1, "gone");
    all_gone(j);
    world_end(&w);
}

/* Its record is not freed under the pull, and its bytes are. */
Test(lineage, a_result_may_be_released_while_it_comes)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    lane_drop(&j->lane, link);
    lane_reclaim(&j->lane);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1);
    lineage_flush(j); /* for some other result: this pull is not over yet */
    turns();
    all_gone(j);
    world_end(&w);
}

Test(lineage, what_cannot_run_again_comes_at_once)
{
    struct job *j = start();
    uint64_t link = task(j, LINK_NONE, 0, 1), state;
    world_send(&w, j, MAKER, 1);
    done(j, MAKER, 0, 1, 0);
    cr_assert_eq(w.pulls_count, 1);
    cr_assert_not_null(lane_find(&j->lane, link, &state));
    cr_assert_eq(state_phase(state), PHASE_TAKEN,
                 "it is sealed before its bytes are here");
    world_pulled(&w, 0, MOB_OK, 1);
    cr_assert_eq(first_byte(j, link), 1);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 0);
    all_gone(j);
    world_end(&w);
}

Test(lineage, what_somebody_waits_for_comes_at_once)
{
    struct job *j = start();
    uint64_t link = task(j, LINK_NONE, 3, 1), state;
    struct record *r = board_record(&j->board, link_index(link));
    world_send(&w, j, MAKER, 1);
    cr_assert(task_mark_waited(r, link_gen(link), STATE_WAITERS, &state));
    done(j, MAKER, 0, 1, 0);
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 1);
    all_gone(j);
    world_end(&w);
}

/* A chain of tasks where it is moves nothing. */
Test(lineage, a_task_there_finds_its_argument_there)
{
    struct job *j = start();
    uint64_t a = made_at(j, MAKER, LINK_NONE, 1, 0), b = made_at(j, MAKER, a, 1, 1);
    cr_assert_eq(place_of(j, b).kind, PLACE_AWAY);
    turns();
    cr_assert_eq(w.pulls_count, 0);
    /* The argument record of b keeps that of a, and no bytes. */
    lane_drop(&j->lane, a);
    lane_reclaim(&j->lane);
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1);
    cr_assert_eq(j->lineage.count, 2);
    lane_drop(&j->lane, b);
    lane_reclaim(&j->lane);
    all_gone(j);
    world_end(&w);
}

static void stays(const struct job *j, uint32_t nth, uint64_t node, uint32_t results)
{
    struct lineage_at at[3];
    cr_assert_gt(lineage_nodes(j, at, 3), nth);
    cr_assert_eq(at[nth].peer ? at[nth].peer->id : 0, node);
    cr_assert_eq(at[nth].results, results);
    cr_assert_eq(at[nth].bytes, (uint64_t)results * SIZE);
}

/* For people: how much stays where, and what is lost. */
Test(lineage, what_stays_is_counted_by_node)
{
    struct job *j = start();
    struct lineage_at at[3];
    cr_assert_eq(lineage_nodes(j, at, 3), 0);
    uint64_t link = made_at(j, MAKER, LINK_NONE, 2, 0);
    (void)made_at(j, OTHER, LINK_NONE, 1, 1);
    (void)made_at(j, MAKER, LINK_NONE, 1, 2);
    stays(j, 0, w.peers[MAKER].id, 3);
    stays(j, 1, w.peers[OTHER].id, 1);
    cr_assert_eq(lineage_nodes(j, at, 1), 1, "no more than there is room for");
    lane_drop(&j->lane, link);
    lane_drop(&j->lane, link | 1);
    lane_reclaim(&j->lane);
    stays(j, 0, w.peers[OTHER].id, 1);
    world_down(&w, MAKER);
    stays(j, 1, 0, 1);
    world_end(&w);
}

/* The driver reads in order: the next ones come too, as far as they are few. */
Test(lineage, a_driver_that_reads_in_order_is_read_ahead_for)
{
    struct job *j = start();
    uint64_t link[24];
    for (uint32_t i = 0; i < 24; i++) {
        link[i] = made_at(j, MAKER, LINK_NONE, 1, i);
    }
    lineage_read(j, link[0]);
    turns();
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 1);
    turns();
    lineage_read(j, link[1]);
    turns();
    /* Here every other record is an argument record. */
    cr_assert_eq(w.pulls_count, LINEAGE_AHEAD / 2 + 1, "%u pulls", w.pulls_count);
    while (w.pulls_count) {
        world_pulled(&w, 0, MOB_OK, 1);
    }
    turns();
    cr_assert_eq(place_of(j, link[9]).kind, PLACE_ARENA);
    cr_assert_eq(place_of(j, link[10]).kind, PLACE_AWAY);
    world_end(&w);
}

/* One node gets it from there, and only what more of them want comes here. */
Test(lineage, another_node_is_sent_to_the_maker)
{
    struct job *j = start();
    struct cluster *c = w.node.cluster;
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    const struct peer *maker = cluster_peer(c, w.peers[MAKER].id);
    world_up(&w, 3);
    cr_assert_eq(lineage_source(j, link, maker), 0, "it is there");
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(lineage_source(j, link, cluster_peer(c, w.peers[OTHER].id)),
                     maker->id);
    }
    turns();
    cr_assert_eq(w.pulls_count, 0);
    cr_assert_eq(lineage_source(j, link, cluster_peer(c, w.peers[3].id)), 0);
    turns();
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 1);
    cr_assert_eq(lineage_source(j, link, cluster_peer(c, w.peers[OTHER].id)), 0);
    world_end(&w);
}

/* ---- made again --------------------------------------------------------------------------------------- */

Test(lineage, a_lost_result_is_made_again_when_it_is_wanted)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0), state;
    world_down(&w, MAKER);
    turns();
    cr_assert_eq(place_of(j, link).kind, PLACE_AWAY, "nobody wants it");
    cr_assert_eq(repair_of(j, link), LINK_NONE);
    want(j, link);
    uint64_t again = repair_of(j, link);
    struct record *r = lane_find(&j->lane, again, &state);
    cr_assert_not_null(r);
    cr_assert_eq(record_call(r).retries, 2, "that is a retry");
    want(j, link);
    cr_assert_eq(repair_of(j, link), again, "once at a time");
    run_here(j, again, 0x77, SIZE);
    cr_assert_eq(first_byte(j, link), 0x77);
    all_gone(j);
    cr_assert_null(lane_find(&j->lane, again, &state),
                   "its record is of no use any more");
    world_end(&w);
}

/* Tasks that wait for it are in the queue, and may have every slot of their class. */
Test(lineage, what_makes_it_again_does_not_wait_for_those_who_want_it)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    world_down(&w, MAKER);
    for (int i = 0; i < 3; i++) {
        (void)task(j, link, 3, 1);
    }
    world_send(&w, j, OTHER, 1);
    want(j, link);
    uint32_t cls = class_of(j, repair_of(j, link));
    cr_assert_neq(cls, w.big, "it is behind those who wait for it");
    cr_assert_eq(j->demand[cls].priority, j->demand[w.big].priority + 1);
    cr_assert(resources_equal(&j->demand[cls].need, &j->demand[w.big].need));
    run_here(j, repair_of(j, link), 0x21, SIZE);
    cr_assert_eq(first_byte(j, link), 0x21);
    world_end(&w);
}

/* On a node that lives. What comes back is not left there a second time. */
Test(lineage, it_may_be_made_again_elsewhere)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    world_down(&w, MAKER);
    want(j, link);
    w.big = class_of(j, repair_of(j, link));
    world_send(&w, j, OTHER, 1);
    cr_assert_eq(world_slot(&w, j, OTHER, 0)->link, repair_of(j, link));
    done(j, OTHER, 0, 1, 1);
    cr_assert_eq(w.pulls_count, 1, "it is wanted");
    world_pulled(&w, 0, MOB_OK, 0x66);
    turns();
    cr_assert_eq(first_byte(j, link), 0x66);
    all_gone(j);
    world_end(&w);
}

Test(lineage, a_node_that_is_lost_in_the_middle_of_a_pull)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    world_down(&w, MAKER);
    turns();
    cr_assert_eq(w.pulls_count, 0);
    run_here(j, repair_of(j, link), 0x55, SIZE);
    cr_assert_eq(first_byte(j, link), 0x55);
    all_gone(j);
    world_end(&w);
}

/* The node is short of memory: it is asked again, and has it still. */
Test(lineage, a_maker_that_is_short_of_memory)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    world_pulled(&w, 0, MOB_ERR_NOMEM, 0);
    while (w.pulls_count == 0) {
        cr_assert_eq(place_of(j, link).kind, PLACE_AWAY, "it fits in here");
        world_turn(&w);
    }
    world_pulled(&w, 0, MOB_OK, 0x53);
    cr_assert_eq(first_byte(j, link), 0x53);
    all_gone(j);
    world_end(&w);
}

/* The node is there and has it no more. */
Test(lineage, a_maker_that_does_not_have_it)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    want(j, link);
    world_pulled(&w, 0, MOB_ERR_NOT_FOUND, 0);
    turns();
    cr_assert_eq(w.peers[MAKER].sent[WIRE_LET_GO], 1, "if it has it, then for ever");
    run_here(j, repair_of(j, link), 0x54, SIZE);
    cr_assert_eq(first_byte(j, link), 0x54);
    all_gone(j);
    world_end(&w);
}

/* c is made of b, which is made of a; all are lost, and a was released. Only c is wanted. */
Test(lineage, a_chain_is_made_again_in_its_order)
{
    struct job *j = start();
    uint64_t a = made_at(j, MAKER, LINK_NONE, 1, 0), b = made_at(j, MAKER, a, 1, 1),
             c = made_at(j, MAKER, b, 1, 2), state;
    lane_drop(&j->lane, a);
    lane_reclaim(&j->lane);
    struct lineage *of_a = j->lineage.entries[0];
    cr_assert_eq(of_a->link, a);
    world_down(&w, MAKER);
    want(j, c);
    uint64_t again[3] = {of_a->repair, repair_of(j, b), repair_of(j, c)};
    for (int i = 0; i < 3; i++) {
        cr_assert_neq(again[i], LINK_NONE);
        struct record *r = lane_find(&j->lane, again[i], &state);
        cr_assert_not_null(r);
        cr_assert_eq(state_phase(state), i ? PHASE_WAITING : PHASE_QUEUED, "task %d", i);
        cr_assert_eq(record_call(r).fn,
                     record_call(board_record(&j->board, link_index(c))).fn);
    }
    for (int i = 0; i < 3; i++) {
        run_here(j, again[i], 0x10 + i, SIZE);
    }
    cr_assert_eq(first_byte(j, c), 0x12);
    cr_assert_eq(first_byte(j, b), 0x11, "it was made anyway, and is still held");
    all_gone(j);
    for (int i = 0; i < 3; i++) {
        cr_assert_null(lane_find(&j->lane, again[i], &state), "task %d", i);
    }
    world_end(&w);
}

/* What is kept may go to disk. */
static struct job *start_with_disk(void)
{
    struct job *j = start();
    const char *folder = getenv("TMPDIR");
    MUST(node_spill_start(&w.node, folder ? folder : "/tmp") == MOB_OK);
    return j;
}

static void end_with_disk(void)
{
    node_spill_stop(&w.node);
    world_end(&w);
    node_spill_end(&w.node);
}

/* The program gave it back and may want it for something else. */
Test(lineage, without_a_disk_less_is_kept)
{
    struct job *j = start();
    uint64_t first = object(j, 10 << 20), arg = object(j, 10 << 20), state;
    (void)made_at(j, MAKER, first, 1, 0);
    cr_assert_eq(w.pulls_count, 0);
    (void)made_at(j, MAKER, arg, 1, 1);
    cr_assert_eq(w.pulls_count, 1, "20 MiB are held in a store of 64 MiB");
    lane_drop(&j->lane, arg);
    world_pulled(&w, 0, MOB_OK, 1);
    lane_reclaim(&j->lane);
    struct record *r = lane_find(&j->lane, arg, &state);
    cr_assert(!r || state_gone(state), "it is kept");
    world_end(&w);
}

/* An argument that is here is kept for as long as it may be needed, through audits too. */
Test(lineage, arguments_that_are_here_are_kept)
{
    struct job *j = start();
    uint64_t arg = object(j, 100 << 10), link = made_at(j, MAKER, arg, 1, 0), state;
    lane_drop(&j->lane, arg);
    lane_reclaim(&j->lane);
    job_audit(j);
    cr_assert_not_null(lane_find(&j->lane, arg, &state), "its bytes are gone");
    cr_assert_eq(j->lineage.held_bytes, 100 << 10);
    world_down(&w, MAKER);
    want(j, link);
    run_here(j, repair_of(j, link), 0x33, SIZE);
    cr_assert_eq(first_byte(j, link), 0x33);
    all_gone(j);
    cr_assert_null(lane_find(&j->lane, arg, &state), "it is kept for nothing");
    world_end(&w);
}

/* One that many results are made of is kept once, and counted once. */
Test(lineage, a_shared_argument_is_counted_once)
{
    struct job *j = start();
    uint64_t arg = object(j, 10 << 20), link[3];
    for (uint32_t i = 0; i < 3; i++) {
        link[i] = made_at(j, MAKER, arg, 1, i);
        cr_assert_eq(w.pulls_count, 0, "30 MiB would be too much without a disk");
    }
    cr_assert_eq(j->lineage.held_bytes, 10 << 20);
    for (uint32_t i = 0; i < 3; i++) {
        lane_drop(&j->lane, link[i]);
        lane_reclaim(&j->lane);
        cr_assert_eq(j->lineage.held_bytes, i < 2 ? 10 << 20 : 0);
    }
    all_gone(j);
    world_end(&w);
}

/* The object is as large as its record says. */
static void says(struct job *j, uint64_t link, uint64_t size)
{
    struct record *r = board_record(&j->board, link_index(link));
    struct place p = record_get_place(r, 0);
    record_set_place(r, 0, p.kind, p.segment, p.offset, size);
}

/* Whose arguments would be more than the store may have, or too long a chain. */
Test(lineage, beyond_the_bounds_results_come_at_once)
{
    struct job *j = start_with_disk();
    uint64_t arg[3], link = LINK_NONE;
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(w.pulls_count, 0);
        arg[i] = object(j, SIZE);
        says(j, arg[i], 30 << 20);
        (void)made_at(j, MAKER, arg[i], 1, i);
    }
    cr_assert_eq(w.pulls_count, 1, "90 MiB are held in a store of 64 MiB");
    for (uint32_t i = 0; i < 3; i++) {
        says(j, arg[i], SIZE);
    }
    world_pulled(&w, 0, MOB_OK, 0);
    for (uint32_t i = 0; i < LINEAGE_DEPTH_MAX; i++) {
        link = made_at(j, MAKER, link, 1, 3 + i);
        cr_assert_eq(w.pulls_count, 0, "%u", i);
    }
    link = made_at(j, MAKER, link, 1, 100);
    cr_assert_eq(w.pulls_count, 1, "so many tasks would run one after the other");
    world_pulled(&w, 0, MOB_OK, 0);
    (void)made_at(j, MAKER, link, 1, 101);
    cr_assert_eq(w.pulls_count, 0, "the chain begins anew");
    end_with_disk();
}

/* ---- lost for good ------------------------------------------------------------------------------------ */

static void is_lost(struct job *j, uint64_t link, const char *part)
{
    char text[FAILURE_TEXT_MAX];
    cr_assert_eq(place_of(j, link).kind, PLACE_LOST);
    lineage_why(j, link, text);
    cr_assert(strstr(text, "task maker") && strstr(text, part), "%s", text);
}

Test(lineage, what_fails_when_it_is_made_again_is_lost_by_name)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0),
             next = made_at(j, MAKER, link, 1, 1);
    world_down(&w, MAKER);
    want(j, next);
    uint64_t again = repair_of(j, link), state;
    struct record *r = lane_find(&j->lane, again, &state);
    cr_assert(task_claim_one(&j->lane, r, link_gen(again)));
    away_fail_task(j, r, MOB_ERR_TASK_FAILED, "the moon is full");
    job_notices(j);
    turns();
    is_lost(j, link, "the moon is full");
    /* What needs it runs, is told of the error as its argument, and fails. */
    again = repair_of(j, next);
    r = lane_find(&j->lane, again, &state);
    cr_assert(task_claim_one(&j->lane, r, link_gen(again)));
    away_fail_task(j, r, MOB_ERR_TASK_FAILED, "its argument failed: the moon is full");
    job_notices(j);
    turns();
    is_lost(j, next, "the moon is full");
    want(j, link);
    cr_assert_eq(repair_of(j, link), LINK_NONE, "it is over");
    lane_drop(&j->lane, link);
    lane_drop(&j->lane, next);
    lane_reclaim(&j->lane);
    all_gone(j);
    world_end(&w);
}

/* From now on tasks are of a group. */
static struct group *grouped(struct job *j)
{
    struct demand d = demand_cpus((WORLD_CPUS + 1) * CPU_UNITS);
    struct group *g;
    MUST(group_create(j, &(struct group_plan){1, MOB_GROUP_PACK, &d.need, NULL}, &g) ==
         MOB_OK);
    d.group = g->id;
    MUST(job_add_class(j, &d, &w.big) == MOB_OK);
    return g;
}

Test(lineage, what_ran_in_a_group_that_was_removed_is_lost_by_name)
{
    struct job *j = start();
    struct group *g = grouped(j);
    uint32_t cls = w.big, name = j->class_name[cls];
    uint64_t waits = made_at(j, MAKER, LINK_NONE, 1, 0),
             link = made_at(j, MAKER, LINK_NONE, 1, 1),
             late = made_at(j, MAKER, LINK_NONE, 1, 2),
             there = made_at(j, OTHER, LINK_NONE, 1, 3);
    world_down(&w, MAKER);
    want(j, waits); /* a task waits in the group to make it again */
    cr_assert_neq(repair_of(j, waits), LINK_NONE);
    group_remove(g);
    job_notices(j);
    turns();
    is_lost(j, waits, "a group that was removed");
    want(j, link);
    is_lost(j, link, "a group that was removed");
    cr_assert_eq(repair_of(j, link), LINK_NONE);
    /* Its place may be another's by now, and that is not asked to make it. */
    while (job_has_class(j, cls)) {
        world_turn(&w);
    }
    (void)grouped(j);
    cr_assert_eq(w.big, cls);
    cr_assert_eq(j->class_name[cls], name + CLASSES_MAX);
    want(j, late);
    is_lost(j, late, "a group that was removed");
    /* What is not lost comes as ever. */
    want(j, there);
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 9);
    cr_assert_eq(first_byte(j, there), 9);
    world_end(&w);
}

Test(lineage, another_size_is_not_the_same_result)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0);
    world_down(&w, MAKER);
    want(j, link);
    run_here(j, repair_of(j, link), 1, SIZE / 2);
    is_lost(j, link, "another size");
    lane_drop(&j->lane, link);
    lane_reclaim(&j->lane);
    all_gone(j);
    world_end(&w);
}

/* Places are words that clients can write. */
Test(lineage, made_up_places_are_nobody_s)
{
    struct job *j = start();
    uint64_t link = made_at(j, MAKER, LINK_NONE, 1, 0), other = object(j, SIZE);
    struct record *r = board_record(&j->board, link_index(other));
    const uint64_t numbers[] = {j->lineage.entries[0]->number, 1, 1000000,
                                (1ull << 40) - 1};
    for (size_t i = 0; i < 4; i++) {
        struct place made_up = {PLACE_AWAY, (uint32_t)i, numbers[i], SIZE};
        record_set_place(r, 0, PLACE_AWAY, (uint32_t)i, numbers[i], SIZE);
        want(j, other);
        cr_assert_eq(place_of(j, other).kind, PLACE_LOST, "a waiter waits for ever");
        if (i > 0) {
            lineage_free_place(j, &made_up);
        }
    }
    cr_assert_eq(w.pulls_count, 0);
    want(j, link);
    cr_assert_eq(w.pulls_count, 1);
    world_pulled(&w, 0, MOB_OK, 3);
    cr_assert_eq(first_byte(j, link), 3);
    world_end(&w);
}
