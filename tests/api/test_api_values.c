/* Arguments, results, objects: what goes in comes out, whatever its size. */
#include <sys/mman.h>

#include "api.h"
#include "spilling.h"

static unsigned char byte_at(size_t i, unsigned seed)
{
    return (unsigned char)(i * 131 + (i >> 8) * 17 + (i >> 16) * 7 + seed);
}

static void fill(unsigned char *p, size_t size, unsigned seed)
{
    for (size_t i = 0; i < size; i++) {
        p[i] = byte_at(i, seed);
    }
}

static int same(const void *data, size_t size, unsigned seed)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < size; i++) {
        if (p[i] != byte_at(i, seed)) {
            return 0;
        }
    }
    return 1;
}

/* ---- arguments --------------------------------------------------------------------------------------------- */

/* Result 0: all arguments, one behind the other. */
static mob_status join(struct mob_task *task)
{
    size_t total = 0, at = 0;
    const void *data;
    size_t size;
    void *to;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg(task, i, &data, &size));
        if ((uintptr_t)data % 8) {
            return mob_fail(task, "argument %zu is not aligned", i);
        }
        total += size;
    }
    MOB_TRY(mob_return_place(task, 0, total, &to));
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        MOB_TRY(mob_arg(task, i, &data, &size));
        memcpy((char *)to + at, data, size);
        at += size;
    }
    return MOB_OK;
}
MOB_REGISTER(join);

static const size_t sizes[] = {
    0,   1,   7,    8,    9,    63,   64,    65,    119,      120,
    121, 127, 128,  129,  255,  256,  257,   300,   304,      305,
    511, 512, 1000, 4095, 4096, 4097, 32768, 32769, 1u << 20, (5u << 20) + 3};

static void one_value_of_each_size(void)
{
    struct mob *mob = api_init();
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        mob_ref ref;
        struct mob_view view;
        size_t size = 99;
        unsigned char *data = malloc(sizes[i] + 1);
        fill(data, sizes[i], (unsigned)i);
        OK(mob_submit(mob, join, MOB_ARGS(MOB_BYTES(data, sizes[i])), NULL, &ref));
        memset(data, 0xee, sizes[i]); /* copied before submit returned */
        OK(mob_get(mob, ref, MOB_FOREVER, &view));
        EQ(view.size, sizes[i]);
        CHECK(same(view.data, view.size, (unsigned)i));
        CHECK((uintptr_t)view.data % (view.size > 128 ? 64 : 8) == 0);
        OK(mob_get_size(mob, ref, 0, &size));
        EQ(size, sizes[i]);
        mob_view_release(mob, &view);
        mob_release(mob, ref);
        free(data);
    }
    mob_shutdown(mob);
}

/* 0 to 16 values of every small size; the larger counts do not fit into a record, so that some spill. */
static void many_values(void)
{
    struct mob *mob = api_init();
    for (size_t size = 0; size <= 130; size += 13) {
        for (size_t n = 0; n <= MOB_ARGS_MAX; n++) {
            unsigned char data[MOB_ARGS_MAX * 130], got[MOB_ARGS_MAX * 130];
            struct mob_arg args[MOB_ARGS_MAX];
            mob_ref ref;
            fill(data, size * n, (unsigned)n);
            for (size_t i = 0; i < n; i++) {
                args[i] = MOB_BYTES(data + i * size, size);
            }
            OK(mob_submit(mob, join, (struct mob_args){n, args}, NULL, &ref));
            OK(mob_get_copy(mob, ref, got, size * n, MOB_FOREVER));
            CHECK(memcmp(data, got, size * n) == 0);
            mob_release(mob, ref);
        }
    }
    mob_shutdown(mob);
}

static void sixteen_ids(void)
{
    struct mob *mob = api_init();
    struct mob_arg args[MOB_ARGS_MAX];
    mob_ref in[MOB_ARGS_MAX], ref;
    int got[MOB_ARGS_MAX];
    for (int i = 0; i < MOB_ARGS_MAX;
         i++) { /* half of them results, half of them objects */
        if (i % 2) {
            OK(mob_submit(mob, join, MOB_ARGS(MOB_VALUE(i)), NULL, &in[i]));
        } else {
            OK(mob_put(mob, &i, sizeof i, MOB_FOREVER, &in[i]));
        }
        args[i] = MOB_REF(in[i]);
    }
    OK(mob_submit(mob, join, (struct mob_args){MOB_ARGS_MAX, args}, NULL, &ref));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        mob_release(mob, in[i]); /* the task holds them */
    }
    OK(mob_get_copy(mob, ref, got, sizeof got, MOB_FOREVER));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        EQ(got[i], i);
    }
    mob_release(mob, ref);
    mob_shutdown(mob);
}

