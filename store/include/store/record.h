/* record.h - a record: a promise of an object, with the task that will keep it.
 *
 * The state word is the truth; store/README.md draws its phases and says who may perform each
 * transition. The functions here are those transitions. */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <mobula.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/atomic.h"

#define RECORD_PAYLOAD 304 /* results' places, arguments, small results: in this order */
#define RECORD_INLINE_MAX 128 /* larger results live in an arena */
#define RECORD_VALUE_MAX                                                                 \
    120 /* larger argument values become objects that the task owns */
#define RECORD_INDEX_BITS 28
#define RECORD_INDEX_NONE ((1u << RECORD_INDEX_BITS) - 1)

/* ---- state word: generation:32 | holder:16 | attempt:8 | flags:4 | phase:4 ----------------- */

enum phase {
    PHASE_FREE,     /* in its block, nobody's */
    PHASE_CREATING, /* being filled by its block's owner; holder = that process */
    PHASE_WAITING,  /* a task with arguments that have not arrived */
    PHASE_QUEUED,   /* a task that may be claimed */
    PHASE_TAKEN,    /* a task that the holder runs */
    PHASE_DONE, /* sealed; a task that it submitted is not closed, or a stack names it */
    PHASE_CLOSED, /* sealed, nothing of it runs any more */
    PHASE_DEAD,   /* freed; the holder must see that no view pins it */
    PHASE_DRAINING, /* freed and unpinned; the holder, its arena's owner, must free the bytes */
    PHASE_RETIRED /* its generations are used up */
};

#define STATE_PHASE_MASK 0xfull
#define STATE_WAITERS                                                                    \
    (1ull << 4) /* somebody sleeps on the low half; stays set after the seal */
#define STATE_NOTIFY (1ull << 5) /* the seal is told in the board's feed */
#define STATE_CANCEL (1ull << 6) /* asked not to run */
#define STATE_ERROR (1ull << 7)  /* sealed with an error */
#define STATE_ATTEMPT_SHIFT 8
#define STATE_HOLDER_SHIFT 16
#define STATE_GEN_SHIFT 32
#define STATE_FLAGS (STATE_WAITERS | STATE_NOTIFY | STATE_CANCEL)

static inline enum phase state_phase(uint64_t s)
{
    return (enum phase)(s & STATE_PHASE_MASK);
}
static inline uint32_t state_attempt(uint64_t s)
{
    return (s >> STATE_ATTEMPT_SHIFT) & 0xff;
}
static inline uint32_t state_holder(uint64_t s)
{
    return (s >> STATE_HOLDER_SHIFT) & 0xffff;
}
static inline uint32_t state_gen(uint64_t s)
{
    return (uint32_t)(s >> STATE_GEN_SHIFT);
}
static inline uint64_t state_make(uint32_t gen, uint32_t holder, uint32_t attempt,
                                  enum phase phase)
{
    return (uint64_t)gen << STATE_GEN_SHIFT |
           (uint64_t)(holder & 0xffff) << STATE_HOLDER_SHIFT |
           (uint64_t)(attempt & 0xff) << STATE_ATTEMPT_SHIFT | (uint64_t)phase;
}
/* The same word in another phase and with another holder; flags, attempt, generation stay. */
static inline uint64_t state_to(uint64_t s, enum phase phase, uint32_t holder)
{
    return (s & ~(STATE_PHASE_MASK | 0xffffull << STATE_HOLDER_SHIFT)) |
           (uint64_t)(holder & 0xffff) << STATE_HOLDER_SHIFT | (uint64_t)phase;
}
/* The same word in another attempt, modulo 256: only the last few of them can be about. */
static inline uint64_t state_with_attempt(uint64_t s, uint32_t attempt)
{
    return (s & ~(0xffull << STATE_ATTEMPT_SHIFT)) | (uint64_t)(attempt & 0xff)
                                                         << STATE_ATTEMPT_SHIFT;
}
/* Nobody may use it any more under this generation. */
static inline bool state_gone(uint64_t s)
{
    return state_phase(s) == PHASE_FREE || state_phase(s) >= PHASE_DEAD;
}
static inline bool state_sealed(uint64_t s)
{
    return state_phase(s) == PHASE_DONE || state_phase(s) == PHASE_CLOSED;
}
/* Sealed, and not with an error: one comparison. */
static inline bool state_sealed_good(uint64_t s)
{
    return (uint32_t)(s & (STATE_PHASE_MASK | STATE_ERROR)) - PHASE_DONE <=
           PHASE_CLOSED - PHASE_DONE;
}
/* The same of a record that a use keeps: if it is DEAD, then for a moment only (lane_drop_last()). */
static inline bool state_sealed_used(uint64_t s)
{
    return state_sealed(s) || state_phase(s) == PHASE_DEAD;
}

