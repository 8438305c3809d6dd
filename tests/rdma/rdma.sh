# shellcheck shell=sh
# rdma.sh - for tests in the guest, to be sourced: what went over the RDMA device.

# In over: what rxe0 has received, in bytes at most. It counts packets, and what moves in bulk fills them
# (MTU 4096). Both ends of a loop-back are the same device. 0 if it is gone.
rdma_look()
{
    { read -r packets </sys/class/infiniband/rxe0/ports/1/hw_counters/rcvd_pkts; } 2>/dev/null || packets=0
    # shellcheck disable=SC2034 # for the script that sources this
    over=$((packets * 4096))
}

# Its counters that are not zero, on one line.
rdma_counters()
{
    for file in /sys/class/infiniband/rxe0/ports/1/hw_counters/*; do
        value=$(cat "$file" 2>/dev/null) || continue
        [ "$value" = 0 ] || [ "${file##*/}" = lifespan ] || printf '%s %s, ' "${file##*/}" "$value"
    done | sed 's/, $//'
}
