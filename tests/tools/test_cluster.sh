#!/bin/sh
# test_cluster.sh FOLDER - mobula start as head and as its nodes, on the loopback interface: what
# the head says to type on the next machine is typed, and what can go wrong goes wrong.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"
mobula=$bin/mobula
key=$HOME/.mobula/key
second=$scratch/second

# A head on a port that was free when it was asked for; others may take it, so more than one try.
start_head()
{
    for try in 1 2 3 4 5; do
        port=$((20000 + ($$ + try * 7919) % 12000))
        run "$mobula" start --head --listen=127.0.0.1 --port="$port" --num-cpus=1 \
            --object-store-memory=256M && return 0
    done
    fail "no head started"
}

start_head
at=127.0.0.1:$port
says ' is ready, the head$'
says "^  address  *127\.0\.0\.1:$port$"
[ "$(stat -c %a "$key")" = 600 ] || fail "the key's file has another mode than 600"
line=$(sed -n 's/^  \(echo .*\)/\1/p' "$scratch/out")
[ "$line" = "echo '$(cat "$key")' | mobula start --address=127.0.0.1:$port --key-stdin" ] ||
    fail "the line for the next machine is: $line"

# That line, as it stands.
mkdir -m 700 "$scratch/home2"
timeout 60 env HOME="$scratch/home2" PATH="$bin:$PATH" \
    sh -c "$line --node-dir='$second' --num-cpus=1 --object-store-memory=256M" >"$scratch/out" \
    2>"$scratch/err" || fail "the line for the next machine does not work"
[ -e "$scratch/home2/.mobula" ] && fail "a node that is no head made a key"
# shellcheck disable=SC2317 # until_ok calls it
both()
{
    "$mobula" status "$@" >"$scratch/out" && [ "$(grep -c ' alive ' "$scratch/out")" -eq 2 ]
}
until_ok both
says '(head)'
until_ok both --node-dir="$second"
# How objects move to the other node, of both.
for of in "$node" "$second"; do
    works "$mobula" status --node-dir="$of"
    says '^PEER  *HOST  *TRANSPORT  *PULLED'
    [ "$(sed -n '/^PEER/,/^$/p' "$scratch/out" | grep -cE '^[0-9a-f]{10} .* (tcp|verbs) ')" -eq 1 ] ||
        fail "not one peer"
    works "$bin/storectl" stat --node-dir="$of"
    says '^PEER  *HOST  *TRANSPORT  *PULLED'
