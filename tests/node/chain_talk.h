/* chain_talk.h - what tests of arrays that are folded on their way say and hear. */
#ifndef TESTS_CHAIN_TALK_H
#define TESTS_CHAIN_TALK_H

#include <criterion/criterion.h>
#include <string.h>

#include "fold.h"
#include "store/task.h"
#include "talk.h"

enum { OWNER = 1, OTHER = 2, THIRD = 3, SELF = -1, MIB = 1 << 20 };
#define SIZE ((uint64_t)8 * MIB)

static struct job *j;
static struct codec_writer out;

static inline void begin_words(enum wire_op op)
{
    codec_writer_init(&out, m.bytes, sizeof m.bytes);
    codec_put_u8(&out, (uint8_t)op);
}

static inline bool said(int peer)
{
    return world_say(&w, peer, m.bytes, codec_written(&out));
}

static inline uint64_t id_of(int peer)
{
    return peer == SELF ? w.node.cluster->self->id : w.peers[peer].id;
}

#endif
