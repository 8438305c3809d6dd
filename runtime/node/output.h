/* output.h - what workers print, on its way to the driver's terminal; output.c. */
#ifndef NODE_OUTPUT_H
#define NODE_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/loop.h"

struct job;
struct member;

#define OUTPUT_LINE_MAX 4096 /* a longer line is cut into several */
#define OUTPUT_QUEUE_MAX                                                                 \
    (4u << 20) /* bytes waiting for a driver's terminal; more is dropped */
#define OUTPUT_LATER_NS (10000000ull) /* between tries to write to a file that is full */

struct output { /* one of a driver's two streams */
    struct job *job;
    struct loop *loop;
    struct loop_op op;
    struct loop_timer later; /* its file is in non-blocking mode, and full */
    int fd;
    char *queue;
    size_t size, sent, writing, room;
    uint64_t dropped;
    bool dead; /* nobody reads any more */
    struct job
        *guest; /* a job of another node: its owner gets the lines, as stream `stream` */
    int stream;
};

struct stream { /* one of a worker's two pipes */
    struct member *member;
    struct output *to;
    struct loop_op op;
    int fd;
    bool open;
    size_t size; /* of an unfinished line in buf */
    char buf[OUTPUT_LINE_MAX];
};

void output_init(struct output *o, struct job *j, int fd);
/* Nobody waits any more for what is not written yet. */
void output_drop(struct output *o);
void output_fini(struct output *o);
void output_add(struct output *o, const char *text, size_t size);
bool output_empty(const struct output *o);
void stream_open(struct stream *s, struct member *m, int fd, struct output *to);
void stream_close(struct stream *s);

#endif
