/* What a node pulls, once and from whom, and what it shows of it meanwhile. */
#include <criterion/criterion.h>
#include <string.h>

#include "copy.h"
#include "core/clock.h"
#include "scheduler/spread.h"
#include "store/task.h"
#include "talk.h"

enum { OWNER = 1, OTHER = 2, THIRD = 3, MIB = 1 << 20 };
#define LARGE ((size_t)8 * MIB)
#define OBJECT (1ull << 32 | 32)
#define TASK(i) (1ull << 32 | (uint64_t)(16 + (i)) << 4)

static struct job *guest(void)
{
    begin(false);
    f.node = f.self;
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(say(0, WIRE_LEASE));
    cr_assert(say(OWNER, WIRE_OPEN));
    world_up(&w, OTHER);
    world_up(&w, THIRD);
    struct job *j = guest_find(w.node.cluster,
                               cluster_peer(w.node.cluster, w.peers[OWNER].id), f.job);
    cr_assert_not_null(j);
    return j; /* whose executable goes on coming */
}

/* The owner's task number @i here, with that object of its as argument, which @node has, or if that is 0 the owner. */
static void task_with_from(uint32_t i, uint64_t link, uint64_t size, uint64_t node)
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
    codec_put_u32(&c, i);
    codec_put_u64(&c, TASK(i));
    codec_put_u8(&c, 3);
    codec_put_u8(&c, 0);
    codec_put_u8(&c, 1);
    codec_put_u8(&c, 1);
    codec_put_str(&c, "a_function");
    codec_put_str(&c, "name");
    codec_put_u8(&c, node ? WIRE_AWAY : WIRE_REMOTE);
    codec_put_u64(&c, link);
    codec_put_u64(&c, size);
    if (node) {
        codec_put_u64(&c, node);
    }
    cr_assert(world_say(&w, OWNER, m.bytes, codec_written(&c)));
}

static void task_with(uint32_t i, uint64_t link, uint64_t size)
{
    task_with_from(i, link, size, 0);
}

static void cancel_task(uint32_t i)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_CANCEL);
    codec_put_u32(&c, f.job);
    codec_put_u32(&c, 1);
    codec_put_u32(&c, i);
    codec_put_u64(&c, TASK(i));
    codec_put_u8(&c, 0); /* softly */
    codec_put_u64(&c, 0);
    cr_assert(world_say(&w, OWNER, m.bytes, codec_written(&c)));
}

static void name_source(uint64_t link, uint64_t question, int peer)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_SOURCE);
    codec_put_u32(&c, f.job);
    codec_put_u64(&c, link);
    codec_put_u64(&c, question);
    codec_put_u64(&c, w.peers[peer].id);
    cr_assert(world_say(&w, OWNER, m.bytes, codec_written(&c)));
}

/* Pulls of objects in flight, and where the last of them stands. */
static uint32_t pulls(uint32_t *ret)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < w.pulls_count; i++) {
        if (w.pulls[i].what != WIRE_EXECUTABLE) {
            *ret = i;
            n++;
        }
    }
    return n;
}

static uint32_t pulls_count(void)
{
    uint32_t i = 0;
    return pulls(&i);
}

/* The only one. */
static struct world_pull *the_pull(void)
{
    uint32_t i = 0;
    cr_assert_eq(pulls(&i), 1, "%u pulls", pulls_count());
    return &w.pulls[i];
}

static void end(mob_status st)
{
    uint32_t i = 0;
    cr_assert_gt(pulls(&i), 0);
    world_pulled(&w, i, st, 3);
}

static bool from(const struct world_pull *p, int peer)
{
    return p->xfer->peer == &w.peers[peer].tp;
}

/* So many bytes of it have arrived. */
static void arrive(uint64_t bytes, int fill)
{
    struct transport_xfer *x = the_pull()->xfer;
    memset(x->dst + x->received, fill, bytes - x->received);
    x->received = bytes;
    w.node.cluster->user.landed(w.node.cluster, x);
}

