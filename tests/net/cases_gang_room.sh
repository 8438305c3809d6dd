# shellcheck shell=sh
# cases_gang_room.sh - gangs and what is set aside for them. Sourced by test_net.sh.

# longest_at_most MS FILE: what `gangs` says there.
longest_at_most() {
    longest=$(sed -n 's/^gangs: the longest \([0-9]*\) ms/\1/p' "$2")
    [ "${longest:-999999}" -le "$1" ] || fail "a gang took ${longest:-?} ms of $1: $(cat "$2")"
}

# Gangs that need both nodes whole, of which another job has all: each waits for a task of it or two, of 200 ms.
case_gang_crowd() {
    node_start 1 --num-cpus=2 "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    LIMIT=120 on 1 crowd "$WORK/stop" >"$WORK/crowd" 2>&1 &
    crowd=$!
    eventually grep -q 'crowd: there' "$WORK/crowd" || fail "no crowd: $(cat "$WORK/crowd")"
    LIMIT=100 on 2 gangs 4 >"$WORK/out" 2>&1 || fail "gangs: $(cat "$WORK/out")"
    longest_at_most 4000 "$WORK/out"
    touch "$WORK/stop"
    wait $crowd || fail "crowd: $(cat "$WORK/crowd")"
}

# Gangs of two nodes that all need both whole: none waits for a rest of another one.
case_gang_rivals() {
    node_start 1 --num-cpus=2 "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    LIMIT=100 on 1 gangs 4 >"$WORK/one" 2>&1 &
    one=$!
    LIMIT=100 on 2 gangs 4 >"$WORK/out" 2>&1 || fail "gangs: $(cat "$WORK/out")"
    wait $one || fail "gangs: $(cat "$WORK/one")"
    longest_at_most 4000 "$WORK/one"
    longest_at_most 4000 "$WORK/out"
}

# In a group of the program over two nodes: one gathers at a time, of whatever class.
case_gang_inside() {
    two_nodes
    LIMIT=100 on 1 gang_inside || fail "they wait for each other"
}

# The node of the task that submitted it dies, and not the job: what was set aside for it on another node is free again.
case_gang_kept() {
    node_start 1 "$CPU" "$STORE"
    node_start 2 --num-cpus=2 "$STORE"
    node_start 3 "$CPU" "$STORE" --resources=tape=2
    LIMIT=60 on 1 gang_kept >"$WORK/out" 2>"$WORK/err" &
    driver=$!
    eventually grep -q 'gang: there' "$WORK/out" || fail "the gang does not begin: $(cat "$WORK/err")"
    node_kill 2 KILL
    node_wait 2
    wait "$driver" || fail "it failed: $(cat "$WORK/out" "$WORK/err")"
}
