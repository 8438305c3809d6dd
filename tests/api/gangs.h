/* gangs.h - what the tests of gangs share: members that meet and say what they saw. */
#ifndef TESTS_GANGS_H
#define TESTS_GANGS_H

#include "tasks.h"

enum { ROUNDS = 5 };

struct seen { /* a member's result */
    unsigned rank, size;
    pid_t pid;
    uint64_t token; /* of its attempt: rank 0 makes it, and all hear of it */
};

/* All members of an attempt return what rank 0 drew in it. */
static mob_status share_token(struct mob_task *task, struct seen *ret)
{
    struct seen mine = {mob_gang_rank(task), mob_gang_size(task), getpid(),
                        api_now_ns() ^ (uint64_t)getpid() << 40};
    struct seen all[MOB_GANG_MAX];
    MOB_TRY(mob_gang_exchange(task, &mine, sizeof mine, all, MOB_FOREVER));
    *ret = mine;
    ret->token = all[0].token;
    for (unsigned i = 0; i < mine.size; i++) {
        CHECK(all[i].rank == i && all[i].size == mine.size);
        CHECK(i == mine.rank || all[i].pid != mine.pid);
    }
    return MOB_OK;
}

static mob_status meets(struct mob_task *task)
{
    struct seen seen;
    unsigned size = mob_gang_size(task), rank = mob_gang_rank(task);
    static unsigned char mine[MOB_EXCHANGE_MAX], all[MOB_GANG_MAX * MOB_EXCHANGE_MAX];
    EQ(mob_arg_count(task), 0);
    CHECK(strcmp(mob_gang_host(task), "127.0.0.1") == 0);
    MOB_TRY(share_token(task, &seen));
    for (unsigned round = 0; round < ROUNDS; round++) {
        memset(mine, (int)(rank * ROUNDS + round), sizeof mine);
        MOB_TRY(mob_gang_exchange(task, mine, sizeof mine, all, MOB_FOREVER));
        for (unsigned i = 0; i < size * sizeof mine; i++) {
            CHECK(all[i] == (unsigned char)(i / sizeof mine * ROUNDS + round));
        }
        MOB_TRY(mob_gang_exchange(task, NULL, 0, NULL, MOB_FOREVER));
    }
    return mob_return_copy(task, 0, &seen, sizeof seen);
}
MOB_REGISTER(meets);

/* Gets the results of a gang of those that return what they have seen: all of one attempt. */
static struct seen results(struct mob *mob, mob_ref *refs, unsigned n)
{
    struct seen first = {0}, seen;
    for (unsigned i = 0; i < n; i++) {
        OK(mob_get_copy(mob, refs[i], &seen, sizeof seen, MOB_FOREVER));
        first = i == 0 ? seen : first;
        EQ(seen.rank, i);
        EQ(seen.size, n);
        CHECK(seen.token == first.token);
        mob_release(mob, refs[i]);
    }
    return first;
}

static struct mob_options parts(double cpus, int retries)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    o.num_cpus = cpus;
    o.max_retries = retries;
    return o;
}

struct marked {
    char path[96];
};

static mob_status marks(struct mob_task *task)
{
    struct marked m;
    struct seen seen;
    MOB_TRY(mob_arg_copy(task, 0, &m, sizeof m));
    count_attempt(m.path);
    MOB_TRY(share_token(task, &seen));
    return mob_return_copy(task, 0, &seen, sizeof seen);
}
MOB_REGISTER(marks);

#endif