static mob_status show(int peer, struct wire_name name, struct transport_export *ret)
{
    uint8_t bytes[TRANSPORT_OBJECT_BYTES];
    wire_put_name(bytes, &name);
    return w.node.cluster->user.export(w.node.cluster, &w.peers[peer].tp, bytes, ret);
}

static void unshow(int peer, const struct transport_export *e)
{
    w.node.cluster->user.unexport(w.node.cluster, &w.peers[peer].tp, e);
}

static struct wire_name copied(void)
{
    return (struct wire_name){WIRE_COPIED, f.job, OBJECT, w.peers[OWNER].id, f.token};
}

Test(pull, many_tasks_have_one_object_and_it_comes_once)
{
    (void)guest();
    for (uint32_t i = 0; i < 5; i++) {
        task_with(i, OBJECT, LARGE);
    }
    cr_assert(from(the_pull(), OWNER));
    cr_assert_eq(the_pull()->name.kind, WIRE_ARGUMENT);
    end(MOB_OK);
    cr_assert_eq(pulls_count(), 0);
    cr_assert_eq(w.peers[OWNER].sent[WIRE_COPY], 1, "the owner is not told");
    task_with(6, OBJECT, LARGE);
    cr_assert_eq(pulls_count(), 0, "it comes again");
    world_end(&w);
}

/* The answer may come before or after the end of the pull at the owner. */
Test(pull, it_comes_from_where_the_owner_says)
{
    for (int early = 0; early < 2; early++) {
        (void)guest();
        task_with(0, OBJECT, LARGE);
        uint64_t question = the_pull()->name.word;
        cr_assert_neq(question, 0);
        if (early) {
            name_source(OBJECT, question, OTHER);
            end(MOB_ERR_EXISTS);
        } else {
            end(MOB_ERR_EXISTS);
            cr_assert_eq(pulls_count(), 0);
            name_source(OBJECT, question + 1, THIRD); /* of another question */
            cr_assert_eq(pulls_count(), 0);
            name_source(OBJECT, question, OTHER);
        }
        cr_assert(from(the_pull(), OTHER));
        struct wire_name name = the_pull()->name, want = copied();
        cr_assert_eq(memcmp(&name, &want, sizeof name), 0);
        end(MOB_OK);
        cr_assert_eq(w.peers[OWNER].sent[WIRE_COPY], 1);
        world_end(&w);
    }
}

/* A source that fails costs what it had not sent yet. */
Test(pull, it_goes_on_where_a_lost_source_stopped)
{
    (void)guest();
    task_with(0, OBJECT, LARGE);
    uint64_t question = the_pull()->name.word;
    end(MOB_ERR_EXISTS);
    name_source(OBJECT, question, OTHER);
    arrive(3 * MIB, 3);
    world_down(&w, OTHER);
    cr_assert(from(the_pull(), OWNER));
    cr_assert_eq(the_pull()->offset, 3 * MIB);
    cr_assert_eq(the_pull()->xfer->size, LARGE - 3 * MIB);
    cr_assert_eq(the_pull()->name.node, w.peers[OTHER].id, "who failed is not said");
    cr_assert_gt(the_pull()->name.word, question);
    end(MOB_ERR_EXISTS);
    name_source(OBJECT, question + 1, THIRD);
    cr_assert(from(the_pull(), THIRD));
    cr_assert_eq(the_pull()->offset, 3 * MIB);
    end(MOB_ERR_NOT_FOUND);
    cr_assert(from(the_pull(), OWNER));
    end(MOB_OK);
    cr_assert_eq(w.peers[OWNER].sent[WIRE_COPY], 1);
    world_end(&w);
}