/* ---- the address part of an id, as records name each other: generation:32 | index:28 | return:4 */

static inline uint64_t link_make(uint32_t gen, uint32_t index, uint32_t ret)
{
    return (uint64_t)gen << 32 | (uint64_t)index << 4 | ret;
}
static inline uint32_t link_gen(uint64_t link)
{
    return (uint32_t)(link >> 32);
}
static inline uint32_t link_index(uint64_t link)
{
    return (uint32_t)(link >> 4) & RECORD_INDEX_NONE;
}
static inline uint32_t link_ret(uint64_t link)
{
    return link & 0xf;
}
#define LINK_NONE 0ull /* generations start at 1 */
#define LINK_SUCCESSORS                                                                  \
    0xfu /* in place of a return: the tasks that have the record as argument */

/* ---- refs word: generation:32 | handles:8 | uses:24 ----------------------------------------
 * handles: one bit per result, set while the submitter holds that id. uses: tasks not closed that
 * have the record as an argument, results that are this record's bytes, and spare ones. Deaths may leave
 * uses too high, never too low: the audit after a death finds the truth by looking at all records. */

#define REFS_USE 1ull
#define REFS_USES_MASK 0xffffffull
#define REFS_HANDLE_SHIFT 24
#define REFS_FIRST_HANDLE (1ull << REFS_HANDLE_SHIFT)
#define REFS_LOW_MASK 0xffffffffull

/* ---- successor stack: the tasks that wait for this record ----------------------------------- */

#define SUCC_EMPTY 0u
/* An entry is index << 6 | slot, plus 1 so that it is never SUCC_EMPTY. The slot says where in the task's payload the
 * argument stands, in units of 8; its number, and the next entry, stand there too. Whoever finds a sealed record with a
 * stack drains it: the sealer, and a task that pushed and then saw the seal. */
#define SUCC_SLOT_BITS 6
static inline uint32_t succ_index(uint32_t entry)
{
    return (entry - 1) >> SUCC_SLOT_BITS;
}
static inline uint32_t succ_at(uint32_t entry) /* in the payload */
{
    return 8 * ((entry - 1) & ((1u << SUCC_SLOT_BITS) - 1));
}
_Static_assert(RECORD_PAYLOAD / 8 <= 1 << SUCC_SLOT_BITS, "a slot for each place");

#define CALL_LENS 3
/* ---- call: what to run, packed into one word so that it can be read at once ------------------ */

struct call {
    uint16_t fn;            /* in the board's table of names; CALL_PUT: no task */
    uint8_t class_options;  /* class:4 | options:4 */
    uint8_t counts;         /* arguments:5 | (results - 1):3 */
    uint8_t retries;        /* allowed after the first attempt; CALL_RETRIES_FOREVER */
    uint8_t len[CALL_LENS]; /* of the first arguments, as in record.arg_len */
};
#define CALL_PUT 0xffff
#define CALL_RETRIES_FOREVER 255u
#define CALL_RETRY_ON_ERROR 1u
#define CALL_HAS_REFS 2u   /* some argument is given by id */
#define CALL_HAS_PARENT 4u /* a task submitted it */
#define CALL_FOREIGN 8u /* another node owns the task: its seal is told to the daemon */

