/* direct.c - the boards of a daemon that does not answer: found among its open files, mapped read-only. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/status.h"
#include "look/look.h"
#include "storectl.h"

struct direct_job {
    pid_t pid; /* of the daemon */
    struct board board;
    uint32_t number;
    char name[BOARD_JOB_NAME_MAX + 1];
    int *segments; /* fds, -1: none */
};

struct direct {
    pid_t pid;
    struct direct_job jobs[JOBS_MAX];
    struct look_job looks[JOBS_MAX];
    unsigned count;
    uint64_t node;
};

bool direct_stopped(pid_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) {
        fclose(f);
    }
    text[n] = '\0';
    const char *end = strrchr(text, ')'); /* the name may have anything in it */
    return end && (end[1] == ' ') && (end[2] == 'T' || end[2] == 't');
}

/* ---- open files of another process --------------------------------------------------------------------- */

/* Calls @found with each memfd whose name begins with @name, until it says so. */
static mob_status each_memfd(pid_t pid, const char *name,
                             bool (*found)(void *arg, const char *rest, int fd),
                             void *arg)
{
    char path[64], link[320], target[256];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir) {
        return status_fail(MOB_ERR_NO_NODE,
                           "the open files of process %d cannot be seen (%s: %m)",
                           (int)pid, path);
    }
    size_t length = strlen(name);
    bool done = false;
    for (struct dirent *e; !done && (e = readdir(dir));) {
        snprintf(link, sizeof link, "%s/%s", path, e->d_name);
        ssize_t n = readlink(link, target, sizeof target - 1);
        target[n > 0 ? n : 0] = '\0';
        if (strncmp(target, "/memfd:", 7) != 0 ||
            strncmp(target + 7, name, length) != 0) {
            continue;
        }
        int fd = open(link, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            done = found(arg, target + 7 + length, fd);
        }
    }
    closedir(dir);
    return MOB_OK;
}

/* The fd is the callback's. */
static bool found_board(void *arg, const char *rest, int fd)
{
    struct direct *d = arg;
    struct direct_job *j = &d->jobs[d->count];
    (void)rest;
    if (d->count < JOBS_MAX && board_map_ro(fd, &j->board) == MOB_OK) {
        const struct board_header *h = j->board.header;
        j->number = at_load(&h->job, AT_RELAXED);
        memcpy(j->name, h->job_name, BOARD_JOB_NAME_MAX);
        d->node = at_load(&h->node, AT_RELAXED);
        d->count++;
    }
    close(fd);
    return false;
}

struct wanted {
    uint32_t job, segment;
    int fd;
};

static bool found_segment(void *arg, const char *rest, int fd)
{
    struct wanted *w = arg;
    char *end;
    unsigned long job = strtoul(rest, &end, 10);
    unsigned long segment = *end == '-' ? strtoul(end + 1, NULL, 10) : ULONG_MAX;
    if (job == w->job && segment == w->segment) {
        w->fd = fd;
        return true;
    }
    close(fd);
    return false;
}

static mob_status find_segment(pid_t pid, uint32_t job, uint32_t segment, int *ret_fd)
{
    struct wanted w = {job, segment, -1};
    MOB_TRY(each_memfd(pid, "mobula-objects-", found_segment, &w));
    if (w.fd < 0) {
        return status_fail(MOB_ERR_NOT_FOUND, "process %d has no segment %u of job %u",
                           (int)pid, segment, job);
    }
    *ret_fd = w.fd;
    return MOB_OK;
}

/* ---- for look/ ------------------------------------------------------------------------------------------ */

static mob_status read_segment(void *arg, uint32_t segment, uint64_t offset, void *buf,
                               size_t size)
{
    struct direct_job *j = arg;
    if (segment >= BOARD_SEGMENTS_MAX) {
        return status_fail(MOB_ERR_CORRUPT, "there is no segment %u", segment);
    }
    if (j->segments[segment] < 0) {
        MOB_TRY(find_segment(j->pid, j->number, segment, &j->segments[segment]));
    }
    for (size_t at = 0; at < size;) {
        ssize_t n = pread(j->segments[segment], (char *)buf + at, size - at,
                          (off_t)(offset + at));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return status_fail(MOB_ERR_CORRUPT, "segment %u ends before its objects do",
                               segment);
        }
        at += (size_t)n;
    }
    return MOB_OK;
}

static int by_number(const void *a, const void *b)
{
    uint32_t x = ((const struct look_job *)a)->number,
             y = ((const struct look_job *)b)->number;
    return x < y ? -1 : x > y;
}

mob_status direct_open(pid_t pid, struct direct **ret)
{
    struct direct *d = calloc(1, sizeof *d);
    mob_status st =
        d ? MOB_OK : status_fail(MOB_ERR_NOMEM, "no memory to look at boards");
    if (!st) {
        d->pid = pid;
        st = each_memfd(pid, "mobula-board", found_board, d);
    }
    for (unsigned i = 0; !st && i < d->count; i++) {
        struct direct_job *j = &d->jobs[i];
        j->pid = pid;
        j->segments = malloc(BOARD_SEGMENTS_MAX * sizeof *j->segments);
        if (!j->segments) {
            st = status_fail(MOB_ERR_NOMEM, "no memory to look at boards");
            break;
        }
        memset(j->segments, 0xff, BOARD_SEGMENTS_MAX * sizeof *j->segments);
        d->looks[i] = (struct look_job){.number = j->number,
                                        .node = d->node,
                                        .name = j->name,
                                        .board = &j->board,
                                        .read = read_segment,
                                        .arg = j};
    }
    if (st) {
        direct_close(d);
        return st;
    }
    qsort(d->looks, d->count, sizeof d->looks[0], by_number);
    *ret = d;
    return MOB_OK;
}

void direct_close(struct direct *d)
{
    for (unsigned i = 0; d && i < d->count; i++) {
        for (uint32_t k = 0; d->jobs[i].segments && k < BOARD_SEGMENTS_MAX; k++) {
            if (d->jobs[i].segments[k] >= 0) {
                close(d->jobs[i].segments[k]);
            }
        }
        free(d->jobs[i].segments);
        board_unmap(&d->jobs[i].board);
    }
    free(d);
}

json_t *direct_answer(struct direct *d, const json_t *ask)
{
    struct look l = {d->looks, d->count};
    return look_answer(&l, ask);
}

uint64_t direct_node(const struct direct *d)
{
    return d->node;
}
