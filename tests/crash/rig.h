/* rig.h - for test_daemon: a node, a driver on it that runs one case of daemon_driver, and the board
 * of its job, where the tester sees and brings about what it wants. */
#ifndef TESTS_RIG_H
#define TESTS_RIG_H

#include "core/clock.h"
#include "tester.h"

struct rig {
    char dir[64], scratch[64];
    struct kid daemon, driver;
    struct board board;
};

/* Looks again and again until @cond holds. */
#define EVENTUALLY(cond, ...)                                                            \
    do {                                                                                 \
        uint64_t until_ = clock_now_ns() + PATIENCE_MS * NS_PER_MS;                      \
        while (!(cond)) {                                                                \
            if (clock_now_ns() > until_) {                                               \
                broken(__VA_ARGS__);                                                     \
            }                                                                            \
            nap_ms(2);                                                                   \
        }                                                                                \
    } while (0)

struct rig_case {
    const char *name;
    void (*run)(void);
};
/* Runs all cases, or the one that the arguments name: PROGRAM DRIVER MOBULAD [CASE]. */
int rig_main(const char *name, int argc, char **argv, const struct rig_case *cases,
             size_t count);
/* Names for a node that is to be started. */
void rig_names(struct rig *g);
/* Starts a node of so many CPUs, and the driver's case on it. */
void rig_begin(struct rig *g, unsigned cpus, const char *driver_case);
/* Ends the driver, whose exit status must be @code; the node must be empty then, and ends well. A
 * daemon or driver that is gone already has pid -1. */
void rig_end(struct rig *g, int code);
const char *rig_mobulad(void);

/* ---- driver ---- */
struct kid driver_start(const struct rig *g, const char *driver_case);
void driver_await(const struct rig *g, char c);
void driver_tell(const struct rig *g);
void driver_end(struct kid *k, int code);
/* Files in the scratch folder, by which tasks and tester tell each other. */
void mark_make(const struct rig *g, const char *name);
bool mark_there(const struct rig *g, const char *name);

/* ---- node and board ---- */
size_t count_jobs(const struct rig *g);
void map_board(struct rig *g);
bool is_asleep(const struct rig *g, uint32_t proc);
/* Waits until two workers sleep for want of work. */
void await_sleepers(const struct rig *g, uint32_t ret_procs[2]);
pid_t worker_pid(const struct rig *g, uint32_t proc);
/* Kills a worker and waits until the daemon has swept after it. */
void kill_worker(const struct rig *g, uint32_t proc);
/* Segments in use whose word has all of @flags, and whose owner is dead if @of_dead. */
unsigned count_segments(const struct rig *g, uint64_t flags, bool of_dead);

#endif
