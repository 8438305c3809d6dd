/* gpu.h - which GPUs a worker sees; gpu.c. */
#ifndef NODE_GPU_H
#define NODE_GPU_H

#include <stddef.h>
#include <stdint.h>

#include "core/limits.h"

struct node;

#define GPU_ENV "CUDA_VISIBLE_DEVICES"
struct gpus {
    uint32_t count;
    uint32_t used[NODE_GPUS_MAX];               /* units of each that workers hold */
    char name[NODE_GPUS_MAX][GPU_NAME_MAX + 1]; /* as CUDA_VISIBLE_DEVICES has it */
};
/* @count: how many there are, or -1: as many as are found. */
void gpu_init(struct gpus *g, int count);
/* Devices for a worker that needs @units: a bit each; whole ones alone, parts beside other parts. 0: no
 * device has that much left. */
uint64_t gpu_take(struct gpus *g, uint64_t units);
void gpu_give(struct gpus *g, uint64_t devices, uint64_t units);
/* "CUDA_VISIBLE_DEVICES=..." of those devices; at least GPU_ENV_MAX bytes. Returns buf. */
char *gpu_env(const struct gpus *g, uint64_t devices, char *buf, size_t size);
/* A worker could not get its devices, although their sum is enough: idle workers give theirs up. */
void gpu_gather(struct node *n);

#endif
