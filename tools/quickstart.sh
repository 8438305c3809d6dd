#!/bin/sh
# quickstart.sh - from a fresh Debian 12 to a running example: installs what is missing, builds
# into build/release, runs a first program, and measures for five seconds. Run it from anywhere,
# as often as you like.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root"
# shellcheck source=tools/dev/packages.sh
. tools/dev/packages.sh

step()
{
    printf '== %s\n' "$*"
}

die()
{
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}

# Runs a command whose output matters only if it fails.
quietly()
{
    if ! "$@" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        die "'$*' failed; all of its output is in $root/$log"
    fi
}

step "packages"
# shellcheck disable=SC2086 # a list of words
install_missing $PACKAGES_BUILD || exit 1

step "build"
log=build/quickstart.log
mkdir -p build
if [ -f build/release/CMakeCache.txt ]; then
    quietly cmake --preset release
else
    quietly cmake --preset release -DMOB_TESTS=OFF
fi
quietly cmake --build --preset release -j "$(nproc)"

for program in square square_bench; do
    [ -x "build/release/bin/$program" ] || die "the build made no build/release/bin/$program"
done

# A cluster that happens to run here must neither be used nor measured.
unset MOBULA_ADDRESS
step "example: build/release/bin/square"
build/release/bin/square || die "square failed with status $?"
step "bench: build/release/bin/square_bench, five seconds"
build/release/bin/square_bench || die "square_bench failed with status $?"

step "Mobula works. Next: README.md, examples/, and 'build/release/bin/mobula --help'."
