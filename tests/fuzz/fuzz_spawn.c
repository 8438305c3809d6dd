/* What a driver says that its workers are to be started with: input as it is. */
#include <string.h>

#include "fuzz.h"
#include "local.h"

const unsigned fuzz_rounds = 50000;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct local_spawn s;
    if (local_spawn_unpack(data, size, &s) == MOB_OK) {
        size_t all = strlen(s.cwd);
        for (char **at = s.argv; *at; at++) {
            all += strlen(*at);
        }
        for (char **at = s.envp; *at; at++) {
            all += strlen(*at);
        }
        FUZZ_CHECK(all <= size);
        local_spawn_free(&s);
    }
    return 0;
}

void fuzz_seeds(fuzz_give give)
{
    void *bytes;
    size_t size;
    clearenv();
    setenv("HOME", "/nowhere", 1);
    setenv("EMPTY", "", 1);
    FUZZ_CHECK(local_spawn_pack(&bytes, &size) == MOB_OK);
    give(bytes, size);
    free(bytes);
}
