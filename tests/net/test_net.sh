#!/bin/sh
# test_net.sh BUILD MODE CASE - several nodes; see lib.sh for MODE. Each case has a cluster of its own, and
# stands in the cases_*.sh of its topic.
# shellcheck source=tests/net/lib.sh disable=SC1091 # found from the folder of the test
. "$(dirname "$0")/lib.sh"
CPU=--num-cpus=1
STORE=--object-store-memory=${STORE:-1G}
[ "${MOB_TEST_FULL:-}" = 1 ] && MS=${MS:-30000} # of cases that end when their time is over

two_nodes() {
    node_start 1 "$CPU" "$STORE"
    node_start 2 "$CPU" "$STORE"
}

three_nodes() {
    two_nodes
    node_start 3 "$CPU" "$STORE"
}

for cases in "$(dirname "$0")"/cases_*.sh; do
    # shellcheck disable=SC1090 # each of them is read by itself
    . "$cases"
done

net_mode "$2"
"case_$3"
