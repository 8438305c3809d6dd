#!/bin/sh
# test_nodes.sh BUILD [SCENARIO...] - in the guest: two nodes, each with an address of the RDMA device, and
# what must come out right over it. Several scenarios a boot, since boots are dear.
#
#   MOB_EXPECT_RDMA=1   objects must go over the device; without it the test says what did
#   MOB_TEST_FULL=1     processes are killed at more points of a transfer
here=$(dirname "$0")
# shellcheck source=tests/net/lib.sh
. "$here/../net/lib.sh"
# shellcheck source=tests/rdma/rdma.sh
. "$here/rdma.sh"
PATIENCE=4
MIB=64 # the object that goes over, and the result that comes back
points=8
[ -z "${MOB_TEST_FULL:-}" ] || points='1 8 24 48'

# All that has gone between addresses of this machine, over the device and beside it, in moved (MiB). A transfer
# is to be caught in the middle, so no process is started for it.
look()
{
    read -r beside </sys/class/net/lo/statistics/rx_bytes
    rdma_look
    moved=$(((beside + over) >> 20))
}

# two_nodes [OPTION]: which both get.
two_nodes()
{
    option=${1:---rdma=auto}
    # The second alone has two CPUs: what asks for two runs there. Time enough for it to come back.
    node_start 1 --num-cpus=1 --object-store-memory=256M --unmet-grace=200 "$option"
    node_start 2 --num-cpus=2 --object-store-memory=256M "$option"
}

stop_nodes()
{
    for i in 2 1; do
        node_kill $i TERM
        node_wait $i || fail "node $i did not end well"
        : >"$WORK/node$i.log" # the next cluster's
    done
    PIDS=
}

# begin_big, then at_mib M: the driver's object is on its way, and M MiB of all that it moves are over.
begin_big()
{
    look
    moved_before=$moved
    over_before=$over
    LIMIT=120 on 1 big $MIB >"$WORK/out" 2>"$WORK/err" &
    driver=$!
}

at_mib()
{
    until look && moved=$((moved - moved_before)) && [ $moved -ge "$1" ]; do
        kill -0 "$driver" 2>/dev/null ||
            fail "the driver ended before $1 MiB were moved: $(cat "$WORK/out" "$WORK/err")"
    done
    expect_rdma $(($1 / 2)) # the rest may be other things
}

# The driver compared each byte.
end_big()
{
    wait "$driver" || fail "the driver after $*: $(cat "$WORK/out" "$WORK/err")"
    echo "$*, then $(cat "$WORK/out")"
}

# expect_rdma M: so many MiB at least went over the device since begin_big, if that is demanded.
expect_rdma()
{
    rdma_look
    if [ "${MOB_EXPECT_RDMA:-}" = 1 ] && [ $(((over - over_before) >> 20)) -lt "$1" ]; then
        fail "$(((over - over_before) >> 20)) MiB went over RDMA instead of $1: $(rdma_counters)"
    fi
}

# mobula status says how objects moved to the other node.
status_tells()
{
    MOBULA_ADDRESS=$(node_dir 1) "$BIN/mobula" status --json >"$WORK/status" || fail "mobula status"
    [ "${MOB_EXPECT_RDMA:-}" = 1 ] || return 0
    for what in '"transport": "verbs"' 'gid [0-9]* ::ffff:10\.9\.0\.[123]' '"no_rdma": ""'; do
        grep -q "$what" "$WORK/status" || fail "no $what in $(cat "$WORK/status")"
    done
    bytes=$(sed -n 's/.*"rdma_bytes": \([0-9]*\).*/\1/p' "$WORK/status" | head -n 1)
    [ "${bytes:-0}" -ge $((MIB << 20)) ] || fail "rdma_bytes $bytes in $(cat "$WORK/status")"
    echo "mobula status: $bytes bytes pulled over RDMA"
}

# The program that the library exists for, and its benchmark, whose tasks run on both.
scenario_square()
{
    two_nodes
    out=$(PROGRAM=square on 1) || fail "square"
    [ "$out" = '[0, 1, 4, 9]' ] || fail "square says $out"
    PROGRAM=square_bench on 1 --mode async --tasks 200 --payload 65536 --seconds 1 >"$WORK/out" 2>"$WORK/err" ||
        fail "square_bench: $(cat "$WORK/out" "$WORK/err")"
    echo "square: $out; square_bench: $(grep -m 1 "in flight" "$WORK/out")"
    stop_nodes
}

# Tasks run on both at the same time, and objects of many sizes and 64 MiB go over.
scenario_work()
{
    two_nodes
    on 1 squares || fail "squares"
    on 1 balance || fail "balance"
    begin_big
    end_big "nothing happened"
    expect_rdma $((2 * MIB))
    status_tells
    on 1 objects "${COUNT:-300}" || fail "objects"
    rdma_look
    echo "over the device: $(((over - over_before) >> 20)) MiB in packets; $(rdma_counters)"
    stop_nodes
}