Test(pull, a_source_that_nobody_knows_is_passed_over)
{
    (void)guest();
    task_with(0, OBJECT, LARGE);
    uint64_t question = the_pull()->name.word;
    w.peers[OTHER].id += 77;
    name_source(OBJECT, question, OTHER);
    w.peers[OTHER].id -= 77;
    end(MOB_ERR_EXISTS);
    cr_assert(from(the_pull(), OWNER));
    cr_assert_eq(the_pull()->name.node, w.peers[OTHER].id + 77);
    world_end(&w);
}

/* However often sources fail, the owner gives it in the end. */
/* What stayed where it was made comes from there, and in the end from its owner. */
Test(pull, what_is_away_comes_from_its_maker)
{
    struct job *j = guest();
    uint64_t proxy, state;
    uint32_t at;
    task_with_from(0, OBJECT, 200000, w.peers[OTHER].id);
    proxy = j->guest->proxies[0].link;
    for (at = 0; at < w.pulls_count && w.pulls[at].what != WIRE_COPIED; at++) {
    }
    cr_assert_lt(at, w.pulls_count, "nobody is asked for a copy");
    cr_assert_eq(w.pulls[at].xfer->peer, &w.peers[OTHER].tp);
    cr_assert_eq(w.pulls[at].name.link, OBJECT);
    cr_assert_eq(w.pulls[at].name.node, w.peers[OWNER].id);
    cr_assert_eq(w.pulls[at].name.word, f.token);
    world_pulled(&w, at, MOB_ERR_NOT_FOUND, 0);
    for (at = 0; at < w.pulls_count && w.pulls[at].what != WIRE_ARGUMENT; at++) {
    }
    cr_assert_lt(at, w.pulls_count, "the owner is not asked");
    cr_assert_eq(w.pulls[at].xfer->peer, &w.peers[OWNER].tp);
    world_pulled(&w, at, MOB_OK, 4);
    cr_assert_not_null(lane_find(&j->lane, proxy, &state));
    cr_assert_eq(state_phase(state), PHASE_QUEUED);
    /* Of a node that nobody knows, or that cannot be. */
    const uint64_t nodes[] = {424242, w.peers[OWNER].id, w.node.id};
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t before = w.pulls_count;
        task_with_from(1 + i, OBJECT + 16 * (i + 1), 200000, nodes[i]);
        cr_assert_eq(w.pulls_count, before + 1);
        cr_assert_eq(w.pulls[before].what, WIRE_ARGUMENT);
    }
    world_end(&w);
}

Test(pull, turns_are_bounded)
{
    (void)guest();
    task_with(0, OBJECT, LARGE);
    uint32_t turns = 0;
    while (the_pull()->name.node != w.node.cluster->self->id) {
        cr_assert_leq(++turns, COPY_TURNS);
        uint64_t question = the_pull()->name.word;
        end(MOB_ERR_EXISTS);
        name_source(OBJECT, question, turns % 2 ? OTHER : THIRD);
        end(MOB_ERR_PROTOCOL);
    }
    cr_assert_eq(turns, COPY_TURNS);
    end(MOB_OK);
    world_end(&w);
}

Test(pull, what_arrives_is_shown_to_others_who_know_the_job)
{
    struct job *j = guest();
    struct transport_export e, whole;
    task_with(0, OBJECT, LARGE);
    arrive(MIB, 3);
    struct wire_name name = copied();
    name.word++;
    cr_assert_eq(show(OTHER, name, &e), MOB_ERR_NOT_FOUND, "without the token");
    name = copied();
    name.node++;
    cr_assert_eq(show(OTHER, name, &e), MOB_ERR_NOT_FOUND, "another owner's job");
    name = copied();
    name.job++;
    cr_assert_eq(show(OTHER, name, &e), MOB_ERR_NOT_FOUND);
    cr_assert_eq(show(OTHER, copied(), &e), MOB_OK);
    cr_assert_eq(e.size, LARGE);
    cr_assert_eq(*e.ready, MIB);
    arrive(2 * MIB, 3);
    cr_assert_eq(*e.ready, 2 * MIB);
    cr_assert_eq(w.peers[OTHER].grown, 1);
    end(MOB_OK);
    cr_assert_eq(*e.ready, LARGE, "and after it is whole");
    cancel_task(0);
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    grant_want(&w.node); /* nobody here needs it, but OTHER reads it */
    cr_assert_eq(((const uint8_t *)e.base)[LARGE - 1], 3);
    cr_assert_eq(show(THIRD, copied(), &whole), MOB_ERR_NOT_FOUND, "it went already");
    uint32_t busy = j->busy;
    unshow(OTHER, &e);
    cr_assert_eq(j->busy, busy - 1);
    world_end(&w);
}

