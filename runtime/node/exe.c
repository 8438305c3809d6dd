/* exe.c - executables of other nodes' drivers, kept in a private folder under the hash of their
 * bytes: each arrives once, whatever its path was. */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cluster.h"
#include "core/log.h"
#include "core/status.h"

enum { KEPT_MAX = 64, PIECE = 1 << 20 }; /* files in the cache */
#define EXE_BYTES_MAX (4ull << 30)

/* $XDG_CACHE_HOME/mobula, ~/.cache/mobula, or in the folder for state. */
static mob_status cache_dir(char *buf, size_t size)
{
    char above[PATH_MAX - 128]; /* room for what is added */
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    bool ok = false;
    if (cache && cache[0] == '/') {
        snprintf(above, sizeof above, "%s", cache);
        ok = true;
    } else if (home && home[0] == '/' && strcmp(home, "/") != 0) {
        snprintf(above, sizeof above, "%s/.cache", home);
        ok = true;
    }
    struct stat st;
    if (ok && (mkdir(above, 0700) == 0 || errno == EEXIST)) {
        snprintf(buf, size, "%s/mobula", above);
        if ((mkdir(buf, 0700) == 0 || errno == EEXIST) && lstat(buf, &st) == 0 &&
            S_ISDIR(st.st_mode) && st.st_uid == getuid() && (st.st_mode & 077) == 0 &&
            access(buf, W_OK) == 0) {
            return MOB_OK;
        }
    }
    return local_state_dir(buf, size, 1);
}

static void name_of(const uint8_t hash[WIRE_HASH_BYTES],
                    char name[2 * WIRE_HASH_BYTES + 1])
{
    sodium_bin2hex(name, 2 * WIRE_HASH_BYTES + 1, hash, WIRE_HASH_BYTES);
}

/* Keeps the cache small: beyond KEPT_MAX the executable that was not used for longest goes. */
static void trim(const char *dir)
{
    char oldest[PATH_MAX];
    for (int rounds = 0; rounds < KEPT_MAX; rounds++) {
        unsigned count = 0;
        struct timespec least = {.tv_sec = LONG_MAX};
        DIR *d = opendir(dir);
        for (struct dirent *e; d && (e = readdir(d));) {
            struct stat st;
            if (strlen(e->d_name) == 2 * WIRE_HASH_BYTES &&
                fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
                count++;
                if (st.st_mtim.tv_sec < least.tv_sec) {
                    least = st.st_mtim;
                    snprintf(oldest, sizeof oldest, "%s/%.64s", dir, e->d_name);
                }
            }
        }
        if (d) {
            closedir(d);
        }
        if (count <= KEPT_MAX) {
            return;
        }
        unlink(oldest);
    }
}

mob_status exe_open(const uint8_t hash[WIRE_HASH_BYTES], uint64_t size, int *ret_fd)
{
    char dir[PATH_MAX - 80], path[PATH_MAX], name[2 * WIRE_HASH_BYTES + 1];
    struct stat st;
    MOB_TRY(cache_dir(dir, sizeof dir));
    name_of(hash, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return MOB_ERR_NOT_FOUND; /* no sentence: the usual way to learn that it must be pulled */
    }
    if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != size || st.st_uid != getuid()) {
        close(fd);
        unlink(path);
        return MOB_ERR_NOT_FOUND;
    }
    (void)utimensat(AT_FDCWD, path, NULL, 0); /* used now */
    *ret_fd = fd;
    return MOB_OK;
}

/* ---- for which machines it is --------------------------------------------------------------------- */

/* False: not an ELF file, which the kernel may know how to run all the same. */
static bool read_header(int fd, Elf64_Ehdr *ret)
{
    /* The fields that are looked at stand at the same places in 32-bit files. */
    return pread(fd, ret, sizeof *ret, 0) == (ssize_t)sizeof *ret &&
           memcmp(ret->e_ident, ELFMAG, SELFMAG) == 0;
}

