/* test_faults.c - each system call on the daemon's way to memory fails once, in each way that it can.
 *
 * A flow is what a job does to the daemon's memory, from its hello to its end: the board, segments that
 * are granted, mapped by others, given back or left by a dead process, more records, places of the
 * daemon's own, objects that go to disk and come back. It is run with the first call failing, then the second, and so on until it makes no more
 * calls, with ENOMEM, ENOSPC, EIO, EINTR, with half of the bytes moved, and without memory of the daemon's
 * own. What fails must be refused with a sentence, or cost the connection; the same must succeed when it
 * is tried again; and at the end of each flow the account is 0, and no fd and no mapping is left.
 *
 * The node is real and in this process (node_world.h); the test is its driver. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/seg.h"
#include "faults.h"
#include "node_world.h"
#include "spill.h"
#include "store/check.h"
#include "store/sweep.h"
#include "store/task.h"

enum {
    TURNS = 12,
    NTH_MAX = 2000,
    DEAD_PROCESS = 200,
    OWN_BYTES = 1 << 20, /* of a process's segment */
    SPILLED = 3,
    SPILLED_BYTES = 70000,
    IDLE_TURNS = 4000
};

static struct world w;
static int sock = -1;
static struct job *job;
static uint32_t number;   /* the job's */
static int planned_error; /* of this flow */

/* ---- the daemon works ---------------------------------------------------------------------------- */

static void turn(bool armed)
{
    faults_arm(armed);
    for (int i = 0; i < TURNS; i++) {
        world_turn(&w);
    }
    faults_arm(false);
}

static bool any_job(void)
{
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        if (w.node.jobs[i]) {
            return true;
        }
    }
    return false;
}

/* The connection is closed, by us or by the daemon: the job goes. */
static void leave(bool armed)
{
    close(sock);
    sock = -1;
    job = NULL;
    turn(armed);
    for (int i = 0; i < 1000 && any_job(); i++) {
        turn(false);
    }
    MUST(!any_job());
}

/* The daemon may have lost the connection after it answered. */
static bool still_there(void)
{
    struct job *j = job_find(&w.node, number);
    if (sock >= 0 && j && j->driver && !j->ended) {
        return true;
    }
    MUST(faults_fired());
    if (sock >= 0) {
        leave(false);
    }
    return false;
}

/* The answer to what was asked. MOB_ERR_PEER_LOST: there is none, and the job is gone. */
static mob_status answer(struct local_msg *m, int fds[LOCAL_FDS_MAX], unsigned *count)
{
    struct pollfd p = {.fd = sock, .events = POLLIN};
    *count = 0;
    turn(true);
    mob_status st =
        poll(&p, 1, 0) > 0 ? local_recv(sock, m, fds, count) : MOB_ERR_PEER_LOST;
    if (st) {
        MUST(faults_fired());
        leave(false);
        return MOB_ERR_PEER_LOST;
    }
    MUST(m->status == MOB_OK || m->text_size > 0);
    if (job && !still_there()) {
        st = MOB_ERR_PEER_LOST;
    }
    return st ? st : (mob_status)m->status;
}

/* Asks, and closes the fds that come. */
static mob_status ask(enum local_op op, uint64_t a, uint64_t b, struct local_msg *m)
{
    int fds[LOCAL_FDS_MAX];
    unsigned count;
    local_msg_init(m, op);
    m->arg[0] = a;
    m->arg[1] = b;
    MUST(local_send(sock, m, NULL, 0) == MOB_OK);
    mob_status st = answer(m, fds, &count);
    while (count) {
        close(fds[--count]);
    }
    return st;
}

/* The daemon may lose the connection over it. */
static bool tell(enum local_op op, uint64_t a, uint64_t b)
{
    static struct local_msg m;
    local_msg_init(&m, op);
    m.arg[0] = a;
    m.arg[1] = b;
    MUST(local_send(sock, &m, NULL, 0) == MOB_OK);
    turn(true);
    return still_there();
}

/* ---- steps: true if all of it went well ---------------------------------------------------------- */

