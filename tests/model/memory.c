/* memory.c - the C11 memory model as a machine.
 *
 * Each word has a history: the values it ever had, in modification order. Each process has a
 * view: how far along each history it must be (coherence), and how much of each other process
 * happened before (a vector clock). A load may see any value that its view does not forbid; a
 * release store carries its process's view along and an acquire load takes that over. So a store
 * that sits in a store buffer, a store that overtakes another and a load that is served early are
 * all the same thing: somebody reads a value that is not the newest. */
#include <string.h>

#include "model_int.h"

enum {
    WORDS_MAX = 240,
    VALUES_MAX = 250,   /* of one word in one execution */
    HISTORY_MAX = 8192, /* of all words in one execution */
};

struct view {
    uint16_t clock[8];
    uint8_t at[WORDS_MAX]; /* index into the word's history */
};

struct value { /* one that a word had */
    uint64_t bits, hash;
    struct view carries; /* what an acquire load of it learns */
    bool locked; /* written by a read-modify-write: nothing comes between it and before */
};

struct word {
    char *address;
    unsigned size, count;
    bool plain; /* somebody may have written it plainly */
    unsigned plain_by;
    uint64_t hash;
    struct value *values[VALUES_MAX];
};

struct process {
    struct view view;
    struct view loaded;       /* by relaxed loads: a fence makes it part of view */
    struct view released;     /* by the last fence: relaxed stores carry it */
    uint64_t seen[WORDS_MAX]; /* what it read or wrote last, for mutants */
    bool looked[WORDS_MAX];
};

static uint8_t
    word_of[SHARED_BYTES / GRANULE]; /* number + 1: stays for all executions, so that
                                                * numbers do not depend on the schedule */
static struct word words[WORDS_MAX];
static unsigned words_count;
static struct value pool[HISTORY_MAX];
static unsigned pool_used;
static uint64_t words_hash;
static struct process processes[FIBERS_MAX];
static struct view
    strong; /* what sequentially consistent fences and stores have made known */

void memory_forget(bool find_races)
{
    memset(word_of, 0, sizeof word_of);
    words_count = 0;
    race_forget(find_races);
}

void memory_begin(void)
{
    shared_begin();
    race_begin();
    for (unsigned i = 0; i < words_count; i++) {
        words[i].count = 0;
        words[i].hash = 0;
        words[i].plain = false;
    }
    pool_used = 0;
    words_hash = 0;
    memset(processes, 0, sizeof processes);
    for (unsigned i = 0; i < FIBERS_MAX; i++) {
        processes[i].view.clock[i] = 1;
    }
    memset(&strong, 0, sizeof strong);
}

/* ---- Views ----------------------------------------------------------------------------- */

static void join(struct view *into, const struct view *from)
{
    for (unsigned i = 0; i < 8; i++) {
        into->clock[i] =
            into->clock[i] > from->clock[i] ? into->clock[i] : from->clock[i];
    }
    for (unsigned i = 0; i < WORDS_MAX; i++) {
        into->at[i] = into->at[i] > from->at[i] ? into->at[i] : from->at[i];
    }
}

/* Zero entries add nothing, so words that are found later change no hash. */
static uint64_t view_hash(const struct view *v)
{
    uint64_t hash = 0, part;
    const char *at = (const char *)v;
    size_t used = sizeof v->clock + words_count;
    for (size_t i = 0; i < used; i += sizeof part) {
        memcpy(&part, at + i, sizeof part);
        hash += part ? mix(i + 1, part) * (2 * i + 3) : 0;
    }
    return hash;
}

uint64_t memory_hash(void)
{
    uint64_t hash = words_hash + view_hash(&strong);
    for (unsigned i = 0; i < fibers_count; i++) {
        const struct process *p = &processes[i];
        hash = mix(hash, view_hash(&p->view));
        hash = mix(hash, view_hash(&p->loaded) + 3 * view_hash(&p->released));
    }
    return hash;
}

void memory_tick(unsigned self)
{
    processes[self].view.clock[self]++;
}

void memory_join(unsigned self, unsigned from)
{
    join(&processes[self].view, &processes[from].view);
}

void memory_fence(unsigned self)
{
    struct process *p = &processes[self];
    uint16_t clock[8];
    join(&p->view, &p->loaded);
    memcpy(clock, p->view.clock, sizeof clock);
    join(&p->view, &strong);
    memcpy(p->view.clock, clock, sizeof clock); /* fences alone order no plain accesses */
    join(&strong, &p->view);
    memset(strong.clock, 0, sizeof strong.clock);
    p->released = p->view;
}

void memory_catch_up(unsigned self)
{
    for (unsigned i = 0; i < words_count; i++) {
        if (words[i].count) {
            processes[self].view.at[i] = (uint8_t)(words[i].count - 1);
        }
    }
}

