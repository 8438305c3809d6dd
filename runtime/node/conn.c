#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <poll.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"
#include "group.h"
#include "spill.h"

enum { MESSAGES_A_TURN = 64 }; /* of one connection, so that none can starve the others */

static void unlink_conn(struct conn *c)
{
    if (c->prev) {
        c->prev->next = c->next;
    } else {
        c->node->conns = c->next;
    }
    if (c->next) {
        c->next->prev = c->prev;
    }
}

/* Or is gone. */
static void speaks(struct conn *c)
{
    c->node->silent -= c->silent;
    c->silent = false;
}

static void gone(struct conn *c)
{
    struct node *n = c->node;
    struct job *j = c->job;
    close(c->sock);
    speaks(c);
    unlink_conn(c);
    status_drop(c);
    inspect_conn_gone(c);
    if (n->stopper == c) {
        n->stopper = NULL;
    }
    if (j && j->driver == c) {
        j->driver = NULL;
        job_end(j);
    } else if (j && c->role == LOCAL_WORKER && j->members[c->proc].conn == c) {
        j->members[c->proc].conn = NULL;
        job_step(j);
    }
    free(c->answer);
    free(c);
    node_step(n);
}

void conn_reply(struct conn *c, struct local_msg *m, const int *fds, unsigned count)
{
    if (!c->closing && local_send(c->sock, m, fds, count) != MOB_OK) {
        conn_close(c);
    }
}

void conn_answer(struct conn *c, uint32_t op, char *text)
{
    struct local_msg *m = c->node->scratch;
    if (text) {
        free(c->answer);
        c->answer = text;
        c->answer_at = 0;
    }
    if (!c->answer) {
        conn_deny(c, op, status_fail(MOB_ERR_PROTOCOL, "there is no more of an answer"));
        return;
    }
    size_t left = strlen(c->answer + c->answer_at);
    local_msg_init(m, (enum local_op)op);
    m->text_size = (uint32_t)(left < LOCAL_TEXT_MAX - 1 ? left : LOCAL_TEXT_MAX - 1);
    memcpy(m->text, c->answer + c->answer_at, m->text_size);
    c->answer_at += m->text_size;
    m->arg[0] = m->text_size < left;
    if (!m->arg[0]) {
        free(c->answer);
        c->answer = NULL;
    }
    conn_reply(c, m, NULL, 0);
}

void conn_deny(struct conn *c, uint32_t op, mob_status st)
{
    struct local_msg *m = c->node->scratch;
    local_msg_init(m, (enum local_op)op);
    m->status = st;
    local_msg_text(m, mob_last_error()[0] ? mob_last_error() : mob_status_text(st));
    conn_reply(c, m, NULL, 0);
}

