#include "messages.h"

#include <stdio.h>
#include <string.h>

#include "store/arena.h"

uint64_t dice(struct facts *f, uint64_t sides)
{
    f->dice += 0x9e3779b97f4a7c15ull;
    uint64_t x = f->dice;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return (x ^ x >> 31) % sides;
}

/* ---- fields --------------------------------------------------------------------------------------- */

static void put(struct draft *m, const void *data, size_t size)
{
    if (m->fields < FIELDS_MAX) {
        m->field[m->fields].at = (uint32_t)m->size;
        m->field[m->fields++].size = (uint32_t)size;
    }
    memcpy(m->bytes + m->size, data, size);
    m->size += size;
}

static void number(struct draft *m, uint64_t x, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(x >> 8 * i);
    }
    put(m, bytes, size);
}

static void u8(struct draft *m, uint64_t x)
{
    number(m, x, 1);
}
static void u16(struct draft *m, uint64_t x)
{
    number(m, x, 2);
}
static void u32(struct draft *m, uint64_t x)
{
    number(m, x, 4);
}
static void u64(struct draft *m, uint64_t x)
{
    number(m, x, 8);
}

static void bytes(struct draft *m, struct facts *f, size_t size)
{
    u32(m, size);
    for (size_t i = 0; i < size; i += 8) {
        uint64_t x = dice(f, UINT64_MAX);
        memcpy(m->bytes + m->size + i, &x, size - i < 8 ? size - i : 8);
    }
    m->size += size;
}

static void str(struct draft *m, const char *text)
{
    u32(m, strlen(text));
    put(m, text, strlen(text));
}

static void key(struct draft *m, const struct facts *f)
{
    u64(m, f->key.node);
    u32(m, f->key.number);
}

/* CPUs, and now and then something that has a name. */
static void amounts(struct draft *m, struct facts *f)
{
    uint64_t named = dice(f, 8) == 0;
    u8(m, 1 + named);
    u8(m, RESOURCE_CPU);
    u64(m, f->units);
    if (named) {
        u8(m, RESOURCE_BASIC);
        str(m, "tape");
        u64(m, dice(f, 3));
    }
}

static void demand(struct draft *m, struct facts *f)
{
    u8(m, 1);
    u8(m, RESOURCE_CPU);
    u64(m, f->units);
    u8(m, 0);
    u8(m, DEMAND_DEFAULT);
    u8(m, dice(f, 8) == 0);
    u64(m, 0);
    u64(m, 0);
    u16(m, 0);
    str(m, "");
}

/* ---- between a node and its head -------------------------------------------------------------------- */

static void make_membership(struct draft *m, struct facts *f, enum wire_op op)
{
    switch (op) {
    case WIRE_JOIN:
        u32(m, WIRE_VERSION);
        u64(m, f->session);
        u64(m, 0);
        u64(m, f->units);
        u64(m, 1ull << 30);
        u16(m, 7);
        str(m, "some-host");
        str(m, "epoll (io_uring refused by a seccomp filter)");
        put(m, (uint8_t[WIRE_IP_BYTES]){0}, WIRE_IP_BYTES);
        amounts(m, f);
        str(m, "zone=a");
        break;
    case WIRE_WELCOME:
        u64(m, f->head);
        break;
    case WIRE_REFUSED:
        u32(m, (uint32_t)MOB_ERR_NODE_LOST);
        str(m, "this incarnation was declared dead");
        break;
    case WIRE_NODE:
        u64(m, f->node);
        str(m, "127.0.0.1:7");
        str(m, "other-host");
        u64(m, 1ull << 30);
        str(m, "io_uring");
        amounts(m, f);
        str(m, "");
        break;
    case WIRE_DEAD:
        u64(m, f->node);
        break;
    case WIRE_HEARTBEAT:
        amounts(m, f);
        u64(m, 1000);
        u32(m, 3);
        break;
    case WIRE_STATUS:
        u64(m, dice(f, 4));
        break;
    case WIRE_STATUS_TEXT:
        u64(m, dice(f, 4));
        u8(m, dice(f, 2));
        str(m, "[]");
        break;
    default: /* GOODBYE, SYNCED: the op alone */
        break;
    }
}

