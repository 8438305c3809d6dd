#!/bin/sh
# test_net.sh BUILD MODE CASE - several nodes; see lib.sh for MODE. Each case has a cluster of its own.
# shellcheck source=tests/net/lib.sh disable=SC1091 # found from the folder of the test
. "$(dirname "$0")/lib.sh"
CPU=--num-cpus=1
STORE=--object-store-memory=${STORE:-1G}
[ "${MOB_TEST_FULL:-}" = 1 ] && MS=${MS:-30000} # of cases that end when their time is over

two_nodes() {
    node_start 1 $CPU "$STORE"
    node_start 2 $CPU "$STORE"
}

case_squares() {
    two_nodes
    on 1 info 2 || fail "info"
    on 1 squares || fail "squares"
    on 1 squares || fail "squares a second time"
}

case_balance() {
    two_nodes
    on 1 balance || fail "balance" # the first ships the executable too
    on 1 balance || fail "balance"
}

case_three() {
    two_nodes
    node_start 3 $CPU "$STORE"
    on 1 all_nodes 3 || fail "three nodes"
}

# The two that are not the head reach each other where they listen: the head, which tells them where
# that is, does not see it (MODE each).
case_apart() {
    node_start 1 $CPU "$STORE"
    node_start 2 $CPU "$STORE"
    node_start 3 $CPU "$STORE"
    on 2 balance || fail "balance"
    grep -q "node joined .* at $(address 2):" "$WORK/node1.log" || fail "the head says something else"
}

case_nested() {
    two_nodes
    on 1 nested || fail "nested"
    on 1 errors || fail "errors"
}

# What is cancelled, passes its deadline, or is tried again is on node 2.
case_cancels() {
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    mkdir "$WORK/marks"
    on 1 cancels "$WORK/marks" || fail "cancels"
}

three_nodes() {
    two_nodes
    node_start 3 $CPU "$STORE"
}

# How many attempts of gangs have begun.
rounds() {
    grep -c 'goes round' "$WORK/out"
}

have_begun() {
    [ "$(rounds)" -ge "$1" ]
}

# A gang of three over three nodes, and a second one behind it: begun in the background, on node $1.
gang_begins() {
    LIMIT=120 on "$1" gang "${2:-$WORK/stop}" >"$WORK/out" 2>"$WORK/err" &
    driver=$!
    eventually have_begun 1 || fail "no gang has begun: $(cat "$WORK/err")"
}

gang_ends() {
    touch "$WORK/stop"
    wait "$driver" || fail "the driver failed: $(cat "$WORK/out" "$WORK/err")"
}

case_gang() {
    three_nodes
    gang_begins 2 20
    gang_ends
    have_begun 2 || fail "two gangs, and one has begun"
}

# An MPI program over three nodes, as it is.
case_gang_mpi() {
    [ -x "$BIN/pi_mpi" ] || { echo "there is no MPICH here: install mpich and libmpich-dev" && exit 77; }
    three_nodes
    PROGRAM=gang_mpi on 1 3 "$BIN/pi_mpi" >"$WORK/out" 2>&1 || fail "it failed: $(cat "$WORK/out")"
    grep -q 'rank 2 of 3: pi is 3.141592654' "$WORK/out" || fail "it says: $(cat "$WORK/out")"
}

# One of its nodes dies: all begin again, when there are three nodes again.
case_gang_node() {
    three_nodes
    gang_begins 1 # until the file is there (MODE local)
    node_kill 3 KILL
    node_wait 3
    node_start 4 $CPU "$STORE"
    eventually have_begun 2 || fail "it does not begin again"
    gang_ends
    have_begun 3 || fail "not three attempts of two gangs"
}

# The node that keeps it dies: nothing is left on the others.
case_gang_owner() {
    three_nodes
    gang_begins 2 1000000
    node_kill 2 KILL
    node_wait 2
    wait "$driver" && fail "the driver did not fail"
    eventually no_workers || fail "workers are left"
}

# The head dies: what runs goes on, and the second gang begins when there is a head again.
case_gang_head() {
    node_start 1 --num-cpus=0 "$STORE"
    node_start 2 $CPU "$STORE"
    node_start 3 $CPU "$STORE"
    node_start 4 $CPU "$STORE"
    gang_begins 2 2000
    node_kill 1 KILL
    node_wait 1
    eventually grep -q 'is lost' "$WORK/node2.log" || fail "the node did not notice"
    node_start 1 --num-cpus=0 "$STORE"
    gang_ends
    have_begun 2 || fail "the second one has not begun"
}

case_chain() {
    two_nodes
    LIMIT=120 on 1 chain 1000 || fail "chain"
}

case_objects() {
    two_nodes
    LIMIT=240 on 1 objects "${COUNT:-10000}" || fail "objects"
}

case_big() {
    node_start 1 $CPU --object-store-memory="${BIG_STORE:-2300M}"
    node_start 2 --num-cpus=2 --object-store-memory="${BIG_STORE:-2300M}"
    LIMIT=120 on 1 big "${MIB:-1024}" || fail "big"
}

