/* fuzz_main.c - a fuzzer without libFuzzer.
 *
 *   TARGET [SEED [ROUNDS]]    the seeds, then harmed copies of them
 *   TARGET --write FOLDER     the seeds as files, for libFuzzer to begin with
 *   TARGET --input FILE...    these alone: what libFuzzer has found
 *
 * Before an input that ends the program is tried, its bytes are kept; they are written to standard error
 * in hexadecimal then. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

enum { SEEDS_MAX = 512, INPUT_MAX = 1 << 16, FULL_TIMES = 50 };

static struct {
    uint8_t *data;
    size_t size;
} seeds[SEEDS_MAX];
static unsigned seeds_count;
static uint64_t state;
static uint8_t input[INPUT_MAX];
static size_t input_size;

static uint64_t draw(uint64_t below)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return below ? (state >> 24) % below : 0;
}

static void keep(const void *data, size_t size)
{
    FUZZ_CHECK(seeds_count < SEEDS_MAX && size <= INPUT_MAX);
    seeds[seeds_count].data = malloc(size + 1);
    FUZZ_CHECK(seeds[seeds_count].data != NULL);
    memcpy(seeds[seeds_count].data, data, size);
    seeds[seeds_count++].size = size;
}

/* Only what may be called in a handler. */
static void show(int sig)
{
    static const char digits[] = "0123456789abcdef";
    char text[2];
    (void)!write(STDERR_FILENO, "\nthe input: ", 12);
    for (size_t i = 0; i < input_size; i++) {
        text[0] = digits[input[i] >> 4];
        text[1] = digits[input[i] & 15];
        (void)!write(STDERR_FILENO, text, 2);
    }
    (void)!write(STDERR_FILENO, "\n", 1);
    signal(sig, SIG_DFL);
    raise(sig);
}

/* In memory of its own size, so that who reads behind its end is seen. */
static void try(void)
{
    uint8_t *copy = malloc(input_size ? input_size : 1);
    FUZZ_CHECK(copy != NULL);
    memcpy(copy, input, input_size);
    (void)LLVMFuzzerTestOneInput(copy, input_size);
    free(copy);
}

static void extreme(void)
{
    static const uint64_t values[] = {
        0,      1,          2,          0x7f,      0x80,       0xff,          0x7fff,
        0xffff, 0x7fffffff, 0xffffffff, INT64_MAX, UINT64_MAX, UINT64_MAX - 1};
    size_t width = (size_t)1 << draw(4), at = draw(input_size);
    uint64_t value = values[draw(sizeof values / sizeof *values)] + draw(2);
    width = width < input_size - at ? width : input_size - at;
    memcpy(input + at, &value, width);
}

static void splice(void)
{
    unsigned other = (unsigned)draw(seeds_count);
    size_t from = draw(seeds[other].size + 1), size = seeds[other].size - from;
    size_t at = draw(input_size + 1);
    size = size < INPUT_MAX - at ? size : INPUT_MAX - at;
    memcpy(input + at, seeds[other].data + from, size);
    input_size = at + size;
}

static void harm(void)
{
    switch (draw(6)) {
    case 0:
        input_size = draw(input_size + 1);
        return;
    case 1:
        for (size_t n = draw(32); n && input_size < INPUT_MAX; n--) {
            input[input_size++] = (uint8_t)draw(256);
        }
        return;
    case 2:
        splice();
        return;
    default:
        break;
    }
    if (input_size == 0) {
        return;
    }
    switch (draw(3)) {
    case 0:
        input[draw(input_size)] ^= (uint8_t)(1u << draw(8));
        return;
    case 1:
        input[draw(input_size)] = (uint8_t)draw(256);
        return;
    default:
        extreme();
    }
}

static void rounds(uint64_t seed, uint64_t count)
{
    for (unsigned i = 0; i < seeds_count; i++) {
        input_size = seeds[i].size;
        memcpy(input, seeds[i].data, input_size);
        try();
    }
    for (uint64_t k = 0; k < count; k++) {
        state = seed * 1000003 + k;
        (void)draw(1);
        unsigned i = (unsigned)draw(seeds_count);
        input_size = seeds[i].size;
        memcpy(input, seeds[i].data, input_size);
        for (uint64_t n = draw(5); n; n--) {
            harm();
        }
        try();
    }
}

static int write_seeds(const char *folder)
{
    char path[4096];
    for (unsigned i = 0; i < seeds_count; i++) {
        snprintf(path, sizeof path, "%s/seed-%03u", folder, i);
        FILE *f = fopen(path, "wbe");
        if (!f || fwrite(seeds[i].data, 1, seeds[i].size, f) != seeds[i].size ||
            fclose(f) != 0) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

static int try_file(const char *path)
{
    FILE *f = fopen(path, "rbe");
    if (!f) {
        perror(path);
        return 1;
    }
    input_size = fread(input, 1, sizeof input, f);
    fclose(f);
    try();
    return 0;
}

int main(int argc, char **argv)
{
    const char *full = getenv("MOB_TEST_FULL");
    uint64_t count =
        (uint64_t)fuzz_rounds * (full && strcmp(full, "1") == 0 ? FULL_TIMES : 1);
    int status = 0;
    fuzz_seeds(keep);
    signal(SIGABRT, show);
    signal(SIGSEGV, show);
    if (argc == 3 && strcmp(argv[1], "--write") == 0) {
        status = write_seeds(argv[2]);
    } else if (argc > 2 && strcmp(argv[1], "--input") == 0) {
        for (int i = 2; i < argc && !status; i++) {
            status = try_file(argv[i]);
        }
    } else {
        uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
        count = argc > 2 ? strtoull(argv[2], NULL, 0) : count;
        rounds(seed, count);
        printf("%u seeds, %llu harmed copies of them from seed %llu\n", seeds_count,
               (unsigned long long)count, (unsigned long long)seed);
    }
    for (unsigned i = 0; i < seeds_count; i++) {
        free(seeds[i].data);
    }
    return status;
}
