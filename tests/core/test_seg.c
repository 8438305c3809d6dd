/* Segments: sharing, read-only copies, commit and discard, and fds that are not what they say. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "core/seg.h"

enum { SIZE = 1 << 20 };

static int create(void)
{
    int fd = -1;
    cr_assert_eq(seg_create("test", SIZE, &fd), MOB_OK);
    return fd;
}

Test(seg, two_mappings_share_bytes)
{
    int fd = create();
    void *a, *b;
    cr_assert_eq(seg_map(fd, SIZE, SEG_WRITE, &a), MOB_OK);
    cr_assert_eq(seg_map(fd, SIZE, SEG_READ, &b), MOB_OK);
    memset(a, 7, SIZE);
    cr_assert_eq(((unsigned char *)b)[SIZE - 1], 7);
    seg_unmap(a, SIZE);
    seg_unmap(b, SIZE);
    close(fd);
}

Test(seg, a_read_only_fd_cannot_be_written_through)
{
    int fd = create(), ro;
    void *base;
    cr_assert_eq(seg_read_only(fd, &ro), MOB_OK);
    cr_assert_neq(seg_map(ro, SIZE, SEG_WRITE, &base), MOB_OK);
    cr_assert_eq(seg_map(ro, SIZE, SEG_READ, &base), MOB_OK);
    cr_assert_eq(mprotect(base, SIZE, PROT_READ | PROT_WRITE), -1);
    seg_unmap(base, SIZE);
    close(ro);
    close(fd);
}

Test(seg, it_cannot_shrink_under_a_mapping)
{
    int fd = create();
    cr_assert_eq(ftruncate(fd, 0), -1);
    close(fd);
}

Test(seg, commit_and_discard_change_what_is_held)
{
    struct stat st;
    int fd = create();
    cr_assert_eq(seg_commit(fd, 0, SIZE), MOB_OK);
    fstat(fd, &st);
    cr_assert_eq(st.st_blocks * 512, SIZE);
    cr_assert_eq(seg_discard(fd, 0, SIZE), MOB_OK);
    fstat(fd, &st);
    cr_assert_eq(st.st_blocks, 0);
    close(fd);
}

Test(seg, mappings_stay_out_of_children)
{
    int fd = create();
    void *base;
    cr_assert_eq(seg_map(fd, SIZE, SEG_WRITE, &base), MOB_OK);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)base = 1;
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(!(WIFEXITED(status) && WEXITSTATUS(status) == 0));
    seg_unmap(base, SIZE);
    close(fd);
}

Test(seg, nobody_maps_a_sealed_one_writable)
{
    int fd = create();
    void *rw, *other;
    char path[64];
    cr_assert_eq(seg_map(fd, SIZE, SEG_WRITE, &rw), MOB_OK);
    seg_seal(fd);
    ((volatile char *)rw)[SIZE - 1] = 7; /* a page that was not there yet */
    cr_assert_neq(seg_map(fd, SIZE, SEG_WRITE, &other), MOB_OK);
    cr_assert_eq(pwrite(fd, "x", 1, 0), -1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int again = open(path, O_RDWR);
    cr_assert(again >= 0);
    cr_assert_neq(seg_map(again, SIZE, SEG_WRITE, &other), MOB_OK);
    cr_assert_eq(seg_map(again, SIZE, SEG_READ, &other), MOB_OK);
    cr_assert_eq(((const char *)other)[SIZE - 1], 7);
    cr_assert_eq(mprotect(other, SIZE, PROT_READ | PROT_WRITE), -1);
    seg_unmap(rw, SIZE);
    seg_unmap(other, SIZE);
    close(again);
    close(fd);
}

Test(seg, foreign_fds_are_refused)
{
    size_t size;
    void *base;
    int file = open("/proc/self/exe", O_RDONLY);
    cr_assert_eq(seg_size(file, &size), MOB_ERR_PROTOCOL);
    close(file);
    int plain = memfd_create("plain", MFD_CLOEXEC); /* may shrink: SIGBUS */
    cr_assert_eq(seg_size(plain, &size), MOB_ERR_PROTOCOL);
    close(plain);
    int fd = create();
    cr_assert_eq(seg_map(fd, SIZE + 1, SEG_READ, &base), MOB_ERR_PROTOCOL);
    close(fd);
}
