#include "core/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/limits.h"

static _Thread_local char last_error[FAILURE_TEXT_MAX];

const char *mob_status_name(mob_status status)
{
    switch (status) {
#define NAME(name, value, text)                                                          \
    case MOB_##name:                                                                     \
        return "MOB_" #name;
        MOB_STATUS_MAP(NAME)
#undef NAME
    }
    return "MOB_ERR_?";
}

const char *mob_status_text(mob_status status)
{
    switch (status) {
#define TEXT(name, value, text)                                                          \
    case MOB_##name:                                                                     \
        return text;
        MOB_STATUS_MAP(TEXT)
#undef TEXT
    }
    return "unknown status";
}

const char *mob_last_error(void)
{
    return last_error;
}

_Thread_local unsigned char status_said __attribute__((tls_model("initial-exec")));

void status_forget_text(void)
{
    last_error[0] = '\0';
    status_said = 0;
}

void status_say(const char *format, ...)
{
    char text[FAILURE_TEXT_MAX]; /* the arguments may contain the last error itself */
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    memcpy(last_error, text, strlen(text) + 1);
    status_said = 1;
}

mob_status status_from_errno(int err)
{
    switch (err) {
    case 0:
        return MOB_OK;
    case ENOMEM:
    case ENOSPC:
        return MOB_ERR_NOMEM;
    case EINVAL:
        return MOB_ERR_INVALID;
    case ENOENT:
        return MOB_ERR_NOT_FOUND;
    case EEXIST:
    case EADDRINUSE:
        return MOB_ERR_EXISTS;
    case ETIMEDOUT:
        return MOB_ERR_TIMEOUT;
    case ENOSYS:
    case EOPNOTSUPP:
        return MOB_ERR_UNSUPPORTED;
    case EPIPE:
    case ECONNRESET:
        return MOB_ERR_PEER_LOST;
    default:
        return MOB_ERR_SYSTEM;
    }
}

void status_assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "mobula: internal error in pid %d: %s (%s:%d)\n", (int)getpid(), cond,
            file, line);
    abort();
}

void mob_check(mob_status status, const char *call, const char *file, int line)
{
    if (status == MOB_OK) {
        return;
    }
    fprintf(stderr, "%s:%d: %s: %s: %s\n", file, line, call, mob_status_name(status),
            last_error[0] ? last_error : mob_status_text(status));
    exit(1);
}
