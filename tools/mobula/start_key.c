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

static mob_status find_key(struct start *s)
{
    char usual[PATH_MAX];
    const char *path = s->key_file ? s->key_file : getenv("MOBULA_KEY_FILE");
    if (s->key_stdin) {
        return key_read_fd(STDIN_FILENO, &s->key);
    }
    if (!path || !*path) {
        MOB_TRY(usual_key_file(s->head, usual, sizeof usual));
        path = usual;
    }
    if (s->head && !s->key_shared) {
        return key_load_or_create(path, &s->key, NULL);
    }
    return key_load(path, s->key_shared, &s->key);
}

/* The key goes to the daemon over a pipe, which holds it until it is read. */
mob_status start_key(struct start *s)
{
    char text[KEY_TEXT_SIZE];
    int fds[2];
    MOB_TRY(find_key(s));
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