# What check-transport says of the device, and of the way to a node: the GID that is used, and RDMA is.
scenario_check()
{
    node_start 1 --num-cpus=1 --object-store-memory=256M
    "$BIN/mobula" check-transport --need-rdma "$(address 1):$PORT" --key-file="$WORK/key" >"$WORK/out" 2>&1 ||
        fail "check-transport: $(cat "$WORK/out")"
    cat "$WORK/out"
    grep -q '  rxe0/1  *usable, active, Ethernet, MTU 4096 of 4096' "$WORK/out" || fail "the port"
    grep -q '::ffff:10.9.0.1  *RoCE v2  *d0 .* used$' "$WORK/out" || fail "the GID that is used"
    grep -q '^  TCP  *[0-9.]* us .* no ' "$WORK/out" || fail "TCP was not measured"
    grep -q '^  RDMA  *[0-9.]* us .* yes .*rxe0/1 gid' "$WORK/out" || fail "RDMA was not measured"
    "$BIN/mobula" check-transport --rdma=strict --json >"$WORK/out" 2>&1 || fail "strict: $(cat "$WORK/out")"
    grep -q '"windows": true' "$WORK/out" || fail "strict: $(cat "$WORK/out")"
    ip link set d0 down
    "$BIN/mobula" check-transport >"$WORK/out" 2>&1 && fail "all is well without a link"
    ip link set d0 up
    grep -q 'to do  *bring its network device up' "$WORK/out" || fail "what to do: $(cat "$WORK/out")"
    node_kill 1 TERM
    node_wait 1 || fail "node 1 did not end well"
    : >"$WORK/node1.log"
    PIDS=
}

# The node that pulls dies in the middle, and another one takes its place; in strict mode, where windows of
# the owner are bound to its queue pair then.
scenario_kill_puller()
{
    for point in $points; do
        two_nodes --rdma=strict
        begin_big
        at_mib "$point"
        kill_second "$point"
        end_big "the puller killed with $moved of $MIB MiB there"
        stop_nodes
    done
}

# The node that made a result dies while it is pulled: the task runs once more.
scenario_kill_owner()
{
    for point in $points; do
        two_nodes
        begin_big
        at_mib $((MIB + point))
        kill_second $((MIB + point))
        end_big "the owner killed with $((moved - MIB)) of $MIB MiB there"
        stop_nodes
    done
}

# kill_second WHEN: the head notices, and a new node 2 joins.
kill_second()
{
    node_kill 2 KILL
    node_wait 2
    [ "$moved" -lt $((($1 / MIB + 1) * MIB)) ] || fail "killed too late, at $moved MiB"
    eventually grep -q 'is dead' "$WORK/node1.log" ||
        fail "the head did not notice"
    node_start 2 --num-cpus=2 --object-store-memory=256M "$option"
}

# The port goes down in the middle: what is missing comes over TCP. It comes up, and after their pause, which
# doubles with each try that was in vain, the nodes use it again.
scenario_port_down()
{
    # TCP does not need the device: else all were down.
    for i in 1 2 3; do ip addr add 10.9.0.$i/32 dev lo || fail "no address"; done
    two_nodes
    begin_big
    at_mib 8
    ip link set d0 down || fail "ip link set d0 down"
    end_big "the port down with $moved of $MIB MiB there"
    grep -q 'the port is down' "$WORK/node1.log" || fail "nobody noticed"
    ip link set d0 up || fail "ip link set d0 up"
    tries=0
    until [ "${over_again:-0}" -ge $((2 * MIB)) ]; do
        tries=$((tries + 1))
        [ $tries -le 6 ] || fail "$over_again of $((2 * MIB)) MiB over the device that is up again"
        begin_big
        end_big "the port up again"
        rdma_look
        over_again=$(((over - over_before) >> 20))
    done
    stop_nodes
    for i in 1 2 3; do ip addr del 10.9.0.$i/32 dev lo; done
}

opened_twice()
{
    [ "$(grep -c 'rdma rxe0/1 gid .* Gb/s$' "$WORK/node$1.log")" -ge 2 ]
}

# Both nodes let go of a device that is removed, which is what `rdma link del` waits for, and take the new one.
scenario_link_gone()
{
    two_nodes
    begin_big
    at_mib 8
    timeout 60 rdma link del rxe0 || fail "rdma link del"
    end_big "the device removed with $moved of $MIB MiB there"
    [ ! -e /sys/class/infiniband/rxe0 ] || fail "rxe0 is still there"
    rdma link add rxe0 type rxe netdev d0 || fail "rdma link add"
    for i in 1 2; do
        eventually opened_twice $i || fail "node $i did not open the new device"
    done
    begin_big
    end_big "the device put back"
    expect_rdma $((2 * MIB))
    rdma_look
    echo "over the new device: $((over >> 20)) MiB in packets"
    stop_nodes
}

# TCP alone, where every packet takes 50 ms and one of 20 is lost: nobody is given up, and the driver compares
# each byte.
scenario_loss()
{
    tc qdisc add dev lo root netem delay 50ms loss 5% || fail "the kernel has no sch_netem"
    two_nodes --rdma=off
    LIMIT=120 on 1 big 2 >"$WORK/out" 2>&1 || fail "big: $(cat "$WORK/out")"
    lost=$(tc -s qdisc show dev lo | sed -n 's/.*dropped \([0-9]*\).*/\1/p' | head -n 1)
    tc qdisc del dev lo root
    echo "$lost packets lost: $(cat "$WORK/out")"
    [ "${lost:-0}" -gt 0 ] || fail "nothing was lost"
    ! grep -q 'lost node' "$WORK/node1.log" || fail "a node was lost over a slow network"
    stop_nodes
}

net_mode rdma
shift
for scenario in "${@:-check work square kill_puller kill_owner port_down link_gone loss}"; do
    for name in $scenario; do
        began=$(cut -d . -f 1 /proc/uptime)
        "scenario_$name"
        echo "$name: $(($(cut -d . -f 1 /proc/uptime) - began)) s"
    done
done