# A result of 16 MiB comes here once, and does not go back to where it was made.
case_relay() {
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    on 1 relay 16 || fail "relay"
    in_and_out=$(ip netns exec "$TAG-2" cat /sys/class/net/eth0/statistics/rx_bytes \
        /sys/class/net/eth0/statistics/tx_bytes) || fail "no statistics"
    # shellcheck disable=SC2086 # two words
    set -- $in_and_out
    echo "node 2 received $1 bytes and sent $2"
    [ "$1" -lt 8000000 ] || fail "the result went back"
    [ "$2" -gt 16000000 ] || fail "the result did not come"
}

# Bytes that node I has sent, or received: tx or rx.
bytes() {
    ip netns exec "$TAG-$1" cat "/sys/class/net/eth0/statistics/$2_bytes" || fail "no statistics"
}

# Node I has received more than so many.
received() {
    [ "$(bytes "$1" rx)" -gt "$2" ]
}

# Node I sends at most so much: 400mbit.
slow() {
    if ! ip netns exec "$TAG-$1" tc qdisc add dev eth0 root tbf rate "$2" burst 256k latency 50ms; then
        echo "skipped: tc cannot shape traffic here"
        exit 77
    fi
}

# An object of 48 MiB goes to three nodes, one of which is killed on the way: from one to the other, and not
# three times from the first.
case_broadcast() {
    node_start 1 $CPU "$STORE"
    for i in 2 3 4; do
        node_start $i --num-cpus=2 "$STORE"
        slow "$i" 400mbit
    done
    slow 1 400mbit
    before=$(bytes 1 tx)
    on 1 broadcast 48 >"$WORK/out" &
    driver=$!
    eventually grep -q begun "$WORK/out" || fail "not begun"
    eventually received 3 8000000 || fail "nothing comes to node 3"
    node_kill 3 KILL
    wait $driver || fail "broadcast: $(cat "$WORK/out")"
    sent=$(($(bytes 1 tx) - before))
    cat "$WORK/out"
    grep -h 'a copy comes no more' "$WORK"/node*.log
    echo "node 1 sent $sent bytes, node 2 $(bytes 2 tx), node 3 $(bytes 3 tx), node 4 $(bytes 4 tx)"
    [ $sent -lt 115000000 ] || fail "it came from node 1 more than twice"
}

# Tasks that have the same argument at the same time, and it comes once.
case_share() {
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=8 "$STORE"
    on 1 share 16 || fail "share"
    in=$(bytes 2 rx)
    echo "node 2 received $in bytes"
    [ "$in" -lt 20000000 ] || fail "it came more than once"
    [ "$in" -gt 16777216 ] || fail "it did not come"
}

# Arrays of two nodes are added up, and one of the nodes is killed meanwhile.
case_reduce() {
    two_nodes
    on 1 reduce 2500 >"$WORK/out" &
    driver=$!
    eventually grep -q begun "$WORK/out" || fail "not begun"
    sleep 0.4
    node_kill 2 KILL
    wait $driver || fail "reduce: $(cat "$WORK/out")"
    cat "$WORK/out"
}

# Large arrays of three nodes are added up on their way from one to the next, and one of the nodes is killed.
case_fold() {
    export MOBULA_LOG_LEVEL=debug
    for i in 1 2 3 4; do
        node_start $i $CPU "$STORE"
    done
    on 1 fold "${MS:-2500}" >"$WORK/out" &
    driver=$!
    eventually grep -q begun "$WORK/out" || fail "not begun"
    sleep 0.4
    node_kill 3 KILL
    wait $driver || fail "fold: $(cat "$WORK/out")"
    cat "$WORK/out"
    sent=$(grep -c 'arrays of .* bytes are folded on their way' "$WORK/node1.log")
    came=$(cat "$WORK"/node[234].log | grep -c 'arrays of other nodes came folded')
    echo "$sent tasks had their arrays folded, in $came steps"
    if [ "$sent" -eq 0 ] || [ "$came" -le "$sent" ]; then
        fail "no chain"
    fi
}

# A node that passes arrays on is killed while they pass: what is left of the chain comes down, and the sum is right.
case_fold_break() {
    export MOBULA_LOG_LEVEL=debug
    for i in 1 2 3 4; do
        node_start $i $CPU "$STORE"
        slow "$i" 100mbit
    done
    LIMIT=120 on 1 fold 6000 >"$WORK/out" &
    driver=$!
    asked='a fold for node .* begins'
    eventually grep -q "$asked" "$WORK/node2.log" "$WORK/node3.log" "$WORK/node4.log" || fail "no chain"
    for victim in 2 3 4; do
        grep -q "$asked" "$WORK/node$victim.log" && break
    done
    node_kill "$victim" KILL
    wait $driver || fail "fold: $(cat "$WORK/out")"
    cat "$WORK/out"
    grep -h 'a fold of .* arrays does not come' "$WORK"/node[234].log || fail "it did not break"
}

# The same, without deaths, over links that are slow in both directions: for the figures.
case_fold_speed() {
    for i in $(seq "$NODES"); do
        node_start "$i" $CPU "$STORE"
        slow "$i" "${RATE:-400mbit}"
        tc qdisc add dev "$TAG.$i" root tbf rate "${RATE:-400mbit}" burst 256k latency 50ms
    done
    LIMIT=120 on 1 fold_speed "${ROUNDS:-2}" || fail "fold_speed"
}

case_urgent() {
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    slow 2 200mbit
    on 1 urgent || fail "urgent"
}

