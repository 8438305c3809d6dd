/* reduce.c - each task fills an array; their mean is what all of them together say. */
#include <mobula.h>
#include <stdio.h>

enum { ARRAYS = 20, ITEMS = 1 << 16 };

/* Its share of a simulation: some numbers that depend on the seed. */
static mob_status simulate(struct mob_task *task)
{
    unsigned seed;
    void *place;
    MOB_TRY(mob_arg_copy(task, 0, &seed, sizeof seed));
    MOB_TRY(mob_return_place(task, 0, ITEMS * sizeof(double), &place));
    double *to = place;
    for (int i = 0; i < ITEMS; i++) {
        seed = seed * 1664525u + 1013904223u;
        to[i] = seed / 4294967296.0;
    }
    return MOB_OK;
}
MOB_REGISTER(simulate);

int main(void)
{
    struct mob *mob;
    mob_ref part[ARRAYS], sum;
    struct mob_view view;
    double mean = 0;
    MOB_CHECK(mob_init(NULL, &mob));
    for (unsigned i = 0; i < ARRAYS; i++) {
        MOB_CHECK(mob_submit(mob, simulate, MOB_ARGS(MOB_VALUE(i)), NULL, &part[i]));
    }
    MOB_CHECK(mob_reduce(mob, part, ARRAYS, MOB_SUM, MOB_F64, &sum));
    for (int i = 0; i < ARRAYS; i++) {
        mob_release(mob, part[i]); /* the reduction holds them */
    }
    MOB_CHECK(mob_get(mob, sum, MOB_FOREVER, &view));
    for (int i = 0; i < ITEMS; i++) {
        mean += ((const double *)view.data)[i] / ARRAYS / ITEMS;
    }
    printf("mean of %d x %d numbers: %.3f\n", ARRAYS, ITEMS, mean);
    mob_view_release(mob, &view);
    mob_release(mob, sum);
    mob_shutdown(mob);
}
