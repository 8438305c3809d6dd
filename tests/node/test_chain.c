/* Arrays of several nodes that are folded on their way: what this node asks, adds and shows, and what becomes of the
 * task if the chain breaks. */
#include "chain_talk.h"

#define ARRAY(i) (1ull << 32 | (uint64_t)(64 + (i)) << 4)
#define TASK (1ull << 32 | 16 << 4)

/* Task @nr of the owner, up to its arguments. */
static void begin_task(uint32_t nr, uint8_t nargs)
{
    begin_words(WIRE_TASKS);
    codec_put_u32(&out, f.job);
    codec_put_u64(&out, f.lease);
    codec_put_u32(&out, f.epoch);
    codec_put_u32(&out, 0);
    wire_put_demand(&out, &(struct demand){.need = resources_cpus(f.units)});
    codec_put_u32(&out, 1);
    codec_put_u32(&out, nr);
    codec_put_u64(&out, nr ? ARRAY(100 + nr) : TASK);
    codec_put_u8(&out, 3);
    codec_put_u8(&out, 0);
    codec_put_u8(&out, 1);
    codec_put_u8(&out, nargs);
    codec_put_str(&out, FOLD_TASK);
    codec_put_str(&out, "name");
}

/* A guest job, and array 0 here, of bytes 3. */
static void guest(void)
{
    begin(false);
    f.node = f.self;
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(say(0, WIRE_LEASE));
    cr_assert(say(OWNER, WIRE_OPEN));
    world_up(&w, OTHER);
    world_up(&w, THIRD);
    j = guest_find(w.node.cluster, cluster_peer(w.node.cluster, w.peers[OWNER].id),
                   f.job);
    cr_assert_not_null(j);
    begin_task(1, 1);
    codec_put_u8(&out, WIRE_REMOTE);
    codec_put_u64(&out, ARRAY(0));
    codec_put_u64(&out, SIZE);
    cr_assert(said(OWNER));
    for (uint32_t i = 0; i < w.pulls_count; i++) {
        if (w.pulls[i].what == WIRE_ARGUMENT) {
            world_pulled(&w, i, MOB_OK, 3);
            return;
        }
    }
    cr_assert_fail("the array does not come");
}

/* Array 1 at @first, then, unless it is OWNER, array 2 at @second, then what is here. */
static struct fold_order order_of(int first, int second, bool here)
{
    struct fold_order o = {.what = {FOLD_SUM, FOLD_I32}, .size = SIZE};
    o.arrays[o.count++] = (struct fold_array){id_of(first), ARRAY(1)};
    if (second != OWNER) {
        o.arrays[o.count++] = (struct fold_array){id_of(second), ARRAY(2)};
    }
    if (here) {
        o.arrays[o.count++] = (struct fold_array){id_of(SELF), ARRAY(0)};
    }
    return o;
}

static bool task_with(const struct fold_order *o)
{
    struct fold_what what = o->what;
    begin_task(0, 2);
    codec_put_u8(&out, WIRE_VALUE);
    codec_put_bytes(&out, &what, sizeof what);
    codec_put_u8(&out, WIRE_ORDER);
    codec_put_u64(&out, TASK);
    fold_put_order(&out, o);
    return said(OWNER);
}

static bool ask_to_fold(int peer, uint64_t token, uint64_t number,
                        const struct fold_order *o)
{
    begin_words(WIRE_FOLD);
    codec_put_u64(&out, id_of(OWNER));
    codec_put_u32(&out, f.job);
    codec_put_u64(&out, token);
    codec_put_u64(&out, number);
    fold_put_order(&out, o);
    return said(peer);
}

static bool answer(int peer, enum wire_op op, uint64_t number, bool flows)
{
    begin_words(op);
    codec_put_u64(&out, number);
    if (op == WIRE_FLOWS) {
        codec_put_u8(&out, flows);
    }
    return said(peer);
}

/* The number in the last FOLD to @peer. */
static uint64_t asked_number(int peer)
{
    struct codec_reader r;
    codec_reader_init(&r, w.peers[peer].last[WIRE_FOLD] + 21, 8);
    return codec_get_u64(&r);
}

/* What the last FLOWS to @peer said. */
static bool flows_said(int peer, uint64_t number)
{
    struct codec_reader r;
    codec_reader_init(&r, w.peers[peer].last[WIRE_FLOWS] + 1, 9);
    cr_assert_eq(codec_get_u64(&r), number);
    return codec_get_u8(&r);
}

static struct world_pull *pull_from(int peer)
{
    for (uint32_t i = 0; i < w.pulls_count; i++) {
        if (w.pulls[i].xfer->peer == &w.peers[peer].tp &&
            w.pulls[i].what != WIRE_EXECUTABLE) {
            return &w.pulls[i];
        }
    }
    return NULL;
}

