/* What a node does when its store is full, or nearly: what goes to disk, and who gets the room. */
#include <criterion/criterion.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/seg.h"
#include "spill.h"
#include "store/task.h"
#include "talk.h"

#define MIB (1ull << 20)

enum { IDLE_TURNS = 20000 };

static const struct budget_owner somebody = {BUDGET_NODE, BUDGET_DAEMON};

/* ---- a machine whose figures the test makes up ---------------------------------------------------- */

static uint64_t machine_bytes; /* what the store can have of it */

/* Of a cgroup that has nothing else in it. */
static mob_status look(void *budget, struct machine_memory *ret)
{
    const struct budget *b = budget;
    uint64_t there = b->used_bytes - b->pending_bytes,
             all = machine_bytes + b->reserve_bytes;
    *ret = (struct machine_memory){.total_bytes = 64 << 20,
                                   .limit_bytes = all,
                                   .available_bytes = all > there ? all - there : 0,
                                   .cgroup_binds = true};
    return MOB_OK;
}

/* A store that may have @limit, on a machine that has @most for it. */
static void begin_full(bool head, uint64_t limit, uint64_t most)
{
    begin(head);
    machine_bytes = most;
    w.node.budget.limit_bytes = limit;
    w.node.budget.look = look;
    w.node.budget.look_arg = &w.node.budget;
    cr_assert_eq(budget_refresh(&w.node.budget), MOB_OK);
}

static void begin_spill(void)
{
    cr_assert_eq(node_spill_start(&w.node, getenv("MOB_TEST_DISK")), MOB_OK);
    if (!w.node.spill) {
        cr_skip_test("no disk to spill to: %s", mob_last_error());
    }
}

static void end_full(void)
{
    if (w.node.spill) {
        node_spill_stop(&w.node);
    }
    world_end(&w);
    node_spill_end(&w.node);
}

/* ---- a driver's objects ----------------------------------------------------------------------------- */

static struct lane lane; /* the driver's */
static uint32_t objects;

static void freed(void *arg, uint32_t segment, uint64_t offset)
{
    (void)arg;
    (void)segment;
    (void)offset;
}

/* An object of the driver's. */
static uint64_t put(struct job *j, uint32_t segment, uint64_t offset, uint64_t bytes)
{
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct record *r;
    mob_status st = lane_record(&lane, &r);
    if (st == MOB_ERR_FULL) {
        cr_assert_eq(grant_records(j), MOB_OK);
        st = lane_record(&lane, &r);
    }
    cr_assert_eq(st, MOB_OK);
    task_begin(&lane, r, &call, LINK_NONE);
    record_set_place(r, 0, PLACE_ARENA, segment, offset, bytes);
    at_store(&r->state, state_make(lane_gen(r), lane.self, 0, PHASE_CREATING),
             AT_RELEASE);
    uint64_t link = link_make(lane_gen(r), board_index(&j->board, r), 0);
    cr_assert(task_seal(&lane, r, false));
    return link;
}

/* A segment of the driver's, full of @count objects. Returns the last one's link. */
static uint64_t put_segment(struct job *j, uint64_t bytes, uint32_t count)
{
    uint32_t i = grant_free_slot(j);
    struct segment *s = &j->segments[i];
    uint64_t link = LINK_NONE;
    cr_assert_eq(budget_take(&w.node.budget, (struct budget_owner){j->index, 1}, bytes),
                 MOB_OK, "%s", mob_last_error());
    *s = (struct segment){.state = SEGMENT_HELD, .owner = 1, .bytes = bytes};
    cr_assert_eq(seg_create("mobula-objects", bytes, &s->fd), MOB_OK);
    budget_committed(&w.node.budget, bytes);
    at_store(&j->board.segments[i], SEGMENT_USED | 1ull << 40 | bytes / ARENA_PAGE,
             AT_RELEASE);
    for (uint32_t k = 0; k < count; k++) {
        link = put(j, i, k * (bytes / count), bytes / count);
    }
    objects += count;
    return link;
}

static void fill(struct job *j, uint32_t count, uint64_t bytes)
{
    objects = 0;
    cr_assert_eq(lane_init(&lane, &j->board, 1, freed, NULL), MOB_OK);
    for (uint32_t i = 0; i < count; i++) {
        (void)put_segment(j, bytes, 1);
    }
}

static uint32_t count_on_disk(const struct job *j)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < board_committed(&j->board); i++) {
        const struct record *r = &j->board.records[i];
        count += state_sealed(at_load(&r->state, AT_ACQUIRE)) &&
                 record_get_place(r, 0).kind == PLACE_SPILLED;
    }
    return count;
}

static void turn_until_idle(void)
{
    const struct node_spill *s = w.node.spill;
    world_turn(&w);
    for (int i = 0; s->state != ROUND_IDLE || s->soon.active; i++) {
        cr_assert_lt(i, IDLE_TURNS);
        cr_assert_eq(loop_turn(w.node.loop, NS_PER_MS), MOB_OK);
    }
}

