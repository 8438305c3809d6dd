/* net_driver.h - what the cases of net_driver share. */
#ifndef TESTS_NET_DRIVER_H
#define TESTS_NET_DRIVER_H

#include <mobula.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAIL(...)                                                                        \
    do {                                                                                 \
        fprintf(stderr, "net_driver: " __VA_ARGS__);                                     \
        fputc('\n', stderr);                                                             \
        exit(1);                                                                         \
    } while (0)

extern struct mob *mob;
extern long number; /* of the command line, or -1 */

struct net_case {
    const char *name;
    void (*run)(void);
};

/* What main() of a driver does: the case that its first argument names. */
static inline int net_run(const struct net_case *cases, size_t count, const char *usage,
                          int argc, char **argv)
{
    MOB_CHECK(mob_init(NULL, &mob));
    for (size_t i = 0; argc > 1 && i < count; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            mob_shutdown(mob);
            return 0;
        }
    }
    fprintf(stderr, "usage: %s\n", usage);
    return 2;
}

static inline uint64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline void nap_ms(unsigned ms)
{
    struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&ts, &ts) < 0) {
    }
}

static inline uint64_t node_here(struct mob *of)
{
    struct mob_info info = {.struct_size = sizeof info};
    return mob_get_info(of, &info) == MOB_OK ? info.node_id : 0;
}

/* Of a task for node 2: the driver's node has one CPU. */
static inline struct mob_options elsewhere(void)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    o.num_cpus = 2;
    return o;
}

/* ---- net_objects.c: bytes that cross ---- */
void big(void);
void room(void);
void relay(void);
void objects(void);
void endure(void);
void trips(void);

/* ---- net_spread.c: how often, from where and in which order they do ---- */
void broadcast(void);
void share(void);
void urgent(void);
void unwanted(const char *begun);
void reduce(void);
void fold(void);
void fold_speed(void);

/* ---- net_lineage.c: results that stay where they were made ---- */
void lineage(void);
void steps(void);
void handed(void);
void used(void);
void held(void);

/* ---- net_place.c: tasks that ask for a node, or what one has ---- */
void place(void);

/* ---- net_regroup.c: groups made and removed again and again ---- */
void regroup(void);

/* ---- net_cancel.c: what does not run to its end ---- */
void cancels(const char *folder);

/* ---- net_load.c: graphs of tasks, while nodes die ---- */
void load(char **arg);
void flood(void);

/* ---- net_below.c: what a task waits for where it is ---- */
void below(const char *file);
void saturate(const char *file);

/* ---- net_gang.c: tasks that start together ---- */
void gang(const char *file);
void gangs(void);
void gang_kept(void);
void gang_inside(void);
void crowd(const char *path);

/* ---- net_wait.c: who sleeps while it waits ---- */
void waits(void);

#endif
