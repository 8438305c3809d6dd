/* net_below.c - a task that waits on another node for what it submitted there, while that node's own jobs
 * could use all of its CPUs. Two drivers, one on each node of one CPU; FILE is where they meet. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "net_driver.h"

enum { BUSY_MS = 25000, SATURATED_MS = 15000, WAITED_MAX_MS = 8000, WINDOW = 50 };

struct meeting {
    char file[100];
};

static struct meeting met(const char *file, const char *what)
{
    struct meeting m;
    if (snprintf(m.file, sizeof m.file, "%s.%s", file, what) >= (int)sizeof m.file) {
        FAIL("%s is too long a path", file);
    }
    return m;
}

static void say(struct meeting m)
{
    int fd = open(m.file, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
        FAIL("%s: %m", m.file);
    }
    close(fd);
}

static void hear(struct meeting m)
{
    for (uint64_t until = now_ms() + 20000; access(m.file, F_OK) != 0;) {
        if (now_ms() > until) {
            FAIL("nobody made %s", m.file);
        }
        nap_ms(5);
    }
}

/* Says that it runs, and takes its time. */
static mob_status keeps_busy(struct mob_task *task)
{
    struct meeting m;
    MOB_TRY(mob_arg_copy(task, 0, &m, sizeof m));
    say(m);
    nap_ms(BUSY_MS);
    return MOB_OK;
}
MOB_REGISTER(keeps_busy);

static mob_status is_short(struct mob_task *task)
{
    char c = 0;
    nap_ms(5);
    return mob_return_copy(task, 0, &c, sizeof c);
}
MOB_REGISTER(is_short);

static mob_status comes_after(struct mob_task *task)
{
    char c;
    MOB_TRY(mob_arg_copy(task, 0, &c, sizeof c));
    return mob_return_copy(task, 0, &c, sizeof c);
}
MOB_REGISTER(comes_after);

struct waited {
    uint64_t node, ms;
};

/* Waits for a task that waits for another one, and can run neither itself. */
static mob_status waits_below(struct mob_task *task)
{
    struct meeting here[2];
    struct mob *its = mob_task_mob(task);
    struct waited w = {.node = node_here(its)};
    mob_ref first, then;
    char c;
    MOB_TRY(mob_arg_copy(task, 0, here, sizeof here));
    say(here[0]);
    hear(here[1]);
    w.ms = now_ms();
    MOB_TRY(mob_submit(its, is_short, MOB_ARGS(), NULL, &first));
    MOB_TRY(mob_submit(its, comes_after, MOB_ARGS(MOB_REF(first)), NULL, &then));
    MOB_TRY(mob_get_copy(its, then, &c, sizeof c, MOB_FOREVER));
    w.ms = now_ms() - w.ms;
    return mob_return_copy(task, 0, &w, sizeof w);
}
MOB_REGISTER(waits_below);

/* The first driver: its own node is busy, so that the task that waits goes to the other one. */
void below(const char *file)
{
    struct meeting busy = met(file, "busy"),
                   here[2] = {met(file, "there"), met(file, "full")};
    struct waited w;
    mob_ref own, ref;
    MOB_CHECK(mob_submit(mob, keeps_busy, MOB_ARGS(MOB_VALUE(busy)), NULL, &own));
    hear(busy);
    MOB_CHECK(
        mob_submit(mob, waits_below, MOB_ARGS(MOB_BYTES(here, sizeof here)), NULL, &ref));
    MOB_CHECK(mob_get_copy(mob, ref, &w, sizeof w, MOB_FOREVER));
    say(met(file, "done"));
    printf("below: waited %llu ms on another node\n", (unsigned long long)w.ms);
    if (w.node == node_here(mob)) {
        FAIL("it ran here");
    }
    if (w.ms > WAITED_MAX_MS) {
        FAIL("it waited until the other job was done");
    }
}

/* The second one: has more tasks than its node has CPUs, until the first one is done or for some time. */
void saturate(const char *file)
{
    static mob_ref ref[WINDOW];
    struct meeting done = met(file, "done");
    uint64_t until = now_ms() + SATURATED_MS;
    for (unsigned i = 0; now_ms() < until && access(done.file, F_OK) != 0; i++) {
        mob_ref *r = &ref[i % WINDOW];
        char c;
        if (i >= WINDOW) {
            MOB_CHECK(mob_get_copy(mob, *r, &c, sizeof c, MOB_FOREVER));
            mob_release(mob, *r);
        }
        MOB_CHECK(mob_submit(mob, is_short, MOB_ARGS(), NULL, r));
        if (i == WINDOW - 1) {
            say(met(file, "full"));
        }
    }
    puts("saturate: done");
}
