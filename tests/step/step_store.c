#include "step_store.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "mark.h"
#include "scene.h"

enum { LARGE = 4096, MIDDLE = 1000, IDS = 8, MANY = LANE_LIMBO - 1 };

/* The client's private memory. What an operation needs is made ready before its first mark, and what it
 * leaves is let go of behind its second one. */
static struct {
    struct board board;
    struct lane lane;
    struct lane other; /* as if it were the keeper's, who frees what is the client's */
    struct arena *arena;
    uint64_t id[IDS];
    uint64_t many[MANY];
    struct record *r, *taken;
    uint64_t task; /* that it runs all the time: what it makes goes with it */
    struct queue_item item;
    uint64_t pin;
} c;

/* ---- what operations are made of ---------------------------------------------------------------- */

static void freed(void *arg, uint32_t segment, uint64_t offset)
{
    (void)arg;
    MUST(arena_free(c.arena, (struct arena_place){segment, offset}) == MOB_OK);
}

static uint64_t link_of(const struct record *r)
{
    return link_make(lane_gen(r), board_index(&c.board, r), 0);
}

static struct record *create(size_t size)
{
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct record *r;
    struct arena_place place;
    void *data;
    MUST(lane_record(&c.lane, &r) == MOB_OK);
    task_begin(&c.lane, r, &call, LINK_NONE);
    at_store(&r->parent, c.task, AT_RELAXED);
    if (size <= RECORD_INLINE_MAX) {
        record_set_place(r, 0, PLACE_INLINE, 0, 16, size);
        data = r->payload + 16;
    } else {
        MUST(arena_alloc(c.arena, size, 64, &place, &data) == MOB_OK);
        record_set_place(r, 0, PLACE_ARENA, place.segment, place.offset, size);
    }
    at_store(&r->state, state_make(lane_gen(r), CLIENT_OF_STORE, 0, PHASE_CREATING),
             AT_RELEASE);
    memset(data, 1, 8);
    return r;
}

static uint64_t put(size_t size)
{
    struct record *r = create(size);
    uint64_t link = link_of(r);
    MUST(task_seal(&c.lane, r, false));
    return link;
}

/* A task with arguments by id, in the class that only the client serves. */
static uint64_t submit(const uint64_t *refs, uint32_t nrefs, uint64_t parent)
{
    struct call call = {.retries = 1, .counts = call_counts(nrefs + 1, 1)};
    struct record *r;
    uint64_t link;
    call.class_options = (uint8_t)(scene.store_class | (nrefs ? CALL_HAS_REFS << 4 : 0));
    MUST(lane_record(&c.lane, &r) == MOB_OK);
    task_begin(&c.lane, r, &call, parent);
    *(uint64_t *)task_add_value(r, 0, 8) = 42;
    for (uint32_t i = 0; i < nrefs; i++) {
        MUST(task_add_ref(r, i + 1, refs[i]));
    }
    task_add_child(&c.board, parent, 0);
    MUST(task_publish(&c.lane, r, &link) == MOB_OK);
    return link;
}

static void claim(void)
{
    MUST(task_claim(&c.lane, scene.store_class, &c.taken, &c.item) == QUEUE_OK);
}

static void drop(uint64_t link)
{
    lane_drop(&c.lane, link);
}

static void clean(void)
{
    struct queue_item item;
    struct record *r;
    while (task_claim(&c.lane, scene.store_class, &r, &item) == QUEUE_OK) {
        bool cancelled = at_load(&r->state, AT_RELAXED) & STATE_CANCEL;
        MUST(task_seal(&c.lane, r, cancelled));
    }
    for (int i = 0; i < IDS; i++) {
        drop(c.id[i]);
        c.id[i] = LINK_NONE;
    }
    lane_drain_ring(&c.lane);
    lane_reclaim(&c.lane);
}

/* ---- operations --------------------------------------------------------------------------------- */

