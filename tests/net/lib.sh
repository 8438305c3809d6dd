# shellcheck shell=sh
# lib.sh - clusters for tests: nodes on one machine, or each in a network namespace of its own.
#
# Sourced by a test, which gets BUILD (the build's folder) as its first argument. Everything that
# is made here is removed at the end: processes by pid, namespaces and links by name (mob...).
# NET_LOOP in the environment: what the loops of all nodes must run on.
#
#   net_mode local|each|netns|rdma   where nodes live; each: on this machine, each with a loop-back address
#                            of its own; netns needs root, and exits 77 without; rdma: on this
#                            machine, each with an address of the RDMA device that the guest of
#                            tests/rdma has
#   node_start I [OPTION...] starts node I (1 is the head) and waits until it serves
#   node_kill I SIGNAL       node_wait I
#   on I COMMAND...          runs PROGRAM, or net_driver, as a driver on node I
set -u
BUILD=$(cd "$1" && pwd)
BIN=$BUILD/bin
WORK=$(mktemp -d /tmp/mob-net.XXXXXX)
TAG=mob$$
MODE=local
NODES=${NODES:-4}
PATIENCE=${PATIENCE:-1} # times the usual limits, where all is slow
PORT=$((20000 + $$ % 12000)) # below those that the kernel gives out
PIDS=
export MOBULA_LOG_LEVEL="${MOBULA_LOG_LEVEL:-info}"
unset XDG_RUNTIME_DIR XDG_CACHE_HOME
# A crash is for the node to see, as without a sanitizer.
export ASAN_OPTIONS=handle_sigill=0:handle_sigtrap=0

