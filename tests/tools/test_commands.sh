#!/bin/sh
# test_commands.sh FOLDER - mobula and storectl on one node: what a user does and sees.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"

# Without a node.
for command in 'mobula status' 'mobula stop' 'storectl ls' 'storectl stat'; do
    # shellcheck disable=SC2086 # two words
    refuses 1 'no node runs' "$bin/"$command
done
nothing_left

# Twice, so that the first leaves nothing that the second minds; from another folder each.
for turn in 1 2; do
    cd "$([ $turn = 1 ] && echo / || echo "$scratch")" || exit 1
    works "$bin/mobula" start --num-cpus=2 --object-store-memory=64M
    says '^mobula: node [0-9a-f]\{10\} is ready$'
    says '^  CPUs  *2$'
    says '^  object store  64 MiB$'
    refuses 1 "runs already at .*(pid $(daemon_pid)).*mobula stop" "$bin/mobula" start
    works "$bin/mobula" status
    says '^[0-9a-f]\{10\}  alive .* 0/2  0 B/64 MiB '
    says '^no jobs$'
    works "$bin/storectl" ls
    says '^no objects$'
    works "$bin/storectl" stat
    says '^limit  *64 MiB$'
    for command in verify leaks 'top --count=1'; do
        # shellcheck disable=SC2086 # words
        works "$bin/storectl" $command
    done
    works "$bin/mobula" stop
    nothing_left
done

# A program finds the node by itself, and is seen there.
works "$bin/mobula" start --num-cpus=2 --object-store-memory=256M
first=$(daemon_pid)
if [ -x "$bin/square" ] && [ -z "${SANITIZED:-}" ]; then
    works "$bin/square"
    says '^\[0, 1, 4, 9\]$'
    grep -q 'job began job 1 .* name square' "$node/log" || fail "square was on another node"
fi
hold_start
works "$bin/mobula" status
says "^ *[0-9][0-9]*  tools_hold  *$holder  *[12]  *0  *0  *0  *4  *0  *0 "
works "$bin/mobula" status --json
says '"tasks_done": 4'
says '"store_limit_bytes": 268435456'
works "$bin/storectl" ls
[ "$(grep -c ' square  *sealed  *8 B  *[0-9.]*s  *inline .*hold.c:[0-9]*$' "$scratch/out")" -eq 4 ] || fail "not four results"
says ' (put)  *sealed  *1 MiB  *[0-9.]*s  *segment [0-9]*  *-  yes  *0  *1  .*hold.c:[0-9]*$'
says ' (put)  *sealed  *5 B  *[0-9.]*s  *inline  *-  yes  *0  *0  .*hold.c:[0-9]*$'
works "$bin/storectl" ls --limit=3
[ "$(grep -c sealed "$scratch/out")" -eq 3 ] || fail "not three objects"
says 'and more; --limit=0'
works "$bin/storectl" ls --limit=6
grep -q 'and more' "$scratch/out" && fail "more than all six objects"
works "$bin/storectl" ls --job=77
says '^no objects$'
works "$bin/storectl" ls --json
[ "$(grep -c '"id": "[0-9a-f]\{32\}"' "$scratch/out")" -eq 6 ] || fail "not six ids"
says '"size": 1048576'
works "$bin/storectl" stat
says ' driver  *'"$holder"'  *1  *4 MiB$'
says 'held 1 (4 MiB)'
works "$bin/storectl" stat --json
says '"limit_bytes": 268435456'
# Tables fit the terminal, and stay whole if there is none.
works env COLUMNS=80 "$bin/storectl" ls
says '~'
awk 'length > 80 { exit 1 }' "$scratch/out" || fail "wider than COLUMNS"
hold_end 0

# A stopped node ends its programs.
hold_start
works "$bin/mobula" stop
hold_end 3
grep -qx lost "$scratch/said" || fail "the driver of a stopped node said: $(cat "$scratch/said")"
is_gone "$first" || fail "the daemon lives after mobula stop"
nothing_left

