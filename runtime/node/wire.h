/* wire.h - what daemons say to each other over the transport, in core/codec.h's encoding.
 *
 * A message begins with its op (u8). Every field is checked by its reader; a message that is
 * malformed, or that its sender may not send, costs the sender the connection.
 *
 * Terms: `node` is a member incarnation; `job` is a number that the owner of the job gave it, so
 * that it means something only together with that owner; `link` is a record's, on the board of the
 * one who says it; `key` is a planner's name for a job (u64 node, u32 number).
 * `amounts` are a vector of core/resources.h: count u8, and for each kind that is not 0 its number u8 (0 CPUs, 1
 * memory, 2 GPUs; 3: name str follows), amount u64. `demand` is what a class asks for (core/demand.h): amounts,
 * priority i8, strategy u8, together u8, node u64, group u64, bundle u16, selector str. `bundles` are what a group asks
 * for: group u64, strategy u8, count u8, amounts each, gang u8 (1, a gang's: node u64, selector str follow, of who may).
 *
 * Between a node and its head
 *   JOIN       version u32, session u64, member_of u64, CPU units u64, store u64, port u16, host str, then of this
 *              version: loop str, ip raw[16] (at which it listens; 0: at all of its host's), amounts, labels str
 *   WELCOME    head u64
 *   REFUSED    status i32, text str                    then the head hangs up
 *   NODE       node u64, address str, host str, store u64, loop str, amounts, labels str     one for each member
 *   DEAD       node u64
 *   HEARTBEAT  amounts used, store used u64, tasks u32    to the head; without fields from it
 *   GOODBYE                                            the node leaves in good order
 *   REPORT, DEMAND, HELD, LEASE, GRANT, SYNCED: the planners' words
 *   GROUP      key, bundles, nodes u64 each, holds u64 each    one of a job of this node (0: it has none)
 *   GROUPS_SAID                                        after WELCOME, and a GROUP for each: others of this node are over
 *   GROUP_END  group u64                               it is over
 *   GROUP_AT   group u64, state u8, count u8, nodes u64 each, holds u64 each    how it is; count 0: as it was
 *   HOLD       hold u64, group u64, bundle u8, state u8, amounts    what the node is to hold (enum plan_hold_state)
 *   HOLD_SAID  hold u64, state u8, amounts offered
 *   STATUS     cookie u64                              asks for
 *   STATUS_TEXT cookie u64, more u8, JSON bytes
 * Between any two nodes, for storectl
 *   ASK        cookie u64, JSON bytes                  see inspect.c
 *   TOLD       cookie u64, status i32, more u8, JSON bytes, or why not
 * From a job's owner to a node that works for it
 *   OPEN       job u32, key, name str, hash raw[32], executable size u64, start size u64, token u64
 *   CLOSE      job u32, kill u8
 *   TASKS      job u32, lease u64, epoch u32, class u32, demand, count u32, tasks
 *     task     slot u32, link u64, retries u8, options u8, returns u8, args u8,
 *              function str, name str, arguments
 *     argument kind u8: VALUE or OBJECT or REMOTE or ERROR or ORDER or AWAY; link u64 unless VALUE;
 *              bytes (VALUE, OBJECT), size u64 (REMOTE, AWAY), node u64 that has it (AWAY), status i32 and text (ERROR), order (ORDER), metadata
 *     order    operation u8, type u8, size u64, count u8, (node u64, link u64)...   arrays of the owner that are
 *              folded on their way (fold.h); the argument's link is then the task's own
 *   RELEASE    job u32, count u32, (proxy u32, link u64, taken u8)...   results are not pulled any more;
 *              taken: 1: they are what the owner's record has from now on; 2: and some stay there, so that they are kept
 *   LET_GO     job u32, count u32, (link u64, gone u8)...   kept results, by the owner's link, need not be kept any more,
 *              since the owner has them; gone: since nobody wants them
 *   CANCEL     job u32, count u32, (slot u32, link u64, how u8, left u64)...   slot: the owner's; how: 0, or
 *              2, 3: to be ended by force after `left` ns, because its deadline has passed, or it was
 *              cancelled so (enum request_kind); with the bit RECURSIVE what it submitted is too
 *   SOURCE     job u32, link u64, question u64, node u64    pull that object from there
 *   GROUP_NEWS job u32, state u8, bundles, nodes u64 each    a group of the job, and how it is
 *   GROUP_GONE job u32, group u64
 *   MET        job u32, meeting, status i32, bytes     what all members have brought, or why there is nothing
 *     meeting  gang u32, turn u32, rank u32 (of the member that is told, or asks), round u32
 * From that node back to the owner
 *   CLOSED     job u32
 *   FAILED     job u32, later u8, text str             no worker can start here; later: for want of memory, so
 *              that the job may be opened again after a while
 *   DONE       job u32, count u32, results
 *     result   slot u32, link u64 (the owner's), proxy u32, link u64, status i32, then
 *              text str if status is not 0, else returns u8 and for each
 *              kind u8: VALUE bytes or REMOTE size u64, with the bit STAYS if it may stay here; metadata
 *     metadata if the kind has the bit META: type u8, element size u32, dimensions u8, u64 each
 *   BACK       job u32, count u32, (slot u32, link u64, begun u8)...    not wanted here; begun: an
 *              attempt ended with its worker's death
 *   OUTPUT     job u32, stream u8 (1 or 2), bytes
 *   GROUP_MAKE job u32, bundles                        a task here made a group of the job
 *   GROUP_DROP job u32, group u64                      a task here removed it
 *   MEET       job u32, meeting, bytes                 a member of a gang is there (gang.h)
 *   COPY       job u32, link u64, whole u8             this node has a whole copy; or has none, and gets none
 * Between any two nodes that have a job, its owner or not
 *   FOLD       owner u64, job u32, token u64, number u64, order   to be shown as FOLDED; the last arrays are yours
 *   FLOWS      number u64, flows u8                    it may be pulled; or will not come
 *   UNFOLD     number u64                              it is not wanted any more
 *
 * Objects are pulled by a name of 32 bytes: kind u32, job u32, link u64, node u64, word u64.
 *   ARGUMENT   of the owner. node: the source that it named last and that was of no use, or 0, or who asks,
 *              who wants no other source. word: the question's number, which comes back in SOURCE if another
 *              node is to be asked: the pull ends with MOB_ERR_EXISTS then. 0: not to be sent elsewhere
 *   COPIED     of a node that has a copy, or of the owner. node: the owner. word: its job's token, which only nodes that work for
 *              the job know
 *   FOLDED     as COPIED, but link is the number that FOLD gave
 *   RESULT, EXECUTABLE, START    the last two are 0 */
