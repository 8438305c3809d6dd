/* What check.h finds, on the double and in folders of the test's own. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "transport/check.h"
#include "transport/fake.h"
#include "verbs.h"
#include "verbs_double.h"

static struct fake_net *net;
static struct verbs_double *d;
static struct verbs_double_host *host;
static struct check_config config;
static struct check_rdma c;
static char folder[64], sysfs[80], dev[80], file[100];

static void make(void)
{
    snprintf(folder, sizeof folder, "/tmp/mob-check.XXXXXX");
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(sysfs, sizeof sysfs, "%s/sys", folder);
    snprintf(dev, sizeof dev, "%s/dev", folder);
    snprintf(file, sizeof file, "%s/sys/roce0", folder);
    cr_assert(mkdir(sysfs, 0700) == 0 && mkdir(dev, 0700) == 0 && mkdir(file, 0700) == 0);
    cr_assert_eq(fake_net_create(1, &net), MOB_OK);
    d = verbs_double_create(net, 1);
    host = verbs_double_host(d, 0);
    config = (struct check_config){
        .verbs = verbs_double_lib(d, 0), .sysfs = sysfs, .dev = dev};
}

static void end(void)
{
    struct verbs_double_count left;
    verbs_double_count(d, 0, &left);
    cr_expect_eq(left.contexts + left.pds + left.mrs, 0, "something is left open");
    verbs_double_destroy(d);
    fake_net_destroy(net);
    (void)rmdir(file);
    cr_expect(rmdir(sysfs) == 0 && rmdir(dev) == 0 && rmdir(folder) == 0);
}

TestSuite(check, .init = make, .fini = end, .timeout = 60);

static void judged(enum check_verdict verdict, const char *why, const char *fix)
{
    transport_check(&config, &c);
    cr_assert_eq(c.verdict, verdict, "%s (%s)", c.why, c.fix);
    cr_assert(strstr(c.why, why) != NULL, "why: %s", c.why);
    cr_assert(strstr(c.fix, fix) != NULL, "fix: %s", c.fix);
    cr_assert_eq(verdict == CHECK_FIX, c.fix[0] != '\0');
}

Test(check, a_device_that_works)
{
    judged(CHECK_RDMA, "", "");
    cr_assert_eq(c.ports_count, 1);
    const struct check_port *p = &c.ports[0];
    cr_assert(p->usable && p->windows && p->why[0] == '\0');
    cr_assert_str_eq(p->state, "active");
    cr_assert_str_eq(p->link, "Ethernet");
    cr_assert_eq(p->mtu, 4096);
    cr_assert_eq(p->registered_bytes, CHECK_REGISTER_BYTES);
    cr_assert_eq(p->gids_count, 3);
}

static void closed(void *arg)
{
    *(bool *)arg = true;
}

/* The one that the backend uses is said to be the one. */
Test(check, the_gid_that_is_used)
{
    static const struct transport_user user = {.closed = closed};
    struct loop *loop;
    struct transport *tp;
    bool over = false;
    verbs_double_gid(&host->device[0], 5, "10.9.9.9", IBV_GID_TYPE_ROCE_V2, 1);
    verbs_double_gid(&host->device[0], 6, "10.9.9.10", IBV_GID_TYPE_ROCE_V2, 1);
    judged(CHECK_RDMA, "", "");
    cr_assert_eq(loop_create(0, &loop), MOB_OK);
    struct transport_config tc = {.loop = loop,
                                  .net = net,
                                  .under = &transport_fake,
                                  .verbs = config.verbs,
                                  .user = &user,
                                  .arg = &over,
                                  .node_id = 10};
    cr_assert_eq(transport_verbs.open(&tc, &tp), MOB_OK);
    cr_assert_eq(verbs_of(tp)->rails_count, 1);
    unsigned used = verbs_of(tp)->rails[0]->gid_index, chosen = 0;
    for (unsigned i = 0; i < c.ports[0].gids_count; i++) {
        const struct check_gid *gid = &c.ports[0].gids[i];
        cr_assert_eq(gid->chosen, gid->index == used, "gid %u", gid->index);
        chosen += gid->chosen;
    }
    cr_assert_eq(chosen, 1);
    transport_close(tp);
    while (!over) {
        (void)fake_net_step(net);
        cr_assert_eq(loop_turn(loop, 0), MOB_OK);
    }
    loop_destroy(loop);
}

