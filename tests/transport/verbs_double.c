/* Hosts, devices and contexts of the double. */
#include "verbs_double_in.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct verbs_double *the_double; /* libibverbs has no argument for it */

void vd_abort(const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    /* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): the line above does */
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "verbs double: %s\n", text);
    abort();
}

void *vd_new(size_t size)
{
    void *new = calloc(1, size);
    if (new == NULL) {
        vd_abort("no memory");
    }
    return new;
}

/* splitmix64 */
uint64_t vd_draw(struct verbs_double *d)
{
    uint64_t x = d->random += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

uint64_t vd_delay(struct verbs_double *d)
{
    return d->delay_min_ns + vd_draw(d) % (d->delay_max_ns - d->delay_min_ns + 1);
}

void verbs_double_delay(struct verbs_double *d, uint64_t min_ns, uint64_t max_ns)
{
    d->delay_min_ns = min_ns;
    d->delay_max_ns = max_ns;
}

/* ---- devices
 * ----------------------------------------------------------------------------- */

static struct ibv_device **device_list(unsigned index, int *count)
{
    struct host *host = &the_double->hosts[index];
    unsigned n = host->dead ? 0 : host->conf.devices;
    struct ibv_device **list = vd_new((n + 1) * sizeof(struct ibv_device *));
    unsigned there = 0;
    for (unsigned i = 0; i < n; i++) {
        struct ibv_device *base = &host->devs[i].base;
        memcpy(base->name, host->conf.device[i].name, sizeof host->conf.device[i].name);
        if (!host->devs[i].removed) {
            list[there++] = base;
        }
    }
    if (count != NULL) {
        *count = (int)there;
    }
    return list;
}

static void free_device_list(struct ibv_device **list)
{
    free(list);
}

static const char *get_device_name(struct ibv_device *device)
{
    return device->name;
}

static struct ibv_context *open_device(struct ibv_device *device)
{
    struct dev *dev = (struct dev *)device;
    if (dev->fatal || dev->removed) {
        return vd_null(dev->removed ? ENODEV : EIO);
    }
    struct ctx *ctx = vd_new(sizeof *ctx);
    ctx->base.device = device;
    ctx->base.cmd_fd = -1;
    ctx->base.num_comp_vectors = 1;
    ctx->base.async_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    if (ctx->base.async_fd < 0) {
        free(ctx);
        return NULL;
    }
    ctx->dev = dev;
    ctx->next = dev->ctxs;
    dev->ctxs = ctx;
    dev->host->count.contexts++;
    return &ctx->base;
}

static int close_device(struct ibv_context *context)
{
    struct ctx *ctx = (struct ctx *)context, **at = &ctx->dev->ctxs;
    if (ctx->children != 0) {
        vd_abort("close_device: %u objects of it are left", ctx->children);
    }
    while (*at != ctx) {
        at = &(*at)->next;
    }
    *at = ctx->next;
    while (ctx->events != NULL) {
        struct async *event = ctx->events;
        ctx->events = event->next;
        free(event);
    }
    close(ctx->base.async_fd);
    ctx->dev->host->count.contexts--;
    free(ctx);
    return 0;
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    if (vd_dev(context)->fatal) {
        return EIO;
    }
    *attr = vd_dev(context)->conf->attr;
    return 0;
}

static int query_port(struct ibv_context *context, uint8_t port,
                      struct ibv_port_attr *attr)
{
    if (vd_dev(context)->fatal) {
        return EIO;
    }
    if (port != 1) {
        return EINVAL;
    }
    *attr = vd_dev(context)->conf->port;
    return 0;
}

static bool gid_is_set(const struct ibv_gid_entry *entry)
{
    static const union ibv_gid none;
    return memcmp(&entry->gid, &none, sizeof none) != 0;
}

static int query_gid(struct ibv_context *context, uint32_t port, uint32_t index,
                     struct ibv_gid_entry *entry)
{
    const struct dev *dev = vd_dev(context);
    if (dev->fatal) {
        return EIO;
    }
    if (port != 1 || index >= (uint32_t)dev->conf->port.gid_tbl_len) {
        return EINVAL;
    }
    if (index >= VERBS_GIDS || !gid_is_set(&dev->conf->gids[index])) {
        return ENODATA;
    }
    *entry = dev->conf->gids[index];
    entry->gid_index = index;
    entry->port_num = port;
    return 0;
}

struct dev *vd_find_gid(struct verbs_double *d, const union ibv_gid *gid, uint32_t type)
{
    for (unsigned i = 0; i < VERBS_HOSTS * VERBS_DEVICES; i++) {
        struct host *host = &d->hosts[i / VERBS_DEVICES];
        struct dev *dev = &host->devs[i % VERBS_DEVICES];
        for (unsigned k = 0; k < VERBS_GIDS && i % VERBS_DEVICES < host->conf.devices;
             k++) {
            const struct ibv_gid_entry *entry = &dev->conf->gids[k];
            if (entry->gid_type == type && gid_is_set(entry) &&
                memcmp(gid, &entry->gid, sizeof *gid) == 0) {
                return dev;
            }
        }
    }
    return NULL;
}

void verbs_double_gid(struct verbs_double_device *device, unsigned index,
                      const char *text, uint32_t type, uint32_t ifindex)
{
    struct ibv_gid_entry *entry = &device->gids[index];
    memset(entry, 0, sizeof *entry);
    entry->gid_type = type;
    entry->ndev_ifindex = ifindex;
    if (strchr(text, ':') == NULL) {
        memset(entry->gid.raw + 10, 0xff, 2);
        if (inet_pton(AF_INET, text, entry->gid.raw + 12) == 1) {
            return;
        }
    } else if (inet_pton(AF_INET6, text, entry->gid.raw) == 1) {
        return;
    }
    vd_abort("%s is not an address", text);
}

/* ---- the library
 * ------------------------------------------------------------------------- */

static const char *wc_status_str(enum ibv_wc_status status)
{
    static char text[32];
    snprintf(text, sizeof text, "status %d of the double", (int)status);
    return text;
}

static uint64_t node_of(const struct ibv_device *device)
{
    const struct dev *dev = (const struct dev *)device;
    uint64_t index = (uint64_t)(dev - dev->host->devs);
    return dev->removed ? 0 : 1 + index + VERBS_DEVICES * (uint64_t)dev->times;
}

static int watch_open(unsigned index)
{
    struct host *host = &the_double->hosts[index];
    if (host->watch >= 0) {
        close(host->watch); /* of a process that is gone */
    }
    /* Who watches gets a copy, which is closed without our knowing. */
    host->watch = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return host->watch < 0 ? -1 : fcntl(host->watch, F_DUPFD_CLOEXEC, 0);
}

static void watch_drain(int fd)
{
    eventfd_t value;
    (void)eventfd_read(fd, &value);
}

/* What has no argument that leads to a host needs a function for each. */
#define HOST(i)                                                                          \
    static struct ibv_device **list_##i(int *count)                                      \
    {                                                                                    \
        return device_list(i, count);                                                    \
    }                                                                                    \
    static int fork_##i(void)                                                            \
    {                                                                                    \
        return the_double->hosts[i].conf.fork_status;                                    \
    }                                                                                    \
    static int watch_##i(void)                                                           \
    {                                                                                    \
        return watch_open(i);                                                            \
    }
#define ENTRY(i) {list_##i, fork_##i, watch_##i},
/* 8 in octal each, so that pasting digits counts: 0 to 0107. */
#define EIGHT(X, n) X(n##0) X(n##1) X(n##2) X(n##3) X(n##4) X(n##5) X(n##6) X(n##7)
#define ALL(X)                                                                           \
    EIGHT(X, 0)                                                                          \
    EIGHT(X, 01)                                                                         \
    EIGHT(X, 02)                                                                         \
    EIGHT(X, 03)                                                                         \
    EIGHT(X, 04)                                                                         \
    EIGHT(X, 05) EIGHT(X, 06) EIGHT(X, 07) EIGHT(X, 010)

ALL(HOST)
static const struct {
    struct ibv_device **(*list)(int *count);
    int (*fork)(void);
    int (*watch)(void);
} own[] = {ALL(ENTRY)};
_Static_assert(sizeof own / sizeof *own == VERBS_HOSTS, "a function for each host");

static void fill(struct host *host)
{
    struct verbs_lib *lib = &host->lib;
    *lib = (struct verbs_lib){
        .get_device_list = own[host->index].list,
        .free_device_list = free_device_list,
        .get_device_name = get_device_name,
        .open_device = open_device,
        .close_device = close_device,
        .query_device = query_device,
        .query_port = query_port,
        .query_gid = query_gid,
        .get_async_event = vd_get_async_event,
        .ack_async_event = vd_ack_async_event,
        .wc_status_str = wc_status_str,
        .is_fork_initialized = own[host->index].fork,
        .watch_open = own[host->index].watch,
        .watch_drain = watch_drain,
        .node_of = node_of,
    };
    vd_mem_lib(lib);
    vd_cq_lib(lib);
    vd_qp_lib(lib);
}

/* What a device of a test is, unless the test says otherwise. */
static void set_device(struct verbs_double_device *conf, unsigned host, unsigned index)
{
    char text[64];
    snprintf(conf->name, sizeof conf->name, "double%u_%u", host, index);
    conf->attr = (struct ibv_device_attr){
        .max_mr_size = UINT64_MAX,
        .max_qp = 1024,
        .max_qp_wr = 4096,
        .device_cap_flags = IBV_DEVICE_MEM_WINDOW | IBV_DEVICE_MEM_WINDOW_TYPE_2B |
                            IBV_DEVICE_MEM_MGT_EXTENSIONS,
        .max_sge = SGES_MAX,
        .max_sge_rd = SGES_MAX,
        .max_cq = 1024,
        .max_cqe = 1 << 17,
        .max_mr = 4096,
        .max_pd = 64,
        .max_qp_rd_atom = 16,
        .max_qp_init_rd_atom = 16,
        .max_res_rd_atom = 16 * 1024,
        .max_mw = 4096,
        .max_srq = 64,
        .max_srq_wr = 1 << 10,
        .max_srq_sge = SGES_MAX,
        .max_pkeys = 1,
        .phys_port_cnt = 1,
    };
    conf->port = (struct ibv_port_attr){
        .state = IBV_PORT_ACTIVE,
        .max_mtu = IBV_MTU_4096,
        .active_mtu = IBV_MTU_4096,
        .gid_tbl_len = VERBS_GIDS,
        .max_msg_sz = 1u << 30,
        .pkey_tbl_len = 1,
        .active_width = 2,  /* 4 lanes */
        .active_speed = 32, /* EDR, 25 Gb/s */
        .phys_state = 5,
        .link_layer = IBV_LINK_LAYER_ETHERNET,
    };
    snprintf(text, sizeof text, "fe80::a:%x:%x", index, host + 1);
    verbs_double_gid(conf, 0, text, IBV_GID_TYPE_ROCE_V1, 2 + index);
    verbs_double_gid(conf, 1, text, IBV_GID_TYPE_ROCE_V2, 2 + index);
    snprintf(text, sizeof text, "10.7.%u.%u", index, host + 1);
    verbs_double_gid(conf, 2, text, IBV_GID_TYPE_ROCE_V2, 2 + index);
    conf->max_inline = 256;
    conf->last_wqe = true;
}

struct verbs_double *verbs_double_create(struct fake_net *net, uint64_t seed)
{
    struct verbs_double *d = vd_new(sizeof *d);
    if (the_double != NULL) {
        vd_abort("there is one already");
    }
    the_double = d;
    d->net = net;
    d->random = seed;
    verbs_double_delay(d, 500, 5000);
    d->next_key_index = 1;
    for (unsigned i = 0; i < VERBS_HOSTS; i++) {
        struct host *host = &d->hosts[i];
        host->d = d;
        host->index = i;
        host->watch = -1;
        host->conf = (struct verbs_double_host){.devices = 1,
                                                .memlock = UINT64_MAX,
                                                .mr_room = UINT64_MAX,
                                                .qp_room = UINT64_MAX,
                                                .fork_status = IBV_FORK_UNNEEDED};
        for (unsigned k = 0; k < VERBS_DEVICES; k++) {
            struct dev *dev = &host->devs[k];
            dev->host = host;
            dev->conf = &host->conf.device[k];
            dev->next_qpn = 17; /* the same on every device */
            set_device(dev->conf, i, k);
        }
        fill(host);
    }
    return d;
}

void verbs_double_destroy(struct verbs_double *d)
{
    static const struct verbs_double_count none;
    if (d == NULL) {
        return;
    }
    for (unsigned i = 0; i < VERBS_HOSTS; i++) {
        if (memcmp(&d->hosts[i].count, &none, sizeof none) != 0) {
            vd_abort("host %u has not destroyed all that it made", i);
        }
        verbs_double_unguard(d, i, NULL, UINTPTR_MAX);
        if (d->hosts[i].watch >= 0) {
            close(d->hosts[i].watch);
        }
    }
    vd_forget_agains(d, NULL);
    the_double = NULL;
    free(d);
}

const struct verbs_lib *verbs_double_lib(struct verbs_double *d, unsigned host)
{
    return &d->hosts[host].lib;
}

struct verbs_double_host *verbs_double_host(struct verbs_double *d, unsigned host)
{
    return &d->hosts[host].conf;
}

void verbs_double_count(const struct verbs_double *d, unsigned host,
                        struct verbs_double_count *ret)
{
    *ret = d->hosts[host].count;
}

uint64_t verbs_double_read_bytes(const struct verbs_double *d)
{
    return d->read_bytes;
}

uint64_t verbs_double_messages(const struct verbs_double *d)
{
    return d->messages;
}
