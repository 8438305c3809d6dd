#include "store/board.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/seg.h"
#include "core/status.h"
#include "store/timeline.h"

enum { PAGE = 4096 };

/* The parts in the order in which they stand, each at a page of its own. */
static const size_t part_bytes[] = {
    sizeof(struct board_header),
    sizeof(struct proc) * PROCS_MAX,
    sizeof(struct klass) * CLASSES_MAX,
    sizeof(struct ledger) * BOARD_LEDGERS_MAX,
    sizeof(struct feed),
    sizeof(struct name) * (BOARD_NAMES_MAX + BOARD_SITES_MAX),
    sizeof(at_u64) * BOARD_SEGMENTS_MAX,
    sizeof(at_u32) * BOARD_BLOCKS_MAX,
    sizeof(at_u64) * BOARD_BLOCKS_MAX,
    /* from here on committed as it is used */
    sizeof(struct timeline_ring) * PROCS_MAX,
    (sizeof(at_u64) << BOARD_RING_ORDER) * PROCS_MAX,
    (sizeof(at_u64) << BOARD_QUEUE_ORDER) * CLASSES_MAX,
    sizeof(at_u32) * BOARD_BLOCKS_MAX,
    sizeof(at_u64) * BOARD_RECORDS_MAX,
    sizeof(at_u32) * BOARD_RECORDS_MAX,
    sizeof(struct record) * BOARD_RECORDS_MAX,
};
enum {
    PARTS = sizeof part_bytes / sizeof part_bytes[0],
    PARTS_FIXED = 9,
    PART_TIMELINES = PARTS_FIXED,
    PART_DUE = PARTS - 4,
    PART_REQUESTS = PARTS - 3,
    PART_TOUCHED = PARTS - 2,
    PART_RECORDS = PARTS - 1
};

static size_t part_offset(unsigned part)
{
    size_t at = 0;
    for (unsigned i = 0; i < part; i++) {
        at += (part_bytes[i] + PAGE - 1) / PAGE * PAGE;
    }
    return at;
}

size_t board_bytes(void)
{
    return part_offset(PARTS);
}

size_t board_fixed_bytes(void)
{
    return part_offset(PARTS_FIXED);
}

static void set_view(struct board *b, char *base, const char *base_ro)
{
    unsigned part = 0;
    b->base = base;
    b->base_ro = base_ro;
    b->own_committed = (at_u32){0};
    b->header = (void *)(base + part_offset(part++));
    b->committed = &b->header->committed;
    b->procs = (void *)(base + part_offset(part++));
    b->classes = (void *)(base + part_offset(part++));
    b->ledgers = (void *)(base + part_offset(part++));
    b->feed = (void *)(base + part_offset(part++));
    b->names = (void *)(base + part_offset(part++));
    b->sites = b->names + BOARD_NAMES_MAX;
    b->segments = (void *)(base + part_offset(part++));
    b->block_owner = (void *)(base + part_offset(part++));
    b->block_returned = (void *)(base + part_offset(part++));
    b->timelines = (void *)(base + part_offset(part++));
    b->ring_cells = (void *)(base + part_offset(part++));
    b->ready_cells = (void *)(base + part_offset(part++));
    b->block_due = (void *)(base + part_offset(part++));
    b->requests = (void *)(base + part_offset(part++));
    b->touched = (void *)(base + part_offset(part++));
    b->records = (void *)(base + part_offset(part));
    b->records_ro = (const void *)(base_ro + part_offset(part));
}

static mob_status map(int fd, struct board *ret)
{
    void *rw, *ro;
    MOB_TRY(seg_map(fd, board_bytes(), SEG_WRITE, &rw));
    mob_status st = seg_map(fd, board_bytes(), SEG_READ, &ro);
    if (st) {
        seg_unmap(rw, board_bytes());
        return st;
    }
    set_view(ret, rw, ro);
    ret->fd = -1;
    ret->bell = -1;
    return MOB_OK;
}