fail() {
    echo "FAILED: $*" >&2
    for log in "$WORK"/*.log; do
        [ -f "$log" ] && echo "--- $log" >&2 && tail -25 "$log" >&2
    done
    exit 1
}

clean_up() {
    code=$?
    trap - EXIT INT TERM
    for pid in $PIDS; do
        kill -CONT "$pid" 2>/dev/null
        kill "$pid" 2>/dev/null
    done
    for pid in $PIDS; do
        wait "$pid" 2>/dev/null
    done
    # What a sanitizer has to say of a daemon that ends in good order.
    if [ $code = 0 ] && grep -aE 'AddressSanitizer|LeakSanitizer|runtime error:' "$WORK"/*.log; then
        cat "$WORK"/*.log
        code=1
    fi
    if [ $code = 0 ] && [ -n "${NET_LOOP:-}" ]; then
        other=$(grep -h 'node started' "$WORK"/*.log | grep -vF " loop $NET_LOOP")
        if [ -n "$other" ] || ! grep -qF " loop $NET_LOOP" "$WORK"/*.log; then
            echo "FAILED: not all nodes are on $NET_LOOP: $other"
            code=1
        fi
    fi
    if [ "$MODE" = netns ]; then
        for i in $(seq "$NODES"); do
            ip netns del "$TAG-$i" 2>/dev/null
        done
        ip link del "$TAG" 2>/dev/null
    fi
    rm -rf "$WORK"
    exit $code
}
trap clean_up EXIT
trap 'exit 1' INT TERM

net_mode() {
    MODE=$1
    if [ "$MODE" = rdma ] && [ ! -d /sys/class/infiniband/rxe0 ]; then
        echo "skipped: no device rxe0 here; tests/rdma/guest.sh has one"
        exit 77
    fi
    [ "$MODE" = netns ] || return 0
    if [ "$(id -u)" != 0 ] || ! ip netns add "$TAG-1" 2>/dev/null; then
        echo "skipped: network namespaces need root"
        exit 77
    fi
    if ! ip link add "$TAG" type bridge || ! ip link set "$TAG" up; then
        fail "no bridge"
    fi
    for i in $(seq "$NODES"); do
        [ "$i" = 1 ] || ip netns add "$TAG-$i"
        ip link add "$TAG.$i" type veth peer name eth0 netns "$TAG-$i" || fail "no veth"
        ip link set "$TAG.$i" master "$TAG" up
        ip -n "$TAG-$i" addr add "10.77.0.$i/24" dev eth0
        ip -n "$TAG-$i" link set eth0 up
        ip -n "$TAG-$i" link set lo up
    done
}

address() {
    case $MODE in
    netns) echo "10.77.0.$1" ;;
    rdma) echo "10.9.0.$1" ;;
    each) echo "127.0.0.$1" ;;
    *) echo 127.0.0.1 ;;
    esac
}

# A command where node I is. Nodes beyond the first have a /tmp and a HOME of their own there, in
# which nothing of the driver's is.
inside() {
    i=$1
    shift
    if [ "$MODE" != netns ]; then
        HOME=$WORK/home$i exec "$@"
    elif [ "$i" = 1 ]; then
        HOME=$WORK/home1 exec ip netns exec "$TAG-1" "$@"
    else
        # A build that lies in /tmp stays there, as an installed Mobula would.
        # shellcheck disable=SC2016 # the inner shell expands them
        exec ip netns exec "$TAG-$i" unshare -m --propagation private sh -c '
            build=$1 && shift && exec 9<"$build" &&
            mount -t tmpfs tmpfs /tmp && mkdir -m 700 /tmp/home /tmp/node && cd / &&
            if [ ! -d "$build" ]; then
                mkdir -p "$build" && mount --no-canonicalize --bind /proc/self/fd/9 "$build"
            fi && exec 9<&- && HOME=/tmp/home exec "$@"' sh "$BUILD" "$@"
    fi
}

key() {
    [ -f "$WORK/key" ] || (umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$WORK/key")
    cat "$WORK/key"
}

node_dir() {
    if [ "$MODE" = netns ] && [ "$1" != 1 ]; then echo /tmp/node; else echo "$WORK/node$1"; fi
}

# Starts it; its pid is in PID_I.
node_launch() {
    i=$1
    shift
    mkdir -p "$WORK/home$i"
    rm -f "$WORK/ready$i"
    mkfifo "$WORK/ready$i"
    key >/dev/null
    if [ "$i" = 1 ]; then
        role="--head --port=$PORT"
    else
        role="--address=$(address 1):${VIA:-$PORT}"
    fi
    timeout $((20 * PATIENCE)) head -n 1 "$WORK/ready$i" >"$WORK/line$i" &
    eval "READER_$i=$!"
    # All nodes have the same CPUs here, and a sysfs each, so that they do not see what the others claim.
    # shellcheck disable=SC2086
    (inside "$i" "$BIN/mobulad" $role --no-pin --listen="$(address "$i")" --key-stdin \
        --node-dir="$(node_dir "$i")" --log-file=- --ready-fd=3 "$@" \
        <"${KEY:-$WORK/key}" 3>"$WORK/ready$i" 2>>"$WORK/node$i.log") &
    eval "PID_$i=$!"
    PIDS="$PIDS $!"
}

# The line that it says is in LINE.
node_line() {
    eval "wait \$READER_$1"
    LINE=$(cat "$WORK/line$1")
}

node_serves() {
    node_line "$1"
    case $LINE in
    ready*) ;;
    *) fail "node $1 did not start: $LINE" ;;
    esac
}

node_try() {
    node_launch "$@"
    node_line "$1"
}

node_start() {
    node_launch "$@"
    node_serves "$1"
}

pid_of() {
    eval "echo \$PID_$1"
}

node_kill() {
    kill "-$2" "$(pid_of "$1")"
}

node_wait() {
    wait "$(pid_of "$1")" 2>/dev/null
}

# A driver on node I. It runs from a copy that only that node sees.
on() {
    i=$1
    shift
    if ! cmp -s "$BIN/${PROGRAM:-net_driver}" "$WORK/driver"; then
        # Under its name at once: another driver may start at the same time.
        new=$(mktemp "$WORK/new.XXXXXX")
        cp "$BIN/${PROGRAM:-net_driver}" "$new" && chmod 755 "$new" && mv "$new" "$WORK/driver"
    fi
    if [ "$MODE" = netns ]; then
        # Its workers begin in its folder, and the node may have none of that name.
        (cd / && MOBULA_ADDRESS=$(seen_dir "$i") timeout "$((${LIMIT:-60} * PATIENCE))" \
            ip netns exec "$TAG-$i" "$WORK/driver" "$@")
    else
        MOBULA_ADDRESS=$(node_dir "$i") timeout "$((${LIMIT:-60} * PATIENCE))" "$WORK/driver" "$@"
    fi
}

# The folder of node I as it is seen from outside of its mount namespace.
seen_dir() {
    dir=$(node_dir "$1")
    [ "$dir" = /tmp/node ] && dir=/proc/$(pid_of "$1")/root$dir
    echo "$dir"
}

# status_of I [OPTION...]: what `mobula status` of node I says.
status_of() {
    dir=$(seen_dir "$1")
    shift
    "$BIN/mobula" status --node-dir="$dir" "$@"
}

# As if the machine lost its power: the daemon of node I and all workers there, at once.
node_power_off() {
    if [ "$MODE" = netns ]; then
        # shellcheck disable=SC2046 # pids
        kill -KILL $(ip netns pids "$TAG-$1") 2>/dev/null
    else
        node_kill "$1" KILL
    fi
    node_wait "$1"
}

# proxy_start: nodes that start from now on reach the head through net_proxy; order WORDS: see there.
proxy_start() {
    VIA=$((PORT - 12000)) # nobody else's
    mkfifo "$WORK/orders"
    "$BIN/net_proxy" $VIA "$PORT" "${SEED:-1}" <"$WORK/orders" >"$WORK/proxy" &
    PROXY=$!
    PIDS="$PIDS $PROXY"
    exec 8>"$WORK/orders"
    eventually grep -q listens "$WORK/proxy" || fail "the proxy does not listen"
}

order() {
    echo "$*" >&8
}

# proxy_did WHAT: how many of bytes, connections, flips, stalls, resets, swallowed.
proxy_did() {
    lines=$(wc -l <"$WORK/proxy")
    order say
    # shellcheck disable=SC2016 # the inner shell's
    eventually sh -c '[ $(wc -l <"$0") -gt $1 ]' "$WORK/proxy" "$lines" || fail "the proxy is gone"
    tail -n 1 "$WORK/proxy" | tr ' ' '\n' | grep -B 1 -x "$1" | head -n 1
}

# Waits until a command is true.
eventually() {
    n=0
    until "$@"; do
        n=$((n + 1))
        [ $n -gt $((150 * PATIENCE)) ] && return 1
        sleep 0.1
    done
}

# No worker of the driver is left anywhere.
no_workers() {
    ! pgrep -f "^$WORK/driver" >/dev/null
}

# Bytes that node I has sent, or received: tx or rx.
bytes() {
    ip netns exec "$TAG-$1" cat "/sys/class/net/eth0/statistics/$2_bytes" || fail "no statistics"
}

# Node I has received more than so many.
received() {
    [ "$(bytes "$1" rx)" -gt "$2" ]
}

# Node I sends at most so much: 400mbit.
slow() {
    if ! ip netns exec "$TAG-$1" tc qdisc add dev eth0 root tbf rate "$2" burst 256k latency 50ms; then
        echo "skipped: tc cannot shape traffic here"
        exit 77
    fi
}

# How often a node has been welcomed by a head.
joined() {
    grep -c 'joined the cluster' "$WORK/node$1.log"
}

has_joined() {
    [ "$(joined "$1")" -ge "$2" ]
}
