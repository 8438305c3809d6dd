#include "core/seg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/status.h"

enum { SEG_HUGE = 2 << 20 };

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

static mob_status fail_errno(const char *what)
{
    int err = errno;
    return status_fail(status_from_errno(err), "%s: %m", what);
}

mob_status seg_create(const char *name, size_t size, int *ret_fd)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create(name, flags); /* before Linux 6.3 */
    }
    if (fd < 0) {
        return fail_errno("memfd_create");
    }
    if (ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
        mob_status st = fail_errno("sizing a segment");
        close(fd);
        return st;
    }
    *ret_fd = fd;
    return MOB_OK;
}

static mob_status allocate(int fd, int mode, size_t offset, size_t size, const char *what)
{
    int rc;
    do {
        rc = fallocate(fd, mode, (off_t)offset, (off_t)size);
    } while (rc < 0 && errno == EINTR);
    return rc < 0 ? fail_errno(what) : MOB_OK;
}

mob_status seg_commit(int fd, size_t offset, size_t size)
{
    return allocate(fd, 0, offset, size, "committing shared memory");
}

mob_status seg_discard(int fd, size_t offset, size_t size)
{
    return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size,
                    "giving shared memory back");
}

void seg_seal(int fd)
{
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
}

mob_status seg_read_only(int fd, int *ret_fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int ro = open(path, O_RDONLY | O_CLOEXEC);
    if (ro < 0) {
        return fail_errno("opening a segment read-only (is /proc mounted?)");
    }
    *ret_fd = ro;
    return MOB_OK;
}

/* Maps so that offsets that are multiples of a huge page are at such addresses, in every process. */
static void *map_aligned(int fd, size_t size, int prot)
{
    enum { HUGE = 2 << 20 };
    if (size < HUGE) {
        return mmap(NULL, size, prot, MAP_SHARED, fd, 0);
    }
    /* Addresses alone: nothing may be read there. */
    char *room = mmap(NULL, size + HUGE, PROT_NONE, MAP_SHARED, fd, 0);
    if (room == MAP_FAILED) {
        return MAP_FAILED;
    }
    size_t before = -(uintptr_t)room & (HUGE - 1);
    size_t whole = (size + 4095) & ~4095ul;
    void *base = mmap(room + before, size, prot, MAP_SHARED | MAP_FIXED, fd, 0);
    if (base == MAP_FAILED) {
        int err = errno;
        munmap(room, size + HUGE);
        errno = err;
        return MAP_FAILED;
    }
    if (before) {
        munmap(room, before);
    }
    munmap(room + before + whole, size + HUGE - before - whole);
    return base;
}

mob_status seg_map(int fd, size_t size, enum seg_access access, void **ret_base)
{
    size_t have;
    MOB_TRY(seg_size(fd, &have));
    if (have < size || size == 0) {
        return status_fail(MOB_ERR_PROTOCOL, "a segment of %zu bytes is said to have %zu",
                           have, size);
    }
    int prot = access == SEG_WRITE ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = map_aligned(fd, size, prot);
    if (base == MAP_FAILED) {
        return fail_errno("mapping a segment");
    }
    if (madvise(base, size, MADV_DONTFORK) < 0) {
        mob_status st = fail_errno("keeping a segment out of children");
        munmap(base, size);
        return st;
    }
    /* Core files stay small; failing does no harm. */
    (void)madvise(base, size, MADV_DONTDUMP);
    if (size >=
        SEG_HUGE) { /* where shmem_enabled is `advise`; else nothing, or they come by themselves */
        (void)madvise(base, size, MADV_HUGEPAGE);
    }
    *ret_base = base;
    return MOB_OK;
}

void seg_unmap(void *base, size_t size)
{
    if (base) {
        munmap(base, size);
    }
}

mob_status seg_size(int fd, size_t *ret_size)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        return fail_errno("looking at a segment");
    }
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
        return status_fail(MOB_ERR_PROTOCOL, "got an fd that is no sealed segment");
    }
    *ret_size = (size_t)st.st_size;
    return MOB_OK;
}
