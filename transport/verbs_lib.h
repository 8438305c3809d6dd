/* verbs_lib.h - libibverbs as a table of functions, found at run time, so that one build
 * serves machines with and without it, and tests can put a library of their own in its
 * place (tests/transport/verbs_double.h).
 *
 * Each function does what the one of its name with ibv_ in front does, errors included:
 * ibv_*(3). Those that are inline in <infiniband/verbs.h> (poll_cq, post_send, ...) stand
 * here as well. Only what the verbs backend calls is in it. */
#ifndef TRANSPORT_VERBS_LIB_H
#define TRANSPORT_VERBS_LIB_H

#include <infiniband/verbs.h>
#include <mobula.h>

struct verbs_lib {
    /* devices */
    struct ibv_device **(*get_device_list)(int *count);
    void (*free_device_list)(struct ibv_device **list);
    const char *(*get_device_name)(struct ibv_device *device);
    struct ibv_context *(*open_device)(struct ibv_device *device);
    int (*close_device)(struct ibv_context *context);
    int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attr);
    int (*query_port)(struct ibv_context *context, uint8_t port,
                      struct ibv_port_attr *attr);
    /* ibv_query_gid_ex(); ENOENT: no such entry. ndev_ifindex 0: no network device. */
    int (*query_gid)(struct ibv_context *context, uint32_t port, uint32_t index,
                     struct ibv_gid_entry *entry);
    int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
    void (*ack_async_event)(struct ibv_async_event *event);

    /* memory; reg_mr is ibv_reg_mr_iova2(), which takes IBV_ACCESS_RELAXED_ORDERING from
     * devices that do not know it as well */
    struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
    int (*dealloc_pd)(struct ibv_pd *pd);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *addr, size_t length, int access);
    int (*dereg_mr)(struct ibv_mr *mr);
    struct ibv_mw *(*alloc_mw)(struct ibv_pd *pd, enum ibv_mw_type type);
    int (*dealloc_mw)(struct ibv_mw *mw);

    /* completions */
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    struct ibv_cq *(*create_cq)(struct ibv_context *context, int entries, void *arg,
                                struct ibv_comp_channel *channel, int vector);
    int (*destroy_cq)(struct ibv_cq *cq);
    int (*req_notify_cq)(struct ibv_cq *cq, int solicited_only);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **arg);
    void (*ack_cq_events)(struct ibv_cq *cq, unsigned count);
    int (*poll_cq)(struct ibv_cq *cq, int count, struct ibv_wc *wc);

    /* queue pairs */
    struct ibv_srq *(*create_srq)(struct ibv_pd *pd, struct ibv_srq_init_attr *attr);
    int (*destroy_srq)(struct ibv_srq *srq);
    int (*post_srq_recv)(struct ibv_srq *srq, struct ibv_recv_wr *wr,
                         struct ibv_recv_wr **bad);
    struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
    int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
    int (*destroy_qp)(struct ibv_qp *qp);
    int (*post_send)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);

    const char *(*wc_status_str)(enum ibv_wc_status status);
    int (*is_fork_initialized)(void); /* enum ibv_fork_status */

    /* Devices that come and go, which libibverbs does not tell of. watch_open: a
     * non-blocking fd that is readable when the node of a device was made, changed or
     * removed, or -1 and errno; close() ends it. watch_drain: has it wait for the next.
     * node_of: a number that no other device's node has had, as long as this process can
     * use the node; 0: it cannot, or the node is gone. */
    int (*watch_open)(void);
    void (*watch_drain)(int fd);
    uint64_t (*node_of)(const struct ibv_device *device);
};

/* The system's libibverbs.so.1, loaded at the first call and kept. NULL: it is not there
 * or too old; @ret_why gets one sentence with what to install (static text). Any thread.
 */
const struct verbs_lib *verbs_lib_system(const char **ret_why);

#endif
