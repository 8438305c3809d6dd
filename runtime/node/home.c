#include "home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/machine.h"
#include "core/status.h"
#include "core/text.h"
#include "journal.h"
#include "local.h"

enum {
    TRIES_MAX = 100 /* while a daemon that ends removes the folder under our hands */
};
#define LOCK_PATIENCE_NS (2000000000ull) /* for the lock of a daemon that is dead */
#define LOCK_NAP_NS 5000000

/* What the pid file says. */
struct mark {
    char boot[MACHINE_ID_BYTES];
    pid_t pid;
    uint64_t start_ticks;
    bool made; /* the folder, by the daemon or by one that was killed before it */
};

mob_status home_default(char *buf, size_t size, bool make)
{
    char state[PATH_MAX];
    MOB_TRY(local_state_dir(state, sizeof state, make));
    int n = snprintf(buf, size, "%s/node", state);
    return n > 0 && (size_t)n < size
               ? MOB_OK
               : status_fail(MOB_ERR_INVALID, "the path %s/node is too long", state);
}

/* ---- the folder ---------------------------------------------------------------------------------- */

static mob_status unsafe(const char *dir, const char *why)
{
    return status_fail(
        MOB_ERR_STATE,
        "the folder %s is not safe (%s): it must be a folder of yours with mode "
        "0700, and no symbolic link; remove it or choose another one",
        dir, why);
}

/* MOB_ERR_NOT_FOUND: there is none. */
static mob_status open_dir(const char *dir, int *ret)
{
    struct stat st;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && (errno == ELOOP || errno == ENOTDIR)) {
        return unsafe(dir, "it is a link or a file");
    }
    if (fd < 0) {
        return status_fail(errno == ENOENT ? MOB_ERR_NOT_FOUND : MOB_ERR_SYSTEM,
                           "the folder %s: %m", dir);
    }
    const char *why = NULL;
    if (fstat(fd, &st) < 0) {
        why = "it cannot be looked at";
    } else if (st.st_uid != geteuid()) {
        why = "it is another user's";
    } else if (st.st_mode & 077) {
        why = "others may enter it";
    }
    if (why) {
        close(fd);
        return unsafe(dir, why);
    }
    *ret = fd;
    return MOB_OK;
}

/* ---- the mark ------------------------------------------------------------------------------------ */

/* A file that is missing, cut off or of other content is no mark. */
static bool read_mark(int dir_fd, struct mark *ret)
{
    char text[256], *rest = text;
    uint64_t pid, made;
    int fd = openat(dir_fd, "pid", O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : -1;
    if (fd >= 0) {
        close(fd);
    }
    if (n <= 0 || text[n - 1] != '\n') {
        return false;
    }
    text[n - 1] = '\0';
    char *word[4];
    for (int i = 0; i < 4; i++) {
        word[i] = strsep(&rest, " ");
        if (!word[i]) {
            return false;
        }
    }
    if (rest || strlen(word[0]) >= sizeof ret->boot ||
        text_parse_u64(word[1], 1, INT_MAX, &pid) ||
        text_parse_u64(word[2], 0, UINT64_MAX, &ret->start_ticks) ||
        text_parse_u64(word[3], 0, 1, &made)) {
        return false;
    }
    snprintf(ret->boot, sizeof ret->boot, "%s", word[0]);
    ret->pid = (pid_t)pid;
    ret->made = made;
    return true;
}

static bool mark_lives(const struct mark *m)
{
    char boot[MACHINE_ID_BYTES];
    uint64_t start;
    return machine_boot_id(boot) == MOB_OK && strcmp(boot, m->boot) == 0 &&
           machine_pid_start(m->pid, &start) == MOB_OK && start == m->start_ticks;
}

static mob_status write_mark(int dir_fd, bool made)
{
    struct mark m = {.pid = getpid(), .made = made};
    MOB_TRY(machine_boot_id(m.boot));
    MOB_TRY(machine_pid_start(m.pid, &m.start_ticks));
    int fd = openat(dir_fd, "pid", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
                    0600);
    if (fd < 0 || dprintf(fd, "%s %d %llu %d\n", m.boot, (int)m.pid,
                          (unsigned long long)m.start_ticks, m.made) < 0) {
        mob_status st = status_fail(MOB_ERR_SYSTEM, "writing the node's pid file: %m");
        if (fd >= 0) {
            close(fd);
        }
        return st;
    }
    close(fd);
    return MOB_OK;
}

/* ---- the lock ------------------------------------------------------------------------------------ */

static mob_status runs_already(const char *dir, const struct mark *m)
{
    if (!m) { /* it has not written its mark yet, or removed it already */
        return status_fail(MOB_ERR_EXISTS,
                           "a node starts or stops at %s just now; try again", dir);
    }
    return status_fail(
        MOB_ERR_EXISTS,
        "a node runs already at %s (pid %d); stop it with `mobula stop`, or give "
        "this one another folder with --node-dir",
        dir, (int)m->pid);
}

/* The lock of a killed daemon may outlive it for a moment: a worker that it was just starting has the
 * same open file until it becomes another program, or dies of its parent's death. */
static mob_status take_lock(int fd, int dir_fd, const char *dir)
{
    struct timespec nap = {0, LOCK_NAP_NS};
    struct mark m;
    uint64_t until = clock_now_ns() + LOCK_PATIENCE_NS;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return status_fail(MOB_ERR_SYSTEM, "locking the folder %s: %m", dir);
        }
        bool marked = read_mark(dir_fd, &m), lives = marked && mark_lives(&m);
        if (!marked || lives || clock_now_ns() >= until) {
            return runs_already(dir, lives ? &m : NULL);
        }
        nanosleep(&nap, NULL);
    }
    return MOB_OK;
}