static void make_planning(struct draft *m, struct facts *f, enum wire_op op)
{
    switch (op) {
    case WIRE_REPORT:
        amounts(m, f);
        break;
    case WIRE_DEMAND:
        key(m, f);
        u32(m, f->cls);
        demand(m, f);
        u32(m, 1);
        u32(m, dice(f, 4));
        u32(m, 1);
        u64(m, f->node);
        u64(m, 1000);
        break;
    case WIRE_HELD:
        u64(m, f->lease);
        u32(m, f->epoch);
        u32(m, dice(f, 3));
        amounts(m, f);
        break;
    case WIRE_LEASE:
        u64(m, f->lease);
        u32(m, f->epoch);
        key(m, f);
        u64(m, f->self);
        u32(m, f->cls);
        demand(m, f);
        u32(m, 1);
        u32(m, 1 + dice(f, 2));
        break;
    case WIRE_GRANT:
        u64(m, f->lease);
        u32(m, f->epoch);
        key(m, f);
        u32(m, f->cls);
        u64(m, f->node);
        u32(m, dice(f, 3));
        break;
    default:
        break;
    }
}

/* ---- groups ------------------------------------------------------------------------------------------- */

static void put_bundles(struct draft *m, struct facts *f, uint64_t count)
{
    u64(m, 1 + dice(f, 4));
    u8(m, dice(f, 5));
    u8(m, count);
    for (uint64_t i = 0; i < count; i++) {
        amounts(m, f);
    }
    bool gang = dice(f, 2);
    u8(m, gang);
    if (gang) {
        u64(m, dice(f, 2) ? f->node : 0);
        str(m, dice(f, 2) ? "a=b" : "");
    }
}

static void make_group(struct draft *m, struct facts *f, enum wire_op op)
{
    uint64_t count = 1 + dice(f, 3), id = 1 + dice(f, 4);
    if (op >= WIRE_GROUP_MAKE) {
        u32(m, f->job);
    }
    switch (op) {
    case WIRE_GROUP:
        key(m, f);
        put_bundles(m, f, count);
        break;
    case WIRE_GROUP_AT:
        u64(m, id);
        u8(m, dice(f, 7));
        u8(m, count);
        break;
    case WIRE_HOLD:
        u64(m, 1 + dice(f, 4));
        u64(m, id);
        u8(m, 1 + dice(f, 2));
        u8(m, dice(f, 5));
        amounts(m, f);
        return;
    case WIRE_HOLD_SAID:
        u64(m, 1 + dice(f, 4));
        u8(m, dice(f, 5));
        amounts(m, f);
        return;
    case WIRE_GROUP_MAKE:
        put_bundles(m, f, count);
        return;
    case WIRE_GROUP_NEWS:
        u8(m, dice(f, 7));
        put_bundles(m, f, count);
        break;
    default: /* GROUP_END, _DROP, _GONE */
        u64(m, id);
        return;
    }
    uint64_t words = op == WIRE_GROUP_NEWS ? count : 2 * count;
    for (uint64_t i = 0; i < words; i++) {
        u64(m, dice(f, 2) ? f->node : dice(f, 4));
    }
}

/* ---- from an owner ------------------------------------------------------------------------------------ */

/* With one dimension more than there may be, now and then. */
static void put_meta(struct draft *m, struct facts *f)
{
    uint64_t dims = dice(f, 30) ? dice(f, MOB_DIMS_MAX + 1) : MOB_DIMS_MAX + 1;
    u8(m, dice(f, 256));
    u32(m, dice(f, 64));
    u8(m, dims);
    for (uint64_t i = 0; i < dims; i++) {
        u64(m, dice(f, 100));
    }
}

