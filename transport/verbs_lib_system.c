/* The system's libibverbs. Its functions are taken by name; those that the header defines
 * inline go through the device's own table and need no library. */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "verbs_lib.h"

static struct verbs_lib lib;
static const char *why; /* NULL: it is there */

static struct {
    int (*query_port)(struct ibv_context *, uint8_t, void *);
    int (*query_gid)(struct ibv_context *, uint32_t, uint32_t, struct ibv_gid_entry *,
                     uint32_t, size_t);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *, void *, size_t, uint64_t, unsigned);
} raw;

/* As the header's: the device's own function, or the library's, which is older and writes
 * less of the struct. */
static int query_port(struct ibv_context *context, uint8_t port,
                      struct ibv_port_attr *attr)
{
    struct verbs_context *own = verbs_get_ctx_op(context, query_port);
    if (own != NULL) {
        return own->query_port(context, port, attr, sizeof *attr);
    }
    memset(attr, 0, sizeof *attr);
    return raw.query_port(context, port, attr);
}

static int query_gid(struct ibv_context *context, uint32_t port, uint32_t index,
                     struct ibv_gid_entry *entry)
{
    return raw.query_gid(context, port, index, entry, 0, sizeof *entry);
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *addr, size_t length, int access)
{
    return raw.reg_mr(pd, addr, length, (uintptr_t)addr, (unsigned)access);
}

static struct ibv_mw *alloc_mw(struct ibv_pd *pd, enum ibv_mw_type type)
{
    return ibv_alloc_mw(pd, type);
}

static int dealloc_mw(struct ibv_mw *mw)
{
    return ibv_dealloc_mw(mw);
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    return ibv_req_notify_cq(cq, solicited_only);
}

static int poll_cq(struct ibv_cq *cq, int count, struct ibv_wc *wc)
{
    return ibv_poll_cq(cq, count, wc);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr,
                         struct ibv_recv_wr **bad)
{
    return ibv_post_srq_recv(srq, wr, bad);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    return ibv_post_send(qp, wr, bad);
}

/* ---- devices that come and go
 * ------------------------------------------------------------ */

/* Their nodes are the first to go: software RDMA waits for its users then, without an
 * event. The folder goes with the last one, so that its own name is watched as well. */
static void watch_drain(int fd);

static int watch_open(void)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    if (inotify_add_watch(fd, "/dev", IN_CREATE | IN_ONLYDIR) < 0) {
        close(fd);
        return -1;
    }
    watch_drain(fd);
    return fd;
}

static void watch_drain(int fd)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } buffer;
    while (read(fd, buffer.bytes, sizeof buffer.bytes) > 0) {
    }
    /* Again each time: it may be another folder. IN_ATTRIB: the rights come later. */
    (void)inotify_add_watch(fd, "/dev/infiniband",
                            IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB | IN_ONLYDIR);
}

static uint64_t node_of(const struct ibv_device *device)
{
    char path[sizeof "/dev/infiniband/" + IBV_SYSFS_NAME_MAX];
    struct stat st;
    snprintf(path, sizeof path, "/dev/infiniband/%s", device->dev_name);
    if (access(path, R_OK | W_OK) != 0 || stat(path, &st) != 0) {
        return 0;
    }
    return (uint64_t)st.st_ino; /* devtmpfs counts them up */
}

static const struct {
    const char *name;
    void *at;
} names[] = {
    {"ibv_get_device_list", &lib.get_device_list},
    {"ibv_free_device_list", &lib.free_device_list},
    {"ibv_get_device_name", &lib.get_device_name},
    {"ibv_open_device", &lib.open_device},
    {"ibv_close_device", &lib.close_device},
    {"ibv_query_device", &lib.query_device},
    {"ibv_query_port", &raw.query_port},
    {"_ibv_query_gid_ex", &raw.query_gid},
    {"ibv_get_async_event", &lib.get_async_event},
    {"ibv_ack_async_event", &lib.ack_async_event},
    {"ibv_alloc_pd", &lib.alloc_pd},
    {"ibv_dealloc_pd", &lib.dealloc_pd},
    {"ibv_reg_mr_iova2", &raw.reg_mr},
    {"ibv_dereg_mr", &lib.dereg_mr},
    {"ibv_create_comp_channel", &lib.create_comp_channel},
    {"ibv_destroy_comp_channel", &lib.destroy_comp_channel},
    {"ibv_create_cq", &lib.create_cq},
    {"ibv_destroy_cq", &lib.destroy_cq},
    {"ibv_get_cq_event", &lib.get_cq_event},
    {"ibv_ack_cq_events", &lib.ack_cq_events},
    {"ibv_create_srq", &lib.create_srq},
    {"ibv_destroy_srq", &lib.destroy_srq},
    {"ibv_create_qp", &lib.create_qp},
    {"ibv_modify_qp", &lib.modify_qp},
    {"ibv_destroy_qp", &lib.destroy_qp},
    {"ibv_wc_status_str", &lib.wc_status_str},
    {"ibv_is_fork_initialized", &lib.is_fork_initialized},
};

static void load(void)
{
    void *handle = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        why =
            "libibverbs is not installed: install rdma-core (Debian: ibverbs-providers)";
        return;
    }
    lib = (struct verbs_lib){.query_port = query_port,
                             .query_gid = query_gid,
                             .reg_mr = reg_mr,
                             .alloc_mw = alloc_mw,
                             .dealloc_mw = dealloc_mw,
                             .req_notify_cq = req_notify_cq,
                             .poll_cq = poll_cq,
                             .post_srq_recv = post_srq_recv,
                             .post_send = post_send,
                             .watch_open = watch_open,
                             .watch_drain = watch_drain,
                             .node_of = node_of};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *found = dlsym(handle, names[i].name);
        if (found == NULL) {
            why = "libibverbs is older than rdma-core 34: install a newer one";
            return; /* it stays loaded: unloading a library that has threads is worse */
        }
        memcpy(names[i].at, &found, sizeof found);
    }
}

const struct verbs_lib *verbs_lib_system(const char **ret_why)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, load);
    if (why != NULL) {
        *ret_why = why;
        return NULL;
    }
    return &lib;
}
