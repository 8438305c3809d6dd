/* spill_disk.c - the folders for spilled objects: looked at, tried, and left alone after a failure. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/log.h"
#include "core/status.h"
#include "spill_impl.h"

#ifndef TMPFS_MAGIC
#define TMPFS_MAGIC 0x01021994
#endif

int spill_disk_file(struct spill_folder *f)
{
    char path[4096];
    const int flags = O_RDWR | O_CLOEXEC;
    for (int direct = f->buffered ? 0 : O_DIRECT;; direct = 0) {
        int fd = open(f->path, O_TMPFILE | flags | direct, 0600);
        if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
            snprintf(path, sizeof path, "%s/mobula-XXXXXX", f->path);
            fd = mkostemp(path, O_CLOEXEC | direct);
            if (fd >= 0) {
                unlink(path);
            }
        }
        if (fd >= 0 || !direct || errno != EINVAL) {
            f->buffered = fd >= 0 ? !direct : f->buffered;
            return fd;
        }
    }
}

static mob_status look_at_folder(struct spill_folder *f)
{
    struct statfs fs;
    if (f->path[0] != '/') {
        return status_fail(
            MOB_ERR_INVALID,
            "the folder %s for spilled objects must be named from the root", f->path);
    }
    if (mkdir(f->path, 0700) < 0 && errno != EEXIST) {
        return status_fail(MOB_ERR_INVALID,
                           "making the folder %s for spilled objects: %m", f->path);
    }
    if (statfs(f->path, &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
        return status_fail(
            MOB_ERR_INVALID,
            "%s is in memory (tmpfs): what is spilled there would free none; "
            "name a folder on a disk",
            f->path);
    }
    int fd = spill_disk_file(f);
    if (fd < 0) {
        return status_fail(MOB_ERR_INVALID,
                           "making a file in %s, for spilled objects: %m", f->path);
    }
    close(fd);
    return MOB_OK;
}

mob_status spill_disk_open(const char *paths, struct spill_disk *ret)
{
    struct spill_disk d = {0};
    mob_status st = MOB_OK;
    while (*paths && !st) {
        size_t len = strcspn(paths, ":");
        struct spill_folder *f = &d.folders[d.count];
        if (d.count == SPILL_FOLDERS_MAX) {
            st = status_fail(MOB_ERR_INVALID, "more than %u folders for spilled objects",
                             SPILL_FOLDERS_MAX);
        } else if (len) {
            f->path = strndup(paths, len);
            d.count++;
            st = f->path ? look_at_folder(f) : status_fail(MOB_ERR_NOMEM, "no memory");
        }
        paths += len + (paths[len] == ':');
    }
    if (!st && d.count == 0) {
        st = status_fail(MOB_ERR_INVALID, "no folder for spilled objects is named");
    }
    if (st) {
        spill_disk_close(&d);
        return st;
    }
    *ret = d;
    return MOB_OK;
}

void spill_disk_close(struct spill_disk *d)
{
    for (unsigned i = 0; i < d->count; i++) {
        free(d->folders[i].path);
    }
    *d = (struct spill_disk){0};
}

void spill_disk_failed(struct spill_disk *d, struct spill_folder *f, uint64_t now,
                       const char *what, int error)
{
    char why[sizeof f->why];
    snprintf(why, sizeof why, "%s: %s", what, strerror(error));
    if (strcmp(why, f->why) != 0) { /* once, not at each try */
        log_warn("spilling to %s: %s", f->path, why);
    }
    memcpy(f->why, why, sizeof f->why);
    f->full = error == ENOSPC;
    f->until_ns = now + SPILL_RETRY_NS;
    d->failures++;
}

bool spill_disk_has_room(struct spill_disk *d, struct spill_folder *f, uint64_t need,
                         bool moves, uint64_t now)
{
    struct statvfs fs;
    if (now < f->until_ns && !(moves && f->full)) {
        return false;
    }
    if (statvfs(f->path, &fs) < 0) {
        spill_disk_failed(d, f, now, "looking for room", errno);
        return false;
    }
    uint64_t all = (uint64_t)fs.f_blocks * fs.f_frsize,
             left = (uint64_t)fs.f_bavail * fs.f_frsize,
             kept = moves ? 0 : all / 100 * SPILL_FREE_PERCENT;
    if (left < kept + need) {
        spill_disk_failed(d, f, now, "its file system is nearly full", ENOSPC);
        return false;
    }
    return true;
}
