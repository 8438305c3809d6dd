/* gang.c - gangs: submitting one, and being a member.
 *
 * A gang's seats are filled and published as tasks are, and then handed to the daemon, which keeps them and makes
 * the members (runtime/node/gang.h). A member is a task of the library's own function, gang_member(): it meets
 * the others once, which is how all wait until all have slots, and then runs what the program submitted. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "core/gang.h"
#include "core/park.h"
#include "core/status.h"
#include "local.h"
#include "submit.h"

struct gang_part { /* of the member that a task is */
    struct gang_ticket ticket;
    uint32_t round; /* of the next meeting */
    bool brought;   /* the daemon has what we bring to it */
    char host[64];
};

/* ---- being a member ---------------------------------------------------------------------------------------- */

/* Asks for what all have brought. MOB_ERR_TIMEOUT: not yet. */
static mob_status ask_once(struct mob_task *task, struct local_msg *m, const void *mine,
                           size_t size, uint8_t *all)
{
    struct gang_part *p = task->gang;
    uint64_t offset = 0, total;
    do {
        local_msg_init(m, LOCAL_MEET);
        m->arg[0] = p->ticket.home;
        m->arg[1] = (uint64_t)p->ticket.gang << 32 | p->ticket.turn;
        m->arg[2] = (uint64_t)p->ticket.rank << 32 | p->round;
        m->arg[3] = offset;
        if (size && !p->brought) {
            memcpy(m->text, mine, size);
            m->text_size = (uint32_t)size;
        }
        mob_status st = client_ask(task->mob, m, NULL, 0, NULL, NULL);
        p->brought = true;
        MOB_TRY(st);
        total = m->arg[0];
        if (p->round == 0) {
            snprintf(p->host, sizeof p->host, "%.63s", m->text);
            return MOB_OK;
        }
        if (total != size * p->ticket.size || m->text_size > total - offset ||
            (m->text_size == 0 && offset < total)) {
            return status_fail(MOB_ERR_PROTOCOL,
                               "the node's daemon sent a malformed answer");
        }
        if (m->text_size) {
            memcpy(all + offset, m->text, m->text_size);
        }
        offset += m->text_size;
    } while (offset < total);
    return MOB_OK;
}

static mob_status meet(struct mob_task *task, const void *mine, size_t size, uint8_t *all,
                       uint64_t timeout_ns)
{
    struct mob *mob = task->mob;
    struct thread *t;
    struct limit limit = {.timeout_ns = timeout_ns};
    MOB_TRY(client_thread(mob, &t));
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    mob_status st;
    for (;;) {
        /* Noted, then asked; pairs with the daemon, which has the answer and then bumps the word. */
        uint32_t seen = at_load(&mob->proc->wake, AT_SEQ_CST);
        st = ask_once(task, m, mine, size, all);
        if (st != MOB_ERR_TIMEOUT || timeout_ns == 0 ||
            clock_now_ns() >= limit_deadline(&limit)) {
            break;
        }
        client_tidy(mob, t); /* that may be what it is woken for */
        (void)park_client(mob, t, &mob->proc->wake, seen, limit_deadline(&limit));
    }
    if (st != MOB_ERR_TIMEOUT) {
        task->gang->round++;
        task->gang->brought = false;
    }
    free(m);
    return st;
}

static mob_status gang_member(struct mob_task *task)
{
    struct gang_part part = {.round = 0};
    const void *bytes;
    size_t size, last = mob_arg_count(task) - 1;
    if (mob_arg_count(task) == 0 || mob_arg(task, last, &bytes, &size) != MOB_OK ||
        size <= GANG_TICKET_MIN || size > sizeof part.ticket) {
        return mob_fail(task, "a gang's member was submitted by somebody else");
    }
    memcpy(&part.ticket, bytes, size);
    part.ticket.fn[MOB_NAME_MAX] = '\0';
    mob_fn fn = registry_fn(part.ticket.fn);
    if (!fn) {
        task->fails_as = MOB_ERR_NO_FUNCTION;
        return mob_fail(
            task,
            "no function '%s' is registered in the worker; functions must be "
            "registered before mob_init() in every process (MOB_REGISTER does it)",
            part.ticket.fn);
    }
    /* From here on the ticket is no argument. Arguments end with it, so that the others stand as they did. */
    task->call.counts = call_counts((uint32_t)last, call_nrets(&task->call));
    task->known &= ~(1u << last);
    task->gang = &part;
    mob_status st = meet(task, NULL, 0, NULL, MOB_FOREVER);
    if (!st) {
        status_forget();
        st = fn(task);
    }
    task->gang = NULL;
    return st;
}
MOB_REGISTER_AS(gang_member, GANG_TASK);

unsigned mob_gang_rank(const struct mob_task *task)
{
    return task->gang ? task->gang->ticket.rank : 0;
}

unsigned mob_gang_size(const struct mob_task *task)
{
    return task->gang ? task->gang->ticket.size : 1;
}

const char *mob_gang_host(const struct mob_task *task)
{
    return task->gang ? task->gang->host : "127.0.0.1";
}

mob_status mob_gang_exchange(struct mob_task *task, const void *mine, size_t size,
                             void *all, uint64_t timeout_ns)
{
    if (size > MOB_EXCHANGE_MAX || (size && (!mine || !all))) {
        return status_fail(
            MOB_ERR_INVALID,
            "mob_gang_exchange: %zu bytes (at most %d), or no place for them", size,
            MOB_EXCHANGE_MAX);
    }
    if (task->gang) {
        return meet(task, mine, size, all, timeout_ns);
    }
    if (size) {
        memcpy(all, mine, size);
    }
    return MOB_OK;
}

