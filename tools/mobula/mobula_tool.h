/* mobula_tool.h - the commands of the program mobula. Each gets its own words, argv[0] being its
 * name, and returns an exit status. */
#ifndef TOOLS_MOBULA_TOOL_H
#define TOOLS_MOBULA_TOOL_H

#include "common/tool.h"
#include "transport/key.h"

int check_main(int argc, char **argv);
int start_main(int argc, char **argv);
int status_main(int argc, char **argv);
int stop_main(int argc, char **argv);
int timeline_main(int argc, char **argv);

/* Where the cluster's key is, as options say it. */
struct key_source {
    const char *file; /* or NULL: the usual one */
    bool from_stdin;
    bool shared; /* others may read the file */
};
/* @make: a key is made where there is none. MOB_ERR_KEY. */
mob_status key_find(const struct key_source *source, bool make, struct key *ret);

#endif
