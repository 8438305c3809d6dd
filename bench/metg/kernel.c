/* The work of a task. */
#include "graph.h"

enum { LANES = 16 };

double kernel(uint64_t rounds)
{
    double x[LANES], sum = 0;
    for (int k = 0; k < LANES; k++) {
        x[k] = 1 + k / 16.0;
    }
    for (uint64_t n = 0; n < rounds; n++) {
        for (int k = 0; k < LANES; k++) {
            x[k] = x[k] * 0.999 + 0.001; /* towards 1: no value overflows or vanishes */
        }
    }
    for (int k = 0; k < LANES; k++) {
        sum += x[k];
    }
    return sum;
}
