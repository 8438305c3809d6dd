#!/bin/sh
# test_groups.sh BUILD MODE CASE - groups of bundles over several nodes; see lib.sh for MODE. Each case has a cluster of
# its own, and its driver is net_groups.
NODES=${NODES:-5}
# shellcheck source=tests/net/lib.sh disable=SC1091 # found from the folder of the test
. "$(dirname "$0")/lib.sh"
PROGRAM=net_groups
STORE=--object-store-memory=${STORE:-256M}

# runs I CASE: a driver to its end.
runs() {
    on "$@" >"$WORK/out" 2>"$WORK/err" || fail "$2: $(cat "$WORK/out" "$WORK/err")"
    cat "$WORK/out"
}

# begins I CASE: in the background. What it is told are files in a folder.
begins() {
    mkdir -p "$WORK/told"
    : >"$WORK/out"
    on "$@" "$WORK/told" >"$WORK/out" 2>"$WORK/err" &
    driver=$!
}

tell() {
    touch "$WORK/told/$1"
}

# What it has said, but for how far it is.
said() {
    grep -v '^tasks' "$WORK/out"
    cat "$WORK/err"
}

says() {
    eventually grep -q "$1" "$WORK/out" || fail "it never says '$1': $(said)"
}

ends() {
    wait "$driver" || fail "the driver failed: $(said)"
    said
}

# How many tasks have ended.
done_at_least() {
    [ "$(sed -n 's/^tasks: //p' "$WORK/out" | tail -n 1)" -ge "$1" ] 2>/dev/null
}

# So many more end.
goes_on() {
    count=$(sed -n 's/^tasks: //p' "$WORK/out" | tail -n 1)
    eventually done_at_least $((${count:-0} + $1)) || fail "it does not go on after ${count:-0}: $(said)"
}

# id_of I: what node I is called; node_with ID: the node that is called so.
id_of() {
    sed -n 's/.*node started id \([0-9a-f]*\) .*/\1/p' "$WORK/node$1.log" | tail -n 1
}

