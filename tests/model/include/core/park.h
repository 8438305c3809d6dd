/* core/park.h for code under the model: each call says where it stands, for traces and mutants. */
#ifndef MODEL_CORE_PARK_H
#define MODEL_CORE_PARK_H

#include_next "core/park.h"

extern const char *model_place_function, *model_place_expr;

#define model_here(text) (model_place_function = __func__, model_place_expr = (text))
#define park_wait(word, seen, deadline)                                                  \
    (model_here("wait " #word), park_wait(word, seen, deadline))
#define park_wait_many(words, seen, count, deadline)                                     \
    (model_here("wait " #words), park_wait_many(words, seen, count, deadline))
#define park_wake(word, count) (model_here("wake " #word), park_wake(word, count))

#endif
