#include "table.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/text.h"

enum { GAP = 2, ELASTIC_MIN = 4, COLUMNS_LIMIT = 100000 };

struct table {
    const struct table_column *columns;
    unsigned count;
    char *(*rows)[TABLE_COLUMNS_MAX];
    size_t used, room;
};

static void *need(void *memory)
{
    if (!memory) {
        fputs("no memory for a table\n", stderr);
        exit(1);
    }
    return memory;
}

struct table *table_new(const struct table_column *columns, unsigned count)
{
    struct table *t = need(calloc(1, sizeof *t));
    t->columns = columns;
    t->count = count < TABLE_COLUMNS_MAX ? count : TABLE_COLUMNS_MAX;
    return t;
}

void table_free(struct table *t)
{
    for (size_t i = 0; t && i < t->used; i++) {
        for (unsigned c = 0; c < t->count; c++) {
            free(t->rows[i][c]);
        }
    }
    if (t) {
        free(t->rows);
    }
    free(t);
}

void table_cell(struct table *t, unsigned column, const char *format, ...)
{
    va_list ap;
    char *text;
    if (column == 0) {
        if (t->used == t->room) {
            t->room = t->room ? 2 * t->room : 16;
            t->rows = need(realloc(t->rows, t->room * sizeof *t->rows));
        }
        memset(&t->rows[t->used++], 0, sizeof *t->rows);
    }
    va_start(ap, format);
    int n = vasprintf(&text, format, ap);
    va_end(ap);
    need(n < 0 ? NULL : text);
    for (char *c = text; *c; c++) {
        *c = (unsigned char)*c < ' ' || *c == 127 ? '?' : *c;
    }
    free(t->rows[t->used - 1][column]);
    t->rows[t->used - 1][column] = text;
}

/* Characters, not bytes: what continues one in UTF-8 takes no place. */
static unsigned width_of(const char *text)
{
    unsigned width = 0;
    for (; *text; text++) {
        width += (*text & 0xc0) != 0x80;
    }
    return width;
}

static unsigned terminal_width(void)
{
    uint64_t width;
    struct winsize w;
    const char *set = getenv("COLUMNS");
    if (set && text_parse_u64(set, 1, COLUMNS_LIMIT, &width) == MOB_OK) {
        return (unsigned)width;
    }
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : UINT_MAX;
}

static void shrink(const struct table *t, unsigned *widths)
{
    unsigned most = terminal_width();
    for (;;) {
        unsigned total = GAP * (t->count - 1), widest = t->count;
        for (unsigned c = 0; c < t->count; c++) {
            total += widths[c];
            if (t->columns[c].elastic && widths[c] > ELASTIC_MIN &&
                (widest == t->count || widths[c] > widths[widest])) {
                widest = c;
            }
        }
        if (total <= most || widest == t->count) {
            return;
        }
        widths[widest]--;
    }
}

static void print_cell(const char *text, unsigned width, bool right, bool last)
{
    unsigned has = width_of(text), shown = has > width ? width - 1 : has;
    if (right) {
        printf("%*s", (int)(width - (has > width ? width : has)), "");
    }
    for (unsigned i = 0; i < shown; i++) {
        do {
            putchar(*text++);
        } while ((*text & 0xc0) == 0x80);
    }
    if (has > width) {
        putchar('~');
        shown++;
    }
    if (!last) {
        printf("%*s", (int)((right ? 0 : width - shown) + GAP), "");
    }
}

void table_print(const struct table *t)
{
    unsigned widths[TABLE_COLUMNS_MAX];
    for (unsigned c = 0; c < t->count; c++) {
        widths[c] = width_of(t->columns[c].name);
        for (size_t i = 0; i < t->used; i++) {
            unsigned w = t->rows[i][c] ? width_of(t->rows[i][c]) : 0;
            widths[c] = w > widths[c] ? w : widths[c];
        }
    }
    shrink(t, widths);
    for (size_t i = 0; i <= t->used; i++) {
        for (unsigned c = 0; c < t->count; c++) {
            const char *text = i == 0 ? t->columns[c].name : t->rows[i - 1][c];
            print_cell(text ? text : "", widths[c], t->columns[c].right,
                       c + 1 == t->count);
        }
        putchar('\n');
    }
}
