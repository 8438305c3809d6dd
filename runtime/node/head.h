/* head.h - what the files of a head have of each other.
 *
 *   head.c       the planner's words and members' words, its beginning and end, its members for people
 *   head_join.c  who is a member
 *
 * Part of cluster.h. */
#ifndef NODE_HEAD_H
#define NODE_HEAD_H

#include "cluster.h"
#include "journal.h"

/* What a node says of itself, as in JOIN. */
struct head_joining {
    uint32_t version;
    struct plan_join in;
    uint64_t store;
    uint16_t port;
    char host[sizeof((struct peer *)0)->host], loop[PEER_LOOP_BYTES];
    char labels[LABELS_MAX + 1];
    const uint8_t *ip;
};

/* ---- head_join.c ---- */
/* A node asks to be a member, or says again that it is one. False: that is no JOIN. */
bool head_join(struct peer *p, struct codec_reader *r);
/* Reads JOIN; of other versions only what tells who they are. False: it is none. */
bool head_read_join(struct codec_reader *r, uint64_t node, struct head_joining *ret);
/* Remembers what the node said of itself, and the bytes of that. */
void head_note_words(struct peer *p, const struct head_joining *j, const void *words,
                     size_t size);
/* As the journal keeps a member. */
struct journal_member head_row_of(const struct peer *p);
/* The member whose words were kept. */
void head_kept(void *cluster, uint64_t node);
/* It was declared dead, and does not know it. */
void head_refuse_dead(struct peer *p);

/* ---- head.c ---- */
uint64_t head_now_ns(const struct cluster *c);
/* Sets the timer for what the planner does next. */
void head_arm(struct cluster *c);
void head_to_all(struct cluster *c, const struct codec_writer *w);
void head_forget_words(struct peer *p);

#endif
