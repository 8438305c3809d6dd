/* step_client.c - a program whose worker runs operations of the library between marks, and is traced.
 *
 * Its job's driver is the tester, which submits step_ops, and then step_return and step_claimed. Each
 * operation begins and ends with a mark; step_return ends with one, behind which the worker returns, and
 * step_claimed begins with one. */
#include <mobula.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>

#include "mark.h"

enum { LARGE = 1 << 20, PAGES = 40 << 10, MANY = 64 };

static struct mob *mob;
static struct mob_task *self;
static mob_ref id[4], many[MANY];
static uint64_t keepers[3]; /* links of its objects: small, large, not sealed */
static struct mob_view view;
static char bytes[LARGE];

static void ok(mob_status st, const char *what)
{
    if (st) {
        fprintf(stderr, "step_client: %s: %s\n", what, mob_last_error());
        __builtin_trap();
    }
}

/* An id of the keeper's, whose job this is too. */
static mob_ref keepers_ref(int i)
{
    mob_ref own, ref;
    ok(mob_put(mob, bytes, 8, 0, &own), "put");
    ref = (mob_ref){own.hi, keepers[i]};
    mob_release(mob, own);
    return ref;
}

static mob_status nothing(struct mob_task *task)
{
    (void)task;
    return MOB_OK;
}
MOB_REGISTER(nothing);

static void submit(const struct mob_arg *args, size_t count, mob_ref *ret)
{
    ok(mob_submit(mob, nothing, (struct mob_args){count, args}, NULL, ret), "submit");
}
static void submit_by_deadline(mob_ref *ret)
{
    struct mob_options options = MOB_OPTIONS_INIT;
    options.deadline_ns = 3600000000000ull;
    ok(mob_submit(mob, nothing, (struct mob_args){0, NULL}, &options, ret), "submit");
}
static void cancel_as(mob_ref ref)
{
    struct mob_cancel_options options = MOB_CANCEL_OPTIONS_INIT;
    options.recursive = options.force = 1;
    ok(mob_cancel_as(mob, ref, &options), "cancel");
}
static void put(size_t size)
{
    ok(mob_put(mob, bytes, size, 0, &id[0]), "put");
}
static void create(size_t size)
{
    void *data;
    ok(mob_create(mob, size, 0, &id[0], &data), "create");
}
static void release(void)
{
    mob_release(mob, id[0]);
}
static void end_task(void)
{
    (void)mob_cancel(mob, id[1]);
    mob_release(mob, id[1]);
}

/* ---- operations: what comes before the first mark, what is looked at, what comes behind -------- */

#define OP(name, prepare, run, end)                                                      \
    static void op_##name(void)                                                          \
    {                                                                                    \
        prepare;                                                                         \
        step_mark();                                                                     \
        run;                                                                             \
        step_mark();                                                                     \
        end;                                                                             \
    }

OP(put_8_bytes, , put(8), release())
OP(put_100_bytes, , put(100), release())
OP(put_200_bytes, , put(200), release())
OP(put_200_bytes_again, , put(200), release())
OP(put_1_KiB, , put(1024), release())
OP(create_40_KiB, create(8); mob_abort(mob, id[0]) /* notes where that is, once */,
                             create(PAGES), mob_abort(mob, id[0]))
OP(create, , create(1000), mob_abort(mob, id[0]))
OP(seal, create(1000), ok(mob_seal(mob, id[0]), "seal"), release())
OP(seal_that_a_task_waits_for, create(8);
   submit((struct mob_arg[]){MOB_REF(id[0])}, 1, &id[1]),
   ok(mob_seal(mob, id[0]), "seal"), end_task();
   release())
OP(abort_small, create(8), mob_abort(mob, id[0]), )
OP(abort_large, create(1000), mob_abort(mob, id[0]), )
OP(get, id[0] = keepers_ref(0), ok(mob_get(mob, id[0], 0, &view), "get"),
   mob_view_release(mob, &view))
OP(get_that_maps, id[0] = keepers_ref(1), ok(mob_get(mob, id[0], 0, &view), "get"),
   mob_view_release(mob, &view))
OP(get_large, id[0] = keepers_ref(1), ok(mob_get(mob, id[0], 0, &view), "get"),
   mob_view_release(mob, &view))
