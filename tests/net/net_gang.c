/* net_gang.c - a gang over three nodes of one CPU each, whose members talk over sockets of their own: a ring in which
 * bytes go round until a file is there; or so many times, where the nodes share no folder. The script kills something
 * meanwhile. */
#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net_driver.h"

enum { MEMBERS = 3 };

struct where {
    char host[64];
    uint16_t port;
    uint64_t token, node;
};

struct said { /* a member's result */
    uint64_t token, node, laps;
    unsigned rank;
};

static mob_status make_ring(struct mob_task *task, struct where all[MEMBERS],
                            int *ret_next, int *ret_last)
{
    struct sockaddr_in own = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    socklen_t size = sizeof own;
    unsigned rank = mob_gang_rank(task);
    struct where mine = {.token = now_ms() << 20 | (uint64_t)getpid(),
                         .node = node_here(mob_task_mob(task))};
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&own, size) < 0 ||
        listen(listener, 1) < 0 ||
        getsockname(listener, (struct sockaddr *)&own, &size) < 0) {
        return mob_fail(task, "a socket: %m");
    }
    snprintf(mine.host, sizeof mine.host, "%s", mob_gang_host(task));
    mine.port = own.sin_port;
    MOB_TRY(mob_gang_exchange(task, &mine, sizeof mine, all, MOB_FOREVER));
    const struct where *next = &all[(rank + 1) % MEMBERS];
    to.sin_port = next->port;
    *ret_next = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (inet_pton(AF_INET, next->host, &to.sin_addr) != 1 ||
        connect(*ret_next, (struct sockaddr *)&to, sizeof to) < 0 ||
        (*ret_last = accept(listener, NULL, NULL)) < 0) {
        return mob_fail(task, "rank %u does not reach %s: %m", rank, next->host);
    }
    close(listener);
    return MOB_OK;
}

static mob_status goes_round(struct mob_task *task)
{
    struct where all[MEMBERS];
    int next = -1, last = -1;
    char path[100];
    unsigned rank = mob_gang_rank(task);
    MOB_TRY(mob_arg_copy(task, 0, path, sizeof path));
    MOB_TRY(make_ring(task, all, &next, &last));
    struct said said = {all[0].token, all[rank].node, 0, rank};
    if (rank == 0) {
        printf("gang: goes round\n");
        fflush(stdout);
    }
    for (char on = 1; on; said.laps++) { /* rank 0 says when it is over */
        if (rank == 0) {
            nap_ms(1);
            on = number > 0 ? said.laps < (uint64_t)number : access(path, F_OK) != 0;
        } else if (recv(last, &on, 1, 0) != 1) {
            return mob_fail(task, "the ring broke before rank %u", rank);
        }
        if (send(next, &on, 1, MSG_NOSIGNAL) != 1 ||
            (rank == 0 && recv(last, &on, 1, 0) != 1)) {
            return mob_fail(task, "the ring broke behind rank %u", rank);
        }
    }
    close(next);
    close(last);
    return mob_return_copy(task, 0, &said, sizeof said);
}
MOB_REGISTER(goes_round);

static void submit(const char *file, mob_ref *refs)
{
    char path[100] = {0};
    snprintf(path, sizeof path, "%s", file);
    MOB_CHECK(mob_submit_gang(mob, goes_round, MOB_ARGS(MOB_BYTES(path, sizeof path)),
                              NULL, MEMBERS, refs));
}

static void check(mob_ref *refs)
{
    struct said said[MEMBERS];
    for (unsigned i = 0; i < MEMBERS; i++) {
        MOB_CHECK(mob_get_copy(mob, refs[i], &said[i], sizeof said[i], MOB_FOREVER));
        if (said[i].rank != i || said[i].token != said[0].token ||
            said[i].laps != said[0].laps) {
            FAIL("rank %u: as rank %u, %llu laps of an attempt %llx; rank 0 %llu of %llx",
                 i, said[i].rank, (unsigned long long)said[i].laps,
                 (unsigned long long)said[i].token, (unsigned long long)said[0].laps,
                 (unsigned long long)said[0].token);
        }
        for (unsigned k = 0; k < i; k++) {
            if (said[k].node == said[i].node) {
                FAIL("ranks %u and %u on one node of one CPU", k, i);
            }
        }
        mob_release(mob, refs[i]);
    }
}

/* ---- gangs among other work, and many of them ------------------------------------------------------------ */

static mob_status meets(struct mob_task *task)
{
    return mob_gang_exchange(task, NULL, 0, NULL, MOB_FOREVER);
}
MOB_REGISTER(meets);