static bool join(void)
{
    static struct local_msg m;
    int ends[2], fds[LOCAL_FDS_MAX];
    unsigned count;
    MUST(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    sock = ends[0];
    world_hello(sock);
    faults_arm(true);
    mob_status st =
        conn_open(&w.node, ends[1], NULL); /* which closes its end if it fails */
    faults_arm(false);
    st = st ? st : answer(&m, fds, &count);
    if (st) {
        if (sock >= 0) {
            leave(false);
        }
        return false;
    }
    while (count) {
        close(fds[--count]);
    }
    number = w.node.last_job;
    if (!still_there()) {
        return false;
    }
    job = job_find(&w.node, number);
    return true;
}

static bool segment(void)
{
    static struct local_msg m;
    if (ask(LOCAL_GRANT, 1 << 20, 0, &m)) {
        return false;
    }
    uint64_t granted = m.arg[0];
    MUST(job->segments[granted].state == SEGMENT_GRANTED);
    if (!tell(LOCAL_COMMITTED, granted, 0)) {
        return false;
    }
    bool mapped = ask(LOCAL_MAP, granted, 0, &m) == MOB_OK;
    if (!job || !tell(LOCAL_GIVE, granted, 0)) {
        return false;
    }
    MUST(job->segments[granted].state == SEGMENT_NONE);
    return mapped;
}

/* What the process could not commit. */
static bool segment_not_committed(void)
{
    static struct local_msg m;
    if (ask(LOCAL_GRANT, 1 << 20, 0, &m) || !tell(LOCAL_COMMITTED, m.arg[0], 1)) {
        return false;
    }
    MUST(job->segments[m.arg[0]].state == SEGMENT_NONE);
    return true;
}

static bool too_much(void)
{
    static struct local_msg m;
    mob_status st = ask(LOCAL_GRANT, WORLD_STORE * 2, 0, &m);
    MUST(st != MOB_OK);
    return st == MOB_ERR_NOMEM && job;
}

static bool records(void)
{
    static struct local_msg m;
    return ask(LOCAL_RECORDS, 0, 0, &m) == MOB_OK;
}

static bool info(void)
{
    static struct local_msg m;
    return ask(LOCAL_INFO, 0, 0, &m) == MOB_OK;
}

static bool place_of(uint64_t size)
{
    struct arena_place place;
    void *data;
    faults_arm(true);
    mob_status st = grant_place(job, size, &place, &data);
    if (!st) {
        memset(data, 1, size);
        grant_landed(job, &place);
        grant_unplace(job, &place);
    }
    faults_arm(false);
    return st == MOB_OK;
}

static bool small_place(void)
{
    return place_of(100000);
}

static bool large_place(void)
{
    return place_of(ARENA_ALONE_MIN + 1);
}

/* A process's segment, as if it had been granted and committed. */
static struct segment *give_segment(uint32_t number_of_it, uint32_t process)
{
    struct segment *s = &job->segments[number_of_it];
    struct budget_owner who = {job->index, process};
    MUST(budget_take(&w.node.budget, who, OWN_BYTES) == MOB_OK);
    *s = (struct segment){.state = SEGMENT_HELD, .owner = process, .bytes = OWN_BYTES};
    MUST(seg_create("mobula-objects", OWN_BYTES, &s->fd) == MOB_OK);
    budget_committed(&w.node.budget, OWN_BYTES);
    at_store(&job->board.segments[number_of_it],
             SEGMENT_USED | (uint64_t)process << 40 | OWN_BYTES / ARENA_PAGE, AT_RELEASE);
    return s;
}

/* An object in it. */
static uint64_t put(struct lane *l, uint32_t segment_number, uint64_t offset,
                    uint64_t size)
{
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct record *r;
    MUST(lane_record(l, &r) == MOB_OK);
    task_begin(l, r, &call, LINK_NONE);
    record_set_place(r, 0, PLACE_ARENA, segment_number, offset, size);
    uint64_t link = link_make(lane_gen(r), board_index(&job->board, r), 0);
    at_store(&r->state, state_make(lane_gen(r), l->self, 0, PHASE_CREATING), AT_RELEASE);
    MUST(task_seal(l, r, false));
    return link;
}

static void freed(void *arg, uint32_t segment_number, uint64_t offset)
{
    (void)segment_number;
    (void)offset;
    ++*(unsigned *)arg;
}

/* A process that has put an object dies; the object is released. The first part is not the daemon's. */
static bool death(void)
{
    static struct lane lane;
    unsigned count = 0;
    struct member *m = &job->members[DEAD_PROCESS];
    const struct segment *s = give_segment(BOARD_SEGMENTS_MAX - 1, DEAD_PROCESS);
    at_store(&job->board.procs[DEAD_PROCESS].state, PROC_BUSY, AT_RELEASE);
    *m = (struct member){.job = job, .proc = DEAD_PROCESS, .used = true, .dead = true};
    MUST(lane_init(&lane, &job->board, DEAD_PROCESS, freed, &count) == MOB_OK);
    uint64_t link = put(&lane, BOARD_SEGMENTS_MAX - 1, 0, 4096);
    free(lane.blocks);
    free(lane.block_slot);

    faults_arm(true);
    proc_sweep(m);
    m->used = false;
    MUST(s->state == SEGMENT_ORPHAN && s->live == 1);
    lane_drop(&job->lane, link);
    lane_reclaim(&job->lane);
    faults_arm(false);
    turn(true);
    MUST(s->state == SEGMENT_NONE && count == 0);
    return true;
}

/* ---- to disk and back ---------------------------------------------------------------------------- */

static enum place_kind kind_of(uint64_t link)
{
    return record_get_place(&job->board.records[link_index(link)], 0).kind;
}

/* Turns until nothing is on its way. */
static void turn_until_idle(void)
{
    const struct node_spill *s = w.node.spill;
    faults_arm(true);
    for (int i = 0; s->state != ROUND_IDLE || s->soon.active || s->retry.active ||
                    job->spill.restores || job->busy;
         i++) {
        MUST(i < IDLE_TURNS);
        MUST(loop_turn(w.node.loop, NS_PER_MS) == MOB_OK);
    }
    faults_arm(false);
    turn(true);
}

static bool all_are(const uint64_t *links, enum place_kind kind)
{
    bool all = true;
    for (int i = 0; i < SPILLED; i++) {
        all &= kind_of(links[i]) == kind;
    }
    return all;
}

/* Twice, since a fault may have kept some from it. */
static bool all_go_out(const uint64_t *links)
{
    for (int i = 0; i < 2 && !all_are(links, PLACE_SPILLED); i++) {
        /* As if the time after which it tries again had passed. */
        w.node.spill->not_before_ns = w.node.spill->disk.folders[0].until_ns = 0;
        spill_pressure(&w.node, WORLD_STORE);
        turn_until_idle();
    }
    return all_are(links, PLACE_SPILLED);
}

/* What could not be read is lost, and that is for the disk to say: not having memory to read is no reason. */
static bool all_come_back(const uint64_t *links, int error)
{
    for (int i = 0; i < SPILLED; i++) {
        spill_restore(job, links[i]);
    }
    turn_until_idle();
    bool back = true;
    for (int i = 0; i < SPILLED; i++) {
        struct record *r = &job->board.records[link_index(links[i])];
        struct place p = record_get_place(r, 0);
        const void *bytes;
        if (p.kind == PLACE_LOST) {
            MUST(faults_fired() && strcmp(faults_fired(), "loop_read") == 0 &&
                 (error == EIO || error == ENOSPC));
            continue;
        }
        back &= p.kind == PLACE_ARENA;
        if (p.kind == PLACE_ARENA) {
            MUST(grant_read(job, r, &p, &bytes) == MOB_OK);
            for (uint64_t k = 0; k < p.size; k++) {
                MUST(((const uint8_t *)bytes)[k] == (uint8_t)(k + (uint64_t)i));
            }
        }
    }
    return back;
}

/* The driver's objects go to disk, come back, and are released. */
static bool disk(void)
{
    static struct lane lane;
    uint64_t links[SPILLED];
    unsigned count = 0;
    void *base;
    if (!w.node.spill) {
        return true;
    }
    const struct segment *s = give_segment(BOARD_SEGMENTS_MAX - 2, 1);
    MUST(seg_map(s->fd, OWN_BYTES, SEG_WRITE, &base) == MOB_OK);
    MUST(lane_init(&lane, &job->board, 1, freed, &count) == MOB_OK);
    for (uint64_t i = 0; i < SPILLED; i++) {
        uint8_t *to = (uint8_t *)base + i * OWN_BYTES / SPILLED / 64 * 64;
        for (uint64_t k = 0; k < SPILLED_BYTES; k++) {
            to[k] = (uint8_t)(k + i);
        }
        links[i] = put(&lane, BOARD_SEGMENTS_MAX - 2, (uint64_t)(to - (uint8_t *)base),
                       SPILLED_BYTES);
    }
    bool out = all_go_out(links);
    bool back = all_come_back(links, planned_error);
    back = back || all_come_back(links, planned_error);
    for (int i = 0; i < SPILLED; i++) {
        lane_drop(&lane, links[i]);
    }
    lane_reclaim(&lane);
    turn_until_idle(); /* the daemon frees what is in its own segments and on disk */
    lane_drain_ring(&lane);
    lane_fini(&lane);
    seg_unmap(base, OWN_BYTES);
    MUST(count == SPILLED); /* each of the old places, once */
    return tell(LOCAL_GIVE, BOARD_SEGMENTS_MAX - 2, 0) && out && back;
}

/* ---- a flow -------------------------------------------------------------------------------------- */

static const struct step {
    const char *name;
    bool (*run)(void);
} steps[] = {
    {"join", join},
    {"segment", segment},
    {"segment that is not committed", segment_not_committed},
    {"too much", too_much},
    {"records", records},
    {"info", info},
    {"small place", small_place},
    {"large place", large_place},
    {"death", death},
    {"disk", disk},
};
enum { STEPS = sizeof steps / sizeof steps[0] };

static void run_step(const struct step *s)
{
    if (s->run()) {
        return;
    }
    if (!faults_fired()) {
        fprintf(stderr, "%s: it failed though nothing did: %s\n", s->name,
                mob_last_error());
        exit(1);
    }
    /* Once more, without a fault, in the same job if it is still there. */
    if (s->run != join && !job) {
        MUST(join());
    }
    if (!s->run()) {
        fprintf(stderr, "%s: it fails again after %s had failed once: %s\n", s->name,
                faults_fired(), mob_last_error());
        exit(1);
    }
}

static void look_at_board(void)
{
    struct check_result res = {0};
    if (board_check(&job->board, &res) != MOB_OK) {
        fprintf(stderr, "after %s: %s\n", faults_fired() ? faults_fired() : "nothing",
                res.first);
        exit(1);
    }
}

static void flow(void)
{
    for (int i = 0; i < STEPS; i++) {
        run_step(&steps[i]);
        look_at_board();
        if (job->node->budget.pending_bytes) {
            fprintf(stderr, "%s: %llu bytes are promised for ever after %s failed\n",
                    steps[i].name, (unsigned long long)job->node->budget.pending_bytes,
                    faults_fired());
            exit(1);
        }
    }
    leave(true);
}

/* ---- what must not be left ----------------------------------------------------------------------- */

static unsigned count_fds(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    MUST(dir);
    while (readdir(dir)) {
        count++;
    }
    closedir(dir);
    return count;
}

static unsigned count_segments(void)
{
    unsigned count = 0;
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    MUST(maps);
    while (fgets(line, sizeof line, maps)) {
        count += strstr(line, "/memfd:mobula") != NULL;
    }
    fclose(maps);
    return count;
}

/* The flow with each call failing in turn. Returns how many there were. */
static unsigned sweep(const char *name, int error, unsigned fds)
{
    for (unsigned nth = 1; nth < NTH_MAX; nth++) {
        planned_error = error;
        faults_plan(nth, error);
        flow();
        const struct budget *b = &w.node.budget;
        if (b->used_bytes || b->pending_bytes || count_fds() != fds || count_segments()) {
            fprintf(
                stderr,
                "%s, call %u (%s): %llu bytes used, %llu promised, %u fds and not %u, "
                "%u mappings\n",
                name, nth, faults_fired() ? faults_fired() : "none",
                (unsigned long long)b->used_bytes, (unsigned long long)b->pending_bytes,
                count_fds(), fds, count_segments());
            exit(1);
        }
        if (!faults_fired()) {
            return nth - 1;
        }
    }
    fprintf(stderr, "%s: it never ends\n", name);
    exit(1);
}

int main(void)
{
    static const struct {
        const char *name;
        int error;
    } faults[] = {{"ENOMEM", ENOMEM}, {"ENOSPC", ENOSPC},     {"EIO", EIO},
                  {"EINTR", EINTR},   {"short", FAULT_SHORT}, {"no heap", FAULT_NO_HEAP}};
    world_make(&w, true);
    MUST(node_spill_start(&w.node, getenv("MOB_TEST_DISK")) == MOB_OK);
    if (!w.node.spill) {
        printf("no disk: %s\n", mob_last_error());
    }
    flow();
    unsigned fds = count_fds();
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        unsigned calls = sweep(faults[i].name, faults[i].error, fds);
        MUST(calls > 0);
        printf("%-8s each of %u calls\n", faults[i].name, calls);
        fflush(stdout);
    }
    node_spill_stop(&w.node);
    world_end(&w);
    node_spill_end(&w.node);
    return 0;
}