static inline uint32_t call_class(const struct call *c)
{
    return c->class_options & 0xf;
}
static inline uint32_t call_options(const struct call *c)
{
    return c->class_options >> 4;
}
/* Retries that are left after attempt number @attempt, as a call has them. */
static inline uint8_t call_retries_left(const struct call *c, uint32_t attempt)
{
    return c->retries == CALL_RETRIES_FOREVER ? CALL_RETRIES_FOREVER
           : attempt < c->retries             ? (uint8_t)(c->retries - attempt)
                                              : 0;
}
static inline uint32_t call_nargs(const struct call *c)
{
    return c->counts & 0x1f;
}
static inline uint32_t call_nrets(const struct call *c)
{
    return (c->counts >> 5) + 1u;
}
static inline uint8_t call_counts(uint32_t nargs, uint32_t nrets)
{
    return (uint8_t)(nargs | (nrets - 1) << 5);
}

/* ---- place of a result ------------------------------------------------------------------------ */

enum place_kind {
    PLACE_EMPTY,  /* 0 bytes */
    PLACE_INLINE, /* in the payload at `offset` */
    PLACE_ARENA,  /* in `segment` at `offset`, a multiple of 64 */
    PLACE_REF, /* the bytes of the record that `size` names (a link), which this one uses */
    PLACE_SPILLED, /* on disk: in the daemon's file `segment` at `offset`, a multiple of 64 */
    /* They cannot be had any more: they were on disk and could not be read back; or, with an `offset`, were on another
     * node: the daemon knows why, by result `segment` of number `offset` - 1. */
    PLACE_LOST,
    PLACE_AWAY, /* on another node, as the daemon knows by result `segment` of number `offset` */
};

struct place {
    enum place_kind kind;
    uint32_t segment; /* < 2^21 */
    uint64_t offset;
    uint64_t size;
};

struct place_words {
    /* kind:3 | segment:21 | offset / 64 : 40; inline: offset. Of a sealed result the daemon changes it when
     * it moves the bytes (move.h). */
    at_u64 where;
    at_u64 size;
};

static inline bool place_is_block(enum place_kind kind)
{
    return kind == PLACE_ARENA || kind == PLACE_SPILLED;
}
/* What the daemon keeps for it is freed with it. */
static inline bool place_is_daemons(const struct place *p)
{
    return p->kind == PLACE_SPILLED || p->kind == PLACE_AWAY ||
           (p->kind == PLACE_LOST && p->offset != 0);
}
static inline uint64_t place_pack(enum place_kind kind, uint32_t segment, uint64_t offset)
{
    uint64_t at = place_is_block(kind) ? offset / 64 : offset;
    return (uint64_t)kind << 61 | (uint64_t)segment << 40 | at;
}
static inline struct place place_unpack(uint64_t where, uint64_t size)
{
    struct place p = {(enum place_kind)(where >> 61), (uint32_t)(where >> 40) & 0x1fffff,
                      where & 0xffffffffffull, size};
    if (place_is_block(p.kind)) {
        p.offset *= 64;
    }
    return p;
}

/* ---- the record: 6 cache lines; a small task touches the first two ----------------------------- */

#define ARG_REF 0xff /* as size of an argument: given by id */

/* A task with one small argument and one small result lives in the first line alone: its transfer
 * between two cores is what a round trip costs. What only some tasks need stands at the end. */
