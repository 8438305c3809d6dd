/* Spilled objects when something is wrong: places that nobody wrote, bytes that changed on the disk, disks that
 * are full or gone. */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "spill_rig.h"

static void begin_three(void)
{
    begin_with(FOLDERS);
}

TestSuite(spill_faults, .init = begin_three, .fini = end, .timeout = 60);

Test(spill_faults, folders_take_turns)
{
    for (unsigned i = 0; i < 2 * FOLDERS; i++) {
        struct object o;
        object_init(&o, i, 5000);
        write_all(&o, 1);
        for (unsigned k = 0; k < FOLDERS; k++) {
            cr_assert_eq(fd_in(k, 0) >= 0, k == i % FOLDERS, "file %u, folder %u", i, k);
        }
        cr_assert_eq(read_back(&o), MOB_OK);
        object_end(&o); /* the file is empty, and goes; the next is in the next folder */
    }
}

/* ---- places from a board that somebody wrote over ------------------------------------------------- */

static void expect_corrupt(uint64_t name, struct place p)
{
    struct object lie = {.read = NOT_YET, .wrote = NOT_YET};
    size_t room = p.size < 16 * MIB ? p.size : 0;
    lie.back = malloc(room + 1);
    memset(lie.back, 0xee, room + 1);
    lie.r =
        (struct spill_read){.name = name, .place = p, .dst = lie.back, .done = was_read};
    spill_read(files, &lie.r);
    turn_until_idle();
    cr_assert_eq(lie.read, MOB_ERR_CORRUPT, "kind %d file %u offset %llu size %llu: %d",
                 p.kind, p.segment, (unsigned long long)p.offset,
                 (unsigned long long)p.size, lie.read);
    for (size_t i = 0; i <= room; i++) {
        cr_assert_eq(lie.back[i], 0xee, "bytes of an object were given for a lie");
    }
    free(lie.back);
}

Test(spill_faults, bogus_places_are_errors)
{
    struct object o[4];
    for (unsigned i = 0; i < 4; i++) {
        object_init(&o[i], 10 + i, 6000);
    }
    write_all(o, 4);
    const struct place good = o[1].w.place;
    for (unsigned i = 0; i < 4; i++) { /* another object's place, of the same size */
        if (i != 1) {
            expect_corrupt(o[1].w.name, o[i].w.place);
        }
    }
    expect_corrupt(o[1].w.name ^ 1ull << 40, good);
    const struct place lies[] = {
        {PLACE_SPILLED, 1, good.offset, good.size},
        {PLACE_SPILLED, UINT32_MAX, good.offset, good.size},
        {PLACE_SPILLED, 0, good.offset + 64, good.size},
        {PLACE_SPILLED, 0, good.offset - 64, good.size},
        {PLACE_SPILLED, 0, good.offset + 32, good.size},
        {PLACE_SPILLED, 0, 1ull << 40, good.size},
        {PLACE_SPILLED, 0, UINT64_MAX - 63, good.size},
        {PLACE_SPILLED, 0, good.offset, good.size - 1},
        {PLACE_SPILLED, 0, good.offset, good.size + 1},
        {PLACE_SPILLED, 0, good.offset, 0},
        {PLACE_SPILLED, 0, good.offset, 24000},
        {PLACE_SPILLED, 0, good.offset, UINT64_MAX},
        {PLACE_SPILLED, 0, good.offset, UINT64_MAX - 39},
        {PLACE_SPILLED, 0, good.offset, UINT64_MAX - 103},
        {PLACE_ARENA, 0, good.offset, good.size},
        {PLACE_LOST, 0, good.offset, good.size},
    };
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        expect_corrupt(o[1].w.name, lies[i]);
    }
    read_all(o, 4);
    for (unsigned i = 0; i < 4; i++) {
        object_end(&o[i]);
    }
}

