/* board_fuzz.c - writes nonsense over one job's board while the daemon and another job use theirs.
 *
 *   board_fuzz LOAD MOBULAD
 *
 * Job A may fail, and its processes may crash or stand still: it is ended after a moment. The daemon
 * must answer all the time, job B go on with right results, and nothing of A stay behind.
 * MOB_TEST_FULL=1: 200 jobs instead of 12. MOB_TEST_SEED: as printed. */
#include <stdarg.h>
#include <sys/mman.h>

#include "procs.h"

enum { JOBS = 12, JOBS_FULL = 200, PROGRESS_MS = 60000, GONE_MS = 20000 };

static char folder[] = "/tmp/mob-fuzz-XXXXXX";
static char node_dir[64];
static uint64_t seed, random_state;
static unsigned jobs_done;

static uint64_t dice(uint64_t sides)
{
    random_state += 0x9e3779b97f4a7c15ull;
    uint64_t x = random_state;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % sides;
}

static void __attribute__((noreturn, format(printf, 1, 2)))
broken(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    fprintf(stderr, "board_fuzz: seed %llu, job %u: ", (unsigned long long)seed,
            jobs_done);
    vfprintf(stderr, format, ap);
    fprintf(stderr, "\n");
    va_end(ap);
    exit(1);
}

static void check_daemon(const struct kid *d)
{
    int status;
    if (waitpid(d->pid, &status, WNOHANG) != 0) {
        broken("the daemon ended: status %#x", (unsigned)status);
    }
}

static bool await_round(const struct kid *k, uint64_t limit_ms)
{
    uint64_t until = clock_now_ns() + limit_ms * NS_PER_MS;
    char got;
    while (clock_now_ns() < until) {
        if (read(k->out, &got, 1) == 1) {
            return true;
        }
        nap_ms(1);
    }
    return false;
}

static void check_progress(const struct kid *b)
{
    char buf[256];
    int status;
    while (read(b->out, buf, sizeof buf) > 0) {
    }
    if (!await_round(b, PROGRESS_MS) || waitpid(b->pid, &status, WNOHANG) != 0) {
        broken("the other job does not go on");
    }
}

static struct kid start_driver(const char *load)
{
    char number[32];
    snprintf(number, sizeof number, "%llu", (unsigned long long)dice(1u << 30));
    char *argv[] = {(char *)load, number, folder, node_dir, NULL};
    return kid_start(argv);
}

/* The board of the youngest job. */
static bool map_youngest(pid_t daemon, struct board *ret)
{
    char path[320], link[256];
    uint32_t youngest = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)daemon);
    DIR *dir = opendir(path);
    struct dirent *e;
    while (dir && (e = readdir(dir))) {
        struct board b;
        snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)daemon, e->d_name);
        ssize_t n = readlink(path, link, sizeof link - 1);
        if (n < 0 || strncmp(link, "/memfd:mobula-board", 19) != 0) {
            continue;
        }
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (board_map(fd, &b) == MOB_OK) {
            uint32_t job = at_load(&b.header->job, AT_RELAXED);
            if (job > youngest) {
                if (youngest) {
                    board_unmap(ret);
                }
                *ret = b;
                youngest = job;
            } else {
                board_unmap(&b);
            }
        }
        close(fd);
    }
    if (dir) {
        closedir(dir);
    }
    return youngest > 0;
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
    size_t i = dice(sizeof parts / sizeof parts[0]);
    return (at_u64 *)parts[i].at + dice(parts[i].bytes / 8);
}

static void scribble(const struct board *b, unsigned words)
{
    for (unsigned i = 0; i < words; i++) {
        at_u64 *word = some_word(b);
        uint64_t was = at_load(word, AT_RELAXED), now;
        switch (dice(6)) {
        case 0:
            now = was ^ 1ull << dice(64);
            break;
        case 1:
            now = dice(UINT64_MAX);
            break;
        case 2:
            now = dice(2) ? 0 : UINT64_MAX;
            break;
        case 3:
            now = (was & ~0xffull) | dice(256);
            break;
        case 4:
            now = was + (dice(2) ? 1 : -1ull);
            break;
        default:
            now = at_load(some_word(b), AT_RELAXED);
        }
        at_store(word, now, AT_RELAXED);
    }
}

static size_t count_jobs(void)
{
    json_t *status = node_status(node_dir);
    if (!status) {
        broken("the daemon does not answer");
    }
    size_t jobs = json_array_size(json_object_get(status, "jobs"));
    json_decref(status);
    return jobs;
}

