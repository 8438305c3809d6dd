/* net_groups.c - groups of bundles on several nodes: net_groups CASE [WORD]; test_groups.sh says what else happens
 * meanwhile. The word is a folder where a case hears by files when it is to go on. */
#include <string.h>
#include <unistd.h>

#include "net_groups.h"

struct mob *mob;
long number = -1;

static const char *word; /* of the command line */

/* ---- tasks ------------------------------------------------------------------------------------------ */

struct said { /* a task's result */
    uint64_t node, square;
};

/* Takes a while, and says where. */
static mob_status square(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    nap_ms(10);
    struct said s = {node_here(mob_task_mob(task)), x * x};
    return mob_return_copy(task, 0, &s, sizeof s);
}
MOB_REGISTER(square);

mob_ref submit_of(struct mob *its, mob_group group, int bundle, double cpus, uint64_t x)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    o.num_cpus = cpus;
    o.group = group;
    o.bundle = bundle;
    o.max_retries = MOB_RETRIES_FOREVER;
    MOB_CHECK(mob_submit(its, square, MOB_ARGS(MOB_VALUE(x)), &o, &ref));
    return ref;
}

mob_ref submit(struct mob *its, mob_group group, int bundle, uint64_t x)
{
    return submit_of(its, group, bundle, 1, x);
}

/* The node where it ran. */
uint64_t check(struct mob *its, mob_ref ref, uint64_t x)
{
    struct said s;
    mob_status st = mob_get_copy(its, ref, &s, sizeof s, FOREVER_NS);
    if (st) {
        FAIL("the square of %llu: %s", (unsigned long long)x, mob_last_error());
    }
    if (s.square != x * x) {
        FAIL("the square of %llu is %llu", (unsigned long long)x,
             (unsigned long long)s.square);
    }
    mob_release(its, ref);
    return s.node;
}

/* ---- groups ----------------------------------------------------------------------------------------- */

struct placed make(struct mob *its, size_t count, double cpus, const char *resources,
                   enum mob_group_strategy how)
{
    struct mob_bundle b[BUNDLES_MAX];
    struct placed g = {.count = count};
    for (size_t i = 0; i < count; i++) {
        b[i] = (struct mob_bundle)MOB_BUNDLE_INIT;
        b[i].num_cpus = cpus;
        b[i].resources = resources;
    }
    MOB_CHECK(mob_group_create(its, b, count, how, &g.id));
    return g;
}

void look(struct mob *its, struct placed *g)
{
    size_t count;
    MOB_CHECK(mob_group_nodes(its, g->id, g->nodes, BUNDLES_MAX, &count));
    if (count != g->count) {
        FAIL("a group of %zu bundles has %zu", g->count, count);
    }
}

void whole(struct mob *its, struct placed *g)
{
    mob_status st = mob_group_wait(its, g->id, FOREVER_NS);
    if (st) {
        FAIL("a group is not there: %s: %s", mob_status_name(st), mob_last_error());
    }
    look(its, g);
    for (size_t i = 0; i < g->count; i++) {
        if (g->nodes[i] == 0) {
            FAIL("bundle %zu of a whole group has no node", i);
        }
    }
}

void gone(struct mob *its, mob_group id)
{
    mob_status st = mob_group_wait(its, id, 0);
    if (st != MOB_ERR_NOT_FOUND) {
        FAIL("a group that was removed: %s", mob_status_name(st));
    }
}

void print_nodes(const char *what, const struct placed *g)
{
    printf("%s:", what);
    for (size_t i = 0; i < g->count; i++) {
        printf(" %010llx", (unsigned long long)g->nodes[i]);
    }
    putchar('\n');
    fflush(stdout);
}

