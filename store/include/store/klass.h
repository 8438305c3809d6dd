/* klass.h - classes that come and go on a board; klass.c has their states. Calls are cheap but for klass_left().
 *
 * Threads: open, close and left are the daemon's; enter and leave the lane's. */
#ifndef STORE_KLASS_H
#define STORE_KLASS_H

#include "store/board.h"
#include "store/lane.h"

/* ---- the daemon ---- */
/* @word: never used before on this board, and not 0. The place has no other class. */
void klass_open(struct board *b, uint32_t class, const struct demand *demand,
                uint32_t word);
/* Nobody enters it any more; its tasks go on. */
void klass_close(struct board *b, uint32_t class);
/* After klass_close(): no task of it is open and nobody makes one, nor ever will. Looks at all records. */
bool klass_left(const struct board *b, uint32_t class, uint32_t word);

/* ---- others ---- */
/* What the class asks for, and its word; input, as all that is on a board. False: it is not open now. */
bool klass_read(const struct board *b, uint32_t class, struct demand *ret,
                uint32_t *ret_word);
/* Around the making of a task of a class that may be closed. False: it was; nothing is to be left. */
bool klass_enter(struct lane *l, uint32_t class, uint32_t word);
void klass_leave(struct lane *l);

#endif
