/* cores.c - CPUs for slots: cores.h has the rules. */
#include "cores.h"

#include <stdio.h>
#include <string.h>

/* ---- sets ---------------------------------------------------------------------------------------- */

uint32_t cpus_count(const struct cpus *s)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < NODE_CPUS_MAX / 64; i++) {
        count += (uint32_t)__builtin_popcountll(s->word[i]);
    }
    return count;
}

bool cpus_equal(const struct cpus *a, const struct cpus *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

char *cpus_text(const struct cpus *s, char *buf, size_t size)
{
    size_t at = 0;
    buf[0] = '\0';
    for (uint32_t from = 0, to; from < NODE_CPUS_MAX && at < size; from = to + 1) {
        for (to = from; cpus_has(s, to); to++) {
        }
        if (to > from) {
            char last[16] = "";
            if (to - from > 1) {
                snprintf(last, sizeof last, "-%u", to - 1);
            }
            int n = snprintf(buf + at, size - at, "%s%u%s", at ? "," : "", from, last);
            at += n > 0 ? (size_t)n : 0;
        }
    }
    return buf;
}

/* ---- spans: CPUs beside each other that share something ----------------------------------------- */

enum level { LEVEL_CORE, LEVEL_CACHE, LEVEL_NUMA };

struct span {
    uint32_t from, to;
    uint32_t free; /* CPUs */
    uint32_t idle; /* of these, on cores that no slot is on */
};

static uint32_t key(const struct cpu *cpu, enum level level)
{
    return level == LEVEL_CORE    ? cpu->core
           : level == LEVEL_CACHE ? cpu->cache
                                  : cpu->numa;
}

/* Where the span ends that begins at @from. */
static uint32_t span_end(const struct cores *c, uint32_t from, enum level level)
{
    uint32_t to = from + 1;
    while (to < c->count && key(&c->cpu[to], level) == key(&c->cpu[from], level) &&
           (level == LEVEL_NUMA || c->cpu[to].numa == c->cpu[from].numa)) {
        to++;
    }
    return to;
}

static bool core_idle(const struct cores *c, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        if (c->cpu[i].used) {
            return false;
        }
    }
    return true;
}

static struct span span_at(const struct cores *c, uint32_t from, enum level level)
{
    struct span s = {.from = from, .to = span_end(c, from, level)};
    for (uint32_t core = from, end; core < s.to; core = end) {
        end = span_end(c, core, LEVEL_CORE);
        end = end < s.to ? end : s.to;
        s.idle += core_idle(c, core, end) ? end - core : 0;
        for (uint32_t i = core; i < end; i++) {
            s.free += c->cpu[i].used == 0;
        }
    }
    return s;
}

/* The span of a level with room for @want, of idle cores or of any, where the least is left over. */
static bool find_span(const struct cores *c, enum level level, bool idle, uint32_t want,
                      struct span *ret)
{
    bool found = false;
    for (uint32_t i = 0; i < c->count;) {
        struct span s = span_at(c, i, level);
        if ((idle ? s.idle : s.free) >= want && (!found || s.free < ret->free)) {
            *ret = s;
            found = true;
        }
        i = s.to;
    }
    return found;
}

/* ---- choosing ------------------------------------------------------------------------------------ */

/* Adds up to @want free CPUs of a span: of idle cores one thread each, then their others, then any. Returns how
 * many are missing. */
static uint32_t pick(const struct cores *c, const struct span *s, uint32_t want,
                     struct cpus *io)
{
    enum { ONE_EACH, IDLE, ANY, PASSES };
    for (int pass = ONE_EACH; pass < PASSES && want; pass++) {
        for (uint32_t core = s->from, end; core < s->to && want; core = end) {
            end = span_end(c, core, LEVEL_CORE);
            end = end < s->to ? end : s->to;
            bool idle = core_idle(c, core, end);
            for (uint32_t i = core; i < end && want && (idle || pass == ANY); i++) {
                if (c->cpu[i].used == 0 && !cpus_has(io, c->cpu[i].os)) {
                    cpus_add(io, c->cpu[i].os);
                    want--;
                    if (pass == ONE_EACH) {
                        break;
                    }
                }
            }
        }
    }
    return want;
}

/* No NUMA node has so many: those that have most first, so that they are few. */
static bool choose_of_several(const struct cores *c, uint32_t want, struct cpus *ret)
{
    struct span best = {0};
    uint32_t least = UINT32_MAX,
             from = 0; /* spans in order of what is free, then of place */
    while (want) {
        bool found = false;
        for (uint32_t i = 0; i < c->count;) {
            struct span s = span_at(c, i, LEVEL_NUMA);
            bool before = s.free > least || (s.free == least && s.from < from);
            if (!before && s.free && (!found || s.free > best.free)) {
                best = s;
                found = true;
            }
            i = s.to;
        }
        if (!found) {
            return false;
        }
        want = pick(c, &best, want, ret);
        least = best.free;
        from = best.to;
    }
    return true;
}

