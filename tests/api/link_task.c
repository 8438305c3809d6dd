/* Tasks in a library: built as a member of an archive, and as a shared object. Compiled as strict C11. */
#include "link_task.h"

mob_status link_called(struct mob_task *task)
{
    const int x = 11;
    return mob_return_copy(task, 0, &x, sizeof x);
}
MOB_REGISTER(link_called);
