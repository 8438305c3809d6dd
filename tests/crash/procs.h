/* procs.h - processes, for testers that kill them: who descends from whom, what they have open, and
 * children with a pipe each way. */
#ifndef TESTS_PROCS_H
#define TESTS_PROCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { KIDS_MAX = 1024 };

void nap_ms(uint64_t ms);

/* ---- any process -------------------------------------------------------------------------------- */

/* Its state as in /proc/PID/stat; '\0' if there is none. */
char proc_state(pid_t pid);
bool proc_alive(pid_t pid);
/* The living children of a process, KIDS_MAX at most. */
size_t proc_kids(pid_t of, pid_t *ret);
/* Calls @each with the path of each fd of a process whose link begins with @what, and returns how
 * many there are; -1: the process is gone. @each may be NULL. */
int proc_fds(pid_t pid, const char *what, void (*each)(void *arg, const char *path),
             void *arg);

/* ---- children of the tester --------------------------------------------------------------------- */

struct kid { /* pid -1: there is none */
    pid_t pid;
    int in, out; /* its stdin; its stdout, which is read without waiting */
};

/* Starts a program that ends when the tester does. */
struct kid kid_start(char *const argv[]);
/* Closes its stdin. */
void kid_end_input(struct kid *k);
void kid_close(struct kid *k);
/* Waits for its end. False: not within the time limit. */
bool kid_wait(const struct kid *k, uint64_t limit_ms, int *ret_status);
/* The same without waiting. */
bool kid_ended(const struct kid *k, int *ret_status);
/* Reads until it has written @c. False: not within the time limit, or it ended. */
bool kid_says(const struct kid *k, char c, uint64_t limit_ms);
/* Forgets what it wrote until now. */
void kid_forget(const struct kid *k);

/* A folder that the test made, with all in it. */
void remove_tree(const char *dir);

#endif
