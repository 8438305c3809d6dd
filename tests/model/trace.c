/* trace.c - the steps of one execution, for people. */
#include <stdio.h>

#include "model_int.h"

struct step {
    struct option option;
    struct model_op op;
    uint64_t result;
};

char trace_failure[512];
static struct step steps[STEPS_MAX];
static unsigned steps_count;

void trace_begin(void)
{
    steps_count = 0;
    trace_failure[0] = 0;
}

void trace_step(struct option o, const struct model_op *op, uint64_t result)
{
    if (steps_count == STEPS_MAX) {
        model_fail("no end after %d steps", STEPS_MAX);
    }
    steps[steps_count++] = (struct step){o, *op, result};
}

static const char *const kind_text[] = {"start", "load", "store", "swap",  "add",
                                        "sub",   "or",   "and",   "cas",   "fence",
                                        "pause", "wait", "wake",  "death", "return"};

static const char *order_text(int order)
{
    static const char *const text[] = {"relaxed", "acquire", "release", "acq_rel"};
    return order == AT_SEQ_CST ? "seq_cst" : text[order & 3];
}

static void print_step(unsigned at, const struct step *s)
{
    const struct model_op *op = &s->op;
    const char *name = model_name(s->option.fiber);
    char place[64] = "";
    if (op->word) {
        memory_name(op->word, place, sizeof place);
    }
    printf("  %3u %-10s ", at, name);
    if (s->option.kind == KILL) {
        printf("KILLED before its %s\n", kind_text[op->kind]);
        return;
    }
    if (s->option.kind == UNPARK) {
        printf("wakes for no reason\n");
        return;
    }
    printf("%-6s", kind_text[op->kind]);
    unsigned long long value = op->value, was = op->expected, result = s->result;
    switch (op->kind) {
    case OP_LOAD:
        printf(" %s = %llx", op->expr, result);
        break;
    case OP_STORE:
        printf(" %s := %llx", op->expr, value);
        break;
    case OP_CAS:
        printf(" %s: %llx -> %llx%s", op->expr, was, value, op->done ? "" : ", failed");
        break;
    case OP_WAIT:
        printf(" %s: has %llx, expects %llx: %s", op->expr, value, was,
               value == was ? "sleeps" : "goes on");
        break;
    case OP_WAKE:
        printf(" %s: woke %llu", op->expr, result);
        break;
    case OP_DEATH:
        printf(" of %s", model_name((unsigned)result));
        break;
    default:
        if (op->word) {
            printf(" %s: was %llx, with %llx", op->expr, result, value);
        }
    }
    if (op->word && op->kind != OP_WAIT && op->kind != OP_WAKE) {
        printf(" (%s%s)", order_text(op->order),
               s->option.variant ? ", NOT THE NEWEST" : "");
    }
    printf(op->function[0] ? "   %s in %s()\n" : "\n", place, op->function);
}

void trace_print(void)
{
    for (unsigned i = 0; i < steps_count; i++) {
        print_step(i, &steps[i]);
    }
    printf("  %s\n", trace_failure);
}
