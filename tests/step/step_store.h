/* step_store.h - a client made of the store's own functions: a lane, an arena, and operations. */
#ifndef TESTS_STEP_STORE_H
#define TESTS_STEP_STORE_H

#include "tracee.h"

/* Forks it, as process CLIENT_OF_STORE. It marks begin and end of each operation, in order. */
pid_t store_client_start(void);
/* Takes it out of the daemon's tables; it has ended. */
void store_client_gone(void);
int store_ops_count(void);
const char *store_op_name(int op);

#endif