/* Who frees what is not there, or twice, must not make the counts go below nothing, nor end the daemon. */
Test(spill_faults, bogus_frees_are_ignored)
{
    struct object o[3];
    for (unsigned i = 0; i < 3; i++) {
        object_init(&o[i], i, 100000);
    }
    write_all(o, 3);
    const struct place lies[] = {
        {PLACE_SPILLED, 7, 0, 100000},           {PLACE_SPILLED, UINT32_MAX, 0, 100000},
        {PLACE_SPILLED, 0, 1ull << 50, 100000},  {PLACE_SPILLED, 0, UINT64_MAX, 100000},
        {PLACE_SPILLED, 0, 0, UINT64_MAX},       {PLACE_SPILLED, 0, 0, UINT64_MAX - 40},
        {PLACE_SPILLED, 0, 0, UINT64_MAX - 103}, {PLACE_SPILLED, 0, 0, 1ull << 40},
    };
    const uint64_t live = disk.live_bytes, said = disk.disk_bytes;
    for (unsigned i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        spill_free(files, &lies[i]);
        cr_assert_eq(disk.live_bytes, live, "lie %u", i);
        cr_assert_eq(disk.disk_bytes, said, "lie %u", i);
    }
    read_all(o, 3);
    for (unsigned i = 0; i < 5; i++) {
        spill_free(files, &o[1].w.place);
        cr_assert_leq(disk.live_bytes, live);
        cr_assert_leq(disk.disk_bytes, said);
    }
    for (unsigned i = 0; i < 3; i++) {
        free(o[i].data);
    }
}

/* ---- the disk's own faults -------------------------------------------------------------------------- */

static void flip(off_t at)
{
    char path[32];
    uint8_t byte;
    int held = fd_in(0, 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", held);
    int fd = open(path, O_RDWR); /* not past the page cache */
    cr_assert_geq(fd, 0, "%m");
    cr_assert_eq(pread(fd, &byte, 1, at), 1, "%m");
    byte ^= 0x10;
    cr_assert_eq(pwrite(fd, &byte, 1, at), 1, "%m");
    cr_assert_eq(fsync(fd), 0);
    close(fd);
}

Test(spill_faults, a_flipped_byte_is_found)
{
    const size_t size = 2 * MIB + 4242;
    struct object o[3];
    for (unsigned i = 0; i < 3; i++) {
        object_init(&o[i], 40 + i, size);
    }
    write_all(o, 3);
    const off_t at = (off_t)o[1].w.place.offset;
    const off_t body = at + 32, sum = body + (off_t)size;
    const off_t where[] = {at,         at + 9,         at + 17, at + 31, body,
                           body + MIB, body + 2 * MIB, sum - 1, sum,     sum + 7};
    for (unsigned i = 0; i < sizeof where / sizeof where[0]; i++) {
        flip(where[i]);
        cr_assert_eq(read_back(&o[0]), MOB_OK);
        cr_assert_eq(read_back(&o[1]), MOB_ERR_CORRUPT, "byte %ld",
                     (long)(where[i] - at));
        cr_assert_eq(read_back(&o[2]), MOB_OK);
        cr_assert_eq(disk.corrupt, i + 1);
        flip(where[i]);
        cr_assert_eq(read_back(&o[1]), MOB_OK);
    }
    flip(sum + 8); /* nobody's */
    cr_assert_eq(read_back(&o[1]), MOB_OK);
    for (unsigned i = 0; i < 3; i++) {
        object_end(&o[i]);
    }
}

Test(spill_faults, a_file_cut_short_is_found)
{
    struct object o[2];
    char path[32];
    object_init(&o[0], 1, 3 * MIB);
    object_init(&o[1], 2, 3 * MIB);
    write_all(o, 2);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd_in(0, 0));
    for (off_t cut = 6 * MIB; cut >= 3 * MIB + 4096; cut -= MIB / 2 + 12345) {
        cr_assert_eq(truncate(path, cut), 0, "%m");
        cr_assert_eq(read_back(&o[0]), MOB_OK);
        cr_assert_eq(read_back(&o[1]), MOB_ERR_CORRUPT, "cut at %ld", (long)cut);
    }
    cr_assert_eq(truncate(path, 0), 0, "%m");
    cr_assert_eq(read_back(&o[0]), MOB_ERR_CORRUPT);
    object_end(&o[0]);
    object_end(&o[1]);
}

/* The second object does not fit into a file of this size: it alone fails, and the third goes to the next
 * folder. */
