/* What no program should do: each such call is refused with a sentence, and nothing else happens. */
#include "tasks.h"

static void bad_arguments(void)
{
    struct mob *mob = api_init();
    mob_ref ref = {1, 2};
    void *p;
    size_t size;
    unsigned char ready;
    struct mob_arg args[MOB_ARGS_MAX + 1];
    for (int i = 0; i <= MOB_ARGS_MAX; i++) {
        args[i] = MOB_BYTES("x", 1);
    }
    IS(mob_submit(mob, add, MOB_NO_ARGS, NULL, NULL), MOB_ERR_INVALID);
    IS(mob_submit(mob, add, (struct mob_args){3, NULL}, NULL, &ref), MOB_ERR_INVALID);
    IS(mob_submit(mob, add, (struct mob_args){MOB_ARGS_MAX + 1, args}, NULL, &ref),
       MOB_ERR_INVALID);
    IS(mob_submit(mob, add, (struct mob_args){(1ull << 32) + 1, args}, NULL, &ref),
       MOB_ERR_INVALID);
    IS(mob_submit(mob, add, MOB_ARGS(MOB_BYTES(NULL, 8)), NULL, &ref), MOB_ERR_INVALID);
    IS(mob_submit(mob, add, MOB_ARGS(MOB_REF(ref)), NULL, &ref), MOB_ERR_RELEASED);
    EQ(ref.hi, 1); /* untouched */
    EQ(ref.lo, 2);
    IS(mob_submit(NULL, add, MOB_NO_ARGS, NULL, &ref), MOB_ERR_INVALID);
    IS(mob_put(mob, NULL, 1, 0, &ref), MOB_ERR_INVALID);
    IS(mob_put(mob, "x", 1, 0, NULL), MOB_ERR_INVALID);
    IS(mob_put(NULL, "x", 1, 0, &ref), MOB_ERR_INVALID);
    IS(mob_create(mob, 1, 0, NULL, &p), MOB_ERR_INVALID);
    IS(mob_create(mob, 1, 0, &ref, NULL), MOB_ERR_INVALID);
    IS(mob_get(mob, ref, 0, NULL), MOB_ERR_INVALID);
    IS(mob_get_size(mob, ref, 0, NULL), MOB_ERR_INVALID);
    IS(mob_get_copy(mob, ref, NULL, 1, 0), MOB_ERR_INVALID);
    IS(mob_get_size(mob, ref, 0, &size), MOB_ERR_RELEASED);
    IS(mob_wait(mob, NULL, 1, 1, 0, &ready, NULL), MOB_ERR_INVALID);
    IS(mob_wait(mob, &ref, 1, 2, 0, &ready, NULL), MOB_ERR_INVALID);
    IS(mob_failure(mob, ref, NULL, 10), MOB_ERR_INVALID);
    IS(mob_get_info(mob, NULL), MOB_ERR_INVALID);
    struct mob_info info = {.struct_size = 3};
    IS(mob_get_info(mob, &info), MOB_ERR_INVALID);
    /* More than there can ever be is refused at once, whatever the time limit. */
    IS(mob_create(mob, SIZE_MAX, MOB_FOREVER, &ref, &p), MOB_ERR_NOMEM);
    IS(mob_create(mob, 1ull << 45, MOB_FOREVER, &ref, &p), MOB_ERR_NOMEM);
    IS(mob_create(mob, 600u << 20, MOB_FOREVER, &ref, &p), MOB_ERR_NOMEM);
    HAS(mob_status_name(MOB_ERR_FULL), "MOB_ERR_FULL");
    HAS(mob_status_name((mob_status)-999), "MOB_ERR_?");
    HAS(mob_status_text(MOB_OK), "success");
    mob_shutdown(mob);
    mob_shutdown(NULL);
}

