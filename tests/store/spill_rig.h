/* spill_rig.h - objects that a test writes to disk and reads back, in folders of its own. */
#ifndef TESTS_STORE_SPILL_RIG_H
#define TESTS_STORE_SPILL_RIG_H

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/loop.h"
#include "store/spill.h"

enum { FOLDERS = 3, MIB = 1 << 20, NOT_YET = 12345 };

static struct loop *loop;
static struct spill_disk disk;
static struct spill *files;
static char folder[FOLDERS][96];
static int fds_before;
static unsigned answers; /* so far, of writes and reads */
static bool
    last_destroys; /* the last answer destroys `files`, as the end of a job does */

struct object {
    struct spill_write w;
    struct spill_read r;
    uint8_t *data, *back;
    int wrote, read;     /* mob_status, or NOT_YET */
    unsigned order;      /* which answer its write's was */
    bool free_when_read; /* from inside the answer, as a restore does */
};

static inline int open_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

/* A folder on a disk; in memory nothing of this can be tried. */
static inline const char *disk_folder(void)
{
    const char *const tried[] = {getenv("MOB_TEST_DISK"), "/var/tmp", "."};
    static char path[64];
    for (unsigned i = 0; i < 3; i++) {
        struct statfs fs;
        if (tried[i] && statfs(tried[i], &fs) == 0 && fs.f_type != 0x01021994 &&
            access(tried[i], W_OK) == 0) {
            if (tried[i][0] != '/') {
                return getcwd(path, sizeof path) ? path : NULL;
            }
            return tried[i];
        }
    }
    return NULL;
}

static inline void begin_with(unsigned folders)
{
    char all[FOLDERS * 100] = "";
    int used = 0;
    const char *root = disk_folder();
    if (!root) {
        cr_skip_test("there is no folder on a disk: set MOB_TEST_DISK");
    }
    for (unsigned i = 0; i < folders; i++) {
        snprintf(folder[i], sizeof folder[i], "%s/mobula-test-XXXXXX", root);
        cr_assert(mkdtemp(folder[i]), "%s: %m", folder[i]);
        used += snprintf(all + used, sizeof all - (size_t)used, "%s:", folder[i]);
    }
    cr_assert_eq(loop_create(0, &loop), MOB_OK, "%s", mob_last_error());
    fds_before = open_fds();
    cr_assert_eq(spill_disk_open(all, &disk), MOB_OK, "%s", mob_last_error());
    cr_assert_eq(disk.count, folders);
    cr_assert_eq(spill_create(&disk, loop, &files), MOB_OK);
}

/* Nothing may be left: no bytes, no file, no fd, no name. */
static inline void end(void)
{
    cr_assert(!files || !spill_busy(files));
    spill_destroy(files);
    cr_assert_eq(disk.live_bytes, 0, "%llu bytes are said to live",
                 (unsigned long long)disk.live_bytes);
    cr_assert_eq(disk.disk_bytes, 0, "%llu bytes are said to be on disk",
                 (unsigned long long)disk.disk_bytes);
    cr_assert_eq(disk.files, 0);
    spill_disk_close(&disk);
    cr_assert_eq(open_fds(), fds_before, "fds are left open");
    cr_assert_eq(loop_in_flight(loop), 0);
    loop_destroy(loop);
    for (unsigned i = 0; i < FOLDERS && folder[i][0]; i++) {
        cr_assert(rmdir(folder[i]) == 0 || access(folder[i], F_OK) < 0,
                  "something is left in %s: %m", folder[i]);
    }
}

static inline void answered(void)
{
    if (last_destroys && !spill_busy(files)) {
        spill_destroy(files);
        files = NULL;
    }
}

static inline void wrote(struct spill_write *w, mob_status st)
{
    struct object *o = LOOP_OWNER(w, struct object, w);
    cr_assert_eq(o->wrote, NOT_YET, "two answers to one write");
    o->wrote = st;
    o->order = answers++;
    cr_assert_eq(st == MOB_OK, w->place.kind == PLACE_SPILLED);
    answered();
}

static inline void was_read(struct spill_read *r, mob_status st)
{
    struct object *o = LOOP_OWNER(r, struct object, r);
    cr_assert_eq(o->read, NOT_YET, "two answers to one read");
    o->read = st;
    answers++;
    if (o->free_when_read) {
        spill_free(files, &r->place);
    }
    answered();
}

/* Bytes that tell objects, and their parts, from one another. */
static inline void fill(uint8_t *to, size_t size, uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < size; i++) {
        x = x * 6364136223846793005ull + 1442695040888963407ull;
        to[i] = (uint8_t)(x >> 56);
    }
}

static inline void object_init(struct object *o, uint64_t name, size_t size)
{
    *o = (struct object){.wrote = NOT_YET, .read = NOT_YET};
    o->data = size ? malloc(size) : NULL;
    fill(o->data, size, name);
    o->w =
        (struct spill_write){.name = name, .data = o->data, .size = size, .done = wrote};
}

static inline void object_write(struct object *o)
{
    spill_write(files, &o->w);
    cr_assert_eq(o->wrote, NOT_YET, "answered from inside");
}

static inline void object_read(struct object *o)
{
    o->back = o->w.size ? malloc(o->w.size) : NULL;
    o->read = NOT_YET;
    o->r = (struct spill_read){
        .name = o->w.name, .place = o->w.place, .dst = o->back, .done = was_read};
    spill_read(files, &o->r);
    cr_assert_eq(o->read, NOT_YET, "answered from inside");
}

static inline void turn_until_idle(void)
{
    while (files && spill_busy(files)) {
        cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
    }
}

static inline void expect_bytes(struct object *o)
{
    cr_assert_eq(o->read, MOB_OK, "%llu bytes at %llu: status %d",
                 (unsigned long long)o->w.size, (unsigned long long)o->w.place.offset,
                 o->read);
    cr_assert(!o->w.size || memcmp(o->data, o->back, o->w.size) == 0,
              "object %llu of %llu bytes came back with other ones",
              (unsigned long long)o->w.name, (unsigned long long)o->w.size);
    free(o->back);
    o->back = NULL;
}

static inline int read_back(struct object *o)
{
    object_read(o);
    turn_until_idle();
    if (o->read == MOB_OK) {
        expect_bytes(o);
    }
    free(o->back);
    o->back = NULL;
    return o->read;
}

static inline void object_end(struct object *o)
{
    if (o->wrote == MOB_OK && !o->free_when_read) {
        spill_free(files, &o->w.place);
    }
    free(o->data);
}

static inline void write_all(struct object *o, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        object_write(&o[i]);
    }
    turn_until_idle();
}

static inline void read_all(struct object *o, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        object_read(&o[i]);
    }
    turn_until_idle();
    for (unsigned i = 0; i < count; i++) {
        expect_bytes(&o[i]);
    }
}

/* An fd of ours whose file lies in folder @i, from number @from on; -1: none. */
static inline int fd_in(unsigned i, int from)
{
    char link[32], path[256];
    for (int fd = from; fd < 256; fd++) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n > 0 && strncmp(path, folder[i], strlen(folder[i])) == 0) {
            return fd;
        }
    }
    return -1;
}

#endif
