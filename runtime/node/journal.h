/* journal.h - what a head knows after its death: which cluster it is the head of, and who is a member.
 *
 * It is an SQLite database in the node's folder. Only a change of membership is written: a member that
 * comes or goes. What else a head knows (offers, demands, leases) its members say again.
 *
 *   request -- queue --> thread: all that waits, in one transaction -- told by an eventfd --> kept, gone
 *
 * So the loop never waits for a disk, and nothing is said to others before it is kept: a node that was told
 * that it is a member is one after a restart too, and one that was declared dead stays dead. To stay dead
 * needs no list of the dead: whoever says that it was a member of this cluster, and is not in the table, was
 * declared dead. The table has a row for each living member and is bounded by NODES_MAX.
 *
 * An incarnation of a head is the cluster's number and, in the low bits, which start of it this is, so that
 * every start of every head has another one, and those of one cluster are known by it.
 *
 * A disk that is full, or read-only, or broken costs no more than the protection: requests end as if they had
 * been kept, the log and `mobula status` say so, and all members are written anew every JOURNAL_RETRY_NS, in
 * one transaction, until that works.
 *
 * Threads: the loop's alone; the journal has one of its own. */
#ifndef NODE_JOURNAL_H
#define NODE_JOURNAL_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"

#define JOURNAL_FILE "head.db" /* and -wal with it */
#define JOURNAL_WORDS_MAX 8192 /* bytes */
#define JOURNAL_KEY_BYTES 16   /* that tell which key a cluster has, and nothing of it */
#define JOURNAL_START_BITS 24
#define JOURNAL_RETRY_NS (2000000000ull)

struct journal;
struct loop;

struct journal_member {
    uint64_t node;
    const char *host;    /* for people who read the database */
    const char *address; /* where others reach it */
    const void *words;   /* by which it joined */
    size_t size;         /* of these, 1 to JOURNAL_WORDS_MAX */
};

struct journal_config {
    const char *dir; /* the node's folder */
    struct loop *loop;
    uint32_t words_version; /* of members' words: a database with others is refused */
    uint8_t key[JOURNAL_KEY_BYTES];
    /* The member is in the table, or gone from it. */
    void (*kept)(void *arg, uint64_t node);
    void (*gone)(void *arg, uint64_t node);
    /* All that is in the table by the requests so far is to be given to journal_put(), quietly. */
    void (*rewrite)(void *arg);
    void (*ended)(void *arg); /* after journal_stop() */
    void *arg;
};

/* Opens or makes the database, and counts this start of its head.
 * MOB_ERR_CORRUPT: it is damaged, or something else; MOB_ERR_VERSION: another version of Mobula made it;
 * MOB_ERR_KEY: the cluster that it is of has another key; MOB_ERR_SYSTEM. The message says what to do, and
 * the file is left as it is. */
mob_status journal_open(const struct journal_config *config, struct journal **ret);

/* The incarnation of this head. */
uint64_t journal_head(const struct journal *j);
/* Two heads' incarnations are of one cluster. */
static inline bool journal_related(uint64_t head, uint64_t other)
{
    return head >> JOURNAL_START_BITS == other >> JOURNAL_START_BITS;
}

/* Calls @each with every member that the last head left; before the first journal_put() alone. */
mob_status journal_members(struct journal *j,
                           void (*each)(void *arg, const struct journal_member *m),
                           void *arg);

/* The answers come in a later turn of the loop, in the order of the requests; none to one that is
 * quiet. */
void journal_put(struct journal *j, const struct journal_member *m, bool quiet);
void journal_remove(struct journal *j, uint64_t node, bool quiet);

/* NULL, or why the disk does not take it. */
const char *journal_trouble(const struct journal *j);

/* Nothing is called any more but ended(). NULL is allowed, here and below. */
void journal_stop(struct journal *j);
bool journal_ended(const struct journal *j);
/* What was requested is on the disk then; blocks. Not before it ended, if the loop ran. @over: the cluster ends,
 * and the database goes. */
void journal_close(struct journal *j, bool over);

#endif
