/* What check.h promises: what verbs_device.c will find, with what to do about it. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "transport/check.h"
#include "verbs.h"

enum { CAP_IPC_LOCK_BIT = 14 }; /* capabilities(7) */

static void say(char text[CHECK_TEXT_SIZE], const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void say(char text[CHECK_TEXT_SIZE], const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, CHECK_TEXT_SIZE, format, ap);
    va_end(ap);
}

/* ---- the machine ------------------------------------------------------------------- */

static unsigned count_entries(const char *folder)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        count += e->d_name[0] != '.';
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return count;
}

static bool may_lock_all(void)
{
    unsigned long long effective = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "CapEff:", 7) == 0) {
            effective = strtoull(line + 7, NULL, 16);
        }
    }
    if (f != NULL) {
        fclose(f);
    }
    return (effective >> CAP_IPC_LOCK_BIT & 1) != 0;
}

static void look_at_memlock(struct check_rdma *c)
{
    struct rlimit limit;
    c->memlock_bytes = UINT64_MAX;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        c->memlock_bytes = limit.rlim_cur;
    }
    c->memlock_free = may_lock_all();
}

static const char *fork_text(int status)
{
    switch (status) {
    case IBV_FORK_UNNEEDED:
        return "safe: the kernel copies what devices use";
    case IBV_FORK_ENABLED:
        return "safe: RDMAV_FORK_SAFE is set";
    default:
        return "unsafe";
    }
}

/* ---- a port ------------------------------------------------------------------------ */

static const char *state_text(enum ibv_port_state state)
{
    static const char *const texts[] = {"unknown", "down",   "initialising",
                                        "armed",   "active", "active, deferred"};
    return (unsigned)state < sizeof texts / sizeof *texts ? texts[state] : "unknown";
}

static unsigned mtu_bytes(enum ibv_mtu mtu)
{
    return mtu >= IBV_MTU_256 && mtu <= IBV_MTU_4096 ? 128u << mtu : 0;
}

static const char *type_text(uint32_t type)
{
    return type == IBV_GID_TYPE_ROCE_V2   ? "RoCE v2"
           : type == IBV_GID_TYPE_ROCE_V1 ? "RoCE v1"
                                          : "InfiniBand";
}

/* All that are worth something, and the one that verbs_device.c would choose. */
static void look_at_gids(const struct verbs_lib *lib, struct ibv_context *context,
                         const struct ibv_port_attr *attr, struct check_port *p)
{
    bool first_alone = attr->link_layer != IBV_LINK_LAYER_ETHERNET;
    struct check_gid *best = NULL;
    for (int i = 0; i < attr->gid_tbl_len && p->gids_count < CHECK_GIDS_MAX; i++) {
        struct ibv_gid_entry entry = {0};
        if (lib->query_gid(context, p->port, (uint32_t)i, &entry) != 0 ||
            verbs_gid_rank(&entry) < 0) {
            continue;
        }
        struct check_gid *gid = &p->gids[p->gids_count++];
        gid->index = (unsigned)i;
        gid->rank = verbs_gid_rank(&entry);
        gid->type = type_text(entry.gid_type);
        (void)inet_ntop(AF_INET6, entry.gid.raw, gid->address, sizeof gid->address);
        if (entry.ndev_ifindex == 0 ||
            if_indextoname(entry.ndev_ifindex, gid->netdev) == NULL) {
            gid->netdev[0] = '\0';
        }
        if (best == NULL || (!first_alone && gid->rank > best->rank)) {
            best = gid;
        }
    }
    if (best != NULL) {
        best->chosen = true;
    }
}