case_unwanted() {
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    slow 1 100mbit
    on 1 unwanted "$WORK/begun" >"$WORK/out" &
    driver=$!
    eventually received 2 8000000 || fail "it does not come"
    : >"$WORK/begun"
    wait $driver || fail "unwanted: $(cat "$WORK/out")"
    cat "$WORK/out"
    echo "node 2 received $(bytes 2 rx) bytes of 67108864"
    [ "$(bytes 2 rx)" -lt 30000000 ] || fail "it came to its end though nobody wanted it"
}

# lineage_begin CASE COUNT: a driver on node 1 in the background, which has made its results; go: it goes on.
lineage_begin() {
    mkfifo "$WORK/go"
    LIMIT=120 on 1 "$1" "$2" <"$WORK/go" >"$WORK/out" 2>&1 &
    driver=$!
    exec 7>"$WORK/go"
    eventually grep -q made "$WORK/out" || fail "$1: $(cat "$WORK/out")"
}

go() {
    echo >&7
}

lineage_end() {
    wait "$driver" || fail "the driver: $(cat "$WORK/out")"
    grep -q 'all are right' "$WORK/out" || fail "the driver: $(cat "$WORK/out")"
}

# Sixteen results of 8 MiB are made one of the other on node 2, and only what is looked at comes to node 1, whose
# store has no room for all of them, nor a disk.
case_lineage() {
    node_start 1 $CPU --object-store-memory=64M --spill-dir=none
    node_start 2 --num-cpus=2 "$STORE"
    lineage_begin lineage 16
    sent=$(bytes 2 tx)
    echo "node 2 made 134217728 bytes and sent $sent"
    [ "$sent" -lt 1000000 ] || fail "results came that nobody looked at"
    go
    eventually grep -q last "$WORK/out" || fail "$(cat "$WORK/out")"
    sent=$(bytes 2 tx)
    echo "one was looked at, and node 2 has sent $sent"
    [ "$sent" -lt 12000000 ] || fail "more came than was looked at"
    go
    lineage_end
}

# Of such a chain nothing is left: the node that made it is killed. Another one makes it again, in order.
case_remake() {
    node_start 1 $CPU "$STORE" --unmet-grace=120
    node_start 2 --num-cpus=2 "$STORE"
    lineage_begin lineage 3
    node_power_off 2
    node_start 3 --num-cpus=2 "$STORE"
    go
    eventually grep -q last "$WORK/out" || fail "$(cat "$WORK/out")"
    go
    lineage_end
    grep -h 'is lost with node' "$WORK/node1.log" || fail "nothing was lost"
}

# The same, in the middle of the pull.
case_remake_pull() {
    node_start 1 $CPU "$STORE" --unmet-grace=120
    node_start 2 --num-cpus=2 "$STORE"
    lineage_begin lineage 3
    slow 2 40mbit
    go
    eventually received 1 2000000 || fail "it does not come"
    grep -q last "$WORK/out" && fail "it was too fast"
    node_power_off 2
    node_start 3 --num-cpus=2 "$STORE"
    eventually grep -q last "$WORK/out" || fail "$(cat "$WORK/out")"
    go
    lineage_end
}

# They are lost, and wanted by tasks that have the only slot of those that could make them again.
case_remake_used() {
    node_start 1 $CPU "$STORE" --unmet-grace=120
    node_start 2 --num-cpus=2 "$STORE"
    lineage_begin used 4
    node_power_off 2
    node_start 3 --num-cpus=2 "$STORE"
    go
    lineage_end
}

# held HOW SAID: the only tape that is left is held by a task that waits for what has to be made again with it.
held() {
    node_start 1 $CPU "$STORE" --labels=zone=a --resources=tape=1
    node_start 2 --num-cpus=2 "$STORE" --labels=zone=b --resources=tape=1
    lineage_begin held "$1"
    status_of 1 -v >"$WORK/status"
    grep -A1 'AWAY: JOB' "$WORK/status" | grep -q '1  *1  8 MiB  [0-9a-f]*$' || fail "$(cat "$WORK/status")"
    node_power_off 2
    go
    lineage_end
    grep -h "$2" "$WORK/node1.log" "$WORK/out" || fail "nobody says so"
}

# That task runs again when it was made; so does one that waits for another one that waits for it; it may not run again.
case_remake_held() { held 1 'it makes room, and runs again'; }
case_remake_below() { held 2 'it makes room, and runs again'; }
case_remake_lost() { held 0 'may not be run a second time'; }

# An iteration keeps no more there than its last result, nor here.
case_steps() {
    node_start 1 $CPU --object-store-memory=64M --spill-dir=none
    node_start 2 --num-cpus=2 --object-store-memory=96M --spill-dir=none
    lineage_begin steps 200
    sent=$(bytes 2 tx)
    echo "node 2 made 1677721600 bytes and sent $sent"
    [ "$sent" -lt 60000000 ] || fail "more than one result in 64 came"
    go
    lineage_end
}

