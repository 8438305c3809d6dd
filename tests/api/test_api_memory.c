/* Memory that nobody uses any more comes back, whatever the processes that had it are at.
 *
 * The store has room for one large object. Each case has a worker or the driver map it, or make it, lets
 * it go, and then needs the room while that process waits, works, or sleeps. */
#include "api.h"

enum { STORE = 128 << 20, LARGE = 80 << 20 };

static mob_status reads(struct mob_task *task)
{
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    char last = ((const char *)data)[size - 1];
    return mob_return_copy(task, 0, &last, sizeof last);
}
MOB_REGISTER(reads);

static mob_status makes(struct mob_task *task)
{
    void *to;
    MOB_TRY(mob_return_place(task, 0, LARGE, &to));
    memset(to, 7, LARGE);
    return MOB_OK;
}
MOB_REGISTER(makes);

struct paths {
    char began[96], gate[96];
};

/* Says that it runs, and waits at its gate. */
static mob_status blocks(struct mob_task *task)
{
    struct paths p;
    char c = 'b';
    MOB_TRY(mob_arg_copy(task, 0, &p, sizeof p));
    int fd = open(p.began, O_WRONLY | O_CLOEXEC);
    CHECK(fd >= 0 && write(fd, "b", 1) == 1);
    close(fd);
    api_gate_wait(p.gate);
    return mob_return_copy(task, 0, &c, sizeof c);
}
MOB_REGISTER(blocks);

static mob_status follows(struct mob_task *task)
{
    char c;
    MOB_TRY(mob_arg_copy(task, 0, &c, sizeof c));
    return mob_return_copy(task, 0, &c, sizeof c);
}
MOB_REGISTER(follows);

/* Waits without end, as far as it knows, for a task that it cannot run itself. */
static mob_status waits(struct mob_task *task)
{
    struct mob *mob = mob_task_mob(task);
    struct paths p;
    mob_ref blocked, ref;
    char any, c;
    unsigned char ready;
    size_t count;
    MOB_TRY(mob_arg_copy(task, 0, &p, sizeof p));
    MOB_TRY(mob_arg_copy(task, 1, &any, sizeof any));
    MOB_TRY(mob_submit(mob, blocks, MOB_ARGS(MOB_VALUE(p)), NULL, &blocked));
    MOB_TRY(mob_submit(mob, follows, MOB_ARGS(MOB_REF(blocked)), NULL, &ref));
    if (any) {
        MOB_TRY(mob_wait(mob, &ref, 1, 1, MOB_FOREVER, &ready, &count));
    }
    MOB_TRY(mob_get_copy(mob, ref, &c, sizeof c, MOB_FOREVER));
    return mob_return_copy(task, 0, &c, sizeof c);
}
MOB_REGISTER(waits);

static mob_status naps(struct mob_task *task)
{
    (void)task;
    poll(NULL, 0, 1);
    return MOB_OK;
}
MOB_REGISTER(naps);

static mob_ref put_large(struct mob *mob)
{
    mob_ref ref;
    void *to;
    OK(mob_create(mob, LARGE, 10 * SEC, &ref, &to));
    memset(to, 5, LARGE);
    OK(mob_seal(mob, ref));
    return ref;
}

