/* verdict.c - what must hold once the daemon has swept after a death: at once, and when the living
 * have finished and let go of everything. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scene.h"
#include "store/check.h"

enum { ROUNDS = 8, HANG_S = 20 };

static char *text; /* shared with the parent */

static void bad(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void bad(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, VERDICT_TEXT, format, ap);
    va_end(ap);
    _exit(1);
}

/* ---- the copy ----------------------------------------------------------------------------------- */

static void map_at(void *at, size_t size, int prot, int flags, int fd)
{
    const void *got = mmap(at, size, prot, flags | MAP_FIXED | MAP_NORESERVE, fd, 0);
    if (got != at) {
        bad("mapping a copy: %m");
    }
    /* cppcheck-suppress memleak ; it is where @at says */
}

static void map_copy(void)
{
    struct board *b = &scene.job->board;
    map_at(b->base, board_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE, b->fd);
    map_at(scene.keeper_base, SCENE_SEGMENT_BYTES, PROT_READ, MAP_SHARED,
           scene.job->segments[KEEPER_SEGMENT].fd);
    b->bell = scene.job->bell = -1; /* nobody else is to hear of it */
    scene.job->watch = -1;
}

/* ---- at once ------------------------------------------------------------------------------------ */

/* Nothing of the dead one is left outside of the records; board_check() sees what is in them. */
static void look_for_marks(const struct board *b, uint32_t dead)
{
    for (uint32_t i = 0; i < BOARD_LEDGERS_MAX; i++) {
        if ((at_load(&b->ledgers[i].owner, AT_RELAXED) & ~LEDGER_LEFT) == dead + 1) {
            bad("ledger %u is still the dead one's", i);
        }
    }
    for (uint32_t i = 0; i < BOARD_BLOCKS_MAX; i++) {
        if (at_load(&b->block_owner[i], AT_RELAXED) == dead + 1) {
            bad("block %u is still the dead one's", i);
        }
    }
    for (uint32_t c = 0; c < CLASSES_MAX; c++) {
        if (at_load(&b->classes[c].parked[dead / 64], AT_RELAXED) & 1ull << dead % 64) {
            bad("the dead one is said to sleep in class %u", c);
        }
    }
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        const struct segment *s = &scene.job->segments[i];
        if (s->state != SEGMENT_NONE && s->owner == dead) {
            bad("segment %u is still the dead one's", i);
        }
    }
}

/* What an attempt submitted that died with its process is not to run. */
static void look_for_orphans(const struct board *b, uint64_t task, uint32_t attempt)
{
    for (uint32_t i = 0; task != LINK_NONE && i < board_committed(b); i++) {
        const struct record *r = &b->records[i];
        uint64_t s = at_load(&r->state, AT_RELAXED);
        if (state_phase(s) >= PHASE_CREATING && state_phase(s) <= PHASE_TAKEN &&
            at_load(&r->parent, AT_RELAXED) == task && r->parent_attempt == attempt &&
            !(s & STATE_CANCEL)) {
            bad("record %u would run, though the task that submitted it died", i);
        }
    }
}

/* The keeper's objects are as they were, to the last byte. */
static void look_at_keeper(void)
{
    const struct board *b = &scene.job->board;
    const uint64_t pinned = scene.objects[LARGE_OBJECT];
    for (int i = 0; i < KEEPER_OBJECTS; i++) {
        uint64_t link = scene.objects[i];
        struct record *r = &b->records[link_index(link)];
        uint64_t s = at_load(&r->state, AT_RELAXED);
        enum phase want = i == UNSEALED_OBJECT ? PHASE_QUEUED : PHASE_CLOSED;
        if (state_gen(s) != link_gen(link) || state_phase(s) != want || s & STATE_ERROR) {
            bad("the keeper's object %d is in state %#llx", i, (unsigned long long)s);
        }
    }
    struct place p = record_get_place(&b->records[link_index(pinned)], 0);
    if (p.kind != PLACE_ARENA || p.segment != KEEPER_SEGMENT || scene.keeper_frees) {
        bad("the keeper's large object has lost its bytes");
    }
    const unsigned char *small =
        b->records[link_index(scene.objects[SMALL_OBJECT])].payload + 16;
    const unsigned char *large = scene.keeper_base;
    for (size_t i = 0; i < p.size; i++) {
        if (large[i] != large[0] || (i < 8 && small[i] != large[0])) {
            bad("the keeper's objects have other bytes");
        }
    }
    const struct ledger *g = &b->ledgers[scene.pin >> 8];
    if (at_load(&g->pin[scene.pin & 0xff], AT_RELAXED) != pinned) {
        bad("the keeper's pin is gone");
    }
}

/* @settled: what a death left counted too high is corrected. */
static void look_at_board(bool settled)
{
    struct check_result res = {0};
    if (board_check(&scene.job->board, &res) != MOB_OK) {
        bad("%s (%u problems)", res.first, res.problems);
    }
    if (settled && res.leftovers) {
        bad("%u uses and children are counted that are not there", res.leftovers);
    }
}

/* ---- when the living are done ------------------------------------------------------------------- */

/* What the daemon does when it is rung, and when its timers come. */
static void daemon_looks(void)
{
    struct job *j = scene.job;
    uint32_t notice = at_swap(&j->board.header->notice, 0, AT_SEQ_CST);
    bool again;
    if (notice & NOTICE_PLACES) {
        lane_drain_ring(&j->lane);
    }
    if (notice & NOTICE_RESCAN) {
        (void)sweep_rescan(&j->lane);
    }
    (void)sweep_audit(&j->lane, &again);
    lane_reclaim(&j->lane);
}