/* Tasks of each bundle run on its node, and those of any bundle on one of them. */
void runs_where_it_is(struct mob *its, const struct placed *g)
{
    enum { EACH = 3 };
    mob_ref of[BUNDLES_MAX][EACH], any[BUNDLES_MAX];
    for (uint64_t i = 0; i < g->count; i++) {
        for (uint64_t k = 0; k < EACH; k++) {
            of[i][k] = submit(its, g->id, (int)i, i * EACH + k);
        }
        any[i] = submit(its, g->id, MOB_BUNDLE_ANY, i);
    }
    for (uint64_t i = 0; i < g->count; i++) {
        for (uint64_t k = 0; k < EACH; k++) {
            uint64_t node = check(its, of[i][k], i * EACH + k);
            if (node != g->nodes[i]) {
                FAIL("bundle %llu is on %010llx, and a task of it ran on %010llx",
                     (unsigned long long)i, (unsigned long long)g->nodes[i],
                     (unsigned long long)node);
            }
        }
        uint64_t node = check(its, any[i], i);
        bool one = false;
        for (size_t k = 0; k < g->count; k++) {
            one = one || g->nodes[k] == node;
        }
        if (!one) {
            FAIL("a task of the group ran on %010llx, where nothing of it is",
                 (unsigned long long)node);
        }
    }
}

/* ---- each strategy places as it says: three nodes of two CPUs ---------------------------------------- */

/* On so many nodes, and at most so many of it on one. */
static void expect_spread(const char *what, const struct placed *g, size_t nodes,
                          size_t most)
{
    size_t seen = 0, top = 0;
    for (size_t i = 0; i < g->count; i++) {
        size_t same = 0, before = 0;
        for (size_t k = 0; k < g->count; k++) {
            same += g->nodes[k] == g->nodes[i];
            before += k < i && g->nodes[k] == g->nodes[i];
        }
        seen += before == 0;
        top = same > top ? same : top;
    }
    print_nodes(what, g);
    if (seen != nodes || top > most) {
        FAIL("%s: on %zu nodes with up to %zu, not on %zu with up to %zu", what, seen,
             top, nodes, most);
    }
}