/* So many bytes of it have arrived. */
static void arrive(int peer, uint64_t bytes, int fill)
{
    struct transport_xfer *x = pull_from(peer)->xfer;
    memset(x->dst + x->received, fill, bytes - x->received);
    x->received = bytes;
    w.node.cluster->user.landed(w.node.cluster, x);
}

static void end_pull(int peer, mob_status st)
{
    struct world_pull *p = pull_from(peer);
    cr_assert_not_null(p);
    struct transport_xfer *x = p->xfer;
    if (!st) {
        arrive(peer, x->size, 1);
    }
    p = pull_from(peer);
    uint32_t i = (uint32_t)(p - w.pulls);
    w.pulls[i] = w.pulls[--w.pulls_count];
    x->peer = NULL;
    w.node.cluster->user.pull_done(w.node.cluster, x, st);
}

static mob_status show(int peer, uint64_t number, struct transport_export *ret)
{
    struct wire_name name = {WIRE_FOLDED, f.job, number, id_of(OWNER), f.token};
    uint8_t bytes[TRANSPORT_OBJECT_BYTES];
    wire_put_name(bytes, &name);
    return w.node.cluster->user.export(w.node.cluster, &w.peers[peer].tp, bytes, ret);
}

static void unshow(int peer, const struct transport_export *e)
{
    w.node.cluster->user.unexport(w.node.cluster, &w.peers[peer].tp, e);
}

static bool all_are(const void *bytes, uint8_t value, uint64_t size)
{
    const uint8_t *p = bytes;
    return p[0] == value && memcmp(p, p + 1, size - 1) == 0;
}

/* The phase of the task here; FREE: it is here no more. */
static enum phase task_phase(void)
{
    const struct guest *g = j->guest;
    for (uint32_t i = 0; i < g->proxies_count; i++) {
        uint64_t s;
        if (g->proxies[i].link != LINK_NONE && g->proxies[i].theirs == TASK &&
            lane_find(&j->lane, g->proxies[i].link, &s)) {
            return state_phase(s);
        }
    }
    return PHASE_FREE;
}

static uint32_t folds(void)
{
    return w.node.cluster->folds_count;
}

Test(chain, a_task_waits_for_the_fold_of_what_comes_and_what_is_here)
{
    guest();
    struct fold_order o = order_of(OTHER, OWNER, true);
    cr_assert(task_with(&o));
    cr_assert_eq(task_phase(), PHASE_WAITING);
    struct wire_name name = pull_from(OTHER)->name,
                     want = {WIRE_COPIED, f.job, ARRAY(1), id_of(OWNER), f.token};
    cr_assert_eq(memcmp(&name, &want, sizeof name), 0);
    arrive(OTHER, MIB + 3, 1); /* part of a number waits for the rest */
    end_pull(OTHER, MOB_OK);
    cr_assert_eq(task_phase(), PHASE_QUEUED);
    cr_assert_eq(folds(), 0);
    uint64_t link;
    struct fetch *arriving;
    struct record *r;
    struct place p;
    const void *bytes;
    cr_assert(standin_find(j, TASK | STANDIN_FOLD, &link, &arriving));
    cr_assert_eq(grant_resolve(j, &link, &r, &p), MOB_OK);
    cr_assert_eq(p.size, SIZE);
    cr_assert_eq(grant_read(j, r, &p, &bytes), MOB_OK);
    cr_assert(all_are(bytes, 4, SIZE), "it is not the sum");
    world_end(&w);
}

/* Not before programs, and not behind what nobody waits for. */
Test(chain, it_takes_its_turn_as_an_argument)
{
    guest();
    struct fold_order o = order_of(OTHER, OWNER, true);
    cr_assert(ask_to_fold(THIRD, f.token, 7, &o));
    cr_assert_eq(w.node.cluster->pulls->entry.urgency, PULL_ARGUMENT);
    cr_assert_eq(w.node.cluster->pulls->want.kind, WIRE_COPIED);
    world_end(&w);
}

