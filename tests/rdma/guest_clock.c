/* guest_clock.c - prints the frequency of this machine's time stamp counter in kHz.
 *
 * An emulated processor hands its guest the host's counter. The guest's kernel measures it at boot against
 * emulated timers, and on a busy host finds several times the truth: its seconds are then that much too
 * short. guest.sh measures it here, where nothing is emulated, and tells the kernel. */
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>

enum { TRIES = 1000, SPAN_NS = 50000000 };

struct instant {
    uint64_t ticks, ns;
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Both clocks at once: of many tries that which was least disturbed. */
static struct instant instant(void)
{
    struct instant best = {0, 0};
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        uint64_t before = __rdtsc(), ns = now_ns(), took = __rdtsc() - before;
        if (took < least) {
            least = took;
            best = (struct instant){before + took / 2, ns};
        }
    }
    return best;
}

int main(void)
{
    struct timespec span = {0, SPAN_NS};
    struct instant first = instant();
    nanosleep(&span, NULL); /* interrupted or long, it is measured all the same */
    struct instant last = instant();
    double khz = (double)(last.ticks - first.ticks) * 1e6 / (double)(last.ns - first.ns);
    printf("%.0f\n", khz);
    return 0;
}
#else
int main(void)
{
    fputs("guest_clock: this processor has no time stamp counter\n", stderr);
    return 1;
}
#endif
