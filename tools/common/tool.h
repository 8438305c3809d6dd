/* tool.h - what the commands share: errors, options, and questions to the node's daemon.
 *
 * A command says one line on standard error when it fails, and exits with 1; with 2 if it was
 * not understood. One thread. */
#ifndef TOOLS_TOOL_H
#define TOOLS_TOOL_H

#include <getopt.h>
#include <jansson.h>
#include <limits.h>
#include <mobula.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { TOOL_OK, TOOL_FAILED, TOOL_USAGE }; /* exit statuses */

/* What stands in front of every message; set first. */
extern const char *tool_name;

/* Prints mob_last_error(), or a sentence of its own. Returns TOOL_FAILED and TOOL_USAGE. */
int tool_fail(void);
int tool_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --version: the version of all that is installed together. */
int tool_version(void);

/* The next option as getopt_long() has it, -1 at the end of them; -h and, where there is --verbose, -v
 * are letters for 'h' and 'v'. '?': the error was printed. */
int tool_option(int argc, char **argv, const struct option *options);
/* TOOL_OK if no word is left that is no option, else prints so. */
int tool_no_words(int argc, char **argv);

/* Prints a text that is the answer; false, with the error printed, if that failed. */
bool tool_flush(void);

/* All of a command that only asks a node: --node-dir, --help, and --json if @ret_json is given. Exits
 * after --help. TOOL_OK, TOOL_USAGE. */
int tool_node_options(int argc, char **argv, const char *usage, const char **ret_dir,
                      bool *ret_json);

/* ---- the node -------------------------------------------------------------------------------- */

struct tool_node {
    char dir[PATH_MAX];
    int sock;
    pid_t pid;
    int pidfd; /* readable once the daemon is gone */
};

/* The folder of the node that is meant: @given, a folder in MOBULA_ADDRESS, or the default. */
mob_status tool_dir(const char *given, char *buf, size_t size);

/* Connects to the daemon. MOB_ERR_NO_NODE: none runs, or it does not answer; MOB_ERR_VERSION. */
mob_status tool_connect(const char *node_dir, struct tool_node *ret);
void tool_disconnect(struct tool_node *node);

/* Asks for JSON; @ask may be NULL. The caller ends it with json_decref(). */
mob_status tool_ask(struct tool_node *node, uint32_t op, const json_t *ask, json_t **ret);

/* Prints JSON as it came, indented for people. Takes the reference. */
int tool_print_json(json_t *root);

/* ---- members of an answer; what is missing or of another type is "" or 0 ------------------------ */

const char *tool_str(const json_t *object, const char *key);
uint64_t tool_u64(const json_t *object, const char *key);
double tool_real(const json_t *object, const char *key);

#endif
