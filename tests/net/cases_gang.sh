# shellcheck shell=sh
# cases_gang.sh - gangs over several nodes. Sourced by test_net.sh.

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

gang_lacks() {
    status_of "$1" -v | grep -q 'a gang of 3 waits: .*all nodes together'
}

# One of its nodes dies: all begin again, when there are three nodes again.
case_gang_node() {
    three_nodes
    gang_begins 1 # until the file is there (MODE local)
    node_kill 3 KILL
    node_wait 3
    eventually gang_lacks 1 || fail "status does not say why it waits: $(status_of 1 -v)"
    node_start 4 "$CPU" "$STORE"
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
    node_start 2 "$CPU" "$STORE"
    node_start 3 "$CPU" "$STORE"
    node_start 4 "$CPU" "$STORE"
    gang_begins 2 2000
    node_kill 1 KILL
    node_wait 1
    eventually grep -q 'is lost' "$WORK/node2.log" || fail "the node did not notice"
    node_start 1 --num-cpus=0 "$STORE"
    gang_ends
    have_begun 2 || fail "the second one has not begun"
}
