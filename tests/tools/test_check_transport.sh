#!/bin/sh
# test_check_transport.sh FOLDER - mobula check-transport: by itself, and with a node on the loopback interface.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"
mobula=$bin/mobula
devices=$(ls /sys/class/infiniband 2>/dev/null)

refuses 2 'auto, off or strict' "$mobula" check-transport --rdma=sometimes
refuses 2 'give one of them' "$mobula" check-transport --need-rdma --rdma=off
refuses 2 'give one of them' "$mobula" check-transport --key-file=a --key-stdin
refuses 2 'is not expected' "$mobula" check-transport one two
refuses 2 'unknown option' "$mobula" check-transport --fast
works "$mobula" check-transport --help
says 'exit status 1 unless'

if [ -z "$devices" ]; then
    works "$mobula" check-transport
    says 'RDMA  *no: this machine has no RDMA device; objects move over TCP'
    works "$mobula" check-transport --json
    says '"verdict": "tcp"'
    says '"good": true'
    run "$mobula" check-transport --need-rdma
    [ $? -eq 1 ] || fail "RDMA is needed, there is none, and all is said to be good"
fi

# No key, no node, nobody there.
refuses 1 'key' "$mobula" check-transport 127.0.0.1:1
for try in 1 2 3 4 5; do
    port=$((20000 + ($$ + try * 7919) % 12000))
    run "$mobula" start --head --listen=127.0.0.1 --port="$port" --num-cpus=1 \
        --object-store-memory=256M && break
done
run "$mobula" check-transport 127.0.0.1:1
[ $? -eq 1 ] || fail "nobody listens, and all is said to be good"
says 'NOT reached'

# What is measured is measured: bytes moved, and the round trip is not nothing.
works "$mobula" check-transport 127.0.0.1:"$port" --rdma=off
says "^node 127.0.0.1:$port"
says '^  TCP  *[0-9.]* us  *[0-9.]* [MG]iB/s  *yes'
says 'RDMA  *no: it is switched off'
works "$mobula" check-transport 127.0.0.1:"$port" --json --rdma=off
says '"used": "tcp"'
says '"moved_bytes": [1-9]'
says '"round_trip_ns": [1-9]'

# The node sees it, as a connection that came and went, and nothing else.
works "$mobula" status
says 'alive'
run "$mobula" check-transport 127.0.0.1:"$port" --rdma=off --encrypt
[ $? -eq 1 ] || fail "one encrypts and the other does not"
says 'NOT reached.*--encrypt'
printf '%064d' 7 >"$scratch/other"
chmod 600 "$scratch/other"
run "$mobula" check-transport 127.0.0.1:"$port" --key-file="$scratch/other" --rdma=off
[ $? -eq 1 ] || fail "another key"
says 'NOT reached.*key'
if [ -z "$devices" ]; then
    works "$mobula" check-transport 127.0.0.1:"$port"
    says 'RDMA  *no: this machine has no RDMA device'
fi
works "$mobula" stop
nothing_left
finish
