#include "tracee.h"

#include <elf.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "procs.h"

enum { LOOKS = 1000 }; /* about as long as a step takes */

enum tracee_stop tracee_wait(struct tracee *t, int *ret_what)
{
    int status;
    siginfo_t info;
    pid_t got;
    for (unsigned looks = 0; (got = waitpid(t->pid, &status, WNOHANG | __WALL)) == 0;
         looks++) {
        if (looks > LOOKS && proc_state(t->pid) == 'S') {
            t->idle(); /* it waits for somebody */
        }
    }
    *ret_what = status;
    t->stopped = got == t->pid && WIFSTOPPED(status);
    if (got != t->pid || !WIFSTOPPED(status)) {
        return TRACEE_ENDED;
    }
    *ret_what = WSTOPSIG(status);
    if (WSTOPSIG(status) != SIGTRAP ||
        ptrace(PTRACE_GETSIGINFO, t->pid, NULL, &info) < 0) {
        return TRACEE_OTHER;
    }
    /* A step over a system call has other codes than one over an instruction. */
    bool mark = info.si_code == SI_KERNEL || info.si_code == SI_TKILL;
    return mark ? TRACEE_MARK : TRACEE_STEP;
}

bool tracee_to_mark(struct tracee *t, int *ret_what)
{
    /* Before its first stop it runs, or stands at its first mark already. */
    if (t->stopped && ptrace(PTRACE_CONT, t->pid, NULL, NULL) < 0) {
        *ret_what = -1;
        return false;
    }
    return tracee_wait(t, ret_what) == TRACEE_MARK;
}

enum tracee_stop tracee_step(struct tracee *t, int *ret_what)
{
    if (ptrace(PTRACE_SINGLESTEP, t->pid, NULL, NULL) < 0) {
        *ret_what = -1;
        return TRACEE_ENDED;
    }
    return tracee_wait(t, ret_what);
}

uint64_t tracee_pc(const struct tracee *t)
{
    struct user_regs_struct regs = {0};
    struct iovec iov = {&regs, sizeof regs};
    if (ptrace(PTRACE_GETREGSET, t->pid, (void *)NT_PRSTATUS, &iov) < 0) {
        return 0;
    }
#if defined(__x86_64__)
    return regs.rip;
#else
    return regs.pc;
#endif
}

void tracee_leave(const struct tracee *t)
{
    (void)ptrace(PTRACE_DETACH, t->pid, NULL, NULL);
}
