#include "core/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { LINE_BYTES = 2048 };

static struct {
    log_sink sink;
    void *arg;
    enum log_level max;
} state;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_sink(log_sink sink, void *arg, enum log_level max)
{
    state.sink = sink;
    state.arg = arg;
    state.max = max;
}

int log_level_parse(const char *text, enum log_level *ret)
{
    for (int i = 0; i <= LOG_LEVEL_DEBUG; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *ret = (enum log_level)i;
            return 0;
        }
    }
    return -1;
}

void log_sink_file(enum log_level level, const char *line, void *arg)
{
    struct timespec ts;
    struct tm tm;
    char when[32];
    clock_gettime(CLOCK_REALTIME, &ts);
    localtime_r(&ts.tv_sec, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    fprintf(arg, "%s.%03ld %-5s %s\n", when, ts.tv_nsec / 1000000, level_names[level],
            line);
    fflush(arg);
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!state.sink || level > state.max) {
        return;
    }
    char line[LINE_BYTES];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    state.sink(level, line, state.arg);
}