Test(pull, what_nobody_wants_any_more_is_not_pulled)
{
    struct job *j = guest();
    task_with(0, OBJECT, LARGE);
    task_with(1, OBJECT, LARGE);
    cancel_task(0);
    world_turn(&w);
    cr_assert_eq(the_pull()->xfer->status, MOB_OK, "another task waits for it");
    cancel_task(1);
    cr_assert_eq(the_pull()->xfer->status, MOB_ERR_CANCELLED);
    world_turn(&w);
    cr_assert_eq(pulls_count(), 0);
    uint64_t ours;
    struct fetch *arriving;
    cr_assert_not(standin_find(j, OBJECT, &ours, &arriving));
    task_with(2, OBJECT, LARGE);
    cr_assert_eq(pulls_count(), 1, "it cannot come again");
    world_end(&w);
}

/* It is wanted again before the transport has let go of it. */
Test(pull, what_is_wanted_again_comes_again)
{
    (void)guest();
    task_with(0, OBJECT, LARGE);
    cancel_task(0);
    task_with(1, OBJECT, LARGE);
    world_turn(&w);
    cr_assert_eq(the_pull()->offset, 0);
    end(MOB_OK);
    world_end(&w);
}

/* Who reads from the place of a pull that ends early keeps it until he has let go. */
Test(pull, a_copy_that_ends_early_is_revoked_first)
{
    struct job *j = guest();
    struct transport_export e;
    task_with(0, OBJECT, LARGE);
    arrive(2 * MIB, 3);
    cr_assert_eq(show(OTHER, copied(), &e), MOB_OK);
    uint64_t used = w.node.budget.used_bytes;
    cancel_task(0);
    world_turn(&w);
    cr_assert_eq(w.peers[OTHER].revoked, 1);
    cr_assert_eq(w.node.budget.used_bytes, used);
    cr_assert_eq(((const uint8_t *)e.base)[0], 3);
    cr_assert_eq(show(THIRD, copied(), &e), MOB_ERR_NOT_FOUND, "of no use any more");
    unshow(OTHER, &e);
    uint64_t ours;
    struct fetch *arriving;
    cr_assert_not(standin_find(j, OBJECT, &ours, &arriving));
    world_end(&w);
}

/* The job's end, and the owner's, at any moment. */
Test(pull, ends_of_jobs_and_peers)
{
    for (int how = 0; how < 16; how++) {
        struct transport_export e = {0};
        struct job *j = guest();
        task_with(0, OBJECT, LARGE);
        task_with(1, OBJECT + 16, LARGE);
        task_with(2, OBJECT + 32, 4u * LARGE);
        bool shown = how & 1;
        if (shown) {
            cr_assert_eq(show(OTHER, copied(), &e), MOB_OK);
        }
        if (how & 2) {
            uint32_t at = 0;
            cr_assert_geq(pulls(&at), 1);
            uint64_t question = w.pulls[at].name.word, link = w.pulls[at].name.link;
            end(MOB_ERR_EXISTS);
            if (how & 4) {
                name_source(link, question, THIRD);
            }
        }
        if (how & 8) {
            world_down(&w, OWNER);
        } else {
            job_end(j);
        }
        for (int i = 0; i < 3; i++) {
            world_turn(&w);
        }
        if (shown) {
            cr_assert_eq(w.peers[OTHER].revoked, 1);
            unshow(OTHER, &e);
        }
        world_turn(&w);
        cr_assert_null(w.node.cluster->pulls);
        cr_assert_eq(w.node.cluster->line.bytes, 0);
        world_end(&w);
    }
}

