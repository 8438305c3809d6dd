/* Threads on one handle, threads that come and go, several handles, and fork(). */
#include <pthread.h>

#include "api.h"

static mob_status twice(struct mob_task *task)
{
    long x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x *= 2;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(twice);

static void one_task(struct mob *mob, long x)
{
    mob_ref ref;
    long y;
    OK(mob_submit(mob, twice, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &y, sizeof y, MOB_FOREVER));
    EQ(y, 2 * x);
    mob_release(mob, ref);
}

struct arg {
    struct mob *mob;
    struct mob *other;
    long from, count, window;
    struct mob_view view;
    mob_ref ref;
};

/* @count tasks, @window of them in flight. */
static void *many_tasks(void *p)
{
    struct arg *a = p;
    mob_ref ref[256] = {{0, 0}};
    for (long i = 0; i < a->count + a->window; i++) {
        if (i >= a->window) {
            long y, x = a->from + i - a->window;
            OK(mob_get_copy(a->mob, ref[i % a->window], &y, sizeof y, MOB_FOREVER));
            EQ(y, 2 * x);
            mob_release(a->mob, ref[i % a->window]);
        }
        if (i < a->count) {
            long x = a->from + i;
            OK(mob_submit(a->mob, twice, MOB_ARGS(MOB_VALUE(x)), NULL,
                          &ref[i % a->window]));
        }
    }
    return NULL;
}

static void eight_threads(void)
{
    struct mob *mob = api_init();
    pthread_t thread[8];
    struct arg arg[8];
    for (int i = 0; i < 8; i++) {
        arg[i] = (struct arg){
            .mob = mob, .from = i * 1000000, .count = 10000, .window = 1 << i};
        CHECK(pthread_create(&thread[i], NULL, many_tasks, &arg[i]) == 0);
    }
    for (int i = 0; i < 8; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
    }
    mob_shutdown(mob);
}

/* An id made by one thread is used and released by another. */
static void *other_thread_reads(void *p)
{
    struct arg *a = p;
    long y;
    OK(mob_get_copy(a->mob, a->ref, &y, sizeof y, MOB_FOREVER));
    EQ(y, 2 * a->from);
    mob_release(a->mob, a->ref);
    return NULL;
}

static void ids_cross_threads(void)
{
    struct mob *mob = api_init();
    for (int i = 0; i < 300; i++) {
        struct arg a = {.mob = mob, .from = i};
        pthread_t thread;
        OK(mob_submit(mob, twice, MOB_ARGS(MOB_VALUE(a.from)), NULL, &a.ref));
        CHECK(pthread_create(&thread, NULL, other_thread_reads, &a) == 0);
        pthread_join(thread, NULL);
        struct mob_view view;
        IS(mob_get(mob, a.ref, 0, &view), MOB_ERR_RELEASED);
    }
    mob_shutdown(mob);
}

/* A view outlives the thread that made it, and another thread gives it back. */
static void *makes_view(void *p)
{
    struct arg *a = p;
    static char data[100000];
    memset(data, (int)a->from, sizeof data);
    OK(mob_put(a->mob, data, sizeof data, MOB_FOREVER, &a->ref));
    OK(mob_get(a->mob, a->ref, 0, &a->view));
    mob_release(a->mob, a->ref);
    return NULL;
}

static void views_cross_threads(void)
{
    struct mob *mob = api_init_with(1, 64u << 20);
    struct arg kept = {.mob = mob, .from = 200};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, makes_view, &kept) == 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < 2000;
         i++) { /* 200 MB through a store of 64, and 4 times the ledgers */
        struct arg a = {.mob = mob, .from = i % 100};
        CHECK(pthread_create(&thread, NULL, makes_view, &a) == 0);
        pthread_join(thread, NULL);
        EQ(((const char *)a.view.data)[99999], i % 100);
        mob_view_release(mob, &a.view);
    }
    for (int i = 0; i < 100000; i++) {
        EQ(((const unsigned char *)kept.view.data)[i], 200);
    }
    mob_view_release(mob, &kept.view);
    mob_shutdown(mob);
}

static void *one_task_each(void *p)
{
    struct arg *a = p;
    one_task(a->mob, a->from);
    if (a->other) {
        one_task(a->other, a->from);
    }
    return NULL;
}

/* More threads than there are blocks of records and ledgers, one after the other. */
static void threads_come_and_go(void)
{
    struct mob *mob = api_init(), *other = api_init();
    for (int i = 0; i < 3000; i++) {
        struct arg a = {.mob = mob, .other = other, .from = i};
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, one_task_each, &a) == 0);
        pthread_join(thread, NULL);
    }
    /* 3000 blocks of 64 records would be 70 MiB. */
    CHECK(api_info(mob).store_used_bytes < 48u << 20);
    mob_shutdown(other);
    one_task(mob, 1);
    mob_shutdown(mob);
}

/* ---- handles --------------------------------------------------------------------------------------------- */

static void two_handles(void)
{
    struct mob *a = api_init(), *b = api_init();
    mob_ref ref;
    long x = 4, y;
    struct mob_view view;
    for (int i = 0; i < 1000; i++) {
        one_task(a, i);
        one_task(b, -i);
    }
    OK(mob_put(a, &x, sizeof x, MOB_FOREVER, &ref));
    IS(mob_get(b, ref, 0, &view), MOB_ERR_RELEASED); /* of another node */
    mob_release(b, ref);
    OK(mob_get_copy(a, ref, &y, sizeof y, 0));
    IS(mob_submit(b, twice, MOB_ARGS(MOB_REF(ref)), NULL, &ref), MOB_ERR_RELEASED);
    mob_shutdown(a);
    one_task(b, 3);
    mob_shutdown(b);
}