Test(spill_faults, a_write_that_fails_is_told_for_its_object_alone)
{
    struct object o[3], again;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {2 * MIB, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    object_init(&o[0], 1, 300000);
    object_init(&o[1], 2, 4 * MIB);
    object_init(&o[2], 3, 300000);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    write_all(o, 3);
    setrlimit(RLIMIT_FSIZE, &none);
    cr_assert_eq(o[0].wrote, MOB_OK);
    cr_assert_eq(o[1].wrote, MOB_ERR_SYSTEM);
    cr_assert_eq(o[2].wrote, MOB_OK);
    cr_assert_geq(disk.failures, 1);
    cr_assert(strstr(disk.folders[0].why, "writing"), "%s", disk.folders[0].why);
    cr_assert_geq(fd_in(1, 0), 0, "the next folder is not used");
    cr_assert_neq(o[0].w.place.segment, o[2].w.place.segment);
    cr_assert_eq(read_back(&o[0]), MOB_OK);
    cr_assert_eq(read_back(&o[2]), MOB_OK);
    object_init(&again, 2, 4 * MIB);
    write_all(&again, 1);
    cr_assert_eq(read_back(&again), MOB_OK);
    for (unsigned i = 0; i < 3; i++) {
        object_end(&o[i]);
    }
    object_end(&again);
    cr_assert_eq(disk.live_bytes, 0);
    cr_assert_eq(disk.files, 0);
}

/* All folders fail: an error for each object, at once, and folders are tried again after their time. */
Test(spill_faults, no_folder_takes_anything)
{
    struct object o[8];
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit = {MIB, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < 8; i++) {
        object_init(&o[i], i, 3 * MIB);
    }
    write_all(o, 8);
    setrlimit(RLIMIT_FSIZE, &none);
    for (unsigned i = 0; i < 8; i++) {
        cr_assert_eq(o[i].wrote, i < FOLDERS ? MOB_ERR_SYSTEM : MOB_ERR_FULL, "%u: %d", i,
                     o[i].wrote);
        object_end(&o[i]);
    }
    cr_assert_eq(disk.live_bytes, 0);
    struct object later;
    object_init(&later, 9, 3 * MIB);
    write_all(&later, 1);
    cr_assert_eq(later.wrote, MOB_ERR_FULL);
    object_end(&later);
    for (unsigned i = 0; i < FOLDERS; i++) {
        cr_assert_gt(disk.folders[i].until_ns, clock_now_ns());
        disk.folders[i].until_ns = 0; /* as if the time were over */
    }
    object_init(&later, 9, 3 * MIB);
    write_all(&later, 1);
    cr_assert_eq(read_back(&later), MOB_OK);
    object_end(&later);
}

Test(spill_faults, a_folder_that_vanished_is_passed_over)
{
    struct object o[2];
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(rmdir(folder[i]), 0);
    }
    object_init(&o[0], 1, 1000);
    write_all(o, 1);
    cr_assert_eq(read_back(&o[0]), MOB_OK);
    cr_assert_geq(fd_in(2, 0), 0);
    object_end(&o[0]);
    cr_assert_eq(rmdir(folder[2]), 0);
    object_init(&o[1], 1, 1000);
    write_all(&o[1], 1);
    cr_assert_eq(o[1].wrote, MOB_ERR_FULL);
    cr_assert(strstr(mob_last_error(), "no folder"), "%s", mob_last_error());
    object_end(&o[1]);
}

/* A file system of 4 MiB, full in the middle of an object. It is in memory, which is asked for by hand here. */
Test(spill_faults, a_full_file_system)
{
    static char tiny[] = "/tmp/mobula-tiny-XXXXXX";
    struct object o[4];
    if (!mkdtemp(tiny) || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tiny", tiny, "tmpfs", 0, "size=4m") < 0) {
        rmdir(tiny);
        cr_skip_test("only root can mount");
    }
    char *path = disk.folders[0].path;
    disk.folders[0].path = tiny;
    for (unsigned i = 0; i < 4; i++) {
        object_init(&o[i], i, 3 * MIB / 2);
    }
    write_all(o, 3);
    cr_assert_eq(o[0].wrote, MOB_OK);
    cr_assert_eq(o[1].wrote, MOB_OK);
    cr_assert_eq(o[2].wrote, MOB_ERR_SYSTEM);
    write_all(&o[3], 1);
    cr_assert(strstr(disk.folders[0].why, "No space"), "%s", disk.folders[0].why);
    cr_assert_eq(o[3].wrote, MOB_OK);
    cr_assert_neq(o[3].w.place.segment, o[0].w.place.segment);
    for (unsigned i = 0; i < 4; i++) {
        cr_assert(o[i].wrote != MOB_OK || read_back(&o[i]) == MOB_OK);
        object_end(&o[i]);
    }
    disk.folders[0].path = path;
    cr_assert_eq(disk.files, 0);
    cr_assert_eq(umount(tiny), 0, "%m");
    rmdir(tiny);
}

/* A file system of 4 MiB in memory, as the only folder. Returns the path that was there. */
static char *mount_tiny(char *tiny)
{
    if (!mkdtemp(tiny) || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tiny", tiny, "tmpfs", 0, "size=4m") < 0) {
        rmdir(tiny);
        cr_skip_test("only root can mount");
    }
    char *path = disk.folders[0].path;
    disk.folders[0].path = tiny;
    disk.count = 1;
    return path;
}