/* ---- the owner ------------------------------------------------------------------------------------------ */

static void tell_copy(struct job *j, int peer, uint64_t link, bool whole)
{
    struct codec_writer c;
    codec_writer_init(&c, m.bytes, sizeof m.bytes);
    codec_put_u8(&c, WIRE_COPY);
    codec_put_u32(&c, j->number);
    codec_put_u64(&c, link);
    codec_put_u8(&c, whole);
    cr_assert(world_say(&w, peer, m.bytes, codec_written(&c)));
}

Test(pull, the_owner_sends_the_second_to_the_first)
{
    struct transport_export one, two;
    begin(true);
    world_up(&w, OTHER);
    world_up(&w, THIRD);
    struct job *j = world_job(&w);
    uint64_t link = object(j, LARGE);
    struct wire_name name = {WIRE_ARGUMENT, j->number, link, 0, 1};
    cr_assert_eq(show(OWNER, name, &one), MOB_ERR_NOT_FOUND, "who has not the job");
    for (int peer = OWNER; peer <= THIRD; peer++) {
        world_task(&w, j, 0, 0, 1);
        world_send(&w, j, peer, 1);
    }
    cr_assert_eq(show(OWNER, name, &one), MOB_OK);
    name.word = 2;
    cr_assert_eq(show(OTHER, name, &two), MOB_ERR_EXISTS);
    cr_assert_eq(w.peers[OTHER].sent[WIRE_SOURCE], 1);
    name.node = w.peers[OWNER].id; /* which was of no use */
    cr_assert_eq(show(OTHER, name, &two), MOB_OK);
    name.node = 0;
    name.word = 0; /* from the owner and nobody else */
    unshow(OTHER, &two);
    cr_assert_eq(show(THIRD, name, &two), MOB_OK);
    unshow(THIRD, &two);
    unshow(OWNER, &one);
    tell_copy(j, OWNER, link, true);
    const struct spread_object it = {j->number, link};
    cr_assert(spread_has(w.node.cluster->spread, it, w.peers[OWNER].id));
    tell_copy(j, OWNER, link, false);
    cr_assert_not(spread_has(w.node.cluster->spread, it, w.peers[OWNER].id));
    tell_copy(j, OWNER, link + (1ull << 20), true); /* of what is not here */
    cr_assert(spread_has(w.node.cluster->spread, it, w.peers[OTHER].id));
    world_down(&w, OTHER);
    cr_assert_not(spread_has(w.node.cluster->spread, it, w.peers[OTHER].id));
    world_end(&w);
}

Test(pull, damage_ends_a_transfer_only_if_no_chunk_comes_whole)
{
    enum { CHUNK = 1 << 20 };
    struct copy c = {.size = 100 * CHUNK};
    for (unsigned i = 0; i < 3 * COPY_TRIES; i++) {
        c.begun = c.ready;
        c.xfer.received = CHUNK;
        cr_assert_eq(copy_pulled(&c, MOB_ERR_PROTOCOL), COPY_LATER);
    }
    cr_assert_eq(c.ready, 3 * COPY_TRIES * CHUNK);
    c.begun = c.ready;
    c.xfer.received = 0;
    for (unsigned i = 1; i < COPY_TRIES; i++) {
        cr_assert_eq(copy_pulled(&c, MOB_ERR_PROTOCOL), COPY_LATER);
    }
    cr_assert_eq(copy_pulled(&c, MOB_ERR_PROTOCOL), COPY_FAILED);
}