/* MOB_ERR_EXISTS: somebody holds it; MOB_ERR_NOT_FOUND: no such file any more, try again. */
static mob_status lock(int dir_fd, const char *dir, bool create, int *ret)
{
    struct stat held, there;
    struct mark m;
    int fd = openat(dir_fd, "lock",
                    O_RDWR | (create ? O_CREAT : 0) | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return status_fail(errno == ENOENT ? MOB_ERR_NOT_FOUND : MOB_ERR_SYSTEM,
                           "the lock of the folder %s: %m", dir);
    }
    mob_status st = take_lock(fd, dir_fd, dir);
    if (st) {
        close(fd);
        return st;
    }
    if (fstat(fd, &held) < 0 ||
        fstatat(dir_fd, "lock", &there, AT_SYMLINK_NOFOLLOW) < 0 ||
        held.st_ino != there.st_ino || held.st_dev != there.st_dev) {
        /* Its last holder removed it between our opening and locking: others lock a new one. */
        st = status_fail(MOB_ERR_NOT_FOUND, "the lock of the folder %s was removed", dir);
    } else if (read_mark(dir_fd, &m) && m.pid != getpid() && mark_lives(&m)) {
        st = runs_already(dir, &m);
    }
    if (st) {
        close(fd);
        return st;
    }
    *ret = fd;
    return MOB_OK;
}

/* The folder and its lock, both made if @create. @ret has dir_fd and lock_fd then. */
static mob_status enter(const char *dir, bool create, struct home *ret)
{
    mob_status st = MOB_OK;
    for (int i = 0; i < TRIES_MAX; i++) {
        if (create && mkdir(dir, 0700) == 0) {
            ret->made = true;
        } else if (create && errno != EEXIST) {
            return status_fail(MOB_ERR_SYSTEM, "making the folder %s: %m", dir);
        }
        st = open_dir(dir, &ret->dir_fd);
        if (st == MOB_OK) {
            st = lock(ret->dir_fd, dir, create, &ret->lock_fd);
            if (st == MOB_OK) {
                return MOB_OK;
            }
            close(ret->dir_fd);
        }
        if (st != MOB_ERR_NOT_FOUND || !create) {
            return st;
        }
    }
    return st;
}

/* ---- beginning and end --------------------------------------------------------------------------- */

