/* probe.c - bytes that tools pull to see how fast the way to this node is, and which one it is.
 *
 * They are made when somebody asks first, and stay: the same memory each time, so that nobody can ask
 * for more than WIRE_PROBE_BYTES of it. */
#include <sys/mman.h>

#include "cluster.h"
#include "core/status.h"

mob_status probe_export(struct cluster *c, struct transport_export *ret)
{
    if (!c->probe) {
        const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
        /* cppcheck-suppress invalidFunctionArg ; -1 goes with MAP_ANONYMOUS */
        void *map = mmap(NULL, WIRE_PROBE_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (map == MAP_FAILED) {
            return status_fail(MOB_ERR_NOMEM, "no memory for a probe: %m");
        }
        c->probe = map;
        cluster_map(c->node, map, WIRE_PROBE_BYTES, false);
    }
    ret->base = c->probe;
    ret->size = WIRE_PROBE_BYTES;
    ret->cookie = (c->last_probe += 2) | 1; /* odd: no export_pin's address */
    return MOB_OK;
}

void probe_free(struct cluster *c)
{
    if (c->probe) {
        munmap(c->probe, WIRE_PROBE_BYTES);
        c->probe = NULL;
    }
}
