/* Tasks that fail, die, are cancelled: what their ids then say. */
#include "tasks.h"

/* ---- failures ------------------------------------------------------------------------------------------- */

static void returned_errors(void)
{
    struct mob *mob = api_init();
    char text[4096], small[8];
    size_t size;
    static const struct {
        const char *what, *has;
    } cases[] = {{"status", "MOB_ERR_UNSUPPORTED"},
                 {"message", "row 17 is singular"},
                 {"long", "yyyEND"},
                 {"big", "after a large result"},
                 {"unknown", "MOB_ERR_?"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct how h = how(cases[i].what, INT_MAX);
        mob_ref ref = submit_how(mob, h, MOB_RETRIES_DEFAULT, 0);
        IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_FAILED);
        HAS(mob_last_error(), cases[i].has);
        OK(mob_failure(mob, ref, text, sizeof text));
        HAS(text, cases[i].has);
        HAS(text, "task fail ");
        HAS(text, "pid ");
        HAS(text, "node ");
        OK(mob_failure(mob, ref, small, sizeof small));
        EQ(strlen(small), sizeof small - 1);
        EQ(attempts(h.path), 1); /* an error that was returned is not tried again */
        mob_release(mob, ref);
        IS(mob_failure(mob, ref, text, sizeof text), MOB_ERR_RELEASED);
    }
    long one = 1;
    mob_ref ref;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &ref));
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    OK(mob_failure(mob, ref, text, sizeof text));
    EQ(strlen(text), 0);
    mob_shutdown(mob);
}

/* A failure that the task handled is not the reason of a later one on the same worker. */
static void old_errors_are_forgotten(void)
{
    struct mob *mob = api_init_with(1, 0);
    size_t size;
    mob_ref ref = submit_how(mob, how("stale", INT_MAX), 0, 0);
    OK(mob_get_size(mob, ref, MOB_FOREVER, &size));
    ref = submit_how(mob, how("status", INT_MAX), 0, 0);
    IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_FAILED);
    HAS_NOT(mob_last_error(), "id of an object");
    mob_shutdown(mob);
}

static void deaths(void)
{
    struct mob *mob = api_init();
    char text[4096];
    size_t size;
    static const struct {
        const char *what, *has;
    } cases[] = {{"segv", "about to crash"},
                 {"abort", "signal 6"},
                 {"exit", "status 9"},
                 {"kill", "signal 9"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct how h = how(cases[i].what, INT_MAX);
        mob_ref ref = submit_how(mob, h, MOB_RETRIES_DEFAULT, 0);
        IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
        OK(mob_failure(mob, ref, text, sizeof text));
        HAS(text, cases[i].has);
        HAS(text, "task fail ");
        EQ(attempts(h.path), 4);   /* 3 retries */
        h = how(cases[i].what, 2); /* the third attempt succeeds */
        ref = submit_how(mob, h, 2, 0);
        long done;
        OK(mob_get_copy(mob, ref, &done, sizeof done, MOB_FOREVER));
        EQ(done, 3);
        h = how(cases[i].what, INT_MAX);
        ref = submit_how(mob, h, 0, 0);
        IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
        EQ(attempts(h.path), 1);
    }
    mob_shutdown(mob);
}

/* The whole of what a task said, and the last lines of one that died, are there to be read: by the
 * task's id, by the last error, and in a shorter form by what failed for it. */
static void long_texts(void)
{
    struct mob *mob = api_init();
    char text[4096];
    size_t size;
    mob_ref said = submit_how(mob, how("long", INT_MAX), 0, 0), next;
    mob_ref died = submit_how(mob, how("lines", INT_MAX), 0, 0);
    IS(mob_get_size(mob, said, MOB_FOREVER, &size), MOB_ERR_TASK_FAILED);
    OK(mob_failure(mob, said, text, sizeof text));
    HAS(text, "BEGINy");
    HAS(text, "yEND");
    CHECK(strlen(text) > 3500);
    HAS_NOT(text, "[...]");
    IS(mob_get_size(mob, died, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
    HAS(mob_last_error(), "line 199 of what went wrong");
    OK(mob_failure(mob, died, text, sizeof text));
    HAS(text, "signal 6");
    HAS(text, "; its last lines:\nline "); /* from the beginning of a line */
    HAS(text, "\nline 120 of what went wrong\n");
    CHECK(strcmp(text + strlen(text) - 27, "line 199 of what went wrong") == 0);
    for (int i = 0; i < 3; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(died)), NULL, &next));
        IS(mob_get_size(mob, next, MOB_FOREVER, &size), MOB_ERR_ARG_FAILED);
        OK(mob_failure(mob, next, text, sizeof text));
        HAS(text, i ? "argument 0 failed, as an argument of its own failed: task fail "
                    : "argument 0 failed: task fail ");
        HAS(text, "signal 6");
        HAS(text, "line 199 of what went wrong");
        CHECK(strlen(text) < 1500);
        mob_release(mob, died);
        died = next;
    }
    mob_shutdown(mob);
}

