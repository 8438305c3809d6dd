/* The floor over RDMA: two queue pairs of the machine's first device, that do what
 * perftest's ib_read_bw and ib_send_lat do: chunks are READ, as many at once as the device
 * takes up to 16 (-o 16), with nothing but polling in between; messages are inline SENDs. If
 * ours has sums, the puller makes them here too, of each chunk when it is there; what they
 * must be is known from the beginning. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "core/clock.h"
#include "core/limits.h"
#include "core/xxh3.h"
#include "transport_bench.h"
#include "verbs_lib.h"

enum {
    READS = 16, /* at once */
    RECEIVES = 8,
    QUEUE = 64,
    PORT = 1,
    GIDS_TOP = 256,
    ACK_TIMEOUT = 14, /* 67 ms */
    RETRIES = 6,
    RNR_TIMER = 12,
    HOPS = 64,
};

struct end {
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    struct ibv_mr *mr, *slots_mr;
    uint8_t slots[RECEIVES][MESSAGE_BYTES];
    unsigned came; /* messages */
    unsigned done; /* READs */
};

struct plain {
    struct setup setup;
    const struct verbs_lib *lib;
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_port_attr port;
    unsigned gid_index, reads, chunks;
    uint64_t *sums; /* of the chunks */
    union ibv_gid gid;
    struct end ends[2]; /* the puller's, the owner's */
    atomic_bool over;
    pthread_t owner;
};

/* ---- setting up
 * -------------------------------------------------------------------------- */

static void check(bool good, const char *what)
{
    if (!good) {
        bench_die(what);
    }
}

/* The first of RoCE v2 for IPv4, which has a way to itself; else the first one. */
static void choose_gid(struct plain *p)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};
    struct ibv_gid_entry entry;
    for (unsigned i = 0; i < GIDS_TOP && i < (unsigned)p->port.gid_tbl_len; i++) {
        if (p->lib->query_gid(p->context, PORT, i, &entry) != 0) {
            continue;
        }
        bool better = entry.gid_type == IBV_GID_TYPE_ROCE_V2 &&
                      memcmp(entry.gid.raw, mapped, sizeof mapped) == 0;
        if (better || i == 0) {
            p->gid_index = i;
            p->gid = entry.gid;
        }
        if (better) {
            return;
        }
    }
}

static void open_device(struct plain *p)
{
    const char *why = "no device";
    int count = 0;
    struct ibv_device_attr attr;
    p->lib = verbs_lib_system(&why);
    check(p->lib != NULL, why);
    struct ibv_device **list = p->lib->get_device_list(&count);
    check(list != NULL && count > 0, "this machine has no RDMA device");
    p->context = p->lib->open_device(list[0]);
    p->lib->free_device_list(list);
    check(p->context != NULL, "the device cannot be opened");
    check(p->lib->query_device(p->context, &attr) == 0 &&
              p->lib->query_port(p->context, PORT, &p->port) == 0,
          "the device says nothing of itself");
    int reads = attr.max_qp_init_rd_atom < attr.max_qp_rd_atom ? attr.max_qp_init_rd_atom
                                                               : attr.max_qp_rd_atom;
    p->reads = reads < READS ? (unsigned)reads : READS;
    choose_gid(p);
    p->pd = p->lib->alloc_pd(p->context);
    check(p->pd != NULL, "no protection domain");
}

static void post_receive(struct end *e, unsigned slot)
{
    struct ibv_sge sge = {(uintptr_t)e->slots[slot], MESSAGE_BYTES, e->slots_mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = slot, .sg_list = &sge, .num_sge = 1}, *bad;
    check(ibv_post_recv(e->qp, &wr, &bad) == 0, "no receive can be posted");
}

static void make_end(struct plain *p, struct end *e, void *memory, int access)
{
    const struct verbs_lib *lib = p->lib;
    e->channel = lib->create_comp_channel(p->context);
    check(e->channel != NULL, "no completion channel");
    e->cq = lib->create_cq(p->context, QUEUE, NULL, e->channel, 0);
    e->mr = lib->reg_mr(p->pd, memory, p->setup.room, access);
    e->slots_mr = lib->reg_mr(p->pd, e->slots, sizeof e->slots, IBV_ACCESS_LOCAL_WRITE);
    check(e->cq != NULL && e->mr != NULL && e->slots_mr != NULL,
          "memory cannot be registered: ulimit -l?");
    struct ibv_qp_init_attr attr = {.send_cq = e->cq,
                                    .recv_cq = e->cq,
                                    .qp_type = IBV_QPT_RC,
                                    .cap = {.max_send_wr = QUEUE / 2,
                                            .max_recv_wr = RECEIVES,
                                            .max_send_sge = 1,
                                            .max_recv_sge = 1,
                                            .max_inline_data = MESSAGE_BYTES}};
    e->qp = lib->create_qp(p->pd, &attr);
    check(e->qp != NULL, "no queue pair");
}

