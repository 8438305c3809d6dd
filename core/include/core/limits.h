/* limits.h - every bound that more than one layer must know, with its unit and its reason. */
#ifndef CORE_LIMITS_H
#define CORE_LIMITS_H

#define NODES_MAX 16384    /* nodes a head keeps: 10,000, and some that are dead */
#define JOBS_MAX 1024      /* jobs on one node at once */
#define CLASSES_MAX 16     /* shapes of demand in one job: each has a queue of its own */
#define PROCS_MAX 256      /* processes of one job on one node: 4 words of bitmap */
#define CPU_UNITS 10000    /* one CPU in units of demand: steps of 0.0001 */
#define NODE_CPUS_MAX 4096 /* CPUs of one node */
#define NODE_GPUS_MAX 64   /* GPUs of one node: a word of bitmap */
#define GPU_NAME_MAX 47    /* a UUID has 40 bytes */
#define GPU_ENV_MAX (NODE_GPUS_MAX * (GPU_NAME_MAX + 1) + 32)

/* Of one node, and of one demand; a cluster may have more in all. */
#define RESOURCES_NAMED_MAX 8 /* kinds beside CPUs, memory and GPUs */
#define RESOURCE_NAME_MAX 23
#define RESOURCE_MAX (1ull << 46) /* of one kind: 64 TiB, or 7e9 whole ones */

#define LABELS_MAX 255   /* bytes of a node's labels as text */
#define SELECTOR_MAX 255 /* the same of what a task says of them */

/* Object bytes travel between nodes, and are checked, in pieces of this size. */
#define CHUNK_BYTES (1u << 20)
#define MESSAGE_BYTES_MAX (1u << 20) /* one control message between nodes */

#define HEARTBEAT_NS (500 * 1000000ull)  /* between daemons */
#define NODE_DEAD_NS (5 * 1000000000ull) /* silence after which a node is declared dead */
/* For a node to join that is large enough for a task; `mobula start --unmet-grace`. */
#define UNMET_GRACE_NS (30 * 1000000000ull)
#define HANDSHAKE_NS (5 * 1000000000ull) /* to prove the key on a new connection */

#define WORKER_START_NS (10 * 1000000000ull) /* from exec to mob_init() in a worker */
/* The same under MOBULA_WORKER_WRAP. */
#define WORKER_WRAPPED_START_NS (300 * 1000000000ull)
/* The text of a failure, with its ending NUL: a sentence, and what fits on a screen of stderr. */
#define FAILURE_TEXT_MAX 4096
/* Of a dead worker's stderr, kept for its task's failure: leaves room for the sentence. */
#define STDERR_TAIL_BYTES 3072

#endif
