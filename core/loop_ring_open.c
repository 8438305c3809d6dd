/* Setting up io_uring: the best flags that the kernel takes, and plain words when it
 * refuses. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "loop_impl.h"
#include "core/status.h"

/* Completions may come in bursts (multishot polls, cancellations) that no submission
 * bounds. */
enum { CQ_PER_SQ = 8 };

static const struct {
    unsigned flags;
    const char *name;
} setups[] = {
    /* 6.1: completions are made in our own time, without interrupting what runs. The flag says that
     * there are some to be made, so that who only looks need not call the kernel to know. */
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     "io_uring (single issuer, deferred work)"},
    /* 5.19 */
    {IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
     "io_uring (cooperative work)"},
    {0, "io_uring"},
};

static const struct {
    int op;
    const char *name;
} needed[] = {{IORING_OP_POLL_ADD, "poll"},      {IORING_OP_ACCEPT, "accept"},
              {IORING_OP_CONNECT, "connect"},    {IORING_OP_RECV, "recv"},
              {IORING_OP_SEND, "send"},          {IORING_OP_RECVMSG, "recvmsg"},
              {IORING_OP_SENDMSG, "sendmsg"},    {IORING_OP_READ, "read"},
              {IORING_OP_WRITE, "write"},        {IORING_OP_ASYNC_CANCEL, "cancel"},
              {IORING_OP_FALLOCATE, "allocate"}, {IORING_OP_POLL_REMOVE, "poll end"}};

static const char *release(struct utsname *name)
{
    return uname(name) == 0 ? name->release : "?";
}

/* 1: io_uring is off for all; 2: (for us) too; 0 or unknown: something else refused. */
static int disabled_setting(void)
{
    char digit = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (read(fd, &digit, 1) != 1) {
            digit = '0';
        }
        close(fd);
    }
    return digit - '0';
}

/* Why, in a few words. */
static void note(struct loop *loop, const char *why)
{
    snprintf(loop->refusal, sizeof loop->refusal, "%s", why);
}

/* A filter, of a container for example, is in force for us. It may be another one's work all the same. */
static bool filtered(void)
{
    return prctl(PR_GET_SECCOMP) == 2;
}

static mob_status refused_eperm(struct loop *loop)
{
    int setting = disabled_setting();
    if (setting > 0) {
        snprintf(loop->refusal, sizeof loop->refusal,
                 "io_uring switched off by kernel.io_uring_disabled=%d", setting);
        return status_fail(MOB_ERR_UNSUPPORTED,
                           "io_uring is switched off on this machine: "
                           "kernel.io_uring_disabled is %d. Set "
                           "it to 0 (sysctl -w kernel.io_uring_disabled=0), or to 1 "
                           "and start the node "
                           "with a member of kernel.io_uring_group",
                           setting);
    }
    note(loop, filtered() ? "io_uring refused by a seccomp filter"
                          : "io_uring refused by the kernel");
    return status_fail(MOB_ERR_UNSUPPORTED,
                       "the kernel refused io_uring (EPERM), as the default seccomp "
                       "profiles of Docker and Kubernetes do. Start the container with a "
                       "profile that allows io_uring_setup, io_uring_enter and "
                       "io_uring_register");
}

static mob_status refused(struct loop *loop, int err)
{
    struct utsname name;
    switch (err) {
    case EPERM:
    case EACCES:
        return refused_eperm(loop);
    case ENOSYS:
        note(loop, filtered()
                       ? "io_uring hidden by a seccomp filter, or not in the kernel"
                       : "no io_uring in this kernel");
        return status_fail(
            MOB_ERR_UNSUPPORTED,
            "this kernel (%s) has no io_uring, or a container profile hides it "
            "(ENOSYS). Linux 5.13 or later, built with CONFIG_IO_URING, is "
            "needed",
            release(&name));
    case ENOMEM:
        note(loop, "not enough memory for io_uring");
        return status_fail(MOB_ERR_NOMEM,
                           "not enough memory for io_uring. Before Linux 5.12 "
                           "its memory is locked: raise `ulimit -l`");
    case EMFILE:
    case ENFILE:
        note(loop, "no file descriptor for io_uring");
        return status_fail(MOB_ERR_SYSTEM,
                           "no file descriptor is left for io_uring. Raise "
                           "`ulimit -n`");
    default:
        note(loop, "io_uring_setup failed");
        return status_fail(MOB_ERR_UNSUPPORTED, "io_uring_setup failed on kernel %s: %s",
                           release(&name), strerror(err));
    }
}

static mob_status check_kernel(struct loop *loop)
{
    struct utsname name;
    /* Multishot poll came with 5.13, as did this feature bit. */
    unsigned want = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL |
                    IORING_FEAT_RSRC_TAGS;
    note(loop, "io_uring of this kernel too old");
    if ((loop->ring.uring.features & want) != want) {
        return status_fail(
            MOB_ERR_UNSUPPORTED,
            "the io_uring of kernel %s is too old: Linux 5.13 or later is needed",
            release(&name));
    }
    struct io_uring_probe *probe = io_uring_get_probe_ring(&loop->ring.uring);
    if (probe == NULL) {
        note(loop, "io_uring_register refused");
        return status_fail(
            MOB_ERR_UNSUPPORTED,
            "io_uring on kernel %s does not tell its operations: "
            "io_uring_register is refused. Allow it in the container profile",
            release(&name));
    }
    mob_status st = MOB_OK;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        if (!io_uring_opcode_supported(probe, needed[i].op)) {
            st = status_fail(MOB_ERR_UNSUPPORTED,
                             "io_uring of kernel %s lacks the operation "
                             "'%s'. Linux 5.13 or later is needed",
                             release(&name), needed[i].name);
            break;
        }
    }
    loop->ring.zerocopy = io_uring_opcode_supported(probe, IORING_OP_SENDMSG_ZC);
    char *end;
    unsigned long major = strtoul(release(&name), &end, 10);
    unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;
    loop->ring.zerocopy_reports = major > 6 || (major == 6 && minor >= 2);
    io_uring_free_probe(probe);
    return st;
}

mob_status loop_ring_open(struct loop *loop, unsigned entries)
{
    int rc = -EINVAL;
    for (size_t i = 0; i < sizeof setups / sizeof *setups && rc == -EINVAL; i++) {
        struct io_uring_params params = {
            .flags = setups[i].flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = entries * CQ_PER_SQ,
        };
        rc = io_uring_queue_init_params(entries, &loop->ring.uring, &params);
        snprintf(loop->about, sizeof loop->about, "%s", setups[i].name);
    }
    if (rc < 0) {
        return refused(loop, -rc);
    }
    mob_status st = check_kernel(loop);
    if (st != MOB_OK) {
        io_uring_queue_exit(&loop->ring.uring);
        return st;
    }
    (void)io_uring_register_ring_fd(
        &loop->ring.uring); /* saves a look-up a call, where it is known */
    io_uring_ring_dontfork(&loop->ring.uring);
    return MOB_OK;
}
