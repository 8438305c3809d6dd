/* log.h - one line per event, to a sink.
 *
 * The library never prints: without a sink, lines are dropped. The daemon sets one. Lines are
 * lowercase, "what happened key value key value". Levels, by how often they may come:
 *   ERROR  somebody must act        WARN  something was lost or retried
 *   INFO   a few an hour            DEBUG any number */
#ifndef CORE_LOG_H
#define CORE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

typedef void (*log_sink)(enum log_level level, const char *line, void *arg);

/* Not thread-safe: set once at start. */
void log_set_sink(log_sink sink, void *arg, enum log_level max);

/* "error", "warn", "info", "debug"; 0, or -1 if it is none of them. */
int log_level_parse(const char *text, enum log_level *ret);

/* A sink that writes "date time level line" to the FILE * that @arg is. */
void log_sink_file(enum log_level level, const char *line, void *arg);

void log_write(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
