/* What a head keeps on its disk, on a real one: it comes back, also after SIGKILL, a file that is none is
 * refused and left alone, and a disk that takes nothing costs nothing once it takes something again. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "core/status.h"
#include "journal.h"

enum { MEMBERS_MAX = 256 };

static char dir[] = "/tmp/mob-journal.XXXXXX", file[64];
static struct loop *loop;
static struct journal *journal;
static uint64_t kept_count, gone_count;
static struct {
    uint64_t node;
    char words[16];
} seen[MEMBERS_MAX],
    members[MEMBERS_MAX]; /* read from the disk; those that there should be */
static unsigned seen_count, members_count;

static void kept(void *arg, uint64_t node)
{
    (void)arg;
    (void)node;
    kept_count++;
}

static void gone(void *arg, uint64_t node)
{
    (void)arg;
    (void)node;
    gone_count++;
}

static void see(void *arg, const struct journal_member *m)
{
    (void)arg;
    cr_assert(seen_count < MEMBERS_MAX && m->size < sizeof seen->words);
    seen[seen_count].node = m->node;
    memcpy(seen[seen_count].words, m->words, m->size);
    seen[seen_count++].words[m->size] = '\0';
    cr_assert_str_eq(m->host, "host");
    cr_assert_str_eq(m->address, "10.0.0.1:5");
}

static void put(uint64_t node, const char *words, bool quiet)
{
    struct journal_member m = {node, "host", "10.0.0.1:5", words, strlen(words)};
    journal_put(journal, &m, quiet);
}

static void rewrite(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < members_count; i++) {
        put(members[i].node, members[i].words, true);
    }
}

static void ended(void *arg)
{
    (void)arg;
}

static struct journal_config config(void)
{
    struct journal_config c = {.dir = dir,
                               .loop = loop,
                               .words_version = 3,
                               .kept = kept,
                               .gone = gone,
                               .rewrite = rewrite,
                               .ended = ended};
    memset(c.key, 1, sizeof c.key);
    return c;
}

/* Until the condition holds: the thread and the disk take their time. */
#define TURN_UNTIL(condition)                                                            \
    for (uint64_t until_ = clock_now_ns() + 20 * NS_PER_S; !(condition);) {              \
        cr_assert(clock_now_ns() < until_, "%s does not come", #condition);              \
        cr_assert_eq(loop_turn(loop, NS_PER_MS), MOB_OK);                                \
    }

static uint64_t open_it(void)
{
    struct journal_config c = config();
    cr_assert_eq(loop_create(0, &loop), MOB_OK);
    c.loop = loop;
    cr_assert_eq(journal_open(&c, &journal), MOB_OK, "%s", mob_last_error());
    seen_count = 0;
    cr_assert_eq(journal_members(journal, see, NULL), MOB_OK);
    return journal_head(journal);
}

static void close_it(void)
{
    journal_stop(journal);
    TURN_UNTIL(journal_ended(journal));
    journal_close(journal, false);
    loop_destroy(loop);
}

static mob_status refused(struct journal_config c)
{
    cr_assert_eq(loop_create(0, &loop), MOB_OK);
    c.loop = loop;
    mob_status st = journal_open(&c, &journal);
    loop_destroy(loop);
    cr_assert(st == MOB_OK || strstr(mob_last_error(), file), "%s", mob_last_error());
    return st;
}

static void begin(void)
{
    cr_assert(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/%s", dir, JOURNAL_FILE);
}

static void end(void)
{
    char wal[80];
    snprintf(wal, sizeof wal, "%s-wal", file);
    unlink(wal);
    unlink(file);
    cr_assert_eq(rmdir(dir), 0, "there is something else in %s: %m", dir);
}

TestSuite(journal, .init = begin, .fini = end, .timeout = 60);

Test(journal, members_come_back)
{
    uint64_t first = open_it();
    cr_assert_eq(seen_count, 0);
    put(7, "seven", false);
    put(1ull << 39, "large", false);
    put(8, "eight", false);
    put(7, "again", false);
    journal_remove(journal, 8, false);
    TURN_UNTIL(kept_count == 4 && gone_count == 1);
    close_it();
    uint64_t second = open_it();
    cr_assert_neq(first, second);
    cr_assert(journal_related(first, second));
    cr_assert_eq(seen_count, 2);
    cr_assert_eq(seen[0].node, 7);
    cr_assert_str_eq(seen[0].words, "again");
    cr_assert_eq(seen[1].node, 1ull << 39);
    cr_assert_str_eq(seen[1].words, "large");
    close_it();
}

Test(journal, another_folder_is_another_cluster)
{
    uint64_t first = open_it();
    close_it();
    end();
    snprintf(dir, sizeof dir, "/tmp/mob-journal.XXXXXX");
    begin();
    cr_assert(!journal_related(first, open_it()));
    close_it();
}

/* What was answered is there after SIGKILL, whatever was being written then. */
Test(journal, answers_outlive_a_kill)
{
    int told[2];
    uint64_t last = 0, node;
    cr_assert_eq(pipe(told), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint64_t before = 0;
        (void)open_it();
        for (node = 1; node < MEMBERS_MAX; node++) {
            put(node, "kept", false);
            while (kept_count == before) {
                (void)loop_turn(loop, NS_PER_MS);
            }
            before = kept_count;
            if (write(told[1], &node, sizeof node) != sizeof node) {
                break;
            }
        }
        pause();
        _exit(1);
    }
    for (int i = 0; i < 40; i++) {
        cr_assert_eq(read(told[0], &last, sizeof last), (ssize_t)sizeof last);
    }
    kill(pid, SIGKILL);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    close(told[1]);
    while (read(told[0], &node, sizeof node) == (ssize_t)sizeof node) {
        last = node;
    }
    close(told[0]);
    (void)open_it();
    cr_assert(seen_count >= last, "%u of %llu are there", seen_count,
              (unsigned long long)last);
    for (unsigned i = 0; i < seen_count; i++) {
        cr_assert_eq(seen[i].node, i + 1);
    }
    close_it();
}

static void write_file(const void *bytes, size_t size)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    cr_assert(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

Test(journal, what_is_no_database_is_refused_and_left_alone)
{
    char garbage[8192], now[sizeof garbage];
    memset(garbage, 'x', sizeof garbage);
    write_file(garbage, sizeof garbage);
    cr_assert_eq(refused(config()), MOB_ERR_CORRUPT);
    cr_assert(strstr(mob_last_error(), "move it away"), "%s", mob_last_error());
    int fd = open(file, O_RDONLY);
    cr_assert_eq(read(fd, now, sizeof now), (ssize_t)sizeof now);
    close(fd);
    cr_assert_eq(memcmp(garbage, now, sizeof now), 0);
}

Test(journal, a_damaged_one_is_refused)
{
    (void)open_it();
    for (uint64_t i = 1; i <= 200; i++) {
        put(i, "words", false);
    }
    TURN_UNTIL(kept_count == 200);
    close_it();
    int fd = open(file, O_RDWR);
    char noise[2048];
    memset(noise, 0xa5, sizeof noise);
    for (off_t at = 4096; at < lseek(fd, 0, SEEK_END); at += 4096) {
        cr_assert_eq(pwrite(fd, noise, sizeof noise, at), (ssize_t)sizeof noise);
    }
    close(fd);
    cr_assert_eq(refused(config()), MOB_ERR_CORRUPT);
}

static void change(const char *sql)
{
    sqlite3 *db;
    cr_assert_eq(sqlite3_open(file, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK, "%s",
                 sqlite3_errmsg(db));
    sqlite3_close(db);
}

Test(journal, another_database_is_refused)
{
    change("CREATE TABLE cluster(number)");
    cr_assert_eq(refused(config()), MOB_ERR_CORRUPT);
}

Test(journal, other_versions_and_keys_are_refused)
{
    (void)open_it();
    close_it();
    struct journal_config c = config();
    c.words_version++;
    cr_assert_eq(refused(c), MOB_ERR_VERSION);
    c = config();
    c.key[3]++;
    cr_assert_eq(refused(c), MOB_ERR_KEY);
    change("PRAGMA user_version = 77");
    cr_assert_eq(refused(config()), MOB_ERR_VERSION);
    cr_assert(strstr(mob_last_error(), "77"), "%s", mob_last_error());
}

/* A limit of the process on the size of its files takes the place of a full disk: without it, a file system
 * of one's own would be needed, and root. */
static void limit_files(rlim_t bytes)
{
    struct rlimit r;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &r), 0);
    r.rlim_cur = bytes;
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &r), 0);
}

