/* options.c - from what the caller says of a task to its call, its class and its requests. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "core/clock.h"
#include "core/labels.h"
#include "core/status.h"
#include "local.h"
#include "store/klass.h"
#include "store/request.h"
#include "submit.h"

#define RETRIES_MAX 250

/* ---- classes ------------------------------------------------------------------------------------------ */

/* The daemon's answer. @ret_word 0: there is no place for it yet. */
static mob_status ask_class(struct mob *mob, const struct demand *demand, uint32_t *ret,
                            uint32_t *ret_word)
{
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    local_msg_init(m, LOCAL_CLASS);
    memcpy(m->text, demand, sizeof *demand);
    m->text_size = sizeof *demand;
    mob_status st = client_ask(mob, m, NULL, 0, NULL, NULL);
    if (!st && m->arg[0] >= CLASSES_MAX) {
        st = status_fail(MOB_ERR_PROTOCOL, "the node's daemon sent a malformed class");
    }
    *ret = (uint32_t)m->arg[0];
    *ret_word = (uint32_t)m->arg[1];
    free(m);
    return st;
}

/* The class of a demand: on the board, once any process of the job has asked the daemon for it. Waits while all places
 * are taken by classes that are being closed, as their groups were removed: that is no longer than their tasks take to
 * end. */
static mob_status find_class(struct mob *mob, struct thread *t,
                             const struct demand *demand, uint32_t *ret,
                             uint32_t *ret_word)
{
    const at_u32 *news = &mob->board.header->groups;
    for (uint32_t i = 0; i < CLASSES_MAX; i++) {
        struct demand known;
        if (klass_read(&mob->board, i, &known, ret_word) && demand_ok(&known) &&
            demand_equal(&known, demand)) {
            *ret = i;
            return MOB_OK;
        }
    }
    for (;;) {
        /* Noted before the question; the daemon frees a place, then counts. */
        uint32_t seen = at_load(news, AT_SEQ_CST);
        uint32_t asked = at_load(&mob->proc->wake, AT_SEQ_CST);
        MOB_TRY(client_health(mob));
        MOB_TRY(ask_class(mob, demand, ret, ret_word));
        if (*ret_word) {
            return MOB_OK;
        }
        (void)park_in_task(mob, t, news, seen, asked, CLOCK_NEVER);
    }
}

/* What options say of a task's class, as it was said: who says the same again means the same class. */
static void remember(struct asked *a, const struct mob_options *o, uint32_t class,
                     uint32_t word)
{
    bool fits = (!o->resources || strlen(o->resources) < sizeof a->resources) &&
                (!o->labels || strlen(o->labels) < sizeof a->labels);
    if (!fits) {
        return;
    }
    a->known = true;
    a->class = class;
    a->word = word;
    a->num_cpus = o->num_cpus;
    a->num_gpus = o->num_gpus;
    a->memory_bytes = o->memory_bytes;
    a->node = o->node;
    a->group = o->group;
    a->bundle = o->bundle;
    a->strategy = o->strategy;
    a->priority = o->priority;
    snprintf(a->resources, sizeof a->resources, "%s", o->resources ? o->resources : "");
    snprintf(a->labels, sizeof a->labels, "%s", o->labels ? o->labels : "");
}

static bool same_text(const char *known, const char *text)
{
    return text ? strcmp(known, text) == 0 : *known == '\0';
}

static bool asked_before(const struct asked *a, const struct mob_options *o)
{
    return a->known && a->num_cpus == o->num_cpus && a->num_gpus == o->num_gpus &&
           a->memory_bytes == o->memory_bytes && a->node == o->node &&
           a->group == o->group && a->bundle == o->bundle && a->strategy == o->strategy &&
           a->priority == o->priority && same_text(a->resources, o->resources) &&
           same_text(a->labels, o->labels);
}

mob_status options_need(const struct mob_options *o, struct resources *ret)
{
    struct resources r = resources_cpus(CPU_UNITS);
    if (o->num_cpus == MOB_NO_CPU) {
        r.amount[RESOURCE_CPU] = 0;
    } else if (o->num_cpus != 0) {
        MOB_TRY(resources_units("num_cpus", o->num_cpus, &r.amount[RESOURCE_CPU]));
    }
    if (o->num_gpus != 0) {
        MOB_TRY(resources_units("num_gpus", o->num_gpus, &r.amount[RESOURCE_GPU]));
    }
    r.amount[RESOURCE_MEMORY] = o->memory_bytes;
    if (o->resources) {
        MOB_TRY(resources_parse(&r, o->resources));
    }
    *ret = r;
    return MOB_OK;
}

static mob_status group_of(const struct mob_options *o, struct demand *d)
{
    /* Without a group it means nothing: who fills a struct by hand leaves 0 there. */
    bool any = o->bundle == MOB_BUNDLE_ANY || !o->group;
    bool good = any || (o->bundle >= 0 && o->bundle < MOB_GROUP_BUNDLES_MAX);
    if (!good || (o->group && o->strategy != MOB_STRATEGY_DEFAULT)) {
        return status_fail(
            MOB_ERR_INVALID,
            "bundle %d of group %llx with strategy %d: a group has bundles "
            "0 to 63, and allows no strategy",
            o->bundle, (unsigned long long)o->group, o->strategy);
    }
    d->group = o->group;
    d->bundle = (uint16_t)(any ? 0 : o->bundle + 1);
    return MOB_OK;
}