mob_status board_create(uint64_t node, uint32_t job, struct board *ret,
                        uint64_t *ret_bytes)
{
    struct board b;
    int fd;
    MOB_TRY(seg_create("mobula-board", board_bytes(), &fd));
    mob_status st = seg_commit(fd, 0, board_fixed_bytes());
    if (st) {
        goto err_close;
    }
    st = map(fd, &b);
    if (st) {
        goto err_close;
    }
    b.fd = fd;
    st = board_commit_more(&b);
    if (st) {
        goto err_unmap;
    }
    at_store(&b.header->layout, BOARD_LAYOUT, AT_RELAXED);
    at_store(&b.header->job, job, AT_RELAXED);
    at_store(&b.header->node, node, AT_RELAXED);
    at_store(&b.header->born_ns, clock_now_ns(), AT_RELAXED);
    at_store(&b.procs[DAEMON].state, PROC_DAEMON, AT_RELAXED);
    at_store(&b.procs[DAEMON].pid, (uint32_t)getpid(), AT_RELAXED);
    at_store(&b.header->magic, BOARD_MAGIC,
             AT_RELEASE); /* pairs with the load in board_map() */
    *ret = b;
    ret->committed = &ret->own_committed;
    *ret_bytes = board_fixed_bytes() + BOARD_STEP_BYTES;
    return MOB_OK;

err_unmap:
    board_unmap(&b);
    return st; /* closed the fd too */
err_close:
    close(fd);
    return st;
}

static mob_status commit(struct board *b, unsigned part, size_t from, size_t count,
                         size_t size)
{
    return seg_commit(b->fd, part_offset(part) + from * size, count * size);
}

mob_status board_commit_more(struct board *b)
{
    uint32_t have = at_load(&b->own_committed, AT_RELAXED);
    if (have + BOARD_COMMIT_STEP > BOARD_RECORDS_MAX) {
        return status_fail(MOB_ERR_FULL,
                           "the job has %u records, the most a job can have", have);
    }
    MOB_TRY(commit(b, PART_DUE, have / BOARD_BLOCK, BOARD_COMMIT_STEP / BOARD_BLOCK,
                   sizeof(at_u32)));
    MOB_TRY(commit(b, PART_REQUESTS, have, BOARD_COMMIT_STEP, sizeof(at_u64)));
    MOB_TRY(commit(b, PART_TOUCHED, have, BOARD_COMMIT_STEP, sizeof(at_u32)));
    MOB_TRY(commit(b, PART_RECORDS, have, BOARD_COMMIT_STEP, sizeof(struct record)));
    /* Release: who sees the new bound sees records of zeros. */
    at_store(&b->header->committed, have + BOARD_COMMIT_STEP, AT_RELEASE);
    at_store(&b->own_committed, have + BOARD_COMMIT_STEP, AT_RELAXED);
    return MOB_OK;
}

/* Takes no ownership of @b's mapping unless it is a board. */
static mob_status check_board(struct board *b)
{
    if (at_load(&b->header->magic, AT_ACQUIRE) != BOARD_MAGIC ||
        at_load(&b->header->layout, AT_RELAXED) != BOARD_LAYOUT) {
        uint32_t layout = at_load(&b->header->layout, AT_RELAXED);
        board_unmap(b);
        return status_fail(
            MOB_ERR_VERSION,
            "the node's memory has layout %u, this program knows layout %u; use "
            "the same version of mobula for both",
            layout, BOARD_LAYOUT);
    }
    return MOB_OK;
}

mob_status board_map(int fd, struct board *ret)
{
    struct board b;
    MOB_TRY(map(fd, &b));
    MOB_TRY(check_board(&b));
    *ret = b;
    return MOB_OK;
}

