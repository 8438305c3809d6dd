#include "transport/key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/status.h"

enum { TEXT_MAX = 256 }; /* a key with plenty of white space */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

void key_wipe(void *secret, size_t size)
{
    sodium_memzero(secret, size);
}

void key_generate(struct key *ret)
{
    MOB_ASSERT(sodium_init() >= 0);
    randombytes_buf(ret->bytes, sizeof ret->bytes);
}

char *key_text(const struct key *key, char text[KEY_TEXT_SIZE])
{
    return sodium_bin2base64(text, KEY_TEXT_SIZE, key->bytes, sizeof key->bytes,
                             sodium_base64_VARIANT_ORIGINAL);
}

mob_status key_parse(const char *text, size_t size, struct key *ret)
{
    struct key key;
    size_t got = 0;
    const char *end = NULL;
    while (size != 0 && is_space(*text)) {
        text++;
        size--;
    }
    while (size != 0 && is_space(text[size - 1])) {
        size--;
    }
    int rc = -1;
    if (size == 2 * KEY_BYTES) {
        rc = sodium_hex2bin(key.bytes, sizeof key.bytes, text, size, NULL, &got, &end);
    } else if (size == KEY_TEXT_SIZE - 1) {
        rc = sodium_base642bin(key.bytes, sizeof key.bytes, text, size, NULL, &got, &end,
                               sodium_base64_VARIANT_ORIGINAL);
    }
    if (rc != 0 || got != KEY_BYTES || end != text + size) {
        key_wipe(&key, sizeof key);
        return status_fail(MOB_ERR_KEY,
                           "a cluster key is 64 hexadecimal digits or 44 "
                           "characters of base64, this is %zu characters",
                           size);
    }
    *ret = key;
    key_wipe(&key, sizeof key);
    return MOB_OK;
}

/* Reads up to @size bytes, or to a newline after something else. -1: errno. */
static ssize_t read_text(int fd, char *text, size_t size)
{
    size_t have = 0;
    while (have < size) {
        ssize_t n = read(fd, text + have, size - have);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -1 : (ssize_t)have;
        }
        bool seen = false;
        for (size_t i = 0; i < have + (size_t)n; i++) {
            seen = seen || !is_space(text[i]);
            if (seen && text[i] == '\n') {
                return (ssize_t)have + n;
            }
        }
        have += (size_t)n;
    }
    return (ssize_t)have;
}

mob_status key_read_fd(int fd, struct key *ret)
{
    char text[TEXT_MAX];
    ssize_t size = read_text(fd, text, sizeof text);
    mob_status st = size < 0 ? status_fail(MOB_ERR_KEY, "reading the cluster key: %m")
                             : key_parse(text, (size_t)size, ret);
    key_wipe(text, sizeof text);
    return st;
}

static mob_status load(int fd, const char *path, bool allow_shared, struct key *ret)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return status_fail(MOB_ERR_KEY, "the cluster key %s: %m", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return status_fail(MOB_ERR_KEY, "the cluster key %s is not a regular file", path);
    }
    if (!allow_shared && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return status_fail(
            MOB_ERR_KEY,
            "the cluster key %s is open to others (mode %03o): run `chmod 600 "
            "%s`, and make a new key if somebody may have read it",
            path, (unsigned)(st.st_mode & 0777), path);
    }
    mob_status status = key_read_fd(fd, ret);
    if (status != MOB_OK) {
        return status_fail(status, "no key in %s: %s", path, mob_last_error());
    }
    return MOB_OK;
}

mob_status key_load(const char *path, bool allow_shared, struct key *ret)
{
    /* Not blocking, should somebody have put a pipe there. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        return status_fail(MOB_ERR_KEY,
                           "there is no cluster key at %s: copy the head's key "
                           "file there, mode 600",
                           path);
    }
    if (fd < 0) {
        return status_fail(MOB_ERR_KEY, "the cluster key %s cannot be read: %m", path);
    }
    mob_status st = load(fd, path, allow_shared, ret);
    close(fd);
    return st;
}

static mob_status write_all(int fd, const char *text, size_t size)
{
    while (size != 0) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno != EINTR) {
            return status_fail(status_from_errno(errno), "writing the cluster key: %m");
        }
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
    }
    return fsync(fd) < 0 ? status_fail(MOB_ERR_SYSTEM, "writing the cluster key: %m")
                         : MOB_OK;
}

/* Writes a new key under a name of its own and links it to @path, which fails if another
 * process was faster. *ret_created stays false then. */
static mob_status create(const char *path, bool *ret_created)
{
    char temp[PATH_MAX], text[KEY_TEXT_SIZE + 1];
    struct key key;
    key_generate(&key);
    if (snprintf(temp, sizeof temp, "%s.%08x.tmp", path, randombytes_random()) >=
        (int)sizeof temp) {
        return status_fail(MOB_ERR_INVALID, "the path of the cluster key is too long: %s",
                           path);
    }
    int fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return status_fail(MOB_ERR_KEY, "a new cluster key cannot be written to %s: %m",
                           path);
    }
    key_text(&key, text);
    memcpy(text + KEY_TEXT_SIZE - 1, "\n", 2);
    mob_status st = write_all(fd, text, KEY_TEXT_SIZE);
    key_wipe(text, sizeof text);
    key_wipe(&key, sizeof key);
    close(fd);
    if (st == MOB_OK) {
        if (link(temp, path) == 0) {
            *ret_created = true;
        } else if (errno != EEXIST) {
            st = status_fail(MOB_ERR_KEY, "a new cluster key cannot be put at %s: %m",
                             path);
        }
    }
    unlink(temp);
    return st;
}

mob_status key_load_or_create(const char *path, struct key *ret, bool *ret_created)
{
    bool created = false;
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        MOB_TRY(create(path, &created));
    }
    MOB_TRY(key_load(path, false, ret));
    if (ret_created != NULL) {
        *ret_created = created;
    }
    return MOB_OK;
}
