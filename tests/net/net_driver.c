/* net_driver.c - a program whose tasks run on several nodes: net_driver CASE [NUMBER].
 *
 * Each case says what it saw on a line and exits 1 if that is not what must be. Only what a user of
 * the library has is used here. */
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "net_driver.h"

enum { NODES_SEEN_MAX = 8 };

struct mob *mob;
long number;

#ifdef NET_LIBRARY
extern int net_library(void); /* in a shared library that is not on every node */
#endif

/* How many different nodes are among @count ids. */
static int nodes_among(const uint64_t *id, int count)
{
    uint64_t seen[NODES_SEEN_MAX];
    int n = 0;
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < n && seen[k] != id[i]) {
            k++;
        }
        if (k == n && n < NODES_SEEN_MAX) {
            seen[n++] = id[i];
        }
    }
    return n;
}

/* ---- tasks ------------------------------------------------------------------------------------------ */

static mob_status square(struct mob_task *task)
{
    double x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x *= x;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(square);

/* Takes its time, and returns where it ran. */
static mob_status where(struct mob_task *task)
{
    unsigned ms;
    MOB_TRY(mob_arg_copy(task, 0, &ms, sizeof ms));
    nap_ms(ms);
    uint64_t id = node_here(mob_task_mob(task));
    printf("ran on %010llx\n", (unsigned long long)id);
    return mob_return_copy(task, 0, &id, sizeof id);
}
MOB_REGISTER(where);

struct span {
    uint64_t node, began, ended; /* nodes of this test share a clock */
};

/* Takes its time, and says where and when. */
static mob_status spans(struct mob_task *task)
{
    unsigned ms;
    struct span s = {.node = node_here(mob_task_mob(task)), .began = now_ms()};
    MOB_TRY(mob_arg_copy(task, 0, &ms, sizeof ms));
    nap_ms(ms);
    s.ended = now_ms();
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(spans);

static mob_status plus_one(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x++;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(plus_one);

static mob_status tree(struct mob_task *task)
{
    unsigned depth;
    uint64_t sum = 1;
    MOB_TRY(mob_arg_copy(task, 0, &depth, sizeof depth));
    struct mob *its = mob_task_mob(task);
    if (depth) {
        mob_ref child[2];
        unsigned less = depth - 1;
        for (int i = 0; i < 2; i++) {
            MOB_TRY(mob_submit(its, tree, MOB_ARGS(MOB_VALUE(less)), NULL, &child[i]));
        }
        for (int i = 0; i < 2; i++) {
            uint64_t x;
            MOB_TRY(mob_get_copy(its, child[i], &x, sizeof x, MOB_FOREVER));
            sum += x;
        }
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(tree);

/* Its result is what another task makes, which it does not wait for. */
static mob_status hands_on(struct mob_task *task)
{
    uint64_t x;
    mob_ref ref;
    nap_ms(20);
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    MOB_TRY(mob_submit(mob_task_mob(task), plus_one, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(hands_on);

static mob_status refuses(struct mob_task *task)
{
    nap_ms(50);
    return mob_fail(task, "no such luck");
}
MOB_REGISTER(refuses);

static mob_status crashes(struct mob_task *task)
{
    (void)task;
    for (int i = 0; i < 100; i++) {
        fprintf(stderr, "line %d of what went wrong\n", i);
    }
    abort();
}
MOB_REGISTER(crashes);

/* ---- cases -------------------------------------------------------------------------------------------- */

static void squares(void)
{
    enum { N = 200 };
    mob_ref ref[N];
    for (int i = 0; i < N; i++) {
        MOB_CHECK(mob_submit(mob, square, MOB_ARGS(MOB_VALUE((double)i)), NULL, &ref[i]));
    }
    for (int i = 0; i < N; i++) {
        double y;
        MOB_CHECK(mob_get_copy(mob, ref[i], &y, sizeof y, MOB_FOREVER));
        if (y != (double)i * i) {
            FAIL("the square of %d is %g", i, y);
        }
        mob_release(mob, ref[i]);
    }
    printf("%d squares\n", N);
}

/* Tasks of @ms each; returns the number of nodes on which they ran. */
static int spread(int count, unsigned ms, uint64_t *ret_ms)
{
    mob_ref ref[256];
    uint64_t id[256], began = now_ms();
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[i]));
    }
    for (int i = 0; i < count; i++) {
        MOB_CHECK(mob_get_copy(mob, ref[i], &id[i], sizeof id[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
    }
    *ret_ms = now_ms() - began;
    return nodes_among(id, count);
}

/* Four tasks of 400 ms on two nodes of one CPU each, once workers run on both: the nodes work at the
 * same time. */
static void balance(void)
{
    enum { TASKS = 4 };
    unsigned ms = 400;
    uint64_t node[TASKS], began = UINT64_MAX, ended = 0, unused;
    struct span span[TASKS];
    mob_ref ref[TASKS];
    bool overlap = false;
    while (spread(8, 20, &unused) < 2) {
    }
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(mob_submit(mob, spans, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[i]));
    }
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(mob_get_copy(mob, ref[i], &span[i], sizeof span[i], MOB_FOREVER));
        mob_release(mob, ref[i]);
        node[i] = span[i].node;
        began = span[i].began < began ? span[i].began : began;
        ended = span[i].ended > ended ? span[i].ended : ended;
        for (int k = 0; k < i; k++) {
            overlap = overlap || (node[i] != node[k] && span[i].began < span[k].ended &&
                                  span[k].began < span[i].ended);
        }
    }
    printf("%d tasks of %u ms: %llu ms on %d nodes\n", TASKS, ms,
           (unsigned long long)(ended - began), nodes_among(node, TASKS));
    if (!overlap) {
        FAIL("the nodes did not work at the same time");
    }
}

/* Runs on as many nodes as the number says. */
static void all_nodes(void)
{
    uint64_t ms;
    int nodes = spread(40, 50, &ms);
    printf("40 tasks of 50 ms: %llu ms on %d nodes\n", (unsigned long long)ms, nodes);
    if (nodes != number) {
        FAIL("%ld nodes were expected", number);
    }
}

/* Runs on this node alone: no worker of it starts on the others. */
static void only_here(void)
{
    uint64_t ms;
    int nodes = spread(40, 50, &ms);
    printf("40 tasks of 50 ms: %llu ms on %d nodes\n", (unsigned long long)ms, nodes);
    if (nodes != 1) {
        FAIL("this program cannot run on another node");
    }
}

/* Each task needs the one before. */
static void chain(void)
{
    long count = number < 0 ? 1000 : number;
    uint64_t x = 0, ms;
    mob_ref ref, next;
    /* Four chains at once, so that both nodes have work. */
    mob_ref side[3];
    for (int c = 0; c < 3; c++) {
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_VALUE(x)), NULL, &side[c]));
    }
    MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    ms = now_ms();
    for (long i = 1; i < count; i++) {
        for (int c = 0; c < 3; c++) {
            MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(side[c])), NULL, &next));
            mob_release(mob, side[c]);
            side[c] = next;
        }
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(ref)), NULL, &next));
        mob_release(mob, ref);
        ref = next;
    }
    for (int c = 0; c < 3; c++) {
        MOB_CHECK(mob_get_copy(mob, side[c], &x, sizeof x, MOB_FOREVER));
        if (x != (uint64_t)count) {
            FAIL("a chain of %ld tasks counted to %llu", count, (unsigned long long)x);
        }
    }
    MOB_CHECK(mob_get_copy(mob, ref, &x, sizeof x, MOB_FOREVER));
    printf("chain: %llu in %llu ms\n", (unsigned long long)x,
           (unsigned long long)(now_ms() - ms));
    if (x != (uint64_t)count) {
        FAIL("a chain of %ld tasks counted to %llu", count, (unsigned long long)x);
    }
}