Test(chain, the_node_before_is_asked_for_the_fold_of_what_comes_before)
{
    guest();
    struct fold_order o = order_of(THIRD, OTHER, true);
    cr_assert(task_with(&o));
    cr_assert_eq(w.peers[OTHER].sent[WIRE_FOLD], 1);
    cr_assert_null(pull_from(OTHER));
    uint64_t number = asked_number(OTHER);
    cr_assert(answer(THIRD, WIRE_FLOWS, number, true)); /* who was not asked */
    cr_assert_null(pull_from(THIRD));
    cr_assert(answer(OTHER, WIRE_FLOWS, number, true));
    struct wire_name name = pull_from(OTHER)->name,
                     want = {WIRE_FOLDED, f.job, number, id_of(OWNER), f.token};
    cr_assert_eq(memcmp(&name, &want, sizeof name), 0);
    end_pull(OTHER, MOB_OK);
    cr_assert_eq(task_phase(), PHASE_QUEUED);
    cr_assert_eq(w.peers[OTHER].sent[WIRE_UNFOLD], 1, "it keeps its part");
    world_end(&w);
}

/* In the middle: what arrives is shown at once, with what is here. */
Test(chain, what_arrives_is_passed_on_with_what_is_here)
{
    guest();
    struct fold_order o = order_of(OTHER, OWNER, true);
    struct transport_export e, again;
    uint32_t busy = j->busy;
    cr_assert_eq(show(THIRD, 7, &e), MOB_ERR_NOT_FOUND);
    cr_assert(ask_to_fold(THIRD, f.token, 7, &o));
    cr_assert(flows_said(THIRD, 7));
    cr_assert_eq(show(OTHER, 7, &e), MOB_ERR_NOT_FOUND, "who did not ask");
    cr_assert_eq(show(THIRD, 7, &e), MOB_OK);
    cr_assert_eq(*e.ready, 0);
    arrive(OTHER, 2 * MIB + 5, 1);
    cr_assert_eq(*e.ready, 2 * MIB + 4);
    cr_assert_eq(w.peers[THIRD].grown, 1);
    cr_assert(all_are(e.base, 4, 2 * MIB));
    unshow(THIRD, &e); /* the connection was reset, say: it is pulled again */
    cr_assert_eq(show(THIRD, 7, &e), MOB_OK);
    end_pull(OTHER, MOB_OK);
    cr_assert_eq(show(THIRD, 7, &again), MOB_OK);
    cr_assert(all_are(again.base, 4, SIZE));
    unshow(THIRD, &again);
    cr_assert(answer(THIRD, WIRE_UNFOLD, 7, false));
    cr_assert_eq(folds(), 1, "it is read");
    cr_assert(all_are(e.base, 4, SIZE));
    unshow(THIRD, &e);
    cr_assert_eq(folds(), 0);
    cr_assert_eq(j->busy, busy);
    world_end(&w);
}

Test(chain, who_asks_for_what_cannot_be_is_refused)
{
    guest();
    struct fold_order o = order_of(OTHER, OWNER, true), bad = o;
    cr_assert(ask_to_fold(THIRD, f.token + 1, 1, &o));
    cr_assert_not(flows_said(THIRD, 1), "without the token");
    bad.arrays[1].link = ARRAY(5);
    cr_assert(ask_to_fold(THIRD, f.token, 2, &bad));
    cr_assert_not(flows_said(THIRD, 2), "an array that is not here");
    bad = o;
    bad.size -= 4;
    cr_assert(ask_to_fold(THIRD, f.token, 3, &bad));
    cr_assert_not(flows_said(THIRD, 3), "one of another size");
    bad = o;
    bad.count = 1;
    cr_assert(ask_to_fold(THIRD, f.token, 4, &bad));
    cr_assert_not(flows_said(THIRD, 4), "nothing of it is here");
    bad.arrays[0].node = id_of(SELF);
    cr_assert(ask_to_fold(THIRD, f.token, 5, &bad));
    cr_assert_not(flows_said(THIRD, 5), "nothing of it is elsewhere");
    for (uint64_t i = 0; i < 20;
         i++) { /* more than there is room for: none waits for it */
        cr_assert(ask_to_fold(THIRD, f.token, 10 + i, &o));
    }
    cr_assert_eq(w.peers[THIRD].sent[WIRE_FLOWS], 25);
    cr_assert_not(flows_said(THIRD, 29));
    uint32_t flowing = folds();
    cr_assert_gt(flowing, 0);
    struct fold_order far = order_of(THIRD, OTHER, true);
    for (uint64_t i = 0; i < FOLDS_MAX - flowing; i++) {
        cr_assert(ask_to_fold(THIRD, f.token, 50 + i, &far));
    }
    cr_assert_eq(w.peers[THIRD].sent[WIRE_FLOWS], 25, "those wait for OTHER");
    cr_assert_eq(folds(), FOLDS_MAX);
    cr_assert(ask_to_fold(THIRD, f.token, 6, &far));
    cr_assert_not(flows_said(THIRD, 6), "more than may be");
    world_down(&w, THIRD);
    for (int i = 0; i < 5; i++) {
        world_turn(&w);
    }
    cr_assert_eq(folds(), 0);
    world_end(&w);
}

