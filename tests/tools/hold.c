/* hold.c - a driver for the tests of the commands: runs four tasks, has an object of 1 MiB that a
 * view pins and a small one, says "ready", and goes on when its standard input ends. Says "lost"
 * and exits with 3 if the node ended meanwhile. */
#include <mobula.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BIG_BYTES = 1 << 20, TASKS = 4 };

static mob_status square(struct mob_task *task)
{
    double x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x *= x;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(square);

int main(void)
{
    struct mob *mob;
    mob_ref tasks[TASKS], big, small;
    struct mob_view view;
    double y;
    MOB_CHECK(mob_init(NULL, &mob));
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(
            mob_submit(mob, square, MOB_ARGS(MOB_VALUE((double)i)), NULL, &tasks[i]));
    }
    for (int i = 0; i < TASKS; i++) {
        MOB_CHECK(mob_get_copy(mob, tasks[i], &y, sizeof y, MOB_FOREVER));
    }
    void *bytes = calloc(1, BIG_BYTES);
    MOB_CHECK(mob_put(mob, bytes, BIG_BYTES, MOB_FOREVER, &big));
    MOB_CHECK(mob_put(mob, "small", 5, MOB_FOREVER, &small));
    MOB_CHECK(mob_get(mob, big, MOB_FOREVER, &view));
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF) {
    }
    mob_ref one;
    y = 3;
    mob_status st = mob_submit(mob, square, MOB_ARGS(MOB_VALUE(y)), NULL, &one);
    if (!st) {
        st = mob_get_copy(mob, one, &y, sizeof y, MOB_FOREVER);
    }
    if (st == MOB_ERR_NODE_LOST) {
        puts("lost");
    } else {
        MOB_CHECK(st);
        mob_view_release(mob, &view);
    }
    mob_shutdown(mob);
    free(bytes);
    return st ? 3 : 0;
}