bool cores_choose(const struct cores *c, uint32_t want, struct cpus *ret)
{
    static const struct {
        enum level level;
        bool idle;
    } order[] = {{LEVEL_CACHE, true},
                 {LEVEL_NUMA, true},
                 {LEVEL_CACHE, false},
                 {LEVEL_NUMA, false}};
    struct span s;
    *ret = (struct cpus){0};
    for (uint32_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        if (find_span(c, order[i].level, order[i].idle, want, &s)) {
            return pick(c, &s, want, ret) == 0;
        }
    }
    return choose_of_several(c, want, ret);
}

/* The CPU for a part of one, beside parts: the fullest that has room, if there is one on NUMA node @numa there. */
static uint32_t choose_part(const struct cores *c, uint32_t part, uint32_t numa)
{
    uint32_t best = CORES_NONE;
    for (uint32_t i = 0; i < c->count; i++) {
        const struct cpu *cpu = &c->cpu[i];
        if (cpu->used == 0 || cpu->used + part > CPU_UNITS) {
            continue;
        }
        bool near = cpu->numa == numa;
        bool best_near = best != CORES_NONE && c->cpu[best].numa == numa;
        if (best == CORES_NONE || near > best_near ||
            (near == best_near && cpu->used > c->cpu[best].used)) {
            best = i;
        }
    }
    return best;
}

static uint32_t place_of(const struct cores *c, const struct cpus *set)
{
    for (uint32_t i = 0; i < c->count; i++) {
        if (cpus_has(set, c->cpu[i].os)) {
            return i;
        }
    }
    return CORES_NONE;
}

static bool on_one_numa(const struct cores *c, const struct cpus *set)
{
    uint32_t first = place_of(c, set);
    for (uint32_t i = first; i < c->count; i++) {
        if (cpus_has(set, c->cpu[i].os) && c->cpu[i].numa != c->cpu[first].numa) {
            return false;
        }
    }
    return true;
}

/* ---- taking and giving --------------------------------------------------------------------------- */

/* Books what a share is of: @sign 1 or -1. */
static void book(struct cores *c, const struct cores_share *s, int sign)
{
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t units = i == s->part                       ? s->units % CPU_UNITS
                         : cpus_has(&s->cpus, c->cpu[i].os) ? CPU_UNITS
                                                            : 0;
        c->cpu[i].used += sign > 0 ? units : -units;
    }
}

/* What it had before is free. */
static bool free_again(const struct cores *c, const struct cores_share *s)
{
    for (uint32_t i = 0; i < c->count; i++) {
        uint32_t room = CPU_UNITS - c->cpu[i].used;
        if (cpus_has(&s->cpus, c->cpu[i].os) &&
            room < (i == s->part ? s->units % CPU_UNITS : CPU_UNITS)) {
            return false;
        }
    }
    return true;
}

static bool choose_share(const struct cores *c, uint64_t units, struct cores_share *ret)
{
    uint32_t whole = (uint32_t)(units / CPU_UNITS), part = (uint32_t)(units % CPU_UNITS);
    *ret = (struct cores_share){.units = (uint32_t)units, .part = CORES_NONE};
    if (whole && !cores_choose(c, whole, &ret->cpus)) {
        return false;
    }
    if (part) {
        uint32_t first = place_of(c, &ret->cpus);
        uint32_t numa = first == CORES_NONE ? CORES_NONE : c->cpu[first].numa;
        struct cpus with;
        ret->part = choose_part(c, part, numa);
        bool shared = ret->part != CORES_NONE,
             near = shared && (!whole || c->cpu[ret->part].numa == numa);
        /* Or one that nobody has, as if it were one more whole one. */
        if (!near && cores_choose(c, whole + 1, &with) &&
            (!shared || on_one_numa(c, &with))) {
            ret->cpus = with;
            for (uint32_t i = 0; i < c->count; i++) {
                ret->part = cpus_has(&with, c->cpu[i].os) ? i : ret->part;
            }
        } else if (!shared) {
            return false;
        }
        cpus_add(&ret->cpus, c->cpu[ret->part].os);
    }
    return true;
}

bool cores_take(struct cores *c, uint64_t units, struct cores_share *io)
{
    struct cores_share s = *io;
    bool same = s.units == units && free_again(c, io);
    if (units == 0 || units > (uint64_t)c->count * CPU_UNITS ||
        (!same && !choose_share(c, units, &s))) {
        return false;
    }
    s.held = true;
    book(c, &s, 1);
    *io = s;
    return true;
}

void cores_give(struct cores *c, struct cores_share *s)
{
    if (s->held) {
        book(c, s, -1);
        s->held = false;
    }
}

void cores_keep(struct cores *c, const struct cpus *keep)
{
    uint32_t to = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        if (cpus_has(keep, c->cpu[i].os)) {
            c->cpu[to++] = c->cpu[i];
        }
    }
    c->count = to;
}