# What node 2 made is used on node 3, and node 1, whose job it is, has nothing of it.
case_handed() {
    node_start 1 $CPU "$STORE"
    node_start 2 $CPU "$STORE" --labels=zone=a
    node_start 3 $CPU "$STORE" --labels=zone=b
    lineage_begin handed 1
    in=$(bytes 1 rx) there=$(bytes 3 rx)
    echo "node 1 received $in bytes, node 3 $there"
    [ "$there" -gt 8388608 ] || fail "it did not come"
    [ "$in" -lt 4000000 ] || fail "it came by node 1"
    go
    lineage_end
}

case_room() {
    node_start 1 $CPU --object-store-memory=64M
    node_start 2 --num-cpus=2 --object-store-memory=256M
    on 1 room || fail "room"
}

# All lines of finished tasks are there when the driver ends, marked with their node's host.
case_lines() {
    two_nodes
    on 1 lines >"$WORK/out" || fail "lines"
    [ "$(grep -c 'ran on' "$WORK/out")" = 20 ] || fail "$(grep -c 'ran on' "$WORK/out") lines of 20"
    [ "$(sed -n 's/.*ran on //p' "$WORK/out" | sort -u | wc -l)" = 2 ] || fail "lines of one node"
}

# Nodes that encrypt work together, and take no other one; without checksums they work, too.
case_encrypt() {
    node_start 1 $CPU "$STORE" --encrypt
    node_start 2 $CPU "$STORE" --encrypt
    on 1 squares || fail "squares"
    on 1 balance || fail "balance"
    node_try 3 $CPU "$STORE"
    case $LINE in
    error*--encrypt*) ;;
    *) fail "node 3 speaks in the clear, and hears: $LINE" ;;
    esac
    on 1 info 2 || fail "it became a member"
}

case_unchecked() {
    node_start 1 $CPU "$STORE" --no-checksums
    node_start 2 $CPU "$STORE" --no-checksums
    node_start 3 $CPU "$STORE"
    on 1 all_nodes 3 || fail "three nodes"
}

# A daemon dies: what it had runs elsewhere, and the next tasks do.
case_kill_node() {
    two_nodes
    on 1 steady 3000 >"$WORK/out" &
    driver=$!
    eventually grep -q 'on both' "$WORK/out" || fail "it never ran on both nodes"
    node_kill 2 KILL
    wait $driver || fail "the driver failed: $(tail -3 "$WORK/out")"
    eventually no_workers || fail "workers are left"
}

# A daemon that is not declared dead yet, but that nobody reaches any more, gets its tasks again and again.
# They have not begun there then, so their retries are left for the node that takes its place.
case_comes_back() {
    node_start 1 $CPU "$STORE" --unmet-grace=120
    node_start 2 --num-cpus=2 "$STORE"
    LIMIT=120 on 1 big 300 >"$WORK/out" 2>&1 &
    driver=$!
    until grep -q 'goes to node' "$WORK/node1.log"; do
        kill -0 $driver || fail "the driver failed: $(cat "$WORK/out")"
    done
    node_kill 2 KILL # while its argument is on the way
    node_wait 2
    eventually grep -q 'is dead' "$WORK/node1.log" || fail "it was not declared dead"
    said=$(grep -c 'is not reached' "$WORK/node1.log")
    [ "$said" -ge 1 ] || fail "nobody tried to reach it"
    [ "$said" -le 5 ] || fail "it was said $said times that it is not reached"
    node_start 2 --num-cpus=2 "$STORE"
    wait $driver || fail "the driver failed: $(cat "$WORK/out")"
    cat "$WORK/out"
}

# The same if it is stopped in good order.
case_stop_node() {
    two_nodes
    on 1 steady 3000 >"$WORK/out" &
    driver=$!
    eventually grep -q 'on both' "$WORK/out" || fail "it never ran on both nodes"
    node_kill 2 TERM
    node_wait 2 || fail "it did not end well"
    wait $driver || fail "the driver failed: $(tail -3 "$WORK/out")"
    on 1 info 1 || fail "it is still a member"
}

# The cable to the other node is cut, and put back.
case_cut() {
    two_nodes
    on 1 steady 2000 >"$WORK/out" &
    driver=$!
    eventually grep -q 'on both' "$WORK/out" || fail "it never ran on both nodes"
    ip link set "$TAG.2" down
    lost_within 7 # heartbeats, before TCP gives up
    wait $driver || fail "the driver failed: $(tail -3 "$WORK/out")"
    eventually on 1 info 1 || fail "it is still a member"
    ip link set "$TAG.2" up
    eventually on 1 info 2 || fail "it is no member again"
    on 1 balance || fail "it does not work again"
}

# Node 2, which alone has two CPUs, reaches the head through the proxy.
two_nodes_and_proxy() {
    node_start 1 $CPU "$STORE"
    proxy_start
    node_start 2 --num-cpus=2 "$STORE"
    on 1 squares || fail "squares"
}

# disturbed WHAT BYTES LATER: the proxy does WHAT once in so many bytes: never a wrong object, and both nodes
# go on. The driver looks at every byte.
disturbed() {
    two_nodes_and_proxy
    order "$1" "$2"
    LIMIT=120 on 1 big 16 || fail "big"
    order "$1" "$3"
    LIMIT=120 on 1 endure "${MS:-3000}" >"$WORK/out" || fail "the driver failed: $(tail -3 "$WORK/out")"
    order calm
    did=$(proxy_did "$1")
    echo "$did $1, $(proxy_did connections) connections: $(tail -1 "$WORK/out")"
    [ "$did" -gt 0 ] || fail "no $1"
    eventually on 1 info 2 || fail "it is no member again"
    on 1 balance || fail "it does not work again"
}