/* The task goes back, and nothing of the fold stays, whatever breaks. */
Test(chain, a_broken_chain_gives_the_task_back)
{
    enum { REFUSED, LOST_BEFORE, LOST, FAILED, UNREACHABLE, WAYS };
    for (int how = 0; how < WAYS; how++) {
        guest();
        struct fold_order o = order_of(THIRD, OTHER, true);
        uint32_t busy = j->busy;
        if (how == UNREACHABLE) {
            o.arrays[1].node += 77;
        }
        cr_assert(task_with(&o));
        uint64_t number = how == UNREACHABLE ? 0 : asked_number(OTHER);
        switch (how) {
        case REFUSED:
            cr_assert(answer(OTHER, WIRE_FLOWS, number, false));
            break;
        case LOST_BEFORE:
            world_down(&w, OTHER);
            break;
        case LOST:
            cr_assert(answer(OTHER, WIRE_FLOWS, number, true));
            arrive(OTHER, 2 * MIB, 1);
            world_down(&w, OTHER);
            break;
        case FAILED:
            cr_assert(answer(OTHER, WIRE_FLOWS, number, true));
            end_pull(OTHER, MOB_ERR_NOT_FOUND);
            break;
        default:
            break;
        }
        for (int i = 0; i < 3; i++) {
            world_turn(&w);
        }
        cr_assert_eq(w.peers[OWNER].sent[WIRE_BACK], 1, "way %d", how);
        cr_assert_eq(task_phase(), PHASE_FREE, "way %d", how);
        cr_assert_eq(folds(), 0, "way %d", how);
        cr_assert_eq(j->busy, busy, "way %d", how);
        uint64_t link;
        struct fetch *arriving;
        cr_assert_not(standin_find(j, TASK | STANDIN_FOLD, &link, &arriving));
        world_end(&w);
    }
}

/* A chain that breaks before us breaks behind us. */
Test(chain, what_fails_is_passed_on)
{
    guest();
    struct fold_order o = order_of(OTHER, OWNER, true),
                      far = order_of(THIRD, OTHER, true);
    struct transport_export e;
    cr_assert(ask_to_fold(THIRD, f.token, 7, &o));
    cr_assert_eq(show(THIRD, 7, &e), MOB_OK);
    end_pull(OTHER, MOB_ERR_NOT_FOUND);
    cr_assert_eq(w.peers[THIRD].revoked, 1);
    unshow(THIRD, &e);
    cr_assert_eq(folds(), 0);
    cr_assert_eq(show(THIRD, 7, &e), MOB_ERR_NOT_FOUND);
    cr_assert(ask_to_fold(THIRD, f.token, 8, &far)); /* and before anything flows */
    cr_assert(answer(OTHER, WIRE_FLOWS, asked_number(OTHER), false));
    cr_assert_not(flows_said(THIRD, 8));
    cr_assert_eq(folds(), 0);
    world_end(&w);
}

Test(chain, a_cancelled_task_and_the_end_of_a_job_end_it)
{
    for (int job_ends = 0; job_ends < 2; job_ends++) {
        guest();
        struct fold_order o = order_of(THIRD, OTHER, true),
                          mid = order_of(THIRD, OWNER, true);
        struct transport_export e;
        cr_assert(task_with(&o));
        cr_assert(answer(OTHER, WIRE_FLOWS, asked_number(OTHER), true));
        arrive(OTHER, MIB, 1);
        cr_assert(ask_to_fold(OTHER, f.token, 7, &mid));
        cr_assert_eq(show(OTHER, 7, &e), MOB_OK);
        begin_words(job_ends ? WIRE_CLOSE : WIRE_CANCEL);
        codec_put_u32(&out, f.job);
        if (job_ends) {
            codec_put_u8(&out, 1);
        } else {
            codec_put_u32(&out, 1);
            codec_put_u32(&out, 0);
            codec_put_u64(&out, TASK);
            codec_put_u8(&out, 0); /* softly */
            codec_put_u64(&out, 0);
        }
        cr_assert(said(OWNER));
        cr_assert_eq(w.peers[OTHER].sent[WIRE_UNFOLD], 1);
        for (int i = 0; i < 3; i++) {
            world_turn(&w);
        }
        cr_assert_eq(folds(), 1, "one is read");
        unshow(OTHER, &e);
        if (!job_ends) {
            cr_assert(answer(OTHER, WIRE_UNFOLD, 7, false));
        }
        for (int i = 0; i < 3; i++) {
            world_turn(&w);
        }
        cr_assert_eq(folds(), 0);
        world_end(&w);
    }
}
