#include "scene.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "core/seg.h"

enum { LARGE_BYTES = 4096, FILL = 0x5a, TASK_RESULTS = 2 };

struct scene scene;

/* ---- the keeper --------------------------------------------------------------------------------- */

static void keeper_freed(void *arg, uint32_t segment, uint64_t offset)
{
    (void)arg;
    MUST(segment == KEEPER_SEGMENT && offset == 0);
    scene.keeper_frees++;
}

void scene_grant(uint32_t segment, uint32_t owner, void **ret_base)
{
    struct job *j = scene.job;
    struct segment *s = &j->segments[segment];
    struct budget_owner who = {j->index, owner};
    MUST(budget_take(&j->node->budget, who, SCENE_SEGMENT_BYTES) == MOB_OK);
    *s = (struct segment){
        .state = SEGMENT_HELD, .owner = owner, .bytes = SCENE_SEGMENT_BYTES};
    MUST(seg_create("mobula-objects", SCENE_SEGMENT_BYTES, &s->fd) == MOB_OK);
    MUST(seg_map(s->fd, SCENE_SEGMENT_BYTES, SEG_WRITE, ret_base) == MOB_OK);
    budget_committed(&j->node->budget, SCENE_SEGMENT_BYTES);
    at_store(&j->board.segments[segment],
             SEGMENT_USED | (uint64_t)owner << 40 | SCENE_SEGMENT_BYTES / ARENA_PAGE,
             AT_RELEASE);
}

static uint64_t put(bool large)
{
    struct call call = {.fn = CALL_PUT, .counts = call_counts(0, 1)};
    struct lane *l = &scene.keeper;
    struct record *r;
    MUST(lane_record(l, &r) == MOB_OK);
    task_begin(l, r, &call, LINK_NONE);
    if (large) {
        record_set_place(r, 0, PLACE_ARENA, KEEPER_SEGMENT, 0, LARGE_BYTES);
    } else {
        record_set_place(r, 0, PLACE_INLINE, 0, 16, 8);
        memset(r->payload + 16, FILL, 8);
    }
    uint64_t link = link_make(lane_gen(r), board_index(l->board, r), 0);
    at_store(&r->state, state_make(lane_gen(r), KEEPER, 0, PHASE_CREATING), AT_RELEASE);
    MUST(task_seal(l, r, false));
    return link;
}

static uint64_t publish(uint32_t class, const char *function, const void *arg,
                        size_t size)
{
    struct call call = {.class_options = (uint8_t) class,
                        .counts = call_counts(1, TASK_RESULTS),
                        .retries = 3};
    struct lane *l = &scene.keeper;
    struct record *r;
    uint64_t link;
    MUST(board_name(l->board, KEEPER, function, &call.fn) == MOB_OK);
    MUST(lane_record(l, &r) == MOB_OK);
    task_begin(l, r, &call, LINK_NONE);
    void *to = task_add_value(r, 0, size);
    MUST(to);
    memcpy(to, arg, size);
    MUST(task_publish(l, r, &link) == MOB_OK);
    return link;
}

uint64_t scene_task(uint32_t class, const char *function, const void *arg, size_t size,
                    bool tell)
{
    if (!tell) {
        at_store(&scene.job->board.classes[class].alert, 0, AT_SEQ_CST);
    }
    return publish(class, function, arg, size);
}

void scene_drop(uint64_t link)
{
    for (uint32_t i = 0; i < TASK_RESULTS; i++) {
        lane_drop(&scene.keeper, link | i);
    }
    lane_drain_ring(&scene.keeper);
    lane_reclaim(&scene.keeper);
}

void scene_run_ready(uint32_t class)
{
    struct queue_item item;
    struct record *r;
    while (task_claim(&scene.keeper, class, &r, &item) == QUEUE_OK) {
        bool cancelled = at_load(&r->state, AT_RELAXED) & STATE_CANCEL;
        if (cancelled) {
            task_set_error(r, MOB_ERR_CANCELLED, "");
        }
        MUST(task_seal(&scene.keeper, r, cancelled));
    }
}

/* ---- the node ----------------------------------------------------------------------------------- */

void scene_turn(void)
{
    world_turn(&scene.world);
}