static void put_order(struct draft *m, struct facts *f)
{
    uint64_t count = 1 + dice(f, FOLD_ARRAYS_MAX);
    u8(m, dice(f, FOLD_OPS));
    u8(m, dice(f, FOLD_TYPES));
    u64(m, 8 * (1 + dice(f, 100000)));
    u8(m, count);
    for (uint64_t i = 0; i < count; i++) {
        u64(m, dice(f, 2) ? f->node : f->self);
        u64(m, 1ull << 32 | (1 + dice(f, 20)) << 4);
    }
}

static void make_fold(struct draft *m, struct facts *f, enum wire_op op)
{
    if (op == WIRE_FOLD) {
        u64(m, dice(f, 2) ? f->node : f->self);
        u32(m, f->job);
        u64(m, f->token);
    }
    u64(m, dice(f, 8));
    if (op == WIRE_FOLD) {
        put_order(m, f);
    } else if (op == WIRE_FLOWS) {
        u8(m, dice(f, 2));
    }
}

static void put_argument(struct draft *m, struct facts *f)
{
    uint64_t kind = dice(f, 6), meta = dice(f, 4) == 0 ? WIRE_META : 0;
    u8(m, kind | meta);
    if (kind != WIRE_VALUE) {
        u64(m, 1ull << 32 | (1 + dice(f, 20)) << 4);
    }
    if (kind == WIRE_REMOTE) {
        u64(m, 1 + dice(f, 100000));
    } else if (kind == WIRE_AWAY) {
        u64(m, 1 + dice(f, 100000));
        u64(m, dice(f, 2) ? f->node : f->self);
    } else if (kind == WIRE_ORDER) {
        put_order(m, f);
    } else if (kind == WIRE_ERROR) {
        u32(m, (uint32_t)MOB_ERR_TASK_FAILED);
        str(m, "an argument that failed");
    } else {
        bytes(m, f, kind == WIRE_OBJECT && dice(f, 3) == 0 ? dice(f, 4000) : dice(f, 32));
    }
    if (meta) {
        put_meta(m, f);
    }
}

static void put_meeting(struct draft *m, struct facts *f)
{
    u32(m, 1 + (uint32_t)dice(f, 3));
    u32(m, 1 + (uint32_t)dice(f, 3));
    u32(m, (uint32_t)dice(f, 4));
    u32(m, (uint32_t)dice(f, 3));
}

static void make_owner(struct draft *m, struct facts *f, enum wire_op op)
{
    static const uint8_t hash[WIRE_HASH_BYTES] = {1, 2, 3};
    u32(m, f->job);
    switch (op) {
    case WIRE_OPEN:
        key(m, f);
        str(m, "a-job");
        put(m, hash, sizeof hash);
        u64(m, f->exe_size);
        u64(m, f->start_size);
        u64(m, f->token);
        break;
    case WIRE_CLOSE:
        u8(m, dice(f, 2));
        break;
    case WIRE_TASKS: {
        uint32_t count = (uint32_t)dice(f, 4);
        u64(m, f->lease);
        u32(m, f->epoch);
        u32(m, f->cls);
        demand(m, f);
        u32(m, count);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t nargs = (uint32_t)dice(f, 4);
            u32(m, dice(f, 8));
            u64(m, 1ull << 32 | (1 + dice(f, 8)) << 4);
            u8(m, 3);
            u8(m, dice(f, 2));
            u8(m, 1 + dice(f, 3));
            u8(m, nargs);
            str(m, "a_function");
            str(m, "a name");
            for (uint32_t k = 0; k < nargs; k++) {
                put_argument(m, f);
            }
        }
        break;
    }
    case WIRE_SOURCE:
        u64(m, 1ull << 32 | (1 + dice(f, 8)) << 4);
        u64(m, dice(f, 16));
        u64(m, dice(f, 2) ? f->node : f->self);
        break;
    case WIRE_MET:
        put_meeting(m, f);
        u32(m, dice(f, 2) ? (uint32_t)MOB_ERR_CANCELLED : MOB_OK);
        str(m, "");
        break;
    case WIRE_LET_GO:
        u32(m, 1);
        u64(m, 1ull << 32 | (1 + dice(f, 8)) << 4);
        u8(m, dice(f, 2));
        break;
    default: /* RELEASE, CANCEL */
        u32(m, 1);
        u32(m, op == WIRE_RELEASE ? f->proxy : dice(f, 8));
        u64(m, op == WIRE_RELEASE ? f->proxy_link : 1ull << 32 | (1 + dice(f, 8)) << 4);
        if (op == WIRE_RELEASE) {
            u8(m, dice(f, 3));
        } else {
            u8(m, (uint8_t[]){0, 2, 3, 0x80, 0x83}[dice(f, 5)]);
            u64(m, dice(f, 1000));
        }
        break;
    }
}