/* Memory as a node has it, made known to the device and forgotten. */
static void try_to_register(const struct verbs_lib *lib, struct ibv_context *context,
                            const struct check_rdma *c, struct check_port *p)
{
    struct ibv_pd *pd = lib->alloc_pd(context);
    const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
    /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
    void *memory = mmap(NULL, CHECK_REGISTER_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    uint64_t began = clock_now_ns();
    struct ibv_mr *mr =
        pd == NULL || memory == MAP_FAILED
            ? NULL
            : lib->reg_mr(pd, memory, CHECK_REGISTER_BYTES,
                          IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
    int error = errno;
    if (mr != NULL) {
        p->registered_ns = clock_now_ns() - began;
        p->registered_bytes = CHECK_REGISTER_BYTES;
        (void)lib->dereg_mr(mr);
    } else if (c->memlock_bytes < CHECK_REGISTER_BYTES && !c->memlock_free) {
        say(p->why,
            "the device cannot have %u MiB of memory: this user may lock %llu KiB",
            CHECK_REGISTER_BYTES >> 20, (unsigned long long)c->memlock_bytes >> 10);
        say(p->fix, "raise the limit: \"* - memlock unlimited\" in "
                    "/etc/security/limits.conf, or LimitMEMLOCK=infinity of the service, "
                    "or --ulimit memlock=-1 of the container");
    } else {
        say(p->why, "the device cannot have %u MiB of memory: %s",
            CHECK_REGISTER_BYTES >> 20, strerror(error));
        say(p->fix,
            "free memory; if there is enough, the kernel's log says more (dmesg)");
    }
    if (memory != MAP_FAILED) {
        munmap(memory, CHECK_REGISTER_BYTES);
    }
    if (pd != NULL) {
        (void)lib->dealloc_pd(pd);
    }
}

/* With the first thing that is in the way. */
static void look_at_port(const struct check_config *config, const struct verbs_lib *lib,
                         struct ibv_context *context, const struct ibv_device_attr *attr,
                         const struct check_rdma *c, struct check_port *p)
{
    struct ibv_port_attr port = {0};
    const char *lacks = verbs_device_lacks(attr, config->strict);
    p->state = p->link = "unknown";
    p->windows = verbs_device_lacks(attr, true) == NULL;
    p->reads = (unsigned)attr->max_qp_rd_atom;
    if (lib->query_port(context, (uint8_t)p->port, &port) != 0) {
        say(p->why, "the port cannot be asked for its state: %s", strerror(errno));
        say(p->fix, "look for the device in the kernel's log (dmesg)");
        return;
    }
    bool ethernet = port.link_layer == IBV_LINK_LAYER_ETHERNET;
    p->state = state_text(port.state);
    p->link = ethernet ? "Ethernet" : "InfiniBand";
    p->mtu = mtu_bytes(port.active_mtu);
    p->mtu_max = mtu_bytes(port.max_mtu);
    p->mbps = verbs_port_mbps(&port);
    look_at_gids(lib, context, &port, p);
    if (lacks != NULL) {
        say(p->why, "%s", lacks);
        say(p->fix, "%s",
            config->strict && !p->windows
                ? "start nodes with --rdma=auto if the network is trusted"
                : "use another device");
    } else if (port.state != IBV_PORT_ACTIVE) {
        say(p->why, "the port is %s", p->state);
        say(p->fix, "%s",
            ethernet ? "bring its network device up (ip link set NAME up), and check "
                       "the cable"
                     : "check the cable, and that a subnet manager (opensm) runs");
    } else if (p->gids_count == 0) {
        say(p->why, "the port has no GID");
        say(p->fix, "give its network device an IP address");
    } else {
        try_to_register(lib, context, c, p);
        p->usable = p->registered_bytes != 0;
    }
    if (p->usable && ethernet && p->mtu != 0 && p->mtu < p->mtu_max) {
        say(p->note,
            "MTU %u where the device can %u: an MTU of the network device of at least "
            "%u, here and on the way, makes it faster",
            p->mtu, p->mtu_max, p->mtu_max + 100);
    }
}

/* ---- a device ---------------------------------------------------------------------- */

static struct check_port *next_port(struct check_rdma *c, const char *device,
                                    unsigned number)
{
    struct check_port *p = &c->ports[c->ports_count++];
    snprintf(p->device, sizeof p->device, "%s", device);
    p->port = number;
    p->state = p->link = "unknown";
    return p;
}

static void cannot_open(const struct check_config *config, struct ibv_device *device,
                        int error, struct check_port *p)
{
    char path[CHECK_TEXT_SIZE / 2];
    snprintf(path, sizeof path, "%s/%s", config->dev ? config->dev : "/dev/infiniband",
             device->dev_name);
    bool there = access(path, F_OK) == 0;
    if (there && access(path, R_OK | W_OK) != 0) {
        say(p->why, "%s may not be opened by this user", path);
        say(p->fix, "give this user read and write access to it: its group is often rdma "
                    "(usermod -aG rdma USER), a udev rule may say MODE=\"0666\"");
    } else if (!there) {
        say(p->why, "the device has no file %s", path);
        say(p->fix, "load the kernel's module ib_uverbs (modprobe ib_uverbs); give a "
                    "container the devices (--device=/dev/infiniband)");
    } else {
        say(p->why, "the device cannot be opened: %s", strerror(error));
        say(p->fix, "look for it in the kernel's log (dmesg)");
    }
}

static void look_at_device(const struct check_config *config, const struct verbs_lib *lib,
                           struct ibv_device *device, struct check_rdma *c)
{
    struct ibv_device_attr attr = {0};
    const char *name = lib->get_device_name(device);
    if (!verbs_device_wanted(name)) {
        struct check_port *p = next_port(c, name, 1);
        say(p->why, "it is not in " VERBS_DEVICES_VARIABLE);
        say(p->fix, "name it there, or unset " VERBS_DEVICES_VARIABLE);
        return;
    }
    if (device->transport_type == IBV_TRANSPORT_IWARP) {
        struct check_port *p = next_port(c, name, 1);
        say(p->why, "it speaks iWARP, which is not supported");
        say(p->fix, "use a device of InfiniBand or RoCE");
        return;
    }
    errno = 0;
    struct ibv_context *context = lib->open_device(device);
    if (context == NULL || lib->query_device(context, &attr) != 0) {
        cannot_open(config, device, errno, next_port(c, name, 1));
    } else {
        for (unsigned k = 1; k <= attr.phys_port_cnt && c->ports_count < CHECK_PORTS_MAX;
             k++) {
            look_at_port(config, lib, context, &attr, c, next_port(c, name, k));
        }
    }
    if (context != NULL) {
        (void)lib->close_device(context);
    }
}

static void look_at_devices(const struct check_config *config,
                            const struct verbs_lib *lib, struct check_rdma *c)
{
    int count = 0;
    errno = 0;
    struct ibv_device **list = lib->get_device_list(&count);
    if (list == NULL && errno == ENOSYS && c->kernel_devices != 0) {
        say(c->fix, "load the kernel's module ib_uverbs (modprobe ib_uverbs)");
    }
    c->library_devices = list != NULL && count > 0 ? (unsigned)count : 0;
    for (int i = 0; list != NULL && i < count && c->ports_count < CHECK_PORTS_MAX; i++) {
        look_at_device(config, lib, list[i], c);
    }
    if (list != NULL) {
        lib->free_device_list(list);
    }
}

/* ---- all of it --------------------------------------------------------------------- */

/* Of the first port that is not usable, as none is. */
static void judge(struct check_rdma *c, const char *driver_fix)
{
    bool usable = false;
    for (unsigned i = 0; i < c->ports_count; i++) {
        usable = usable || c->ports[i].usable;
    }
    c->verdict = usable ? CHECK_RDMA : CHECK_FIX;
    if (usable) {
        return;
    }
    if (c->ports_count != 0) {
        const struct check_port *p = &c->ports[0];
        say(c->why, "%.30s port %u: %.180s", p->device, p->port, p->why);
        say(c->fix, "%s", p->fix);
    } else if (c->kernel_devices == 0) {
        c->verdict = CHECK_TCP;
        say(c->why, "this machine has no RDMA device");
    } else {
        say(c->why, "the kernel has %u RDMA devices, and libibverbs can use none",
            c->kernel_devices);
        if (c->fix[0] == '\0') {
            say(c->fix, "%s", driver_fix);
        }
    }
}

void transport_check(const struct check_config *config, struct check_rdma *ret)
{
    const char *why = "";
    char missing[VERBS_WHY_SIZE];
    const struct verbs_lib *lib = config->verbs ? config->verbs : verbs_lib_system(&why);
    memset(ret, 0, sizeof *ret);
    ret->library = lib != NULL;
    ret->fork = "not asked: no device";
    say(ret->library_why, "%s", why);
    ret->kernel_devices =
        count_entries(config->sysfs ? config->sysfs : "/sys/class/infiniband");
    look_at_memlock(ret);
    if (lib == NULL) {
        judge(ret, "install rdma-core (Debian: ibverbs-providers)");
        return;
    }
    look_at_devices(config, lib, ret);
    int fork_status = lib->is_fork_initialized(); /* a device's kernel module answers */
    if (ret->library_devices != 0) {
        ret->fork = fork_text(fork_status);
    }
    judge(ret, "install the library's drivers (Debian: ibverbs-providers)");
    if (fork_status == IBV_FORK_DISABLED && ret->verdict == CHECK_RDMA) {
        ret->verdict = CHECK_FIX;
        say(ret->why, "on this kernel a fork() would take pages from the device");
        say(ret->fix, "set RDMAV_FORK_SAFE=1 in the environment of nodes");
    }
    if (!verbs_devices_there(lib, missing)) {
        ret->verdict = CHECK_FIX;
        say(ret->why, VERBS_DEVICES_VARIABLE " names %.60s, and there is no such device",
            missing);
        say(ret->fix, "name one that is there, or unset " VERBS_DEVICES_VARIABLE);
    }
}
