/* journal_db.h - the database of journal.h: its schema, its checks, its statements. One thread at a time. */
#ifndef NODE_JOURNAL_DB_H
#define NODE_JOURNAL_DB_H

#include <limits.h>
#include <sqlite3.h>

#include "journal.h"

struct journal_db {
    sqlite3 *sql;
    char path[PATH_MAX];
    uint64_t head;
    bool
        uncounted; /* the disk did not take this start's number; status_fail() has said why */
};

/* As journal_open(). */
mob_status journal_db_open(const struct journal_config *config, struct journal_db *ret);
void journal_db_close(struct journal_db *db);
mob_status journal_db_members(struct journal_db *db,
                              void (*each)(void *arg, const struct journal_member *m),
                              void *arg);

/* A transaction: begin, any of the others, end. Each answers MOB_ERR_SYSTEM once one has failed, and
 * the end then takes all of it back. */
mob_status journal_db_begin(struct journal_db *db);
mob_status journal_db_put(struct journal_db *db, const struct journal_member *m);
mob_status journal_db_remove(struct journal_db *db, uint64_t node);
mob_status journal_db_clear(struct journal_db *db);
mob_status journal_db_end(struct journal_db *db, mob_status st);

#endif
