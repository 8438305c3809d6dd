/* seg.h - segments: shared memory without a name (memfd).
 *
 * A segment is an fd that goes from process to process over a socket. Nothing stays behind in
 * the file system when all holders die. Mappings are left out of fork()ed children. */
#ifndef CORE_SEG_H
#define CORE_SEG_H

#include <mobula.h>
#include <stddef.h>

enum seg_access { SEG_READ, SEG_WRITE };

/* Makes a segment of @size bytes, none of which is committed yet. It cannot shrink, so that a
 * mapping never faults with SIGBUS. @ret_fd is close-on-exec. */
mob_status seg_create(const char *name, size_t size, int *ret_fd);

/* Commits [offset, offset + size): from then on its pages exist. The caller has checked that
 * the memory is there: past a cgroup's limit the kernel kills instead of failing. */
mob_status seg_commit(int fd, size_t offset, size_t size);

/* Gives the pages of [offset, offset + size) back. */
mob_status seg_discard(int fd, size_t offset, size_t size);

/* From now on nobody maps the segment writable any more or writes to its fd, not even this process or one of the
 * same user that finds its file under /proc; writable mappings that there are stay. Then seg_discard() fails too.
 * Where the kernel has no such seal (before Linux 5.1) nothing happens. */
void seg_seal(int fd);

/* A second fd of the same segment that allows only read-only mappings. */
mob_status seg_read_only(int fd, int *ret_fd);

/* Maps the whole segment, one of 2 MiB or more at a multiple of that. Refuses an fd that is shorter than @size. */
mob_status seg_map(int fd, size_t size, enum seg_access access, void **ret_base);
void seg_unmap(void *base, size_t size);

/* Size of an fd that a peer sent, or an error if it is no segment that cannot shrink. */
mob_status seg_size(int fd, size_t *ret_size);

#endif