/* An object that the only worker has mapped, and only the driver has any more. */
static mob_ref had_by_a_worker(struct mob *mob)
{
    char c;
    mob_ref ref, large = put_large(mob);
    OK(mob_submit(mob, reads, MOB_ARGS(MOB_REF(large)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &c, sizeof c, 20 * SEC));
    EQ(c, 5);
    mob_release(mob, ref);
    return large;
}

static void a_worker_that_waits(char any)
{
    struct mob *mob = api_init_with(1, STORE);
    struct api_gate began, gate;
    struct paths p;
    mob_ref ref, large = had_by_a_worker(mob);
    char c;
    api_gate_make(&began);
    api_gate_make(&gate);
    memcpy(p.began, began.path, sizeof p.began);
    memcpy(p.gate, gate.path, sizeof p.gate);
    OK(mob_submit(mob, waits, MOB_ARGS(MOB_VALUE(p), MOB_VALUE(any)), NULL, &ref));
    CHECK(read(began.fd, &c, 1) ==
          1); /* it waits, or is about to: its CPU serves another */
    mob_release(mob, large);
    mob_release(mob, put_large(mob));
    api_gate_open(&gate, 1);
    OK(mob_get_copy(mob, ref, &c, sizeof c, 20 * SEC));
    mob_release(mob, ref);
    mob_shutdown(mob);
}

static void a_worker_that_waits_for_a_result_lets_go(void)
{
    a_worker_that_waits(0);
}

static void a_worker_that_waits_for_any_lets_go(void)
{
    a_worker_that_waits(1);
}

/* It has the next task each time that it is done with one. */
static void a_worker_that_always_works_lets_go(void)
{
    enum { MANY = 30000 };
    struct mob *mob = api_init_with(1, STORE);
    mob_ref large = had_by_a_worker(mob);
    for (int i = 0; i < MANY; i++) {
        mob_ref ref;
        OK(mob_submit(mob, naps, MOB_NO_ARGS, NULL, &ref));
        mob_release(mob, ref);
    }
    mob_release(mob, large);
    mob_release(mob, put_large(mob));
    mob_shutdown(mob);
}

/* What it has is its own: it is woken to give that back. */
static void a_worker_that_sleeps_gives_back(void)
{
    struct mob *mob = api_init_with(1, STORE);
    for (int i = 0; i < 3; i++) {
        mob_ref ref;
        size_t size;
        OK(mob_submit(mob, makes, MOB_NO_ARGS, NULL, &ref));
        OK(mob_get_size(mob, ref, 20 * SEC, &size));
        EQ(size, LARGE);
        mob_release(mob, ref);
        mob_release(mob, put_large(mob));
    }
    mob_shutdown(mob);
}

static mob_status makes_so_much(struct mob_task *task)
{
    size_t size;
    void *to;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    MOB_TRY(mob_return_place(task, 0, size, &to));
    memset(to, 5, size);
    return MOB_OK;
}
MOB_REGISTER(makes_so_much);

static size_t some_size(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    unsigned bits = 8 + (unsigned)(*seed >> 60); /* 256 bytes to 8 MiB */
    return ((size_t)1 << bits) + (*seed >> 33) % ((size_t)1 << bits);
}

/* After objects of all sizes from the driver and two workers, with random lifetimes, there is room for one
 * of half the store: nothing is in pieces, and nobody keeps what he does not use. */
static void half_of_the_store_after_all_is_freed(void)
{
    enum { OBJECTS = 24, ROUNDS = 400 };
    setenv("MOBULA_SPILL_DIR", "none", 1);
    struct mob *mob = api_init_with(2, STORE);
    mob_ref ref[OBJECTS] = {{0}};
    uint64_t seed = 7;
    void *to;
    for (int i = 0; i < ROUNDS; i++) {
        mob_ref *at = &ref[(seed >> 40) % OBJECTS];
        size_t size = some_size(&seed);
        if (at->lo) {
            mob_release(mob, *at);
            at->lo = 0;
        }
        if (i % 3) {
            OK(mob_submit(mob, makes_so_much, MOB_ARGS(MOB_VALUE(size)), NULL, at));
        } else if (mob_create(mob, size, 0, at, &to) == MOB_OK) {
            OK(mob_seal(mob, *at));
        } else {
            at->lo = 0;
        }
    }
    for (int i = 0; i < OBJECTS; i++) {
        if (ref[i].lo) {
            mob_release(mob, ref[i]);
        }
    }
    for (int i = 0; i < 3; i++) {
        OK(mob_create(mob, STORE / 2, 20 * SEC, &ref[0], &to));
        memset(to, i, STORE / 2);
        OK(mob_seal(mob, ref[0]));
        mob_release(mob, ref[0]);
    }
    mob_shutdown(mob);
}

API_MAIN({"a_worker_that_waits_for_a_result_lets_go",
          a_worker_that_waits_for_a_result_lets_go, 60},
         {"a_worker_that_waits_for_any_lets_go", a_worker_that_waits_for_any_lets_go, 60},
         {"a_worker_that_always_works_lets_go", a_worker_that_always_works_lets_go, 60},
         {"a_worker_that_sleeps_gives_back", a_worker_that_sleeps_gives_back, 60},
         {"half_of_the_store_after_all_is_freed", half_of_the_store_after_all_is_freed,
          60});