struct record {
    at_u64 state;   /* everybody, by compare-and-swap */
    at_u64 refs;    /* everybody, by compare-and-swap */
    at_u64 call;    /* creator: struct call */
    at_u32 arrived; /* sealers of arguments: bit i set when argument i is there */
    at_u32 succ;    /* waiting tasks push; see above */
    uint8_t payload[RECORD_PAYLOAD] __attribute__((aligned(8)));
    at_u64
        parent; /* creator: link of the task that submitted this, LINK_NONE for a driver */
    at_u64 children; /* attempt:32 | open children of it:32 */
    /* For tools. creator: board_now() when it was made; of a task that another node owns, its number
     * in the daemon's table instead. */
    at_u32 made;
    at_u32 error; /* holder, before an error seal: the mob_status */
    /* These four are one word for who fills it at once. */
    at_u32 about;  /* creator: where it was made, what its bytes are; see below */
    uint16_t name; /* creator: number of the name that people see */
    uint8_t parent_attempt; /* creator: the attempt of the parent that submitted this */
    uint8_t arg_len[MOB_ARGS_MAX - CALL_LENS]; /* creator: size of a value, or ARG_REF */
    at_u32
        fill; /* creator: spare uses:16 | payload bytes in use before the task runs:16 */
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(sizeof(struct record) == 384, "six cache lines");
_Static_assert(__builtin_offsetof(struct record, payload) == 32,
               "half of the first line");
_Static_assert(sizeof(struct call) == 8, "one word");
_Static_assert(__builtin_offsetof(struct record, about) % 8 == 0 &&
                   __builtin_offsetof(struct record, name) ==
                       __builtin_offsetof(struct record, about) + 4,
               "one word with what follows");

/* ---- about: attempt:8 | meta:8 | align:4 | site:12. meta: where in the payload the newest metadata
 * stands, in units of 8, or 0; of which attempt. align: how the bytes were asked to be aligned, 64 << align.
 * site: number of the place in a program that made the record, or 0. The creator writes it, then the holder,
 * who adds metadata (store/meta.h). ------------------------------------------------------------------ */

#define ABOUT_SITE_MASK 0xfffu
#define ABOUT_LOW_MASK 0xffffu /* what the creator wrote */
#define ABOUT_ALIGN_SHIFT 12
#define ABOUT_META_SHIFT 16
#define ABOUT_ATTEMPT_SHIFT 24

/* By the creator, before the record can be seen. */
static inline void record_set_origin(struct record *r, uint32_t made, uint32_t site)
{
    at_store(&r->made, made, AT_RELAXED);
    at_store(&r->about, site, AT_RELAXED);
}
/* The same for a task without a parent, before its arguments are added. @word: record_origin_word(). */
static inline uint64_t record_origin_word(uint32_t site, uint16_t name)
{
    return (uint64_t)name << 32 | site; /* little-endian, as all of the board */
}
static inline void record_set_plain_origin(struct record *r, uint32_t made, uint64_t word)
{
    at_store(&r->made, made, AT_RELAXED);
    memcpy(&r->about, &word, sizeof word);
}
/* @align: a power of two from 64 to 2 MiB. */
static inline void record_set_align(struct record *r, size_t align)
{
    uint32_t code = (uint32_t)__builtin_ctzll(align) - 6;
    at_store(&r->about, at_load(&r->about, AT_RELAXED) | code << ABOUT_ALIGN_SHIFT,
             AT_RELAXED);
}
static inline size_t record_align(const struct record *r)
{
    return (size_t)64 << (at_load(&r->about, AT_RELAXED) >> ABOUT_ALIGN_SHIFT & 0xf);
}
static inline uint32_t record_site(const struct record *r)
{
    return at_load(&r->about, AT_RELAXED) & ABOUT_SITE_MASK;
}

/* ---- spare uses -----------------------------------------------------------------------------
 * A task's creator may count some before anybody can see the record, when a store does it, and then give its tasks these;
 * so they share a small result without a step on its counts for each. How many are left stands in `fill`, and the thread
 * that made the record writes it. Whoever drops the handle takes them off with it: a record without handle has none.
 * They are counted in the refs word, so where that has no uses there are none. */

#define REFS_SPARE 255u
#define FILL_SPARE_SHIFT 16
static inline uint32_t fill_make(uint32_t bytes, uint32_t spare)
{
    return spare << FILL_SPARE_SHIFT | bytes;
}
static inline uint32_t record_spare(const struct record *r)
{
    return at_load(&r->fill, AT_RELAXED) >> FILL_SPARE_SHIFT;
}
/* The refs word without them: what is used. About, while the record's creator submits. */
static inline uint64_t record_refs(const struct record *r)
{
    uint64_t refs = at_load(&r->refs, AT_SEQ_CST);
    uint32_t spare = record_spare(r);
    return refs & REFS_FIRST_HANDLE && (refs & REFS_USES_MASK) >= spare ? refs - spare
                                                                        : refs;
}

static inline struct call record_call(const struct record *r)
{
    struct call c;
    uint64_t word = at_load(&r->call, AT_RELAXED);
    memcpy(&c, &word, sizeof c);
    return c;
}
/* The same in one piece, for who makes one in registers. */
static inline uint64_t call_word(uint16_t fn, uint32_t counts, uint32_t retries)
{
    return (uint64_t)retries << 32 | (uint64_t)counts << 24 | fn;
}
#define CALL_OPTIONS_SHIFT 20
static inline uint64_t call_word_len(uint32_t arg, uint64_t len)
{
    return len << (40 + 8 * arg);
}
_Static_assert(__builtin_offsetof(struct call, class_options) == 2 &&
                   __builtin_offsetof(struct call, counts) == 3 &&
                   __builtin_offsetof(struct call, retries) == 4 &&
                   __builtin_offsetof(struct call, len) == 5,
               "as in call_word()");

static inline void record_set_call(struct record *r, const struct call *c)
{
    uint64_t word;
    memcpy(&word, c, sizeof word);
    at_store(&r->call, word, AT_RELAXED);
}

static inline uint32_t record_arg_len(const struct record *r, const struct call *c,
                                      uint32_t i)
{
    /* The audit looks at records that are being filled, and checks what it sees. */
    return i < CALL_LENS ? c->len[i] : r->arg_len[i - CALL_LENS];
}
/* Before the record is published. */
static inline void record_set_arg_len(struct record *r, uint32_t i, uint8_t len)
{
    if (i < CALL_LENS) {
        struct call c = record_call(r);
        c.len[i] = len;
        record_set_call(r, &c);
    } else {
        r->arg_len[i - CALL_LENS] = len;
    }
}

static inline struct place_words *record_place(struct record *r, uint32_t ret)
{
    return (struct place_words *)(void *)(r->payload + 16u * ret);
}
static inline struct place record_get_place(const struct record *r, uint32_t ret)
{
    const struct place_words *w =
        (const struct place_words *)(const void *)(r->payload + 16u * ret);
    return place_unpack(at_load(&w->where, AT_RELAXED), at_load(&w->size, AT_RELAXED));
}
/* The same of a sealed result that the caller has pinned: what is there now stays until it is unpinned.
 * Acquire: the bytes there are seen too; pairs with move_swing(). */
static inline struct place record_pinned_place(const struct record *r, uint32_t ret)
{
    const struct place_words *w =
        (const struct place_words *)(const void *)(r->payload + 16u * ret);
    return place_unpack(at_load(&w->where, AT_ACQUIRE), at_load(&w->size, AT_RELAXED));
}
static inline void record_set_place(struct record *r, uint32_t ret, enum place_kind kind,
                                    uint32_t segment, uint64_t offset, uint64_t size)
{
    struct place_words *w = record_place(r, ret);
    at_store(&w->where, place_pack(kind, segment, offset), AT_RELAXED);
    at_store(&w->size, size, AT_RELAXED);
}

/* One result at most, and its bytes inside the record: what most tasks are. */
static inline bool record_is_plain(const struct record *r)
{
    struct call call = record_call(r);
    const struct place_words *w = (const struct place_words *)(const void *)r->payload;
    return call_nrets(&call) == 1 &&
           place_unpack(at_load(&w->where, AT_RELAXED), 0).kind <= PLACE_INLINE;
}

/* `arrived` when all arguments are there. */
static inline uint32_t record_all_args(const struct call *c)
{
    return (1u << call_nargs(c)) - 1;
}

/* True if some argument has not arrived: of a task that waits, or was cancelled while it did. The
 * stack of that argument's maker names the record, which must not be used for another one. */
static inline bool record_awaits_args(const struct record *r, const struct call *c)
{
    return call_options(c) & CALL_HAS_REFS &&
           at_load(&r->arrived, AT_SEQ_CST) != record_all_args(c);
}

struct arg_ref { /* an argument by id, in the payload */
    at_u64 link;
    at_u32 next; /* below it on the producer's stack */
    at_u32 arg;  /* its number */
};

/* Where argument @i stands in the payload, or RECORD_PAYLOAD if the record makes no sense. An
 * argument by id takes sizeof(struct arg_ref). */
static inline uint32_t record_arg_offset(const struct record *r, const struct call *c,
                                         uint32_t i)
{
    uint32_t at = 16u * call_nrets(c);
    if (__builtin_expect(i <= 1 && c->len[0] <= RECORD_VALUE_MAX, 1)) {
        return i ? at + ((c->len[0] + 7u) & ~7u) : at;
    }
    i = i < MOB_ARGS_MAX ? i : MOB_ARGS_MAX;
    for (uint32_t k = 0; k < i; k++) {
        uint32_t len = record_arg_len(r, c, k);
        at += len == ARG_REF ? (uint32_t)sizeof(struct arg_ref) : (len + 7u) & ~7u;
    }
    return at <= RECORD_PAYLOAD ? at : RECORD_PAYLOAD;
}

/* A walk over the arguments by id, in order. It begins with arg_walk(). */
struct arg_walk {
    uint32_t arg;      /* of the last one found */
    uint32_t next, at; /* argument, and where it stands in the payload */
};
static inline struct arg_walk arg_walk(const struct call *c)
{
    return (struct arg_walk){0, 0, 16u * call_nrets(c)};
}
/* The next one, or NULL if there is none, or none inside the payload. */
static inline struct arg_ref *arg_walk_on(struct arg_walk *w, struct record *r,
                                          const struct call *c)
{
    uint32_t nargs = call_nargs(c) < MOB_ARGS_MAX ? call_nargs(c) : MOB_ARGS_MAX;
    while (w->next < nargs) {
        uint32_t len = record_arg_len(r, c, w->next), at = w->at;
        w->arg = w->next++;
        if (len != ARG_REF) {
            w->at += (len + 7u) & ~7u;
            continue;
        }
        w->at += (uint32_t)sizeof(struct arg_ref);
        return w->at <= RECORD_PAYLOAD ? (struct arg_ref *)(void *)(r->payload + at)
                                       : NULL;
    }
    return NULL;
}

/* Argument @i if it is given by id and stands inside the payload, else NULL. */
static inline struct arg_ref *record_arg_ref(struct record *r, const struct call *c,
                                             uint32_t i)
{
    if (i >= MOB_ARGS_MAX || record_arg_len(r, c, i) != ARG_REF) {
        return NULL;
    }
    uint32_t at = record_arg_offset(r, c, i);
    return at + sizeof(struct arg_ref) <= RECORD_PAYLOAD
               ? (struct arg_ref *)(void *)(r->payload + at)
               : NULL;
}

/* The entry of an argument on its maker's stack. @index: of its task @t. */
static inline uint32_t succ_entry(uint32_t index, const struct record *t,
                                  const struct arg_ref *ref)
{
    uint32_t at = (uint32_t)((const uint8_t *)ref - t->payload);
    return (index << SUCC_SLOT_BITS | at / 8) + 1;
}
/* Where an entry leads to in the payload of its task, or NULL. Is there an argument? */
static inline struct arg_ref *succ_look(struct record *t, uint32_t entry)
{
    uint32_t at = succ_at(entry);
    return at <= RECORD_PAYLOAD - sizeof(struct arg_ref)
               ? (struct arg_ref *)(void *)(t->payload + at)
               : NULL;
}
/* The same if there is one, else NULL: what stands there may be of an earlier life of the record. */
static inline struct arg_ref *succ_ref(struct record *t, const struct call *call,
                                       uint32_t entry)
{
    struct arg_ref *ref = succ_look(t, entry);
    uint32_t arg = ref ? at_load(&ref->arg, AT_RELAXED) : MOB_ARGS_MAX;
    return arg < call_nargs(call) && record_arg_ref(t, call, arg) == ref ? ref : NULL;
}

#endif
