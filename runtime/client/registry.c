/* registry.c - functions and their names, and the board's numbers for the names.
 *
 * The table is the process's: every handle shares it. The numbers are cached beside it, for one
 * handle at a time, which is what nearly every program has. */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "core/status.h"

enum { FUNCTIONS_MAX = 4096, SLOTS = FUNCTIONS_MAX * 2 };

struct function {
    char name[MOB_NAME_MAX + 1];
    mob_fn fn;
    uint64_t id; /* handle's serial << 16 | number, as last looked up; atomic */
};

static struct function functions[FUNCTIONS_MAX];
static unsigned functions_count;
static uint16_t by_fn[SLOTS]; /* open addressing: place in `functions` + 1 */
static mob_status early_error;
static char early_text[256];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static unsigned slot_of(mob_fn fn)
{
    return (unsigned)(((uintptr_t)fn >> 4) * 2654435761u) % SLOTS;
}

static struct function *find_fn(mob_fn fn)
{
    for (unsigned i = slot_of(fn);; i = (i + 1) % SLOTS) {
        uint16_t at = __atomic_load_n(&by_fn[i], __ATOMIC_ACQUIRE);
        if (at == 0) {
            return NULL;
        }
        if (functions[at - 1].fn == fn) {
            return &functions[at - 1];
        }
    }
}

static struct function *find_name(const char *name)
{
    for (unsigned i = 0; i < functions_count; i++) {
        if (strcmp(functions[i].name, name) == 0) {
            return &functions[i];
        }
    }
    return NULL;
}

static mob_status add(const char *name, mob_fn fn)
{
    size_t len = name ? strlen(name) : 0;
    if (!fn || len == 0 || len > MOB_NAME_MAX) {
        return status_fail(
            MOB_ERR_INVALID,
            "a function's name has 1 to %d bytes and stands for a function: '%s'",
            MOB_NAME_MAX, name ? name : "");
    }
    struct function *f = find_name(name);
    if (f) {
        return f->fn == fn
                   ? MOB_OK
                   : status_fail(MOB_ERR_EXISTS,
                                 "two functions are registered under the name '%s'; use "
                                 "MOB_REGISTER_AS to give one another name",
                                 name);
    }
    if (functions_count == FUNCTIONS_MAX) {
        return status_fail(MOB_ERR_FULL, "more than %d functions are registered",
                           FUNCTIONS_MAX);
    }
    f = &functions[functions_count];
    memcpy(f->name, name, len + 1);
    f->fn = fn;
    functions_count++;
    unsigned i = slot_of(fn);
    while (by_fn[i] != 0) {
        if (functions[by_fn[i] - 1].fn == fn) {
            return MOB_OK; /* a second name for one function: submit by function uses the first */
        }
        i = (i + 1) % SLOTS;
    }
    /* Release: pairs with find_fn(), which takes no lock. */
    __atomic_store_n(&by_fn[i], (uint16_t)functions_count, __ATOMIC_RELEASE);
    return MOB_OK;
}

mob_status mob_register(const char *name, mob_fn fn)
{
    pthread_mutex_lock(&lock);
    mob_status st = add(name, fn);
    pthread_mutex_unlock(&lock);
    return st;
}

void mob_register_early(const char *name, mob_fn fn)
{
    mob_status st = mob_register(name, fn);
    if (st && !early_error) {
        early_error = st;
        strncpy(early_text, mob_last_error(), sizeof early_text - 1);
    }
}

mob_status registry_error(void)
{
    return early_error ? status_fail(early_error, "%s", early_text) : MOB_OK;
}

const char *registry_name(mob_fn fn)
{
    struct function *f = find_fn(fn);
    return f ? f->name : NULL;
}

mob_fn registry_fn(const char *name)
{
    pthread_mutex_lock(&lock);
    struct function *f = find_name(name);
    pthread_mutex_unlock(&lock);
    return f ? f->fn : NULL;
}

mob_status registry_fn_id(struct mob *mob, mob_fn fn, uint16_t *ret)
{
    struct function *f = find_fn(fn);
    if (!f) {
        return status_fail(
            MOB_ERR_NO_FUNCTION,
            "the function at %p is not registered; write MOB_REGISTER(its_name) "
            "after it",
            (void *)(uintptr_t)fn);
    }
    uint64_t id = __atomic_load_n(&f->id, __ATOMIC_RELAXED);
    if (id >> 16 != mob->serial) {
        uint16_t number;
        MOB_TRY(board_name(&mob->board, mob->self, f->name, &number));
        id = mob->serial << 16 | number;
        __atomic_store_n(&f->id, id, __ATOMIC_RELAXED);
    }
    *ret = (uint16_t)id;
    return MOB_OK;
}

mob_fn registry_look_up(struct mob *mob, uint16_t id)
{
    if (id >= BOARD_NAMES_MAX) {
        return NULL;
    }
    char name[MOB_NAME_MAX + 1];
    board_name_text(&mob->board, id, name);
    mob_fn fn = registry_fn(name);
    if (!mob->wait_gdb && !at_load(&mob->recorded, AT_RELAXED)) {
        __atomic_store_n(&mob->fns[id], fn, __ATOMIC_RELAXED);
    }
    return fn;
}

void registry_forget(struct mob *mob)
{
    for (uint32_t i = 0; i < BOARD_NAMES_MAX; i++) {
        __atomic_store_n(&mob->fns[i], (mob_fn)NULL, __ATOMIC_RELAXED);
    }
}