done
works "$mobula" status --json
says "\"address\": \"127.0.0.1:$port\""
says '"served_bytes_s": 0'
says '"no_rdma": "'
[ "$(grep -c '"loop": "' "$scratch/out")" -ge 2 ] || fail "not every node's loop"
grep -q '"loop": ""' "$scratch/out" && fail "a loop of which nothing is known"
if [ -x "$bin/square" ] && [ -z "${SANITIZED:-}" ]; then
    works "$bin/square"
    says '^\[0, 1, 4, 9\]$'
fi
# A program that names a cluster gets that one, or an error with both names.
joins()
{
    works env MOBULA_ADDRESS="$1" "$bin/tools_hold"
}
other=127.0.0.1:$((port + 1))
joins "$at"
joins "localhost:$port"
joins ":$port"
refuses 1 "MOB_ERR_NO_NODE.* head is at $at,.* at $other;" \
    env MOBULA_ADDRESS="$other" "$bin/tools_hold"
refuses 1 "MOB_ERR_NO_NODE.* head is at $at,.* at 192.0.2.1:$port;" \
    env MOBULA_ADDRESS="192.0.2.1:$port" "$bin/tools_hold"
refuses 1 "MOB_ERR_NO_NODE.*no.such.host.invalid:$port is not known" \
    env MOBULA_ADDRESS="no.such.host.invalid:$port" "$bin/tools_hold"
refuses 1 "MOB_ERR_INVALID.*'nowhere'" env MOBULA_ADDRESS=nowhere "$bin/tools_hold"
works "$mobula" stop --node-dir="$second"
[ -e "$second" ] && fail "the second node left its folder"

# The same with the key in a file.
works env MOBULA_KEY_FILE="$key" HOME="$scratch/home2" "$mobula" start \
    --address="$at" --node-dir="$second"
works "$mobula" stop --node-dir="$second"

# Keys that do not do.
refuses 1 'no cluster key at .*home2/.mobula/key' env HOME="$scratch/home2" "$mobula" start \
    --address="$at" --node-dir="$second"
refuses 1 'no cluster key at .*none' "$mobula" start --address="$at" \
    --node-dir="$second" --key-file="$scratch/none"
refuses 1 'a cluster key is' "$mobula" start --address="$at" --node-dir="$second" \
    --key-stdin # which is empty
refuses 1 'HOME does not say' env -u HOME "$mobula" start --address="$at" \
    --node-dir="$second"
(umask 077 && head -c 32 /dev/urandom | base64 >"$scratch/wrong")
refuses 1 "key of $at differs" "$mobula" start --address="$at" --node-dir="$second" \
    --key-file="$scratch/wrong"
cp "$key" "$scratch/shared"
chmod 644 "$scratch/shared"
refuses 1 'open to others (mode 644)' "$mobula" start --address="$at" \
    --node-dir="$second" --key-file="$scratch/shared"
works "$mobula" start --address="$at" --node-dir="$second" \
    --key-file="$scratch/shared" --allow-shared-key
works "$mobula" stop --node-dir="$second"

# A node that is no head is of its head's cluster too, and one alone of none.
works "$mobula" stop
run "$mobula" start --head --listen=127.0.0.1 --port="$port" --num-cpus=1 --node-dir="$second" ||
    fail "no head started"
works "$mobula" start --address="$at" --num-cpus=1 --object-store-memory=256M
joins "$at"
joins "localhost:$port"
refuses 1 "MOB_ERR_NO_NODE.* head is at $at,.* at $other;" \
    env MOBULA_ADDRESS="$other" "$bin/tools_hold"
works "$mobula" stop
works "$mobula" stop --node-dir="$second"
works "$mobula" start --num-cpus=1 --object-store-memory=256M
refuses 1 "MOB_ERR_NO_NODE.*of no cluster,.* at $at;" env MOBULA_ADDRESS="$at" "$bin/tools_hold"
works "$mobula" stop
refuses 1 "MOB_ERR_NO_NODE.*no node of the cluster at $at" \
    env MOBULA_ADDRESS="$at" "$bin/tools_hold"
start_head

# A head that was killed is started again as it was the first time. What is no database of its own keeps it from
# that, and stays.
kill_head()
{
    pid=$(daemon_pid)
    kill -9 "$pid"
    until_ok is_gone "$pid"
}
again="$mobula start --head --listen=127.0.0.1 --port=$port --num-cpus=0"
works "$mobula" start --address="$at" --num-cpus=1 --object-store-memory=256M --node-dir="$second"
kill_head
works sh -c "$again"
says ' is ready, the head$'
until_ok both
kill_head
mkdir "$scratch/aside"
mv "$node"/head.db* "$scratch/aside"
echo 'no database, but long enough to be looked at; no database, but long enough to be looked at' >"$node/head.db"
refuses 1 'head.db is damaged, or no database of a head.*move it away' sh -c "$again"
grep -q '^no database' "$node/head.db" || fail "the file did not stay as it was"
mv "$scratch/aside"/head.db* "$node"
works sh -c "$again"
until_ok both
works "$mobula" stop --node-dir="$second"
works "$mobula" stop
[ -e "$node" ] && fail "the head left $(ls "$node")"
start_head

# The port is taken; nobody listens; the address makes no sense.
refuses 1 "port $port is taken" "$mobula" start --head --listen=127.0.0.1 --port="$port" --node-dir="$second"
refuses 2 "--port: '70000'" "$mobula" start --head --port=70000 --node-dir="$second"
works "$mobula" stop
refuses 1 "nobody listens at 127.0.0.1:$port" "$mobula" start --address="$at" \
    --node-dir="$second"
refuses 1 'nowhere' "$mobula" start --address=nowhere --node-dir="$second"
nothing_left
[ -e "$second" ] && fail "a start that failed left its folder"

# IPv6, with and without brackets.
if grep -q '^0\{31\}1 ' /proc/net/if_inet6 2>/dev/null; then
    works "$mobula" start --head --listen=::1 --port="$port" --num-cpus=1
    says "^  address  *\[::1\]:$port$"
    works "$mobula" start --address="[::1]:$port" --listen='[::1]' --num-cpus=1 \
        --node-dir="$second"
    until_ok both
    works "$mobula" stop --node-dir="$second"
    works "$mobula" stop
    nothing_left
fi

finish
