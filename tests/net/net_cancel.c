/* net_cancel.c - tasks on another node that are cancelled, pass their deadline, or fail and are tried again.
 * They say what they do in files, so that the nodes must share a folder (MODE local). */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net_driver.h"

struct endless { /* its marks are these files, one byte each time */
    char began[108], heard[108];
    int deaf, below; /* below: of what it submits */
};

static void mark(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1) {
        FAIL("%s: %m", path);
    }
    close(fd);
}

static long marks(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (long)st.st_size : 0;
}

static void await_marks(const char *path, long count)
{
    for (int i = 0; marks(path) < count; i++) {
        if (i == 2000) {
            FAIL("%s has %ld marks of %ld", path, marks(path), count);
        }
        nap_ms(10);
    }
}

static mob_status endless(struct mob_task *task)
{
    struct endless e;
    struct mob *job = mob_task_mob(task);
    mob_ref ref[4];
    size_t size;
    MOB_TRY(mob_arg_copy(task, 0, &e, sizeof e));
    for (int i = 0; i < e.below; i++) {
        struct endless leaf = e;
        leaf.below = 0;
        MOB_TRY(mob_submit(job, endless, MOB_ARGS(MOB_VALUE(leaf)), NULL, &ref[i]));
    }
    for (int i = 0; i < e.below; i++) {
        (void)!mob_get_size(job, ref[i], MOB_FOREVER, &size);
    }
    if (e.below) {
        return MOB_ERR_CANCELLED;
    }
    mark(e.began);
    while (e.deaf || !mob_task_cancelled(task)) {
        nap_ms(2);
    }
    mark(e.heard);
    return MOB_ERR_CANCELLED;
}
MOB_REGISTER(endless);

/* Fails twice, and then tells how often it was tried. */
static mob_status third_time(struct mob_task *task)
{
    struct endless e;
    MOB_TRY(mob_arg_copy(task, 0, &e, sizeof e));
    mark(e.began);
    long tries = marks(e.began);
    return tries < 3 ? mob_fail(task, "not yet")
                     : mob_return_copy(task, 0, &tries, sizeof tries);
}
MOB_REGISTER(third_time);

static const char *folder;

static struct endless new_endless(int deaf, int below)
{
    static int count;
    struct endless e = {.deaf = deaf, .below = below};
    snprintf(e.began, sizeof e.began, "%.90s/began%d", folder, ++count);
    snprintf(e.heard, sizeof e.heard, "%.90s/heard%d", folder, count);
    return e;
}

static mob_ref submit_there(const struct endless *e, uint64_t deadline_ns)
{
    struct mob_options o = elsewhere();
    mob_ref ref;
    o.deadline_ns = deadline_ns;
    MOB_CHECK(mob_submit(mob, endless, MOB_ARGS(MOB_VALUE(*e)), &o, &ref));
    return ref;
}

static void ends_with(mob_ref ref, mob_status status, const char *why)
{
    char text[1024];
    size_t size;
    mob_status st = mob_get_size(mob, ref, 20000000000ull, &size);
    MOB_CHECK(mob_failure(mob, ref, text, sizeof text));
    if (st != status || !strstr(text, why)) {
        FAIL("%s instead of %s (%s): %s", mob_status_name(st), mob_status_name(status),
             why, text);
    }
    mob_release(mob, ref);
}

static void cancel_as(mob_ref ref, int recursive, int force)
{
    struct mob_cancel_options o = MOB_CANCEL_OPTIONS_INIT;
    o.recursive = recursive;
    o.force = force;
    o.grace_ns = 20000000;
    MOB_CHECK(mob_cancel_as(mob, ref, &o));
}

static void third_time_lucky(const struct endless *third)
{
    mob_ref ref;
    struct mob_options o = elsewhere();
    long tries;
    o.retry_on_error = 1;
    MOB_CHECK(mob_submit(mob, third_time, MOB_ARGS(MOB_VALUE(*third)), &o, &ref));
    MOB_CHECK(mob_get_copy(mob, ref, &tries, sizeof tries, MOB_FOREVER));
    if (tries != 3) {
        FAIL("%ld tries instead of 3", tries);
    }
}

void cancels(const char *in)
{
    folder = in;
    struct endless deaf = new_endless(1, 0), hears = new_endless(0, 0),
                   late = new_endless(1, 0), tree = new_endless(0, 4),
                   deaf_tree = new_endless(1, 4), third = new_endless(0, 0);
    mob_ref ref = submit_there(&hears, 0), waits[8];
    await_marks(hears.began, 1);
    for (int i = 0; i < 8; i++) { /* behind it, there or here */
        waits[i] = submit_there(&deaf, i < 4 ? 200000000 : 0);
    }
    for (int i = 0; i < 4; i++) {
        ends_with(waits[i], MOB_ERR_DEADLINE, "deadline passed before it ran");
    }
    for (int i = 4; i < 8; i++) {
        MOB_CHECK(mob_cancel(mob, waits[i]));
        ends_with(waits[i], MOB_ERR_CANCELLED, "cancelled before it ran");
    }
    MOB_CHECK(mob_cancel(mob, ref));
    ends_with(ref, MOB_ERR_CANCELLED, "MOB_ERR_CANCELLED");
    ref = submit_there(&deaf, 0);
    await_marks(deaf.began, 1);
    MOB_CHECK(mob_cancel(mob, ref)); /* which changes nothing; the next one does */
    cancel_as(ref, 0, 1);
    ends_with(ref, MOB_ERR_CANCELLED, "ended by force");
    ref =
        submit_there(&late, 3000000000); /* by then it has begun, on a slow machine too */
    ends_with(ref, MOB_ERR_DEADLINE, "ended by force");
    if (marks(deaf.began) != 1 || marks(late.began) != 1) {
        FAIL("a task that was ended by force ran again");
    }
    ref = submit_there(&tree, 0);
    await_marks(tree.began, 2);
    cancel_as(ref, 1, 0);
    ends_with(ref, MOB_ERR_CANCELLED, "MOB_ERR_CANCELLED");
    await_marks(tree.heard, marks(tree.began));
    ref = submit_there(&deaf_tree, 0);
    await_marks(deaf_tree.began, 1);
    cancel_as(ref, 1, 1);
    ends_with(ref, MOB_ERR_CANCELLED, "");
    third_time_lucky(&third);
    puts("cancelled, late and tried again elsewhere");
}
