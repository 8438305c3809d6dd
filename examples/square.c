/* Squares of four numbers, each computed by a task: on the cluster that runs here, or else on a node
 * of its own. */
#include <mobula.h>
#include <stdio.h>

/* Runs in a worker, maybe on another node. */
static mob_status square(struct mob_task *task)
{
    double x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x)); /* another size is an error */
    x *= x;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(square);

int main(void)
{
    struct mob *mob;
    mob_ref ref[4];
    MOB_CHECK(mob_init(NULL, &mob));
    for (int i = 0; i < 4; i++) {
        MOB_CHECK(mob_submit(mob, square, MOB_ARGS(MOB_VALUE((double)i)), NULL, &ref[i]));
    }
    for (int i = 0; i < 4; i++) {
        double y;
        MOB_CHECK(mob_get_copy(mob, ref[i], &y, sizeof y, MOB_FOREVER));
        printf("%s%g%s", i ? ", " : "[", y, i == 3 ? "]\n" : "");
        mob_release(mob, ref[i]);
    }
    mob_shutdown(mob);
    return 0;
}