static bool all_free(const struct board *b)
{
    bool free = true;
    for (uint32_t i = 0; free && i < board_committed(b); i++) {
        free = state_phase(at_load(&b->records[i].state, AT_RELAXED)) == PHASE_FREE;
    }
    return free;
}

static void let_go(void)
{
    struct lane *k = &scene.keeper;
    struct board *b = &scene.job->board;
    lane_unpin(k, scene.pin);
    for (int i = 0; i < KEEPER_OBJECTS; i++) {
        scene_drop(scene.objects[i]);
    }
    scene_drop(scene.task);
    scene_drop(scene.next_task);
    for (int round = 0; round < ROUNDS && !all_free(b); round++) {
        for (uint32_t c = 0; c < scene.job->classes; c++) {
            scene_run_ready(c);
        }
        lane_drain_ring(k);
        lane_reclaim(k);
        daemon_looks();
    }
    at_store(&b->procs[KEEPER].revoked_seen, at_load(&b->header->revoked, AT_RELAXED),
             AT_RELEASE);
    grant_collect(scene.job);
}

static void look_for_records(void)
{
    const struct board *b = &scene.job->board;
    uint32_t committed = board_committed(b), got = 0, others = 0;
    uint8_t *given = calloc(committed, 1);
    struct record *r;
    for (uint32_t i = 0; i < committed; i++) {
        uint64_t s = at_load(&b->records[i].state, AT_RELAXED);
        if (state_phase(s) != PHASE_FREE) {
            bad("record %u is left in phase %d: state %#llx, refs %#llx", i,
                (int)state_phase(s), (unsigned long long)s,
                (unsigned long long)at_load(&b->records[i].refs, AT_RELAXED));
        }
    }
    /* Each is there to be had, once: of the blocks that nobody else leased. */
    (void)sweep_blocks(&scene.job->lane);
    for (uint32_t i = 0; i < committed / BOARD_BLOCK; i++) {
        uint32_t owner = at_load(&b->block_owner[i], AT_RELAXED);
        others += owner != 0 && owner != KEEPER + 1;
        if (owner == DAEMON + 1 && !scene.job->lane.block_slot[i]) {
            bad("block %u is nobody's, and cannot be leased", i);
        }
    }
    while (given && lane_record(&scene.keeper, &r) == MOB_OK) {
        if (given[board_index(b, r)]++) {
            bad("record %u can be had twice", board_index(b, r));
        }
        got++;
    }
    if (got != committed - others * BOARD_BLOCK) {
        bad("%u of %u records can be had", got, committed - others * BOARD_BLOCK);
    }
    free(given);
}

/* The client's segments are gone, and the accounts say so. */
static void look_for_bytes(void)
{
    struct job *j = scene.job;
    uint64_t held = 0;
    for (uint32_t i = 0; i < BOARD_SEGMENTS_MAX; i++) {
        const struct segment *s = &j->segments[i];
        if (s->state != SEGMENT_NONE && (s->owner == DAEMON || s->owner > KEEPER)) {
            held += s->bytes;
            if (s->owner == DAEMON) {
                bad("segment %u of the dead one is left, in state %d with %llu objects",
                    i, (int)s->state, (unsigned long long)s->live);
            }
        }
    }
    uint64_t want = j->board_bytes + SCENE_SEGMENT_BYTES + held;
    if (j->node->budget.used_bytes != want || j->node->budget.pending_bytes) {
        bad("%llu bytes are said to be in use and %llu promised, and %llu are",
            (unsigned long long)j->node->budget.used_bytes,
            (unsigned long long)j->node->budget.pending_bytes, (unsigned long long)want);
    }
    if (scene.keeper_frees != 1) {
        bad("the keeper's large object was freed %u times", scene.keeper_frees);
    }
}

/* ---- all of it ---------------------------------------------------------------------------------- */

static void judge(uint32_t process, int mutant)
{
    struct job *j = scene.job;
    struct member *m = &j->members[process];
    bool again;
    map_copy();
    /* The task that it runs now, if it has not returned. */
    uint64_t task = scene.task, s = LINK_NONE;
    if (task != LINK_NONE && lane_find(&scene.keeper, task, &s) &&
        (state_phase(s) != PHASE_TAKEN || state_holder(s) != process)) {
        task = LINK_NONE;
    }
    m->dead = true;
    mutant_now = mutant;
    proc_sweep(m);
    mutant_now = mutant_stays(mutant) ? mutant : 0;
    m->used = false;
    if (j->failed) {
        bad("the board is said to be corrupt");
    }
    look_for_marks(&j->board, process);
    look_for_orphans(&j->board, task, state_attempt(s));
    look_at_keeper();
    (void)sweep_audit(&j->lane, &again);
    look_at_board(!again);
    let_go();
    look_at_board(true);
    look_for_records();
    look_for_bytes();
}

bool death_ends_well(uint32_t process, int mutant, char ret_why[VERDICT_TEXT])
{
    int status;
    if (!text) {
        const int flags = MAP_SHARED | MAP_ANONYMOUS;
        /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
        text = mmap(NULL, VERDICT_TEXT, PROT_READ | PROT_WRITE, flags, -1, 0);
        MUST(text != MAP_FAILED);
    }
    text[0] = '\0';
    fflush(NULL);
    pid_t pid = fork();
    MUST(pid >= 0);
    if (pid == 0) {
        alarm(HANG_S);
        if (mutant) { /* what it breaks is not for people to read */
            (void)!freopen("/dev/null", "w", stderr);
        }
        judge(process, mutant);
        _exit(0);
    }
    MUST(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status)) {
        snprintf(ret_why, VERDICT_TEXT, "the daemon died by signal %d", WTERMSIG(status));
    } else {
        snprintf(ret_why, VERDICT_TEXT, "%s", text);
    }
    return status == 0;
}