static mob_status demand_of(const struct mob_options *o, struct demand *ret)
{
    struct demand d = {.priority = (int8_t)o->priority,
                       .strategy = (uint8_t)o->strategy,
                       .node = o->node};
    MOB_TRY(options_need(o, &d.need));
    MOB_TRY(group_of(o, &d));
    if (o->labels) {
        MOB_TRY(selector_check(o->labels));
        snprintf(d.selector, sizeof d.selector, "%s", o->labels);
    }
    if (o->strategy < 0 || o->strategy >= DEMAND_STRATEGIES || !demand_ok(&d)) {
        return status_fail(
            MOB_ERR_INVALID,
            "a task cannot ask for %g CPUs (at most %d), %g GPUs (at most %d; whole "
            "ones, or "
            "less than one), %llu bytes, strategy %d with node %llx (which those for "
            "a node need, and others may not have)",
            o->num_cpus, NODE_CPUS_MAX, o->num_gpus, NODE_GPUS_MAX,
            (unsigned long long)o->memory_bytes, o->strategy,
            (unsigned long long)o->node);
    }
    *ret = d;
    return MOB_OK;
}

/* @ret_word: of a class that may be closed, as its group may be removed; else 0. */
static mob_status class_of(struct mob *mob, struct thread *t, const struct mob_options *o,
                           bool together, uint32_t *ret, uint32_t *ret_word)
{
    uint32_t word;
    for (uint32_t i = 0; i < ASKED_MAX && !together; i++) {
        struct asked *a = &t->asked_for[i];
        if (asked_before(a, o)) {
            *ret = a->class;
            *ret_word = o->group ? a->word : 0;
            return MOB_OK;
        }
    }
    struct demand demand;
    MOB_TRY(demand_of(o, &demand));
    demand.together = together;
    MOB_TRY(find_class(mob, t, &demand, ret, &word));
    *ret_word = o->group ? word : 0;
    if (together) {
        return MOB_OK;
    }
    remember(&t->asked_for[t->asked_next++ % ASKED_MAX], o, *ret, word);
    return MOB_OK;
}

/* ---- options -------------------------------------------------------------------------------------------- */

static mob_status read_options(const struct mob_options *given, struct mob_options *ret)
{
    if (given->struct_size < sizeof(size_t) || given->struct_size > sizeof *ret) {
        return status_fail(MOB_ERR_INVALID,
                           "options of %zu bytes: set them up with "
                           "MOB_OPTIONS_INIT",
                           given->struct_size);
    }
    memcpy(ret, given, given->struct_size);
    if (ret->priority < -MOB_PRIORITY_MAX || ret->priority > MOB_PRIORITY_MAX) {
        return status_fail(MOB_ERR_INVALID, "a priority of %d; -%d to %d are allowed",
                           ret->priority, MOB_PRIORITY_MAX, MOB_PRIORITY_MAX);
    }
    if (ret->deadline_ns > REQUEST_AHEAD_MAX_NS) {
        return status_fail(MOB_ERR_INVALID,
                           "a deadline in %g s; at most 30 days are allowed",
                           (double)ret->deadline_ns / 1e9);
    }
    return MOB_OK;
}

mob_status submit_plan(struct mob *mob, struct thread *t, const struct mob_options *given,
                       uint32_t nargs, struct plan *ret)
{
    struct mob_options o = MOB_OPTIONS_INIT;
    struct call *call = &ret->call;
    MOB_TRY(read_options(given, &o));
    uint32_t returns = o.returns ? o.returns : 1;
    if (returns > MOB_RETURNS_MAX || nargs > MOB_ARGS_MAX ||
        o.max_retries > RETRIES_MAX || o.max_retries < MOB_RETRIES_FOREVER) {
        return status_fail(
            MOB_ERR_INVALID,
            "%u arguments, %u results, %d retries; at most %d, %d and %d are allowed",
            nargs, returns, o.max_retries, MOB_ARGS_MAX, MOB_RETURNS_MAX, RETRIES_MAX);
    }
    uint32_t class = 0;
    MOB_TRY(class_of(mob, t, &o, ret->kept, &class, &ret->entered));
    call->class_options =
        (uint8_t)(class | (o.retry_on_error ? CALL_RETRY_ON_ERROR << 4 : 0));
    call->counts = call_counts(nargs, returns);
    call->retries = (uint8_t)o.max_retries;
    if (o.max_retries < 0) {
        call->retries =
            o.max_retries == MOB_RETRIES_FOREVER ? CALL_RETRIES_FOREVER : RETRIES_DEFAULT;
    }
    ret->no_wait = o.no_wait;
    if (o.deadline_ns) {
        uint32_t tick = request_tick_at(&mob->board, clock_deadline_ns(o.deadline_ns));
        ret->request = request_make(REQUEST_START, tick);
    }
    return o.name ? board_name(&mob->board, mob->self, o.name, &ret->name) : MOB_OK;
}