# A killed one takes its workers with it, and the next start, or stop, removes what it left.
for next in start stop; do
    works "$bin/mobula" start
    hold_start
    killed=$(daemon_pid)
    workers=$("$bin/mobula" status --json |
        sed -n 's/^ *"pid": \([0-9]*\),\{0,1\}$/\1/p' | grep -vx "$killed")
    kill -9 "$killed"
    until_ok is_gone "$killed"
    for worker in $workers; do
        until_ok is_gone "$worker"
    done
    hold_end 3
    [ -S "$node/socket" ] || fail "the test is wrong: no socket was left"
    refuses 1 'no node runs' "$bin/mobula" status
    if [ $next = start ]; then
        works "$bin/mobula" start
        grep -q "removed what a killed daemon left pid $killed" "$node/log" ||
            fail "the log does not say what was removed"
        works "$bin/mobula" stop
    else
        refuses 1 "no node runs .*(pid $killed) left there is removed" "$bin/mobula" stop
    fi
    nothing_left
done

# The lock's file does not decide alone: here it is missing under a daemon that lives.
works "$bin/mobula" start
rm "$node/lock"
refuses 1 "runs already at .*(pid $(daemon_pid))" "$bin/mobula" start
works "$bin/mobula" stop
# A mark of another boot, or of a process that has the pid by chance, holds nobody up.
for mark in "00000000-0000-0000-0000-000000000000 $$ 1 1" \
    "$(cat /proc/sys/kernel/random/boot_id) $$ 1 1" nonsense; do
    mkdir -m 700 "$XDG_RUNTIME_DIR/mobula" "$node"
    echo "$mark" >"$node/pid"
    : >"$node/lock"
    works "$bin/mobula" start
    works "$bin/mobula" stop
    rm -rf "$XDG_RUNTIME_DIR/mobula"
done

# Of many at once, one wins.
wins=0
pids=
for i in 1 2 3 4 5; do
    "$bin/mobula" start >"$scratch/out.$i" 2>"$scratch/err.$i" </dev/null &
    pids="$pids $!"
done
for pid in $pids; do
    wait "$pid" && wins=$((wins + 1))
done
[ $wins -eq 1 ] || fail "$wins of five starts won"
works "$bin/mobula" stop
nothing_left

# Whoever reads what start prints sees its end, though the daemon lives.
# shellcheck disable=SC2016 # for the inner shell
timeout 30 sh -c '"$1" start 2>&1 | cat' sh "$bin/mobula" >"$scratch/out" || fail "start holds its output"
says 'is ready'
works "$bin/mobula" stop
# Standard streams that are closed are no obstacle.
timeout 30 "$bin/mobula" start <&- >&- 2>&- || fail "start needs standard streams"
works "$bin/mobula" stop
nothing_left

# Several nodes, in folders of their own; one that was there before stays, with what is in it.
mkdir -m 700 "$scratch/own folder"
echo mine >"$scratch/own folder/log"
cd "$scratch" || exit 1
works "$bin/mobula" start
works "$bin/mobula" start --node-dir='own folder' --num-cpus=1 --log-file=two.log
works "$bin/mobula" start --node-dir="$scratch/third" --num-cpus=3
cd / || exit 1
works "$bin/mobula" status --node-dir="$scratch/own folder"
says ' 0/1 '
works env MOBULA_ADDRESS="$scratch/third" "$bin/mobula" status
says ' 0/3 '
grep -q 'node started' "$scratch/two.log" || fail "--log-file has no log"
works "$bin/mobula" stop --node-dir="$scratch/own folder"
works "$bin/storectl" stat --node-dir="$scratch/third"
works "$bin/mobula" stop --node-dir="$scratch/third"
[ "$(ls "$scratch/own folder")" = log ] || fail "a folder of the user was changed"
[ -e "$scratch/third" ] && fail "the third node's folder was left"
grep -q 'node stopped' "$scratch/two.log" || fail "a log elsewhere is not kept"
works "$bin/mobula" stop
nothing_left

# In the foreground: until a signal, with the log on standard error; killed, it takes the node along.
block()
{
    rm -f "$scratch/ready"
    "$bin/mobula" start --block --log-level=info >"$scratch/ready" 2>"$scratch/log" </dev/null &
    front=$!
    until_ok grep -q 'is ready' "$scratch/ready"
}
block
works "$bin/mobula" status
grep -q 'node started' "$scratch/log" || fail "the log is not on standard error"
kill -TERM "$front"
wait "$front" || fail "start --block ended with $? at SIGTERM"
nothing_left
block
behind=$(daemon_pid)
kill -9 "$front"
wait "$front"
until_ok is_gone "$behind"
nothing_left
block
works "$bin/mobula" stop
wait "$front" || fail "start --block ended with $? at mobula stop"
nothing_left

finish
