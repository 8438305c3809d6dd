/* Objects without a task, and views: what goes in comes out, and stays as it is. */
#include <sys/mman.h>

#include "spilling.h"
#include "values.h"

/* ---- objects -------------------------------------------------------------------------------------------------------- */

static void put_each_size(void)
{
    struct mob *mob = api_init_with(1, 1u << 30);
    const size_t large[] = {(16u << 20) - 1, 16u << 20, (16u << 20) + 1, 64u << 20,
                            256u << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] + 5; i++) {
        size_t size = i < sizeof sizes / sizeof sizes[0]
                          ? sizes[i]
                          : large[i - sizeof sizes / sizeof sizes[0]];
        mob_ref ref;
        struct mob_view view;
        unsigned char *data = malloc(size + 1), *copy = malloc(size + 1);
        fill(data, size, 3);
        OK(mob_put(mob, data, size, MOB_FOREVER, &ref));
        OK(mob_get(mob, ref, 0, &view));
        EQ(view.size, size);
        CHECK(memcmp(view.data, data, size) == 0);
        CHECK((uintptr_t)view.data % (size > 128 ? 64 : 8) == 0);
        OK(mob_get_copy(mob, ref, copy, size, 0));
        CHECK(memcmp(copy, data, size) == 0);
        IS(mob_get_copy(mob, ref, copy, size + 1, 0), MOB_ERR_SIZE);
        if (size) {
            IS(mob_get_copy(mob, ref, copy, size - 1, 0), MOB_ERR_SIZE);
        }
        mob_view_release(mob, &view);
        mob_release(mob, ref);
        free(data);
        free(copy);
    }
    mob_shutdown(mob);
}

static void create_seal_abort(void)
{
    struct mob *mob = api_init();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mob_ref ref, gone, waiting;
        void *to;
        unsigned char *got = malloc(sizes[i] + 1);
        struct mob_view view;
        OK(mob_create(mob, sizes[i], MOB_FOREVER, &ref, &to));
        IS(mob_get(mob, ref, 0, &view), MOB_ERR_TIMEOUT);
        fill(to, sizes[i], 4);
        /* A task may be given the id before the object is there. */
        OK(mob_submit(mob, join, MOB_ARGS(MOB_REF(ref)), NULL, &waiting));
        IS(mob_get(mob, waiting, 1 * MS, &view), MOB_ERR_TIMEOUT);
        OK(mob_seal(mob, ref));
        IS(mob_seal(mob, ref), MOB_ERR_STATE);
        mob_abort(mob, ref); /* too late, and so nothing */
        OK(mob_get_copy(mob, ref, got, sizes[i], 0));
        CHECK(same(got, sizes[i], 4));
        OK(mob_get_copy(mob, waiting, got, sizes[i], MOB_FOREVER));
        CHECK(same(got, sizes[i], 4));
        mob_release(mob, ref);
        mob_release(mob, waiting);

        OK(mob_create(mob, sizes[i], MOB_FOREVER, &gone, &to));
        OK(mob_submit(mob, join, MOB_ARGS(MOB_REF(gone)), NULL, &waiting));
        mob_abort(mob, gone);
        mob_status st = mob_seal(mob, gone); /* the task may keep it a while */
        CHECK(st == MOB_ERR_RELEASED || st == MOB_ERR_STATE);
        IS(mob_get(mob, waiting, MOB_FOREVER, &view), MOB_ERR_ARG_FAILED);
        HAS(mob_last_error(), "aborted");
        mob_release(mob, waiting);
        free(got);
    }
    IS(mob_seal(mob, (mob_ref){0, 0}), MOB_ERR_RELEASED);
    mob_abort(mob, (mob_ref){0, 0});
    mob_shutdown(mob);
}

/* ---- views ------------------------------------------------------------------------------------------------------------ */

/* The kernel, asked to write there for this process, says EFAULT: cheaper than a signal handler. */
static int write_faults(const void *data)
{
    int p[2];
    CHECK(pipe(p) == 0);
    CHECK(write(p[1], "x", 1) == 1);
    ssize_t n = read(p[0], (void *)(uintptr_t)data, 1);
    int err = errno;
    close(p[0]);
    close(p[1]);
    return n < 0 && err == EFAULT;
}

static void views_are_read_only(void)
{
    struct mob *mob = api_init();
    for (size_t i = 1; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *data = calloc(1, sizes[i]);
        mob_ref ref[2];
        struct mob_view view;
        OK(mob_put(mob, data, sizes[i], MOB_FOREVER, &ref[0]));
        OK(mob_submit(mob, join, MOB_ARGS(MOB_REF(ref[0])), NULL, &ref[1]));
        for (int k = 0; k < 2; k++) { /* this process's own object, and a worker's */
            OK(mob_get(mob, ref[k], MOB_FOREVER, &view));
            CHECK(write_faults(view.data));
            CHECK(write_faults((const char *)view.data + sizes[i] - 1));
            mob_view_release(mob, &view);
            CHECK(view.data == NULL && view.size == 0);
            mob_view_release(mob, &view); /* does nothing */
            mob_release(mob, ref[k]);
        }
        free(data);
    }
    mob_view_release(mob, NULL);
    mob_shutdown(mob);
}

