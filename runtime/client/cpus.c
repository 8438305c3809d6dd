/* cpus.c - the CPUs of a task, and how many threads numeric libraries have on them.
 *
 * A worker is started with OMP_NUM_THREADS and its like for the class that it serves first (local.h), and may come
 * to serve another one, when libraries have read them already. So it tells those that it finds in its process; each
 * says its number of threads by a function. What the user has set stays. */
#include <dlfcn.h>
#include <stdlib.h>

#include "client.h"
#include "local.h"

/* In the order of local_threads_vars; NULL: there is none. */
static const struct {
    const char *name;
    bool wide; /* it takes 64 bits, and the others an int */
} setters[LOCAL_THREADS_VARS] = {{"omp_set_num_threads", false},
                                 {"openblas_set_num_threads", false},
                                 {"MKL_Set_Num_Threads", false},
                                 {"bli_thread_set_num_threads", true},
                                 {NULL, false}};

void threads_begin(struct mob *mob)
{
    const char *told = getenv(LOCAL_THREADS_ENV);
    char *comma = NULL;
    mob->threads_each = told ? (uint32_t)strtoul(told, &comma, 10) : 0;
    mob->threads_set = comma && *comma ? (uint32_t)strtoul(comma + 1, NULL, 10) : 0;
    unsetenv(LOCAL_THREADS_ENV);
}

static void set_threads(uint32_t i, uint32_t count)
{
    void *found = setters[i].name ? dlsym(RTLD_DEFAULT, setters[i].name) : NULL;
    if (found && setters[i].wide) {
        ((void (*)(int64_t))found)(count);
    } else if (found) {
        ((void (*)(int))found)((int)count);
    }
}

void threads_follow(struct mob *mob, uint32_t class)
{
    const struct demand *d = &mob->board.classes[class].demand;
    uint32_t count = local_threads(d->need.amount[RESOURCE_CPU]);
    count = count < NODE_CPUS_MAX ? count : NODE_CPUS_MAX; /* the board is input */
    if (count == mob->threads_each) {
        return;
    }
    mob->threads_each = count;
    for (uint32_t i = 0; i < LOCAL_THREADS_VARS; i++) {
        if (mob->threads_set >> i & 1) {
            set_threads(i, count);
        }
    }
}

double mob_task_cpus(const struct mob_task *task)
{
    const struct klass *k = &task->mob->board.classes[call_class(&task->call)];
    return (double)k->demand.need.amount[RESOURCE_CPU] / CPU_UNITS;
}