/* ---- back to the owner ---------------------------------------------------------------------------------- */

static void put_result(struct draft *m, struct facts *f)
{
    u32(m, f->slot);
    u64(m, f->link);
    u32(m, dice(f, 8));
    u64(m, 1ull << 32 | (1 + dice(f, 8)) << 4);
    if (dice(f, 4) == 0) {
        u32(m, (uint32_t)MOB_ERR_TASK_FAILED);
        str(m, "it failed there");
        return;
    }
    uint32_t nrets = 1 + (uint32_t)dice(f, 2);
    u32(m, MOB_OK);
    u8(m, nrets);
    for (uint32_t i = 0; i < nrets; i++) {
        uint64_t meta = dice(f, 4) == 0 ? WIRE_META : 0;
        if (dice(f, 2)) {
            u8(m, (uint8_t)(WIRE_REMOTE | meta | (dice(f, 2) ? WIRE_STAYS : 0)));
            u64(m, 5000 + dice(f, 100000));
        } else {
            u8(m, WIRE_VALUE | meta);
            bytes(m, f, dice(f, 2) ? dice(f, 128) : dice(f, 4000));
        }
        if (meta) {
            put_meta(m, f);
        }
    }
}

static void make_guest(struct draft *m, struct facts *f, enum wire_op op)
{
    u32(m, f->job);
    switch (op) {
    case WIRE_FAILED:
        u8(m, dice(f, 2));
        str(m, "no worker starts here");
        break;
    case WIRE_DONE:
        u32(m, 1);
        put_result(m, f);
        break;
    case WIRE_BACK:
        u32(m, 1);
        u32(m, f->slot);
        u64(m, f->link);
        u8(m, dice(f, 2));
        break;
    case WIRE_OUTPUT:
        u8(m, 1 + dice(f, 2));
        str(m, "a line\n");
        break;
    case WIRE_COPY:
        u64(m, f->link);
        u8(m, dice(f, 2));
        break;
    case WIRE_MEET:
        put_meeting(m, f);
        str(m, dice(f, 2) ? "an address" : "");
        break;
    default: /* CLOSED: the number alone */
        break;
    }
}

/* ---- between any two ------------------------------------------------------------------------------------ */

static void make_question(struct draft *m, struct facts *f, enum wire_op op)
{
    /* Not rm, which is obeyed: the objects of these tests are looked for at the end. */
    static const char *const asks[] = {"stat", "boards", "ls",      "sums",
                                       "show", "uses",   "bytes",   "sum",
                                       "copy", "put",    "nonsense"};
    char text[256];
    u64(m, dice(f, 4));
    if (op == WIRE_TOLD) {
        u32(m, dice(f, 2) ? (uint32_t)MOB_ERR_NOT_FOUND : MOB_OK);
        u8(m, dice(f, 2));
        str(m, "{}");
        return;
    }
    snprintf(text, sizeof text,
             "{\"what\":\"%s\",\"job\":%u,\"link\":%llu,\"owner\":%llu,\"record\":%u,"
             "\"filter\":{\"min_bytes\":%u}}",
             asks[dice(f, sizeof asks / sizeof asks[0])], f->job,
             (unsigned long long)(1ull << 32 | dice(f, 64) << 4),
             (unsigned long long)f->node, (unsigned)dice(f, 5000),
             (unsigned)dice(f, 100));
    str(m, dice(f, 16) ? text : "[\"what\"");
}

