/* net_groups_keep.c - groups in which tasks go on while the script kills something. */
#include <string.h>

#include "net_groups.h"

enum { FLOW = 8 };

/* FLOW tasks of a group at once, in each of its bundles and in any. */
struct flow {
    struct placed g;
    mob_ref ref[FLOW];
    uint64_t begun, done;
};

static void flow_more(struct flow *f)
{
    int bundle = (int)(f->begun % (f->g.count + 1)) - 1;
    f->ref[f->begun % FLOW] = submit(mob, f->g.id, bundle, f->begun);
    f->begun++;
}

/* The oldest one. False: not yet. */
static bool flow_one(struct flow *f)
{
    size_t size;
    mob_ref ref = f->ref[f->done % FLOW];
    mob_status st = mob_get_size(mob, ref, 200 * 1000000ull, &size);
    if (st == MOB_ERR_TIMEOUT) {
        return false;
    }
    (void)check(mob, ref, f->done);
    f->done++;
    return true;
}

/* Says where its bundles are when that has changed. */
static void flow_look(struct flow *f)
{
    struct placed was = f->g;
    look(mob, &f->g);
    if (memcmp(was.nodes, f->g.nodes, sizeof was.nodes) != 0) {
        print_nodes("on", &f->g);
    }
}

/* A group of two bundles, with a disk each, and tasks in it until the script says stop. If it says more, another group
 * is made; if it says wait, it is over when that is whole. */
void keep(void)
{
    struct flow f = {.g = make(mob, 2, 1, "disk=1", MOB_GROUP_STRICT_SPREAD)};
    struct placed more = {0};
    bool has_more = false, more_whole = false;
    whole(mob, &f.g);
    print_nodes("on", &f.g);
    while (f.begun < FLOW) {
        flow_more(&f);
    }
    while (!told("stop")) {
        if (flow_one(&f)) {
            flow_more(&f);
            if (f.done % 20 == 0) {
                printf("tasks: %llu\n", (unsigned long long)f.done);
                fflush(stdout);
            }
        }
        flow_look(&f);
        if (told("more") && !has_more) {
            more = make(mob, 1, 1, "disk=1", MOB_GROUP_PACK);
            has_more = true;
            puts("more: made");
            fflush(stdout);
        }
        if (has_more && !more_whole && mob_group_wait(mob, more.id, 0) == MOB_OK) {
            more_whole = true;
            puts("more: whole");
            fflush(stdout);
        }
    }
    whole(mob, &f.g);
    while (f.done < f.begun) {
        (void)flow_one(&f);
    }
    print_nodes("at last on", &f.g);
    runs_where_it_is(mob, &f.g);
    if (has_more) {
        whole(mob, &more);
        runs_where_it_is(mob, &more);
        MOB_CHECK(mob_group_remove(mob, more.id));
    }
    MOB_CHECK(mob_group_remove(mob, f.g.id));
    gone(mob, f.g.id);
    puts("groups: removed");
    until_end();
}

/* Until it is killed: groups that have all disks, one that waits for them, and tasks in all of them. */
void hoard(void)
{
    struct placed g[] = {make(mob, 3, 1, "disk=1", MOB_GROUP_STRICT_SPREAD),
                         make(mob, 2, 0.5, "disk=0.5", MOB_GROUP_PACK),
                         make(mob, 2, 0.5, "disk=0.5", MOB_GROUP_SPREAD),
                         make(mob, 6, 1, "disk=1", MOB_GROUP_SPREAD)};
    for (int i = 0; i < 3; i++) {
        whole(mob, &g[i]);
        print_nodes("hoard", &g[i]);
    }
    for (uint64_t k = 0;; k++) {
        mob_ref ref[3];
        (void)submit(mob, g[3].id, MOB_BUNDLE_ANY, k);
        for (int i = 0; i < 3; i++) {
            ref[i] = submit_of(mob, g[i].id, MOB_BUNDLE_ANY, i ? 0.5 : 1, k);
        }
        for (int i = 0; i < 3; i++) {
            (void)check(mob, ref[i], k);
        }
        if (k == 5) {
            puts("groups: hoarded");
            fflush(stdout);
        }
    }
}