static const char *machine_name(const Elf64_Ehdr *h, char *buf, size_t size)
{
    static const struct {
        uint16_t machine;
        const char *name;
    } known[] = {{EM_X86_64, "x86-64"}, {EM_AARCH64, "AArch64"}, {EM_386, "x86"},
                 {EM_ARM, "ARM"},       {EM_RISCV, "RISC-V"},    {EM_PPC64, "POWER"},
                 {EM_S390, "S/390"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (h->e_machine == known[i].machine) {
            return known[i].name;
        }
    }
    snprintf(buf, size, "ELF machine %u", h->e_machine);
    return buf;
}

mob_status exe_check(int fd)
{
    Elf64_Ehdr its, ours;
    char a[32], b[32];
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    bool known = self >= 0 && read_header(self, &ours) && read_header(fd, &its);
    if (self >= 0) {
        close(self);
    }
    if (!known || (its.e_machine == ours.e_machine &&
                   its.e_ident[EI_CLASS] == ours.e_ident[EI_CLASS] &&
                   its.e_ident[EI_DATA] == ours.e_ident[EI_DATA])) {
        return MOB_OK;
    }
    return status_fail(MOB_ERR_UNSUPPORTED,
                       "the program is built for %s, and this node is %s: build it "
                       "there, or start the driver on a node of its kind",
                       machine_name(&its, a, sizeof a), machine_name(&ours, b, sizeof b));
}

/* ---- keeping --------------------------------------------------------------------------------------- */

mob_status exe_temp(uint64_t size, char *path, size_t path_size, int *ret_fd,
                    void **ret_map)
{
    char dir[PATH_MAX - 80];
    if (size == 0 || size > EXE_BYTES_MAX) {
        return status_fail(MOB_ERR_SIZE, "an executable of %llu bytes",
                           (unsigned long long)size);
    }
    MOB_TRY(cache_dir(dir, sizeof dir));
    trim(dir);
    int n = snprintf(path, path_size, "%s/temp-XXXXXX", dir);
    int fd = n > 0 && (size_t)n < path_size ? mkostemp(path, O_CLOEXEC) : -1;
    if (fd < 0) {
        return status_fail(MOB_ERR_SYSTEM, "making a file in %s: %m", dir);
    }
    int err = posix_fallocate(
        fd, 0, (off_t)size); /* so that writing to the mapping cannot fault */
    void *map = MAP_FAILED;
    if (!err) {
        map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        err = map == MAP_FAILED ? errno : 0;
    }
    if (err) {
        errno = err;
        mob_status st =
            status_fail(MOB_ERR_SYSTEM, "%llu bytes for an executable in %s: %m",
                        (unsigned long long)size, dir);
        unlink(path);
        close(fd);
        return st;
    }
    *ret_fd = fd;
    *ret_map = map;
    return MOB_OK;
}

/* The file gets its name when it is complete, so that a crash leaves nothing half-written under it.
 * It is opened anew for reading: a file that is open for writing cannot be executed. */
static mob_status give_name(const char *temp, int fd, const uint8_t hash[WIRE_HASH_BYTES],
                            int *ret_fd)
{
    char dir[PATH_MAX - 80], path[PATH_MAX], name[2 * WIRE_HASH_BYTES + 1];
    MOB_TRY(cache_dir(dir, sizeof dir));
    name_of(hash, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (fchmod(fd, 0500) < 0 || rename(temp, path) < 0) {
        return status_fail(MOB_ERR_SYSTEM, "naming %s: %m", path);
    }
    *ret_fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *ret_fd >= 0 ? MOB_OK : status_fail(MOB_ERR_SYSTEM, "opening %s: %m", path);
}

mob_status exe_commit(const char *path, int fd, const void *map, uint64_t size,
                      const uint8_t hash[WIRE_HASH_BYTES], int *ret_fd)
{
    uint8_t have[WIRE_HASH_BYTES];
    crypto_generichash(have, sizeof have, map, size, NULL, 0);
    munmap((void *)(uintptr_t)map, size);
    mob_status st =
        memcmp(have, hash, sizeof have) == 0
            ? give_name(path, fd, hash, ret_fd)
            : status_fail(MOB_ERR_PROTOCOL, "an executable does not have the hash "
                                            "under which it was announced");
    close(fd); /* what is open for writing cannot be executed */
    if (st) {
        unlink(path);
    }
    return st;
}

mob_status exe_keep(int from, uint8_t hash[WIRE_HASH_BYTES], int *ret_fd,
                    uint64_t *ret_size)
{
    struct stat info;
    char path[512];
    int fd;
    void *map;
    if (fstat(from, &info) < 0 || !S_ISREG(info.st_mode)) {
        return status_fail(MOB_ERR_INVALID, "the driver's executable is no file");
    }
    uint64_t size = (uint64_t)info.st_size, at = 0;
    MOB_TRY(exe_temp(size, path, sizeof path, &fd, &map));
    while (at < size) {
        ssize_t n = pread(from, (char *)map + at, size - at < PIECE ? size - at : PIECE,
                          (off_t)at);
        if (n <= 0) {
            munmap(map, size);
            unlink(path);
            close(fd);
            return status_fail(MOB_ERR_SYSTEM, "reading the driver's executable: %m");
        }
        at += (uint64_t)n;
    }
    crypto_generichash(hash, WIRE_HASH_BYTES, map, size, NULL, 0);
    MOB_TRY(exe_commit(path, fd, map, size, hash, ret_fd));
    *ret_size = size;
    return MOB_OK;
}
