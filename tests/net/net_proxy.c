/* net_proxy.c - somebody on the way between nodes: passes on what it gets, with faults to order.
 *
 *   net_proxy PORT TARGET_PORT SEED      both on the loopback interface
 *
 * Orders come on standard input, a line each, and hold from then on:
 *   flip N        one bit of the Nth byte from here on is another one
 *   flips MEAN    one bit in MEAN bytes, on average
 *   delay MS      each byte comes so much later
 *   stalls MEAN MS  every MEAN bytes, on average, the direction stands still for MS: what loss is to
 *                 those above TCP
 *   rate BYTES    a second, of each direction of each connection
 *   swallow       nothing is passed on any more, and nobody is told (half-open)
 *   reset N       after N further bytes all connections are reset
 *   resets MEAN   the same again and again
 *   shut          of each connection, the way to the target ends
 *   calm          none of these; connections whose bytes were swallowed are reset
 *   say           one line of what was done so far
 * Ends with its standard input. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINKS = 256, ROOM = 1 << 18, READ_BYTES = 16384, PIECES = 64 };

struct way { /* one direction of a connection */
    int from, to;
    uint8_t bytes[ROOM]; /* a ring */
    size_t head, used;
    struct piece {
        size_t size;
        uint64_t due_ns;
    } pieces[PIECES]; /* a ring of what is in it */
    unsigned first, count;
    uint64_t free_ns; /* a rate or a stall lets nothing go before */
    bool ended, told; /* the end came; it was passed on */
};

struct link {
    bool swallowed;
    struct way way[2]; /* to the target, and back */
};

static struct link *links[LINKS];
static struct {
    uint64_t flip, flips, delay_ms, stalls, stall_ms, rate, reset, resets;
    bool swallow;
} order;
static uint64_t next_flip, next_stall; /* bytes until then */
static uint64_t passed, connections, flips, stalls, resets, swallowed;
static uint64_t dice;
static struct sockaddr_in target;

