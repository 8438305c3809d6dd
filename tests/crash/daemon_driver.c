/* daemon_driver.c - the drivers of test_daemon: a case each, in step with the tester.
 *
 *   daemon_driver CASE FOLDER NODE
 *
 * It says a letter on its stdout when it has come somewhere, and goes on when it reads one. */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon_tasks.h"

enum { RINGS = 20000, SLOW_STARTS = 6, SPREAD_TASKS = 3, EXIT_LOST = 40 };

static void __attribute__((noreturn)) fail(int line, mob_status st)
{
    if (st == MOB_ERR_NODE_LOST) {
        exit(EXIT_LOST);
    }
    fprintf(stderr, "daemon_driver: line %d: %s: %s\n", line, mob_status_name(st),
            mob_last_error());
    exit(1);
}

#define OK(call)                                                                         \
    do {                                                                                 \
        mob_status st_ = (call);                                                         \
        if (st_) {                                                                       \
            fail(__LINE__, st_);                                                         \
        }                                                                                \
    } while (0)

static void say(char c)
{
    if (write(STDOUT_FILENO, &c, 1) != 1) {
        _exit(0);
    }
}

/* False: the tester wants the end. */
static int hear(void)
{
    char c;
    return read(STDIN_FILENO, &c, 1) == 1;
}

/* ---- cases -------------------------------------------------------------------------------------- */

static void two_large(struct mob *mob, mob_ref ref[2], struct mob_view view[2])
{
    for (int i = 0; i < 2; i++) {
        OK(mob_submit(mob, large, MOB_NO_ARGS, NULL, &ref[i]));
    }
    for (int i = 0; i < 2; i++) {
        OK(mob_get(mob, ref[i], WAIT_NS, &view[i]));
    }
}

/* Both workers have mapped the memory of the other from here on. */
static void look_at_both_in_both(struct mob *mob, const mob_ref ref[2])
{
    mob_ref looked[2];
    for (int i = 0; i < 2; i++) {
        OK(mob_submit(mob, look_at_both, MOB_ARGS(MOB_REF(ref[0]), MOB_REF(ref[1])), NULL,
                      &looked[i]));
    }
    for (int i = 0; i < 2; i++) {
        size_t size;
        OK(mob_get_size(mob, looked[i], WAIT_NS, &size));
        mob_release(mob, looked[i]);
    }
}

static int is_alive(const struct mob_view *made_by)
{
    return kill((pid_t) * (const uint64_t *)made_by->data, 0) == 0;
}

/* Lets go of what lives in two workers' memory, or only of what the dead one made, and does nothing
 * more with the library. */
static void let_go_of(struct mob *mob, int all)
{
    mob_ref ref[2];
    struct mob_view view[2];
    two_large(mob, ref, view);
    look_at_both_in_both(mob, ref);
    say('r');
    (void)hear();
    for (int i = 0; i < 2; i++) {
        if (all || !is_alive(&view[i])) {
            mob_view_release(mob, &view[i]);
            mob_release(mob, ref[i]);
        }
    }
    say('d');
    (void)hear();
}

static void let_go(struct mob *mob)
{
    let_go_of(mob, 1);
}

static void let_go_one(struct mob *mob)
{
    let_go_of(mob, 0);
}

/* One of two workers is dead. The other dies in a task, and what that put goes; what it had returned
 * before must stay. */
static void stays(struct mob *mob)
{
    mob_ref ref[2], die[2];
    struct mob_view view[2];
    struct mob_options once = {.struct_size = sizeof once, .max_retries = 0};
    struct mob_info info = {.struct_size = sizeof info};
    uint64_t who = 0, got;
    int lost = 0;
    two_large(mob, ref, view);
    say('r');
    (void)hear();
    for (int i = 0; i < 2; i++) {
        who = is_alive(&view[i]) ? *(const uint64_t *)view[i].data : who;
        mob_view_release(mob, &view[i]);
    }
    for (int i = 0; i < 2; i++) {
        OK(mob_submit(mob, put_and_die, MOB_ARGS(MOB_VALUE(who)), &once, &die[i]));
    }
    for (int i = 0; i < 2; i++) {
        mob_status st = mob_get_copy(mob, die[i], &got, sizeof got, WAIT_NS);
        lost += st == MOB_ERR_TASK_DIED;
    }
    OK(mob_get_info(mob, &info)); /* the daemon has done all that the death asked for */
    for (int i = 0; i < 2; i++) {
        OK(mob_get(mob, ref[i], WAIT_NS, &view[i]));
        if (lost != 1 || !is_filled(view[i].data, view[i].size)) {
            fprintf(stderr, "daemon_driver: %d tasks died; result %d is not as made\n",
                    lost, i);
            exit(1);
        }
    }
    say('d');
    (void)hear();
}

/* Has workers, and is idle. */
static void idle(struct mob *mob)
{
    mob_ref ref[2];
    struct mob_view view[2];
    struct mob_info info = {.struct_size = sizeof info};
    two_large(mob, ref, view);
    say('r');
    while (hear()) {
        OK(mob_get_info(mob, &info));
        say('r');
    }
}

