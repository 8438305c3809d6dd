#!/bin/sh
# test_cpus.sh BUILD - in a guest of eight CPUs, on two NUMA nodes, of cores with two threads, and with cgroups of version
# 2: which CPUs tasks have, what limits of a container do, and what many CPUs at once do to a board.
set -u
BIN=$1/bin
full=${MOB_TEST_FULL:-}
unset MOB_TEST_FULL # a long variant of a test takes the better part of an hour here
WORK=$(mktemp -d /tmp/mob-cpus.XXXXXX)
export XDG_RUNTIME_DIR="$WORK"

fail()
{
    echo "FAILED: $*" >&2
    [ ! -f "$WORK/out" ] || tail -n 40 "$WORK/out" >&2
    exit 1
}

# What the tests below would skip otherwise.
[ "$(nproc)" = 8 ] || fail "$(nproc) CPUs"
[ "$(cat /sys/devices/system/node/node1/cpulist)" = 4-7 ] || fail "NUMA node 1 has other CPUs than 4 to 7"
[ "$(cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list)" = 0-1 ] || fail "CPU 1 is not on the core of CPU 0"
for controller in cpuset cpu memory; do
    grep -qw $controller /sys/fs/cgroup/cgroup.subtree_control || fail "no controller $controller"
done

# run NAME ARGUMENT...: a test must pass, and none of its cases is skipped unless it says a reason in $may_skip.
run()
{
    name=$1
    shift
    read -r began _ </proc/uptime
    "$BIN/$name" "$@" >"$WORK/out" 2>&1 || fail "$name: $?"
    read -r now _ </proc/uptime
    echo "$name: $(grep -c '^ok' "$WORK/out") cases, ${began%.*} to ${now%.*} s"
    if grep '^skipped:' "$WORK/out"; then
        [ -n "${may_skip:-}" ] || fail "$name: skipped"
    fi
}

run test_api_cpus
run test_cores_claims
run test_budget_cgroup
run test_api_pin
run test_api_tasks
run test_board_crowd
if [ -n "$full" ]; then
    may_skip=1 run test_memory_cgroup # /var/tmp is no disk here
    run test_api_values
    run test_api_threads
    run loop_stress
    run crash "$BIN/crash_load" "$BIN/mobulad" 20 node
fi
rm -rf "$WORK"
