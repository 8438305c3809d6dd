/* loop_rig.h - what the tests of the loop share: requests that note what came of them, and system
 * calls that are refused. */
#ifndef TESTS_LOOP_RIG_H
#define TESTS_LOOP_RIG_H

#include <criterion/criterion.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "core/clock.h"
#include "core/loop.h"

struct result {
    struct loop_op op;
    int value;
    int calls;
};

static inline void note(struct loop_op *op, int value)
{
    struct result *r = LOOP_OWNER(op, struct result, op);
    r->value = value;
    r->calls++;
}

static inline struct loop *make(unsigned entries)
{
    struct loop *loop;
    cr_assert_eq(loop_create(entries, &loop), MOB_OK, "%s", mob_last_error());
    return loop;
}

static inline void turn_until(struct loop *loop, const int *calls, int want)
{
    while (*calls < want) {
        cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
    }
}

/* Where nothing may be missing. */
static inline bool in_ci(void)
{
    const char *ci = getenv("CI");
    return ci && strcmp(ci, "true") == 0;
}

static inline void refuse(int nr, unsigned err)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    cr_assert_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    cr_assert_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

#endif
