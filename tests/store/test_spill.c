/* Spilled objects: written to a real disk through a real loop, and read back. test_spill_faults.c has what disks
 * do wrong. */
#include "spill_rig.h"

static void begin_one(void)
{
    begin_with(1);
}

TestSuite(spill, .init = begin_one, .fini = end, .timeout = 120);

/* Where extents, blocks and buffers begin and end. */
static const size_t sizes[] = {0,
                               1,
                               23,
                               24,
                               25,
                               63,
                               64,
                               65,
                               87,
                               88,
                               89,
                               4015,
                               4016,
                               4017,
                               4055,
                               4056,
                               4057,
                               4095,
                               4096,
                               4097,
                               MIB - 4096,
                               MIB - 65,
                               MIB - 41,
                               MIB - 40,
                               MIB - 39,
                               MIB - 38,
                               MIB - 37,
                               MIB - 36,
                               MIB - 35,
                               MIB - 34,
                               MIB - 33,
                               MIB - 32,
                               MIB - 31,
                               MIB - 1,
                               MIB,
                               MIB + 1,
                               2 * MIB - 40,
                               2 * MIB - 36,
                               2 * MIB,
                               9 * MIB};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

Test(spill, every_size_comes_back)
{
    struct object o[SIZES];
    for (unsigned i = 0; i < SIZES; i++) {
        object_init(&o[i], 1000 + i, sizes[i]);
    }
    write_all(o, SIZES);
    for (unsigned i = 0; i < SIZES; i++) {
        cr_assert_eq(o[i].wrote, MOB_OK);
        cr_assert_eq(o[i].order, i, "answered out of turn");
        cr_assert_eq(o[i].w.place.offset % 64, 0);
        cr_assert_eq(o[i].w.place.size, sizes[i]);
    }
    read_all(o, SIZES);
    cr_assert_eq(disk.out_objects, SIZES);
    cr_assert_eq(disk.in_objects, SIZES);
    cr_assert_eq(disk.in_bytes, disk.out_bytes);
    for (unsigned i = 0; i < SIZES; i++) {
        object_end(&o[i]);
    }
    cr_assert_eq(disk.files, 0, "an empty file stays");
}

/* Alone, each begins a file, so that the sum lies at every place about the end of a buffer. */
Test(spill, every_size_comes_back_alone)
{
    for (unsigned i = 0; i < SIZES; i++) {
        struct object o;
        object_init(&o, i, sizes[i]);
        write_all(&o, 1);
        cr_assert_eq(o.wrote, MOB_OK);
        cr_assert_eq(o.w.place.offset, 0);
        o.free_when_read = true;
        cr_assert_eq(read_back(&o), MOB_OK);
        cr_assert_eq(disk.files, 0, "an empty file stays");
        object_end(&o);
    }
}

Test(spill, hundreds_written_and_read_at_once)
{
    enum { COUNT = 600 };
    static struct object o[COUNT];
    srand(7);
    for (unsigned i = 0; i < COUNT; i++) {
        object_init(&o[i], i, (size_t)(i % 50 ? rand() % 60000 : rand() % (3 * MIB)));
    }
    unsigned begun = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        object_write(&o[i]);
        if (i % 40 == 39) { /* reads of what is there go on beside the writes */
            cr_assert_eq(loop_turn(loop, 0), MOB_OK);
        }
        for (; begun < i && o[begun].wrote == MOB_OK; begun++) {
            o[begun].free_when_read = begun % 3 == 0;
            object_read(&o[begun]);
        }
    }
    turn_until_idle();
    for (unsigned i = 0; i < begun; i++) {
        expect_bytes(&o[i]);
    }
    for (unsigned i = begun; i < COUNT; i++) {
        cr_assert_eq(o[i].wrote, MOB_OK);
    }
    read_all(&o[begun], COUNT - begun);
    for (unsigned i = 0; i < COUNT; i++) {
        object_end(&o[i]);
    }
    cr_assert_eq(disk.files, 0);
}

