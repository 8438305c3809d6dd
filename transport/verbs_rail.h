/* verbs_rail.h - a port of a device of this node: opening it, its GID, and
 * what becomes of it when devices come and go. */
#ifndef TRANSPORT_VERBS_RAIL_H
#define TRANSPORT_VERBS_RAIL_H

#include "verbs_base.h"

struct verbs_rail {
    struct verbs *v;
    unsigned index;
    bool dead;
    bool armed; /* the next completion makes the channel readable */
    uint8_t port;
    uint8_t init_depth, resp_depth; /* READs at once: as who reads, as who is read from */
    uint16_t gid_index;
    uint32_t max_read; /* bytes of one READ */
    uint64_t max_mr;
    struct verbs_port port_info; /* what peers are told */
    char name[64];
    char path[96]; /* for people */
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_srq *srq;
    struct ibv_mr *slots_mr; /* what the receives write to */
    uint8_t *slots;
    uint32_t *posts;             /* by slot: how often it was posted */
    bool *posted;                /* by slot: it is the device's */
    unsigned filled, read_count; /* slots that were posted once; that are to be again */
    uint16_t read[VERBS_RECEIVES];
    unsigned slots_count, slots_free; /* free: promised to no link */
    struct loop_op completions, events;
    uint64_t flight_bytes;
    bool starved; /* somebody had no room for a READ in it */
    unsigned links_max;
    uint64_t uses;                             /* of its links, counted */
    struct verbs_link *links[VERBS_LINKS_MAX]; /* by slot; NULL: free */
    uint16_t epochs[VERBS_LINKS_MAX];          /* of the slot: old completions differ */
};

/* ---- verbs_device.c */
/* Opens what there is, at most VERBS_RAILS_MAX; none: v->why says so. */
void verbs_rails_open(struct verbs *v);
/* False: events are still watched; again later. */
bool verbs_rails_close(struct verbs *v);
/* The environment names devices, with commas between: no other is used. Not set, or empty: all are. */
#define VERBS_DEVICES_VARIABLE "MOBULA_RDMA_DEVICES"
bool verbs_device_wanted(const char *name);
/* All that are named are there; false: @ret_missing is not. */
bool verbs_devices_there(const struct verbs_lib *lib, char ret_missing[VERBS_WHY_SIZE]);
/* NULL: the device has what we need; or what it lacks. */
const char *verbs_device_lacks(const struct ibv_device_attr *attr, bool strict);
/* Says hello, or why there is nothing to say hello with. */
void verbs_greet(struct verbs_peer *peer);
/* Which of the peer's rails each of ours is to be joined to; -1: none. */
void verbs_rails_pair(const struct verbs_peer *peer, int ret[VERBS_RAILS_MAX]);
bool verbs_greeted(struct verbs_peer *peer, const struct verbs_hello *hello);

/* ---- verbs_change.c */
/* From now on devices that come and go are noticed. */
void verbs_change_watch(struct verbs *v);
/* False: it is still watched; again later. */
bool verbs_change_close(struct verbs *v);
/* Lets go of the devices, once nothing moves over them, if they change. */
void verbs_change_work(struct verbs *v);
/* The port's addresses are others now: if its own is, peers are told, and links are made again. */
void verbs_change_address(struct verbs_rail *rail);

/* ---- verbs_gid.c */
/* What a GID is worth, below 0: nothing. The first of the best is used; of InfiniBand the
 * first of all. */
int verbs_gid_rank(const struct ibv_gid_entry *entry);
/* The best GID of the port; false: it has none. */
bool verbs_gid_choose(struct verbs_rail *rail, const struct ibv_port_attr *port);
void verbs_rail_describe(struct verbs_rail *rail);
uint32_t verbs_port_mbps(const struct ibv_port_attr *port);

#endif
