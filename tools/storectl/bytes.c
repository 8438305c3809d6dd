/* bytes.c - an object's bytes to standard output, a file's into an object, and an object away. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/status.h"
#include "storectl.h"

#define DISK_WAIT_NS (30 * NS_PER_S)

/* ---- get ------------------------------------------------------------------------------------------------ */

static int digit(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+'             ? 62
           : c == '/'             ? 63
                                  : -1;
}

/* Decodes base64 in place. The length, or -1. */
static ssize_t decode(char *text)
{
    size_t size = strlen(text), at = 0;
    for (size_t i = 0; i + 4 <= size; i += 4) {
        int a = digit(text[i]), b = digit(text[i + 1]), c = digit(text[i + 2]),
            d = digit(text[i + 3]);
        if (a < 0 || b < 0 || (c < 0 && text[i + 2] != '=') ||
            (d < 0 && text[i + 3] != '=')) {
            return -1;
        }
        text[at++] = (char)(a << 2 | b >> 4);
        if (c >= 0) {
            text[at++] = (char)(b << 4 | c >> 2);
        }
        if (c >= 0 && d >= 0) {
            text[at++] = (char)(c << 6 | d);
        }
    }
    return size % 4 ? -1 : (ssize_t)at;
}

static mob_status write_part(json_t *answer, uint64_t *io_at)
{
    char *bytes = strdup(tool_str(answer, "data"));
    ssize_t n = bytes ? decode(bytes) : -1;
    mob_status st = MOB_OK;
    if (n < 0 || (n == 0 && *io_at < tool_u64(answer, "size"))) {
        st = status_fail(MOB_ERR_PROTOCOL, "the node's answer has no bytes");
    } else if (fwrite(bytes, 1, (size_t)n, stdout) != (size_t)n) {
        st = status_fail(MOB_ERR_SYSTEM, "writing: %m");
    } else {
        *io_at += (uint64_t)n;
    }
    free(bytes);
    return st;
}

/* It comes back from disk, as soon as memory has room for it. */
static mob_status wait_for_disk(uint64_t until_ns)
{
    struct timespec nap = {0, 10000000};
    nanosleep(&nap, NULL);
    return clock_now_ns() < until_ns
               ? MOB_OK
               : status_fail(MOB_ERR_TIMEOUT,
                             "the object is on disk, and memory has no room for it");
}

static mob_status get(struct source *src, const struct settings *s)
{
    uint64_t at = 0, size, until = clock_now_ns() + DISK_WAIT_NS;
    bool whole;
    do {
        json_t *ask, *answer;
        size_t node;
        MOB_TRY(object_request(src, s, "bytes", &node, &ask));
        json_object_set_new(ask, "offset", json_integer((json_int_t)at));
        MOB_TRY(source_ask(src, node, ask, &answer));
        bool later = json_is_true(json_object_get(answer, "later"));
        size = tool_u64(answer, "size");
        mob_status st = later ? wait_for_disk(until) : write_part(answer, &at);
        json_decref(answer);
        MOB_TRY(st);
        whole = !later && at >= size;
    } while (!whole);
    return MOB_OK;
}

int run_get(struct source *src, const struct settings *s)
{
    if (isatty(STDOUT_FILENO)) {
        return tool_usage(
            "an object's bytes are not for a terminal: storectl get ID > FILE");
    }
    mob_status st = get(src, s);
    return st ? tool_fail() : tool_flush() ? TOOL_OK : TOOL_FAILED;
}

/* ---- put ------------------------------------------------------------------------------------------------ */

/* The job that is meant: the only one, if none was said. */
static mob_status find_job(struct source *src, const struct settings *s, uint64_t *ret)
{
    json_t *stat, *jobs;
    *ret = s->job;
    if (s->job) {
        return MOB_OK;
    }
    MOB_TRY(source_ask(src, 0, json_pack("{s:s}", "what", "stat"), &stat));
    jobs = json_object_get(stat, "jobs");
    size_t count = json_array_size(jobs);
    *ret = tool_u64(json_array_get(jobs, 0), "number");
    json_decref(stat);
    return count == 1
               ? MOB_OK
               : status_fail(MOB_ERR_INVALID,
                             "the node has %zu jobs: say with --job which one gets "
                             "the object",
                             count);
}