/* The bytes of freed objects go back to the file system, and their neighbours stay. */
Test(spill, holes_are_punched)
{
    struct object o[5];
    struct stat before, after;
    for (unsigned i = 0; i < 5; i++) {
        object_init(&o[i], i, 3 * MIB + 777 * i);
    }
    write_all(o, 5);
    int fd = fd_in(0, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(fstat(fd, &before), 0);
    uint64_t said = disk.disk_bytes;
    spill_free(files, &o[1].w.place);
    spill_free(files, &o[3].w.place);
    cr_assert_eq(fstat(fd, &after), 0);
    uint64_t given = (uint64_t)(before.st_blocks - after.st_blocks) * 512;
    const uint64_t map =
        16 * 4096; /* blocks that the file system needs to note the holes */
    cr_assert_geq(given + map, 6 * MIB);
    cr_assert_leq(said - disk.disk_bytes, given + map);
    cr_assert_geq(said - disk.disk_bytes + map, given);
    for (unsigned i = 0; i < 5; i += 2) {
        cr_assert_eq(read_back(&o[i]), MOB_OK);
    }
    cr_assert_eq(read_back(&o[1]), MOB_ERR_CORRUPT, "a freed object is read");
    o[1].wrote = o[3].wrote = NOT_YET; /* no more to be freed */
    for (unsigned i = 0; i < 5; i++) {
        object_end(&o[i]);
    }
}

/* Small ones leave no holes: their file is compacted, when it is closed and mostly dead. */
Test(spill, a_mostly_dead_file_is_named_once)
{
    enum { SIZE = 60000, COUNT = SPILL_FILE_BYTES / SIZE + 2 };
    struct object *o = calloc(COUNT, sizeof *o);
    uint32_t file = 99;
    object_init(&o[0], 0, SIZE);
    for (unsigned i = 0; i < COUNT; i++) {
        o[i].wrote = NOT_YET;
        o[i].data = o[0].data;
        o[i].w = (struct spill_write){
            .name = i, .data = o[0].data, .size = SIZE, .done = wrote};
    }
    write_all(o, COUNT);
    cr_assert_eq(disk.files, 2, "a file was not closed at its size");
    unsigned in_first = 0, freed = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        cr_assert_eq(o[i].wrote, MOB_OK);
        in_first += o[i].w.place.segment == 0;
    }
    for (unsigned i = 0; i < in_first; i++) {
        if (i % 4) {
            cr_assert(freed <= in_first / 2 + 1 || spill_sparse(files, &file));
            cr_assert(freed >= in_first / 2 - 1 || !spill_sparse(files, &file));
            spill_free(files, &o[i].w.place);
            o[i].wrote = MOB_ERR_LOST;
            freed++;
        }
    }
    cr_assert(spill_sparse(files, &file));
    cr_assert_eq(file, 0);
    spill_file_visited(files, file);
    cr_assert_not(spill_sparse(files, &file), "a visited file is named again");
    for (unsigned i = 0; i < COUNT; i += 4) {
        if (i % 8 == 0 && o[i].w.place.segment == 0) {
            spill_free(files, &o[i].w.place);
            o[i].wrote = MOB_ERR_LOST;
        }
    }
    cr_assert_eq(read_back(&o[4]), MOB_OK);
    for (unsigned i = 0; i < COUNT && !spill_sparse(files, &file); i += 4) {
        if (o[i].wrote == MOB_OK && o[i].w.place.segment == 0) {
            spill_free(files, &o[i].w.place);
            o[i].wrote = MOB_ERR_LOST;
        }
    }
    cr_assert(spill_sparse(files, &file), "half as much alive, and not named");
    for (unsigned i = 0; i < COUNT; i++) {
        if (o[i].wrote == MOB_OK) {
            spill_free(files, &o[i].w.place);
        }
    }
    cr_assert_eq(disk.files, 0);
    free(o[0].data);
    free(o);
}

/* The file that is appended to does not wait for its full size if most of it is dead. */
Test(spill, what_is_dead_in_the_current_file_is_bounded)
{
    enum { SIZE = 60000, COUNT = (SPILL_DEAD_BYTES + (8 << 20)) / SIZE };
    struct object *o = calloc(COUNT, sizeof *o), last;
    uint32_t file = 99;
    uint64_t dead = 0;
    object_init(&o[0], 0, SIZE);
    for (unsigned i = 0; i < COUNT; i++) {
        o[i].wrote = NOT_YET;
        o[i].w = (struct spill_write){
            .name = i, .data = o[0].data, .size = SIZE, .done = wrote};
    }
    write_all(o, COUNT);
    cr_assert_eq(disk.files, 1);
    for (unsigned i = 1; i < COUNT; i++) {
        bool is_over = dead >= SPILL_DEAD_BYTES;
        cr_assert_eq(spill_sparse(files, &file), is_over, "with %llu dead bytes",
                     (unsigned long long)dead);
        if (i % 8) {
            spill_free(files, &o[i].w.place);
            o[i].wrote = MOB_ERR_LOST;
            dead += (SIZE + 32 + 8 + 63) / 64 * 64;
        }
    }
    cr_assert_eq(file, 0);
    object_init(&last, COUNT, SIZE);
    write_all(&last, 1);
    cr_assert_eq(last.w.place.segment, 1, "more is written to what is to go");
    object_end(&last);
    o[0].back = NULL;
    for (unsigned i = COUNT; i-- > 0;) {
        if (o[i].wrote == MOB_OK) {
            spill_free(files, &o[i].w.place);
        }
    }
    cr_assert_eq(disk.files, 0);
    free(o[0].data);
    free(o);
}

