#!/bin/sh
# install_consume.sh BUILD - installs a build as a user without rights would, moves it elsewhere,
# and builds and runs the same program against it in each way that a user may: find_package, and
# pkg-config with C11, C17 and C++11.
set -eu

build=$1
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mob-install.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
prefix=$scratch/moved

fail()
{
    echo "install_consume: $*" >&2
    exit 1
}

# What the installed tree holds.
cmake --install "$build" --prefix "$scratch/first" >"$scratch/log" 2>&1 ||
    fail "cmake --install failed: $(cat "$scratch/log")"
mv "$scratch/first" "$prefix"
for file in include/mobula.h lib/libmobula.so lib/libmobula.so.0 lib/pkgconfig/mobula.pc \
    bin/mobulad bin/mobula bin/storectl; do
    [ -e "$prefix/$file" ] || fail "$file is not installed"
done
for program in mobula mobulad storectl; do
    find "$prefix/share/man" -name "$program.[1-8]" | grep -q . ||
        fail "the man page of $program is not installed"
done
if grep -rlF -e "$scratch/first" -e "$build" "$prefix/lib/cmake" "$prefix/lib/pkgconfig"; then
    fail "the files above name a folder of the build"
fi
readelf -d "$prefix/lib/libmobula.so" | grep -q 'SONAME.*\[libmobula\.so\.0\]' ||
    fail "the library's SONAME is not libmobula.so.0"
nm -D --defined-only "$prefix/lib/libmobula.so" | awk '{ print $NF }' |
    grep -v -e '^mob_.*@@MOBULA_0\.1$' -e '^MOBULA_0\.1' >"$scratch/strays" &&
    fail "the library shows more than mob_*: $(tr '\n' ' ' <"$scratch/strays")"
for program in "$prefix"/bin/*; do
    if ldd "$program" | grep 'not found'; then
        fail "$program does not find its libraries"
    fi
done

# The node that a consumer starts is the installed one, and shares nothing with one that runs here.
unset MOBULA_ADDRESS LD_LIBRARY_PATH
PATH=$prefix/bin:$PATH
XDG_RUNTIME_DIR=$scratch/run
export PATH XDG_RUNTIME_DIR
mkdir -m 700 "$XDG_RUNTIME_DIR"

# run NAME: runs a consumer, which says what it got.
run()
{
    "$scratch/$1" >"$scratch/out" 2>&1 || fail "$1 failed ($?): $(cat "$scratch/out")"
    grep -qx 'half of 85 is 42.5' "$scratch/out" || fail "$1 said: $(cat "$scratch/out")"
    echo "ok: $1"
}

if ! { cmake -S "$here/consumer" -B "$scratch/find_package" -DCMAKE_PREFIX_PATH="$prefix" &&
    cmake --build "$scratch/find_package"; } >"$scratch/log" 2>&1; then
    fail "the find_package consumer does not build: $(cat "$scratch/log")"
fi
run find_package/consumer

PKG_CONFIG_PATH=$prefix/lib/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --cflags --libs mobula) || fail "pkg-config does not find mobula"
for standard in c11 c17 c++11; do
    case $standard in
    c++*) compiler="g++ -x c++" ;;
    *) compiler="gcc -x c" ;;
    esac
    # shellcheck disable=SC2086 # both are lists of words
    $compiler -std=$standard -pedantic -Wall -Wextra -Werror "$here/consumer.c" -x none $flags \
        -o "$scratch/$standard" 2>"$scratch/log" ||
        fail "the consumer is no $standard: $(cat "$scratch/log")"
    run "$standard"
done
