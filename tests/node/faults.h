/* faults.h - system calls of this program that fail when the test says so. The linker leads them here. */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

enum { FAULT_SHORT = -1, FAULT_NO_HEAP = -2 };

/* From now on the @nth call while armed fails with @error, or with FAULT_SHORT moves half of the bytes
 * that it was asked for; with FAULT_NO_HEAP calls are those for memory of the program's own. */
void faults_plan(uint64_t nth, int error);
/* Calls count only while armed. */
void faults_arm(bool armed);
/* The call that failed, or NULL: there were not so many. */
const char *faults_fired(void);

#endif
