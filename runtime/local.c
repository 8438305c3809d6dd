#include "local.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/codec.h"
#include "core/limits.h"
#include "core/status.h"

extern char **environ;

enum { SPAWN_STRINGS_MAX = 65536, SPAWN_BYTES_MAX = 8 << 20 };

const char *const local_threads_vars[LOCAL_THREADS_VARS] = {
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS"};

uint32_t local_threads(uint64_t units)
{
    return units > CPU_UNITS ? (uint32_t)(units / CPU_UNITS) : 1;
}

void local_msg_init(struct local_msg *m, enum local_op op)
{
    memset(m, 0, LOCAL_HEAD_BYTES);
    m->op = op;
}

void local_msg_text(struct local_msg *m, const char *text)
{
    size_t size = strlen(text);
    m->text_size = size < LOCAL_TEXT_MAX ? (uint32_t)size : LOCAL_TEXT_MAX - 1;
    memcpy(m->text, text, m->text_size);
}

union fd_space {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * LOCAL_FDS_MAX)];
};

mob_status local_send(int sock, const struct local_msg *m, const int *fds, unsigned count)
{
    union fd_space space;
    struct iovec iov = {(void *)m, LOCAL_HEAD_BYTES + m->text_size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    MOB_ASSERT(count <= LOCAL_FDS_MAX && m->text_size < LOCAL_TEXT_MAX);
    if (count) {
        memset(&space, 0, sizeof space);
        msg.msg_control = space.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    ssize_t n;
    do {
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        return MOB_OK;
    }
    bool gone = errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN;
    return status_fail(gone ? MOB_ERR_PEER_LOST : MOB_ERR_SYSTEM,
                       "sending to the node's daemon: %m");
}

mob_status local_recv(int sock, struct local_msg *m, int *fds, unsigned *ret_count)
{
    union fd_space space;
    struct iovec iov = {m, sizeof *m - 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = space.bytes,
                         .msg_controllen = sizeof space.bytes};
    ssize_t n;
    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n <= 0) {
        bool would = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        return would ? MOB_ERR_TIMEOUT
                     : status_fail(MOB_ERR_PEER_LOST,
                                   "the other end of a local connection is "
                                   "gone");
    }
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) {
            continue;
        }
        size_t bytes = c->cmsg_len - CMSG_LEN(0);
        for (size_t i = 0; i < bytes / sizeof(int); i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
            if (count < LOCAL_FDS_MAX) {
                fds[count++] = fd;
            } else {
                close(fd);
            }
        }
    }
    if ((size_t)n < LOCAL_HEAD_BYTES || (size_t)n != LOCAL_HEAD_BYTES + m->text_size ||
        msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC) || m->op >= LOCAL_OPS) {
        for (unsigned i = 0; i < count; i++) {
            close(fds[i]);
        }
        return status_fail(MOB_ERR_PROTOCOL,
                           "got a malformed message on a local connection");
    }
    m->text[m->text_size] = '\0';
    *ret_count = count;
    return MOB_OK;
}

/* ---- what a worker is started with ---------------------------------------------------------------- */

static mob_status read_file(const char *path, char *buf, size_t size, size_t *ret_size)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        return status_fail(MOB_ERR_UNSUPPORTED, "%s: %m (is /proc mounted?)", path);
    }
    *ret_size = fread(buf, 1, size, f);
    fclose(f);
    return MOB_OK;
}