static uint32_t class_of_cpus(struct job *j, uint64_t cpus)
{
    struct demand demand = demand_cpus(cpus * CPU_UNITS);
    uint32_t class;
    MUST(job_add_class(j, &demand, &class) == MOB_OK);
    return class;
}

void scene_make(const char *program)
{
    uint64_t value = 0;
    world_program = program;
    setenv("MOBULA_SPIN_US", "0", 1);
    world_make(&scene.world, true);
    struct job *j = scene.job = world_job(&scene.world);
    scene.usual_class = class_of_cpus(j, 1);
    scene.class = class_of_cpus(j, WORLD_CPUS); /* so that there is one worker */
    scene.store_class = class_of_cpus(j, WORLD_CPUS + 2);
    MUST(lane_init(&scene.keeper, &j->board, KEEPER, keeper_freed, NULL) == MOB_OK);
    scene_grant(KEEPER_SEGMENT, KEEPER, &scene.keeper_base);
    memset(scene.keeper_base, FILL, LARGE_BYTES);
    scene.objects[SMALL_OBJECT] = put(false);
    scene.objects[LARGE_OBJECT] = put(true);
    scene.objects[UNSEALED_OBJECT] =
        publish(scene.world.big, "nobody", &value, sizeof value);
    MUST(lane_pin(&scene.keeper, scene.objects[LARGE_OBJECT], &scene.pin) == MOB_OK);
}

void scene_end(void)
{
    lane_unpin(&scene.keeper, scene.pin);
    lane_fini(&scene.keeper);
    munmap(scene.keeper_base, SCENE_SEGMENT_BYTES);
    world_end(&scene.world);
}

/* ---- what the client changed -------------------------------------------------------------------- */

enum {
    HOT_RECORDS = 6 * BOARD_BLOCK,
    HOT_PROCS = 4,
    HOT_CLASSES = 4,
    HOT_LEDGERS = 8,
    HOT_BLOCKS = 64,
    HOT_CELLS = 1024,
    RANGES_MAX = 40
};

struct range {
    const void *now;
    void *seen;
    size_t size;
};

static struct range hot[RANGES_MAX], all[RANGES_MAX];
static size_t hot_count, all_count;

static void add(struct range *list, size_t *count, const void *now, size_t size)
{
    MUST(*count < RANGES_MAX);
    list[*count] = (struct range){now, malloc(size), size};
    MUST(list[*count].seen);
    (*count)++;
}

static void choose_ranges(void)
{
    const struct board *b = &scene.job->board;
    const uint32_t procs[HOT_PROCS] = {DAEMON, KEEPER, 2, CLIENT_OF_STORE};
    add(hot, &hot_count, b->header, sizeof *b->header);
    for (uint32_t i = 0; i < HOT_PROCS; i++) {
        add(hot, &hot_count, &b->procs[procs[i]], sizeof *b->procs);
        add(hot, &hot_count, &b->ring_cells[(size_t)procs[i] << BOARD_RING_ORDER],
            HOT_CELLS * sizeof *b->ring_cells);
    }
    add(hot, &hot_count, b->classes, HOT_CLASSES * sizeof *b->classes);
    for (size_t c = 0; c < HOT_CLASSES; c++) {
        add(hot, &hot_count, &b->ready_cells[c << BOARD_QUEUE_ORDER],
            HOT_CELLS * sizeof *b->ready_cells);
    }
    add(hot, &hot_count, b->ledgers, HOT_LEDGERS * sizeof *b->ledgers);
    add(hot, &hot_count, b->names,
        (BOARD_NAMES_MAX + BOARD_SITES_MAX) * sizeof *b->names);
    add(hot, &hot_count, b->segments, HOT_BLOCKS * sizeof *b->segments);
    add(hot, &hot_count, b->block_owner, HOT_BLOCKS * sizeof *b->block_owner);
    add(hot, &hot_count, b->block_returned, HOT_BLOCKS * sizeof *b->block_returned);
    add(hot, &hot_count, b->records, HOT_RECORDS * sizeof *b->records);
    add(hot, &hot_count, b->touched, HOT_RECORDS * sizeof *b->touched);
    add(all, &all_count, b->base, board_fixed_bytes());
    add(all, &all_count, b->touched, BOARD_COMMIT_STEP * sizeof *b->touched);
    add(all, &all_count, b->records, BOARD_COMMIT_STEP * sizeof *b->records);
}

