#!/bin/sh
# test_chaos.sh BUILD [SECONDS [SEED]] - eight nodes in network namespaces, one of which loses its power every 2 s
# and comes back, while a job runs that knows its results. SECONDS in all; with MOB_TEST_FULL=1 each workload
# has 60 s of its own. SEED says in which order workloads come and who dies; the command that repeats a run
# is printed if it fails.
# Node 1 is the head, node 2 has the driver: those two live on.
# shellcheck source=tests/net/lib.sh disable=SC1091 # found from the folder of the test
. "$(dirname "$0")/lib.sh"
# shellcheck disable=SC2034 # lib.sh reads it
NODES=8
SECONDS_ALL=${2:-60}
SEED=${3:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
STORE=--object-store-memory=${STORE:-256M}
EVERY=2 # s, from one death to the next
RETURN=10 # s, for all resources to be back once the job has ended
LOADS="independent chain tree stencil nested reduce"
[ "${MOB_TEST_FULL:-}" = 1 ] && SECONDS_ALL=360

wrong() {
    fail "$*; again: sh tests/net/test_chaos.sh $BUILD $SECONDS_ALL $SEED"
}

# The next random number below $1, in DICE.
dice() {
    SEED_NOW=$(((SEED_NOW * 1103515245 + 12345) % 2147483648))
    DICE=$((SEED_NOW / 65536 % $1))
}

# Kills node after node, each for half the time until the next, as long as the job lives.
kill_nodes() {
    while kill -0 "$1" 2>/dev/null; do
        dice 6
        victim=$((3 + DICE))
        sleep $((EVERY / 2))
        node_power_off $victim
        sleep $((EVERY - EVERY / 2))
        node_start $victim --num-cpus=1 "$STORE"
        deaths=$((deaths + 1))
    done
}

# Eight nodes, as many as there are; no job, and nothing of any CPU or store in use.
all_free() {
    status_of 2 --json >"$WORK/status" || return 1
    [ "$(grep -c '"state": "alive"' "$WORK/status")" -ge 8 ] &&
        [ "$(grep -c '"silent_ms"' "$WORK/status")" = 8 ] && grep -q '"jobs": \[\]' "$WORK/status" &&
        ! grep -E '"(cpus_used|store_used_bytes|tasks)":' "$WORK/status" | grep -qvE ': 0(\.0)?,?$'
}

# What was used is free within RETURN seconds, and no process is left but the daemons.
all_back() {
    began=$(date +%s)
    until all_free; do
        [ $(($(date +%s) - began)) -le $((RETURN * PATIENCE)) ] ||
            wrong "not all is back: $(grep -E 'alive|_used|tasks|silent|jobs' "$WORK/status")"
        sleep 0.2
    done
    for i in 1 2 3 4 5 6 7 8; do
        [ "$(ip netns pids "$TAG-$i" | wc -l)" = 1 ] || wrong "processes are left on node $i"
    done
}

net_mode netns
SEED_NOW=$SEED
deaths=0
echo "chaos: seed $SEED"
for i in 1 2 3 4 5 6 7 8; do
    node_launch $i --num-cpus=1 "$STORE"
    [ "$i" = 1 ] && node_serves 1
done
for i in 2 3 4 5 6 7 8; do
    node_serves $i
done
# shellcheck disable=SC2086 # words
set -- $LOADS
dice $#
turn=$DICE
share=$(((SECONDS_ALL + $# - 1) / $#))
for _ in $LOADS; do
    turn=$((turn % $# + 1))
    name=$(eval "echo \$$turn")
    LIMIT=$((share + 120)) on 2 load "$name" $share "$SEED" >"$WORK/out" 2>&1 &
    driver=$!
    kill_nodes $driver
    wait $driver || wrong "$name: $(tail -5 "$WORK/out")"
    tail -1 "$WORK/out"
    [ "$share" -ge 60 ] && all_back # else once, at the end: the dead are taken for alive for 5 s
done
all_back
echo "chaos: $deaths nodes died"