/* Without room for it, the text is shortened in the middle. */
static void texts_of_a_full_store(void)
{
    setenv("MOBULA_SPILL_DIR", "none", 1); /* else the filler makes room */
    struct mob *mob = api_init_with(1, 64u << 20);
    char text[4096];
    size_t size;
    struct api_gate gate;
    struct how h = how("lines", INT_MAX);
    struct mob_options options = MOB_OPTIONS_INIT;
    mob_ref full, ref, filler;
    options.max_retries = 0;
    api_gate_make(&gate);
    full = submit_gated(mob, &gate, 0);
    OK(mob_submit(mob, fail, MOB_ARGS(MOB_VALUE(h), MOB_REF(full)), &options, &ref));
    for (size_t piece = 8u << 20; piece >= 4096; piece /= 2) {
        void *data;
        while (mob_create(mob, piece, 0, &filler, &data) == MOB_OK) {
            OK(mob_seal(mob, filler));
        }
    }
    api_gate_open(&gate, 1);
    IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
    OK(mob_failure(mob, ref, text, sizeof text));
    HAS(text, "signal 6");
    HAS(text, " [...] ");
    HAS(text, "line 199 of what went wrong");
    mob_shutdown(mob);
}

static void retry_on_error(void)
{
    struct mob *mob = api_init();
    size_t size;
    static const char *const whats[] = {"status", "message", "big"};
    for (int i = 0; i < 3; i++) {
        struct how h = how(whats[i], 2);
        mob_ref ref = submit_how(mob, h, 2, 1);
        long done;
        OK(mob_get_copy(mob, ref, &done, sizeof done, MOB_FOREVER));
        EQ(done, 3);
        h = how(whats[i], INT_MAX);
        ref = submit_how(mob, h, 2, 1);
        IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_FAILED);
        EQ(attempts(h.path), 3);
    }
    mob_shutdown(mob);
}

static void failed_arguments(void)
{
    struct mob *mob = api_init();
    char text[4096];
    size_t size;
    long one = 1;
    mob_ref ref = submit_how(mob, how("message", INT_MAX), 0, 0), next, first = ref, put;
    OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &put));
    for (int i = 0; i < 6; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one), MOB_REF(put), MOB_REF(ref)),
                      NULL, &next));
        if (i) {
            mob_release(mob, ref);
        }
        ref = next;
    }
    IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_ARG_FAILED);
    OK(mob_failure(mob, ref, text, sizeof text));
    HAS(text, "argument 2 failed");
    HAS(text, "row 17 is singular"); /* through all of them */
    /* Submitted after the failure is known. */
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(first)), NULL, &next));
    IS(mob_get_size(mob, next, MOB_FOREVER, &size), MOB_ERR_ARG_FAILED);
    mob_shutdown(mob);
}

static void what_a_dead_task_made_goes(void)
{
    struct mob *mob = api_init_with(1, 256u << 20);
    size_t size;
    for (int i = 0; i < 40;
         i++) { /* 4 attempts, 1 MiB each: would not end below 40 MiB */
        struct how h = how("put", INT_MAX);
        mob_ref ref = submit_how(mob, h, 3, 0);
        IS(mob_get_size(mob, ref, MOB_FOREVER, &size), MOB_ERR_TASK_DIED);
        mob_release(mob, ref);
    }
    EVENTUALLY(api_info(mob).store_used_bytes < 60u << 20);
    mob_shutdown(mob);
}

