/* soak.c - eight processes that do everything with objects, in a store that is too small, one killed
 * every 50 ms.
 *
 *   soak SOAK_LOAD MOBULAD SECONDS spill|memory
 *
 * A driver and seven workers (soak_load.c), which check every byte. Mostly a worker is killed, now and
 * then the driver, whose job must go then. Every few seconds all come to rest, with the driver's objects
 * still held: the board must be whole, nothing else may be in use, and the node's account of memory must
 * be that of the board and its segments, to the byte.
 *
 * MOB_TEST_FULL=1: ten minutes. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/status.h"
#include "crash_node.h"
#include "store/check.h"

enum { KILL_EVERY_MS = 50, KILLS_BETWEEN_RESTS = 60, DRIVER_ONE_IN = 100, FULL_S = 600 };

static unsigned workers_killed, drivers_killed, rests;
static uint64_t tasks_done, found_full; /* of drivers that came to rest */
static uint32_t on_disk; /* objects there, at the rest at which there were most */

/* ---- at rest ------------------------------------------------------------------------------------ */

struct account { /* what the driver says */
    unsigned held;
    unsigned long long tasks, full;
};

static struct account read_account(void)
{
    char path[64];
    struct account a;
    snprintf(path, sizeof path, "%s/held", tester.folder);
    FILE *file = fopen(path, "r");
    if (!file || fscanf(file, "%u %llu %llu", &a.held, &a.tasks, &a.full) != 3) {
        broken("%s cannot be read", path);
    }
    fclose(file);
    return a;
}

/* What the board takes, as the daemon accounts for it (job.c). */
static uint64_t bytes_of(const struct board *b)
{
    return board_fixed_bytes() + (sizeof(at_u64) << BOARD_QUEUE_ORDER) +
           at_load(&b->header->committed, AT_ACQUIRE) / BOARD_COMMIT_STEP *
               BOARD_STEP_BYTES;
}

static void count_on_disk(const struct node *n)
{
    struct board b;
    uint32_t count = 0;
    if (boards_map(n->daemon, &b, 1) == 0) {
        return; /* a driver was killed, and the next one is not there yet */
    }
    for (uint32_t i = 0; i < at_load(&b.header->committed, AT_ACQUIRE); i++) {
        const struct record *r = &b.records[i];
        count += state_phase(at_load(&r->state, AT_ACQUIRE)) == PHASE_CLOSED &&
                 record_get_place(r, 0).kind == PLACE_SPILLED;
    }
    on_disk = count > on_disk ? count : on_disk;
    board_unmap(&b);
}

static mob_status look_at(const struct node *n, const struct board *b)
{
    struct check_result r = {0};
    MOB_TRY(board_check(b, &r));
    uint32_t held = read_account().held;
    for (int p = PHASE_CREATING; p <= PHASE_CLOSED; p++) {
        uint32_t want = p == PHASE_CLOSED ? held : 0;
        if (r.phases[p] != want) {
            return status_fail(MOB_ERR_STATE,
                               "%u records are in phase %d, and %u are held", r.phases[p],
                               p, want);
        }
    }
    if (r.pins) {
        return status_fail(MOB_ERR_STATE, "%u pins", r.pins);
    }
    json_t *status = node_tells(n->dir);
    uint64_t used = status_number(status, "store_used_bytes");
    json_decref(status);
    if (used != bytes_of(b) + r.segment_bytes) {
        return status_fail(
            MOB_ERR_STATE,
            "%llu bytes are said to be used; the board has %llu, and its %u "
            "segments %llu",
            (unsigned long long)used, (unsigned long long)bytes_of(b), r.segments,
            (unsigned long long)r.segment_bytes);
    }
    return MOB_OK;
}

static mob_status at_rest(const struct node *n)
{
    struct board boards[2];
    size_t count = boards_map(n->daemon, boards, 2);
    mob_status st = count == 1 ? look_at(n, &boards[0])
                               : status_fail(MOB_ERR_STATE, "%zu boards", count);
    for (size_t i = 0; i < count; i++) {
        board_unmap(&boards[i]);
    }
    return st;
}

static void rest(struct node *n)
{
    uint64_t until = clock_now_ns() + SETTLE_MS * NS_PER_MS;
    mob_status st;
    for (
        ;
        ;) { /* workers come to rest by and by, and the daemon looks again what was freed */
        node_tell_drivers(n, 'q');
        node_await_rest(n);
        st = at_rest(n);
        if (!st || clock_now_ns() > until) {
            break;
        }
        nap_ms(50);
    }
    if (st) {
        broken("at rest: %s", mob_last_error());
    }
    node_tell_drivers(n, 'g');
    struct account a = read_account();
    tasks_done = a.tasks > tasks_done ? a.tasks : tasks_done;
    found_full = a.full > found_full ? a.full : found_full;
    rests++;
}

/* ---- kills -------------------------------------------------------------------------------------- */

static void kill_driver(struct node *n)
{
    int status;
    if (kill(n->drivers[0].pid, SIGKILL) < 0 ||
        !kid_wait(&n->drivers[0], LOST_MS, &status)) {
        broken("the driver does not end");
    }
    kid_close(&n->drivers[0]);
    (void)node_await_jobs(n, 0);
    drivers_killed++;
    node_work(n);
}

static void kill_worker(const struct node *n)
{
    pid_t workers[KIDS_MAX];
    size_t count = proc_kids(n->daemon, workers);
    if (count && kill(workers[tester_dice(count)], SIGKILL) < 0 && errno != ESRCH) {
        broken("kill: %s", strerror(errno));
    }
    workers_killed += count != 0;
}

static void look_at_driver(const struct node *n)
{
    int status;
    if (kid_ended(&n->drivers[0], &status)) {
        broken("the driver ended with %#x", (unsigned)status);
    }
    daemon_check(&n->hand);
}

static void run(struct node *n, uint64_t seconds)
{
    uint64_t next = clock_now_ns(), end = next + seconds * NS_PER_S;
    while (next < end) {
        uint64_t now = clock_now_ns();
        if (now < next) {
            nap_ms((next - now) / NS_PER_MS + 1);
        }
        next = clock_now_ns() + KILL_EVERY_MS * NS_PER_MS;
        look_at_driver(n);
        count_on_disk(n);
        if (tester_dice(DRIVER_ONE_IN) == 0) {
            kill_driver(n);
        } else {
            kill_worker(n);
        }
        if (++tester.done % KILLS_BETWEEN_RESTS == 0) {
            node_progress(n);
            rest(n);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        return 2;
    }
    bool spill = strcmp(argv[4], "spill") == 0;
    struct node node = {.kind = spill ? SOAK_SPILL : SOAK};
    tester_begin("soak", "kills");
    nodes_init(argv[1], argv[2]);
    node_up(&node);
    node_work(&node);
    run(&node, tester.full ? FULL_S : strtoull(argv[3], NULL, 0));
    rest(&node);
    node_finish(&node);
    node_down(&node);
    tester_end();
    if (spill ? on_disk == 0 : found_full == 0) {
        broken("there was always room: the store is too large for this test");
    }
    printf(
        "soak: %u workers and %u drivers killed, %u times at rest; one driver had up to "
        "%llu tasks, and no room %llu times; %u objects on disk at once\n",
        workers_killed, drivers_killed, rests, (unsigned long long)tasks_done,
        (unsigned long long)found_full, on_disk);
    return 0;
}