static void no_handle(void)
{
    mob_ref ref = {0, 0};
    struct mob_view view;
    struct mob_info info = {.struct_size = sizeof info};
    unsigned char ready;
    char text[8];
    size_t size;
    void *p;
    IS(mob_submit_name(NULL, "add", MOB_NO_ARGS, NULL, &ref), MOB_ERR_INVALID);
    IS(mob_get(NULL, ref, 0, &view), MOB_ERR_INVALID);
    HAS(mob_last_error(), "NULL");
    IS(mob_get_copy(NULL, ref, text, 1, 0), MOB_ERR_INVALID);
    IS(mob_get_size(NULL, ref, 0, &size), MOB_ERR_INVALID);
    IS(mob_wait(NULL, &ref, 1, 1, 0, &ready, NULL), MOB_ERR_INVALID);
    IS(mob_failure(NULL, ref, text, sizeof text), MOB_ERR_INVALID);
    IS(mob_cancel(NULL, ref), MOB_ERR_INVALID);
    IS(mob_create(NULL, 1, 0, &ref, &p), MOB_ERR_INVALID);
    IS(mob_seal(NULL, ref), MOB_ERR_INVALID);
    IS(mob_get_info(NULL, &info), MOB_ERR_INVALID);
    mob_abort(NULL, ref);
    mob_release(NULL, ref);
    mob_view_release(NULL, &view);
}

static void a_handle_that_was_shut_down(void)
{
    for (int again = 0; again < 2; again++) { /* another handle may be open meanwhile */
        struct mob *mob = api_init(), *other = again ? api_init() : NULL;
        mob_ref ref;
        struct mob_view view;
        size_t size;
        long one = 1;
        OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &ref));
        OK(mob_get(mob, ref, 0, &view));
        mob_shutdown(mob);
        mob_shutdown(mob);
        IS(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &ref), MOB_ERR_CLOSED);
        IS(mob_put(mob, &one, sizeof one, 0, &ref), MOB_ERR_CLOSED);
        IS(mob_get_size(mob, ref, 0, &size), MOB_ERR_CLOSED);
        IS(mob_cancel(mob, ref), MOB_ERR_CLOSED);
        mob_view_release(mob, &view);
        mob_release(mob, ref);
        mob_shutdown(other);
    }
}

/* ---- in a task ------------------------------------------------------------------------------------------ */

static mob_status misuse(struct mob_task *task)
{
    const void *data;
    size_t size;
    char bytes[8];
    struct mob *mob = NULL;
    IS(mob_arg(task, 0, NULL, &size), MOB_ERR_INVALID);
    IS(mob_arg(task, 0, &data, NULL), MOB_ERR_INVALID);
    IS(mob_arg(task, 1, &data, &size), MOB_ERR_INVALID);
    IS(mob_arg_copy(task, 0, NULL, 8), MOB_ERR_INVALID);
    IS(mob_arg_copy(task, 0, NULL, 0), MOB_ERR_SIZE);
    IS(mob_arg_copy(task, 0, bytes, 7), MOB_ERR_SIZE);
    IS(mob_return_place(task, 0, 8, NULL), MOB_ERR_INVALID);
    IS(mob_return_copy(task, 0, NULL, 8), MOB_ERR_INVALID);
    IS(mob_return_copy(task, 0, NULL, 1000), MOB_ERR_INVALID);
    IS(mob_return_copy(task, 1, bytes, 8), MOB_ERR_INVALID);
    IS(mob_return_ref(task, 0, (mob_ref){0, 0}), MOB_ERR_RELEASED);
    IS(mob_init(NULL, &mob), MOB_ERR_STATE);
    CHECK(mob == NULL);
    OK(mob_arg_copy(task, 0, bytes, 8));
    OK(mob_return_copy(task, 0, bytes, 8));
    IS(mob_return_copy(task, 0, bytes, 8), MOB_ERR_STATE);
    return MOB_OK;
}
MOB_REGISTER(misuse);

static void in_a_task(void)
{
    struct mob *mob = api_init();
    long seven = 7, got;
    mob_ref ref;
    OK(mob_submit(mob, misuse, MOB_ARGS(MOB_VALUE(seven)), NULL, &ref));
    OK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
    EQ(got, 7);
    mob_shutdown(mob);
}

API_MAIN({"bad_arguments", bad_arguments, 0}, {"no_handle", no_handle, 0},
         {"a_handle_that_was_shut_down", a_handle_that_was_shut_down, 0},
         {"in_a_task", in_a_task, 0});
