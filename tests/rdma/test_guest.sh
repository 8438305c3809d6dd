#!/bin/sh
# test_guest.sh BUILD - in the guest: there is an RDMA device, and bytes go over it between processes as
# programs that are not ours move them; Mobula's transport and a program of its user work on this kernel.
set -u
BIN=$1/bin
WORK=$(mktemp -d /tmp/mob-rdma.XXXXXX)
# shellcheck source=tests/rdma/rdma.sh
. "$(dirname "$0")/rdma.sh"

fail()
{
    echo "FAILED: $*" >&2
    [ ! -f "$WORK/out" ] || tail -n 25 "$WORK/out" >&2
    exit 1
}

for tool in ibv_devinfo ib_read_bw ib_send_lat ss; do
    command -v $tool >/dev/null || {
        echo "skipped: $tool is missing; as root: apt-get install ibverbs-utils perftest iproute2"
        exit 77
    }
done

echo "kernel $(uname -r), $(nproc) CPUs, clock $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)"
ibv_devinfo -d rxe0 >"$WORK/out" 2>&1 || fail "ibv_devinfo: no device rxe0"
grep -q 'state:.*PORT_ACTIVE' "$WORK/out" || fail "the port of rxe0 is not up"
grep -q 'active_mtu:.*4096' "$WORK/out" || fail "the MTU of rxe0 is not 4096"
[ "$(cat /sys/class/infiniband/rxe0/ports/1/gids/1)" = 0000:0000:0000:0000:0000:ffff:0a09:0001 ] ||
    fail "GID 1 is not that of 10.9.0.1"
echo "rxe0 is up, with a GID for 10.9.0.1"

# between TOOL BYTES ARGUMENT...: a server and a client of perftest, which must have moved so many bytes.
between()
{
    tool=$1
    least=$2
    shift 2
    rdma_look
    before=$over
    "$tool" -d rxe0 -x 1 -F "$@" >"$WORK/server" 2>&1 &
    server=$!
    until ss -Hltn 'sport = 18515' | grep -q .; do
        kill -0 $server 2>/dev/null || fail "$tool does not serve: $(cat "$WORK/server")"
    done
    "$tool" -d rxe0 -x 1 -F "$@" 10.9.0.1 >"$WORK/out" 2>&1 || fail "$tool"
    wait $server || fail "the server of $tool: $(cat "$WORK/server")"
    rdma_look
    moved=$((over - before))
    echo "$tool: $moved bytes in packets"
    [ $moved -ge "$least" ] || fail "$tool moved $moved bytes of at least $least"
}

between ib_read_bw 1310720 -n 20 -s 65536
between ib_send_lat 40 -n 20 -s 2

# Two transports pull from each other over the device, in strict mode too.
rdma_look
before=$over
"$BIN/rdma_pull" 4194304 >"$WORK/out" 2>&1 || fail "rdma_pull"
rdma_look
moved=$((over - before))
echo "rdma_pull: $moved bytes in packets"
[ $moved -ge $((2 * 4194304)) ] || fail "rdma_pull moved $moved bytes over the device"
# What the transport promises, on the device. The others of the suite take minutes here, or are about TCP alone.
tests='messages_arrive*|figures_say*|what_is_not*|goodbye*|pulls_of*|an_object*|cancel_and*'
[ -z "${MOB_TEST_FULL:-}" ] || tests="$tests|closing_ends*"
"$BIN/rdma_conformance" --filter "rdma*/@($tests)" -j1 >"$WORK/out" 2>&1 ||
    fail "rdma_conformance"
grep -q 'Tested: [1-9][0-9]* ' "$WORK/out" || fail "rdma_conformance ran nothing"
tail -n 1 "$WORK/out"

# This kernel's io_uring: the transport itself, and then a whole node. Two tests are left out that look at
# 1 GiB within 2 minutes, and at 3 MiB within a second: an emulated processor does not.
"$BIN/test_conformance" --filter 'tcp/!(cancel_leaves*|goodbye_comes*)' -j1 >"$WORK/out" 2>&1 || fail "test_conformance"
tail -n 1 "$WORK/out"
XDG_RUNTIME_DIR=$WORK "$BIN/square" >"$WORK/out" 2>&1 || fail "examples/square"
[ "$(cat "$WORK/out")" = '[0, 1, 4, 9]' ] || fail "examples/square"
echo "examples/square: $(cat "$WORK/out")"
rm -rf "$WORK"