/* With the lock held: what a killed daemon left. */
static void remove_remains(struct home *h)
{
    struct mark m;
    struct stat st;
    if (read_mark(h->dir_fd, &m)) {
        h->cleaned = m.pid;
        h->made = h->made || m.made;
    }
    if (fstatat(h->dir_fd, "socket", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISSOCK(st.st_mode)) {
        unlinkat(h->dir_fd, "socket", 0);
    }
}

/* A socket's path must be absolute, because the daemon leaves the working directory. */
static mob_status absolute(const char *dir, struct home *h)
{
    if (!realpath(dir, h->dir)) {
        return status_fail(MOB_ERR_SYSTEM, "the folder %s: %m", dir);
    }
    char path[PATH_MAX];
    return local_socket_path(h->dir, path, sizeof path);
}

/* Is @dir the state folder, or (@below) a folder in it? */
static bool is_state_dir(const char *dir, bool below)
{
    char state[PATH_MAX], path[PATH_MAX];
    if (local_state_dir(state, sizeof state, 0) != MOB_OK || !realpath(state, path)) {
        return false;
    }
    size_t size = strlen(path);
    return strncmp(dir, path, size) == 0 && dir[size] == (below ? '/' : '\0');
}

mob_status home_open(const char *dir, struct home *ret)
{
    struct home h = {.dir_fd = -1, .lock_fd = -1};
    MOB_TRY(enter(dir, true, &h));
    remove_remains(&h);
    mob_status st = absolute(dir, &h);
    /* Of two that start at once, one may have made the folder and the other locked it: what is in
     * the state folder was made for a node in any case. */
    h.made = h.made || is_state_dir(h.dir, true);
    if (!st) {
        st = write_mark(h.dir_fd, h.made);
    }
    if (st) {
        char *why = strdup(mob_last_error());
        home_close(&h);
        if (why) {
            status_say("%s", why);
        }
        free(why);
        return st;
    }
    *ret = h;
    return MOB_OK;
}

mob_status home_log(struct home *home, int *ret_fd)
{
    int fd = openat(home->dir_fd, "log",
                    O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return status_fail(MOB_ERR_SYSTEM, "the log %s/log: %m", home->dir);
    }
    home->log = true;
    *ret_fd = fd;
    return MOB_OK;
}

void home_close(struct home *home)
{
    char *slash = strrchr(home->dir, '/');
    unlinkat(home->dir_fd, "socket", 0); /* of a node that failed on its way up */
    unlinkat(home->dir_fd, "pid", 0);
    if (home->log || home->cleaned) {
        unlinkat(home->dir_fd, "log", 0);
    }
    unlinkat(home->dir_fd, "lock", 0);
    if (home->made && slash && slash != home->dir && rmdir(home->dir) == 0) {
        *slash = '\0';
        if (is_state_dir(home->dir, false)) {
            rmdir(home->dir); /* fails if other nodes have their folders there */
        }
    }
    close(home->dir_fd);
    close(home->lock_fd);
}

/* ---- for commands -------------------------------------------------------------------------------- */

mob_status home_holder(const char *dir, pid_t *ret_pid)
{
    struct mark m;
    int fd;
    *ret_pid = 0;
    mob_status st = open_dir(dir, &fd);
    if (st) {
        return st == MOB_ERR_NOT_FOUND ? MOB_OK : st;
    }
    if (read_mark(fd, &m) && mark_lives(&m)) {
        *ret_pid = m.pid;
    }
    close(fd);
    return MOB_OK;
}

mob_status home_clean(const char *dir, pid_t *ret_pid)
{
    struct home h = {.dir_fd = -1, .lock_fd = -1};
    mob_status st = enter(dir, false, &h);
    if (st) {
        return st == MOB_ERR_NOT_FOUND
                   ? status_fail(MOB_ERR_NO_NODE, "no node ran at %s", dir)
                   : st;
    }
    remove_remains(&h);
    unlinkat(h.dir_fd, JOURNAL_FILE, 0); /* who stops a killed head ends its cluster */
    unlinkat(h.dir_fd, JOURNAL_FILE "-wal", 0);
    st = absolute(dir, &h);
    *ret_pid = h.cleaned;
    home_close(&h);
    return st;
}
