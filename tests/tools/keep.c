/* keep.c - a driver that has objects of each kind for the tests of storectl. Prints "LABEL ID" for each
 * and "ready", and goes on when its standard input ends.
 *
 *   keep scene   puts, arrays, results, failures, arguments, views, nested tasks
 *   keep many N  N small objects
 *   keep large N N large ones, 1 MiB of bytes 7 each
 *   keep late F  tasks of the shortest way, two and a half seconds apart, with the workers asleep and with
 *                the only one busy until the file F is there
 *   keep far     an array that a task with 2 CPUs gets, which only another node has, and its result */
#include <mobula.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void say(const char *label, mob_ref ref)
{
    printf("%s %016llx%016llx\n", label, (unsigned long long)ref.hi,
           (unsigned long long)ref.lo);
}

static void until_end(void)
{
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
}

/* ---- tasks ----------------------------------------------------------------------------------------------- */

static mob_status answer(struct mob_task *task)
{
    int x = 42;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(answer);

static mob_status broken(struct mob_task *task)
{
    return mob_fail(task, "broken as it should be");
}
MOB_REGISTER(broken);

/* Argument 0: a file for which it waits; argument 1: an object that it looks at meanwhile. */
static mob_status gate(struct mob_task *task)
{
    const void *path;
    size_t size;
    char name[4096];
    mob_ref inner;
    struct mob_view view;
    MOB_TRY(mob_arg(task, 0, &path, &size));
    snprintf(name, sizeof name, "%.*s", (int)size, (const char *)path);
    const char *last = strrchr(name, '/');
    if (!last || strcmp(last, "/gate") !=
                     0) { /* else it would leave a file beside the test's folder */
        return mob_fail(task, "somebody wrote over the name of the gate");
    }
    MOB_TRY(mob_submit(mob_task_mob(task), answer, MOB_NO_ARGS, NULL, &inner));
    MOB_TRY(mob_get(mob_task_mob(task), inner, MOB_FOREVER, &view));
    strncat(name, ".in", sizeof name - strlen(name) - 1);
    FILE *f = fopen(name, "we");
    if (f) {
        fprintf(f, "inner %016llx%016llx\n", (unsigned long long)inner.hi,
                (unsigned long long)inner.lo);
        fclose(f);
    }
    name[strlen(name) - 3] = '\0';
    while (access(name, F_OK) != 0) {
        poll(NULL, 0, 10);
    }
    mob_view_release(mob_task_mob(task), &view);
    return MOB_OK;
}
MOB_REGISTER(gate);

static mob_status double_all(struct mob_task *task)
{
    const void *from;
    void *to;
    size_t size;
    struct mob_meta m = {.struct_size = sizeof m};
    MOB_TRY(mob_arg(task, 0, &from, &size));
    MOB_TRY(mob_arg_meta(task, 0, &m));
    if (m.type != MOB_TYPE_FLOAT || m.dims != 2 || m.shape[0] * m.shape[1] * 8 != size) {
        return mob_fail(task, "the array's shape was lost on its way");
    }
    MOB_TRY(mob_return_place(task, 0, size, &to));
    for (size_t i = 0; i < size / sizeof(double); i++) {
        ((double *)to)[i] = 2 * ((const double *)from)[i];
    }
    return mob_return_meta(task, 0, &m);
}
MOB_REGISTER(double_all);

/* ---- scenes ------------------------------------------------------------------------------------------------ */

static mob_ref put_array(struct mob *mob, uint64_t rows, uint64_t columns)
{
    struct mob_object_options how = MOB_OBJECT_OPTIONS_INIT;
    struct mob_meta m = {.struct_size = sizeof m,
                         .type = MOB_TYPE_FLOAT,
                         .item_bytes = sizeof(double),
                         .dims = 2,
                         .shape = {rows, columns}};
    double *values = malloc(rows * columns * sizeof *values);
    mob_ref ref;
    for (uint64_t i = 0; i < rows * columns; i++) {
        values[i] = (double)i;
    }
    how.meta = &m;
    MOB_CHECK(mob_put_as(mob, values, rows * columns * sizeof *values, &how, MOB_FOREVER,
                         &ref));
    free(values);
    return ref;
}

static void scene(struct mob *mob, const char *gate_file)
{
    mob_ref leak, array, result, failed, running, waiting;
    struct mob_view view;
    unsigned char ready;
    for (int i = 0; i < 5; i++) {
        MOB_CHECK(mob_put(mob, "leaked", 6, MOB_FOREVER, &leak));
    }
    say("leak", leak);
    array = put_array(mob, 300, 100);
    say("array", array);
    MOB_CHECK(mob_get(mob, array, MOB_FOREVER, &view));
    MOB_CHECK(mob_submit(mob, answer, MOB_NO_ARGS, NULL, &result));
    MOB_CHECK(mob_wait(mob, &result, 1, 1, MOB_FOREVER, &ready, NULL));
    say("result", result);
    MOB_CHECK(mob_submit(mob, broken, MOB_NO_ARGS, NULL, &failed));
    MOB_CHECK(mob_wait(mob, &failed, 1, 1, MOB_FOREVER, &ready, NULL));
    say("failed", failed);
    MOB_CHECK(mob_submit(
        mob, gate, MOB_ARGS(MOB_BYTES(gate_file, strlen(gate_file)), MOB_REF(result)),
        NULL, &running));
    say("running", running);
    MOB_CHECK(mob_submit(mob, double_all, MOB_ARGS(MOB_REF(array), MOB_REF(running)),
                         NULL, &waiting));
    say("waiting", waiting);
    until_end();
    mob_status st = mob_get_copy(mob, leak, (char[6]){0}, 6, 0);
    printf("leak is %s\n", mob_status_name(st));
    mob_view_release(mob, &view);
}

static void many(struct mob *mob, long count)
{
    mob_ref ref = {0, 0};
    for (long i = 0; i < count; i++) {
        MOB_CHECK(mob_put(mob, &i, sizeof i, MOB_FOREVER, &ref));
    }
    say("last", ref);
    until_end();
}

static void large(struct mob *mob, long count)
{
    static char bytes[1 << 20];
    mob_ref ref = {0, 0};
    memset(bytes, 7, sizeof bytes);
    for (long i = 0; i < count; i++) {
        MOB_CHECK(mob_put(mob, bytes, sizeof bytes, MOB_FOREVER, &ref));
    }
    until_end();
}

static mob_status echo(struct mob_task *task)
{
    long x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(echo);

static mob_ref submit_echo(struct mob *mob, long x)
{
    mob_ref ref;
    MOB_CHECK(mob_submit(mob, echo, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    return ref;
}

/* For how old things are: this program does nothing meanwhile that would move a clock on. */
static void do_nothing(void)
{
    poll(NULL, 0, 2500);
}

static void late(struct mob *mob, const char *gate_file)
{
    long x;
    mob_ref ref = {0, 0}, running;
    for (int i = 0; i < 100; i++) {
        ref = submit_echo(mob, i);
        MOB_CHECK(mob_get_copy(mob, ref, &x, sizeof x, MOB_FOREVER));
    }
    say("early", ref);
    do_nothing();
    say("late", submit_echo(mob, 1));
    MOB_CHECK(mob_submit(mob, gate,
                         MOB_ARGS(MOB_BYTES(gate_file, strlen(gate_file)), MOB_REF(ref)),
                         NULL, &running));
    say("queued", submit_echo(mob, 2));
    do_nothing();
    say("behind", submit_echo(mob, 3));
    until_end();
}

static void far_away(struct mob *mob)
{
    struct mob_options two = MOB_OPTIONS_INIT;
    struct mob_meta m = {.struct_size = sizeof m};
    mob_ref array = put_array(mob, 512, 256), result;
    struct mob_view view;
    two.num_cpus = 2;
    MOB_CHECK(mob_submit(mob, double_all, MOB_ARGS(MOB_REF(array)), &two, &result));
    MOB_CHECK(mob_get(mob, result, MOB_FOREVER, &view));
    MOB_CHECK(mob_get_meta(mob, result, 0, &m));
    printf("shape %llu %llu, last %g\n", (unsigned long long)m.shape[0],
           (unsigned long long)m.shape[1], ((const double *)view.data)[512 * 256 - 1]);
    mob_view_release(mob, &view);
    say("array", array);
    say("result", result);
    until_end();
}

int main(int argc, char **argv)
{
    struct mob *mob;
    MOB_CHECK(mob_init(NULL, &mob));
    if (argc == 3 && strcmp(argv[1], "scene") == 0) {
        scene(mob, argv[2]);
    } else if (argc == 3 && strcmp(argv[1], "many") == 0) {
        many(mob, strtol(argv[2], NULL, 10));
    } else if (argc == 3 && strcmp(argv[1], "large") == 0) {
        large(mob, strtol(argv[2], NULL, 10));
    } else if (argc == 3 && strcmp(argv[1], "late") == 0) {
        late(mob, argv[2]);
    } else if (argc == 2 && strcmp(argv[1], "far") == 0) {
        far_away(mob);
    } else {
        fputs("usage: keep scene FILE | keep many N | keep large N | keep late FILE | "
              "keep far\n",
              stderr);
        return 2;
    }
    mob_shutdown(mob);
    return 0;
}