mob_status board_map_ro(int fd, struct board *ret)
{
    struct board b;
    void *ro;
    MOB_TRY(seg_map(fd, board_bytes(), SEG_READ, &ro));
    set_view(&b, ro, ro);
    b.fd = b.bell = -1;
    MOB_TRY(check_board(&b));
    /* Records are committed from the first one on without a gap. */
    off_t first = (off_t)part_offset(PARTS - 1), end = lseek(fd, first, SEEK_HOLE);
    uint64_t bytes = end > first ? (uint64_t)(end - first) : 0;
    at_store(&b.own_committed,
             (uint32_t)(bytes / sizeof(struct record)) / BOARD_COMMIT_STEP *
                 BOARD_COMMIT_STEP,
             AT_RELAXED);
    *ret = b;
    ret->committed = &ret->own_committed;
    return MOB_OK;
}

void board_unmap(struct board *b)
{
    seg_unmap(b->base, board_bytes());
    if (b->base_ro != b->base) {
        seg_unmap((void *)b->base_ro, board_bytes());
    }
    if (b->fd >= 0) {
        close(b->fd);
    }
    b->base = NULL;
    b->base_ro = NULL;
    b->fd = -1;
}

/* ---- timelines ------------------------------------------------------------------------------------ */

struct timeline_ring *board_timeline(const struct board *b, uint32_t process)
{
    return &b->timelines[process % PROCS_MAX];
}

uint64_t board_timeline_bytes(uint32_t order)
{
    return offsetof(struct timeline_ring, slots) +
           (sizeof(struct timeline_slot) << order) +
           2 * PAGE; /* that it shares with its neighbours */
}

mob_status board_timeline_commit(struct board *b, uint32_t process, uint32_t order)
{
    size_t at = part_offset(PART_TIMELINES) + process * sizeof(struct timeline_ring);
    MOB_TRY(seg_commit(b->fd, at,
                       offsetof(struct timeline_ring, slots) +
                           (sizeof(struct timeline_slot) << order)));
    /* Release: who sees it has memory to write to. */
    at_store(&board_timeline(b, process)->order, order, AT_RELEASE);
    return MOB_OK;
}

static size_t timelines_bytes(void)
{
    return part_offset(PART_TIMELINES + 1) - part_offset(PART_TIMELINES);
}

mob_status board_timeline_keep(const struct board *b, const struct timeline_ring **ret)
{
    size_t from = part_offset(PART_TIMELINES), to = from + timelines_bytes();
    void *rings = mmap(NULL, to - from, PROT_READ, MAP_SHARED, b->fd, (off_t)from);
    if (rings == MAP_FAILED) {
        return status_fail(MOB_ERR_SYSTEM, "mapping a job's timeline: %m");
    }
    mob_status st = seg_discard(b->fd, 0, from);
    if (!st) {
        st = seg_discard(b->fd, to, board_bytes() - to);
    }
    if (st) {
        munmap(rings, to - from);
        return st;
    }
    *ret = rings;
    return MOB_OK;
}

void board_timeline_drop(const struct timeline_ring *rings)
{
    if (rings) {
        munmap((void *)(uintptr_t)rings, timelines_bytes());
    }
}

void board_notice(struct board *b, uint32_t bits)
{
    /* Set, then ring; pairs with the daemon, which hears the bell and then takes the bits. */
    uint32_t before = at_or(&b->header->notice, bits, AT_SEQ_CST);
    if (before == 0 && b->bell >= 0) {
        const uint64_t one = 1;
        (void)!write(b->bell, &one, sizeof one); /* a full eventfd is a rung bell */
    }
}

bool board_gather(struct board *b)
{
    /* Pairs with board_notice(): of two that find the word 0, one does. */
    return at_or(&b->header->notice, NOTICE_GATHER, AT_SEQ_CST) == 0;
}

static uint32_t hash_text(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a: short names, and no need for more */
    for (; *text; text++) {
        h = (h ^ (uint8_t)*text) * 16777619u;
    }
    return h;
}

/* Finds or adds a text in a table. An entry that a dead process left CLAIMED is skipped: nobody waits
 * for it, and the sweep frees it. Two processes that add the same text at once may get an entry each,
 * which does no harm: workers look functions up by text. */
