/* table.h - a table of text that fits the terminal.
 *
 * Cells are copied. A table wider than the terminal has its elastic columns cut, the widest first,
 * and a '~' at the end of what was cut. Characters that would steer a terminal are shown as '?'.
 * The width is COLUMNS, else the terminal's; without either nothing is cut. */
#ifndef TOOLS_TABLE_H
#define TOOLS_TABLE_H

#include <stdbool.h>

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *name;
    bool right;   /* numbers end at the same place */
    bool elastic; /* may be cut */
};

struct table;

/* @columns are the caller's and stay until table_free(). Exits if there is no memory. */
struct table *table_new(const struct table_column *columns, unsigned count);
/* Sets cell @column of the last row, printf-like; column 0 begins a row. */
void table_cell(struct table *t, unsigned column, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints to standard output. */
void table_print(const struct table *t);
void table_free(struct table *t);

#endif