void message_make(struct draft *m, struct facts *f, enum wire_op op)
{
    m->size = m->fields = 0;
    u8(m, op);
    bool owner = op == WIRE_SOURCE || op == WIRE_LET_GO || op == WIRE_MET;
    if (op == WIRE_GROUPS_SAID) {
        return; /* it has no fields */
    }
    if (op >= WIRE_GROUP && op <= WIRE_GROUP_GONE) {
        make_group(m, f, op);
    } else if (owner || op == WIRE_COPY || op == WIRE_MEET) {
        (owner ? make_owner : make_guest)(m, f, op);
    } else if (op >= WIRE_FOLD) {
        make_fold(m, f, op);
    } else if (op >= WIRE_ASK) {
        make_question(m, f, op);
    } else if (op >= WIRE_CLOSED) {
        make_guest(m, f, op);
    } else if (op >= WIRE_OPEN) {
        make_owner(m, f, op);
    } else if (op >= WIRE_REPORT && op <= WIRE_GRANT) {
        make_planning(m, f, op);
    } else {
        make_membership(m, f, op);
    }
}

/* ---- harm ------------------------------------------------------------------------------------------------- */

static uint64_t extreme(struct facts *f, size_t size)
{
    static const uint64_t some[] = {0,
                                    1,
                                    UINT64_MAX,
                                    UINT64_MAX - 1,
                                    0x7fffffffffffffffull,
                                    0x8000000000000000ull,
                                    0x7fffffffull,
                                    0x80000000ull,
                                    0xffffffffull,
                                    0x100000000ull,
                                    ARENA_OBJECT_MAX,
                                    ARENA_OBJECT_MAX + 1,
                                    0xffff,
                                    0x10000,
                                    16,
                                    17};
    uint64_t x = some[dice(f, sizeof some / sizeof some[0])];
    return size > 0 && size < 8 && dice(f, 2) ? (1ull << (8 * size - 1)) - dice(f, 2) : x;
}

static void scribble(struct draft *m, struct facts *f, size_t from, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        m->bytes[from + i] = (uint8_t)dice(f, 256);
    }
}

void message_harm(struct draft *m, struct facts *f, enum harm how)
{
    size_t room = sizeof m->bytes - m->size, more;
    switch (how) {
    case HARM_CUT:
        m->size = dice(f, m->size);
        break;
    case HARM_GROWN:
        more = dice(f, 20) ? 1 + dice(f, 64) : 1 + dice(f, room);
        scribble(m, f, m->size, more);
        m->size += more;
        break;
    case HARM_EXTREME: {
        uint32_t i = m->fields > 1 ? 1 + (uint32_t)dice(f, m->fields - 1) : 0;
        size_t size = m->field[i].size < 8 ? m->field[i].size : 8;
        uint64_t x = extreme(f, size);
        memcpy(m->bytes + m->field[i].at, &x, size);
        break;
    }
    case HARM_BIT:
        m->bytes[dice(f, m->size)] ^= (uint8_t)(1u << dice(f, 8));
        break;
    case HARM_BYTES:
        for (uint64_t n = 1 + dice(f, 8); n; n--) {
            m->bytes[dice(f, m->size)] = (uint8_t)dice(f, 256);
        }
        break;
    case HARM_OP:
        m->bytes[0] = (uint8_t)dice(f, WIRE_OPS + 3);
        break;
    default:
        m->size = 1 + dice(f, 400);
        scribble(m, f, 1, m->size - 1);
        break;
    }
}
