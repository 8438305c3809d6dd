# shellcheck shell=sh
# cases_lineage.sh - results that stay where they were made, and are made again when they are lost.
# Sourced by test_net.sh.

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
    node_start 1 "$CPU" --object-store-memory=64M --spill-dir=none
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
    node_start 1 "$CPU" "$STORE" --unmet-grace=120
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
    node_start 1 "$CPU" "$STORE" --unmet-grace=120
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
    node_start 1 "$CPU" "$STORE" --unmet-grace=120
    node_start 2 --num-cpus=2 "$STORE"
    lineage_begin used 4
    node_power_off 2
    node_start 3 --num-cpus=2 "$STORE"
    go
    lineage_end
}

# held HOW SAID: the only tape that is left is held by a task that waits for what has to be made again with it.
held() {
    node_start 1 "$CPU" "$STORE" --labels=zone=a --resources=tape=1
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
    node_start 1 "$CPU" --object-store-memory=64M --spill-dir=none
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
    node_start 1 "$CPU" "$STORE"
    node_start 2 "$CPU" "$STORE" --labels=zone=a
    node_start 3 "$CPU" "$STORE" --labels=zone=b
    lineage_begin handed 1
    in=$(bytes 1 rx) there=$(bytes 3 rx)
    echo "node 1 received $in bytes, node 3 $there"
    [ "$there" -gt 8388608 ] || fail "it did not come"
    [ "$in" -lt 4000000 ] || fail "it came by node 1"
    go
    lineage_end
}
