#!/bin/sh
# bench.sh BUILD [OPTION...] - in the guest: what perftest says of the device, then bench/transport_bench over
# it, with these options. Its floor does what perftest does; that the two say about the same shows that it does.
set -u
bin=$1/bin
shift
scratch=$(mktemp -d /tmp/mob-bench.XXXXXX)
trap 'rm -rf "$scratch"' EXIT

# between TOOL ARGUMENT...: what the client says.
between()
{
    tool=$1
    shift
    "$tool" -d rxe0 -x 1 -F "$@" >"$scratch/server" 2>&1 &
    server=$!
    until ss -Hltn 'sport = 18515' | grep -q .; do
        kill -0 $server 2>/dev/null || exit 1
    done
    "$tool" -d rxe0 -x 1 -F "$@" 10.9.0.1 >"$scratch/client" 2>&1 || exit 1
    wait $server
    # The line of numbers and the one above.
    grep -B 1 '^ *[0-9][0-9]*  *[0-9][0-9]* ' "$scratch/client"
}

echo "ib_read_bw, 1 MiB, 16 at once:"
between ib_read_bw -s 1048576 -o 16 -n 100
echo "ib_send_lat, 64 bytes (half a trip):"
between ib_send_lat -s 64 -n 1000
exec "$bin/transport_bench" --verbs --large 0 "$@"
