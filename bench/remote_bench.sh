#!/bin/sh
# remote_bench.sh BUILD [ROUNDS] - tasks on the other of two nodes, each in a network namespace (root):
#
#   trip   one task at a time, there and back, in turn with a message of the transport to the same daemon and
#          back (`mobula check-transport`); both sleep while they wait. Budget: 2 times that
#   work   tasks of 100 us of CPU time: how many a second, and which part of the CPU time that the other node
#          has used (its daemon and worker) was spent inside of them. Budget: 0.9
# docs/BENCHMARKS.md has figures.
# shellcheck source=tests/net/lib.sh disable=SC1091 # found from the folder of the script
. "$(dirname "$0")/../tests/net/lib.sh"
ROUNDS=${2:-11}
TASKS=${TASKS:-20000}
# shellcheck disable=SC2034 # lib.sh reads them
NODES=2 PROGRAM=remote_bench
STORE=--object-store-memory=256M

# The word after WORD in a line of "word number" pairs.
after() {
    tr ' ' '\n' | grep -A 1 -x "$1" | tail -n 1
}

middle() {
    sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

# Nanoseconds on a CPU of all processes of node 2.
cpu_ns() {
    for pid in $(ip netns pids "$TAG-2"); do
        cat "/proc/$pid/task/"*/schedstat 2>/dev/null
    done | awk '{ ns += $1 } END { printf "%.0f\n", ns }'
}

message_ns() {
    ip netns exec "$TAG-2" "$BIN/mobula" check-transport "$(address 1):$PORT" --key-file="$WORK/key" --json |
        grep -m 1 '"round_trip_ns"' | tr -dc 0-9
}

net_mode netns
node_start 1 --num-cpus=0 "$STORE"
node_start 2 --num-cpus=1 "$STORE"
for _ in $(seq "$ROUNDS"); do
    trip=$(on 1 trips 300 | after median_ns)
    message=$(message_ns)
    echo "$trip $message" >>"$WORK/trips"
done
awk '{ print $1 / $2 }' "$WORK/trips" | middle >"$WORK/ratio"
awk '{ print $1 }' "$WORK/trips" | middle >"$WORK/trip"
awk '{ print $2 }' "$WORK/trips" | middle >"$WORK/message"
awk -v t="$(cat "$WORK/trip")" -v m="$(cat "$WORK/message")" -v r="$(cat "$WORK/ratio")" 'BEGIN {
    printf "trip: a task %.1f us, a message %.1f us, ratio %.2f (budget 2)\n", t / 1e3, m / 1e3, r }'
mkfifo "$WORK/go"
on 1 work "$TASKS" 100 64 <"$WORK/go" >"$WORK/out" &
driver=$!
exec 7>"$WORK/go"
eventually grep -q warm "$WORK/out" || fail "no task ended"
before=$(cpu_ns)
echo >&7
eventually grep -q tasks_s "$WORK/out" || fail "the tasks do not end"
end=$(cpu_ns)
echo >&7
wait $driver || fail "the driver failed"
awk -v b="$before" -v a="$end" -v n="$TASKS" -v s="$(after tasks_s <"$WORK/out")" \
    -v t="$(after in_tasks <"$WORK/out")" 'BEGIN {
    printf "work: %d tasks of 100 us a second, %.2f of the CPU time there inside of tasks (budget 0.9), ", s, n * 1e5 / (a - b)
    printf "%.2f of all time\n", t }'
