# shellcheck shell=sh
# cases_deaths.sh - daemons, the head and drivers that die, stop, stand still or come back. Sourced by test_net.sh.

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
    node_start 1 "$CPU" "$STORE" --unmet-grace=120
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
    node_start 1 "$CPU" "$STORE"
    eventually sh -c "[ \$(grep -c 'joined the cluster' '$WORK/node2.log') = 2 ]" || fail "not joined"
    on 1 balance || fail "balance after the head came back"
}

# The job has got so many hundredths further.
flood_at() {
    [ "$(grep -c ^flood: "$WORK/out")" -ge "$1" ]
}

# A head that is nothing but a head is killed again and again while a job of another node runs on three. The
# nodes go on, and are members again of the same cluster; one that starts meanwhile waits, and joins.
case_head_alone() {
    node_start 1 --num-cpus=0 "$STORE"
    for i in 2 3; do
        node_start $i "$CPU" "$STORE"
    done
    LIMIT=200 on 2 flood "${COUNT:-100000}" >"$WORK/out" 2>&1 &
    driver=$!
    for start in 2 3 4 5; do
        eventually flood_at $((start * 15)) || fail "it does not go on: $(tail -3 "$WORK/out")"
        node_kill 1 KILL
        node_wait 1
        before=$(grep -c ^flood: "$WORK/out")
        eventually grep -q 'is lost' "$WORK/node3.log" || fail "the node did not notice"
        [ $start = 2 ] && node_launch 4 "$CPU" "$STORE"
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
    node_start 2 "$CPU" "$STORE"
    node_start 3 "$CPU" "$STORE"
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