static void none(void)
{
}
static void begin_create(void)
{
    c.r = create(MIDDLE);
    c.id[0] = link_of(c.r);
}
static void begin_put(void)
{
    c.id[0] = put(8);
}
static void begin_put_large(void)
{
    c.id[0] = put(LARGE);
}
static void
begin_waiting(void) /* an object that two tasks and a task of those wait for */
{
    begin_create();
    c.id[1] = submit(c.id, 1, c.task);
    c.id[2] = submit(c.id, 1, c.task);
    c.id[3] = submit(c.id + 1, 2, c.task);
}
static void begin_user(void) /* a task that runs, with an argument that nobody else has */
{
    c.lane.owes = true;
    begin_put();
    c.id[1] = submit(c.id, 1, c.task);
    drop(c.id[0]);
    claim();
}
static void begin_submit(void)
{
    c.id[0] = submit(NULL, 0, c.task);
}
static void begin_claim(void)
{
    begin_submit();
    claim();
}
static void
begin_makes(void) /* a task that runs, and that two and a task of those wait for */
{
    begin_claim();
    c.id[1] = submit(c.id, 1, c.task);
    c.id[2] = submit(c.id, 1, c.task);
    c.id[3] = submit(c.id + 1, 2, c.task);
}
static void begin_parent(void) /* a task that runs, with a child that runs inside of it */
{
    begin_claim();
    struct record *outer = c.taken;
    c.id[1] = submit(NULL, 0, c.id[0]);
    claim();
    c.r = c.taken;
    drop(c.id[1]); /* as a task that returns lets go of what it holds */
    MUST(task_seal(&c.lane, outer, false));
}
static void begin_many(void)
{
    for (int i = 0; i < MANY; i++) {
        c.many[i] = put(i % 8 ? 8 : MIDDLE);
    }
    for (int i = 0; i < MANY - 1; i++) {
        drop(c.many[i]);
    }
}
static void begin_freed(void) /* objects that somebody else freed last */
{
    for (int i = 0; i < IDS; i++) {
        lane_drop(&c.other, put(i % 2 ? MIDDLE : LARGE));
    }
    lane_reclaim(&c.other);
}
static void begin_ref(void) /* a task that runs, whose result is another object */
{
    begin_claim();
    c.id[1] = put(8);
}