/* Holds an id, and lets it go. */
static void hold_id(struct mob *mob)
{
    mob_ref ref[2];
    struct mob_view view[2];
    two_large(mob, ref, view);
    mob_view_release(mob, &view[0]);
    mob_view_release(mob, &view[1]);
    mob_release(mob, ref[1]);
    say('r');
    (void)hear();
    mob_release(mob, ref[0]);
    say('d');
    (void)hear();
}

/* A view pins what only a task that dies, or is done, still used. */
static void hold_view(struct mob *mob)
{
    mob_ref made, user;
    struct mob_view view;
    struct mob_options once = {.struct_size = sizeof once, .max_retries = 0};
    mob_status st;
    char c;
    OK(mob_submit(mob, small, MOB_NO_ARGS, NULL, &made));
    OK(mob_get(mob, made, WAIT_NS, &view));
    OK(mob_submit(mob, gated, MOB_ARGS(MOB_REF(made)), &once, &user));
    mob_release(mob, made);
    await_mark("inside");
    say('r');
    (void)hear();
    st = mob_get_copy(mob, user, &c, 1, WAIT_NS);
    if (st && st != MOB_ERR_TASK_DIED) {
        fail(__LINE__, st);
    }
    mob_release(mob, user);
    say('v');
    (void)hear();
    mob_view_release(mob, &view);
    say('d');
    (void)hear();
}

static void run_one(struct mob *mob, mob_fn fn)
{
    mob_ref ref;
    char c;
    OK(mob_submit(mob, fn, MOB_NO_ARGS, NULL, &ref));
    say('s');
    OK(mob_get_copy(mob, ref, &c, 1, WAIT_NS));
    mob_release(mob, ref);
    say('d');
    (void)hear();
}

/* Of two jobs on one CPU, this one loses it to the other one while its worker idles. */
static void loses_cpu(struct mob *mob)
{
    run_one(mob, fork_off);
    run_one(mob, gated); /* which is open by then */
}

/* More tasks than its node runs at once. */
static void spreads(struct mob *mob)
{
    mob_ref ref[SPREAD_TASKS];
    char c;
    for (uint64_t i = 0; i < SPREAD_TASKS; i++) {
        OK(mob_submit(mob, gated_each, MOB_ARGS(MOB_VALUE(i)), NULL, &ref[i]));
    }
    for (int i = 0; i < SPREAD_TASKS; i++) {
        OK(mob_get_copy(mob, ref[i], &c, 1, WAIT_NS));
        mob_release(mob, ref[i]);
    }
    say('d');
    (void)hear();
}

static void takes_cpu(struct mob *mob)
{
    run_one(mob, gated);
}

/* The bell is a client's too: it may make it one that waits, and take back what it rang. */
static void ring(struct mob *mob)
{
    char path[64], link[64];
    uint64_t one = 1;
    int bells = 0;
    (void)mob;
    for (int fd = 3; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, link, sizeof link - 1);
        link[n > 0 ? n : 0] = '\0';
        if (strcmp(link, "anon_inode:[eventfd]") != 0 || fcntl(fd, F_SETFL, O_RDWR) < 0) {
            continue;
        }
        bells++;
        for (int i = 0; i < RINGS; i++) {
            (void)!write(fd, &one, sizeof one);
            (void)!preadv2(fd, &(struct iovec){&one, sizeof one}, 1, -1, RWF_NOWAIT);
            one = 1;
        }
    }
    if (bells != 1) {
        fprintf(stderr, "daemon_driver: %d bells\n", bells);
        exit(1);
    }
    say('r');
    (void)hear();
}

/* More output than its reader, who does not read, has room for. */
static void loud(struct mob *mob)
{
    mob_ref ref;
    char c;
    OK(mob_submit(mob, chatter, MOB_NO_ARGS, NULL, &ref));
    OK(mob_get_copy(mob, ref, &c, 1, WAIT_NS));
    (void)mark("done");
    (void)hear();
}

static const struct {
    const char *name;
    void (*run)(struct mob *mob);
} cases[] = {
    {"let_go", let_go},       {"let_go_one", let_go_one}, {"stays", stays},
    {"idle", idle},           {"slow_start", takes_cpu},  {"ring", ring},
    {"loud", loud},           {"hold_id", hold_id},       {"hold_view", hold_view},
    {"loses_cpu", loses_cpu}, {"takes_cpu", takes_cpu},   {"spreads", spreads}};

/* The first workers stand still before mob_init(), until the tester kills them. */
static void be_slow(void)
{
    char name[16];
    for (int i = 0; i < SLOW_STARTS; i++) {
        snprintf(name, sizeof name, "slow%d", i);
        if (mark(name)) {
            pause();
        }
    }
}

int main(int argc, char **argv)
{
    struct mob *mob;
    if (argc != 4) {
        return 2;
    }
    marks_folder = argv[2];
    if (!mob_is_worker()) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    } else if (strcmp(argv[1], "slow_start") == 0) {
        be_slow();
    }
    struct mob_config config = {.struct_size = sizeof config, .address = argv[3]};
    OK(mob_init(&config, &mob));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(cases[i].name, argv[1]) == 0) {
            cases[i].run(mob);
            mob_shutdown(mob);
            return 0;
        }
    }
    return 2;
}