/* ---- submitting ------------------------------------------------------------------------------------------------ */

/* The arguments as each seat has them: large values become one object that all have. */
struct shared {
    struct mob_arg args[MOB_ARGS_MAX];
    mob_ref made[MOB_ARGS_MAX];
    uint32_t made_count;
};

static mob_status share(struct mob *mob, struct mob_args args, struct shared *ret)
{
    ret->made_count = 0;
    for (size_t i = 0; i < args.count; i++) {
        ret->args[i] = args.args[i];
        if (args.args[i].data && args.args[i].size > RECORD_VALUE_MAX) {
            mob_ref *ref = &ret->made[ret->made_count];
            MOB_TRY(
                mob_put(mob, args.args[i].data, args.args[i].size, FULL_WAIT_NS, ref));
            ret->made_count++;
            ret->args[i] = mob_arg_ref(*ref);
        }
    }
    return MOB_OK;
}

static void drop_shared(struct mob *mob, const struct shared *s)
{
    for (uint32_t i = 0; i < s->made_count; i++) {
        mob_release(mob, s->made[i]); /* the seats' uses keep them */
    }
}

/* Takes back what the daemon did not take over. */
static void take_back(struct mob *mob, struct thread *t, const uint64_t *links,
                      size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t s;
        struct record *r = lane_find(&t->lane, links[i], &s);
        if (r && state_phase(s) == PHASE_CREATING && state_holder(s) == mob->self) {
            if (t->task) {
                task_remove_child(&mob->board, t->task->link, task_attempt(t->task));
            }
            task_unpublish_kept(&t->lane, r);
        }
    }
}

static mob_status hand_over(struct mob *mob, const uint64_t *links, size_t n)
{
    struct local_msg *m = malloc(sizeof *m);
    if (!m) {
        return status_fail(MOB_ERR_NOMEM, "no memory for a message");
    }
    local_msg_init(m, LOCAL_GANG);
    m->arg[0] = n;
    m->text_size = (uint32_t)(n * sizeof *links);
    memcpy(m->text, links, m->text_size);
    mob_status st = client_ask(mob, m, NULL, 0, NULL, NULL);
    free(m);
    return st;
}

static mob_status submit_all(struct mob *mob, struct thread *t, const struct plan *plan,
                             const struct mob_arg *args, size_t n, uint64_t *links)
{
    size_t made = 0;
    mob_status st = MOB_OK;
    for (; made < n && !st; made += !st) {
        struct record *r;
        st = client_record(mob, t, plan->no_wait ? 0 : CLOCK_NEVER, &r);
        if (!st) {
            st = submit_record(mob, t, r, plan, args, &links[made]);
            if (st) {
                lane_unrecord(&t->lane, r);
            }
        }
    }
    st = st ? st : hand_over(mob, links, n);
    if (st) {
        take_back(mob, t, links, made);
    }
    return st;
}

static mob_status check(const struct mob *mob, struct mob_args args, size_t n,
                        const mob_ref *ret)
{
    if (!ret || (args.count && !args.args) || args.count >= MOB_ARGS_MAX || n == 0 ||
        n > MOB_GANG_MAX) {
        return status_fail(
            MOB_ERR_INVALID,
            "mob_submit_gang: %zu members (1 to %d), %zu arguments (at most %d), "
            "or NULL in place of arguments or ids",
            n, MOB_GANG_MAX, args.count, MOB_ARGS_MAX - 1);
    }
    if (mob->inline_tasks) {
        return status_fail(
            MOB_ERR_UNSUPPORTED,
            "MOBULA_INLINE runs one task after the other, and the members of a "
            "gang run at once");
    }
    return MOB_OK;
}

mob_status mob_submit_gang_at(struct mob *mob, mob_fn fn, struct mob_args args,
                              const struct mob_options *options, size_t n, mob_ref *ret,
                              struct mob_site *site)
{
    struct thread *t;
    uint64_t links[MOB_GANG_MAX];
    struct mob_options usual = MOB_OPTIONS_INIT;
    struct plan plan = {.kept = true};
    struct shared shared;
    MOB_TRY(client_thread(mob, &t));
    MOB_TRY(check(mob, args, n, ret));
    MOB_TRY(client_health(mob));
    MOB_TRY(submit_note_fn(mob, t, fn));
    t->plain_site = site;
    t->plain_number = client_site(mob, site);
    t->plain_origin = record_origin_word(t->plain_number, t->fn_id);
    plan.call.fn = plan.name = t->fn_id;
    MOB_TRY(submit_plan(mob, t, options ? options : &usual, (uint32_t)args.count, &plan));
    MOB_TRY(submit_look_at_args(&plan.call, args.args, GANG_ROOM_BYTES));
    mob_status st = share(mob, args, &shared);
    st = st ? st : submit_all(mob, t, &plan, shared.args, n, links);
    drop_shared(mob, &shared);
    uint32_t nrets = call_nrets(&plan.call);
    for (size_t i = 0; i < n * nrets && !st; i++) {
        ret[i] = client_ref(mob, links[i / nrets], (uint32_t)(i % nrets));
    }
    return st;
}

mob_status(mob_submit_gang)(struct mob *mob, mob_fn fn, struct mob_args args,
                            const struct mob_options *options, size_t n, mob_ref *ret)
{
    static struct mob_site somewhere;
    return mob_submit_gang_at(mob, fn, args, options, n, ret, &somewhere);
}