#ifndef NODE_WIRE_H
#define NODE_WIRE_H

#include <mobula.h>
#include <stdint.h>

#include "core/codec.h"
#include "scheduler/plan.h"
#include "transport/transport.h"

#define WIRE_VERSION 11u
#define WIRE_INLINE_MAX 4096u /* larger arguments and results are pulled */
#define WIRE_IP_BYTES 16u     /* IPv4 as what maps it into IPv6 */
#define WIRE_HASH_BYTES 32u   /* BLAKE2b-256 of an executable */
#define WIRE_TEXT_MAX FAILURE_TEXT_MAX
/* Batches are closed when less than one more entry of the largest kind would fit. */
#define WIRE_ENTRY_MAX (MOB_ARGS_MAX * (WIRE_INLINE_MAX + 128u) + 1024u)
#define WIRE_BATCH_BYTES (512u << 10)

enum wire_op {
    WIRE_JOIN = 1,
    WIRE_WELCOME,
    WIRE_REFUSED,
    WIRE_NODE,
    WIRE_DEAD,
    WIRE_HEARTBEAT,
    WIRE_GOODBYE,
    WIRE_REPORT,
    WIRE_DEMAND,
    WIRE_HELD,
    WIRE_LEASE,
    WIRE_GRANT,
    WIRE_SYNCED,
    WIRE_STATUS,
    WIRE_STATUS_TEXT,
    WIRE_OPEN,
    WIRE_CLOSE,
    WIRE_TASKS,
    WIRE_RELEASE,
    WIRE_CANCEL,
    WIRE_CLOSED,
    WIRE_FAILED,
    WIRE_DONE,
    WIRE_BACK,
    WIRE_OUTPUT,
    WIRE_ASK,
    WIRE_TOLD,
    WIRE_SOURCE,
    WIRE_COPY,
    WIRE_FOLD,
    WIRE_FLOWS,
    WIRE_UNFOLD,
    WIRE_LET_GO,
    WIRE_GROUP,
    WIRE_GROUP_END,
    WIRE_GROUP_AT,
    WIRE_HOLD,
    WIRE_HOLD_SAID,
    WIRE_GROUP_MAKE,
    WIRE_GROUP_DROP,
    WIRE_GROUP_NEWS,
    WIRE_GROUP_GONE,
    WIRE_MEET,
    WIRE_MET,
    WIRE_GROUPS_SAID,
    WIRE_OPS
};

enum wire_kind {
    WIRE_VALUE,
    WIRE_OBJECT,
    WIRE_REMOTE,
    WIRE_ERROR,
    WIRE_ORDER,
    WIRE_AWAY
};
#define WIRE_RECURSIVE 0x80u /* with CANCEL's how */
#define WIRE_META 0x80u      /* with a kind but ERROR: metadata comes last */
#define WIRE_STAYS 0x40u     /* with REMOTE in DONE */

/* What a pull names. */
enum wire_object {
    WIRE_ARGUMENT = 1,
    WIRE_RESULT,
    WIRE_EXECUTABLE,
    WIRE_START,
    WIRE_COPIED,
    WIRE_FOLDED,
    WIRE_PROBE, /* nothing: bytes to measure with, WIRE_PROBE_BYTES of them */
};
#define WIRE_PROBE_BYTES (4u << 20)
struct wire_name {
    enum wire_object kind;
    uint32_t job;
    uint64_t link, node, word;
};

/* For people: "JOIN"; "unknown" for what is no message. */
const char *wire_op_name(uint8_t op);

void wire_put_name(uint8_t to[TRANSPORT_OBJECT_BYTES], const struct wire_name *name);
/* False if those bytes are no name. */
bool wire_get_name(const uint8_t from[TRANSPORT_OBJECT_BYTES], struct wire_name *ret);

/* Metadata as it follows. False: malformed. */
void wire_put_meta(struct codec_writer *w, const struct mob_meta *meta);
bool wire_get_meta(struct codec_reader *r, struct mob_meta *ret);

void wire_put_demand(struct codec_writer *w, const struct demand *d);
/* False: malformed, or no demand. */
bool wire_get_demand(struct codec_reader *r, struct demand *ret);

void wire_put_key(struct codec_writer *w, struct plan_job key);
struct plan_job wire_get_key(struct codec_reader *r);

/* A message whose entries are counted in a field that is filled in at the end. */
struct wire_batch {
    struct codec_writer w;
    uint8_t *count_at;
    uint32_t count;
};
void wire_batch_begin(struct wire_batch *b); /* after the fields before the count */
void wire_batch_end(struct wire_batch *b);
/* True if the next entry might not fit. */
bool wire_batch_full(const struct wire_batch *b);

#endif
