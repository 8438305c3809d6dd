/* Time: the loop's and the clock's, or that of the fake network, which is virtual. */
#include "verbs.h"

uint64_t verbs_now(const struct verbs *v)
{
    return v->net != NULL ? fake_net_now_ns(v->net) : clock_now_ns();
}

static void due_in_loop(struct loop_timer *loop)
{
    struct verbs_timer *timer = LOOP_OWNER(loop, struct verbs_timer, loop);
    timer->fired(timer);
}

static void due_in_net(struct fake_timer *fake)
{
    struct verbs_timer *timer = LOOP_OWNER(fake, struct verbs_timer, fake);
    timer->fired(timer);
}

void verbs_timer_start(struct verbs *v, struct verbs_timer *timer, uint64_t deadline_ns,
                       void (*fired)(struct verbs_timer *timer))
{
    timer->fired = fired;
    if (v->net != NULL) {
        fake_net_timer_start(v->net, &timer->fake, deadline_ns, due_in_net);
    } else {
        loop_timer_start(v->loop, &timer->loop, deadline_ns, due_in_loop);
    }
}

void verbs_timer_stop(struct verbs *v, struct verbs_timer *timer)
{
    if (v->net != NULL) {
        fake_net_timer_stop(v->net, &timer->fake);
    } else if (v->loop != NULL) {
        loop_timer_stop(v->loop, &timer->loop);
    }
}