static void umount_tiny(char *tiny, char *path)
{
    disk.folders[0].path = path;
    disk.count = FOLDERS;
    cr_assert_eq(disk.files, 0);
    cr_assert_eq(umount(tiny), 0, "%m");
    rmdir(tiny);
}

/* What is full of dead bytes is closed at once, and what is alive in it may move into what stays free else: then
 * it goes, and there is room again. */
Test(spill_faults, a_full_file_system_gives_back_what_is_dead)
{
    enum { SMALL = 70, BIG = SMALL, NEXT, COUNT };
    static char tiny[] = "/tmp/mobula-tiny-XXXXXX";
    struct object o[COUNT], moved;
    uint32_t file = 99;
    char *path = mount_tiny(tiny);
    for (unsigned i = 0; i < COUNT; i++) {
        object_init(&o[i], i, i < SMALL ? 40000 : 2 * MIB);
    }
    write_all(o, SMALL);
    for (unsigned i = 1; i < SMALL; i++) {
        spill_free(files, &o[i].w.place);
        o[i].wrote = MOB_ERR_LOST;
    }
    cr_assert_not(spill_sparse(files, &file), "nobody needs the room yet");
    write_all(&o[BIG], 1);
    cr_assert_eq(o[BIG].wrote, MOB_ERR_SYSTEM);
    cr_assert(spill_sparse(files, &file), "the disk stays full");
    cr_assert_eq(file, 0);
    write_all(&o[NEXT], 1);
    cr_assert_eq(o[NEXT].wrote, MOB_ERR_FULL, "it is tried at once again");
    object_init(&moved, 0, 40000);
    moved.w.moves = true;
    write_all(&moved, 1);
    cr_assert_eq(moved.wrote, MOB_OK, "%s", mob_last_error());
    o[NEXT].wrote = NOT_YET;
    write_all(&o[NEXT], 1);
    cr_assert_eq(o[NEXT].wrote, MOB_ERR_FULL, "it goes where only what moves may go");
    spill_free(files, &o[0].w.place);
    o[0].wrote = MOB_ERR_LOST;
    o[NEXT].wrote = NOT_YET;
    write_all(&o[NEXT], 1);
    cr_assert_eq(o[NEXT].wrote, MOB_OK, "it waits though there is room");
    cr_assert_eq(read_back(&moved), MOB_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        object_end(&o[i]);
    }
    object_end(&moved);
    umount_tiny(tiny, path);
}

/* ---- folders that cannot be used ---------------------------------------------------------------------- */

static void refused(const char *paths, const char *says)
{
    struct spill_disk d = {.count = 77};
    cr_assert_eq(spill_disk_open(paths, &d), MOB_ERR_INVALID, "%s", paths);
    cr_assert(strstr(mob_last_error(), says), "'%s' not in: %s", says, mob_last_error());
    cr_assert_eq(d.count, 77, "written on failure");
}

Test(spill_faults, folders_are_looked_at_first)
{
    char paths[4096] = "", file[128];
    struct spill_disk d;
    refused("", "no folder");
    refused(":::", "no folder");
    refused("here", "from the root");
    snprintf(paths, sizeof paths, "%s:there", folder[0]);
    refused(paths, "from the root");
    refused("/proc/nothing/of/that", "making the folder");
    struct statfs fs;
    if (statfs("/dev/shm", &fs) == 0 && fs.f_type == 0x01021994) {
        refused("/dev/shm", "in memory");
    }
    snprintf(file, sizeof file, "%s/file", folder[0]);
    close(open(file, O_CREAT | O_WRONLY, 0600));
    refused(file, "making a file");
    unlink(file);
    for (unsigned i = 0, n = 0; i <= SPILL_FOLDERS_MAX; i++) {
        n += (unsigned)snprintf(paths + n, sizeof paths - n, "%s:", folder[0]);
    }
    refused(paths, "more than 16");
    snprintf(paths, sizeof paths, "%s/new:", folder[1]);
    cr_assert_eq(spill_disk_open(paths, &d), MOB_OK, "%s", mob_last_error());
    cr_assert_eq(d.count, 1);
    struct stat st;
    paths[strlen(paths) - 1] = '\0';
    cr_assert_eq(stat(paths, &st), 0);
    cr_assert_eq(st.st_mode & 0777, 0700);
    cr_assert_eq(rmdir(paths), 0, "something is left there: %m");
    spill_disk_close(&d);
}