node_with() {
    for file in "$WORK"/node*.log; do
        number=$(basename "$file" .log)
        [ "$(id_of "${number#node}")" = "$1" ] && echo "${number#node}" && return
    done
    fail "no node is called $1"
}

# bundle_on N: the node that has bundle N, as the driver has said last.
bundle_on() {
    node_with "$(grep '^on' "$WORK/out" | tail -n 1 | cut -d ' ' -f $(($1 + 2)))"
}

# nothing_used KINDS NODE...: none of what those nodes have is in use, of the kinds that match.
nothing_used() {
    kinds=$1
    shift
    for i in "$@"; do
        status_of "$i" --json >"$WORK/status" || return 1
        python3 - "$WORK/status" "$kinds" <<'PY' || return 1
import json, re, sys
has = json.load(open(sys.argv[1]))["resources"]
sys.exit(any(v.get("used", 1) for k, v in has.items() if re.fullmatch(sys.argv[2], k)))
PY
    done
}

# given_back KINDS NODE...: within 10 s.
given_back() {
    n=0
    until nothing_used "$@"; do
        n=$((n + 1))
        [ $n -gt $((50 * PATIENCE)) ] && fail "still in use: $(cat "$WORK/status")"
        sleep 0.2
    done
}

# shows PATTERN: a line of what the cluster says of itself.
shows() {
    status_of 2 -v >"$WORK/status" 2>&1 || fail "status: $(cat "$WORK/status")"
    grep -q "$1" "$WORK/status" || fail "status does not say '$1': $(cat "$WORK/status")"
}

# Three nodes of two CPUs, of which those from node $1 on have a disk for two bundles.
three_nodes() {
    for i in 1 2 3; do
        disk=
        [ $i -ge "$1" ] && disk=--resources=disk=2
        # shellcheck disable=SC2086 # none is no word
        node_start $i --num-cpus=2 "$STORE" --unmet-grace=60 $disk
    done
}

case_strategies() {
    three_nodes 9
    for i in 1 2 3; do
        runs $i strategies
        given_back '.*' 1 2 3
    done
}

case_strict() {
    for i in 1 2 3; do
        node_start $i --num-cpus=2 "$STORE" --unmet-grace=1
    done
    runs 2 strict
    given_back '.*' 1 2 3
}

# One waits as others have all, and one as there are no tapes; until a node joins that has both.
case_joins() {
    for i in 1 2; do
        node_start $i --num-cpus=1 "$STORE" --unmet-grace=60
    done
    begins 2 joins
    says 'groups: waiting'
    eventually grep -q 'a group of this job has no place: bundle 0 of 2 asks for 1 tape' "$WORK/err" ||
        fail "the driver was not told: $(cat "$WORK/err")"
    shows '  strict spread  whole  *0 at [0-9a-f]*; 1 at [0-9a-f]*  *$'
    shows '  pack  *waits  *[0-9.]* s  0 nowhere  *1 of its 1 bundles have no place'
    shows '  pack  *nowhere  *[0-9.]* s  0-1 nowhere  *bundle 0 of 2 asks for 1 tape'
    node_start 3 --num-cpus=3 "$STORE" --resources=tape=2
    says 'groups: all are there'
    shows '  pack  *whole  *0-1 at [0-9a-f]*  *$'
    tell end
    ends
    [ "$(grep -c 'has no place' "$WORK/err")" = 1 ] || fail "told more than once: $(cat "$WORK/err")"
    given_back '.*' 1 2 3
}

# A node that has a bundle dies: it is placed anew, where there is room or when a node joins, and tasks go on.
case_node_dies() {
    three_nodes 2
    begins 1 keep
    says '^on'
    node_start 4 --num-cpus=2 "$STORE" --resources=disk=2
    goes_on 40
    for try in 1 2; do
        first=$(bundle_on 0) second=$(bundle_on 1)
        node_kill "$first" KILL
        node_wait "$first"
        eventually moved_from "$first" || fail "bundle 0 stays on node $first"
        # With two nodes left the group waits for a third one.
        [ $try = 2 ] && node_start 5 --num-cpus=2 "$STORE" --resources=disk=2
        goes_on 100
        [ "$(bundle_on 1)" = "$second" ] || fail "the other bundle moved: $(said)"
    done
    tell stop
    says 'groups: removed'
    given_back disk 5 "$second"
    tell end
    ends
}

# Bundle 0 has been somewhere else, or nowhere, since.
moved_from() {
    at=$(grep '^on' "$WORK/out" | tail -n 1 | cut -d ' ' -f 2)
    [ "$at" != "$(id_of "$1")" ]
}

# Kinds of tasks share bundles of one CPU.
case_mixed() {
    for i in 1 2; do
        node_start $i --num-cpus=1 "$STORE"
    done
    runs 1 mixed
}

case_nested() {
    zone=a
    for i in 1 2 3; do
        node_start $i --num-cpus=2 "$STORE" --labels="zone=$zone"
        zone=$(echo "$zone" | tr ab bc)
    done
    runs 1 nested
    given_back '.*' 1 2 3
}

# A head that is nothing but a head is killed and comes back. What runs goes on meanwhile and stays where it is; a group
# that is made meanwhile is there when the head is.
case_head_dies() {
    head_and_three
    begins 2 keep
    goes_on 40
    for try in 1 2; do
        node_kill 1 KILL
        node_wait 1
        eventually grep -q 'is lost' "$WORK/node2.log" || fail "the node did not notice"
        tell more
        says '^more: made'
        goes_on 40
        grep -q '^more: whole' "$WORK/out" && [ $try = 1 ] && fail "a group is whole without a head"
        node_start 1 --num-cpus=0 "$STORE"
        for i in 2 3 4; do
            eventually has_joined $i $((try + 1)) || fail "node $i did not come back"
        done
        says '^more: whole'
        goes_on 40
    done
    # Longer than nodes keep what no head has named.
    sleep 11
    goes_on 40
    [ "$(grep -c '^on' "$WORK/out")" = 1 ] || fail "its bundles did not stay where they were: $(said)"
    tell stop
    says 'groups: removed'
    given_back disk 2 3 4
    tell end
    ends
    given_back '.*' 2 3 4
}

head_and_three() {
    node_start 1 --num-cpus=0 "$STORE"
    for i in 2 3 4; do
        node_start $i --num-cpus=2 "$STORE" --resources=disk=1
    done
}

# The head dies, and a node with a bundle while there is none.
case_both_die() {
    head_and_three
    begins 2 keep
    says '^on'
    goes_on 20
    victim=$(bundle_on 0)
    [ "$victim" = 2 ] && victim=$(bundle_on 1) # node 2 is the driver's
    node_kill 1 KILL
    node_wait 1
    node_power_off "$victim"
    node_start 1 --num-cpus=0 "$STORE"
    eventually moved "$victim" || fail "a bundle stays on a node that is dead"
    goes_on 40
    tell stop
    tell end
    ends
    given_back '.*' 2 $((7 - victim))
}

# Its bundles are on nodes, and not on that one.
moved() {
    line=$(grep '^on' "$WORK/out" | tail -n 1)
    echo "$line" | grep -q "$(id_of "$1")\|0000000000" && return 1
    return 0
}

# The driver is killed, with groups that are whole and one that waits, and its tasks: nothing stays.
case_driver_dies() {
    three_nodes 1
    begins 2 hoard
    says 'groups: hoarded'
    nothing_used disk 1 2 3 && fail "its groups have nothing: $(said)"
    kill -KILL "$(pgrep -of "^$WORK/driver hoard")"
    wait "$driver"
    given_back '.*' 1 2 3
    eventually no_workers || fail "workers are left"
    runs 3 strategies
    given_back '.*' 1 2 3
}

# The same, with the node of the driver.
case_owner_dies() {
    three_nodes 1
    begins 2 hoard
    says 'groups: hoarded'
    node_power_off 2
    wait "$driver" && fail "the driver did not fail"
    given_back '.*' 1 3
    eventually no_workers || fail "workers are left"
    node_start 4 --num-cpus=2 "$STORE"
    runs 3 strategies
    given_back '.*' 1 3 4
}

net_mode "$2"
"case_$3"
