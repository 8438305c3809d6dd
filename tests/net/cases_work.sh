# shellcheck shell=sh
# cases_work.sh - tasks and their results over nodes that all live: who runs what, where, and what is said of it.
# Sourced by test_net.sh.

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
    node_start 3 "$CPU" "$STORE"
    on 1 all_nodes 3 || fail "three nodes"
}

# The two that are not the head reach each other where they listen: the head, which tells them where
# that is, does not see it (MODE each).
case_apart() {
    node_start 1 "$CPU" "$STORE"
    node_start 2 "$CPU" "$STORE"
    node_start 3 "$CPU" "$STORE"
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
    node_start 1 "$CPU" "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    mkdir "$WORK/marks"
    on 1 cancels "$WORK/marks" || fail "cancels"
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

# All lines of finished tasks are there when the driver ends, marked with their node's host.
case_lines() {
    two_nodes
    on 1 lines >"$WORK/out" || fail "lines"
    [ "$(grep -c 'ran on' "$WORK/out")" = 20 ] || fail "$(grep -c 'ran on' "$WORK/out") lines of 20"
    [ "$(sed -n 's/.*ran on //p' "$WORK/out" | sort -u | wc -l)" = 2 ] || fail "lines of one node"
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

# Tasks that no node is large enough for: they fail after the grace, and not if one joins within it.
case_unmet() {
    node_start 1 "$CPU" "$STORE" --unmet-grace=2
    on 1 unmet 2>"$WORK/err" || fail "unmet: $(cat "$WORK/err")"
    grep -q 'ask for 2 CPUs, and the largest of 1 node, .*, has 1: they fail unless' "$WORK/err" ||
        fail "the driver was not told: $(cat "$WORK/err")"
    [ "$(grep -c 'ask for 2 CPUs' "$WORK/err")" = 1 ] || fail "told more than once"
}

case_unmet_join() {
    node_start 1 "$CPU" "$STORE" --unmet-grace=50
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
    node_start 1 "$CPU" "$STORE" --unmet-grace=50 --labels=zone=a
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
    node_start 1 "$CPU" "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    MOBULA_SPIN_US=1000000 on 1 waits || fail "waits"
}

# An idle cluster does nothing but heartbeats.
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

# Whatever a program does, in any order, and workers that die: tests/api/test_api_random.c, which counts on room for two
# CPUs beside its groups on each node.
case_random() {
    node_start 1 --num-cpus=3 "$STORE"
    node_start 2 --num-cpus=3 "$STORE"
    for seed in 1 2 3 4; do
        MOB_TEST_SEED=$seed PROGRAM=test_api_random LIMIT=120 on 1 walk_1 || fail "seed $seed"
    done
}
