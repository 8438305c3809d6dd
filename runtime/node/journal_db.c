#include "journal_db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "core/status.h"

#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x6d6f6268 /* "mobh" */
#define HEAD_BITS 64
#define PAGES_MAX (2 * NODES_MAX) /* of 4 KiB; a member's row takes less than one */
#define WAL_PAGES 256
#define START_MASK ((1ull << JOURNAL_START_BITS) - 1)
#define START_UNCOUNTED (1ull << (JOURNAL_START_BITS - 1))

#define TEXT(x) TEXT_OF(x)
#define TEXT_OF(x) #x

static const char schema[] =
    "CREATE TABLE cluster("
    " one INTEGER PRIMARY KEY CHECK(one = 1), number INTEGER NOT NULL,"
    " starts INTEGER NOT NULL, words_version INTEGER NOT NULL, key BLOB NOT NULL,"
    " made TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);"
    "CREATE TABLE member("
    " node INTEGER PRIMARY KEY, host TEXT NOT NULL, address TEXT NOT NULL,"
    " words BLOB NOT NULL, since TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP);"
    "PRAGMA application_id = " TEXT(APPLICATION_ID) ";"
                                                    "PRAGMA user_version = " TEXT(
                                                        SCHEMA_VERSION) ";";

/* ---- errors ------------------------------------------------------------------------------------------ */

static mob_status failed(const struct journal_db *db, const char *what)
{
    int code = db->sql ? sqlite3_errcode(db->sql) & 0xff : SQLITE_NOMEM;
    const char *why = db->sql ? sqlite3_errmsg(db->sql) : "no memory";
    if (code == SQLITE_NOTADB || code == SQLITE_CORRUPT) {
        return status_fail(
            MOB_ERR_CORRUPT,
            "%s is damaged, or no database of a head (%s): who is a member of its "
            "cluster is not known. Put a sound copy in its place, or move it away to "
            "begin a new cluster, which nodes that run join by themselves",
            db->path, why);
    }
    return status_fail(MOB_ERR_SYSTEM, "%s %s: %s", what, db->path, why);
}

static mob_status run(struct journal_db *db, const char *text)
{
    return sqlite3_exec(db->sql, text, NULL, NULL, NULL) == SQLITE_OK
               ? MOB_OK
               : failed(db, "writing");
}

static mob_status prepare(struct journal_db *db, const char *text, sqlite3_stmt **ret)
{
    return sqlite3_prepare_v2(db->sql, text, -1, ret, NULL) == SQLITE_OK
               ? MOB_OK
               : failed(db, "reading");
}

/* Runs a statement that has no rows, and lets it go. */
static mob_status finish(struct journal_db *db, sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);
    mob_status st =
        rc == SQLITE_DONE || rc == SQLITE_ROW ? MOB_OK : failed(db, "writing");
    sqlite3_finalize(s);
    return st;
}

static mob_status number(struct journal_db *db, const char *text, int64_t *ret)
{
    sqlite3_stmt *s;
    MOB_TRY(prepare(db, text, &s));
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *ret = sqlite3_column_int64(s, 0);
    }
    mob_status st = rc == SQLITE_ROW ? MOB_OK : failed(db, "reading");
    sqlite3_finalize(s);
    return st;
}

/* ---- opening ----------------------------------------------------------------------------------------- */

/* A file without a table was never one of ours, or a head died before its first words in it were whole. */
static mob_status make(struct journal_db *db, const struct journal_config *config)
{
    uint64_t cluster = 0;
    sqlite3_stmt *s;
    while (cluster == 0) {
        if (getrandom(&cluster, (HEAD_BITS - JOURNAL_START_BITS) / 8, 0) < 0) {
            return status_fail(MOB_ERR_SYSTEM, "getrandom: %m");
        }
    }
    MOB_TRY(run(db, "BEGIN IMMEDIATE"));
    mob_status st = run(db, schema);
    if (!st) {
        st = prepare(db,
                     "INSERT INTO cluster(one, number, starts, words_version, key) "
                     "VALUES(1, ?, 0, ?, ?)",
                     &s);
    }
    if (!st) {
        sqlite3_bind_int64(s, 1, (int64_t)cluster);
        sqlite3_bind_int64(s, 2, config->words_version);
        sqlite3_bind_blob(s, 3, config->key, sizeof config->key, SQLITE_STATIC);
        st = finish(db, s);
    }
    return journal_db_end(db, st);
}