/* A store through a view ends the process that made it: a driver of its own, for the test below. */
static void _store_into_view(void)
{
    struct mob *mob = api_init();
    mob_ref ref;
    struct mob_view view;
    static char data[1000];
    OK(mob_put(mob, data, sizeof data, MOB_FOREVER, &ref));
    OK(mob_get(mob, ref, 0, &view));
    *(volatile char *)(uintptr_t)view.data = 1;
    exit(3);
}

static mob_status scribble(struct mob_task *task)
{
    const void *data;
    size_t size;
    MOB_TRY(mob_arg(task, 0, &data, &size));
    *(volatile char *)(uintptr_t)data = 1;
    return MOB_OK;
}
MOB_REGISTER(scribble);

static void a_store_into_a_view_faults(void)
{
    if (!mob_is_worker()) {
        struct api_result r = api_self("_store_into_view", 20);
        CHECK(!r.timed_out && ((WIFSIGNALED(r.status) && WTERMSIG(r.status) == SIGSEGV) ||
                               strstr(r.out, "AddressSanitizer: SEGV")));
        free(r.out);
    }
    struct mob *mob = api_init();
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref ref, task;
    static char data[1000];
    options.max_retries = 0;
    OK(mob_put(mob, data, sizeof data, MOB_FOREVER, &ref));
    OK(mob_submit(mob, scribble, MOB_ARGS(MOB_REF(ref)), &options, &task));
    size_t size;
    IS(mob_get_size(mob, task, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
    OK(mob_get_copy(mob, ref, data, sizeof data, 0));
    EQ(data[0], 0);
    mob_release(mob, task);
    /* A value lies in the task's own record: read-only as well. */
    OK(mob_submit(mob, scribble, MOB_ARGS(MOB_VALUE(1.0)), &options, &task));
    IS(mob_get_size(mob, task, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
    mob_shutdown(mob);
}

static void a_view_outlives_its_id(void)
{
    struct mob *mob = api_init_with(2, 64u << 20);
    enum { SIZE = 1 << 20 };
    static unsigned char data[SIZE];
    mob_ref ref, other;
    struct mob_view view;
    fill(data, SIZE, 1);
    OK(mob_submit(mob, join, MOB_ARGS(MOB_BYTES(data, SIZE)), NULL, &ref));
    OK(mob_get(mob, ref, MOB_FOREVER, &view));
    mob_release(mob, ref);
    for (int i = 0; i < 300; i++) { /* would take its place */
        fill(data, 1000, 50);
        OK(mob_submit(mob, join, MOB_ARGS(MOB_BYTES(data, SIZE)), NULL, &other));
        size_t size;
        OK(mob_get_size(mob, other, MOB_FOREVER, &size));
        mob_release(mob, other);
    }
    CHECK(same(view.data, view.size, 1));
    mob_view_release(mob, &view);
    mob_shutdown(mob);
}

/* Not by the file under /proc either, which a process of the same user may open. */
static void nobody_else_maps_objects_writable(void)
{
    struct mob *mob = api_init();
    enum { SIZE = 1 << 20, FDS = 256 };
    static char bytes[SIZE];
    mob_ref ref;
    int found = 0;
    OK(mob_put(mob, bytes, SIZE, MOB_FOREVER, &ref));
    pid_t daemon = daemon_pid();
    for (int i = 3; i < FDS; i++) {
        char path[64], name[128] = "";
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)daemon, i);
        if (readlink(path, name, sizeof name - 1) > 0 && strstr(name, "mobula-objects")) {
            int fd = open(path, O_RDWR);
            CHECK(fd >= 0);
            void *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            CHECK(map == MAP_FAILED);
            EQ(errno, EPERM);
            close(fd);
            found++;
        }
    }
    CHECK(found > 0);
    mob_release(mob, ref);
    mob_shutdown(mob);
}

/* A thread holds about a thousand views; one more is an error that harms nothing. */
static void too_many_views(void)
{
    struct mob *mob = api_init();
    enum { MANY = 2000 };
    static struct mob_view view[MANY];
    mob_ref ref;
    int x = 1, n = 0;
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &ref));
    mob_status st = MOB_OK;
    while (n < MANY && (st = mob_get(mob, ref, 0, &view[n])) == MOB_OK) {
        n++;
    }
    IS(st, MOB_ERR_FULL);
    CHECK(n > 500);
    mob_view_release(mob, &view[n / 2]);
    OK(mob_get(mob, ref, 0, &view[n / 2]));
    for (int i = 0; i < n; i++) {
        EQ(*(const int *)view[i].data, 1);
        mob_view_release(mob, &view[i]);
    }
    OK(mob_get(mob, ref, 0, &view[0]));
    mob_view_release(mob, &view[0]);
    mob_shutdown(mob);
}

API_MAIN({"put_each_size", put_each_size, 0}, {"create_seal_abort", create_seal_abort, 0},
         {"views_are_read_only", views_are_read_only, 0},
         {"_store_into_view", _store_into_view, 0},
         {"a_store_into_a_view_faults", a_store_into_a_view_faults, 0},
         {"nobody_else_maps_objects_writable", nobody_else_maps_objects_writable, 0},
         {"a_view_outlives_its_id", a_view_outlives_its_id, 0},
         {"too_many_views", too_many_views, 0});
