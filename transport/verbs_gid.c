/* What a port is to peers: its GID, how fast it is, which port of theirs it can be joined
 * to. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "verbs.h"

enum { GIDS_MAX = 256 }; /* a queue pair names its own by a byte */

enum gid_family { GID_V4, GID_V6, GID_LINK_LOCAL };

static enum gid_family family(const uint8_t gid[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (memcmp(gid, mapped, sizeof mapped) == 0) {
        return GID_V4;
    }
    return gid[0] == 0xfe && (gid[1] & 0xc0) == 0x80 ? GID_LINK_LOCAL : GID_V6;
}

/* Higher is better: what is routable, and belongs to a network device that is there. An
 * address range says nothing about how good a GID is, so that none is preferred. */
int verbs_gid_rank(const struct ibv_gid_entry *entry)
{
    static const uint8_t none[16];
    if (memcmp(entry->gid.raw, none, sizeof none) == 0) {
        return -1;
    }
    static const int by_family[] = {[GID_V4] = 3, [GID_V6] = 2, [GID_LINK_LOCAL] = 1};
    return by_family[family(entry->gid.raw)] + (entry->ndev_ifindex != 0 ? 4 : 0) +
           (entry->gid_type == IBV_GID_TYPE_ROCE_V2 ? 8 : 0);
}

bool verbs_gid_choose(struct verbs_rail *rail, const struct ibv_port_attr *port)
{
    const struct verbs_lib *lib = rail->v->lib;
    int best = -1, entries = port->gid_tbl_len < GIDS_MAX ? port->gid_tbl_len : GIDS_MAX;
    for (int i = 0; i < entries; i++) {
        struct ibv_gid_entry entry = {0};
        if (lib->query_gid(rail->context, rail->port, (uint32_t)i, &entry) != 0) {
            continue;
        }
        int worth = verbs_gid_rank(&entry);
        if (worth > best) {
            best = worth;
            rail->gid_index = (uint16_t)i;
            memcpy(rail->port_info.gid, entry.gid.raw, sizeof rail->port_info.gid);
            rail->port_info.gid_type =
                entry.gid_type == IBV_GID_TYPE_ROCE_V2   ? VERBS_GID_ROCE2
                : entry.gid_type == IBV_GID_TYPE_ROCE_V1 ? VERBS_GID_ROCE1
                                                         : VERBS_GID_IB;
        }
        if (!rail->port_info.ethernet && best >= 0) {
            break; /* InfiniBand: the first is the port's own */
        }
    }
    return best >= 0;
}

void verbs_rail_describe(struct verbs_rail *rail)
{
    static const char *const types[] = {"InfiniBand", "RoCE v1", "RoCE v2"};
    char gid[INET6_ADDRSTRLEN] = "?";
    (void)inet_ntop(AF_INET6, rail->port_info.gid, gid, sizeof gid);
    snprintf(rail->path, sizeof rail->path, "%.20s/%u gid %u %s %s %.1f Gb/s", rail->name,
             rail->port, rail->gid_index, gid, types[rail->port_info.gid_type],
             rail->port_info.mbps / 1000.0);
}

/* Mb/s of a lane, then times the lanes; both are bits of the port's attributes. */
uint32_t verbs_port_mbps(const struct ibv_port_attr *port)
{
    static const struct {
        unsigned bit, mbps;
    } lanes[] = {{1, 2500},   {2, 5000},   {4, 10000},  {8, 10000},
                 {16, 14000}, {32, 25000}, {64, 50000}, {128, 100000}};
    uint32_t lane = 2500, width = 1;
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        if (port->active_speed == lanes[i].bit) {
            lane = lanes[i].mbps;
        }
    }
    switch (port->active_width) {
    case 2:
        width = 4;
        break;
    case 4:
        width = 8;
        break;
    case 8:
        width = 12;
        break;
    case 16:
        width = 2;
        break;
    default:
        break;
    }
    return lane * width;
}

/* A queue pair can join the two. */
static bool joins(const struct verbs_port *a, const struct verbs_port *b)
{
    if (a->ethernet != b->ethernet || a->gid_type != b->gid_type) {
        return false;
    }
    return a->ethernet ? family(a->gid) == family(b->gid)
                       : memcmp(a->gid, b->gid, 8) == 0; /* InfiniBand: the subnet */
}

/* Which rail of the peer each of ours is to be joined to: the first that fits and is free. */
void verbs_rails_pair(const struct verbs_peer *peer, int ret[VERBS_RAILS_MAX])
{
    const struct verbs *v = peer->v;
    unsigned taken = 0;
    uint32_t best = 0, mbps[VERBS_RAILS_MAX] = {0};
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        ret[i] = -1;
        for (unsigned k = 0; i < v->rails_count && k < peer->hello.rails_count; k++) {
            const struct verbs_port *own = &v->rails[i]->port_info;
            const struct verbs_port *other = &peer->hello.rails[k];
            if (!(taken & 1u << k) && joins(own, other)) {
                ret[i] = (int)k;
                taken |= 1u << k;
                mbps[i] = own->mbps < other->mbps ? own->mbps : other->mbps;
                best = mbps[i] > best ? mbps[i] : best;
                break;
            }
        }
    }
    for (unsigned i = 0; i < VERBS_RAILS_MAX; i++) {
        if (mbps[i] < best / 4) { /* it would have the last chunk of each pull wait */
            ret[i] = -1;
        }
    }
}
