/* Where arguments are already decides where a task goes. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/clock.h"
#include "talk.h"
#include "store/task.h"

static void task_with(struct job *j, uint64_t arg)
{
    struct call call = {.class_options = (uint8_t)(w.big | CALL_HAS_REFS << 4),
                        .counts = call_counts(1, 1)};
    struct record *r;
    uint64_t link;
    cr_assert_eq(lane_record(&j->lane, &r), MOB_OK);
    task_begin(&j->lane, r, &call, LINK_NONE);
    cr_assert(task_add_ref(r, 0, arg));
    cr_assert_eq(task_publish(&j->lane, r, &link), MOB_OK);
}

/* Two nodes could run it. The one that pulled the argument before is asked: by chance alone, all of these
 * would be in one of a thousand runs. */
Test(hints, slots_are_leased_where_arguments_are)
{
    for (int round = 0; round < 10; round++) {
        int holder = 1 + round % 2;
        uint8_t name[TRANSPORT_OBJECT_BYTES];
        struct transport_export e;
        begin(true);
        world_up(&w, 2);
        struct job *j = world_job(&w);
        f.units = (WORLD_CPUS + 1) * CPU_UNITS;
        for (int peer = 1; peer <= 2; peer++) {
            cr_assert(say(peer, WIRE_JOIN));
            cr_assert(say(peer, WIRE_REPORT));
        }
        uint64_t arg = object(j, 1 << 20);
        world_task(&w, j, 0, 0, 1);
        world_send(&w, j, holder, 1); /* which makes the job known there */
        wire_put_name(name, &(struct wire_name){WIRE_ARGUMENT, j->number, arg, 0, 0});
        struct cluster *c = w.node.cluster;
        cr_assert_eq(c->user.export(c, &w.peers[holder].tp, name, &e), MOB_OK);
        c->user.unexport(c, &w.peers[holder].tp, &e);
        task_with(j, arg);
        job_refresh(j);
        while (w.peers[1].sent[WIRE_LEASE] + w.peers[2].sent[WIRE_LEASE] == 0) {
            world_turn(&w);
            MUST(loop_turn(w.node.loop, NS_PER_MS) == MOB_OK);
        }
        cr_assert_eq(w.peers[holder].sent[WIRE_LEASE], 1, "round %d", round);
        world_end(&w);
    }
}