/* ---- cancelling ----------------------------------------------------------------------------------------- */

static mob_status until_cancelled(struct mob_task *task)
{
    struct gated g;
    MOB_TRY(mob_arg_copy(task, 0, &g, sizeof g));
    count_attempt(g.path);
    while (!mob_task_cancelled(task)) {
        poll(NULL, 0, 1);
    }
    return mob_fail(task, "saw it");
}
MOB_REGISTER(until_cancelled);

static void cancel(void)
{
    struct mob *mob = api_init_with(1, 0);
    struct api_gate gate;
    long value, one = 1;
    size_t size;
    mob_ref queued[100];
    api_gate_make(&gate);
    mob_ref running = submit_gated(mob, &gate, 5);
    mob_ref waiting, after, beside;
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(running)), NULL, &waiting));
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(waiting), MOB_REF(running)), NULL, &after));
    OK(mob_submit(mob, add, MOB_ARGS(MOB_REF(running)), NULL, &beside));
    for (int i = 0; i < 100; i++) {
        OK(mob_submit(mob, add, MOB_ARGS(MOB_VALUE(one)), NULL, &queued[i]));
    }
    for (int i = 0; i < 100; i += 2) {
        OK(mob_cancel(mob, queued[i]));
        IS(mob_get_size(mob, queued[i], 0, &size), MOB_ERR_CANCELLED);
    }
    OK(mob_cancel(mob, waiting)); /* at once, though its argument is not there */
    IS(mob_get_size(mob, waiting, 0, &size), MOB_ERR_CANCELLED);
    mob_release(mob, waiting);
    for (int i = 0; i < 1000; i++) { /* nobody gets its record before that has come */
        mob_ref put;
        OK(mob_put(mob, &one, sizeof one, MOB_FOREVER, &put));
        mob_release(mob, put);
    }
    api_gate_open(&gate, 1);
    OK(mob_get_copy(mob, beside, &value, sizeof value, MOB_FOREVER));
    EQ(value, 5);
    IS(mob_get_size(mob, after, MOB_FOREVER, &size), MOB_ERR_ARG_FAILED);
    HAS(mob_last_error(), "argument 0 failed: task add: it was cancelled before it ran");
    OK(mob_get_copy(mob, running, &value, sizeof value, MOB_FOREVER));
    OK(mob_cancel(mob, running)); /* too late */
    OK(mob_get_copy(mob, running, &value, sizeof value, MOB_FOREVER));
    for (int i = 1; i < 100; i += 2) {
        OK(mob_get_copy(mob, queued[i], &value, sizeof value, MOB_FOREVER));
    }
    struct gated g = {.value = 0};
    snprintf(g.path, sizeof g.path, "%s/cancel", getenv("API_SCRATCH"));
    mob_ref seen;
    OK(mob_submit(mob, until_cancelled, MOB_ARGS(MOB_VALUE(g)), NULL, &seen));
    EVENTUALLY(attempts(g.path) == 1);
    IS(mob_get_size(mob, seen, 0, &size), MOB_ERR_TIMEOUT);
    OK(mob_cancel(mob, seen));
    IS(mob_get_size(mob, seen, MOB_FOREVER, &size), MOB_ERR_TASK_FAILED);
    HAS(mob_last_error(), "saw it");
    mob_shutdown(mob);
}

API_MAIN({"returned_errors", returned_errors, 0},
         {"old_errors_are_forgotten", old_errors_are_forgotten, 0},
         {"deaths", deaths, 60}, {"long_texts", long_texts, 0},
         {"texts_of_a_full_store", texts_of_a_full_store, 0},
         {"retry_on_error", retry_on_error, 0}, {"failed_arguments", failed_arguments, 0},
         {"what_a_dead_task_made_goes", what_a_dead_task_made_goes, 60},
         {"cancel", cancel, 0});
