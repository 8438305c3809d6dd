#include "core/labels.h"

#include <ctype.h>
#include <string.h>

#include "core/status.h"

struct word {
    const char *at;
    size_t size;
};

/* One term: @name is, or (@is_not) is not, among the @count words at @values with | between them. */
struct term {
    struct word name, values;
    bool is_not;
};

static void skip_spaces(const char **at)
{
    while (**at == ' ' || **at == '\t') {
        ++*at;
    }
}

static bool take(const char **at, const char *what)
{
    size_t size = strlen(what);
    skip_spaces(at);
    bool there = strncmp(*at, what, size) == 0;
    *at += there ? size : 0;
    return there;
}

static bool take_word(const char **at, struct word *ret)
{
    skip_spaces(at);
    const char *end = *at;
    while (isalnum((unsigned char)*end) || (*end && strchr("_-.:/", *end))) {
        end++;
    }
    *ret = (struct word){*at, (size_t)(end - *at)};
    *at = end;
    return ret->size > 0;
}

static bool take_keyword(const char **at, const char *what)
{
    const char *look = *at;
    struct word w;
    if (!take_word(&look, &w) || w.size != strlen(what) ||
        memcmp(w.at, what, w.size) != 0) {
        return false;
    }
    *at = look;
    return true;
}

/* "(a|b)"; the words between the brackets. */
static bool take_set(const char **at, struct word *ret)
{
    struct word w;
    if (!take(at, "(")) {
        return false;
    }
    ret->at = *at;
    do {
        if (!take_word(at, &w)) {
            return false;
        }
    } while (take(at, "|"));
    ret->size = (size_t)(w.at + w.size - ret->at);
    return take(at, ")");
}

static bool take_term(const char **at, struct term *ret)
{
    if (!take_word(at, &ret->name)) {
        return false;
    }
    ret->is_not = take(at, "!=");
    if (ret->is_not || take(at, "=")) {
        return take_word(at, &ret->values);
    }
    ret->is_not = take_keyword(at, "not");
    return take_keyword(at, "in") && take_set(at, &ret->values);
}

enum next { TERM, END, NONSENSE };

static enum next next_term(const char **at, bool first, struct term *ret)
{
    skip_spaces(at);
    if (!**at && !first) {
        return END;
    }
    if (!first && !take(at, ",")) {
        return NONSENSE;
    }
    skip_spaces(at);
    if (first && !**at) {
        return END;
    }
    return take_term(at, ret) ? TERM : NONSENSE;
}

static mob_status check(const char *text, size_t max, bool labels, const char *what)
{
    struct term term;
    const char *at = text;
    enum next next = next_term(&at, true, &term);
    while (next == TERM) {
        /* Of labels only name=value is one. */
        bool plain = !labels || (!term.is_not && at[-1] != ')');
        next = plain ? next_term(&at, false, &term) : NONSENSE;
    }
    if (next == NONSENSE || strlen(text) > max) {
        return status_fail(MOB_ERR_INVALID,
                           "%s '%.60s': '%.30s' makes no sense there, %s", what, text, at,
                           labels ? "as in zone=a,disk=ssd"
                                  : "as in zone=a,disk!=hdd,gpu in (a100|h100)");
    }
    return MOB_OK;
}

mob_status labels_check(const char *labels)
{
    return check(labels, LABELS_MAX, true, "labels");
}

mob_status selector_check(const char *selector)
{
    return check(selector, SELECTOR_MAX, false, "labels wanted");
}

static bool same(struct word a, struct word b)
{
    return a.size == b.size && memcmp(a.at, b.at, a.size) == 0;
}

static bool among(struct word value, struct word values)
{
    const char *at = values.at;
    struct word w;
    while (at < values.at + values.size && take_word(&at, &w)) {
        if (same(w, value)) {
            return true;
        }
        take(&at, "|");
    }
    return false;
}

static bool holds(const struct term *wanted, const char *labels)
{
    struct term label;
    for (bool first = true; next_term(&labels, first, &label) == TERM; first = false) {
        if (same(label.name, wanted->name)) {
            return among(label.values, wanted->values) != wanted->is_not;
        }
    }
    return wanted->is_not;
}

bool selector_match(const char *selector, const char *labels)
{
    struct term term;
    enum next next;
    for (bool first = true; (next = next_term(&selector, first, &term)) == TERM;
         first = false) {
        if (!holds(&term, labels)) {
            return false;
        }
    }
    return next == END;
}