static mob_status intern(struct name *table, uint32_t size, uint32_t process,
                         const char *text, uint32_t *ret)
{
    size_t len = strlen(text);
    uint32_t hash = hash_text(text);
    for (uint32_t k = 0; k < size; k++) {
        uint32_t i = (hash + k) % size;
        struct name *n = &table[i];
        uint32_t state = at_load(&n->state, AT_ACQUIRE);
        if (state == NAME_READY && n->hash == hash &&
            !strncmp(n->text, text, sizeof n->text)) {
            *ret = i;
            return MOB_OK;
        }
        if (state == NAME_FREE &&
            at_cas(&n->state, &state, NAME_CLAIMED(process), AT_ACQUIRE)) {
            n->hash = hash;
            memcpy(n->text, text, len + 1);
            at_store(&n->state, NAME_READY, AT_RELEASE); /* pairs with the load above */
            *ret = i;
            return MOB_OK;
        }
    }
    return MOB_ERR_FULL;
}

mob_status board_name(struct board *b, uint32_t process, const char *text, uint16_t *ret)
{
    size_t len = strlen(text);
    uint32_t i;
    if (len == 0 || len > MOB_NAME_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "the name '%s' has %zu bytes; 1 to %d are allowed", text, len,
                           MOB_NAME_MAX);
    }
    if (intern(b->names, BOARD_NAMES_MAX, process, text, &i)) {
        return status_fail(MOB_ERR_FULL, "the job uses %u names, the most a job can have",
                           BOARD_NAMES_MAX);
    }
    *ret = (uint16_t)i;
    return MOB_OK;
}

static void copy_text(const struct name *n, char *buf)
{
    memcpy(buf, n->text, MOB_NAME_MAX);
    buf[MOB_NAME_MAX] = '\0';
}

void board_name_text(const struct board *b, uint32_t id, char *buf)
{
    if (id >= BOARD_NAMES_MAX || at_load(&b->names[id].state, AT_ACQUIRE) != NAME_READY) {
        memcpy(buf, "?", 2);
        return;
    }
    copy_text(&b->names[id], buf);
}

/* ---- where and when ------------------------------------------------------------------------------- */

mob_status board_site(struct board *b, uint32_t process, const char *file, uint32_t line,
                      uint16_t *ret)
{
    char text[MOB_NAME_MAX + 1], number[16];
    uint32_t i;
    size_t end = (size_t)snprintf(number, sizeof number, ":%u", line);
    size_t len = strlen(file), room = MOB_NAME_MAX - end;
    if (len > room) { /* the end of a path says more; from a folder on, if there is one */
        const char *cut = file + len - room, *slash = strchr(cut, '/');
        file = slash ? slash + 1 : cut;
    }
    (void)snprintf(text, sizeof text, "%s%s", file, number);
    _Static_assert(BOARD_SITES_MAX <= ABOUT_SITE_MASK, "a number and 0 fit");
    if (intern(b->sites, BOARD_SITES_MAX, process, text, &i)) {
        return MOB_ERR_FULL;
    }
    *ret = (uint16_t)(i + 1);
    return MOB_OK;
}

void board_site_text(const struct board *b, uint32_t number, char *buf)
{
    buf[0] = '\0';
    if (number != 0 && number <= BOARD_SITES_MAX &&
        at_load(&b->sites[number - 1].state, AT_ACQUIRE) == NAME_READY) {
        copy_text(&b->sites[number - 1], buf);
    }
}

uint32_t board_tick_at(struct board *b, uint64_t now_ns)
{
    uint64_t born = at_load(&b->header->born_ns, AT_RELAXED);
    uint32_t now = now_ns > born ? (uint32_t)((now_ns - born) / BOARD_TICK_NS) : 0;
    uint32_t seen = at_load(&b->header->now, AT_RELAXED);
    /* Forward only: who was stopped between the clock and this step must not set it back. */
    while (seen < now && !at_cas(&b->header->now, &seen, now, AT_ACQ_REL)) {
    }
    return now;
}

uint32_t board_tick(struct board *b)
{
    return board_tick_at(b, clock_coarse_ns());
}