/* COUNT of them in a row, of `number` members each. Says how long the longest took, from its submit to its results. */
void gangs(void)
{
    enum { COUNT = 50, MOST_MS = 20000 };
    mob_ref refs[MOB_GANG_MAX];
    uint64_t longest = 0, began = now_ms(), took;
    for (int i = 0; i < COUNT && now_ms() < began + MOST_MS; i++) {
        uint64_t from = now_ms();
        MOB_CHECK(mob_submit_gang(mob, meets, MOB_NO_ARGS, NULL, (size_t)number, refs));
        for (long k = 0; k < number; k++) {
            size_t bytes;
            MOB_CHECK(mob_get_size(mob, refs[k], MOB_FOREVER, &bytes));
            mob_release(mob, refs[k]);
        }
        took = now_ms() - from;
        longest = took > longest ? took : longest;
    }
    printf("gangs: the longest %llu ms\n", (unsigned long long)longest);
}

static mob_status naps(struct mob_task *task)
{
    (void)task;
    nap_ms(200);
    return MOB_OK;
}
MOB_REGISTER(naps);

/* More tasks than there are CPUs, until the file is there. */
void crowd(const char *path)
{
    enum { AT_ONCE = 40 };
    mob_ref refs[AT_ONCE];
    size_t bytes;
    for (unsigned i = 0; i < AT_ONCE; i++) {
        MOB_CHECK(mob_submit(mob, naps, MOB_NO_ARGS, NULL, &refs[i]));
    }
    puts("crowd: there");
    fflush(stdout);
    for (unsigned i = 0; access(path, F_OK) != 0; i = (i + 1) % AT_ONCE) {
        MOB_CHECK(mob_get_size(mob, refs[i], MOB_FOREVER, &bytes));
        mob_release(mob, refs[i]);
        MOB_CHECK(mob_submit(mob, naps, MOB_NO_ARGS, NULL, &refs[i]));
    }
}

/* Gangs of two classes in one group over two nodes, of which each could get one of the two slots for a member. */
void gang_inside(void)
{
    enum { GANGS = 12, MEMBERS_INSIDE = 2 };
    struct mob_bundle b[MEMBERS_INSIDE] = {MOB_BUNDLE_INIT, MOB_BUNDLE_INIT};
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref refs[GANGS][MEMBERS_INSIDE];
    MOB_CHECK(
        mob_group_create(mob, b, MEMBERS_INSIDE, MOB_GROUP_STRICT_SPREAD, &o.group));
    for (int i = 0; i < GANGS; i++) {
        o.num_cpus = i % 2 ? 1 : 0.9;
        MOB_CHECK(mob_submit_gang(mob, meets, MOB_NO_ARGS, &o, MEMBERS_INSIDE, refs[i]));
    }
    for (int i = 0; i < GANGS; i++) {
        for (int k = 0; k < MEMBERS_INSIDE; k++) {
            size_t bytes;
            mob_status st = mob_get_size(mob, refs[i][k], 20 * 1000000000ull, &bytes);
            if (st) {
                FAIL("gang %d: %s", i, mob_last_error());
            }
            mob_release(mob, refs[i][k]);
        }
    }
}

/* ---- the node that keeps it is lost, and the job is not -------------------------------------------------- */

static mob_status stays(struct mob_task *task)
{
    if (mob_gang_rank(task) == 0) {
        puts("gang: there");
        fflush(stdout);
    }
    nap_ms(60000);
    return MOB_OK;
}
MOB_REGISTER(stays);

static struct mob_options of_tape(const char *what)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    o.num_cpus = MOB_NO_CPU;
    o.resources = what;
    return o;
}

/* Submits a gang that has all that there is on another node, and waits for it. */
static mob_status keeps(struct mob_task *task)
{
    mob_ref refs[2];
    size_t bytes;
    struct mob_options o = of_tape("tape=1");
    MOB_TRY(mob_submit_gang(mob_task_mob(task), stays, MOB_NO_ARGS, &o, 2, refs));
    return mob_get_size(mob_task_mob(task), refs[0], MOB_FOREVER, &bytes);
}
MOB_REGISTER(keeps);

void gang_kept(void)
{
    mob_ref ref;
    size_t bytes;
    struct mob_options o = elsewhere(), all = of_tape("tape=2");
    o.max_retries = 0;
    MOB_CHECK(mob_submit(mob, keeps, MOB_NO_ARGS, &o, &ref));
    mob_status st = mob_get_size(mob, ref, MOB_FOREVER, &bytes);
    if (st != MOB_ERR_TASK_DIED) {
        FAIL("its node is killed: %s", mob_status_name(st));
    }
    MOB_CHECK(mob_submit(mob, naps, MOB_NO_ARGS, &all, &ref));
    MOB_CHECK(mob_get_size(mob, ref, MOB_FOREVER, &bytes));
    puts("gang: nothing is left");
}

/* Two at once, that both want all three CPUs. */
void gang(const char *file)
{
    mob_ref first[MEMBERS], second[MEMBERS];
    submit(file, first);
    submit(file, second);
    check(second);
    check(first);
    puts("gang: done");
}
