/* Sends without a copy. The kernel takes the memory as it is and says later when it is free
 * again; nobody waits for that, up to FLIGHTS chunks are under way.
 *
 * It pays for large chunks on a fast network card, and costs more than a copy elsewhere
 * (loopback and virtual cards copy all the same, and the notices come on top). So each
 * lane tries: windows of WINDOW chunks, with and without a copy in turn, while it has
 * enough to send. Without a copy stays what is no slower and takes at most 9 of 10 parts
 * of the CPU time; a single notice that the kernel has copied after all ends the trial.
 *
 *   trial --WINDOWS are over--> on | off      trial --a copy was reported--> off
 *   on --a copy was reported, or the kernel refuses--> off */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "core/log.h"
#include "tcp.h"

enum {
    FLIGHTS = 4,
    WINDOW = 16,               /* chunks */
    WINDOWS = 6,               /* half of them without a copy */
    SIZE_MIN = CHUNK_BYTES / 2 /* whole chunks alone, so that windows compare */
};

enum zc_state { ZC_TRIAL, ZC_ON, ZC_OFF };

struct zc {
    enum zc_state state;
    unsigned window, chunks; /* of the trial */
    uint64_t begin_ns, begin_cpu_ns;
    uint64_t ns[2], cpu_ns[2]; /* with, without a copy */
    struct zc_flight flights[FLIGHTS];
};

/* ---- the trial
 * --------------------------------------------------------------------------- */

static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* The address without the port, as IPv6. */
static struct in6_addr host_of(const struct sockaddr_storage *sa)
{
    struct in6_addr a = {0};
    if (sa->ss_family == AF_INET) {
        a.s6_addr[10] = a.s6_addr[11] = 0xff;
        memcpy(a.s6_addr + 12, &((const struct sockaddr_in *)sa)->sin_addr, 4);
    } else {
        a = ((const struct sockaddr_in6 *)sa)->sin6_addr;
    }
    return a;
}

/* Both ends on this machine: the bytes go from memory to memory, by a copy. */
static bool is_near(const struct conn *lane)
{
    struct sockaddr_storage here = {0}, there = {0};
    socklen_t size = sizeof here;
    if (getsockname(lane->fd, (struct sockaddr *)&here, &size) < 0) {
        return true;
    }
    size = sizeof there;
    if (getpeername(lane->fd, (struct sockaddr *)&there, &size) < 0) {
        return true;
    }
    struct in6_addr a = host_of(&here), b = host_of(&there);
    return memcmp(&a, &b, sizeof a) == 0;
}

void zc_open(struct conn *lane)
{
    if (lane->peer->encrypt || !loop_zerocopy(lane->tcp->loop) || is_near(lane) ||
        (lane->zc = calloc(1, sizeof *lane->zc)) == NULL) {
        return; /* without memory it copies */
    }
    for (unsigned i = 0; i < FLIGHTS; i++) {
        lane->zc->flights[i].lane = lane;
    }
}

const char *zc_text(const struct conn *lane)
{
    static const char *const texts[] = {[ZC_TRIAL] = ", zero-copy sends on trial",
                                        [ZC_ON] = ", zero-copy sends",
                                        [ZC_OFF] = ", zero-copy sends do not pay"};
    return lane == NULL || lane->zc == NULL ? "" : texts[lane->zc->state];
}

static bool turn_of_zc(const struct zc *zc)
{
    return zc->state == ZC_ON || (zc->state == ZC_TRIAL && zc->window % 2 == 1);
}

static void decide(struct conn *lane, bool on, const char *why)
{
    lane->zc->state = on ? ZC_ON : ZC_OFF;
    log_info("objects go to %s %s: %s", lane->peer->address,
             on ? "without a copy" : "with a copy", why);
}

static void judge(struct conn *lane)
{
    const struct zc *zc = lane->zc;
    char why[160];
    bool on = zc->ns[1] <= zc->ns[0] + zc->ns[0] / 50 &&
              zc->cpu_ns[1] / 9 <= zc->cpu_ns[0] / 10;
    snprintf(why, sizeof why,
             "tried, %d MiB took %.1f ms (CPU %.1f ms) with a copy and %.1f ms (CPU %.1f "
             "ms) without",
             WINDOW * WINDOWS / 2, (double)zc->ns[0] / 1e6, (double)zc->cpu_ns[0] / 1e6,
             (double)zc->ns[1] / 1e6, (double)zc->cpu_ns[1] / 1e6);
    decide(lane, on, why);
}

void zc_count(struct conn *lane, size_t size)
{
    struct zc *zc = lane->zc;
    if (zc == NULL || zc->state != ZC_TRIAL || size < SIZE_MIN) {
        return;
    }
    if (zc->chunks++ == 0) { /* from its end on: what went before it is not in the time */
        zc->begin_ns = clock_now_ns();
        zc->begin_cpu_ns = cpu_ns();
    } else if (zc->chunks > WINDOW) {
        zc->ns[zc->window % 2] += clock_now_ns() - zc->begin_ns;
        zc->cpu_ns[zc->window % 2] += cpu_ns() - zc->begin_cpu_ns;
        zc->chunks = 0;
        if (++zc->window == WINDOWS) {
            judge(lane);
        }
    }
}