static mob_status other_version(const struct journal_db *db, int64_t is, int64_t ours)
{
    return status_fail(MOB_ERR_VERSION,
                       "%s was made by another version of mobula (its format is %lld, "
                       "this one's %lld): start its head with that version, or move the "
                       "file away to begin a new cluster, which nodes that run join by "
                       "themselves",
                       db->path, (long long)is, (long long)ours);
}

/* What is read from the file is input like any other. */
static mob_status check(struct journal_db *db, const struct journal_config *config)
{
    int64_t id = 0, version = 0, words = 0, sound = 0;
    MOB_TRY(number(db, "PRAGMA application_id", &id));
    if (id != APPLICATION_ID) {
        return status_fail(MOB_ERR_CORRUPT,
                           "%s is a database, but not of a head: move it away", db->path);
    }
    MOB_TRY(number(db, "PRAGMA user_version", &version));
    if (version != SCHEMA_VERSION) {
        return other_version(db, version, SCHEMA_VERSION);
    }
    MOB_TRY(number(db, "SELECT quick_check = 'ok' FROM pragma_quick_check(1)", &sound));
    MOB_TRY(number(db, "SELECT words_version FROM cluster", &words));
    if (words != config->words_version) {
        return other_version(db, words, config->words_version);
    }
    return sound ? MOB_OK
                 : status_fail(MOB_ERR_CORRUPT,
                               "%s is damaged: who is a member of its cluster is not "
                               "known. Put a sound copy in its place, or move it away to "
                               "begin a new cluster, which nodes that run join by "
                               "themselves",
                               db->path);
}

static mob_status read_cluster(struct journal_db *db, const struct journal_config *config,
                               uint64_t *ret_cluster, uint64_t *ret_starts)
{
    sqlite3_stmt *s;
    MOB_TRY(prepare(db, "SELECT number, starts, key FROM cluster", &s));
    mob_status st = sqlite3_step(s) == SQLITE_ROW ? MOB_OK : failed(db, "reading");
    if (!st) {
        *ret_cluster = (uint64_t)sqlite3_column_int64(s, 0);
        *ret_starts = (uint64_t)sqlite3_column_int64(s, 1);
        const void *key = sqlite3_column_blob(s, 2);
        bool same = key && sqlite3_column_bytes(s, 2) == JOURNAL_KEY_BYTES &&
                    memcmp(key, config->key, JOURNAL_KEY_BYTES) == 0;
        if (!same) {
            st = status_fail(MOB_ERR_KEY,
                             "the cluster that %s is of has another key: give this head "
                             "that one, or move the file away to begin a new cluster",
                             db->path);
        }
    }
    sqlite3_finalize(s);
    return st;
}

/* A start that the disk does not count has a random number, of a half that is never counted up to. */
static mob_status count_start(struct journal_db *db, uint64_t cluster, uint64_t starts)
{
    db->head = cluster << JOURNAL_START_BITS | ((starts + 1) & START_MASK);
    db->uncounted = run(db, "UPDATE cluster SET starts = starts + 1") != MOB_OK;
    if (!db->uncounted) {
        return MOB_OK;
    }
    uint64_t dice;
    if (getrandom(&dice, sizeof dice, 0) != sizeof dice) {
        return status_fail(MOB_ERR_SYSTEM, "getrandom: %m");
    }
    db->head =
        cluster << JOURNAL_START_BITS | START_UNCOUNTED | (dice & (START_UNCOUNTED - 1));
    return MOB_OK;
}