static void nested(void)
{
    mob_ref ref[8];
    for (unsigned i = 0; i < 8; i++) {
        unsigned depth = 5;
        MOB_CHECK(mob_submit(mob, tree, MOB_ARGS(MOB_VALUE(depth)), NULL, &ref[i]));
    }
    for (unsigned i = 0; i < 8; i++) {
        uint64_t sum;
        MOB_CHECK(mob_get_copy(mob, ref[i], &sum, sizeof sum, MOB_FOREVER));
        if (sum != 63) {
            FAIL("a tree of 63 tasks counted %llu", (unsigned long long)sum);
        }
    }
    for (uint64_t i = 0; i < 8; i++) {
        MOB_CHECK(mob_submit(mob, hands_on, MOB_ARGS(MOB_VALUE(i)), NULL, &ref[i]));
    }
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t x;
        MOB_CHECK(mob_get_copy(mob, ref[i], &x, sizeof x, MOB_FOREVER));
        if (x != i + 1) {
            FAIL("a result that another task made is %llu", (unsigned long long)x);
        }
    }
    puts("8 trees of tasks in tasks");
}

static void errors(void)
{
    mob_ref ref[6], after[6];
    char text[4096];
    for (int i = 0; i < 6; i++) {
        MOB_CHECK(mob_submit(mob, refuses, MOB_ARGS(), NULL, &ref[i]));
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(ref[i])), NULL, &after[i]));
    }
    for (int i = 0; i < 6; i++) {
        uint64_t x;
        if (mob_get_copy(mob, after[i], &x, sizeof x, MOB_FOREVER) !=
                MOB_ERR_ARG_FAILED ||
            mob_failure(mob, ref[i], text, sizeof text) != MOB_OK ||
            !strstr(text, "no such luck")) {
            FAIL("a failure is not told: %s", mob_last_error());
        }
    }
    puts("6 failures told");
    /* A death, wherever it was: with all of its last lines, and shorter for what fails for it. */
    struct mob_options once = MOB_OPTIONS_INIT;
    once.max_retries = 0;
    for (int i = 0; i < 6; i++) {
        MOB_CHECK(mob_submit(mob, crashes, MOB_ARGS(), &once, &ref[i]));
        MOB_CHECK(mob_submit(mob, plus_one, MOB_ARGS(MOB_REF(ref[i])), NULL, &after[i]));
    }
    for (int i = 0; i < 6; i++) {
        uint64_t x;
        if (mob_get_copy(mob, after[i], &x, sizeof x, MOB_FOREVER) !=
                MOB_ERR_ARG_FAILED ||
            !strstr(mob_last_error(), "line 99 of") ||
            mob_failure(mob, ref[i], text, sizeof text) != MOB_OK ||
            !strstr(text, "signal 6") || !strstr(text, "\nline 20 of") ||
            !strstr(text, "\nline 99 of")) {
            FAIL("a death is not told: %s", mob_last_error());
        }
    }
    puts("6 deaths told");
}

