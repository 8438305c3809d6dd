/* mobula_tool.h - the commands of the program mobula. Each gets its own words, argv[0] being its
 * name, and returns an exit status. */
#ifndef TOOLS_MOBULA_TOOL_H
#define TOOLS_MOBULA_TOOL_H

#include "common/tool.h"

int start_main(int argc, char **argv);
int status_main(int argc, char **argv);
int stop_main(int argc, char **argv);

#endif