static void join(const struct plain *p, struct end *e, const struct end *other)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT,
                               .port_num = PORT,
                               .qp_access_flags = IBV_ACCESS_REMOTE_READ};
    int err = p->lib->modify_qp(e->qp, &attr,
                                IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT |
                                    IBV_QP_ACCESS_FLAGS);
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR,
                                .path_mtu = p->port.active_mtu,
                                .dest_qp_num = other->qp->qp_num,
                                .max_dest_rd_atomic = (uint8_t)p->reads,
                                .min_rnr_timer = RNR_TIMER};
    attr.ah_attr.port_num = PORT;
    attr.ah_attr.dlid = p->port.lid;
    if (p->port.link_layer == IBV_LINK_LAYER_ETHERNET) {
        attr.ah_attr.is_global = 1;
        attr.ah_attr.grh.sgid_index = (uint8_t)p->gid_index;
        attr.ah_attr.grh.hop_limit = HOPS;
        attr.ah_attr.grh.dgid = p->gid;
    }
    err = err != 0
              ? err
              : p->lib->modify_qp(e->qp, &attr,
                                  IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU |
                                      IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                      IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS,
                                .timeout = ACK_TIMEOUT,
                                .retry_cnt = RETRIES,
                                .rnr_retry = RETRIES,
                                .max_rd_atomic = (uint8_t)p->reads};
    err = err != 0 ? err
                   : p->lib->modify_qp(e->qp, &attr,
                                       IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                                           IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                                           IBV_QP_MAX_QP_RD_ATOMIC);
    check(err == 0, "the queue pairs cannot be joined");
}

/* ---- moving
 * ------------------------------------------------------------------------------ */

/* Takes what has completed. False: nothing had. */
static bool take(const struct plain *p, struct end *e)
{
    struct ibv_wc wc[READS];
    int n = p->lib->poll_cq(e->cq, READS, wc);
    for (int i = 0; i < n; i++) {
        check(wc[i].status == IBV_WC_SUCCESS, p->lib->wc_status_str(wc[i].status));
        if (wc[i].opcode == IBV_WC_RECV) {
            e->came++;
            post_receive(e, (unsigned)wc[i].wr_id);
        } else if (wc[i].opcode == IBV_WC_RDMA_READ) {
            e->done++;
        }
    }
    return n > 0;
}

/* Waits until something has completed, as the setup says. */
static void wait(const struct plain *p, struct end *e)
{
    struct ibv_cq *cq;
    void *arg;
    while (!take(p, e) && !atomic_load_explicit(&p->over, memory_order_relaxed)) {
        if (p->setup.poll || p->setup.size != 0) {
            continue;
        }
        check(p->lib->req_notify_cq(e->cq, 0) == 0, "no event to be had");
        if (take(p, e)) {
            return;
        }
        check(p->lib->get_cq_event(e->channel, &cq, &arg) == 0, "no event came");
        p->lib->ack_cq_events(e->cq, 1);
    }
}

static void say(const struct plain *p, const struct end *e)
{
    static const uint8_t bytes[MESSAGE_BYTES];
    struct ibv_sge sge = {(uintptr_t)bytes, sizeof bytes, 0};
    struct ibv_send_wr wr = {.sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = IBV_SEND_INLINE | IBV_SEND_SIGNALED};
    struct ibv_send_wr *bad;
    check(p->lib->post_send(e->qp, &wr, &bad) == 0, "no message can be posted");
}

static size_t chunk_size(const struct plain *p, unsigned chunk)
{
    size_t left = p->setup.size - (size_t)chunk * CHUNK_BYTES;
    return left < CHUNK_BYTES ? left : CHUNK_BYTES;
}

static uint64_t chunk_sum(const struct plain *p, const uint8_t *bytes, unsigned chunk)
{
    return XXH3_64bits(bytes + (size_t)chunk * CHUNK_BYTES, chunk_size(p, chunk));
}