/* One job, from its first round to its last trace. */
static void fuzz_job(const struct kid *daemon, const struct kid *b, const char *load)
{
    struct kid a = start_driver(load);
    struct board board;
    int status;
    pid_t kids[KIDS_MAX];
    if (!await_round(&a, PROGRESS_MS) || !map_youngest(daemon->pid, &board)) {
        broken("a job does not start");
    }
    unsigned words = (unsigned)(1u << dice(8)), bursts = 50 + (unsigned)dice(150);
    for (unsigned i = 0; i < bursts; i++) {
        scribble(&board, words);
        nap_ms(1);
        if (dice(40) == 0) { /* sweeps look at everything */
            size_t count = proc_kids(daemon->pid, kids);
            if (count) {
                kill(kids[dice(count)], SIGKILL);
            }
        }
        if (dice(40) == 0) {
            (void)count_jobs();
        }
        check_daemon(daemon);
    }
    if (dice(2)) { /* its driver goes politely, if it still can */
        close(a.in);
        a.in = -1;
        scribble(&board, words);
        nap_ms(dice(200));
    }
    kill(a.pid, SIGKILL);
    if (!kid_wait(&a, GONE_MS, &status)) {
        broken("a killed driver does not end");
    }
    kid_close(&a);
    scribble(&board, words);
    board_unmap(&board);
    uint64_t until = clock_now_ns() + GONE_MS * NS_PER_MS;
    while (count_jobs() > 1 || proc_fds(daemon->pid, "/memfd:mobula-board", NULL) != 1) {
        if (clock_now_ns() > until) {
            broken("the job is still there");
        }
        nap_ms(5);
    }
    check_progress(b);
    check_daemon(daemon);
}

static void remove_folder(void)
{
    remove_tree(folder);
}

int main(int argc, char **argv)
{
    const char *full = getenv("MOB_TEST_FULL"), *given = getenv("MOB_TEST_SEED");
    if (argc != 3 || !mkdtemp(folder)) {
        return 2;
    }
    seed = given ? strtoull(given, NULL, 0) : clock_now_ns() % 1000000;
    random_state = seed;
    atexit(remove_folder);
    setenv("XDG_RUNTIME_DIR", folder, 1);
    unsetenv("MOBULA_ADDRESS");
    signal(SIGPIPE, SIG_IGN);
    printf("board_fuzz: seed %llu\n", (unsigned long long)seed);
    fflush(stdout);
    char arg[96];
    snprintf(node_dir, sizeof node_dir, "%s/node", folder);
    snprintf(arg, sizeof arg, "--node-dir=%s", node_dir);
    char *daemon_argv[] = {argv[2],
                           arg,
                           (char *)"--num-cpus=3",
                           (char *)"--object-store-memory=512M",
                           (char *)"--log-level=error",
                           NULL};
    struct kid daemon = kid_start(daemon_argv);
    json_t *root;
    while (!(root = node_status(node_dir))) {
        check_daemon(&daemon);
        nap_ms(5);
    }
    uint64_t baseline = status_number(root, "store_used_bytes");
    json_decref(root);
    struct kid b = start_driver(argv[1]);
    check_progress(&b);
    for (unsigned want = full && strcmp(full, "1") == 0 ? JOBS_FULL : JOBS;
         jobs_done < want; jobs_done++) {
        fuzz_job(&daemon, &b, argv[1]);
    }
    int status;
    close(b.in);
    b.in = -1;
    if (!kid_wait(&b, PROGRESS_MS, &status) || status != 0) {
        broken("the other job ended with %#x", (unsigned)status);
    }
    uint64_t until = clock_now_ns() + GONE_MS * NS_PER_MS, used;
    do {
        root = node_status(node_dir);
        used = status_number(root, "store_used_bytes");
        json_decref(root);
        nap_ms(5);
    } while (used != baseline && clock_now_ns() < until);
    if (used != baseline || proc_fds(daemon.pid, "/memfd:", NULL) != 0) {
        broken("%llu bytes are used, and were %llu at the start",
               (unsigned long long)used, (unsigned long long)baseline);
    }
    kill(daemon.pid, SIGTERM);
    if (!kid_wait(&daemon, GONE_MS, &status) || status != 0) {
        broken("the daemon ended with %#x", (unsigned)status);
    }
    printf("board_fuzz: %u jobs\n", jobs_done);
    return 0;
}