static uint64_t draw(uint64_t below)
{
    dice = dice * 6364136223846793005ull + 1442695040888963407ull;
    return below ? (dice >> 24) % below : 0;
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "net_proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- connections ------------------------------------------------------------------------------------ */

static void drop(unsigned i, bool reset)
{
    struct link *l = links[i];
    struct linger now = {1, 0};
    for (unsigned k = 0; k < 2; k++) {
        if (reset) {
            (void)setsockopt(l->way[k].from, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        }
        close(l->way[k].from); /* which is the other's to */
    }
    free(l);
    links[i] = NULL;
}

static void reset_all(bool only_swallowed)
{
    for (unsigned i = 0; i < LINKS; i++) {
        if (links[i] && (!only_swallowed || links[i]->swallowed)) {
            drop(i, true);
            resets++;
        }
    }
}

static void accept_one(int listener)
{
    int from = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned i = 0;
    while (i < LINKS && links[i]) {
        i++;
    }
    if (from < 0 || to < 0 || i == LINKS ||
        connect(to, (struct sockaddr *)&target, sizeof target) < 0 ||
        fcntl(to, F_SETFL, O_NONBLOCK) < 0) {
        if (from >= 0) {
            close(from);
        }
        if (to >= 0) {
            close(to);
        }
        return;
    }
    links[i] = calloc(1, sizeof *links[i]);
    if (!links[i]) {
        fail("memory");
    }
    links[i]->way[0].from = links[i]->way[1].to = from;
    links[i]->way[0].to = links[i]->way[1].from = to;
    connections++;
}

/* ---- bytes ------------------------------------------------------------------------------------------ */

/* Whether the next of an event with that mean falls among @size bytes, and where. */
static bool falls(uint64_t mean, uint64_t *left, size_t size, size_t *ret_at)
{
    if (!mean) {
        return false;
    }
    if (*left == 0) {
        *left = 1 + draw(2 * mean);
    }
    if (*left > size) {
        *left -= size;
        return false;
    }
    *ret_at = (size_t)*left - 1;
    *left = 0;
    return true;
}

static void harm(uint8_t *bytes, size_t size)
{
    size_t at;
    if (order.flip && order.flip <= size) {
        bytes[order.flip - 1] ^= (uint8_t)(1u << draw(8));
        order.flip = 0;
        flips++;
    } else if (order.flip) {
        order.flip -= size;
    }
    if (falls(order.flips, &next_flip, size, &at)) {
        bytes[at] ^= (uint8_t)(1u << draw(8));
        flips++;
    }
}

static void take(struct link *l, struct way *w)
{
    size_t at = (w->head + w->used) % ROOM, room = ROOM - w->used, unused;
    size_t most = ROOM - at < room ? ROOM - at : room;
    ssize_t n = recv(w->from, w->bytes + at, most < READ_BYTES ? most : READ_BYTES, 0);
    if (n <= 0) {
        w->ended = w->ended || n == 0 || errno != EAGAIN;
        return;
    }
    if (order.swallow || l->swallowed) {
        l->swallowed = true;
        swallowed += (uint64_t)n;
        return;
    }
    harm(w->bytes + at, (size_t)n);
    if (falls(order.stalls, &next_stall, (size_t)n, &unused)) {
        uint64_t until = now_ns() + order.stall_ms * 1000000;
        w->free_ns = w->free_ns > until ? w->free_ns : until;
        stalls++;
    }
    struct piece *p = &w->pieces[(w->first + w->count++) % PIECES];
    p->size = (size_t)n;
    p->due_ns = now_ns() + order.delay_ms * 1000000;
    w->used += (size_t)n;
}

/* False: the connection is broken. */
static bool give(struct way *w)
{
    struct piece *p = &w->pieces[w->first];
    size_t most = ROOM - w->head < p->size ? ROOM - w->head : p->size;
    if (order.reset && order.reset < most) {
        most = order.reset; /* in the middle of what comes in one piece */
    }
    ssize_t n = send(w->to, w->bytes + w->head, most, MSG_NOSIGNAL);
    if (n < 0) {
        return errno == EAGAIN;
    }
    w->head = (w->head + (size_t)n) % ROOM;
    w->used -= (size_t)n;
    p->size -= (size_t)n;
    if (p->size == 0) {
        w->first = (w->first + 1) % PIECES;
        w->count--;
    }
    if (order.rate) {
        w->free_ns = now_ns() + (uint64_t)n * 1000000000ull / order.rate;
    }
    passed += (uint64_t)n;
    if (order.reset && (order.reset -= (uint64_t)n) == 0) {
        reset_all(false);
        order.reset = order.resets ? 1 + draw(2 * order.resets) : 0;
        return true; /* its link is gone: the caller looks again */
    }
    return true;
}

/* When the way has something to give, or UINT64_MAX. */
static uint64_t due(const struct way *w)
{
    uint64_t at = w->count ? w->pieces[w->first].due_ns : UINT64_MAX;
    return w->count && w->free_ns > at ? w->free_ns : at;
}

/* ---- orders ----------------------------------------------------------------------------------------- */

static void shut_all(void)
{
    for (unsigned i = 0; i < LINKS; i++) {
        if (links[i]) {
            shutdown(links[i]->way[0].to, SHUT_WR);
        }
    }
}

static void obey(const char *text)
{
    char word[16] = "";
    unsigned long long a = 0, b = 0;
    (void)sscanf(text, "%15s %llu %llu", word, &a, &b);
    if (strcmp(word, "flip") == 0) {
        order.flip = a;
    } else if (strcmp(word, "flips") == 0) {
        order.flips = a;
    } else if (strcmp(word, "delay") == 0) {
        order.delay_ms = a;
    } else if (strcmp(word, "stalls") == 0) {
        order.stalls = a;
        order.stall_ms = b;
    } else if (strcmp(word, "rate") == 0) {
        order.rate = a;
    } else if (strcmp(word, "swallow") == 0) {
        order.swallow = true;
    } else if (strcmp(word, "reset") == 0) {
        order.reset = a;
    } else if (strcmp(word, "resets") == 0) {
        order.resets = a;
        order.reset = 1 + draw(2 * a);
    } else if (strcmp(word, "shut") == 0) {
        shut_all();
    } else if (strcmp(word, "calm") == 0) {
        memset(&order, 0, sizeof order);
        reset_all(true);
    } else if (strcmp(word, "say") == 0) {
        printf("%llu bytes %llu connections %llu flips %llu stalls %llu resets %llu "
               "swallowed\n",
               (unsigned long long)passed, (unsigned long long)connections,
               (unsigned long long)flips, (unsigned long long)stalls,
               (unsigned long long)resets, (unsigned long long)swallowed);
        fflush(stdout);
    } else {
        fprintf(stderr, "net_proxy: no order: %s\n", text);
        exit(2);
    }
}

/* False: the orders have ended. */
static bool take_orders(void)
{
    static char text[512];
    static size_t have;
    ssize_t n = read(STDIN_FILENO, text + have, sizeof text - 1 - have);
    char *line = text, *end;
    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    have += (size_t)n;
    text[have] = '\0';
    while ((end = strchr(line, '\n')) != NULL) {
        *end = '\0';
        obey(line);
        line = end + 1;
    }
    have -= (size_t)(line - text);
    memmove(text, line, have);
    return have < sizeof text - 1;
}

/* ---- turns ------------------------------------------------------------------------------------------ */

static struct pollfd fds[2 + 4 * LINKS];

static unsigned watch(unsigned count, uint64_t now, uint64_t *wake)
{
    for (unsigned i = 0; i < LINKS; i++) {
        for (unsigned k = 0; links[i] && k < 2; k++) {
            const struct way *w = &links[i]->way[k];
            uint64_t at = due(w);
            if (!w->ended && w->count < PIECES && w->used < ROOM) {
                fds[count++] = (struct pollfd){.fd = w->from, .events = POLLIN};
            }
            if (at <= now) {
                fds[count++] = (struct pollfd){.fd = w->to, .events = POLLOUT};
            } else if (at < *wake) {
                *wake = at;
            }
        }
    }
    return count;
}

static void pass(unsigned i)
{
    for (unsigned k = 0; links[i] && k < 2; k++) {
        struct way *w = &links[i]->way[k];
        if (!w->ended && w->count < PIECES && w->used < ROOM) {
            take(links[i], w);
        }
        if (w->count && due(w) <= now_ns() && !give(w)) {
            drop(i, true);
        }
        if (links[i] && w->ended && !w->count && !w->told) {
            w->told = true;
            shutdown(w->to, SHUT_WR);
        }
    }
    if (links[i] && links[i]->way[0].told && links[i]->way[1].told) {
        drop(i, false);
    }
}

static void turn(int listener)
{
    uint64_t now = now_ns(), wake = UINT64_MAX;
    fds[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = listener, .events = POLLIN};
    unsigned count = watch(2, now, &wake);
    struct timespec wait = {0, 0};
    if (wake != UINT64_MAX) {
        wait.tv_sec = (time_t)((wake - now) / 1000000000ull);
        wait.tv_nsec = (long)((wake - now) % 1000000000ull);
    }
    if (ppoll(fds, count, wake != UINT64_MAX ? &wait : NULL, NULL) < 0 &&
        errno != EINTR) {
        fail("poll");
    }
    for (unsigned i = 0; i < LINKS; i++) {
        pass(i);
    }
    if (fds[1].revents) {
        accept_one(listener);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (argc != 4) {
        fprintf(stderr, "net_proxy: PORT TARGET_PORT SEED\n");
        return 2;
    }
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    at.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
    target = at;
    target.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    dice = strtoull(argv[3], NULL, 0);
    signal(SIGPIPE, SIG_IGN);
    (void)setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 ||
        listen(listener, 64) < 0) {
        fail("listening");
    }
    puts("listens");
    fflush(stdout);
    do {
        turn(listener);
    } while (!(fds[0].revents & (POLLIN | POLLHUP | POLLERR)) || take_orders());
    close(listener);
    return 0;
}