/* A thread that used an earlier handle must not take a later one at the same address for it. */
struct lasting {
    struct mob *mob;
    pthread_barrier_t barrier;
    int rounds;
};

static void *lasting_thread(void *p)
{
    struct lasting *l = p;
    for (int i = 0; i < l->rounds; i++) {
        pthread_barrier_wait(&l->barrier);
        one_task(l->mob, i);
        pthread_barrier_wait(&l->barrier);
    }
    return NULL;
}

static void handles_one_after_the_other(void)
{
    struct lasting l = {.rounds = 20};
    pthread_t thread = 0;
    pthread_barrier_init(&l.barrier, NULL, 2);
    if (!mob_is_worker()) {
        CHECK(pthread_create(&thread, NULL, lasting_thread, &l) == 0);
    }
    for (int i = 0; i < l.rounds; i++) {
        l.mob = api_init();
        pthread_barrier_wait(&l.barrier);
        pthread_barrier_wait(&l.barrier);
        mob_shutdown(l.mob);
    }
    pthread_join(thread, NULL);
}

static void many_handles(void)
{
    struct mob *mob[64], *more;
    for (int i = 0; i < 64; i++) {
        mob[i] = api_init_with(1, 64u << 20);
    }
    IS(mob_init(NULL, &more), MOB_ERR_FULL);
    one_task(mob[63], 1);
    for (int i = 0; i < 64; i++) {
        mob_shutdown(mob[i]);
    }
}

/* ---- fork -------------------------------------------------------------------------------------------------- */

static void fork_keeps_children_out(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    static char data[10000];
    struct mob_view view;
    OK(mob_put(mob, data, sizeof data, MOB_FOREVER, &ref));
    OK(mob_get(mob, ref, 0, &view));
    int hold[2], status;
    CHECK(pipe(hold) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        mob_ref r;
        struct mob *again;
        struct mob_view v = {0};
        unsigned char ready;
        struct mob_info i = {.struct_size = sizeof i};
        size_t size;
        void *p;
        IS(mob_put(mob, "x", 1, MOB_FOREVER, &r), MOB_ERR_FORKED);
        IS(mob_create(mob, 1, MOB_FOREVER, &r, &p), MOB_ERR_FORKED);
        IS(mob_get(mob, ref, 0, &v), MOB_ERR_FORKED);
        IS(mob_get_copy(mob, ref, data, 1, 0), MOB_ERR_FORKED);
        IS(mob_get_size(mob, ref, 0, &size), MOB_ERR_FORKED);
        IS(mob_submit(mob, twice, MOB_NO_ARGS, NULL, &r), MOB_ERR_FORKED);
        IS(mob_wait(mob, &ref, 1, 1, 0, &ready, NULL), MOB_ERR_FORKED);
        IS(mob_cancel(mob, ref), MOB_ERR_FORKED);
        IS(mob_seal(mob, ref), MOB_ERR_FORKED);
        IS(mob_failure(mob, ref, data, 1), MOB_ERR_FORKED);
        IS(mob_get_info(mob, &i), MOB_ERR_FORKED);
        IS(mob_init(NULL, &again), MOB_ERR_FORKED);
        mob_release(mob, ref);
        mob_abort(mob, ref);
        mob_view_release(mob, &view);
        mob_shutdown(mob);
        mob_shutdown(mob);
        close(hold[1]);
        CHECK(read(hold[0], data, 1) == 0); /* lives on until the parent ends */
        _exit(0);
    }
    close(hold[0]);
    one_task(mob, 5); /* the parent's own is untouched */
    OK(mob_get_copy(mob, ref, data, sizeof data, 0));
    mob_view_release(mob, &view);
    mob_shutdown(mob); /* ends although the child lives */
    close(hold[1]);
    CHECK(waitpid(pid, &status, 0) == pid);
    EQ(status, 0);
}

/* A driver that is killed while its fork()ed child lives on: its node ends all the same. */
static void _dies_with_a_child(void)
{
    struct mob *mob = api_init();
    one_task(mob, 1);
    if (fork() == 0) {
        poll(NULL, 0, 4000);
        _exit(0);
    }
    fprintf(stderr, "workers %u\n", api_info(mob).workers);
    kill(getpid(), SIGKILL);
}

static int count_children(void)
{
    char path[64], line[4096];
    int n = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *f = fopen(path, "r");
    while (f && fscanf(f, "%4095s", line) == 1) {
        n++;
    }
    fclose(f);
    return n;
}

static void a_killed_driver_with_a_child(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int p[2];
    CHECK(pipe(p) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "test_api_threads", "_dies_with_a_child", (char *)NULL);
        _exit(127);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
    uint64_t begin = api_now_ns();
    for (;;) { /* the daemon and its workers go; the child stays */
        while (waitpid(-1, NULL, WNOHANG) > 0) {
        }
        if (count_children() <= 1) {
            break;
        }
        CHECK(api_now_ns() - begin < 3 * SEC);
        poll(NULL, 0, 5);
    }
    CHECK(api_now_ns() - begin < 3 * SEC);
}

API_MAIN({"eight_threads", eight_threads, 120},
         {"ids_cross_threads", ids_cross_threads, 0},
         {"views_cross_threads", views_cross_threads, 60},
         {"threads_come_and_go", threads_come_and_go, 60},
         {"two_handles", two_handles, 0},
         {"handles_one_after_the_other", handles_one_after_the_other, 60},
         {"many_handles", many_handles, 60},
         {"fork_keeps_children_out", fork_keeps_children_out, 0},
         {"_dies_with_a_child", _dies_with_a_child, 0},
         {"a_killed_driver_with_a_child", a_killed_driver_with_a_child, 0});