void zc_idle(struct conn *lane)
{
    if (lane->zc != NULL) {
        lane->zc->chunks = 0; /* a pause is in the time: this window begins anew */
    }
}

/* ---- flights
 * ----------------------------------------------------------------------------- */

bool zc_sending(const struct conn *lane)
{
    for (unsigned i = 0; lane->zc != NULL && i < FLIGHTS; i++) {
        if (loop_op_busy(&lane->zc->flights[i].op) && !lane->zc->flights[i].sent) {
            return true;
        }
    }
    return false;
}

bool zc_busy(const struct conn *lane)
{
    for (unsigned i = 0; lane->zc != NULL && i < FLIGHTS; i++) {
        if (loop_op_busy(&lane->zc->flights[i].op)) {
            return true;
        }
    }
    return false;
}

void zc_cancel(struct conn *lane)
{
    for (unsigned i = 0; lane->zc != NULL && i < FLIGHTS; i++) {
        loop_cancel(lane->tcp->loop, &lane->zc->flights[i].op);
    }
}

bool zc_wanted(struct conn *lane, size_t size, struct zc_flight **ret)
{
    struct zc *zc = lane->zc;
    if (zc == NULL || size < SIZE_MIN || !turn_of_zc(zc)) {
        return false;
    }
    *ret = NULL;
    for (unsigned i = 0; i < FLIGHTS && *ret == NULL; i++) {
        *ret = loop_op_busy(&zc->flights[i].op) ? NULL : &zc->flights[i];
    }
    return true;
}

static void rest_sent(struct conn *lane)
{
    struct serve *serve = lane->sending;
    lane->sending = NULL;
    serve_landed(lane->peer, serve);
    serve_give(lane);
}

/* The kernel took @taken bytes alone: the rest goes as any other send, before anything
 * else. It counts in serve->flying for itself, as the flight may land before. */
static void send_rest(struct zc_flight *flight, size_t taken)
{
    struct conn *lane = flight->lane;
    struct iovec iov[TCP_SEND_PIECES];
    memcpy(iov, flight->iov, sizeof iov);
    for (unsigned i = 0; i < TCP_SEND_PIECES; i++) {
        size_t part = taken < iov[i].iov_len ? taken : iov[i].iov_len;
        iov[i].iov_base = (uint8_t *)iov[i].iov_base + part;
        iov[i].iov_len -= part;
        taken -= part;
    }
    flight->serve->flying++;
    lane->sending = flight->serve;
    conn_send(lane, iov, TCP_SEND_PIECES, rest_sent);
}

static void taken(struct zc_flight *flight, int result)
{
    struct conn *lane = flight->lane;
    flight->sent = true;
    if (result < 0 && result != -EINVAL && result != -EOPNOTSUPP && result != -ENOBUFS) {
        conn_broken(lane, result);
        return;
    }
    if (result < 0) {
        decide(lane, false, strerror(-result));
        send_rest(flight, 0);
    } else if ((size_t)result < flight->size) {
        send_rest(flight, (size_t)result);
    } else {
        zc_count(lane, CHUNK_BYTES);
        serve_give(lane);
    }
}

/* Comes when the kernel has taken the chunk, and when its memory is free; once if the
 * kernel did not take it. */
static void flown(struct loop_op *op, int result)
{
    struct zc_flight *flight = LOOP_OWNER(op, struct zc_flight, op);
    struct conn *lane = flight->lane;
    if (!conn_alive(lane)) {
        conn_settle(lane);
        return;
    }
    if (!flight->sent) {
        taken(flight, result);
        if (loop_op_busy(op) || !conn_alive(lane)) {
            return;
        }
    } else if (result == LOOP_COPIED && lane->zc->state != ZC_OFF) {
        decide(lane, false, "the kernel copies all the same");
    }
    serve_landed(lane->peer, flight->serve);
    serve_give(lane);
}

void zc_send(struct zc_flight *flight, struct serve *serve, const struct iovec *iov,
             unsigned count)
{
    flight->serve = serve;
    flight->sent = false;
    flight->size = 0;
    memset(flight->iov, 0, sizeof flight->iov);
    for (unsigned i = 0; i < count; i++) {
        flight->iov[i] = iov[i];
        flight->size += iov[i].iov_len;
    }
    flight->msg = (struct msghdr){.msg_iov = flight->iov, .msg_iovlen = count};
    loop_sendmsg_zc(flight->lane->tcp->loop, &flight->op, flight->lane->fd, &flight->msg,
                    MSG_WAITALL, flown);
}
