/* How a process lets go of segments that the daemon took back, and what its threads keep at hand of its own
 * (runtime/client/memory.c).
 *
 * What another thread does in between is run in the middle of the call: where it takes the lock. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "client.h"
#include "core/seg.h"
#include "core/status.h"

enum { SELF = 1, SIZE = 4096 };

static struct mob mob;
static void (*before_lock)(void); /* once */
static unsigned locks;            /* that were taken of the memory */

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
    void (*run)(void) = before_lock;
    locks += lock == &mob.memory_lock;
    if (run && lock == &mob.memory_lock) {
        before_lock = NULL;
        run();
    }
    return __real_pthread_mutex_lock(lock);
}

/* ---- what memory.c has of the rest of the client: nothing here comes to it ----------------------------- */

mob_status client_ask(struct mob *m, struct local_msg *msg, const int *send_fds,
                      unsigned send_count, int *recv_fds, unsigned *recv_count)
{
    (void)m, (void)msg, (void)send_fds, (void)send_count, (void)recv_fds,
        (void)recv_count;
    cr_assert(false, "it asks the daemon");
    return MOB_ERR_STATE;
}

mob_status client_tell(struct mob *m, const struct local_msg *msg)
{
    (void)m, (void)msg;
    cr_assert(false, "it tells the daemon");
    return MOB_ERR_STATE;
}

mob_status client_health_slow(const struct mob *m)
{
    (void)m;
    return MOB_OK;
}

mob_status park_client(struct mob *m, struct thread *t, const at_u32 *word, uint32_t seen,
                       uint64_t deadline_ns)
{
    (void)m, (void)t, (void)word, (void)seen, (void)deadline_ns;
    cr_assert(false, "it sleeps");
    return MOB_ERR_STATE;
}

/* ---- the process, and what the daemon does ------------------------------------------------------------- */

static void begin(void)
{
    uint64_t bytes;
    cr_assert_eq(board_create(7, 1, &mob.board, &bytes), MOB_OK);
    mob.self = SELF;
    mob.proc = &mob.board.procs[SELF];
    cr_assert_eq(arena_create(&mob.arena), MOB_OK);
    cr_assert_eq(pthread_mutex_init(&mob.memory_lock, NULL), 0);
}

static void end(void)
{
    client_memory_end(&mob);
    board_unmap(&mob.board);
}

/* Another process's segment, mapped here. */
static void map(uint32_t segment)
{
    int fd;
    void *ro;
    cr_assert_eq(seg_create("objects", SIZE, &fd), MOB_OK);
    cr_assert_eq(seg_map(fd, SIZE, SEG_READ, &ro), MOB_OK);
    close(fd);
    mob.maps[segment] = (struct segment_map){ro, NULL, SIZE};
    at_store(&mob.board.segments[segment], SEGMENT_USED, AT_RELEASE);
}

static void take_back(uint32_t segment)
{
    at_store(&mob.board.segments[segment], SEGMENT_USED | SEGMENT_REVOKED, AT_RELEASE);
    at_add(&mob.board.header->revoked, 1, AT_SEQ_CST);
}

static uint32_t seen(void)
{
    return at_load(&mob.proc->revoked_seen, AT_ACQUIRE);
}

static bool told(void)
{
    return at_swap(&mob.board.header->notice, 0, AT_SEQ_CST) & NOTICE_PLACES;
}

Test(let_go, what_is_revoked_is_unmapped_and_said)
{
    begin();
    map(3);
    map(5);
    take_back(5);
    client_let_go(&mob);
    cr_assert_not_null(mob.maps[3].ro);
    cr_assert_null(mob.maps[5].ro);
    cr_assert_eq(seen(), 1);
    cr_assert(told());
    client_let_go(&mob);
    cr_assert_not(told(), "there was nothing to do");
    end();
}

static void another_is_revoked_and_let_go_of(void)
{
    take_back(5);
    client_let_go(&mob);
    cr_assert_eq(seen(), 2);
}