/* One id sixteen times, and ids and values mixed. */
static void same_id_and_mixed(void)
{
    struct mob *mob = api_init();
    struct mob_arg args[MOB_ARGS_MAX];
    mob_ref in, ref;
    long long x = 77, got[MOB_ARGS_MAX];
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &in));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        args[i] = MOB_REF(in);
    }
    OK(mob_submit(mob, join, (struct mob_args){MOB_ARGS_MAX, args}, NULL, &ref));
    OK(mob_get_copy(mob, ref, got, sizeof got, MOB_FOREVER));
    for (int i = 0; i < MOB_ARGS_MAX; i++) {
        EQ(got[i], 77);
    }
    mob_release(mob, ref);
    for (int i = 0; i < 8; i++) {
        args[i] = i % 2 ? MOB_REF(in) : MOB_VALUE((long long)i);
        long long v = i;
        mob_ref one;
        OK(mob_submit(mob, join, MOB_ARGS(MOB_VALUE(v), MOB_REF(in), MOB_VALUE(v)), NULL,
                      &one));
        OK(mob_get_copy(mob, one, got, 24, MOB_FOREVER));
        EQ(got[0], i);
        EQ(got[1], 77);
        EQ(got[2], i);
        mob_release(mob, one);
    }
    mob_release(mob, in);
    mob_shutdown(mob);
}

static mob_status probe(struct mob_task *task)
{
    const void *data;
    size_t size;
    int x, y[2];
    EQ(mob_arg_count(task), 1);
    EQ(mob_return_count(task), 2);
    if (mob_arg(task, 1, &data, &size) != MOB_ERR_INVALID ||
        mob_arg(task, SIZE_MAX, &data, &size) != MOB_ERR_INVALID ||
        mob_arg_copy(task, 0, y, sizeof y) != MOB_ERR_SIZE ||
        mob_arg_copy(task, 1, &x, sizeof x) != MOB_ERR_INVALID) {
        return mob_fail(task, "an argument that is not there");
    }
    void *p;
    if (mob_return_place(task, 2, 1, &p) != MOB_ERR_INVALID ||
        mob_return_copy(task, 2, &x, 1) != MOB_ERR_INVALID ||
        mob_return_copy(task, SIZE_MAX, &x, 1) != MOB_ERR_INVALID ||
        mob_return_ref(task, 2, (mob_ref){0, 0}) != MOB_ERR_INVALID) {
        return mob_fail(task, "a result that is not there");
    }
    if (mob_return_ref(task, 0, (mob_ref){0, 0}) != MOB_ERR_RELEASED) {
        return mob_fail(task, "an id that is none");
    }
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    MOB_TRY(mob_return_copy(task, 0, &x, sizeof x));
    if (mob_return_copy(task, 0, &x, sizeof x) != MOB_ERR_STATE ||
        mob_return_place(task, 0, 1, &p) != MOB_ERR_STATE) {
        return mob_fail(task, "a result given twice");
    }
    return MOB_OK; /* result 1 was not given: empty */
}
MOB_REGISTER(probe);

