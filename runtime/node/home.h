/* home.h - a node's folder: where its socket, its log and the mark of its daemon are.
 *
 *   socket  for drivers and commands       lock  locked by the daemon as long as it lives
 *   pid     which process the daemon is    log   what it has to say, unless it is told elsewhere
 *   head.db of a head, which makes and removes it: see journal.h
 *
 * The folder belongs to one user, with mode 0700, so that a path in it leads to nobody else's
 * file. The lock ends with the process that holds it, however it dies. The pid file says who that
 * is by boot id, pid and start time, which no later process has again. It is asked too before
 * anything is removed, because somebody may have removed the lock file under a live daemon.
 *
 * Functions are for one thread and block on the file system only. */
#ifndef NODE_HOME_H
#define NODE_HOME_H

#include <limits.h>
#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct home {
    char dir[PATH_MAX]; /* absolute */
    int dir_fd, lock_fd;
    bool made; /* the folder is removed at the end, because it was made for the node */
    bool log;  /* the log is in it, and is removed at the end */
    pid_t cleaned; /* the killed daemon whose remains were removed, or 0 */
};

/* The folder of a machine's only node: "node" in the state folder, which is made if @make. */
mob_status home_default(char *buf, size_t size, bool make);

/* Makes the folder if need be, locks it, removes what a killed daemon left, and notes that this
 * process is the daemon. MOB_ERR_EXISTS: a node runs there; MOB_ERR_STATE: the folder is unsafe;
 * MOB_ERR_SYSTEM. */
mob_status home_open(const char *dir, struct home *ret);

/* Opens the log in the folder, for appending. */
mob_status home_log(struct home *home, int *ret_fd);

/* Removes the node's files, its folder if that was made for it, and the state folder if it is
 * empty then. The lock goes last. */
void home_close(struct home *home);

/* The daemon that lives with this folder, by its pid file alone, so that asking disturbs nobody; 0
 * if there is none. One that starts or ends just now is there and does not answer. */
mob_status home_holder(const char *dir, pid_t *ret_pid);

/* Removes what a killed daemon left in @dir, if anything. MOB_ERR_EXISTS: a node runs there;
 * MOB_ERR_NO_NODE: nothing was left. @ret_pid: of that daemon, or 0. */
mob_status home_clean(const char *dir, pid_t *ret_pid);

#endif