static void close_fds(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

static void why_lost(struct conn *c, struct local_msg *m)
{
    char text[FAILURE_TEXT_MAX];
    lineage_why(c->job, m->arg[0], text);
    local_msg_init(m, LOCAL_WHY);
    local_msg_text(m, text);
    conn_reply(c, m, NULL, 0);
}

/* Who is at the other end: the kernel says, whatever the message claims. */
static mob_status check_peer(struct conn *c)
{
    struct ucred cred;
    socklen_t size = sizeof cred;
    if (getsockopt(c->sock, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "who is at the other end: %m");
    }
    if (cred.uid != getuid()) {
        return status_fail(MOB_ERR_KEY, "this node is of user %u, and you are user %u",
                           (unsigned)getuid(), (unsigned)cred.uid);
    }
    return MOB_OK;
}

static void worker_hello(struct conn *c, struct local_msg *m)
{
    struct job *j = c->job; /* set when its socket was made */
    if (!j || j->ended || c->proc == 0) {
        conn_deny(c, m->op,
                  status_fail(MOB_ERR_STATE, "no worker is expected on this connection"));
        return;
    }
    struct node *n = c->node;
    local_msg_init(m, LOCAL_HELLO);
    m->arg[0] = n->id;
    m->arg[1] = j->number;
    m->arg[2] = c->proc;
    m->arg[3] = n->cpus;
    m->arg[4] = n->config.embedded >= 0;
    m->arg[4] |= (uint64_t)n->cpus_here << 32;
    m->arg[5] = n->budget.limit_bytes;
    int fds[2] = {j->board.fd, j->bell};
    conn_reply(c, m, fds, 2);
    proc_joined(&j->members[c->proc]);
}

static void hello(struct conn *c, struct local_msg *m, int *fds, unsigned count)
{
    mob_status st = check_peer(c);
    if (!st && (m->arg[0] != LOCAL_MAGIC || m->arg[1] != LOCAL_VERSION)) {
        st = status_fail(
            MOB_ERR_VERSION,
            "the node speaks version %u of the local protocol, the program %llu; use "
            "the same version of mobula for both",
            LOCAL_VERSION, (unsigned long long)m->arg[1]);
    }
    if (!st && (c->greeted || m->arg[3] > LOCAL_TOOL)) {
        st = status_fail(MOB_ERR_PROTOCOL, "a second or malformed hello");
    }
    if (st) {
        close_fds(fds, count);
        conn_deny(c, m->op, st);
        return;
    }
    c->greeted = true;
    speaks(c);
    if (c->job) {
        c->role = LOCAL_WORKER;
        close_fds(fds, count);
        worker_hello(c, m);
    } else if (m->arg[3] == LOCAL_DRIVER) {
        c->role = LOCAL_DRIVER;
        c->pid = (pid_t)m->arg[2];
        job_hello(c, m, fds, count);
    } else {
        c->role = LOCAL_TOOL;
        close_fds(fds, count);
        local_msg_init(m, LOCAL_HELLO);
        m->arg[0] = c->node->id;
        conn_reply(c, m, NULL, 0);
    }
}

static void records(struct conn *c, uint32_t op)
{
    mob_status st = grant_records(c->job);
    if (st) {
        conn_deny(c, op, st);
        return;
    }
    local_msg_init(c->node->scratch, LOCAL_RECORDS);
    conn_reply(c, c->node->scratch, NULL, 0);
}

static void of_job(struct conn *c, struct local_msg *m)
{
    switch (m->op) {
    case LOCAL_GRANT:
        grant_request(c, m);
        break;
    case LOCAL_COMMITTED:
        grant_committed(c, m);
        break;
    case LOCAL_GIVE:
        grant_give(c, m);
        break;
    case LOCAL_MAP:
        grant_map(c, m);
        break;
    case LOCAL_RESTORE:
        spill_restore(c->job, m->arg[0]);
        (c->proc == 1 ? lineage_read : lineage_want)(c->job, m->arg[0]);
        break;
    case LOCAL_WHY:
        why_lost(c, m);
        break;
    case LOCAL_CLASS:
        job_class(c, m);
        break;
    case LOCAL_GROUP:
        group_reply(c, m);
        break;
    case LOCAL_RECORDS:
        records(c, m->op);
        break;
    case LOCAL_INFO:
        status_info(c, m);
        break;
    case LOCAL_GANG:
        gang_begin(c, m);
        break;
    case LOCAL_MEET:
        meet_ask(c, m);
        break;
    case LOCAL_LEAVE:
        job_leave(c);
        break;
    default:
        conn_deny(
            c, m->op,
            status_fail(MOB_ERR_PROTOCOL, "request %u is not for a program", m->op));
    }
}

static void dispatch(struct conn *c, struct local_msg *m, int *fds, unsigned count)
{
    if (m->op == LOCAL_HELLO) {
        hello(c, m, fds, count);
        return;
    }
    close_fds(fds, count);
    if (!c->greeted) {
        conn_close(c);
    } else if (c->job && !c->job->ended) {
        of_job(c, m);
    } else if (c->role == LOCAL_TOOL && (m->op == LOCAL_STATUS || m->op == LOCAL_STORE)) {
        if (m->arg[0]) {
            conn_answer(c, m->op, NULL);
        } else if (m->op == LOCAL_STATUS) {
            status_reply(c, m);
        } else {
            inspect_reply(c, m);
        }
    } else if (c->role == LOCAL_TOOL && m->op == LOCAL_CLUSTER) {
        status_cluster(c, m);
    } else if (c->role == LOCAL_TOOL && m->op == LOCAL_STOP) {
        c->node->stopper = c;
        node_stop(c->node);
    } else {
        conn_deny(c, m->op, status_fail(MOB_ERR_CLOSED, "the job is over"));
    }
}

static void readable(struct loop_op *op, int result)
{
    struct conn *c = LOOP_OWNER(op, struct conn, op);
    if (result < 0) {
        gone(c);
        return;
    }
    struct local_msg *m = malloc(sizeof *m);
    for (int i = 0; m && i < MESSAGES_A_TURN && !c->closing; i++) {
        int fds[LOCAL_FDS_MAX];
        unsigned count = 0;
        mob_status st = local_recv(c->sock, m, fds, &count);
        if (st == MOB_ERR_TIMEOUT) {
            free(m);
            return;
        }
        if (st) {
            conn_close(c);
            break;
        }
        dispatch(c, m, fds, count);
    }
    free(m);
    if (!c->closing) { /* more may wait: the watch tells of changes only, so start it anew */
        c->again = true;
        loop_cancel(c->node->loop, &c->op);
    }
}

static void watch_ended(struct loop_op *op, int result)
{
    struct conn *c = LOOP_OWNER(op, struct conn, op);
    if (result < 0 && c->again && !c->closing) {
        c->again = false;
        loop_watch(c->node->loop, &c->op, c->sock, POLLIN, watch_ended);
        return;
    }
    readable(op, result);
}

mob_status conn_open(struct node *node, int sock, struct conn **ret)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c || fcntl(sock, F_SETFL, O_NONBLOCK) < 0) {
        free(c);
        close(sock);
        return status_fail(MOB_ERR_NOMEM, "no memory for a connection");
    }
    c->node = node;
    c->sock = sock;
    c->next = node->conns;
    if (c->next) {
        c->next->prev = c;
    }
    node->conns = c;
    loop_watch(node->loop, &c->op, sock, POLLIN, watch_ended);
    if (ret) {
        *ret = c;
        return MOB_OK;
    }
    c->silent = true;
    c->since_ns = loop_now_ns(node->loop);
    node->silent++;
    return MOB_OK;
}

bool conns_room(struct node *n)
{
    uint64_t now = loop_now_ns(n->loop);
    if (n->silent < CONNS_SILENT_MAX) {
        return true;
    }
    for (struct conn *c = n->conns; c; c = c->next) {
        if (c->silent && !c->closing && now >= c->since_ns + CONN_SILENT_NS) {
            conn_close(c);
        }
    }
    return false;
}

void conn_close(struct conn *c)
{
    if (!c->closing) {
        c->closing = true;
        loop_cancel(c->node->loop, &c->op);
    }
}