Test(journal, a_full_disk_costs_nothing_once_there_is_room)
{
    signal(SIGXFSZ, SIG_IGN);
    (void)open_it();
    put(1, "before", false);
    TURN_UNTIL(kept_count == 1);
    cr_assert_null(journal_trouble(journal));
    limit_files(0);
    put(2, "while", false);
    journal_remove(journal, 1, false);
    members[0].node = 2; /* as the head has it */
    snprintf(members[0].words, sizeof members[0].words, "while");
    members_count = 1;
    TURN_UNTIL(kept_count == 2 && gone_count == 1); /* nobody waits for the disk */
    cr_assert(journal_trouble(journal) && strstr(journal_trouble(journal), file));
    limit_files(RLIM_INFINITY);
    TURN_UNTIL(!journal_trouble(journal));
    cr_assert_eq(kept_count, 2); /* what is written anew is news to nobody */
    put(3, "after", false);
    TURN_UNTIL(kept_count == 3);
    close_it();
    (void)open_it();
    cr_assert_eq(seen_count, 2);
    cr_assert_str_eq(seen[0].words, "while");
    cr_assert_str_eq(seen[1].words, "after");
    close_it();
}

/* A head that cannot count its start has an incarnation of its own all the same. */
Test(journal, a_full_disk_does_not_keep_a_head_from_starting)
{
    signal(SIGXFSZ, SIG_IGN);
    uint64_t first = open_it();
    close_it();
    limit_files(0);
    uint64_t second = open_it();
    cr_assert(journal_trouble(journal));
    cr_assert(journal_related(first, second));
    close_it();
    uint64_t third = open_it();
    cr_assert(first != second && second != third && third != first);
    close_it();
    limit_files(RLIM_INFINITY);
}

Test(journal, its_size_is_bounded)
{
    enum { ROUNDS = 200, AT_ONCE = 100 };
    struct stat st;
    char wal[80];
    (void)open_it();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        for (uint64_t k = 0; k < AT_ONCE; k++) {
            put(i * AT_ONCE + k + 1, "some words", true);
            journal_remove(journal, i * AT_ONCE + k + 1, k > 0);
        }
        TURN_UNTIL(gone_count == i + 1);
    }
    snprintf(wal, sizeof wal, "%s-wal", file);
    cr_assert_eq(stat(file, &st), 0);
    cr_assert(st.st_size < 256 << 10, "%lld bytes", (long long)st.st_size);
    cr_assert_eq(stat(wal, &st), 0);
    cr_assert(st.st_size < 4 << 20, "%lld bytes in the log", (long long)st.st_size);
    close_it();
}