static void errors_inside_a_task(void)
{
    struct mob *mob = api_init();
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref ref[2];
    int x = 5;
    size_t size = 1;
    options.returns = 2;
    OK(mob_submit(mob, probe, MOB_ARGS(MOB_VALUE(x)), &options, ref));
    OK(mob_get_copy(mob, ref[0], &x, sizeof x, MOB_FOREVER));
    EQ(x, 5);
    OK(mob_get_size(mob, ref[1], 0, &size));
    EQ(size, 0);
    mob_shutdown(mob);
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* Result i has size[i] bytes; in place, or copied, in turns. */
static mob_status spread(struct mob_task *task)
{
    size_t size[MOB_RETURNS_MAX];
    MOB_TRY(mob_arg_copy(task, 0, size, sizeof size));
    for (size_t i = mob_return_count(task); i-- > 0;) {
        void *to;
        if (i % 2) {
            MOB_TRY(mob_return_place(task, i, size[i], &to));
            if (size[i] > 128 && (uintptr_t)to % 64) {
                return mob_fail(task, "the room is not aligned");
            }
            fill(to, size[i], (unsigned)i);
        } else {
            unsigned char *tmp = malloc(size[i] + 1);
            fill(tmp, size[i], (unsigned)i);
            mob_status st = mob_return_copy(task, i, tmp, size[i]);
            free(tmp);
            MOB_TRY(st);
        }
    }
    return MOB_OK;
}
MOB_REGISTER(spread);

static void one_to_eight_results(void)
{
    struct mob *mob = api_init();
    for (unsigned n = 1; n <= MOB_RETURNS_MAX; n++) {
        for (size_t k = 0; k < 24; k++) {
            struct mob_options options = MOB_OPTIONS_INIT;
            size_t size[MOB_RETURNS_MAX];
            mob_ref ref[MOB_RETURNS_MAX];
            for (size_t i = 0; i < MOB_RETURNS_MAX; i++) {
                size[i] = sizes[(i * 7 + k) % 26];
            }
            options.returns = n;
            OK(mob_submit(mob, spread, MOB_ARGS(MOB_BYTES(size, sizeof size)), &options,
                          ref));
            for (unsigned i = 0; i < n; i++) {
                struct mob_view view;
                OK(mob_get(mob, ref[i], MOB_FOREVER, &view));
                EQ(view.size, size[i]);
                CHECK(same(view.data, view.size, i));
                mob_view_release(mob, &view);
            }
            for (unsigned i = n; i-- > 0;) { /* each is a hold of its own */
                struct mob_view view;
                OK(mob_get(mob, ref[i], 0, &view));
                mob_release(mob, ref[i]);
                CHECK(same(view.data, view.size, i));
                mob_view_release(mob, &view);
            }
        }
    }
    mob_shutdown(mob);
}

/* A result of a task as another one's result; an argument as a result; chains of those. */
static mob_status pass_on(struct mob_task *task)
{
    mob_ref ref;
    MOB_TRY(mob_arg_copy(task, 0, &ref, sizeof ref));
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(pass_on);

static mob_status make_inside(struct mob_task *task)
{
    mob_ref ref[2];
    unsigned char data[3000];
    size_t size;
    MOB_TRY(mob_arg_copy(task, 0, &size, sizeof size));
    fill(data, sizeof data, 9);
    MOB_TRY(mob_submit(mob_task_mob(task), join, MOB_ARGS(MOB_BYTES(data, size)), NULL,
                       &ref[0]));
    MOB_TRY(mob_return_ref(task, 0, ref[0])); /* not there yet, perhaps */
    MOB_TRY(mob_put(mob_task_mob(task), data, size, MOB_FOREVER, &ref[1]));
    MOB_TRY(mob_return_ref(task, 1, ref[1]));
    mob_release(mob_task_mob(task), ref[1]); /* the result holds it */
    return MOB_OK;
}
MOB_REGISTER(make_inside);

static void results_by_ref(void)
{
    struct mob *mob = api_init();
    for (size_t k = 0; k < 25; k++) {
        struct mob_options options = MOB_OPTIONS_INIT;
        mob_ref ref[2], next;
        size_t size = sizes[k] > 3000 ? 3000 : sizes[k];
        struct mob_view view[2];
        options.returns = 2;
        OK(mob_submit(mob, make_inside, MOB_ARGS(MOB_VALUE(size)), &options, ref));
        for (int i = 0; i < 2; i++) {
            OK(mob_get(mob, ref[i], MOB_FOREVER, &view[i]));
            EQ(view[i].size, size);
            CHECK(same(view[i].data, size, 9));
        }
        OK(mob_submit(mob, join, MOB_ARGS(MOB_REF(ref[0]), MOB_REF(ref[1])), NULL,
                      &next));
        mob_release(mob, ref[0]);
        mob_release(mob, ref[1]);
        unsigned char *both = malloc(2 * size + 1);
        OK(mob_get_copy(mob, next, both, 2 * size, MOB_FOREVER));
        CHECK(same(both, size, 9) && same(both + size, size, 9));
        free(both);
        CHECK(same(view[0].data, size, 9) &&
              same(view[1].data, size, 9)); /* the views hold */
        mob_view_release(mob, &view[0]);
        mob_view_release(mob, &view[1]);
        mob_release(mob, next);
    }
    mob_shutdown(mob);
}

static void chain_of_refs(void)
{
    struct mob *mob = api_init();
    mob_ref at, next;
    double x = 2.5, y;
    OK(mob_put(mob, &x, sizeof x, MOB_FOREVER, &at));
    for (int i = 0; i < 20; i++) {
        /* The id goes by value: the object must be held until the task has passed it on. */
        OK(mob_submit(mob, pass_on, MOB_ARGS(MOB_VALUE(at), MOB_REF(at)), NULL, &next));
        mob_release(mob, at);
        at = next;
    }
    OK(mob_get_copy(mob, at, &y, sizeof y, MOB_FOREVER));
    CHECK(x == y);
    mob_release(mob, at);
    mob_shutdown(mob);
}

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

API_MAIN({"one_value_of_each_size", one_value_of_each_size, 0},
         {"many_values", many_values, 0}, {"sixteen_ids", sixteen_ids, 0},
         {"same_id_and_mixed", same_id_and_mixed, 0},
         {"errors_inside_a_task", errors_inside_a_task, 0},
         {"one_to_eight_results", one_to_eight_results, 0},
         {"results_by_ref", results_by_ref, 0}, {"chain_of_refs", chain_of_refs, 0},
         {"put_each_size", put_each_size, 0}, {"create_seal_abort", create_seal_abort, 0},
         {"views_are_read_only", views_are_read_only, 0},
         {"_store_into_view", _store_into_view, 0},
         {"a_store_into_a_view_faults", a_store_into_a_view_faults, 0},
         {"nobody_else_maps_objects_writable", nobody_else_maps_objects_writable, 0},
         {"a_view_outlives_its_id", a_view_outlives_its_id, 0},
         {"too_many_views", too_many_views, 0});
