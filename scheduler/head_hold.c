/* The book of holds: what nodes hold for groups or are asked to, and of no kind more than they have. */
#include "head_group.h"

void head_room_came(struct plan_head *h)
{
    h->rooms++;
    h->groups_at = 0;
}

void head_say_hold(struct plan_head *h, const struct head_hold *x)
{
    struct plan_hold word = x->word;
    if (word.state == PLAN_HOLD_HELD) { /* the node's own word: it is wanted still */
        word.state = PLAN_HOLD_WANT;
    }
    h->config.act(h->config.arg, &(struct plan_head_action){.kind = PLAN_HOLD,
                                                            .to = h->nodes[x->node].node,
                                                            .hold = &word});
}

struct head_hold *head_hold_new(struct plan_head *h, uint32_t node,
                                const struct plan_hold *word)
{
    uint32_t at = h->holds_free;
    if (at != INDEX_NONE) {
        h->holds_free = h->holds[at].next;
    } else if (h->holds_top < h->config.holds_max) {
        at = h->holds_top++;
    } else {
        return NULL;
    }
    struct head_hold *x = &h->holds[at];
    struct head_node *n = &h->nodes[node];
    *x = (struct head_hold){.used = true, .node = node, .word = *word, .next = n->holds};
    n->holds = at;
    n->holds_count++;
    resources_add(&n->booked, &word->need, 1);
    if (word->state == PLAN_HOLD_WANT) {
        resources_add(&n->asked, &word->need, 1);
    }
    index_put(&h->hold_index, word->hold, at);
    head_node_changed(h, node);
    return x;
}

void head_hold_free(struct plan_head *h, struct head_hold *x)
{
    struct head_node *n = &h->nodes[x->node];
    uint32_t at = (uint32_t)(x - h->holds), *link = &n->holds;
    while (*link != at) {
        link = &h->holds[*link].next;
    }
    *link = x->next;
    n->holds_count--;
    resources_sub(&n->booked, &x->word.need, 1);
    if (x->word.state == PLAN_HOLD_WANT) {
        resources_sub(&n->asked, &x->word.need, 1);
    }
    h->ending -= x->word.state == PLAN_HOLD_END;
    index_remove(&h->hold_index, x->word.hold);
    x->used = false;
    x->next = h->holds_free;
    h->holds_free = at;
    head_node_changed(h, x->node);
    head_room_came(h);
}

void head_hold_state(struct plan_head *h, struct head_hold *x, enum plan_hold_state state)
{
    if (x->word.state ==
        PLAN_HOLD_WANT) { /* the node's offer is without it from now on */
        resources_sub(&h->nodes[x->node].asked, &x->word.need, 1);
        head_node_changed(h, x->node);
    }
    h->ending += state == PLAN_HOLD_END && x->word.state != PLAN_HOLD_END;
    x->word.state = state;
}

void head_hold_end(struct plan_head *h, struct head_hold *x)
{
    head_hold_state(h, x, PLAN_HOLD_END);
    head_say_hold(h, x);
}
