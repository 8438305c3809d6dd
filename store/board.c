#include "store/board.h"

#include <string.h>
#include <unistd.h>

#include "core/seg.h"
#include "core/status.h"

enum { PAGE = 4096 };

/* The parts in the order in which they stand, each at a page of its own. */
static const size_t part_bytes[] = {
    sizeof(struct board_header),
    sizeof(struct proc) * PROCS_MAX,
    sizeof(struct klass) * CLASSES_MAX,
    sizeof(struct ledger) * BOARD_LEDGERS_MAX,
    sizeof(struct name) * BOARD_NAMES_MAX,
    sizeof(at_u64) * BOARD_SEGMENTS_MAX,
    sizeof(at_u32) * BOARD_BLOCKS_MAX,
    sizeof(at_u64) * BOARD_BLOCKS_MAX,
    /* from here on committed as it is used */
    (sizeof(at_u64) << BOARD_RING_ORDER) * PROCS_MAX,
    (sizeof(at_u64) << BOARD_QUEUE_ORDER) * CLASSES_MAX,
    sizeof(at_u32) * BOARD_RECORDS_MAX,
    sizeof(struct record) * BOARD_RECORDS_MAX,
};
enum {
    PARTS = sizeof part_bytes / sizeof part_bytes[0],
    PARTS_FIXED = 8,
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
    b->names = (void *)(base + part_offset(part++));
    b->segments = (void *)(base + part_offset(part++));
    b->block_owner = (void *)(base + part_offset(part++));
    b->block_returned = (void *)(base + part_offset(part++));
    b->ring_cells = (void *)(base + part_offset(part++));
    b->ready_cells = (void *)(base + part_offset(part++));
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

mob_status board_commit_more(struct board *b)
{
    uint32_t have = at_load(&b->own_committed, AT_RELAXED);
    if (have + BOARD_COMMIT_STEP > BOARD_RECORDS_MAX) {
        return status_fail(MOB_ERR_FULL,
                           "the job has %u records, the most a job can have", have);
    }
    MOB_TRY(seg_commit(b->fd, part_offset(PART_TOUCHED) + have * sizeof(at_u32),
                       BOARD_COMMIT_STEP * sizeof(at_u32)));
    MOB_TRY(seg_commit(b->fd, part_offset(PART_RECORDS) + have * sizeof(struct record),
                       BOARD_COMMIT_STEP * sizeof(struct record)));
    /* Release: who sees the new bound sees records of zeros. */
    at_store(&b->header->committed, have + BOARD_COMMIT_STEP, AT_RELEASE);
    at_store(&b->own_committed, have + BOARD_COMMIT_STEP, AT_RELAXED);
    return MOB_OK;
}

mob_status board_map(int fd, struct board *ret)
{
    struct board b;
    MOB_TRY(map(fd, &b));
    if (at_load(&b.header->magic, AT_ACQUIRE) != BOARD_MAGIC ||
        at_load(&b.header->layout, AT_RELAXED) != BOARD_LAYOUT) {
        uint32_t layout = at_load(&b.header->layout, AT_RELAXED);
        board_unmap(&b);
        return status_fail(
            MOB_ERR_VERSION,
            "the node's memory has layout %u, this program knows layout %u; use "
            "the same version of mobula for both",
            layout, BOARD_LAYOUT);
    }
    *ret = b;
    return MOB_OK;
}

void board_unmap(struct board *b)
{
    seg_unmap(b->base, board_bytes());
    seg_unmap((void *)b->base_ro, board_bytes());
    if (b->fd >= 0) {
        close(b->fd);
    }
    b->base = NULL;
    b->base_ro = NULL;
    b->fd = -1;
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

static uint32_t hash_text(const char *text)
{
    uint32_t h = 2166136261u; /* FNV-1a: short names, and no need for more */
    for (; *text; text++) {
        h = (h ^ (uint8_t)*text) * 16777619u;
    }
    return h;
}

/* An entry that a dead process left CLAIMED is skipped: nobody waits for it, and the sweep frees
 * it. Two processes that add the same name at once may get an entry each, which does no harm:
 * workers look functions up by text. */
mob_status board_name(struct board *b, uint32_t process, const char *text, uint16_t *ret)
{
    size_t len = strlen(text);
    if (len == 0 || len > MOB_NAME_MAX) {
        return status_fail(MOB_ERR_INVALID,
                           "the name '%s' has %zu bytes; 1 to %d are allowed", text, len,
                           MOB_NAME_MAX);
    }
    uint32_t hash = hash_text(text);
    for (uint32_t k = 0; k < BOARD_NAMES_MAX; k++) {
        uint32_t i = (hash + k) % BOARD_NAMES_MAX;
        struct name *n = &b->names[i];
        uint32_t state = at_load(&n->state, AT_ACQUIRE);
        if (state == NAME_READY && n->hash == hash &&
            !strncmp(n->text, text, sizeof n->text)) {
            *ret = (uint16_t)i;
            return MOB_OK;
        }
        if (state == NAME_FREE &&
            at_cas(&n->state, &state, NAME_CLAIMED(process), AT_ACQUIRE)) {
            n->hash = hash;
            memcpy(n->text, text, len + 1);
            at_store(&n->state, NAME_READY, AT_RELEASE); /* pairs with the load above */
            *ret = (uint16_t)i;
            return MOB_OK;
        }
    }
    return status_fail(MOB_ERR_FULL, "the job uses %u names, the most a job can have",
                       BOARD_NAMES_MAX);
}

void board_name_text(const struct board *b, uint32_t id, char *buf)
{
    if (id >= BOARD_NAMES_MAX || at_load(&b->names[id].state, AT_ACQUIRE) != NAME_READY) {
        memcpy(buf, "?", 2);
        return;
    }
    memcpy(buf, b->names[id].text, MOB_NAME_MAX);
    buf[MOB_NAME_MAX] = '\0';
}
