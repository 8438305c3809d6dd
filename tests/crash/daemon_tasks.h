/* daemon_tasks.h - the tasks of daemon_driver, and the files by which they and the tester tell each
 * other how far they are. */
#ifndef TESTS_DAEMON_TASKS_H
#define TESTS_DAEMON_TASKS_H

#include <mobula.h>
#include <stddef.h>
#include <stdint.h>

#define WAIT_NS (60 * 1000000000ull)

extern const char *marks_folder; /* set in workers too */

/* Makes a file in the folder; false if it is there. */
int mark(const char *name);
/* Waits until there is one whose name begins so. */
void await_mark(const char *name);
/* Are these the bytes of `large`? */
int is_filled(const uint64_t *words, size_t size);

mob_status large(struct mob_task *task);
mob_status look_at_both(struct mob_task *task);
mob_status put_and_die(struct mob_task *task);
mob_status small(struct mob_task *task);
mob_status gated(struct mob_task *task);
mob_status gated_each(struct mob_task *task);
mob_status fork_off(struct mob_task *task);
mob_status chatter(struct mob_task *task);

#endif
