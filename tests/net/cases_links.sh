# shellcheck shell=sh
# cases_links.sh - networks that are cut, slow or wrong. Sourced by test_net.sh.

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
    node_start 1 "$CPU" "$STORE"
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
    node_start 1 "$CPU" "$STORE"
    proxy_start
    node_start 2 "$CPU" "$STORE"
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
    node_start 1 "$CPU" "$STORE"
    proxy_start
    node_start 2 "$CPU" "$STORE"
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
    node_start 1 "$CPU" "$STORE"
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