# A network that changes bits, at last in every third chunk.
case_flips() {
    disturbed flips 16000000 3000000
}

# Connections are reset in the middle of what they carry, again and again.
case_resets() {
    disturbed resets 32000000 500000
}

# 50 ms each way, and what the loss of every 20th packet is to those above TCP: slow, and nobody is lost.
case_loss() {
    two_nodes_and_proxy
    order delay 50
    order stalls 29200 100
    LIMIT=120 on 1 big 1 || fail "big"
    LIMIT=120 on 1 endure "${MS:-3000}" || fail "objects"
    on 1 squares || fail "squares"
    echo "$(proxy_did stalls) stalls in $(proxy_did bytes) bytes"
    [ "$(proxy_did stalls)" -gt 0 ] || fail "nothing was lost"
    grep -q 'lost node' "$WORK/node1.log" && fail "a node was lost over a slow network"
    on 1 info 2 || fail "it is no member any more"
}

# lost_within SECONDS: node 2 is lost on node 1 in that time from now on.
lost_within() {
    since=$(date +%s%N)
    eventually grep -q 'lost node' "$WORK/node1.log" || fail "the lost peer was not noticed"
    took=$((($(date +%s%N) - since) / 1000000))
    echo "noticed after $took ms"
    [ $took -le $(($1 * 1000)) ] || fail "that took more than $1 s"
}

# The connection is there and nothing comes through: heartbeats notice, in 5 s (docs/WIRE.md), with one
# more for the beat and one for a machine that is busy.
case_half_open() {
    node_start 1 $CPU "$STORE"
    proxy_start
    node_start 2 $CPU "$STORE"
    on 1 steady 1500 >"$WORK/out" &
    driver=$!
    eventually grep -q 'on both' "$WORK/out" || fail "it never ran on both nodes"
    order swallow
    lost_within 7
    wait $driver || fail "the driver failed: $(tail -3 "$WORK/out")"
    eventually on 1 info 1 || fail "it is still a member"
    order calm
    eventually on 1 info 2 || fail "it is no member again"
    on 1 balance || fail "it does not work again"
}

# One direction ends and the other goes on: both sides end the connection, and make a new one.
case_one_way() {
    node_start 1 $CPU "$STORE"
    proxy_start
    node_start 2 $CPU "$STORE"
    on 1 steady 1500 >"$WORK/out" &
    driver=$!
    eventually grep -q 'on both' "$WORK/out" || fail "it never ran on both nodes"
    order shut
    lost_within 2
    wait $driver || fail "the driver failed: $(tail -3 "$WORK/out")"
    eventually on 1 info 2 || fail "it is no member again"
    on 1 balance || fail "it does not work again"
}

# 1 Mbit/s, where an object of 1 MiB takes 9 s: heartbeats go past it.
case_slow() {
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    for i in 1 2; do
        ip netns exec "$TAG-$i" tc qdisc add dev eth0 root tbf rate 1mbit burst 16kb latency 200ms ||
            fail "the kernel has no sch_tbf"
    done
    on 1 squares || fail "squares"
    LIMIT=120 on 1 relay 1 || fail "relay"
    grep -q 'lost node' "$WORK/node1.log" && fail "a node was lost over a slow network"
    on 1 info 2 || fail "it is no member any more"
}

# A daemon stands still for so long that it is declared dead, and comes back as a new member.
case_stall() {
    two_nodes
    on 1 squares || fail "squares"
    node_kill 2 STOP
    eventually grep -q 'is dead' "$WORK/node1.log" || fail "it was not declared dead"
    on 1 info 1 || fail "still a member"
    node_kill 2 CONT
    eventually grep -q 'joins anew' "$WORK/node2.log" || fail "it did not notice"
    eventually on 1 info 2 || fail "it is no member again"
    on 1 balance || fail "it does not work again"
}

# The head dies and comes back: the other node goes on meanwhile, and joins again.
case_kill_head() {
    two_nodes
    node_kill 1 KILL
    node_wait 1
    eventually grep -q 'is lost' "$WORK/node2.log" || fail "the node did not notice"
    [ "$MODE" = netns ] || on 2 squares || fail "the node does not go on"
    node_start 1 $CPU "$STORE"
    eventually sh -c "[ \$(grep -c 'joined the cluster' '$WORK/node2.log') = 2 ]" || fail "not joined"
    on 1 balance || fail "balance after the head came back"
}

# The job has got so many hundredths further.
flood_at() {
    [ "$(grep -c ^flood: "$WORK/out")" -ge "$1" ]
}

# How often a node has been welcomed by a head.
joined() {
    grep -c 'joined the cluster' "$WORK/node$1.log"
}

has_joined() {
    [ "$(joined "$1")" -ge "$2" ]
}

