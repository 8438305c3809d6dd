/* net_regroup.c - groups over three nodes, made and removed again and again in one job: each of them is of kinds of
 * tasks that no other is of, and a job has 16 places for those on each node. */
#include <string.h>

#include "net_driver.h"

enum { BUNDLES = 3, LIMIT_S = 60 };

static mob_group make(void)
{
    struct mob_bundle b[BUNDLES];
    mob_group g;
    for (int i = 0; i < BUNDLES; i++) {
        b[i] = (struct mob_bundle)MOB_BUNDLE_INIT;
    }
    MOB_CHECK(mob_group_create(mob, b, BUNDLES, MOB_GROUP_STRICT_SPREAD, &g));
    return g;
}

/* A task in each bundle. */
static void submit(mob_group g, unsigned ms, mob_ref ref[BUNDLES])
{
    struct mob_options o = MOB_OPTIONS_INIT;
    o.group = g;
    for (int i = 0; i < BUNDLES; i++) {
        o.bundle = i;
        MOB_CHECK(mob_submit_name(mob, "where", MOB_ARGS(MOB_VALUE(ms)), &o, &ref[i]));
    }
}

static void each_ran_in_its_bundle(mob_group g, const mob_ref ref[BUNDLES], int round)
{
    uint64_t node[BUNDLES], id;
    size_t count;
    MOB_CHECK(mob_group_wait(mob, g, LIMIT_S * 1000000000ull));
    MOB_CHECK(mob_group_nodes(mob, g, node, BUNDLES, &count));
    for (int i = 0; i < BUNDLES; i++) {
        mob_status st =
            mob_get_copy(mob, ref[i], &id, sizeof id, LIMIT_S * 1000000000ull);
        if (st || id != node[i]) {
            FAIL("round %d: bundle %d: %s, on %010llx and not %010llx", round, i,
                 st ? mob_last_error() : "it ran", (unsigned long long)id,
                 (unsigned long long)node[i]);
        }
    }
}

void regroup(void)
{
    for (int round = 0; round < number; round++) {
        mob_ref ref[BUNDLES], late[BUNDLES];
        mob_group g = make();
        submit(g, 0, ref);
        each_ran_in_its_bundle(g, ref, round);
        if (round % 10 == 0) { /* with tasks in it */
            uint64_t id;
            submit(g, 60000, late);
            MOB_CHECK(mob_group_remove(mob, g));
            for (int i = 0; i < BUNDLES; i++) {
                mob_status st =
                    mob_get_copy(mob, late[i], &id, sizeof id, LIMIT_S * 1000000000ull);
                if (st != MOB_ERR_CANCELLED) {
                    FAIL("round %d: a task of a removed group: %s", round,
                         mob_status_text(st));
                }
                mob_release(mob, late[i]);
            }
        } else {
            MOB_CHECK(mob_group_remove(mob, g));
        }
        for (int i = 0; i < BUNDLES; i++) {
            mob_release(mob, ref[i]);
        }
    }
    printf("%ld groups, one after the other\n", number);
}
