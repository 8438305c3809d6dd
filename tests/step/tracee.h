/* tracee.h - a process that is run one instruction at a time. */
#ifndef TESTS_STEP_TRACEE_H
#define TESTS_STEP_TRACEE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct tracee {
    pid_t pid;          /* a child of ours, which said PTRACE_TRACEME */
    void (*idle)(void); /* called while it sleeps: does what it may wait for */
    bool stopped;       /* as tracee_wait() saw */
};

/* What it stopped at. */
enum tracee_stop { TRACEE_STEP, TRACEE_MARK, TRACEE_OTHER, TRACEE_ENDED };

/* Waits for its next stop. @ret_what: the signal, or the exit status as waitpid() gives it. */
enum tracee_stop tracee_wait(struct tracee *t, int *ret_what);
/* Runs it to its next mark. False: it ended, or stopped for something else. */
bool tracee_to_mark(struct tracee *t, int *ret_what);
/* Runs one instruction, a system call with all that it does included. */
enum tracee_stop tracee_step(struct tracee *t, int *ret_what);
/* Where it stands. */
uint64_t tracee_pc(const struct tracee *t);
/* Lets it run, without tracing. It must be stopped. */
void tracee_leave(const struct tracee *t);

#endif
