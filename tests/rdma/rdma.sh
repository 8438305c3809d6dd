# shellcheck shell=sh
# rdma.sh - for tests in the guest, to be sourced: what went over the RDMA device.

# The sum of all packets received by rxe0 that still is there, as bytes at most: rxe counts no bytes, and
# what it moves in bulk fills its packets (MTU 4096).
rdma_bytes()
{
    packets=$(cat /sys/class/infiniband/rxe0/ports/1/hw_counters/rcvd_pkts 2>/dev/null)
    echo $((${packets:-0} * 4096))
}

# Its counters that are not zero, on one line.
rdma_counters()
{
    for file in /sys/class/infiniband/rxe0/ports/1/hw_counters/*; do
        value=$(cat "$file" 2>/dev/null) || continue
        [ "$value" = 0 ] || [ "${file##*/}" = lifespan ] || printf '%s %s, ' "${file##*/}" "$value"
    done | sed 's/, $//'
    echo
}
