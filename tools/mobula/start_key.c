#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/status.h"

/* ~/.mobula/key; its folder is made for a head. */
static mob_status usual_key_file(bool make, char *path, size_t size)
{
    const char *home = getenv("HOME");
    int n = snprintf(path, size, "%s/.mobula", home && *home == '/' ? home : "");
    if (!home || *home != '/' || n < 0 || (size_t)n + 5 > size) {
        return status_fail(MOB_ERR_KEY,
                           "HOME does not say where the cluster's key is; give "
                           "--key-file, or set MOBULA_KEY_FILE");
    }
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST) {
        return status_fail(MOB_ERR_KEY, "making the folder %s for the cluster's key: %m",
                           path);
    }
    snprintf(path + n, size - (size_t)n, "/key");
    return MOB_OK;
}

mob_status key_find(const struct key_source *source, bool make, struct key *ret)
{
    char usual[PATH_MAX];
    const char *path = source->file ? source->file : getenv("MOBULA_KEY_FILE");
    if (source->from_stdin) {
        return key_read_fd(STDIN_FILENO, ret);
    }
    if (!path || !*path) {
        MOB_TRY(usual_key_file(make, usual, sizeof usual));
        path = usual;
    }
    if (make && !source->shared) {
        return key_load_or_create(path, ret, NULL);
    }
    return key_load(path, source->shared, ret);
}

/* The key goes to the daemon over a pipe, which holds it until it is read. */
mob_status start_key(struct start *s)
{
    char text[KEY_TEXT_SIZE];
    int fds[2];
    MOB_TRY(key_find(&s->key_source, s->head, &s->key));
    if (pipe2(fds, O_CLOEXEC) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "pipe: %m");
    }
    key_text(&s->key, text);
    text[KEY_TEXT_SIZE - 1] = '\n';
    ssize_t n = write(fds[1], text, sizeof text);
    key_wipe(text, sizeof text);
    close(fds[1]);
    s->key_pipe = fds[0];
    return n == (ssize_t)sizeof text ? MOB_OK : status_fail(MOB_ERR_SYSTEM, "pipe: %m");
}
