/* status.h - status codes, and the sentence that goes with the last failure of a thread.
 *
 * The function that first turns an errno, a peer's answer or a bad input into a status says so
 * with status_fail(); its callers pass the status on. */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

#include <mobula.h>

/* Keeps the sentence for mob_last_error(). "%m" works. */
void status_say(const char *format, ...) __attribute__((format(printf, 1, 2), cold));

/* mob_last_error() is "" until the next failure. */
void status_forget_text(void);
/* Something was said since. Looked at before every task, so it is cheap to reach. */
extern _Thread_local unsigned char status_said __attribute__((tls_model("initial-exec")));
static inline void status_forget(void)
{
    if (__builtin_expect(status_said, 0)) {
        status_forget_text();
    }
}

/* Keeps the sentence and is @status, which is never MOB_OK: compilers are told, so that they do
 * not follow a MOB_TRY() into a success that left the outputs unset. */
#define status_fail(status, ...)                                                         \
    ({                                                                                   \
        mob_status failed_ = (status);                                                   \
        status_say(__VA_ARGS__);                                                         \
        if (failed_ == MOB_OK) {                                                         \
            __builtin_unreachable();                                                     \
        }                                                                                \
        failed_;                                                                         \
    })

/* The status that fits an errno value: ENOMEM -> MOB_ERR_NOMEM, ... else MOB_ERR_SYSTEM. */
mob_status status_from_errno(int err);

/* An assertion that stays on in every build, for our own mistakes only: never for input. */
#define MOB_ASSERT(cond)                                                                 \
    ((cond) ? (void)0 : status_assert_failed(#cond, __FILE__, __LINE__))
void status_assert_failed(const char *cond, const char *file, int line)
    __attribute__((noreturn, cold));

#endif
