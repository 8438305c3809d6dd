/* virtual_clock.h - the clock of this process is a fake network's: timers of a loop fire
 * in its time, so that a deadline of seconds costs nothing and one seed is one history.
 * For programs linked with --wrap=clock_now_ns. */
#ifndef TESTS_VIRTUAL_CLOCK_H
#define TESTS_VIRTUAL_CLOCK_H

#include "transport/fake.h"

/* From now on; NULL: the machine's clock again. */
void virtual_clock(const struct fake_net *net);

#endif