/* ---- Words ----------------------------------------------------------------------------- */

/* By hand, as memcpy() is hooked. */
static uint64_t raw_load(const void *at, unsigned size)
{
    return size == 4 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static void raw_store(void *at, unsigned size, uint64_t bits)
{
    if (size == 4) {
        *(uint32_t *)at = (uint32_t)bits;
    } else {
        *(uint64_t *)at = bits;
    }
}

static void word_hash(unsigned id)
{
    struct word *w = &words[id];
    words_hash -= w->hash;
    w->hash = id + 1;
    for (unsigned i = 0; i < w->count; i++) {
        w->hash = mix(w->hash, w->values[i]->hash);
    }
    words_hash += w->hash;
}

static void value_hash(struct value *v)
{
    v->hash = mix(mix(v->bits, v->locked), view_hash(&v->carries));
}

static void shift(struct view *v, unsigned id, unsigned index)
{
    v->at[id] = (uint8_t)(v->at[id] + (v->at[id] >= index));
}

/* Puts a value at @index of the history. */
static struct value *insert(unsigned id, unsigned index, uint64_t bits)
{
    struct word *w = &words[id];
    MODEL_CHECK(w->count < VALUES_MAX && pool_used < HISTORY_MAX, "too many stores");
    if (index < w->count) { /* not at the end: what is behind moves up, in all views */
        for (unsigned i = 0; i < pool_used; i++) {
            shift(&pool[i].carries, id, index);
        }
        for (unsigned i = 0; i < FIBERS_MAX; i++) {
            shift(&processes[i].view, id, index);
            shift(&processes[i].loaded, id, index);
            shift(&processes[i].released, id, index);
        }
        shift(&strong, id, index);
        memmove(&w->values[index + 1], &w->values[index],
                (w->count - index) * sizeof w->values[0]);
    }
    struct value *v = &pool[pool_used++];
    v->bits = bits;
    v->locked = false;
    memset(&v->carries, 0, sizeof v->carries);
    v->hash = bits;
    w->values[index] = v;
    w->count++;
    return v;
}

/* The word that @op is on, with a history that is up to date with plain writes. */
static unsigned word_find(const struct model_op *op)
{
    size_t at = (size_t)((char *)op->word - shared_memory);
    MODEL_CHECK(at + op->size <= shared_used, "%s in %s() is not in shared memory",
                op->expr, op->function);
    uint8_t *number = &word_of[at / GRANULE];
    if (!*number) {
        MODEL_CHECK(words_count < WORDS_MAX, "more than %d words", WORDS_MAX);
        words[words_count] = (struct word){.address = op->word, .size = op->size};
        *number = (uint8_t)++words_count;
        word_of[(at + op->size - 1) / GRANULE] = *number;
    }
    unsigned id = *number - 1u;
    struct word *w = &words[id];
    MODEL_CHECK(w->address == (char *)op->word && w->size == op->size,
                "%s in %s(): accesses of different sizes", op->expr, op->function);
    uint64_t now = raw_load(w->address, w->size);
    if (!w->count) {
        insert(id, 0, now); /* no hash: having been looked at is no difference */
    } else if (w->plain && w->values[w->count - 1]->bits != now) {
        insert(id, w->count, now);
        processes[w->plain_by].view.at[id] = (uint8_t)(w->count - 1);
        word_hash(id);
    }
    w->plain = false;
    return id;
}

static uint64_t outcome(const struct model_op *op, uint64_t was)
{
    switch (op->kind) {
    case OP_ADD:
        return was + op->value;
    case OP_SUB:
        return was - op->value;
    case OP_OR:
        return was | op->value;
    case OP_AND:
        return was & op->value;
    default:
        return op->value;
    }
}

static bool stores_after(const struct model_op *op, uint64_t was)
{
    return op->kind != OP_LOAD &&
           (op->kind != OP_CAS || was == op->expected || (op->order & ORDER_FORCED));
}

/* Where in the history of word @id can @op be? The @variant'th place from the newest on; the
 * count of places if there are not so many. */
static unsigned place(unsigned self, const struct model_op *op, unsigned id,
                      unsigned variant, bool *ret_there)
{
    const struct word *w = &words[id];
    unsigned low = processes[self].view.at[id], count = 0;
    if ((op->order & AT_SEQ_CST) == AT_SEQ_CST && strong.at[id] > low) {
        low = strong.at[id];
    }
    for (unsigned i = w->count; i-- > low;) {
        bool closed = i + 1 < w->count && w->values[i + 1]->locked;
        if (closed && stores_after(op, w->values[i]->bits)) {
            continue;
        }
        if (count++ == variant) {
            *ret_there = true;
            return i;
        }
    }
    *ret_there = false;
    return count;
}

unsigned memory_variants(unsigned self, const struct model_op *op, bool stale)
{
    if (op->kind < OP_LOAD || op->kind > OP_CAS || !stale) {
        return 1;
    }
    bool there;
    return place(self, op, word_find(op), ~0u, &there);
}

/* ---- Accesses -------------------------------------------------------------------------- */

static void learn(unsigned self, unsigned id, unsigned index, int order)
{
    struct process *p = &processes[self];
    const struct value *v = words[id].values[index];
    if (p->view.at[id] < index) {
        p->view.at[id] = (uint8_t)index;
    }
    join(order & AT_ACQUIRE ? &p->view : &p->loaded, &v->carries);
}

/* Writes @bits behind @index; @locked as part of a read-modify-write. */
static void write_at(unsigned self, unsigned id, unsigned index, uint64_t bits, int order,
                     bool locked)
{
    struct word *w = &words[id];
    struct process *p = &processes[self];
    struct value *v = insert(id, index + 1, bits);
    p->view.at[id] = (uint8_t)(index + 1);
    v->carries = order & AT_RELEASE ? p->view : p->released;
    v->carries.at[id] = (uint8_t)(index + 1);
    v->locked = locked;
    if (locked) { /* a release sequence goes on through it */
        join(&v->carries, &w->values[index]->carries);
    }
    if (order == AT_SEQ_CST && strong.at[id] < index + 1) {
        strong.at[id] = (uint8_t)(index + 1);
    }
    value_hash(v);
    if (index + 2 == w->count) {
        raw_store(w->address, w->size, bits);
        word_hash(id);
        return;
    }
    for (unsigned i = 0; i < pool_used; i++) { /* the indices in all views have changed */
        value_hash(&pool[i]);
    }
    for (unsigned i = 0; i < words_count; i++) {
        word_hash(i);
    }
}

uint64_t memory_access(unsigned self, struct model_op *op, unsigned variant)
{
    unsigned id = word_find(op);
    bool there;
    unsigned index = place(self, op, id, variant, &there);
    MODEL_CHECK(there, "no such variant");
    uint64_t was = words[id].values[index]->bits;
    bool writes = stores_after(op, was);
    MODEL_CHECK(!writes || !memory_quiet(op), "%s in %s() was said to be quiet", op->expr,
                op->function);
    bool reads = op->kind != OP_STORE;
    int order = op->order & AT_SEQ_CST;
    race_check(self, processes[self].view.clock,
               (size_t)((char *)op->word - shared_memory) / GRANULE, false, writes,
               op->expr);
    if (op->kind == OP_CAS) {
        op->done = writes;
        op->expected = op->order & ORDER_FORCED ? op->expected : was;
        order |= writes ? 0 : AT_ACQUIRE;
    }
    if (reads) {
        learn(self, id, index, order);
        processes[self].seen[id] = was;
        processes[self].looked[id] = true;
    }
    if (writes) {
        uint64_t bits = outcome(op, was);
        bits = op->size == 4 ? (uint32_t)bits : bits;
        write_at(self, id, index, bits, order, reads);
        processes[self].seen[id] = bits;
    }
    return reads ? was : op->value;
}

uint64_t memory_direct(struct model_op *op)
{
    if (op->kind < OP_LOAD || op->kind > OP_CAS) {
        return 0;
    }
    uint64_t was = raw_load(op->word, op->size), bits = outcome(op, was);
    op->done = stores_after(op, was);
    op->expected = was;
    if (op->done) {
        raw_store(op->word, op->size, bits);
    }
    return was;
}

uint32_t memory_newest(unsigned self, const at_u32 *word)
{
    memory_fence(self);
    size_t granule = (size_t)((const char *)word - shared_memory) / GRANULE;
    MODEL_CHECK(granule < shared_used / GRANULE, "waiting on a word that is not shared");
    if (word_of[granule] && words[word_of[granule] - 1].count) {
        unsigned id = word_of[granule] - 1u;
        processes[self].view.at[id] = (uint8_t)(words[id].count - 1);
    }
    return word->v;
}

bool memory_recall(unsigned self, struct model_op *op)
{
    unsigned id = word_find(op);
    op->value = processes[self].seen[id];
    return processes[self].looked[id];
}

void memory_plain(const void *at, size_t size, bool write)
{
    size_t offset = (size_t)((const char *)at - shared_memory);
    if (offset >= shared_used || !model_running() || !size) {
        return;
    }
    unsigned self = model_self();
    for (size_t g = offset / GRANULE; g <= (offset + size - 1) / GRANULE; g++) {
        race_check(self, processes[self].view.clock, g, true, write, "not an atomic");
        if (write && word_of[g]) {
            words[word_of[g] - 1].plain = true;
            words[word_of[g] - 1].plain_by = self;
        }
    }
    if (write) {
        model_wrote();
    }
}