static void remember(struct range *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        memcpy(list[i].seen, list[i].now, list[i].size);
    }
}

/* Lines that were seen to change, by their number on the board: hot parts are all in its first ones. */
enum { LINES_MAX = 1 << 20 };
static uint8_t seen_lines[LINES_MAX];
static struct watch_lines lines;
static uint32_t watched; /* process */

static bool inside(const char *at, const void *from, size_t size)
{
    return at >= (const char *)from && at < (const char *)from + size;
}

static bool is_own(const char *at)
{
    const struct board *b = &scene.job->board;
    bool record = at >= (const char *)b->records;
    if (record || inside(at, b->touched, BOARD_RECORDS_MAX * sizeof *b->touched)) {
        size_t index = record
                           ? (size_t)(at - (const char *)b->records) / sizeof *b->records
                           : (size_t)(at - (const char *)b->touched) / sizeof *b->touched;
        return at_load(&b->block_owner[index / BOARD_BLOCK], AT_RELAXED) == watched + 1;
    }
    if (inside(at, b->ledgers, BOARD_LEDGERS_MAX * sizeof *b->ledgers)) {
        size_t index = (size_t)(at - (const char *)b->ledgers) / sizeof *b->ledgers;
        return at_load(&b->ledgers[index].owner, AT_RELAXED) == watched + 1;
    }
    return inside(at, &b->procs[watched], sizeof *b->procs);
}

static void note_lines(const struct range *r)
{
    const char *base = scene.job->board.base, *now = r->now, *seen = r->seen;
    for (size_t i = 0; i < r->size; i += CACHE_LINE) {
        size_t size = r->size - i < CACHE_LINE ? r->size - i : CACHE_LINE;
        /* The records come last on the board, behind much that is sparse. */
        size_t line = (size_t)(now + i - base) / CACHE_LINE % LINES_MAX;
        if (memcmp(now + i, seen + i, size) != 0 && !seen_lines[line]) {
            seen_lines[line] = 1;
            lines.own += is_own(now + i);
            if (!is_own(now + i)) {
                lines.shared++;
                lines.last_shared = (size_t)(now + i - base);
            }
        }
    }
}

struct watch_lines watch_lines(void)
{
    return lines;
}

void watch_begin(uint32_t process)
{
    watched = process;
    lines = (struct watch_lines){0};
    memset(seen_lines, 0, sizeof seen_lines);
    if (hot_count == 0) {
        choose_ranges();
    }
    remember(hot, hot_count);
    remember(all, all_count);
}

bool watch_changed(void)
{
    bool changed = false;
    /* The board's clock moves on once a second, by whoever sees that first. */
    struct board_header *seen = hot[0].seen;
    at_store(&seen->now, at_load(&scene.job->board.header->now, AT_RELAXED), AT_RELAXED);
    for (size_t i = 0; i < hot_count; i++) {
        if (memcmp(hot[i].seen, hot[i].now, hot[i].size) != 0) {
            note_lines(&hot[i]);
            memcpy(hot[i].seen, hot[i].now, hot[i].size);
            changed = true;
        }
    }
    return changed;
}

/* What is hot is put as it is now into what is remembered of all: the rest must be equal. */
bool watch_rest_same(void)
{
    for (size_t i = 0; i < all_count; i++) {
        const char *from = all[i].now, *to = from + all[i].size;
        for (size_t k = 0; k < hot_count; k++) {
            const char *at = hot[k].now;
            if (at >= from && at < to) {
                memcpy((char *)all[i].seen + (at - from), at, hot[k].size);
            }
        }
        const char *seen = all[i].seen;
        for (size_t k = 0; k < all[i].size; k++) {
            if (from[k] != seen[k]) {
                fprintf(stderr, "byte %zu of the board was %#x and is %#x\n",
                        (size_t)(from + k - (const char *)scene.job->board.base),
                        (unsigned char)seen[k], (unsigned char)from[k]);
                return false;
            }
        }
    }
    return true;
}
