/* The same tasks from an archive, from an archive linked whole, from a shared object, and from a program
 * in strict C11. LINK_WHOLE says whether the member that nobody refers to is in this program. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "link_task.h"

static mob_status own(struct mob_task *task)
{
    int x;
    MOB_TRY(mob_arg_copy(task, 0, &x, sizeof x));
    x++;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(own);

static void expect(struct mob *mob, mob_ref ref, int want)
{
    int got;
    MOB_CHECK(mob_get_copy(mob, ref, &got, sizeof got, MOB_FOREVER));
    if (got != want) {
        fprintf(stderr, "%d instead of %d\n", got, want);
        exit(1);
    }
    mob_release(mob, ref);
}

int main(void)
{
    struct mob *mob;
    mob_ref ref;
    int x = 4;
    MOB_CHECK(mob_init(NULL, &mob));
    MOB_CHECK(mob_submit(mob, own, MOB_ARGS(MOB_VALUE(x)), NULL, &ref));
    expect(mob, ref, 5);
    MOB_CHECK(mob_submit(mob, own, MOB_ARGS(MOB_BYTES(&x, sizeof x)), NULL, &ref));
    expect(mob, ref, 5);
    MOB_CHECK(mob_submit(mob, link_called, MOB_NO_ARGS, NULL, &ref));
    expect(mob, ref, 11);
    mob_status st = mob_submit_name(mob, "link_hidden", MOB_NO_ARGS, NULL, &ref);
#if LINK_WHOLE
    MOB_CHECK(st);
    expect(mob, ref, 12);
#else
    if (st != MOB_ERR_NO_FUNCTION || !strstr(mob_last_error(), "'link_hidden'")) {
        fprintf(stderr, "%s: %s\n", mob_status_name(st), mob_last_error());
        return 1;
    }
#endif
    mob_shutdown(mob);
    return 0;
}