static mob_status copy_file(int from, int to, uint64_t at, uint64_t size)
{
    static char buf[1 << 20];
    uint64_t done = 0;
    while (done < size) {
        size_t want = size - done < sizeof buf ? (size_t)(size - done) : sizeof buf;
        ssize_t n = read(from, buf, want);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return status_fail(MOB_ERR_SYSTEM,
                               n ? "reading: %m" : "the file became shorter");
        }
        for (ssize_t w = 0; w < n;) {
            ssize_t k = pwrite(to, buf + w, (size_t)(n - w), (off_t)(at + done));
            if (k <= 0) {
                return status_fail(MOB_ERR_SYSTEM, "writing into the store: %m");
            }
            w += k;
            done += (uint64_t)k;
        }
    }
    return MOB_OK;
}

/* A place from the daemon, the bytes past it, then the seal. */
static mob_status put(struct source *src, uint64_t job, int file, uint64_t size,
                      json_t **ret)
{
    json_t *place;
    int segment;
    MOB_TRY(source_ask(src, 0,
                       json_pack("{s:s,s:I,s:I}", "what", "put", "job", (json_int_t)job,
                                 "size", (json_int_t)size),
                       &place));
    uint64_t offset = tool_u64(place, "offset"), link = tool_u64(place, "link");
    mob_status st = direct_segment(src->daemon.pid, (uint32_t)job,
                                   (uint32_t)tool_u64(place, "segment"), &segment);
    json_decref(place);
    MOB_TRY(st);
    st = copy_file(file, segment, offset, size);
    close(segment);
    MOB_TRY(st);
    return source_ask(src, 0,
                      json_pack("{s:s,s:I,s:I}", "what", "seal", "job", (json_int_t)job,
                                "link", (json_int_t)link),
                      ret);
}

int run_put(struct source *src, const struct settings *s)
{
    struct stat st;
    json_t *answer = NULL;
    uint64_t job;
    int file = open(s->words[0], O_RDONLY | O_CLOEXEC);
    if (src->direct) {
        status_fail(MOB_ERR_STATE, "the daemon must answer for that");
    } else if (!json_is_true(json_object_get(json_array_get(src->nodes, 0), "here"))) {
        status_fail(MOB_ERR_INVALID, "an object is put on the node of this machine");
    } else if (file < 0 || fstat(file, &st) < 0) {
        status_fail(MOB_ERR_SYSTEM, "%s: %m", s->words[0]);
    } else if (!S_ISREG(st.st_mode)) {
        status_fail(MOB_ERR_INVALID, "%s is no file", s->words[0]);
    } else if (find_job(src, s, &job) == MOB_OK &&
               put(src, job, file, (uint64_t)st.st_size, &answer) == MOB_OK) {
        if (s->json) {
            tool_print_json(json_incref(answer));
        } else {
            puts(tool_str(answer, "id"));
        }
    }
    if (file >= 0) {
        close(file);
    }
    int code = answer ? TOOL_OK : tool_fail();
    json_decref(answer);
    return tool_flush() ? code : TOOL_FAILED;
}

/* ---- rm ------------------------------------------------------------------------------------------------- */

int run_rm(struct source *src, const struct settings *s)
{
    json_t *ask, *answer;
    size_t node;
    if (src->direct) {
        status_fail(MOB_ERR_STATE, "the daemon must answer for that");
        return tool_fail();
    }
    if (object_request(src, s, "rm", &node, &ask) ||
        source_ask(src, node, ask, &answer)) {
        return tool_fail();
    }
    uint64_t uses = tool_u64(answer, "uses");
    if (s->json) {
        return tool_print_json(answer);
    }
    if (uses) {
        printf("released; %" PRIu64 " uses of it keep it until they end\n", uses);
    }
    json_decref(answer);
    return tool_flush() ? TOOL_OK : TOOL_FAILED;
}
