/* consumer.c - a user's program, as C11, C17 and C++11: it runs one task and looks at its result.
 * Exit status 0 if that is right. */
#include <mobula.h>
#include <stdio.h>

static mob_status half(struct mob_task *task)
{
    double x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x /= 2;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(half);

int main(void)
{
    struct mob *mob;
    mob_ref ref;
    double in = 85;
    double out;
    MOB_CHECK(mob_init(NULL, &mob));
    MOB_CHECK(mob_submit(mob, half, MOB_ARGS(MOB_BYTES(&in, sizeof in)), NULL, &ref));
    MOB_CHECK(mob_get_copy(mob, ref, &out, sizeof out, MOB_FOREVER));
    mob_release(mob, ref);
    mob_shutdown(mob);
    printf("half of %g is %g\n", in, out);
    return out == 42.5 ? 0 : 1;
}