/* Objects that are written one by one take a block each, and would again if they were moved. */
Test(spill, what_fills_up_blocks_is_not_worth_a_move)
{
    struct object o[4];
    uint32_t file = 99;
    disk.folders[0].full = true;
    disk.folders[0].until_ns = loop_now_ns(loop) + 60 * NS_PER_S;
    for (unsigned i = 0; i < 4; i++) {
        object_init(&o[i], i, 100);
        o[i].w.moves = true;
        write_all(&o[i], 1);
        cr_assert_eq(o[i].wrote, MOB_OK);
    }
    cr_assert_eq(disk.disk_bytes, 4 * 4096);
    cr_assert_not(spill_sparse(files, &file), "it is moved for ever");
    for (unsigned i = 0; i < 3; i++) {
        object_end(&o[i]);
    }
    cr_assert(spill_sparse(files, &file));
    object_end(&o[3]);
}

/* ---- the end of a job ---------------------------------------------------------------------------- */

Test(spill, what_has_not_begun_is_cancelled_at_once)
{
    struct object o[6];
    for (unsigned i = 0; i < 6; i++) {
        object_init(&o[i], i, 100 + i);
        object_write(&o[i]);
    }
    spill_cancel(files);
    for (unsigned i = 0; i < 6; i++) {
        cr_assert_eq(o[i].wrote, MOB_ERR_CANCELLED);
        object_end(&o[i]);
    }
    cr_assert(!spill_busy(files));
}

Test(spill, cancel_with_writes_and_reads_in_flight)
{
    enum { COUNT = 8 };
    for (unsigned turns = 0; turns < 12; turns++) {
        struct object in[COUNT], out[COUNT];
        for (unsigned i = 0; i < COUNT; i++) {
            object_init(&in[i], i, 2 * MIB + 100000 * i);
            object_init(&out[i], 100 + i, MIB + 300000 * i);
        }
        write_all(in, COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            object_read(&in[i]);
            object_write(&out[i]);
        }
        for (unsigned k = 0; k < turns; k++) {
            cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
        }
        spill_cancel(files);
        turn_until_idle();
        unsigned cancelled = 0;
        for (unsigned i = 0; i < COUNT; i++) {
            cr_assert(out[i].wrote == MOB_OK || out[i].wrote == MOB_ERR_CANCELLED);
            cancelled += out[i].wrote != MOB_OK;
            if (in[i].read == MOB_OK) {
                expect_bytes(&in[i]);
            } else {
                cr_assert_eq(in[i].read, MOB_ERR_CANCELLED);
                free(in[i].back);
            }
        }
        cr_assert(turns || cancelled == COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            if (out[i].wrote == MOB_OK) {
                cr_assert_eq(read_back(&out[i]), MOB_OK);
            }
            object_end(&in[i]);
            object_end(&out[i]);
        }
        cr_assert_eq(disk.live_bytes, 0);
        cr_assert_eq(disk.files, 0, "an empty file stays");
    }
}

/* Freed while another waits for its turn, and that one never comes: the file must not stay. */
Test(spill, an_empty_file_goes_when_the_last_write_does)
{
    struct object a, b;
    object_init(&a, 1, 5000);
    object_init(&b, 2, 5000);
    write_all(&a, 1);
    object_write(&b);
    object_end(&a);
    spill_cancel(files);
    cr_assert_eq(b.wrote, MOB_ERR_CANCELLED);
    cr_assert_eq(disk.files, 0, "an empty file stays");
    object_end(&b);
}

/* Objects that are alive at the end go with their files. */
Test(spill, destroy_takes_the_files_along)
{
    struct object o[4];
    for (unsigned i = 0; i < 4; i++) {
        object_init(&o[i], i, 70000);
    }
    write_all(o, 4);
    for (unsigned i = 0; i < 4; i++) {
        free(o[i].data);
    }
    cr_assert_gt(disk.live_bytes, 4 * 70000);
}

static void end_with(struct object *o, unsigned writes, unsigned reads)
{
    for (unsigned i = 0; i < reads; i++) {
        object_read(&o[writes + i]);
    }
    for (unsigned i = 0; i < writes; i++) {
        object_write(&o[i]);
    }
    cr_assert_eq(loop_turn(loop, CLOCK_NEVER), MOB_OK);
    last_destroys = true;
    spill_cancel(files);
    turn_until_idle();
    cr_assert_eq(disk.files, 0);
    for (unsigned i = 0; i < writes + reads; i++) {
        free(o[i].back);
        free(o[i].data);
    }
}

Test(spill, the_last_write_s_answer_destroys)
{
    struct object o[3];
    for (unsigned i = 0; i < 3; i++) {
        object_init(&o[i], i, 2 * MIB);
    }
    end_with(o, 3, 0);
}

Test(spill, the_last_read_s_answer_destroys)
{
    struct object o[5];
    for (unsigned i = 0; i < 5; i++) {
        object_init(&o[i], i, 2 * MIB);
    }
    write_all(o, 5);
    end_with(o, 0, 5);
}

Test(spill, a_cancelled_answer_destroys)
{
    struct object o[2];
    object_init(&o[0], 1, 100);
    object_init(&o[1], 2, 100);
    object_write(&o[0]);
    object_write(&o[1]);
    last_destroys = true;
    spill_cancel(files);
    cr_assert_null(files);
    free(o[0].data);
    free(o[1].data);
}
