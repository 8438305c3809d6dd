/* load_hoard.c - objects that crash_load keeps, and looks at long after they were made: more than a small store has
 * room for, so that they go to disk and come back. */
#include "load.h"

static uint64_t dice(uint64_t *random, uint64_t sides)
{
    *random = load_mix64(*random);
    return *random % sides;
}

static void keep_one(struct mob *mob, uint64_t *random, struct kept *k)
{
    uint64_t in[2] = {dice(random, UINT64_MAX),
                      dice(random, 3) ? 1500000 : load_size(dice(random, UINT64_MAX))};
    void *data;
    k->size = in[1];
    k->hash = load_hash_of_fill(in[1], in[0]);
    if (dice(random, 2)) {
        load_ok(mob_submit(mob, dice(random, 2) ? blob : delegate,
                           MOB_ARGS(MOB_BYTES(in, sizeof in)), &load_patient, &k->ref),
                "blob to keep");
    } else {
        load_ok(mob_create(mob, in[1], WAIT_NS, &k->ref, &data), "create to keep");
        load_fill(data, in[1] / 8, in[0]);
        load_ok(mob_seal(mob, k->ref), "seal");
    }
}

static void look_at_kept(struct mob *mob, uint64_t *random, const struct kept *k)
{
    struct mob_view view;
    mob_ref sum;
    uint64_t y;
    if (dice(random, 2)) {
        load_ok(mob_get(mob, k->ref, WAIT_NS, &view), "get what was kept");
        load_same(view.size, k->size, "size of what was kept");
        load_same(load_hash(view.data, view.size), k->hash, "bytes of what was kept");
        mob_view_release(mob, &view);
        return;
    }
    load_ok(mob_submit(mob, fold, MOB_ARGS(MOB_REF(k->ref)), &load_patient, &sum),
            "fold");
    load_ok(mob_get_copy(mob, sum, &y, sizeof y, WAIT_NS), "get a fold of what was kept");
    load_same(y, load_mix64(k->hash), "fold of what was kept");
    mob_release(mob, sum);
}

static void drop_kept(struct mob *mob, struct kept *k)
{
    mob_release(mob, k->ref);
    k->size = 0;
}

void hoard_round(struct hoard *h, struct mob *mob, uint64_t *random)
{
    for (int i = 0; i < 6; i++) {
        struct kept *k = &h->kept[dice(random, HOARD)];
        if (!k->size) {
            keep_one(mob, random, k);
        } else {
            look_at_kept(mob, random, k);
            if (dice(random, 3) == 0) {
                drop_kept(mob, k);
            }
        }
    }
}

void hoard_drop(struct hoard *h, struct mob *mob)
{
    for (int i = 0; i < HOARD; i++) {
        if (h->kept[i].size) {
            drop_kept(mob, &h->kept[i]);
        }
    }
}