static void *own(void *arg)
{
    struct plain *p = arg;
    struct end *e = &p->ends[1];
    bench_pin(p->setup.owner_cpu);
    for (unsigned answered = 0; !atomic_load_explicit(&p->over, memory_order_relaxed);) {
        wait(p, e);
        for (; answered != e->came; answered++) {
            if (!atomic_load_explicit(&p->over, memory_order_relaxed)) {
                say(p, e);
            }
        }
    }
    return NULL;
}

static void *start(const struct setup *setup)
{
    struct plain *p = calloc(1, sizeof *p);
    check(p != NULL, "no memory");
    p->setup = *setup;
    open_device(p);
    make_end(p, &p->ends[0], setup->place, IBV_ACCESS_LOCAL_WRITE);
    make_end(p, &p->ends[1], setup->object, IBV_ACCESS_REMOTE_READ);
    for (unsigned i = 0; i < 2; i++) {
        join(p, &p->ends[i], &p->ends[1 - i]);
        for (unsigned slot = 0; slot < RECEIVES; slot++) {
            post_receive(&p->ends[i], slot);
        }
    }
    p->chunks = (unsigned)((setup->size + CHUNK_BYTES - 1) / CHUNK_BYTES);
    p->sums = setup->checked ? calloc(p->chunks + 1, sizeof *p->sums) : NULL;
    for (unsigned k = 0; p->sums != NULL && k < p->chunks; k++) {
        p->sums[k] = chunk_sum(p, setup->object, k);
    }
    /* The owner of what is READ has nothing to do. */
    if (setup->size == 0 && pthread_create(&p->owner, NULL, own, p) != 0) {
        bench_die("no thread");
    }
    return p;
}

static void stop(void *arg)
{
    struct plain *p = arg;
    if (p->setup.size == 0) {
        atomic_store_explicit(&p->over, true, memory_order_relaxed);
        say(p, &p->ends[0]); /* wakes it */
        pthread_join(p->owner, NULL);
    }
    for (unsigned i = 0; i < 2; i++) {
        struct end *e = &p->ends[i];
        (void)p->lib->destroy_qp(e->qp);
        (void)p->lib->destroy_cq(e->cq);
        (void)p->lib->dereg_mr(e->mr);
        (void)p->lib->dereg_mr(e->slots_mr);
        (void)p->lib->destroy_comp_channel(e->channel);
    }
    (void)p->lib->dealloc_pd(p->pd);
    (void)p->lib->close_device(p->context);
    free(p->sums);
    free(p);
}

static void read_chunk(const struct plain *p, unsigned chunk)
{
    const struct end *e = &p->ends[0];
    size_t at = (size_t)chunk * CHUNK_BYTES;
    struct ibv_sge sge = {(uintptr_t)p->setup.place + at, (uint32_t)chunk_size(p, chunk),
                          e->mr->lkey};
    struct ibv_send_wr wr = {
        .sg_list = &sge,
        .num_sge = 1,
        .opcode = IBV_WR_RDMA_READ,
        .send_flags = IBV_SEND_SIGNALED,
        .wr.rdma = {(uintptr_t)p->setup.object + at, p->ends[1].mr->rkey}};
    struct ibv_send_wr *bad;
    check(p->lib->post_send(e->qp, &wr, &bad) == 0, "no READ can be posted");
}

static uint64_t pull(void *arg)
{
    struct plain *p = arg;
    struct end *e = &p->ends[0];
    unsigned posted = 0, checked = 0;
    uint64_t begin = clock_now_ns();
    e->done = 0;
    while (e->done < p->chunks) {
        while (posted < p->chunks && posted - e->done < p->reads) {
            read_chunk(p, posted++);
        }
        if (p->sums == NULL || checked == e->done) {
            wait(p, e);
        } else { /* READs complete in their order */
            check(chunk_sum(p, p->setup.place, checked) == p->sums[checked],
                  "a plain chunk arrived damaged");
            checked++;
            (void)take(p, e);
        }
    }
    for (; p->sums != NULL && checked < p->chunks; checked++) {
        check(chunk_sum(p, p->setup.place, checked) == p->sums[checked],
              "a plain chunk arrived damaged");
    }
    return clock_now_ns() - begin;
}

static uint64_t trips(void *arg, unsigned count)
{
    struct plain *p = arg;
    struct end *e = &p->ends[0];
    uint64_t begin = clock_now_ns();
    for (unsigned i = 0; i < count; i++) {
        unsigned want = e->came + 1;
        say(p, e);
        while (e->came != want) {
            wait(p, e);
        }
    }
    return clock_now_ns() - begin;
}

const struct plain_ops plain_verbs = {start, stop, pull, trips};