static mob_status open_checked(const struct journal_config *config, struct journal_db *db)
{
    uint64_t cluster = 0, starts = 0;
    int64_t tables = 0;
    if (sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        NULL) != SQLITE_OK) {
        return failed(db, "opening");
    }
    /* Nobody else opens it: no memory is shared then, and its log needs no third file. */
    MOB_TRY(run(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA trusted_schema = OFF"));
    MOB_TRY(number(db, "SELECT count(*) FROM sqlite_schema", &tables));
    if (tables == 0) {
        MOB_TRY(make(db, config));
    }
    MOB_TRY(check(db, config));
    MOB_TRY(read_cluster(db, config, &cluster, &starts));
    (void)sqlite3_exec(db->sql,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                       "PRAGMA wal_autocheckpoint = " TEXT(WAL_PAGES) ";",
                       NULL, NULL, NULL); /* whether it can be written is seen next */
    char bound[64];
    snprintf(bound, sizeof bound, "PRAGMA max_page_count = %d", PAGES_MAX);
    MOB_TRY(run(db, bound));
    return count_start(db, cluster, starts);
}

mob_status journal_db_open(const struct journal_config *config, struct journal_db *ret)
{
    *ret = (struct journal_db){0};
    int n = snprintf(ret->path, sizeof ret->path, "%s/" JOURNAL_FILE, config->dir);
    if (n < 0 || (size_t)n >= sizeof ret->path) {
        return status_fail(MOB_ERR_INVALID, "the path %s/" JOURNAL_FILE " is too long",
                           config->dir);
    }
    mob_status st = open_checked(config, ret);
    if (st) {
        journal_db_close(ret);
    }
    return st;
}

void journal_db_close(struct journal_db *db)
{
    sqlite3_close(db->sql);
    db->sql = NULL;
}

/* ---- members ----------------------------------------------------------------------------------------- */

/* What is not of this form nobody could have joined with. */
static bool read_member(sqlite3_stmt *s, struct journal_member *ret)
{
    *ret = (struct journal_member){
        .node = (uint64_t)sqlite3_column_int64(s, 0),
        .host = (const char *)sqlite3_column_text(s, 1),
        .address = (const char *)sqlite3_column_text(s, 2),
        .words = sqlite3_column_blob(s, 3),
        .size = (size_t)sqlite3_column_bytes(s, 3),
    };
    return ret->node && ret->host && ret->address && ret->words && ret->size > 0 &&
           ret->size <= JOURNAL_WORDS_MAX;
}

mob_status journal_db_members(struct journal_db *db,
                              void (*each)(void *arg, const struct journal_member *m),
                              void *arg)
{
    sqlite3_stmt *s;
    struct journal_member m;
    int rc;
    MOB_TRY(
        prepare(db,
                "SELECT node, host, address, words FROM member ORDER BY node LIMIT " TEXT(
                    NODES_MAX),
                &s));
    while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (read_member(s, &m)) {
            each(arg, &m);
        }
    }
    mob_status st = rc == SQLITE_DONE ? MOB_OK : failed(db, "reading");
    sqlite3_finalize(s);
    return st;
}

mob_status journal_db_begin(struct journal_db *db)
{
    return run(db, "BEGIN IMMEDIATE");
}

mob_status journal_db_put(struct journal_db *db, const struct journal_member *m)
{
    sqlite3_stmt *s;
    MOB_TRY(prepare(db,
                    "INSERT OR REPLACE INTO member(node, host, address, words) "
                    "VALUES(?, ?, ?, ?)",
                    &s));
    sqlite3_bind_int64(s, 1, (int64_t)m->node);
    sqlite3_bind_text(s, 2, m->host, -1, SQLITE_STATIC);
    sqlite3_bind_text(s, 3, m->address, -1, SQLITE_STATIC);
    sqlite3_bind_blob(s, 4, m->words, (int)m->size, SQLITE_STATIC);
    return finish(db, s);
}

mob_status journal_db_remove(struct journal_db *db, uint64_t node)
{
    sqlite3_stmt *s;
    MOB_TRY(prepare(db, "DELETE FROM member WHERE node = ?", &s));
    sqlite3_bind_int64(s, 1, (int64_t)node);
    return finish(db, s);
}

mob_status journal_db_clear(struct journal_db *db)
{
    return run(db, "DELETE FROM member");
}

mob_status journal_db_end(struct journal_db *db, mob_status st)
{
    if (!st) {
        st = run(db, "COMMIT");
    }
    if (st && !sqlite3_get_autocommit(db->sql)) {
        (void)sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL); /* st says why */
    }
    return st;
}