static void do_create_small(void)
{
    c.r = create(8);
    c.id[0] = link_of(c.r);
}
static void do_create_large(void)
{
    c.r = create(LARGE);
    c.id[0] = link_of(c.r);
}
static void do_seal(void)
{
    MUST(task_seal(&c.lane, c.r, false));
}
static void do_abort(void)
{
    struct place p = record_get_place(c.r, 0);
    freed(NULL, p.segment, p.offset);
    task_set_error(c.r, MOB_ERR_CANCELLED, "aborted");
    MUST(task_seal(&c.lane, c.r, true));
    drop(c.id[0]);
}
static void do_get(void)
{
    MUST(lane_pin(&c.lane, scene.objects[LARGE_OBJECT], &c.pin) == MOB_OK);
}
static void do_unpin(void)
{
    lane_unpin(&c.lane, c.pin);
}
static void do_drop(void)
{
    drop(c.id[0]);
}
static void do_drop_last(void)
{
    drop(c.many[MANY - 1]);
}
static void do_reclaim(void)
{
    lane_reclaim(&c.lane);
}
static void do_drain(void)
{
    MUST(lane_drain_ring(&c.lane));
}
static void do_rest(void)
{
    lane_rest(&c.lane);
}
static void do_put(void)
{
    c.id[0] = put(8);
}
static void do_put_large(void)
{
    c.id[0] = put(LARGE);
}
static void do_submit(void)
{
    c.id[0] = submit(NULL, 0, c.task);
}
static void do_submit_by_id(void)
{
    c.id[1] = submit((uint64_t[]){scene.objects[SMALL_OBJECT], c.id[0]}, 2, c.task);
}
static void do_submit_waiting(void)
{
    c.id[1] = submit((uint64_t[]){scene.objects[UNSEALED_OBJECT], c.id[0]}, 2, c.task);
}
static void do_submit_child(void)
{
    c.id[1] = submit(&scene.objects[LARGE_OBJECT], 1, c.id[0]);
}
static void do_return(void)
{
    MUST(task_seal_childless(&c.lane, c.taken, link_of(c.taken),
                             at_load(&c.taken->state, AT_RELAXED)));
}
static void do_return_and_keep(void)
{
    c.lane.keeps = scene.store_class + 1;
    do_return();
    c.lane.keeps = 0;
}
static void do_return_user(void)
{
    do_return();
    lane_settle(&c.lane);
    c.lane.owes = false;
}
static void do_return_large(void)
{
    struct arena_place place;
    void *data;
    MUST(arena_alloc(c.arena, LARGE, 64, &place, &data) == MOB_OK);
    record_set_place(c.taken, 0, PLACE_ARENA, place.segment, place.offset, LARGE);
    do_return();
}
static void do_return_ref(void)
{
    MUST(lane_use(&c.lane, c.id[1]) == MOB_OK);
    record_set_place(c.taken, 0, PLACE_REF, 0, 0, c.id[1]);
    drop(c.id[1]);
    MUST(task_seal(&c.lane, c.taken, false));
}
static void do_return_child(void)
{
    MUST(task_seal(&c.lane, c.r, false));
}
static void end_parent(void)
{
    MUST(task_seal(&c.lane, c.taken, false));
}
static void do_fail(void)
{
    task_set_error(c.taken, MOB_ERR_TASK_FAILED, "the task says why");
    MUST(task_seal(&c.lane, c.taken, true));
}
static void do_requeue(void)
{
    MUST(task_requeue(&c.lane, c.taken));
}
static void do_unclaim(void)
{
    MUST(task_unclaim(&c.lane, c.taken));
}
static void do_cancel(void)
{
    task_cancel(&c.lane, &c.board.records[link_index(c.id[0])], link_gen(c.id[0]));
}
static void do_cancel_waiting(void)
{
    task_cancel(&c.lane, &c.board.records[link_index(c.id[1])], link_gen(c.id[1]));
}
static void do_poll_and_park(void)
{
    struct queue_view *ready = &c.lane.ready[scene.store_class];
    MUST(queue_peek(ready, &c.item) == QUEUE_NONE);
    MUST(queue_poll(ready, &c.item));
    MUST(queue_unpoll(ready, &c.item));
    task_park(&c.board, CLIENT_OF_STORE, scene.store_class);
    task_unpark(&c.board, CLIENT_OF_STORE, scene.store_class);
}
static void begin_leave(void)
{
    lane_fini(&c.other);
    begin_many();
}
static void do_leave(void)
{
    lane_fini(&c.lane);
}
static void end_kept(void)
{
    c.taken = c.lane.kept;
    c.lane.kept = NULL;
    do_return();
}
static void end_waiting(void)
{
    struct record *r = c.r;
    if (state_phase(at_load(&r->state, AT_RELAXED)) == PHASE_CREATING) {
        do_seal();
    }
}

