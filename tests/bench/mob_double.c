/* A double of the API for the benchmark programs: a task runs inside mob_get(), in the
 * same process. It proves the programs' own logic (options, order, checks, reports) and
 * the counting of the gates, whose answer is known here. It measures nothing.
 *
 * DOUBLE_WRONG=N in the environment: the result of task N is wrong.
 * DOUBLE_SPIN=N: each get goes through spin_double() with N steps, which a count must
 * leave out. DOUBLE_SYSCALLS=1: each get makes a system call. DOUBLE_LOCKED=N: each get runs N
 * locked instructions. */
#include <mobula.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS = 65536, ARGS = 2, ARG_BYTES = 1 << 16 };

struct mob {
    unsigned long submitted, released, wrong, spin, syscalls, locked;
};

struct mob_task {
    mob_fn fn;
    size_t count;
    size_t sizes[ARGS];
    void *args[ARGS];
    void *result;
    size_t result_size;
};

static struct mob the_mob;
static struct mob_task records[RECORDS];

static unsigned long number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : 0;
}

static void die(const char *what)
{
    fprintf(stderr, "double: %s\n", what);
    abort();
}

int mob_is_worker(void)
{
    return 0;
}

void mob_register_early(const char *name, mob_fn fn)
{
    (void)name;
    (void)fn;
}

mob_status mob_init(const struct mob_config *config, struct mob **ret)
{
    (void)config;
    the_mob.wrong = number("DOUBLE_WRONG");
    the_mob.spin = number("DOUBLE_SPIN");
    the_mob.syscalls = number("DOUBLE_SYSCALLS");
    the_mob.locked = number("DOUBLE_LOCKED");
    *ret = &the_mob;
    return MOB_OK;
}

void mob_shutdown(struct mob *mob)
{
    if (mob->released != mob->submitted) {
        die("ids were not released");
    }
}

mob_status mob_get_info(struct mob *mob, struct mob_info *info)
{
    (void)mob;
    info->num_cpus = 1;
    info->workers = 1;
    return MOB_OK;
}

mob_status mob_submit_at(struct mob *mob, mob_fn fn, struct mob_args args,
                         const struct mob_options *options, mob_ref *ret,
                         struct mob_site *site)
{
    (void)site;
    struct mob_task *task = &records[mob->submitted % RECORDS];
    if (options != NULL || args.count == 0 || args.count > ARGS || task->fn != NULL) {
        return MOB_ERR_INVALID;
    }
    task->fn = fn;
    task->count = args.count;
    for (size_t i = 0; i < args.count; i++) {
        size_t size = args.args[i].size;
        if (size == 0 || size > ARG_BYTES) {
            return MOB_ERR_SIZE;
        }
        if (task->sizes[i] != size) {
            free(task->args[i]);
            task->args[i] = malloc(size);
            task->sizes[i] = size;
        }
        memcpy(task->args[i], args.args[i].data, size);
    }
    ret->hi = 1;
    ret->lo = mob->submitted++;
    return MOB_OK;
}

mob_status mob_arg(struct mob_task *task, size_t index, const void **ret_data,
                   size_t *ret_size)
{
    if (index >= task->count) {
        return MOB_ERR_INVALID;
    }
    *ret_data = task->args[index];
    *ret_size = task->sizes[index];
    return MOB_OK;
}

mob_status mob_arg_copy(struct mob_task *task, size_t index, void *dst, size_t size)
{
    if (index >= task->count || task->sizes[index] != size) {
        return MOB_ERR_SIZE;
    }
    memcpy(dst, task->args[index], size);
    return MOB_OK;
}

mob_status mob_return_place(struct mob_task *task, size_t index, size_t size,
                            void **ret_data)
{
    (void)index;
    if (task->result_size != size) {
        free(task->result);
        task->result = malloc(size);
        task->result_size = size;
    }
    *ret_data = task->result;
    return MOB_OK;
}

mob_status mob_return_copy(struct mob_task *task, size_t index, const void *data,
                           size_t size)
{
    void *place;
    MOB_TRY(mob_return_place(task, index, size, &place));
    memcpy(place, data, size);
    return MOB_OK;
}

__attribute__((noinline)) static unsigned long spin_double(unsigned long steps)
{
    volatile unsigned long left = steps;
    while (left > 0) {
        left = left - 1;
    }
    return left;
}

mob_status mob_get(struct mob *mob, mob_ref ref, uint64_t timeout_ns,
                   struct mob_view *ret)
{
    struct mob_task *task = &records[ref.lo % RECORDS];
    (void)timeout_ns;
    if (task->fn == NULL) {
        return MOB_ERR_RELEASED;
    }
    if (mob->spin != 0) {
        (void)spin_double(mob->spin);
    }
    if (mob->syscalls != 0) {
        (void)getppid();
    }
    for (unsigned long i = 0; i < mob->locked; i++) {
        static unsigned long word;
        (void)__atomic_add_fetch(&word, 1, __ATOMIC_SEQ_CST);
    }
    MOB_TRY(task->fn(task));
    if (mob->wrong != 0 && mob->wrong == ref.lo) {
        *(double *)task->result += 1;
    }
    ret->data = task->result;
    ret->size = task->result_size;
    return MOB_OK;
}

void mob_view_release(struct mob *mob, struct mob_view *view)
{
    (void)mob;
    view->data = NULL;
}

mob_status mob_get_copy(struct mob *mob, mob_ref ref, void *dst, size_t size,
                        uint64_t timeout_ns)
{
    struct mob_view view;
    MOB_TRY(mob_get(mob, ref, timeout_ns, &view));
    if (view.size != size) {
        return MOB_ERR_SIZE;
    }
    memcpy(dst, view.data, size);
    return MOB_OK;
}

void mob_release(struct mob *mob, mob_ref ref)
{
    records[ref.lo % RECORDS].fn = NULL;
    mob->released++;
}

void mob_check(mob_status status, const char *call, const char *file, int line)
{
    if (status != MOB_OK) {
        fprintf(stderr, "%s:%d: %s: status %d\n", file, line, call, status);
        exit(1);
    }
}
