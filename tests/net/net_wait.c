/* net_wait.c - who waits for another node keeps no CPU from the daemons, which have work to do meanwhile.
 *
 * All that is here may use two CPUs, and looks for a second before it sleeps (cases_work.sh): so who looks at all
 * while a task naps uses about as much CPU time as that takes, and who sleeps hardly any. Node 2 has two CPUs. */
#include "net_driver.h"

/* HARDLY_MS: of ALL_MS. Who looks gets less than it wants where others have work too. */
enum { ROUNDS = 6, NAP_MS = 50, ALL_MS = ROUNDS * NAP_MS, HARDLY_MS = ALL_MS / 10 };

static uint64_t used_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Naps, and returns the CPU time of its worker until then. */
static mob_status nap(struct mob_task *task)
{
    uint64_t ms = used_ms();
    nap_ms(NAP_MS);
    return mob_return_copy(task, 0, &ms, sizeof ms);
}
MOB_REGISTER(nap);

static mob_ref submit(const struct mob_options *o)
{
    mob_ref ref;
    MOB_CHECK(mob_submit(mob, nap, MOB_NO_ARGS, o, &ref));
    return ref;
}

static uint64_t result(mob_ref ref)
{
    uint64_t ms;
    MOB_CHECK(mob_get_copy(mob, ref, &ms, sizeof ms, 60 * 1000000000ull));
    mob_release(mob, ref);
    return ms;
}

struct used {
    uint64_t driver; /* while it waited */
    uint64_t worker; /* between its first nap and its last one */
};

/* One task at a time, after each of which the worker has nothing to do for as long. */
static struct used wait_for_each(const struct mob_options *o)
{
    struct used used = {0, 0};
    uint64_t first = result(submit(o)), last = first; /* the worker is there now */
    for (int i = 0; i < ROUNDS; i++) {
        nap_ms(NAP_MS);
        mob_ref ref = submit(o);
        uint64_t began = used_ms();
        last = result(ref);
        used.driver += used_ms() - began;
    }
    used.worker = last - first;
    return used;
}

/* Two at a time, of which the driver wants any. */
static uint64_t wait_for_any(const struct mob_options *o)
{
    uint64_t began = used_ms();
    for (int i = 0; i < ROUNDS / 2; i++) {
        mob_ref refs[] = {submit(o), submit(o)};
        unsigned char ready[2];
        MOB_CHECK(mob_wait(mob, refs, 2, 1, 60 * 1000000000ull, ready, NULL));
        (void)result(refs[0]);
        (void)result(refs[1]);
    }
    return used_ms() - began;
}

void waits(void)
{
    struct mob_options here = MOB_OPTIONS_INIT, there = elsewhere();
    here.strategy = MOB_STRATEGY_NODE;
    here.node = node_here(mob);
    struct used near = wait_for_each(&here), far = wait_for_each(&there);
    uint64_t any = wait_for_any(&there);
    near.driver += wait_for_each(&here).driver; /* what it saw of node 2 is forgotten */
    printf("waits: of %d ms the driver used %llu here, of half of it %llu there, %llu "
           "for any; the worker %llu there\n",
           2 * ALL_MS, (unsigned long long)near.driver, (unsigned long long)far.driver,
           (unsigned long long)any, (unsigned long long)far.worker);
    if (far.driver > HARDLY_MS || any > HARDLY_MS || far.worker > HARDLY_MS) {
        FAIL("who waits for another node does not sleep");
    }
    if (near.driver < 2 * HARDLY_MS) {
        FAIL("who waits for a task of its own node does not look");
    }
}
