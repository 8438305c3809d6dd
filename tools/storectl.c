/* storectl - looks into the object stores of a cluster's nodes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/status.h"
#include "core/text.h"
#include "storectl/storectl.h"

static const char usage[] =
    "usage: storectl COMMAND [options]\n"
    "\n"
    "  storectl ls [FILTER...]     list objects\n"
    "  storectl stat               show where the memory is\n"
    "  storectl top                the same again and again, and who made most\n"
    "  storectl show ID            all that is known of one object\n"
    "  storectl why ID             why it is still there\n"
    "  storectl leaks [FILTER...]  objects that only a handle keeps, by the place that "
    "made them\n"
    "  storectl verify             check every structure of every board\n"
    "  storectl get ID > FILE      an object's bytes\n"
    "  storectl put FILE           a file's bytes as an object of a job on this node\n"
    "  storectl rm ID              drop the handle that keeps an object\n"
    "  storectl spill SIZE         move so much of each node's store to disk\n"
    "  storectl evict              drop copies of other nodes' objects that no task "
    "needs\n"
    "\n"
    "  FILTER           job=N state=STATE task=NAME site=PART size>4M size<1G age>10s "
    "age<2h\n"
    "\n"
    "  --node=ID|HOST   one node of the cluster instead of all\n"
    "  --json           all of it, for programs\n"
    "  --limit=N        ls: at most N objects; default: 1000, 0: all\n"
    "  --sort=COLUMN    ls: by size, age, uses, pins, job, task, state, site or node\n"
    "  --columns=A,B    ls: these columns: id, node, job, task, state, size, type, age, "
    "place,\n"
    "                   pid, held, uses, pins, site\n"
    "  --job=N          objects of this job alone; put: into this job\n"
    "  --older=TIME     leaks: than this; default: 60s\n"
    "  --data           verify: read every object too\n"
    "  --delay=TIME     top: between two looks; default: 2s\n"
    "  --count=N        top: so many looks; default: 0, without end\n"
    "  --direct         do not ask the daemon of this machine, map its memory\n"
    "  --node-dir=DIR   the node in this folder instead of the usual one\n"
    "  --help           this text; --version: which version this is\n"
    "\n"
    "The manual is storectl(1).\n";

/* ---- words that are filters ------------------------------------------------------------------------------ */

/* "10s", "500ms", "2.5h" as milliseconds. */
static mob_status parse_time(const char *text, uint64_t *ret_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1e3}, {"", 1e3}, {"m", 6e4}, {"h", 36e5}, {"d", 864e5}};
    char *end;
    errno = 0;
    double x = strtod(text, &end);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (end != text && !errno && x >= 0 && strcmp(end, units[i].unit) == 0 &&
            x * units[i].ms < 1e15) {
            *ret_ms = (uint64_t)(x * units[i].ms);
            return MOB_OK;
        }
    }
    return status_fail(MOB_ERR_INVALID, "'%s' is no time; 500ms, 10s, 5m, 2h and 3d are",
                       text);
}

/* Adds "size>4M" and the like. */
static int add_bound(struct settings *s, const char *word, size_t key, char op)
{
    uint64_t value;
    bool size = strncmp(word, "size", key) == 0;
    mob_status st = size ? text_parse_bytes(word + key + 1, &value)
                         : parse_time(word + key + 1, &value);
    if (st) {
        return tool_usage("%s", mob_last_error());
    }
    if (op == '<' && value-- == 0) { /* `<` leaves the bound itself out, `>` does not */
        return tool_usage("'%s': nothing is less than that", word);
    }
    json_object_set_new(s->filter,
                        size        ? op == '>' ? "min_bytes" : "max_bytes"
                        : op == '>' ? "min_age_ms"
                                    : "max_age_ms",
                        json_integer((json_int_t)value));
    return TOOL_OK;
}

static int add_filter(struct settings *s, const char *word)
{
    size_t key = strcspn(word, "=<>");
    const char *value = word + key + 1;
    if (word[key] == '>' || word[key] == '<') {
        if ((key == 4 && strncmp(word, "size", 4) == 0) ||
            (key == 3 && strncmp(word, "age", 3) == 0)) {
            return add_bound(s, word, key, word[key]);
        }
    } else if (word[key] == '=' && key == 3 && strncmp(word, "job", 3) == 0) {
        return text_parse_u64(value, 1, UINT32_MAX, &s->job)
                   ? tool_usage("%s", mob_last_error())
                   : TOOL_OK;
    } else if (word[key] == '=' && key == 4 && strncmp(word, "node", 4) == 0) {
        s->node = value;
        return TOOL_OK;
    } else if (word[key] == '=' && key == 4 &&
               (strncmp(word, "task", 4) == 0 || strncmp(word, "site", 4) == 0)) {
        json_object_set_new(s->filter, *word == 't' ? "name" : "site",
                            json_string(value));
        return TOOL_OK;
    } else if (word[key] == '=' && key == 5 && strncmp(word, "state", 5) == 0) {
        json_object_set_new(s->filter, "state", json_string(value));
        return TOOL_OK;
    }
    return tool_usage(
        "'%s' is no filter; job=, node=, state=, task=, site=, size>, size<, age> "
        "and age< are",
        word);
}

/* ---- options --------------------------------------------------------------------------------------------- */