/* Each right after the one before, whose nodes still take that back. */
static void strategies(void)
{
    static const struct {
        const char *name;
        enum mob_group_strategy how;
        double cpus;
        size_t count, nodes, most;
    } cases[] = {{"pack 2", MOB_GROUP_PACK, 1, 2, 1, 2},
                 {"pack 4", MOB_GROUP_PACK, 1, 4, 2, 2},
                 {"spread 3", MOB_GROUP_SPREAD, 1, 3, 3, 1},
                 {"spread 6", MOB_GROUP_SPREAD, 1, 6, 3, 2},
                 {"strict pack 2", MOB_GROUP_STRICT_PACK, 1, 2, 1, 2},
                 {"strict spread 2", MOB_GROUP_STRICT_SPREAD, 2, 2, 2, 1},
                 {"strict spread 3", MOB_GROUP_STRICT_SPREAD, 1, 3, 3, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct placed g = make(mob, cases[i].count, cases[i].cpus, NULL, cases[i].how);
        whole(mob, &g);
        expect_spread(cases[i].name, &g, cases[i].nodes, cases[i].most);
        runs_where_it_is(mob, &g);
        MOB_CHECK(mob_group_remove(mob, g.id));
        gone(mob, g.id);
    }
}

static void fails_with(mob_group id, mob_status expected, const char *why)
{
    mob_status st = mob_group_wait(mob, id, FOREVER_NS);
    if (st != expected || !strstr(mob_last_error(), why)) {
        FAIL("a group without a place: %s: %s", mob_status_name(st), mob_last_error());
    }
}

/* What no three nodes of two CPUs could hold, though six CPUs are there; one that waits for another. */
static void strict(void)
{
    struct placed packed = make(mob, 3, 1, NULL, MOB_GROUP_STRICT_PACK);
    struct placed apart = make(mob, 4, 1, NULL, MOB_GROUP_STRICT_SPREAD);
    mob_ref never = submit(mob, packed.id, MOB_BUNDLE_ANY, 1);
    struct said s;
    fails_with(packed.id, MOB_ERR_DEMAND, "no node has so much");
    fails_with(apart.id, MOB_ERR_DEMAND, "ask for a node each");
    mob_status st = mob_get_copy(mob, never, &s, sizeof s, FOREVER_NS);
    if (st != MOB_ERR_DEMAND) {
        FAIL("a task of a group without a place: %s", mob_status_name(st));
    }
    struct placed first = make(mob, 3, 1, NULL, MOB_GROUP_STRICT_SPREAD);
    whole(mob, &first);
    struct placed second = make(mob, 2, 1, NULL, MOB_GROUP_STRICT_PACK);
    st = mob_group_wait(mob, second.id, 300 * 1000000ull);
    if (st != MOB_ERR_TIMEOUT || !strstr(mob_last_error(), "have no place")) {
        FAIL("one that has to wait: %s: %s", mob_status_name(st), mob_last_error());
    }
    runs_where_it_is(mob, &first);
    MOB_CHECK(mob_group_remove(mob, first.id));
    whole(mob, &second);
    runs_where_it_is(mob, &second);
    puts("groups: those that could not be are told apart");
}

/* ---- kinds of tasks that share bundles of one CPU ------------------------------------------------- */

static mob_status nap(struct mob_task *task)
{
    nap_ms(4);
    return mob_return_copy(task, 0, NULL, 0);
}
MOB_REGISTER(nap);

/* A flow of so many tasks, eight at once, in each bundle in turn and (@any) in any of them. How long it took. */
static uint64_t flow_ms(const struct placed *g, bool any, int count)
{
    enum { AT_ONCE = 8 };
    mob_ref ref[AT_ONCE];
    struct mob_options o = MOB_OPTIONS_INIT;
    uint64_t begin = now_ms();
    o.group = g->id;
    for (int i = 0; i < count + AT_ONCE; i++) {
        mob_ref *r = &ref[i % AT_ONCE];
        size_t size;
        if (i >= AT_ONCE) {
            MOB_CHECK(mob_get_size(mob, *r, FOREVER_NS, &size));
            mob_release(mob, *r);
        }
        if (i < count) {
            int kinds = (int)g->count + any;
            o.bundle = i % kinds == (int)g->count ? MOB_BUNDLE_ANY : i % kinds;
            MOB_CHECK(mob_submit(mob, nap, MOB_NO_ARGS, &o, r));
        }
    }
    return now_ms() - begin;
}

/* Two nodes of one CPU. Tasks of any bundle beside those of each take little longer than as many of one kind: the nodes
 * decide who runs, and no lease moves. */
static void mixed(void)
{
    enum { COUNT = 300 };
    struct placed g = make(mob, 2, 1, NULL, MOB_GROUP_STRICT_SPREAD);
    whole(mob, &g);
    (void)flow_ms(&g, true, 20);
    uint64_t alone = flow_ms(&g, false, COUNT), with = flow_ms(&g, true, COUNT);
    printf("groups: %d tasks in %.2f s, and of three kinds in %.2f s\n", COUNT,
           (double)alone / 1e3, (double)with / 1e3);
    if (with >
        3 * alone) { /* 1.2 times as long, and twice where all is noisy; it was ten times */
        FAIL("kinds of tasks wait for each other");
    }
}

/* ---- what the script says ------------------------------------------------------------------------- */

bool told(const char *what)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", word, what);
    return access(path, F_OK) == 0;
}

void until_end(void)
{
    fflush(stdout);
    while (!told("end")) {
        nap_ms(20);
    }
}

/* ---- one node has too little until another one joins: a CPU each, then three CPUs and two tapes ------ */

