#!/bin/sh
# test_ends.sh BUILD - a guest ends when its time is up, and when the script that started it is killed.
set -u
build=$1
guest=$(dirname "$0")/guest.sh
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mob-ends.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
export TMPDIR="$scratch" # a killed script cannot remove its folder

fail()
{
    echo "FAILED: $*" >&2
    cat "$scratch/out" >&2
    exit 1
}

sh "$guest" make --build "$build" || exit
sh "$guest" run --build "$build" --timeout 1 true >"$scratch/out" 2>&1
code=$?
[ $code = 124 ] || fail "exit status $code when the time was up"
grep -q 'no end after 1 s' "$scratch/out" || fail "the time was up, and it did not say so"
[ "$(find "$scratch" -mindepth 1)" = "$scratch/out" ] || fail "files are left: $(find "$scratch")"

# Its machine is the child of its child.
sh "$guest" run --build "$build" --timeout 100 sleep 100 >"$scratch/out" 2>&1 &
script=$!
until machine=$(pgrep -P "$(pgrep -P $script -x timeout)" 2>/dev/null) &&
    [ "$(cat "/proc/$machine/comm" 2>/dev/null)" = qemu-system-x86 ]; do
    kill -0 $script 2>/dev/null || fail "it ended by itself"
done
kill -KILL $script
wait $script
until [ ! -d "/proc/$machine" ]; do # the time limit of this test is the limit
    sleep 0.1
done
echo 'ended when the time was up, and with its script'