# A head that is nothing but a head is killed again and again while a job of another node runs on three. The
# nodes go on, and are members again of the same cluster; one that starts meanwhile waits, and joins.
case_head_alone() {
    node_start 1 --num-cpus=0 "$STORE"
    for i in 2 3; do
        node_start $i $CPU "$STORE"
    done
    LIMIT=200 on 2 flood "${COUNT:-100000}" >"$WORK/out" 2>&1 &
    driver=$!
    for start in 2 3 4 5; do
        eventually flood_at $((start * 15)) || fail "it does not go on: $(tail -3 "$WORK/out")"
        node_kill 1 KILL
        node_wait 1
        before=$(grep -c ^flood: "$WORK/out")
        eventually grep -q 'is lost' "$WORK/node3.log" || fail "the node did not notice"
        [ $start = 2 ] && node_launch 4 $CPU "$STORE"
        eventually flood_at $((before + 2)) || fail "nothing goes on without a head: $(tail -3 "$WORK/out")"
        status_of 3 | grep -q 'the head at .* has been away for' || fail "$(status_of 3)"
        node_start 1 --num-cpus=0 "$STORE"
        [ $start = 2 ] && node_serves 4
        for i in 2 3; do
            eventually has_joined $i $start || fail "node $i did not come back"
        done
        eventually has_joined 4 $((start - 1)) || fail "node 4 did not come back"
    done
    wait $driver || fail "the driver failed: $(tail -3 "$WORK/out")"
    tail -1 "$WORK/out"
    [ "$(grep -c 'was a member' "$WORK/node1.log")" = 11 ] || fail "the head forgot who was a member"
    grep -h 'declared dead\|joins anew\|is dead' "$WORK"/node?.log && fail "a node was taken for dead"
    on 2 all_nodes 3 || fail "not all nodes work after that"
}

# A node that was declared dead is dead for the next start of its head too, and one that dies while there is
# no head is declared dead by the next.
case_head_remembers() {
    node_start 1 --num-cpus=0 "$STORE"
    node_start 2 $CPU "$STORE"
    node_start 3 $CPU "$STORE"
    node_kill 2 STOP
    eventually grep -q 'is dead' "$WORK/node1.log" || fail "it was not declared dead"
    node_kill 1 KILL
    node_wait 1
    node_power_off 3
    node_start 1 --num-cpus=0 "$STORE"
    [ "$(grep -c 'was a member' "$WORK/node1.log")" = 1 ] || fail "the head takes others for members"
    node_kill 2 CONT
    eventually grep -q 'joins anew' "$WORK/node2.log" || fail "a dead node is alive again"
    eventually sh -c "[ \$(grep -c 'is dead' '$WORK/node1.log') = 2 ]" || fail "the other is not declared dead"
    eventually on 2 info 2 || fail "there are others than those two"
    on 2 squares || fail "squares"
    "$BIN/mobula" stop --node-dir="$WORK/node1" || fail "the head does not stop"
    [ ! -e "$WORK/node1" ] || fail "the head left $(ls "$WORK/node1")"
}

# What a task waits for on a node gets its turn there, though the node's own job could use all of it.
case_below() {
    two_nodes
    on 1 below "$WORK/at" &
    first=$!
    eventually test -e "$WORK/at.there" || fail "the task did not come to the other node"
    on 2 saturate "$WORK/at" &
    second=$!
    wait $first || fail "below"
    wait $second || fail "saturate"
}

case_wrong_key() {
    node_start 1 $CPU "$STORE"
    (umask 077; printf '%064d' 7 >"$WORK/other")
    KEY=$WORK/other node_try 2 $CPU "$STORE"
    case $LINE in
    error*key*) ;;
    *) fail "a node with another key: '$LINE'" ;;
    esac
    node_wait 2 && fail "it did not fail"
    on 1 squares || fail "the head took harm"
}

case_no_head() {
    # shellcheck disable=SC2034 # lib.sh reads it
    i=2
    node_try 2 $CPU "$STORE"
    case $LINE in
    error*) ;;
    *) fail "a node without a head: '$LINE'" ;;
    esac
    node_wait 2 && fail "it did not fail"
    return 0
}

# The driver is killed: nothing of it is left on either node.
case_kill_driver() {
    two_nodes
    on 1 steady 20000 >"$WORK/out" &
    wrapper=$!
    eventually grep -q begun "$WORK/out" || fail "not begun"
    eventually sh -c "[ \$(pgrep -cf '^$WORK/driver') -ge 3 ]" || fail "no workers on both nodes"
    pkill_driver
    wait $wrapper
    eventually no_workers || fail "workers are left"
    eventually sh -c "[ \$(grep -c 'job ended' '$WORK/node2.log') = 1 ]" || fail "the job is left there"
    on 1 balance || fail "balance after a killed driver"
}

# The oldest process of the program is the driver.
pkill_driver() {
    kill -KILL "$(pgrep -of "^$WORK/driver steady")"
}

# only_here REASON [ARGUMENT]: workers of a driver on node 1 do not start on node 2. It is told why, once
# and with the node, and its tasks run on node 1.
only_here() {
    on 1 only_here ${2:+"$2"} >"$WORK/out" 2>"$WORK/err" || fail "only_here: $(cat "$WORK/err")"
    line=$(grep 'does not run on node' "$WORK/err")
    echo "$line"
    [ "$(echo "$line" | wc -l)" = 1 ] || fail "said more than once"
    id=$(sed -n 's/.*node started id \([0-9a-f]*\) .*/\1/p' "$WORK/node2.log")
    echo "$line" | grep -q "($id): " || fail "the line does not name node $id"
    echo "$line" | grep -q "$1" || fail "the line does not say '$1'; all of it: $(cat "$WORK/err")"
    grep -q 'on 1 nodes' "$WORK/out" || fail "$(cat "$WORK/out")"
}

