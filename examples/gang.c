/* gang.c - tasks that start together: each listens at a port of its own, they tell each other where, and add up an
 * array in a ring of plain sockets, as an MPI program would inside. */
#include <arpa/inet.h>
#include <mobula.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MEMBERS = 2, ITEMS = 1024 };

struct where { /* what each member brings */
    char host[64];
    uint16_t port;
};

/* A socket that listens at a free port. */
static int listen_somewhere(uint16_t *ret_port)
{
    struct sockaddr_in own = {.sin_family = AF_INET};
    socklen_t size = sizeof own;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&own, size) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, (struct sockaddr *)&own, &size) < 0) {
        return -1;
    }
    *ret_port = own.sin_port;
    return fd;
}

static int connect_to(const struct where *to)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = to->port};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || inet_pton(AF_INET, to->host, &addr.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0) {
        return -1;
    }
    return fd;
}

static mob_status add_up(struct mob_task *task)
{
    unsigned rank = mob_gang_rank(task), size = mob_gang_size(task);
    struct where mine = {{0}, 0}, all[MOB_GANG_MAX];
    double *sum, passed[ITEMS];
    void *place;
    MOB_TRY(mob_return_place(task, 0, sizeof passed, &place));
    sum = place;

    int listener = listen_somewhere(&mine.port);
    snprintf(mine.host, sizeof mine.host, "%s", mob_gang_host(task));
    MOB_TRY(mob_gang_exchange(task, &mine, sizeof mine, all, MOB_FOREVER));
    int next = connect_to(&all[(rank + 1) % size]);
    int last = accept(listener, NULL, NULL);

    for (int i = 0; i < ITEMS; i++) {
        sum[i] = passed[i] = (rank + 1) * i;
    }
    for (unsigned step = 1; step < size; step++) { /* pass on what came, add what comes */
        if (send(next, passed, sizeof passed, MSG_NOSIGNAL) != sizeof passed ||
            recv(last, passed, sizeof passed, MSG_WAITALL) != sizeof passed) {
            return mob_fail(task, "the ring broke at rank %u",
                            rank); /* the gang runs again */
        }
        for (int i = 0; i < ITEMS; i++) {
            sum[i] += passed[i];
        }
    }
    close(next);
    close(last);
    close(listener);
    return MOB_OK;
}
MOB_REGISTER(add_up);

int main(void)
{
    struct mob *mob;
    mob_ref sums[MEMBERS];
    double sum[ITEMS];
    MOB_CHECK(mob_init(NULL, &mob));
    MOB_CHECK(mob_submit_gang(mob, add_up, MOB_NO_ARGS, NULL, MEMBERS, sums));
    for (int i = 0; i < MEMBERS; i++) {
        MOB_CHECK(mob_get_copy(mob, sums[i], sum, sizeof sum, MOB_FOREVER));
        printf("rank %d of %d: the last of %d sums is %g\n", i, MEMBERS, ITEMS,
               sum[ITEMS - 1]);
        mob_release(mob, sums[i]);
    }
    mob_shutdown(mob);
}