/* Variables by which launchers and this library speak to one process, not to those it starts. */
static bool is_private(const char *var)
{
    static const char worker[] = LOCAL_WORKER_ENV "=";
    static const char *const prefixes[] = {"PMI_",   "PMIX_",    "PMI2_", "OMPI_",
                                           "SLURM_", "MPIEXEC_", worker};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(var, prefixes[i], strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

mob_status local_spawn_pack(void **ret, size_t *ret_size)
{
    char cwd[PATH_MAX];
    size_t args_size;
    struct codec_writer w;
    char *buf = malloc(SPAWN_BYTES_MAX), *args = malloc(SPAWN_BYTES_MAX);
    mob_status st = MOB_OK;
    if (!buf || !args) {
        st =
            status_fail(MOB_ERR_NOMEM, "no memory to copy the arguments and environment");
        goto out;
    }
    if (!getcwd(cwd, sizeof cwd)) {
        st = status_fail(MOB_ERR_SYSTEM, "the working directory: %m");
        goto out;
    }
    st = read_file("/proc/self/cmdline", args, SPAWN_BYTES_MAX, &args_size);
    if (st) {
        goto out;
    }
    codec_writer_init(&w, buf, SPAWN_BYTES_MAX);
    codec_put_str(&w, cwd);
    uint32_t argc = 0, envc = 0;
    for (size_t at = 0; at < args_size; at += strlen(args + at) + 1) {
        argc++;
    }
    codec_put_u32(&w, argc);
    for (size_t at = 0; at < args_size; at += strlen(args + at) + 1) {
        codec_put_str(&w, args + at);
    }
    for (char **e = environ; e && *e; e++) {
        envc += !is_private(*e);
    }
    codec_put_u32(&w, envc);
    for (char **e = environ; e && *e; e++) {
        if (!is_private(*e)) {
            codec_put_str(&w, *e);
        }
    }
    if (!w.ok) {
        st = status_fail(MOB_ERR_FULL, "arguments and environment exceed %d bytes",
                         (int)SPAWN_BYTES_MAX);
        goto out;
    }
    *ret_size = codec_written(&w);
    *ret = buf;
    buf = NULL;
out:
    free(buf);
    free(args);
    return st;
}

static char **get_list(struct codec_reader *r, char **text, char *end)
{
    uint32_t count = codec_get_u32(r);
    if (!r->ok || count > SPAWN_STRINGS_MAX) {
        r->ok = false;
        return NULL;
    }
    char **list = calloc(count + 1, sizeof *list);
    for (uint32_t i = 0; list && i < count && r->ok; i++) {
        list[i] = *text;
        codec_get_str(r, *text, (size_t)(end - *text));
        *text += strlen(*text) + 1;
    }
    return list;
}

mob_status local_spawn_unpack(const void *bytes, size_t size, struct local_spawn *ret)
{
    struct local_spawn s = {0};
    struct codec_reader r;
    char *text = size <= SPAWN_BYTES_MAX ? malloc(size + 1) : NULL;
    s.buf = text;
    codec_reader_init(&r, bytes, size);
    if (text) {
        char *end = text + size + 1;
        s.cwd = text;
        codec_get_str(&r, text, (size_t)(end - text));
        text += strlen(text) + 1;
        s.argv = get_list(&r, &text, end);
        s.envp = get_list(&r, &text, end);
    }
    if (!s.buf || !s.argv || !s.envp || !codec_done(&r) || !s.argv[0]) {
        local_spawn_free(&s);
        return status_fail(MOB_ERR_PROTOCOL,
                           "a driver sent a malformed start description");
    }
    *ret = s;
    return MOB_OK;
}

void local_spawn_free(struct local_spawn *s)
{
    free(s->argv);
    free(s->envp);
    free(s->buf);
    memset(s, 0, sizeof *s);
}

/* ---- where a node's socket is ------------------------------------------------------------------------ */

mob_status local_state_dir(char *buf, size_t size, int make)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    int n = run && run[0] == '/'
                ? snprintf(buf, size, "%s/mobula", run)
                : snprintf(buf, size, "/tmp/mobula-%u", (unsigned)getuid());
    if (n < 0 || (size_t)n >= size) {
        return status_fail(MOB_ERR_INVALID, "XDG_RUNTIME_DIR is too long: %s", run);
    }
    if (make && mkdir(buf, 0700) < 0 && errno != EEXIST) {
        return status_fail(MOB_ERR_SYSTEM, "making the folder %s: %m", buf);
    }
    struct stat st;
    if (lstat(buf, &st) < 0) {
        return status_fail(MOB_ERR_NO_NODE, "no node runs on this machine (%s: %m)", buf);
    }
    if (!S_ISDIR(st.st_mode) || st.st_uid != getuid() || (st.st_mode & 077)) {
        return status_fail(
            MOB_ERR_STATE,
            "%s is not safe: it must be a folder of yours with mode 0700, and no "
            "symbolic link; remove it or set XDG_RUNTIME_DIR",
            buf);
    }
    return MOB_OK;
}

mob_status local_socket_path(const char *dir, char *buf, size_t size)
{
    struct sockaddr_un un;
    int n = snprintf(buf, size, "%s/socket", dir);
    if (n < 0 || (size_t)n >= size || (size_t)n >= sizeof un.sun_path) {
        return status_fail(
            MOB_ERR_INVALID,
            "the path %s/socket is longer than the %zu bytes that a socket may "
            "have; choose a shorter folder",
            dir, sizeof un.sun_path - 1);
    }
    return MOB_OK;
}

mob_status local_connect(const char *dir, int *ret_sock)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    MOB_TRY(local_socket_path(dir, un.sun_path, sizeof un.sun_path));
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (sock < 0) {
        return status_fail(MOB_ERR_SYSTEM, "socket: %m");
    }
    if (connect(sock, (struct sockaddr *)&un, sizeof un) < 0) {
        int err = errno;
        close(sock);
        errno = err;
        return status_fail(err == ENOENT || err == ECONNREFUSED ? MOB_ERR_NO_NODE
                                                                : MOB_ERR_SYSTEM,
                           "no node answers at %s: %m", un.sun_path);
    }
    *ret_sock = sock;
    return MOB_OK;
}
