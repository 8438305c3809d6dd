/* race.c - data races, found by vector clocks: code under test is compiled with the compiler's -fsanitize=thread,
 * whose hooks (hooks.c) are ours. */
#include "model_int.h"

struct cell { /* who accessed these bytes last, at which time of its clock; 0: never */
    uint16_t plain_read[8], atomic_read[8], atomic_write[8];
    uint16_t plain_write, plain_writer;
};

static bool races;
static struct cell cells[SHARED_BYTES / GRANULE];
static uint32_t touched[SHARED_BYTES / GRANULE];
static unsigned touched_count;
static bool is_touched[SHARED_BYTES / GRANULE];

void race_forget(bool find)
{
    races = find;
}

void race_begin(void)
{
    for (unsigned i = 0; i < touched_count; i++) {
        is_touched[touched[i]] = false;
        cells[touched[i]] = (struct cell){0};
    }
    touched_count = 0;
}

static struct cell *cell_of(size_t granule)
{
    if (!is_touched[granule]) {
        is_touched[granule] = true;
        touched[touched_count++] = (uint32_t)granule;
    }
    return &cells[granule];
}

static bool before(const uint16_t *view, const uint16_t *clock)
{
    for (unsigned i = 0; i < 8; i++) {
        if (clock[i] > view[i]) {
            return false;
        }
    }
    return true;
}

void race_check(unsigned self, const uint16_t *view, size_t granule, bool plain,
                bool write, const char *what)
{
    if (!races) {
        return;
    }
    struct cell *c = cell_of(granule);
    bool clean = c->plain_write <= view[c->plain_writer];
    clean = clean && (!write || before(view, c->plain_read));
    clean = clean && (!plain || before(view, c->atomic_write));
    clean = clean && (!plain || !write || before(view, c->atomic_read));
    if (!clean) {
        char name[64];
        memory_name(shared_memory + granule * GRANULE, name, sizeof name);
        model_fail("data race: process %u %s%s %s (%s)", self, plain ? "plainly " : "",
                   write ? "writes" : "reads", name, what);
    }
    uint16_t now = view[self];
    if (plain && write) {
        c->plain_write = now;
        c->plain_writer = (uint16_t)self;
    } else if (plain) {
        c->plain_read[self] = now;
    } else if (write) {
        c->atomic_write[self] = now;
    } else {
        c->atomic_read[self] = now;
    }
}
