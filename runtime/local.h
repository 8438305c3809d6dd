/* local.h - what a client and the daemon of its node say to each other, over a unix socket of
 * type SEQPACKET. None of it is on the path of a task.
 *
 * A client asks, the daemon answers each request with one message of the same op, in order; ops
 * marked "one way" have no answer. A message is the fixed part and `text_size` bytes of text.
 * Both ends check what they get: a client may be broken, a socket file may be somebody else's. */
#ifndef RUNTIME_LOCAL_H
#define RUNTIME_LOCAL_H

#include <mobula.h>
#include <stddef.h>
#include <stdint.h>

#define LOCAL_MAGIC 0x6d6f6231u /* "mob1" */
#define LOCAL_VERSION 6u
#define LOCAL_TEXT_MAX 16384u
#define LOCAL_FDS_MAX 6

/* Environment of a worker: the fd of its socket. */
#define LOCAL_WORKER_ENV "MOBULA_WORKER_FD"

/* Numeric libraries have as many threads as a worker's tasks have CPUs, unless the user said otherwise in one of
 * these. LOCAL_THREADS_ENV is "THREADS,SET": the number, and a bit for each of these that the node has set. */
#define LOCAL_THREADS_ENV "MOBULA_WORKER_THREADS"
#define LOCAL_THREADS_VARS 5
extern const char *const local_threads_vars[LOCAL_THREADS_VARS];
/* How many, for tasks that ask for @units of CPU_UNITS: whole CPUs, and one at least. */
uint32_t local_threads(uint64_t units);

enum local_op {
    /* First on every connection. arg: LOCAL_MAGIC, LOCAL_VERSION, pid, enum local_role.
     * A driver: text = job name; fds = its executable, a segment with `struct local_spawn` bytes,
     * stdout, stderr; arg[4] = size of those bytes, arg[5] = bit 0: do not forward output, bit 1: run
     * tasks itself, from bit 32 on its weight, or 0.
     * Answer: arg: node, job, process index, CPUs, bit 0: embedded, and from bit 32 on how many CPUs the node may
     * run on if its workers are pinned, store limit; fds = board, bell,
     * and for a driver the pipe on which the node says that the job failed ('f') or that memory is
     * wanted ('m'), and which closes at its death. */
    LOCAL_HELLO,
    /* Memory. arg[0] = bytes that would be good, arg[1] = bytes that would do. Answer: arg: segment, bytes;
     * fd. The client commits it and says so. */
    LOCAL_GRANT,
    LOCAL_COMMITTED, /* one way. arg: segment, 1 if that failed */
    LOCAL_GIVE,      /* one way. arg: segment, which is empty and unmapped here */
    /* Another process's segment, to read. arg: segment. Answer: arg: bytes; fd. */
    LOCAL_MAP,
    /* one way. arg[0] = link: a result whose bytes are on disk, or on another node, is wanted in memory. */
    LOCAL_RESTORE,
    /* arg[0] = link: a result that is lost. Answer: text = why. */
    LOCAL_WHY,
    /* A class. text = the bytes of a struct demand. Answer: arg[0] = class. */
    LOCAL_CLASS,
    /* Answer: arg: node, job, CPUs, store limit, store used, nodes << 32 | workers. */
    LOCAL_INFO,
    /* More records, at once. Answer when they are committed, or why not; MOB_ERR_TIMEOUT: not yet, since
     * memory is being made free for them. */
    LOCAL_RECORDS,
    /* A gang. arg[0] = members; text = a link for each, of a task that the asker has CREATING: the daemon keeps them
     * from its answer on. */
    LOCAL_GANG,
    /* Of a member of a gang. arg[0] = the node that keeps it, arg[1] = gang << 32 | turn, arg[2] = rank << 32 | round,
     * arg[3] = offset; text = what it brings, with the first question of a round. Answer: MOB_ERR_TIMEOUT: not yet;
     * ask again when `proc.wake` changes. Else arg[0] = bytes of all, text = those from the offset on, as many as
     * fit; in round 0 the address of this node instead. */
    LOCAL_MEET,
    /* The driver is done. Answer: when the workers are gone and their output was written. */
    LOCAL_LEAVE,
    /* For the command line. Answer: text = JSON, of which arg[0] = 1 says that more is there; the
     * same op with arg[0] = 1 asks for that, so that nobody is sent more than he takes. */
    LOCAL_STATUS,
    LOCAL_STORE, /* text = JSON of what is asked, see node/inspect.c */
    LOCAL_STOP,  /* Answer: when everything is gone but the daemon itself */
    /* Of a tool: which cluster the node is of. Answer: text = its head's address as people know it, none
     * if there is no cluster; arg[0] = 1 if this node is the head; arg[1], arg[2] = the head's address
     * as the 16 bytes of IPv6, all 0 on the head; arg[3] = its port. */
    LOCAL_CLUSTER,
    /* Of a program: a group. arg[0] = what, then
     * MAKE: arg[1] = strategy, arg[2] = count, text = what each bundle needs (resources_put()). Answer: arg[0] = its
     * name. LOOK: arg[1] = its name. Answer: arg[0] = enum local_group_state, arg[1] = count, text = the node of each
     * bundle, and why it is not whole. DROP: arg[1] = its name. */
    LOCAL_GROUP,
    LOCAL_OPS
};

