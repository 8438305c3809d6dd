/* A member of the archive that nothing refers to but its name in a string. */
#include "link_task.h"

static mob_status link_hidden(struct mob_task *task)
{
    const int x = 12;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(link_hidden);