/* The daemon is asked for a segment, in the name of the driver. */
static void ask_for(struct job *j, uint64_t bytes)
{
    static struct local_msg said;
    local_msg_init(&said, LOCAL_GRANT);
    said.arg[0] = bytes;
    grant_request(j->driver, &said);
}

/* ---- when objects go to disk ------------------------------------------------------------------------ */

Test(full, a_refusal_frees_a_tenth_of_the_store, .timeout = 60)
{
    begin_full(true, 64 * MIB, 1024 * MIB);
    begin_spill();
    struct job *j = world_job(&w);
    fill(j, 40, 512 << 10);
    spill_pressure(&w.node, 40000); /* what a small object lacked */
    turn_until_idle();
    uint64_t out = (uint64_t)count_on_disk(j) * (512 << 10);
    cr_assert_geq(out, 64 * MIB / 100 * (SPILL_HIGH_PERCENT - SPILL_LOW_PERCENT));
    cr_assert_leq(out, 64 * MIB / 8, "more than that is hot for nothing");
    lane_fini(&lane);
    end_full();
}

/* The store may have 1 GiB, and the cgroup that it is in has 100 MiB: four fifths of that are where the coldest
 * begin to go, before anybody is refused. */
Test(full, objects_go_to_disk_before_a_smaller_cgroup_is_full, .timeout = 60)
{
    begin_full(true, 1024 * MIB, 100 * MIB);
    begin_spill();
    struct job *j = world_job(&w);
    fill(j, 39, 2 * MIB);
    ask_for(j, 64 << 10);
    turn_until_idle();
    cr_assert_eq(count_on_disk(j), 0, "it is below the mark");
    for (int i = 0; i < 3; i++) {
        (void)put_segment(j, 2 * MIB, 1);
    }
    ask_for(j, 64 << 10);
    turn_until_idle();
    uint64_t left = (objects - count_on_disk(j)) * 2 * MIB;
    cr_assert_leq(left, 70 * MIB);
    cr_assert_geq(left, 60 * MIB, "more than that is hot for nothing");
    lane_fini(&lane);
    end_full();
}

/* Others on the machine take memory while nobody asks the store for any. */
Test(full, objects_go_to_disk_when_the_machine_gets_short, .timeout = 60)
{
    begin_full(true, 256 * MIB, 1024 * MIB);
    begin_spill();
    struct job *j = world_job(&w);
    fill(j, 20, 2 * MIB);
    w.node.spill->look_ns = 0;
    spill_look(&w.node);
    turn_until_idle();
    cr_assert_eq(count_on_disk(j), 0);
    machine_bytes = 45 * MIB;
    spill_look(&w.node);
    turn_until_idle();
    cr_assert_eq(count_on_disk(j), 0, "it looks at the machine at every turn");
    w.node.spill->look_ns = 0;
    spill_look(&w.node);
    turn_until_idle();
    cr_assert_geq(count_on_disk(j), 4);
    lane_fini(&lane);
    end_full();
}

/* A look at the machine is as old as the last grant: a refusal for what it said then would be one for ever. */
Test(full, what_the_machine_has_again_is_granted)
{
    begin_full(true, 128 * MIB, 100 * MIB);
    begin_spill();
    struct job *j = world_job(&w);
    w.node.spill->disk.live_bytes =
        1; /* something is on disk, so that a part is kept for it */
    machine_bytes = w.node.budget.used_bytes + MIB;
    cr_assert_eq(budget_refresh(&w.node.budget), MOB_OK);
    uint64_t used = w.node.budget.used_bytes;
    ask_for(j, MIB);
    cr_assert_eq(w.node.budget.used_bytes, used, "that is kept for what comes back");
    machine_bytes = 100 * MIB;
    ask_for(j, MIB);
    cr_assert_eq(w.node.budget.used_bytes, used + MIB);
    w.node.spill->disk.live_bytes = 0;
    end_full();
}

/* ---- a full disk -------------------------------------------------------------------------------------- */

static enum place_kind kind_of(const struct job *j, uint64_t link)
{
    return record_get_place(&j->board.records[link_index(link)], 0).kind;
}

/* A disk of 8 MiB, of which 4 are dead but not given back, and an object of 6: what is alive there moves, the
 * file goes, and the object finds room. */
