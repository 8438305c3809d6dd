/* board_fuzz.c - writes nonsense over one job's board while the daemon and another job use theirs.
 *
 *   board_fuzz LOAD MOBULAD
 *
 * Job A may fail, and its processes may crash or stand still: it is ended after a moment. The daemon
 * must answer all the time, job B go on with right results, and nothing of A stay behind.
 * MOB_TEST_FULL=1: 200 jobs instead of 12. */
#include <signal.h>
#include <stdio.h>

#include "core/clock.h"
#include "tester.h"

enum { JOBS = 12, JOBS_FULL = 200, BOARDS_MAX = 4 };

static char node_dir[64];

static void check_progress(const struct kid *b)
{
    int status;
    kid_forget(b);
    if (!kid_says(b, 'r', PROGRESS_MS) || kid_ended(b, &status)) {
        broken("the other job does not go on");
    }
}

/* The board of the youngest job. */
static bool map_youngest(pid_t daemon, struct board *ret)
{
    struct board boards[BOARDS_MAX];
    size_t count = boards_map(daemon, boards, BOARDS_MAX), best = 0;
    for (size_t i = 1; i < count; i++) {
        if (at_load(&boards[i].header->job, AT_RELAXED) >
            at_load(&boards[best].header->job, AT_RELAXED)) {
            best = i;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (i != best) {
            board_unmap(&boards[i]);
        }
    }
    *ret = boards[best];
    return count > 0;
}

static at_u64 *some_word(const struct board *b)
{
    struct {
        void *at;
        size_t bytes;
    } parts[] = {
        {b->header, sizeof *b->header},
        {b->procs, sizeof *b->procs * 8},
        {b->classes, sizeof *b->classes * 2},
        {b->ledgers, sizeof *b->ledgers * 16},
        {b->names, sizeof *b->names * BOARD_NAMES_MAX},
        {b->segments, sizeof *b->segments * 16},
        {b->block_owner, sizeof *b->block_owner * 256},
        {b->block_returned, sizeof *b->block_returned * 256},
        {b->ring_cells, (sizeof *b->ring_cells << BOARD_RING_ORDER) * 8},
        {b->ready_cells, sizeof *b->ready_cells * 4096},
        {b->records, sizeof *b->records * 256},
        {b->records, sizeof *b->records * BOARD_COMMIT_STEP},
    };
    size_t i = tester_dice(sizeof parts / sizeof parts[0]);
    return (at_u64 *)parts[i].at + tester_dice(parts[i].bytes / 8);
}

static void scribble(const struct board *b, unsigned words)
{
    for (unsigned i = 0; i < words; i++) {
        at_u64 *word = some_word(b);
        uint64_t was = at_load(word, AT_RELAXED), now;
        switch (tester_dice(6)) {
        case 0:
            now = was ^ 1ull << tester_dice(64);
            break;
        case 1:
            now = tester_dice(UINT64_MAX);
            break;
        case 2:
            now = tester_dice(2) ? 0 : UINT64_MAX;
            break;
        case 3:
            now = (was & ~0xffull) | tester_dice(256);
            break;
        case 4:
            now = was + (tester_dice(2) ? 1 : -1ull);
            break;
        default:
            now = at_load(some_word(b), AT_RELAXED);
        }
        at_store(word, now, AT_RELAXED);
    }
}

static size_t count_jobs(void)
{
    json_t *status = node_tells(node_dir);
    size_t jobs = json_array_size(json_object_get(status, "jobs"));
    json_decref(status);
    return jobs;
}

/* For a moment: nonsense, while workers die and people ask. */
static void fuzz_board(const struct kid *daemon, const struct board *board,
                       unsigned words)
{
    pid_t kids[KIDS_MAX];
    unsigned bursts = 50 + (unsigned)tester_dice(150);
    for (unsigned i = 0; i < bursts; i++) {
        scribble(board, words);
        nap_ms(1);
        if (tester_dice(40) == 0) { /* sweeps look at everything */
            size_t count = proc_kids(daemon->pid, kids);
            if (count) {
                kill(kids[tester_dice(count)], SIGKILL);
            }
        }
        if (tester_dice(40) == 0) {
            (void)count_jobs();
        }
        daemon_check(daemon);
    }
}

/* One job, from its first round to its last trace. */
static void fuzz_job(const struct kid *daemon, const struct kid *b, const char *load)
{
    struct kid a = load_start(load, node_dir);
    struct board board;
    int status;
    if (!kid_says(&a, 'r', PROGRESS_MS) || !map_youngest(daemon->pid, &board)) {
        broken("a job does not start");
    }
    unsigned words = 1u << tester_dice(8);
    fuzz_board(daemon, &board, words);
    if (tester_dice(2)) { /* its driver goes politely, if it still can */
        kid_end_input(&a);
        scribble(&board, words);
        nap_ms(tester_dice(200));
    }
    kill(a.pid, SIGKILL);
    if (!kid_wait(&a, PATIENCE_MS, &status)) {
        broken("a killed driver does not end");
    }
    kid_close(&a);
    scribble(&board, words);
    board_unmap(&board);
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS;
    while (count_jobs() > 1 ||
           proc_fds(daemon->pid, "/memfd:mobula-board", NULL, NULL) != 1) {
        if (clock_now_ns() > until) {
            broken("the job is still there");
        }
        nap_ms(5);
    }
    check_progress(b);
    daemon_check(daemon);
}

static uint64_t used_bytes(void)
{
    json_t *status = node_tells(node_dir);
    uint64_t used = status_number(status, "store_used_bytes");
    json_decref(status);
    return used;
}

int main(int argc, char **argv)
{
    static const char *const options[] = {"--num-cpus=3", "--object-store-memory=512M",
                                          "--log-level=error", NULL};
    if (argc != 3) {
        return 2;
    }
    tester_begin("board_fuzz", "jobs");
    snprintf(node_dir, sizeof node_dir, "%s/node", tester.folder);
    struct kid daemon = daemon_start(argv[2], node_dir, options);
    uint64_t baseline = used_bytes();
    struct kid b = load_start(argv[1], node_dir);
    check_progress(&b);
    for (unsigned want = tester.full ? JOBS_FULL : JOBS; tester.done < want;
         tester.done++) {
        fuzz_job(&daemon, &b, argv[1]);
    }
    int status;
    kid_end_input(&b);
    if (!kid_wait(&b, PROGRESS_MS, &status) || status != 0) {
        broken("the other job ended with %#x", (unsigned)status);
    }
    kid_close(&b);
    uint64_t until = clock_now_ns() + PATIENCE_MS * NS_PER_MS, used;
    while ((used = used_bytes()) != baseline ||
           proc_fds(daemon.pid, "/memfd:", NULL, NULL) != 0) {
        if (clock_now_ns() > until) {
            broken("%llu bytes are used, and were %llu at the start",
                   (unsigned long long)used, (unsigned long long)baseline);
        }
        nap_ms(5);
    }
    daemon_stop(&daemon, node_dir);
    tester_end();
    printf("board_fuzz: %u jobs\n", tester.done);
    return 0;
}