/* Tasks that ask for more CPUs than any node has: with a number, one joins in time. */
static void unmet(void)
{
    enum { N = 5000 }; /* more than the daemon fails at once */
    struct mob_options two = MOB_OPTIONS_INIT;
    static mob_ref ref[N];
    unsigned ms = 1;
    int n = number < 0 ? N : 3;
    two.num_cpus = 2;
    for (int i = 0; i < n; i++) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), &two, &ref[i]));
    }
    for (int i = 0; i < n; i++) {
        uint64_t id;
        mob_status st = mob_get_copy(mob, ref[i], &id, sizeof id, 60 * 1000000000ull);
        if (number < 0 &&
            (st != MOB_ERR_DEMAND ||
             !strstr(mob_last_error(), "task where: it asks for 2 CPUs, and "
                                       "the largest of 1 node,"))) {
            FAIL("%s: %s", mob_status_name(st), mob_last_error());
        }
        if (number >= 0 && st) {
            FAIL("a larger node has joined, and still: %s", mob_last_error());
        }
    }
    mob_ref
        later; /* what comes after it fails too, and is not told of again; others run */
    uint64_t id;
    if (number < 0) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), &two, &later));
        if (mob_get_copy(mob, later, &id, sizeof id, MOB_FOREVER) != MOB_ERR_DEMAND) {
            FAIL("a later one: %s", mob_last_error());
        }
    }
    MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &later));
    MOB_CHECK(mob_get_copy(mob, later, &id, sizeof id, MOB_FOREVER));
    printf("%d of %d as expected\n", n, n);
}

