# shellcheck shell=sh
# cases_objects.sh - objects on their way between nodes: how many bytes go where, and which go first.
# Sourced by test_net.sh.

case_chain() {
    two_nodes
    LIMIT=120 on 1 chain 1000 || fail "chain"
}

case_objects() {
    two_nodes
    LIMIT=240 on 1 objects "${COUNT:-10000}" || fail "objects"
}

case_big() {
    node_start 1 "$CPU" --object-store-memory="${BIG_STORE:-2300M}"
    node_start 2 --num-cpus=2 --object-store-memory="${BIG_STORE:-2300M}"
    LIMIT=120 on 1 big "${MIB:-1024}" || fail "big"
}

case_room() {
    node_start 1 "$CPU" --object-store-memory=64M
    node_start 2 --num-cpus=2 --object-store-memory=256M
    on 1 room || fail "room"
}

# A result of 16 MiB comes here once, and does not go back to where it was made.
case_relay() {
    node_start 1 "$CPU" "$STORE"
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

# An object of 48 MiB goes to three nodes, one of which is killed on the way: from one to the other, and not
# three times from the first.
case_broadcast() {
    node_start 1 "$CPU" "$STORE"
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
    node_start 1 "$CPU" "$STORE"
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
        node_start $i "$CPU" "$STORE"
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
        node_start $i "$CPU" "$STORE"
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
        node_start "$i" "$CPU" "$STORE"
        slow "$i" "${RATE:-400mbit}"
        tc qdisc add dev "$TAG.$i" root tbf rate "${RATE:-400mbit}" burst 256k latency 50ms
    done
    LIMIT=120 on 1 fold_speed "${ROUNDS:-2}" || fail "fold_speed"
}

case_urgent() {
    node_start 1 "$CPU" "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    slow 2 200mbit
    on 1 urgent || fail "urgent"
}

case_unwanted() {
    node_start 1 "$CPU" "$STORE"
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