Test(check, no_device_is_nothing_to_fix)
{
    host->devices = 0;
    cr_assert_eq(rmdir(file), 0);
    judged(CHECK_TCP, "no RDMA device", "");
}

Test(check, a_device_of_the_kernel_without_a_driver_in_the_library)
{
    host->devices = 0;
    judged(CHECK_FIX, "1 RDMA devices", "ibverbs-providers");
}

Test(check, a_port_that_is_down)
{
    host->device[0].port.state = IBV_PORT_DOWN;
    judged(CHECK_FIX, "the port is down", "ip link set");
    host->device[0].port.link_layer = IBV_LINK_LAYER_INFINIBAND;
    judged(CHECK_FIX, "the port is down", "subnet manager");
}

Test(check, one_port_of_two_is_enough)
{
    host->devices = 2;
    host->device[1] = host->device[0];
    snprintf(host->device[1].name, sizeof host->device[1].name, "roce1");
    host->device[0].port.state = IBV_PORT_DOWN;
    judged(CHECK_RDMA, "", "");
    cr_assert_eq(c.ports_count, 2);
    cr_assert(!c.ports[0].usable && c.ports[1].usable);
}

Test(check, no_gid)
{
    for (unsigned i = 0; i < VERBS_GIDS; i++) {
        memset(&host->device[0].gids[i], 0, sizeof host->device[0].gids[i]);
    }
    judged(CHECK_FIX, "no GID", "IP address");
}

Test(check, memory_that_may_not_be_locked)
{
    struct rlimit limit = {8192 * 1024, 8192 * 1024};
    host->memlock = limit.rlim_cur;
    cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    transport_check(&config, &c);
    cr_assert_eq(c.verdict, CHECK_FIX);
    if (c.memlock_free) { /* as root: the limit is not what is in the way */
        cr_assert(strstr(c.why, "64 MiB") != NULL, "%s", c.why);
    } else {
        judged(CHECK_FIX, "may lock 8192 KiB", "LimitMEMLOCK=infinity");
    }
}

Test(check, strict_mode_needs_windows)
{
    host->device[0].attr.device_cap_flags &= ~(unsigned)IBV_DEVICE_MEM_WINDOW_TYPE_2B;
    judged(CHECK_RDMA, "", "");
    cr_assert(!c.ports[0].windows);
    config.strict = true;
    judged(CHECK_FIX, "windows of type 2B", "--rdma=auto");
}

Test(check, fork_that_is_not_safe)
{
    host->fork_status = IBV_FORK_DISABLED;
    judged(CHECK_FIX, "fork()", "RDMAV_FORK_SAFE=1");
}

Test(check, a_smaller_mtu_is_a_note)
{
    host->device[0].port.active_mtu = IBV_MTU_1024;
    judged(CHECK_RDMA, "", "");
    cr_assert(strstr(c.ports[0].note, "MTU 1024") != NULL);
}

static struct ibv_context *refuses(struct ibv_device *device)
{
    (void)device;
    errno = EACCES;
    return NULL;
}

Test(check, a_device_that_may_not_be_opened)
{
    struct verbs_lib lib = *config.verbs;
    char path[200];
    lib.open_device = refuses;
    config.verbs = &lib;
    int count;
    struct ibv_device **list = lib.get_device_list(&count);
    snprintf(list[0]->dev_name, sizeof list[0]->dev_name, "uverbs0");
    judged(CHECK_FIX, "no file", "modprobe ib_uverbs");
    snprintf(path, sizeof path, "%s/uverbs0", dev);
    int fd = open(path, O_CREAT | O_CLOEXEC, 0);
    cr_assert(fd >= 0);
    close(fd);
    transport_check(&config, &c);
    cr_assert_eq(c.verdict, CHECK_FIX);
    cr_assert(strstr(c.why, access(path, R_OK) == 0 ? "Permission denied"
                                                    : "may not be opened") != NULL,
              "%s", c.why);
    lib.free_device_list(list);
    unlink(path);
}