static mob_status set_option(struct settings *s, int opt)
{
    mob_status st = MOB_OK;
    switch (opt) {
    case 'j':
        s->json = true;
        break;
    case 'n':
        st = text_parse_u64(optarg, 0, UINT32_MAX, &s->limit);
        break;
    case 'J':
        st = text_parse_u64(optarg, 1, UINT32_MAX, &s->job);
        break;
    case 'd':
        s->dir = optarg;
        break;
    case 'N':
        s->node = optarg;
        break;
    case 's':
        s->sort = optarg;
        break;
    case 'c':
        s->columns = optarg;
        break;
    case 'o':
        st = parse_time(optarg, &s->older_ms);
        break;
    case 'D':
        s->data = true;
        break;
    case 'y':
        st = parse_time(optarg, &s->delay_ms);
        break;
    case 'k':
        st = text_parse_u64(optarg, 0, UINT32_MAX, &s->count);
        break;
    case 'x':
        s->direct = true;
        break;
    case 'h':
        fputs(usage, stdout);
        exit(tool_flush() ? TOOL_OK : TOOL_FAILED);
    default:
        break;
    }
    return st;
}

/* The key in an object by which a column is sorted. */
static int find_sort(struct settings *s)
{
    static const char *const keys[][2] = {
        {"size", "size"},   {"age", "age_ms"}, {"uses", "uses"},
        {"pins", "pins"},   {"job", "job"},    {"task", "name"},
        {"state", "state"}, {"site", "site"},  {"node", "node"}};
    for (size_t i = 0; s->sort && i < sizeof keys / sizeof keys[0]; i++) {
        if (strcmp(s->sort, keys[i][0]) == 0) {
            s->sort = keys[i][1];
            return TOOL_OK;
        }
    }
    return s->sort ? tool_usage("--sort: '%s' is no column to sort by", s->sort)
                   : TOOL_OK;
}

/* ---- commands -------------------------------------------------------------------------------------------- */

static const struct command {
    const char *name, *options; /* letters that it takes beside those of all */
    unsigned words;             /* that it needs */
    bool filters;
    int (*run)(struct source *src, const struct settings *s);
} commands[] = {
    {"ls", "nJsc", 0, true, run_ls},       {"stat", "", 0, false, run_stat},
    {"top", "yk", 0, false, run_top},      {"show", "", 1, false, run_show},
    {"why", "", 1, false, run_why},        {"leaks", "oJ", 0, true, run_leaks},
    {"verify", "D", 0, false, run_verify}, {"get", "", 1, false, run_get},
    {"put", "J", 1, false, run_put},       {"rm", "", 1, false, run_rm},
    {"spill", "", 1, false, run_spill},    {"evict", "", 0, false, run_evict},
};

static const struct command *find_command(const char *word)
{
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(word, commands[i].name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static int parse_words(struct settings *s, const struct command *c, int argc, char **argv)
{
    for (; optind < argc; optind++) {
        const char *word = argv[optind];
        if (c->filters) {
            int code = add_filter(s, word);
            if (code) {
                return code;
            }
        } else if (s->words_count < c->words) {
            s->words[s->words_count++] = word;
        } else {
            return tool_usage("'%s' is not expected", word);
        }
    }
    return s->words_count < c->words
               ? tool_usage("storectl %s needs %s", c->name,
                            strcmp(c->name, "put") == 0     ? "a file"
                            : strcmp(c->name, "spill") == 0 ? "a size, as 64M"
                                                            : "an id")
               : TOOL_OK;
}

static const char *option_name(const struct option *o, int opt)
{
    while (o->name && o->val != opt) {
        o++;
    }
    return o->name ? o->name : "";
}

static int parse(struct settings *s, const struct command *c, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"limit", required_argument, NULL, 'n'},
                                            {"job", required_argument, NULL, 'J'},
                                            {"node-dir", required_argument, NULL, 'd'},
                                            {"node", required_argument, NULL, 'N'},
                                            {"sort", required_argument, NULL, 's'},
                                            {"columns", required_argument, NULL, 'c'},
                                            {"older", required_argument, NULL, 'o'},
                                            {"data", no_argument, NULL, 'D'},
                                            {"delay", required_argument, NULL, 'y'},
                                            {"count", required_argument, NULL, 'k'},
                                            {"direct", no_argument, NULL, 'x'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int opt;
    while ((opt = tool_option(argc, argv, options)) != -1) {
        if (opt != '?' && strchr("nJscoDyk", opt) && !strchr(c->options, opt)) {
            return tool_usage("--%s is not for storectl %s", option_name(options, opt),
                              c->name);
        }
        if (opt == '?') {
            return TOOL_USAGE;
        }
        if (set_option(s, opt)) {
            return tool_usage("--%s: %s", option_name(options, opt), mob_last_error());
        }
    }
    int code = find_sort(s);
    return code ? code : parse_words(s, c, argc, argv);
}

int main(int argc, char **argv)
{
    struct settings s = {.limit = 1000, .older_ms = 60000, .delay_ms = 2000};
    struct source src;
    tool_name = "storectl";
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        fputs(usage, stdout);
        return tool_flush() ? TOOL_OK : TOOL_FAILED;
    }
    if (strcmp(word, "--version") == 0) {
        return tool_version();
    }
    const struct command *c = find_command(word);
    if (!c) {
        return argc > 1
                   ? tool_usage("unknown command '%s'", word)
                   : tool_usage(
                         "say a command: ls, stat, top, show, why, leaks, verify, get, "
                         "put, rm, spill or evict");
    }
    s.filter = json_object();
    int code = parse(&s, c, argc - 1, argv + 1);
    if (!code && source_open(&s, &src)) {
        code = tool_fail();
    } else if (!code) {
        code = c->run(&src, &s);
        source_close(&src);
    }
    json_decref(s.filter);
    return code;
}
