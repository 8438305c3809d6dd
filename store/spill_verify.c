/* spill_verify.c - objects on disk, read and checked without the loop: for a child of the daemon, which has its
 * tables as they were at the fork and shares nothing of its loop. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/status.h"
#include "spill_impl.h"

unsigned spill_fds(const struct spill *s, int *fds, unsigned room)
{
    unsigned count = 0;
    for (uint32_t i = 0; s && i < s->files_count && count < room; i++) {
        if (s->files[i]) {
            fds[count++] = s->files[i]->fd;
        }
    }
    return count;
}

static mob_status read_all(int fd, void *buf, size_t size, uint64_t at)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = pread(fd, (char *)buf + done, size - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return status_fail(MOB_ERR_CORRUPT, "its file on disk ends before it does");
        }
        done += (size_t)n;
    }
    return MOB_OK;
}

static mob_status check_extent(int fd, uint64_t name, const struct place *p, void *buf,
                               XXH3_state_t *hash)
{
    struct spill_head h;
    uint64_t at = p->offset, sum;
    MOB_TRY(read_all(fd, &h, sizeof h, at));
    if (h.magic != SPILL_MAGIC || h.name != name || h.size != p->size ||
        h.check != spill_check(&h)) {
        return status_fail(MOB_ERR_CORRUPT,
                           "on disk it has another head than was written");
    }
    at += sizeof h;
    XXH3_64bits_reset(hash);
    for (uint64_t done = 0; done < p->size;) {
        uint64_t n =
            p->size - done < SPILL_BUFFER_BYTES ? p->size - done : SPILL_BUFFER_BYTES;
        MOB_TRY(read_all(fd, buf, n, at + done));
        XXH3_64bits_update(hash, buf, n);
        done += n;
    }
    MOB_TRY(read_all(fd, &sum, sizeof sum, at + p->size));
    return sum == XXH3_64bits_digest(hash)
               ? MOB_OK
               : status_fail(MOB_ERR_CORRUPT,
                             "on disk it has another checksum than then");
}

mob_status spill_verify(const struct spill *s, uint64_t name, const struct place *p)
{
    const struct spill_file *f = s ? spill_file(s, p->segment) : NULL;
    char path[64];
    if (!f || p->offset > f->end || p->size > f->end ||
        spill_extent(p->size) > f->end - p->offset) {
        return status_fail(MOB_ERR_NOT_FOUND, "it is at no place on disk that there is");
    }
    snprintf(path, sizeof path, "/proc/self/fd/%d", f->fd);
    int fd = open(path, O_RDONLY | O_CLOEXEC); /* without O_DIRECT: any size, anywhere */
    void *buf = malloc(SPILL_BUFFER_BYTES);
    XXH3_state_t *hash = XXH3_createState();
    mob_status st = fd < 0 ? status_fail(MOB_ERR_SYSTEM, "opening its file anew: %m")
                    : !buf || !hash
                        ? status_fail(MOB_ERR_NOMEM, "no memory to read it with")
                        : check_extent(fd, name, p, buf, hash);
    XXH3_freeState(hash);
    free(buf);
    if (fd >= 0) {
        close(fd);
    }
    return st;
}