case_no_library() {
    two_nodes
    mkdir "$WORK/lib" && cp "$BUILD/lib/net/libnet_library.so" "$WORK/lib"
    PROGRAM=net_driver_library
    export LD_LIBRARY_PATH="$WORK/lib"
    only_here 'libnet_library.so: cannot open shared object file'
    PROGRAM=net_driver
    on 1 balance || fail "other programs do not run on both any more"
}

# An illegal instruction before mob_init(), there alone.
case_crash() {
    two_nodes
    : >"$WORK/here"
    only_here 'killed by signal [45] .*before mob_init' "$WORK/here"
    on 1 balance || fail "the program's other runs suffer"
}

# The executable there is one for another machine: it lies in the cache under the name of this one.
case_other_machine() {
    two_nodes
    cache=$WORK/home2/.cache/mobula
    mkdir -p "$WORK/home2/.cache" && mkdir -m 700 "$cache"
    other=$cache/$(b2sum -l 256 "$BIN/net_driver" | cut -d ' ' -f 1)
    cp "$BIN/net_driver" "$other"
    printf '\363\000' | dd of="$other" bs=1 seek=18 conv=notrunc status=none # RISC-V
    only_here 'the program is built for RISC-V, and this node is '
    rm "$other"
    on 1 balance || fail "it does not run on both with the right executable"
}

# A peer with the key talks nonsense to both nodes while they work: it is dropped each time, with one
# line in the log, and nobody else notices.
case_hostile() {
    two_nodes
    LIMIT=120 on 1 endure 6000 >"$WORK/out" &
    driver=$!
    eventually grep -q begun "$WORK/out" || fail "not begun"
    other=$(sed -n 's/.*node joined .* at \([^ ]*\) with .*/\1/p' "$WORK/node1.log" | tail -n 1)
    "$BIN/hostile_peer" "$(address 1):$PORT" "$WORK/key" "${SEED:-1}" 100 >"$WORK/hostile1" &
    one=$!
    "$BIN/hostile_peer" "$other" "$WORK/key" "${SEED:-1}" 100 >"$WORK/hostile2" &
    two=$!
    wait $one || fail "a head that does not drop a hostile peer"
    wait $two || fail "a node that does not drop a hostile peer"
    wait $driver || fail "the job suffered: $(tail -3 "$WORK/out")"
    for i in 1 2; do
        lines=$(grep -c 'malformed or not for it to say' "$WORK/node$i.log")
        echo "node $i: $(cat "$WORK/hostile$i"), $lines of them dropped in the log"
        [ "$lines" = 100 ] || fail "$lines lines in the log of node $i for 100 sessions"
        kill -0 "$(pid_of $i)" || fail "node $i is gone"
    done
    eventually on 1 info 2 || fail "hostile peers stay members"
    on 1 balance || fail "balance afterwards"
}

# rss I, files I: KiB of memory and number of open files of node I's daemon.
rss() {
    awk '/^VmRSS/ {print $2}' "/proc/$(pid_of "$1")/status"
}

files() {
    # shellcheck disable=SC2012 # they are numbers
    ls "/proc/$(pid_of "$1")/fd" | wc -l
}

# under_attack WHERE FILES: hostile clients at a socket of node 1, which goes on serving, has at most FILES
# more files open meanwhile, and none afterwards.
under_attack() {
    on 1 squares || fail "squares"
    eventually no_workers || fail "workers are left"
    files_before=$(files 1) rss_before=$(rss 1)
    "$BIN/hostile_client" "$1" crowd 1000 6000 >"$WORK/crowd" &
    crowd=$!
    "$BIN/hostile_client" "$1" loris 200 6000 >"$WORK/loris" &
    loris=$!
    "$BIN/hostile_client" "$1" garbage 2000 6000 "${SEED:-1}" >"$WORK/garbage" &
    garbage=$!
    sleep 1
    most=$(files 1)
    # shellcheck disable=SC2034 # pid_of reads it
    PID_2=
    on 1 trips "${TRIP_MS:-1000}" || fail "the node does not serve as it should"
    # Who has the key gets through: a handshake is shorter than the time until 64 others have come.
    [ "$1" != "$(address 1):$PORT" ] || node_start 2 $CPU "$STORE"
    for k in 1 2 3; do
        now=$(files 1)
        [ "$now" -gt "$most" ] && most=$now
        sleep 0.5
    done
    wait $crowd || fail "crowd: $(cat "$WORK/crowd")"
    wait $loris || fail "loris: $(cat "$WORK/loris")"
    wait $garbage || fail "garbage: $(cat "$WORK/garbage")"
    for k in crowd loris garbage; do
        echo "$k: $(cat "$WORK/$k")"
    done
    rss_after=$(rss 1)
    echo "files: $files_before before, at most $most under attack; memory: $rss_before KiB before, $rss_after after"
    [ "$most" -le $((files_before + $2)) ] || fail "too many files"
    # A sanitizer keeps freed memory.
    grep -q libasan "/proc/$(pid_of 1)/maps" || [ "$rss_after" -le $((rss_before + 8192)) ] || fail "too much memory"
    lines=$(wc -l <"$WORK/node1.log")
    [ "$lines" -le 100 ] || fail "$lines lines in the log, of whom anybody could make as many as he likes"
    [ -z "$(pid_of 2)" ] || on 1 balance || fail "a node that joined under attack"
    [ -z "$(pid_of 2)" ] || node_kill 2 TERM
    [ -z "$(pid_of 2)" ] || node_wait 2 || fail "node 2 did not end well"
    eventually sh -c "[ \$(ls /proc/$(pid_of 1)/fd | wc -l) -le $files_before ]" || fail "files are left open"
    on 1 squares || fail "squares after the attack"
    node_kill 1 TERM
    node_wait 1 || fail "it did not end well"
}