static const struct op {
    const char *name;
    void (*prepare)(void), (*run)(void), (*end)(void);
} ops[] = {
    {"create, 8 bytes", none, do_create_small, do_seal},
    {"create, 4 KiB", none, do_create_large, do_seal},
    {"seal", begin_create, do_seal, none},
    {"seal for three tasks", begin_waiting, do_seal, none},
    {"abort", begin_create, do_abort, none},
    {"abort for three tasks", begin_waiting, do_abort, none},
    {"get", none, do_get, do_unpin},
    {"release of a view", do_get, do_unpin, none},
    {"put, 8 bytes", none, do_put, none},
    {"put, 4 KiB", none, do_put_large, none},
    {"delete", begin_put, do_drop, none},
    {"delete, 4 KiB", begin_put_large, do_drop, none},
    {"delete that frees 63", begin_many, do_drop_last, none},
    {"reclaim", begin_many, do_reclaim, do_drop_last},
    {"rest", begin_many, do_rest, do_drop_last},
    {"drain of the ring", begin_freed, do_drain, none},
    {"submit", none, do_submit, none},
    {"submit by id", begin_put, do_submit_by_id, none},
    {"submit that waits", begin_put, do_submit_waiting, do_cancel_waiting},
    {"submit in a task", begin_claim, do_submit_child, end_parent},
    {"claim", begin_submit, claim, do_return},
    {"return", begin_claim, do_return, none},
    {"return for three tasks, one kept", begin_makes, do_return_and_keep, end_kept},
    {"return of a task with an argument", begin_user, do_return_user, none},
    {"return of 4 KiB", begin_claim, do_return_large, none},
    {"return of an object", begin_ref, do_return_ref, none},
    {"return of the last child", begin_parent, do_return_child, none},
    {"return of an error", begin_claim, do_fail, none},
    {"return to the queue", begin_claim, do_requeue, none},
    {"unclaim", begin_claim, do_unclaim, none},
    {"cancel", begin_submit, do_cancel, none},
    {"cancel of one that waits", begin_waiting, do_cancel_waiting, end_waiting},
    {"wait for work", none, do_poll_and_park, none},
    {"end of a thread", begin_leave, do_leave, none},
};
enum { OPS = sizeof ops / sizeof ops[0] };

int store_ops_count(void)
{
    return OPS;
}

const char *store_op_name(int op)
{
    return ops[op].name;
}

/* ---- the process -------------------------------------------------------------------------------- */

static void map_shared(void *at, size_t size, int fd)
{
    const void *got =
        mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
    MUST(got == at);
}

static void run_all(void)
{
    claim();
    c.task = link_of(c.taken);
    c.id[0] = put(
        LARGE); /* the arena's first span is thousands of instructions of private work */
    c.id[1] = put(MIDDLE);
    clean();
    for (int i = 0; i < OPS; i++) {
        ops[i].prepare();
        step_mark();
        ops[i].run();
        step_mark();
        if (!c.lane.board) {
            break; /* the last one ended the lane, in the middle of the task */
        }
        ops[i].end();
        clean();
    }
}

static void *segment_base;

pid_t store_client_start(void)
{
    struct job *j = scene.job;
    uint64_t nothing = 0;
    scene_grant(CLIENT_SEGMENT, CLIENT_OF_STORE, &segment_base);
    scene.task = scene_task(scene.store_class, "nobody", &nothing, sizeof nothing, false);
    at_store(&j->board.procs[CLIENT_OF_STORE].state, PROC_BUSY, AT_RELEASE);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        c.board = j->board;
        c.board.committed = &c.board.own_committed;
        map_shared(c.board.base, board_bytes(), c.board.fd);
        map_shared(segment_base, SCENE_SEGMENT_BYTES, j->segments[CLIENT_SEGMENT].fd);
        MUST(arena_create(&c.arena) == MOB_OK);
        MUST(arena_add(c.arena, CLIENT_SEGMENT, segment_base, SCENE_SEGMENT_BYTES) ==
             MOB_OK);
        MUST(lane_init(&c.lane, &c.board, CLIENT_OF_STORE, freed, NULL) == MOB_OK);
        MUST(lane_init(&c.other, &c.board, KEEPER, freed, NULL) == MOB_OK);
        run_all();
        _exit(0);
    }
    j->members[CLIENT_OF_STORE] = (struct member){
        .job = j, .proc = CLIENT_OF_STORE, .used = true, .pid = pid, .slot = SLOT_NONE};
    return pid;
}

void store_client_gone(void)
{
    struct job *j = scene.job;
    j->members[CLIENT_OF_STORE].dead = true;
    proc_sweep(&j->members[CLIENT_OF_STORE]);
    j->members[CLIENT_OF_STORE].used = false;
    munmap(segment_base, SCENE_SEGMENT_BYTES);
    scene_run_ready(scene.store_class);
    scene_drop(scene.task);
    scene.task = LINK_NONE;
}