/* The one that was here first is the last to say how far it has seen. */
Test(let_go, of_two_threads_the_later_does_not_say_less)
{
    begin();
    map(3);
    map(5);
    take_back(3);
    before_lock = another_is_revoked_and_let_go_of;
    client_let_go(&mob);
    cr_assert_null(mob.maps[3].ro);
    cr_assert_null(mob.maps[5].ro);
    cr_assert_eq(seen(), 2, "the daemon waits for the second until a third one comes");
    end();
}

static void another_is_revoked(void)
{
    take_back(5);
}

/* What came after the look is seen with it, or by the next look. */
Test(let_go, what_is_revoked_meanwhile_is_not_forgotten)
{
    begin();
    map(3);
    map(5);
    take_back(3);
    before_lock = another_is_revoked;
    client_let_go(&mob);
    client_let_go(&mob);
    cr_assert_null(mob.maps[5].ro);
    cr_assert_eq(seen(), 2);
    end();
}

/* ---- batches ------------------------------------------------------------------------------------------- */

enum { OWN_BYTES = 4 << 20, OBJECT = 1000 };

static struct thread thread;

/* A thread with a lane, in a process with a segment of its own. */
static void begin_thread(void)
{
    static uint8_t own[OWN_BYTES] __attribute__((aligned(ARENA_PAGE)));
    begin();
    mob.store_bytes = OWN_BYTES;
    cr_assert_eq(arena_add(mob.arena, 1, own, OWN_BYTES), MOB_OK);
    cr_assert_eq(lane_init(&thread.lane, &mob.board, SELF, client_free_place, &mob),
                 MOB_OK);
    thread.lane.freeing = client_freeing;
}

static void end_thread(void)
{
    lane_fini(&thread.lane);
    end();
}

static struct arena_place take(size_t size)
{
    struct arena_place place;
    void *data;
    cr_assert_eq(client_alloc(&mob, &thread, size, 1, 0, &place, &data), MOB_OK, "%s",
                 mob_last_error());
    return place;
}

static uint64_t allocated(void)
{
    struct arena_stats stats;
    arena_get_stats(mob.arena, &stats);
    return stats.objects;
}

Test(batches, one_lock_serves_many_small_objects)
{
    enum { COUNT = 160, A_LOCK = 16 };
    struct arena_place places[COUNT];
    begin_thread();
    locks = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        places[i] = take(OBJECT);
    }
    cr_assert_eq(locks, COUNT / A_LOCK);
    take(OBJECT); /* and a batch that is not used up */
    cr_assert_eq(allocated(), COUNT + A_LOCK);
    client_return_batches(&mob, &thread);
    cr_assert_eq(allocated(), COUNT + 1);
    locks = 0;
    client_return_batches(&mob, &thread);
    cr_assert_eq(locks, 0, "nothing was left");
    client_freeing(&mob, true);
    for (unsigned i = 0; i < COUNT; i++) {
        client_free_place(&mob, places[i].segment, places[i].offset);
    }
    client_freeing(&mob, false);
    cr_assert_eq(locks, 1);
    cr_assert_eq(allocated(), 1);
    cr_assert_eq(arena_check(mob.arena), MOB_OK, "%s", mob_last_error());
    end_thread();
}

Test(batches, go_back_before_a_sleep_and_when_memory_is_full)
{
    begin_thread();
    for (size_t size = OBJECT; size <= ARENA_BATCH_MAX; size += OBJECT) {
        struct arena_place place = take(size);
        client_free_place(&mob, place.segment, place.offset);
    }
    cr_assert_gt(allocated(), 0);
    client_tidy(&mob, &thread);
    cr_assert_eq(allocated(), 0);
    struct arena_place place = take(OBJECT);
    client_free_place(&mob, place.segment, place.offset);
    cr_assert_gt(allocated(), 0);
    (void)take(OWN_BYTES); /* all that there is: the daemon need not be asked */
    cr_assert_eq(allocated(), 1);
    end_thread();
}