/* Keeps all nodes busy until it ends: the script kills something meanwhile. The number: ms. */
static void steady(void)
{
    enum { WINDOW = 24 };
    mob_ref ref[WINDOW];
    unsigned ms = 30, done = 0;
    uint64_t until = now_ms() + (uint64_t)(number < 0 ? 4000 : number),
             ids[NODES_SEEN_MAX] = {0};
    int seen = 0;
    for (int i = 0; i < WINDOW; i++) {
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[i]));
    }
    puts("steady: begun");
    fflush(stdout);
    for (unsigned i = 0; now_ms() < until || done < i; i++) {
        int w = (int)(i % WINDOW), k = 0;
        uint64_t id;
        if (done == i && now_ms() >= until + 20000) {
            FAIL("tasks do not end");
        }
        MOB_CHECK(mob_get_copy(mob, ref[w], &id, sizeof id, MOB_FOREVER));
        while (k < seen && ids[k] != id) {
            k++;
        }
        if (k == seen && seen < NODES_SEEN_MAX) {
            ids[seen++] = id;
            if (seen == 2) {
                puts("steady: on both");
                fflush(stdout);
            }
        }
        mob_release(mob, ref[w]);
        done++;
        if (now_ms() >= until) {
            break;
        }
        MOB_CHECK(mob_submit(mob, where, MOB_ARGS(MOB_VALUE(ms)), NULL, &ref[w]));
    }
    printf("steady: %u tasks on %d nodes\n", done, seen);
}

static void lines(void)
{
    uint64_t ms;
    (void)spread(20, 20, &ms);
    puts("lines: done");
}

static void info(void)
{
    struct mob_info i = {.struct_size = sizeof i};
    MOB_CHECK(mob_get_info(mob, &i));
    printf("%u nodes\n", i.nodes);
    if (i.nodes != (uint32_t)number) {
        FAIL("%ld nodes were expected", number);
    }
}

static const char *file; /* of the command line */

static char **rest;

static void load_here(void)
{
    load(rest);
}

static void below_here(void)
{
    below(file);
}

static void saturate_here(void)
{
    saturate(file);
}

static void unwanted_here(void)
{
    unwanted(file);
}
static void gang_here(void)
{
    gang(file);
}

static void crowd_here(void)
{
    crowd(file);
}

static void cancels_here(void)
{
    cancels(file);
}

int main(int argc, char **argv)
{
    static const struct net_case cases[] = {{"squares", squares},
                                            {"place", place},
                                            {"regroup", regroup},
                                            {"balance", balance},
                                            {"all_nodes", all_nodes},
                                            {"big", big},
                                            {"objects", objects},
                                            {"chain", chain},
                                            {"nested", nested},
                                            {"errors", errors},
                                            {"steady", steady},
                                            {"lines", lines},
                                            {"info", info},
                                            {"endure", endure},
                                            {"only_here", only_here},
                                            {"room", room},
                                            {"relay", relay},
                                            {"unmet", unmet},
                                            {"below", below_here},
                                            {"saturate", saturate_here},
                                            {"broadcast", broadcast},
                                            {"share", share},
                                            {"urgent", urgent},
                                            {"unwanted", unwanted_here},
                                            {"cancels", cancels_here},
                                            {"gang", gang_here},
                                            {"gangs", gangs},
                                            {"gang_kept", gang_kept},
                                            {"gang_inside", gang_inside},
                                            {"crowd", crowd_here},
                                            {"reduce", reduce},
                                            {"fold", fold},
                                            {"fold_speed", fold_speed},
                                            {"trips", trips},
                                            {"lineage", lineage},
                                            {"steps", steps},
                                            {"handed", handed},
                                            {"used", used},
                                            {"held", held},
                                            {"load", load_here},
                                            {"waits", waits},
                                            {"flood", flood}};
    rest = argv + (argc > 2 ? 2 : argc);
    file = argc > 2 ? argv[2] : "";
    number = argc > 2 ? atol(argv[2]) : -1;
    /* only_here FILE: a worker that runs where this file is not crashes before mob_init(). */
    if (mob_is_worker() && argc > 2 && strcmp(argv[1], "only_here") == 0 &&
        access(argv[2], F_OK) != 0) {
        __builtin_trap();
    }
#ifdef NET_LIBRARY
    number += net_library();
#endif
    return net_run(cases, sizeof cases / sizeof cases[0], "net_driver CASE [NUMBER]",
                   argc, argv);
}
