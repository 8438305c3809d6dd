/* xxh3.h - XXH3, with the widest vectors that this CPU has: on x86 the library's dispatching form, whose macros
 * take the place of the plain functions. */
#ifndef CORE_XXH3_H
#define CORE_XXH3_H

#if defined(__x86_64__)
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

#endif
