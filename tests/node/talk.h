/* talk.h - a node and two peers that talk to it: peer 0 is its head, or nobody if it is one itself. */
#ifndef TESTS_TALK_H
#define TESTS_TALK_H

#include "messages.h"
#include "node_world.h"

static struct world w;
static struct draft m;
static struct facts f;

static inline void begin(bool head)
{
    world_make(&w, head);
    memset(&f, 0, sizeof f);
    f.dice = 1;
    f.self = w.peers[1].id;
    f.node = w.peers[2].id;
    f.head = f.session = 5;
    f.key = (struct plan_job){f.self, 1};
    f.lease = f.epoch = f.job = 1;
    f.units = CPU_UNITS;
    f.exe_size = f.start_size = 4096;
    world_up(&w, 0);
    world_up(&w, 1);
}

/* Says a well-formed message. False: the peer is disconnected for it. */
static inline bool say(int peer, enum wire_op op)
{
    message_make(&m, &f, op);
    return world_say(&w, peer, m.bytes, m.size);
}

#endif
