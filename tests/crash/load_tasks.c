#include "load.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *load_folder;

uint64_t load_mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

size_t load_size(uint64_t random)
{
    static const size_t sizes[] = {8, 64, 200, 1000, 5000, 40000, 300000, 1500000};
    return sizes[random % (sizeof sizes / sizeof sizes[0])];
}

void load_fill(uint64_t *words, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        words[i] = load_mix64(seed + i);
    }
}

uint64_t load_hash(const void *bytes, size_t size)
{
    uint64_t h = size, word;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        memcpy(&word, (const char *)bytes + i, 8);
        h = load_mix64(h ^ word);
    }
    return h;
}

/* What load_hash() gives for the bytes that load_fill() makes. */
uint64_t load_hash_of_fill(size_t size, uint64_t seed)
{
    uint64_t h = size;
    for (size_t i = 0; i < size / 8; i++) {
        h = load_mix64(h ^ load_mix64(seed + i));
    }
    return h;
}

mob_status value(struct mob_task *task)
{
    uint64_t x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x = load_mix64(x);
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(value);

/* A hash over all arguments, which may be values, results and objects. */
mob_status fold(struct mob_task *task)
{
    uint64_t h = 0;
    for (size_t i = 0; i < mob_arg_count(task); i++) {
        const void *data;
        size_t size;
        MOB_TRY(mob_arg(task, i, &data, &size));
        h = load_mix64(h ^ load_hash(data, size));
    }
    return mob_return_copy(task, 0, &h, sizeof h);
}
MOB_REGISTER(fold);

mob_status blob(struct mob_task *task)
{
    uint64_t in[2]; /* seed, bytes */
    void *data;
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    MOB_TRY(mob_return_place(task, 0, in[1], &data));
    load_fill(data, in[1] / 8, in[0]);
    return MOB_OK;
}
MOB_REGISTER(blob);

uint64_t load_nested_value(uint64_t depth, uint64_t seed)
{
    return depth == 0 ? load_mix64(seed)
                      : load_mix64(load_nested_value(depth - 1, seed * 2 + 1) ^
                                   load_nested_value(depth - 1, seed * 2 + 2));
}

const struct mob_options load_patient = {.struct_size = sizeof(struct mob_options),
                                         .max_retries = RETRIES};

mob_status nested(struct mob_task *task)
{
    uint64_t in[2], out[2]; /* depth, seed */
    struct mob *mob = mob_task_mob(task);
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    uint64_t sum = load_mix64(in[1]);
    if (in[0]) {
        mob_ref refs[2];
        for (uint64_t i = 0; i < 2; i++) {
            uint64_t child[2] = {in[0] - 1, in[1] * 2 + 1 + i};
            MOB_TRY(mob_submit(mob, nested, MOB_ARGS(MOB_BYTES(child, sizeof child)),
                               &load_patient, &refs[i]));
        }
        for (int i = 0; i < 2; i++) {
            MOB_TRY(mob_get_copy(mob, refs[i], &out[i], sizeof out[i], WAIT_NS));
        }
        sum = load_mix64(out[0] ^ out[1]);
    }
    return mob_return_copy(task, 0, &sum, sizeof sum);
}
MOB_REGISTER(nested);

/* Hands on what a task of its own makes, and does not wait for it. */
mob_status delegate(struct mob_task *task)
{
    uint64_t in[2];
    mob_ref ref;
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    MOB_TRY(mob_submit(mob_task_mob(task), blob, MOB_ARGS(MOB_BYTES(in, sizeof in)),
                       &load_patient, &ref));
    return mob_return_ref(task, 0, ref);
}
MOB_REGISTER(delegate);

static void die(void)
{
    raise(SIGKILL);
}

/* Dies at one of several places: always, or in its first attempt only. */
mob_status mortal(struct mob_task *task)
{
    uint64_t in[3], out; /* seed, where, always */
    char path[512];
    void *data;
    mob_ref ref;
    struct mob_view view;
    struct mob *mob = mob_task_mob(task);
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    snprintf(path, sizeof path, "%s/died-%016llx", load_folder,
             (unsigned long long)in[0]);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        close(fd);
    } else if (!in[2]) {
        in[1] = 0;
    }
    if (in[1] == BEFORE_RETURN) {
        die();
    }
    uint64_t child[2] = {in[0], 40000};
    MOB_TRY(mob_submit(mob, blob, MOB_ARGS(MOB_BYTES(child, sizeof child)), &load_patient,
                       &ref));
    if (in[1] == AFTER_SUBMIT) {
        die();
    }
    MOB_TRY(mob_get(mob, ref, WAIT_NS, &view));
    if (in[1] == HOLDING_VIEW) {
        die();
    }
    out = load_hash(view.data, view.size);
    mob_view_release(mob, &view);
    MOB_TRY(mob_return_place(task, 0, sizeof out, &data));
    memcpy(data, &out, sizeof out);
    if (in[1] == IN_PUT) {
        MOB_TRY(mob_create(mob, 300000, WAIT_NS, &ref, &data));
        die();
    }
    if (in[1] == AFTER_PLACE) {
        MOB_TRY(mob_return_place(task, 1, 100000, &data));
        die();
    }
    return MOB_OK;
}
MOB_REGISTER(mortal);

/* Runs until it is cancelled, as do those that it submits; or, if it is deaf, until its worker is ended. */
mob_status endless(struct mob_task *task)
{
    uint64_t in[2]; /* how many it submits, deaf */
    MOB_TRY(mob_arg_copy(task, 0, in, sizeof in));
    for (uint64_t i = 0; i < in[0]; i++) {
        uint64_t child[2] = {0, in[1]};
        mob_ref ref;
        MOB_TRY(mob_submit(mob_task_mob(task), endless,
                           MOB_ARGS(MOB_BYTES(child, sizeof child)), &load_patient,
                           &ref));
    }
    while (in[1] || !mob_task_cancelled(task)) {
        usleep(500); /* style-allow: this is how long the task runs */
    }
    return MOB_ERR_CANCELLED;
}
MOB_REGISTER(endless);