static void joins(void)
{
    struct placed all = make(mob, 2, 1, NULL, MOB_GROUP_STRICT_SPREAD);
    whole(mob, &all);
    struct placed behind = make(mob, 1, 1, NULL, MOB_GROUP_PACK);
    struct placed tapes = make(mob, 2, 1, "tape=1", MOB_GROUP_PACK);
    mob_ref one = submit(mob, behind.id, 0, 5), two = submit(mob, tapes.id, 1, 6);
    mob_status st = mob_group_wait(mob, behind.id, 100 * 1000000ull);
    if (st != MOB_ERR_TIMEOUT) {
        FAIL("there is room where there is none: %s", mob_status_name(st));
    }
    puts("groups: waiting");
    fflush(stdout);
    whole(mob, &behind);
    whole(mob, &tapes);
    uint64_t there = behind.nodes[0];
    if (check(mob, one, 5) != there || check(mob, two, 6) != there ||
        tapes.nodes[0] != there || tapes.nodes[1] != there) {
        FAIL("not all is on the node that joined");
    }
    runs_where_it_is(mob, &all);
    runs_where_it_is(mob, &tapes);
    puts("groups: all are there");
    until_end();
}

/* ---- tasks on other nodes have groups of their own --------------------------------------------------- */

/* Makes a group, runs tasks in it, and leaves it to who asked. */
static mob_status makes(struct mob_task *task)
{
    struct mob *its = mob_task_mob(task);
    struct placed g = make(its, 3, 1, NULL, MOB_GROUP_STRICT_SPREAD);
    struct placed own = make(its, 1, 1, NULL, MOB_GROUP_PACK);
    whole(its, &g);
    runs_where_it_is(its, &g);
    whole(its, &own);
    runs_where_it_is(its, &own);
    MOB_TRY(mob_group_remove(its, own.id));
    gone(its, own.id);
    return mob_return_copy(task, 0, &g, sizeof g);
}
MOB_REGISTER(makes);

/* Uses it where it was not made. */
static mob_status uses(struct mob_task *task)
{
    struct mob *its = mob_task_mob(task);
    struct placed g, here;
    MOB_TRY(mob_arg_copy(task, 0, &g, sizeof g));
    here = g;
    whole(its, &here);
    if (memcmp(g.nodes, here.nodes, sizeof g.nodes) != 0) {
        FAIL("two nodes do not agree on where a group is");
    }
    runs_where_it_is(its, &here);
    return MOB_OK;
}
MOB_REGISTER(uses);

static mob_status removes(struct mob_task *task)
{
    struct placed g;
    MOB_TRY(mob_arg_copy(task, 0, &g, sizeof g));
    return mob_group_remove(mob_task_mob(task), g.id);
}
MOB_REGISTER(removes);

static void ask(mob_fn fn, const char *zone, struct placed *in, struct placed *ret)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    mob_ref ref;
    size_t size;
    o.labels = zone;
    o.max_retries = 0;
    MOB_CHECK(mob_submit(mob, fn, MOB_ARGS(MOB_VALUE(*in)), &o, &ref));
    mob_status st = ret ? mob_get_copy(mob, ref, ret, sizeof *ret, FOREVER_NS)
                        : mob_get_size(mob, ref, FOREVER_NS, &size);
    if (st) {
        FAIL("a task in %s: %s", zone, mob_last_error());
    }
    mob_release(mob, ref);
}

/* Three nodes of two CPUs, in zones a, b and c; this one is in a. */
static void nested(void)
{
    struct placed none = {0}, g, here;
    for (int i = 0; i < 2; i++) { /* a job has 16 classes */
        ask(makes, "zone=b", &none, &g);
        here = g;
        whole(mob, &here);
        if (memcmp(g.nodes, here.nodes, sizeof g.nodes) != 0) {
            FAIL("the driver's node does not know where a group is");
        }
        runs_where_it_is(mob, &here);
        ask(uses, "zone=c", &g, NULL);
        ask(removes, "zone=c", &g, NULL);
        gone(mob, g.id);
    }
    puts("groups: of tasks, used by others");
}

int main(int argc, char **argv)
{
    static const struct net_case cases[] = {
        {"strategies", strategies}, {"strict", strict}, {"joins", joins}, {"keep", keep},
        {"hoard", hoard},           {"nested", nested}, {"mixed", mixed}};
    word = argc > 2 ? argv[2] : "";
    return net_run(cases, sizeof cases / sizeof cases[0], "net_groups CASE [WORD]", argc,
                   argv);
}