enum local_group { LOCAL_GROUP_MAKE, LOCAL_GROUP_LOOK, LOCAL_GROUP_DROP };
enum local_group_state {
    LOCAL_GROUP_WAITS,
    LOCAL_GROUP_WHOLE,
    LOCAL_GROUP_UNMET, /* no nodes that could hold it have joined in time */
    LOCAL_GROUP_FULL   /* the cluster has as many groups as it may have */
};

enum local_role { LOCAL_DRIVER, LOCAL_WORKER, LOCAL_TOOL };

struct local_msg {
    uint32_t op;
    int32_t status;
    uint64_t arg[6];
    uint32_t text_size;
    uint32_t pad;
    char text[LOCAL_TEXT_MAX]; /* not ended by NUL on the wire; local_recv() adds one */
};

#define LOCAL_HEAD_BYTES offsetof(struct local_msg, text)

void local_msg_init(struct local_msg *m, enum local_op op);
void local_msg_text(struct local_msg *m, const char *text);

/* Sends a message with fds, which stay the caller's. Blocks on a blocking socket.
 * MOB_ERR_PEER_LOST, MOB_ERR_SYSTEM. */
mob_status local_send(int sock, const struct local_msg *m, const int *fds,
                      unsigned count);

/* Receives one message. @fds gets what came with it, the caller's to close, in the first @ret_count
 * places. MOB_ERR_PEER_LOST: the other end is gone; MOB_ERR_PROTOCOL. */
mob_status local_recv(int sock, struct local_msg *m, int *fds, unsigned *ret_count);

/* ---- what a worker is started with ------------------------------------------------------------ */

struct local_spawn { /* strings in one buffer */
    char *cwd;
    char **argv; /* ends with NULL */
    char **envp; /* ends with NULL */
    void *buf;
};

/* The calling process's, as bytes (malloc'd into @ret). */
mob_status local_spawn_pack(void **ret, size_t *ret_size);
/* From bytes that a client sent. local_spawn_free() when done. */
mob_status local_spawn_unpack(const void *bytes, size_t size, struct local_spawn *ret);
void local_spawn_free(struct local_spawn *s);

/* ---- where a node's socket is ------------------------------------------------------------------- */

/* The folder for sockets and state: $XDG_RUNTIME_DIR/mobula or /tmp/mobula-UID, made with mode 0700
 * if @make; refused if it is a symlink, not ours, or open to others. */
mob_status local_state_dir(char *buf, size_t size, int make);
/* The socket in a node's folder. MOB_ERR_INVALID if the path is too long for a socket. */
mob_status local_socket_path(const char *dir, char *buf, size_t size);
/* Connects to a node's socket. MOB_ERR_NO_NODE if nobody listens there. */
mob_status local_connect(const char *dir, int *ret_sock);

#endif