# Clients without the key at the node's port: 64 that prove nothing, then the oldest is dropped.
case_strangers() {
    node_start 1 $CPU "$STORE"
    under_attack "$(address 1):$PORT" 100
}

# Clients of the same user at the node's own socket: 256 that say nothing, then others wait.
case_clients() {
    node_start 1 $CPU "$STORE"
    under_attack "$WORK/node1/$(basename "$WORK"/node1/*sock*)" 300
}

# Two drivers on two nodes at once.
case_both_ways() {
    [ "$MODE" = local ] || exit 77
    two_nodes
    on 1 steady 2000 >"$WORK/out1" &
    a=$!
    on 2 steady 2000 >"$WORK/out2" &
    b=$!
    wait $a || fail "the first driver"
    wait $b || fail "the second driver"
    cat "$WORK/out1" "$WORK/out2" | grep 'steady:'
}

# Tasks that no node is large enough for: they fail after the grace, and not if one joins within it.
case_unmet() {
    node_start 1 $CPU "$STORE" --unmet-grace=2
    on 1 unmet 2>"$WORK/err" || fail "unmet: $(cat "$WORK/err")"
    grep -q 'ask for 2 CPUs, and the largest of 1 node, .*, has 1: they fail unless' "$WORK/err" ||
        fail "the driver was not told: $(cat "$WORK/err")"
    [ "$(grep -c 'ask for 2 CPUs' "$WORK/err")" = 1 ] || fail "told more than once"
}

case_unmet_join() {
    node_start 1 $CPU "$STORE" --unmet-grace=50
    on 1 unmet 1 2>"$WORK/err" &
    driver=$!
    eventually grep -q 'ask for 2 CPUs' "$WORK/err" || fail "the driver was not told"
    node_start 2 --num-cpus=2 "$STORE"
    wait $driver || fail "unmet: $(cat "$WORK/err")"
}

# Groups over three nodes, more than there are places for their classes.
case_regroup() {
    three_nodes
    on 1 regroup 200 || fail "regroup"
}

# Tasks that ask for what one node alone has, or for a node. What status says of it is looked at meanwhile.
case_place() {
    node_start 1 $CPU "$STORE" --unmet-grace=50 --labels=zone=a
    on 1 place >"$WORK/out" 2>"$WORK/err" &
    driver=$!
    eventually grep -q 'ask for 1 tape, and the largest of 1 node, .*, has 0: they fail' "$WORK/err" ||
        fail "the driver was not told"
    status_of 1 | grep -q 'UNMET: 1 task of job 1: each asks for 1 tape' || fail "status does not say it: $(status_of 1)"
    node_start 2 --num-cpus=2 "$STORE" --resources=tape=2 --labels=zone=b
    eventually grep -q '^kill it' "$WORK/out" || fail "place: $(cat "$WORK/out" "$WORK/err")"
    status_of 1 | grep -q 'tape 0 of 2.*labels zone=b' || fail "status does not show what node 2 has"
    node_kill 2 KILL
    node_wait 2
    wait $driver || fail "place: $(cat "$WORK/out" "$WORK/err")"
    cat "$WORK/out"
}

# An idle cluster does nothing but heartbeats.
# All of them on the same two CPUs: with more, who waits for another node may keep one.
case_waits() {
    two=$(taskset -pc $$ | sed 's/.*: *//' | tr ',' '\n' |
        awk -F- '{ for (i = $1; i <= $NF; i++) print i }' | head -n 2 | paste -sd ,)
    case $two in
    *,*) taskset -pc "$two" $$ >/dev/null ;;
    *)
        echo "skipped: who has one CPU never looks"
        exit 77
        ;;
    esac
    node_start 1 $CPU "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    MOBULA_SPIN_US=1000000 on 1 waits || fail "waits"
}

case_idle() {
    two_nodes
    on 1 squares || fail "squares"
    sleep 1
    pid=$(pid_of 2)
    ticks() { awk '{print $14 + $15}' "/proc/$pid/stat"; }
    switches() { awk '/^voluntary/ {print $2}' "/proc/$pid/status"; }
    t=$(ticks) s=$(switches)
    sleep 4
    t=$(($(ticks) - t)) s=$(($(switches) - s))
    echo "idle for 4 s: $t ticks, $s wake-ups"
    if [ $t -gt 2 ] || [ $s -gt 60 ]; then
        fail "an idle node is busy"
    fi
}

net_mode "$2"
"case_$3"
