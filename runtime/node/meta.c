/* meta.c - what results are, for other nodes: found on a board that clients can write. */
#include "cluster.h"
#include "store/meta.h"

bool node_meta(struct job *j, uint64_t link, struct mob_meta *ret)
{
    enum { DEEP_MAX = 64 };
    struct mob_meta m = {.struct_size = sizeof m};
    for (int deep = 0; deep < DEEP_MAX; deep++) {
        uint64_t s;
        struct record *r = lane_find(&j->lane, link, &s);
        if (!r || !state_sealed_good(s)) {
            return false;
        }
        if (meta_find(r, link_ret(link), &m)) {
            *ret = m;
            return true;
        }
        struct call call = record_call(r);
        struct place p = link_ret(link) < call_nrets(&call)
                             ? record_get_place(r, link_ret(link))
                             : (struct place){PLACE_EMPTY, 0, 0, 0};
        if (p.kind != PLACE_REF) {
            return false;
        }
        link = p.size;
    }
    return false;
}
