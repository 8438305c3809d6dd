/* spilling.h - a node whose store is far too small for what a test puts into it, and a look at the daemon's files. */
#ifndef TESTS_API_SPILLING_H
#define TESTS_API_SPILLING_H

#include <dirent.h>
#include <sys/statfs.h>

#include "api.h"

#define KIB 1024ull
#define MIB (1024ull * KIB)
#define STORE (64 * MIB)

static char spill_dir[128];

/* A folder of this case's own, on a disk; skips the case if there is none. */
static inline void spill_folder_make(void)
{
    struct statfs fs;
    const char *root = getenv("MOB_TEST_DISK");
    if (mob_is_worker()) {
        return;
    }
    root = root ? root : "/var/tmp";
    if (statfs(root, &fs) < 0 || fs.f_type == 0x01021994) {
        printf("%s is no disk: set MOB_TEST_DISK\n", root);
        exit(API_SKIP);
    }
    snprintf(spill_dir, sizeof spill_dir, "%s/mobula-api-spill-XXXXXX", root);
    CHECK(mkdtemp(spill_dir) != NULL);
    setenv("MOBULA_SPILL_DIR", spill_dir, 1);
}

static inline struct mob *spilling_init(void)
{
    spill_folder_make();
    return api_init_with(2, STORE);
}

/* Nothing may be left in the folder. */
static inline void spilling_end(struct mob *mob)
{
    mob_shutdown(mob);
    CHECK(rmdir(spill_dir) == 0);
}

/* ---- bytes that tell objects apart ------------------------------------------------------------------ */

/* Each word of an object says which object it is and where it stands. */
static inline uint64_t word_at(uint64_t seed, uint64_t i)
{
    return (seed + 1) * 0x9e3779b97f4a7c15ull ^ i * 0xff51afd7ed558ccdull;
}

static inline void fill_words(void *to, size_t size, uint64_t seed)
{
    uint64_t *w = to, last = word_at(seed, size / 8);
    for (size_t i = 0; i < size / 8; i++) {
        w[i] = word_at(seed, i);
    }
    memcpy((char *)to + size / 8 * 8, &last, size % 8);
}

/* How many bytes are right, from the beginning; size if all are. */
static inline size_t right_bytes(const void *data, size_t size, uint64_t seed)
{
    const uint64_t *w = data;
    uint64_t last = word_at(seed, size / 8);
    for (size_t i = 0; i < size / 8; i++) {
        if (w[i] != word_at(seed, i)) {
            return i * 8;
        }
    }
    return memcmp((const char *)data + size / 8 * 8, &last, size % 8) ? size / 8 * 8
                                                                      : size;
}

struct thing {
    mob_ref ref;
    uint64_t seed;
    size_t size;
};

static inline void put_thing(struct mob *mob, struct thing *t, uint64_t seed, size_t size)
{
    void *to;
    t->seed = seed;
    t->size = size;
    OK(mob_create(mob, size, 60 * SEC, &t->ref, &to));
    fill_words(to, size, seed);
    OK(mob_seal(mob, t->ref));
}

static inline void check_view(const struct thing *t, const struct mob_view *v)
{
    EQ(v->size, t->size);
    EQ(right_bytes(v->data, v->size, t->seed), t->size);
}

static inline void view_thing(struct mob *mob, const struct thing *t)
{
    struct mob_view v;
    OK(mob_get(mob, t->ref, 60 * SEC, &v));
    check_view(t, &v);
    mob_view_release(mob, &v);
}

/* ---- the daemon --------------------------------------------------------------------------------------- */

/* The embedded node's daemon: a child of this process, or of its parent (a subreaper). 0: none. */
static inline pid_t daemon_pid(void)
{
    DIR *proc = opendir("/proc");
    struct dirent *e;
    pid_t found = 0;
    while ((e = readdir(proc)) && !found) {
        char path[300], name[64] = "";
        int pid = atoi(e->d_name), parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = pid > 0 ? fopen(path, "r") : NULL;
        if (f) {
            if (fscanf(f, "%*d (%63[^)]) %*c %d", name, &parent) == 2 &&
                strcmp(name, "mobulad") == 0 &&
                (parent == getpid() || parent == getppid())) {
                found = pid;
            }
            fclose(f);
        }
    }
    closedir(proc);
    return found;
}

/* Calls @each with the path of every spill file of the daemon, until it returns nonzero. */
static inline int each_file(pid_t daemon, int (*each)(const char *path, void *arg),
                            void *arg)
{
    char dir[64], path[400], target[512];
    int done = 0;
    snprintf(dir, sizeof dir, "/proc/%d/fd", (int)daemon);
    DIR *d = opendir(dir);
    CHECK(d != NULL);
    struct dirent *e;
    while ((e = readdir(d)) && !done) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        if (n > 0 && strncmp(target, spill_dir, strlen(spill_dir)) == 0) {
            done = each(path, arg);
        }
    }
    closedir(d);
    return done;
}

static inline int add_blocks(const char *path, void *sum)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        *(uint64_t *)sum += (uint64_t)st.st_blocks * 512;
    }
    return 0;
}

/* Bytes of disk that spilled objects take. */
static inline uint64_t disk_bytes(pid_t daemon)
{
    uint64_t sum = 0;
    each_file(daemon, add_blocks, &sum);
    return sum;
}

#endif