OP(get_copy, id[0] = keepers_ref(0), ok(mob_get_copy(mob, id[0], bytes, 8, 0), "get"), )
OP(view_release, id[0] = keepers_ref(0);
   ok(mob_get(mob, id[0], 0, &view), "get"), mob_view_release(mob, &view), )
OP(release, put(8), release(), )
OP(release_large, put(PAGES), release(), )
OP(release_that_frees, put(LARGE), release(), )
OP(submit, , submit((struct mob_arg[]){MOB_BYTES(bytes, 8)}, 1, &id[1]), end_task())
OP(submit_by_id, put(8);
   id[2] = keepers_ref(1),
   submit((struct mob_arg[]){MOB_REF(id[0]), MOB_REF(id[2])}, 2, &id[1]), end_task();
   release())
OP(submit_that_waits, id[2] = keepers_ref(2),
   submit((struct mob_arg[]){MOB_REF(id[2]), MOB_BYTES(bytes, 8)}, 2, &id[1]), end_task())
OP(submit_that_waits_twice, id[2] = keepers_ref(2),
   submit((struct mob_arg[]){MOB_REF(id[2]), MOB_REF(id[2])}, 2, &id[1]), end_task())
OP(submit_large_value, , submit((struct mob_arg[]){MOB_BYTES(bytes, 1024)}, 1, &id[1]),
   end_task())
OP(cancel_ready, submit(NULL, 0, &id[1]), ok(mob_cancel(mob, id[1]), "cancel"),
   mob_release(mob, id[1]))
OP(cancel_waiting, id[2] = keepers_ref(2);
   submit((struct mob_arg[]){MOB_REF(id[2])}, 1, &id[1]),
   ok(mob_cancel(mob, id[1]), "cancel"), mob_release(mob, id[1]))
OP(submit_with_deadline, , submit_by_deadline(&id[1]), end_task())
OP(cancel_by_force, submit(NULL, 0, &id[1]), cancel_as(id[1]), mob_release(mob, id[1]))
OP(return_ref, put(8), ok(mob_return_ref(self, 0, id[0]), "return"), release())

static void op_release_that_frees_all(void)
{
    put(LARGE);
    release(); /* what was freed before goes with it */
    for (int i = 0; i < MANY; i++) {
        ok(mob_put(mob, bytes, i % 8 ? 8 : 1000, 0, &many[i]), "put");
    }
    for (int i = 0; i < MANY - 1; i++) {
        mob_release(mob, many[i]);
    }
    step_mark();
    mob_release(mob, many[MANY - 1]);
    step_mark();
}

static void op_wait_for_sealed(void)
{
    unsigned char ready[3];
    size_t count;
    put(8);
    mob_ref refs[3] = {id[0], keepers_ref(0), keepers_ref(1)};
    step_mark();
    ok(mob_wait(mob, refs, 3, 3, 0, ready, &count), "wait");
    step_mark();
    release();
}

static void op_return_in_place(void)
{
    void *data;
    step_mark();
    ok(mob_return_place(self, 1, 1000, &data), "return");
    step_mark();
}

static mob_status step_ops(struct mob_task *task)
{
#define CALL(name) op_##name,
    static void (*const ops[])(void) = {STEP_CLIENT_OPS(CALL)};
    self = task;
    mob = mob_task_mob(task);
    MOB_TRY(mob_arg_copy(task, 0, keepers, sizeof keepers));
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        ops[i]();
    }
    return MOB_OK;
}
MOB_REGISTER(step_ops);

static mob_status step_return(struct mob_task *task)
{
    uint64_t word = 7;
    MOB_TRY(mob_return_copy(task, 0, &word, sizeof word));
    step_mark();
    return MOB_OK;
}
MOB_REGISTER(step_return);

static mob_status step_claimed(struct mob_task *task)
{
    (void)task;
    step_mark();
    return MOB_OK;
}
MOB_REGISTER(step_claimed);

int main(void)
{
    if (!mob_is_worker() || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) {
        fprintf(stderr, "step_client: run by the test that traces it\n");
        return 2;
    }
    MOB_CHECK(mob_init(NULL, &mob));
}
