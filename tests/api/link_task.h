#ifndef LINK_TASK_H
#define LINK_TASK_H

#include <mobula.h>

#ifdef __cplusplus
extern "C" {
#endif
__attribute__((visibility("default"))) mob_status link_called(struct mob_task *task);
#ifdef __cplusplus
}
#endif

#endif