Test(full, a_full_disk_is_rid_of_what_is_dead, .timeout = 60)
{
    enum { SMALL = 100, KEPT = 8 };
    static char tiny[] = "/tmp/mobula-tiny-XXXXXX";
    begin_full(true, 64 * MIB, 1024 * MIB);
    begin_spill();
    if (!mkdtemp(tiny) || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tiny", tiny, "tmpfs", 0, "size=8m") < 0) {
        rmdir(tiny);
        end_full();
        cr_skip_test("only root can mount");
    }
    struct spill_folder *folder = &w.node.spill->disk.folders[0];
    char *path = folder->path;
    folder->path = tiny;
    struct job *j = world_job(&w);
    fill(j, 0, 0);
    uint64_t last = put_segment(j, SMALL * 40000, SMALL);
    spill_pressure(&w.node, 4 * MIB);
    turn_until_idle();
    cr_assert_eq(count_on_disk(j), SMALL);
    for (uint32_t i = 0; i < SMALL - KEPT; i++) {
        lane_drop(&lane, last - ((uint64_t)i << 4));
    }
    lane_reclaim(&lane);
    turn_until_idle();
    cr_assert_eq(count_on_disk(j), KEPT);
    cr_assert_geq(w.node.spill->disk.disk_bytes, SMALL * 40000, "it is no test");
    uint64_t big = put_segment(j, 6 * MIB, 1);
    for (int i = 0; i < 3 && kind_of(j, big) != PLACE_SPILLED; i++) {
        spill_pressure(&w.node, 6 * MIB);
        turn_until_idle();
        while (j->spill.compact) {
            cr_assert_eq(loop_turn(w.node.loop, NS_PER_MS), MOB_OK);
        }
    }
    cr_assert_eq(kind_of(j, big), PLACE_SPILLED, "%s", folder->why);
    cr_assert_eq(count_on_disk(j), KEPT + 1);
    cr_assert_leq(w.node.spill->disk.disk_bytes, 7 * MIB);
    lane_fini(&lane);
    folder->path = path;
    end_full();
    cr_assert_eq(umount(tiny), 0, "%m");
    rmdir(tiny);
}

/* ---- a job that comes to a full node ----------------------------------------------------------------- */

static mob_status hello(int sock, struct local_msg *ret)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count;
    world_hello(sock);
    for (int i = 0; i < 12; i++) {
        world_turn(&w);
    }
    cr_assert_eq(local_recv(sock, ret, fds, &count), MOB_OK);
    while (count) {
        close(fds[--count]);
    }
    return (mob_status)ret->status;
}

static int connected(void)
{
    int sock[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sock), 0);
    cr_assert_eq(conn_open(&w.node, sock[1], NULL), MOB_OK);
    return sock[0];
}

/* Takes all but a byte of what a job needs. Returns how much. */
static uint64_t leave_too_little(void)
{
    struct budget *b = &w.node.budget;
    uint64_t bytes = b->limit_bytes - b->used_bytes - job_least_bytes() + 1;
    cr_assert_eq(budget_take(b, somebody, bytes), MOB_OK);
    budget_committed(b, bytes);
    return bytes;
}

Test(full, a_driver_waits_until_there_is_room_for_its_job, .timeout = 60)
{
    static struct local_msg got;
    begin_full(true, 64 * MIB, 1024 * MIB);
    begin_spill();
    struct job *j = world_job(&w);
    fill(j, 10, MIB);
    uint64_t bytes = leave_too_little();
    int sock = connected();
    cr_assert_eq(hello(sock, &got), MOB_ERR_TIMEOUT, "%s", got.text);
    turn_until_idle();
    cr_assert_gt(count_on_disk(j), 0, "it waits for nothing");
    cr_assert_eq(hello(sock, &got), MOB_ERR_TIMEOUT,
                 "the driver has given back nothing yet");
    budget_give(&w.node.budget, somebody, bytes);
    cr_assert_eq(hello(sock, &got), MOB_OK, "%s", got.text);
    lane_fini(&lane);
    close(sock);
    end_full();
}

Test(full, a_driver_that_waits_for_nothing_is_refused_at_once)
{
    static struct local_msg got;
    begin_full(true, 64 * MIB, 1024 * MIB);
    uint64_t bytes = leave_too_little(); /* nothing can go to disk */
    int sock = connected();
    cr_assert_eq(hello(sock, &got), MOB_ERR_NOMEM);
    cr_assert(strstr(got.text, "object store"), "%s", got.text);
    budget_give(&w.node.budget, somebody, bytes);
    close(sock);
    end_full();
}

Test(full, a_job_that_the_machine_has_no_memory_for_is_refused_at_once)
{
    static struct local_msg got;
    begin_full(true, 64 * MIB, job_least_bytes() - 1);
    begin_spill();
    int sock = connected();
    cr_assert_eq(hello(sock, &got), MOB_ERR_NOMEM, "nobody has what it could wait for");
    close(sock);
    end_full();
}

/* A peer's job makes room as a driver here does. */
Test(full, objects_go_to_disk_for_a_job_of_another_node, .timeout = 60)
{
    begin_full(false, 64 * MIB, 1024 * MIB);
    begin_spill();
    struct job *j = world_job(&w);
    fill(j, 20, MIB);
    f.node = f.self;
    cr_assert(say(0, WIRE_WELCOME));
    cr_assert(say(0, WIRE_LEASE));
    uint64_t bytes = leave_too_little();
    cr_assert(say(1, WIRE_OPEN));
    cr_assert_eq(w.peers[1].sent[WIRE_FAILED], 1);
    turn_until_idle();
    cr_assert_geq(count_on_disk(j) * MIB, job_least_bytes());
    budget_give(&w.node.budget, somebody, bytes);
    lane_fini(&lane);
    end_full();
}
