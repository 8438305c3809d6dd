#!/bin/sh
# aarch64.sh - builds for AArch64 and runs tests under qemu's user emulation, on an x86-64 machine.
#
#   sh tools/dev/aarch64.sh [REGEX]    tests whose name matches; by default those of core, store, scheduler and API
#
# What it shows is that the code is right for that machine, its compiler and its system calls. Not its memory order:
# the emulator runs on this machine's stronger one; tests/model explores the weaker. Needs root for binfmt_misc, as
# workers are started by the daemon as any program is. Packages of that architecture are unpacked beside the build,
# not installed.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
# shellcheck source=tools/dev/packages.sh
. tools/dev/packages.sh

tests=${1:-'^(test_(codec|fold|text|labels|resources|machine|park|task|request|sweep|arena|move|let_go|pull_line|spread)|test_(head|node)_plan|test_board_threads|test_api_(values|objects|tasks|cancel|resources)|example_reduce)$'}
build=$root/build/aarch64
system=$build/system
binfmt=/proc/sys/fs/binfmt_misc

install_missing gcc-aarch64-linux-gnu g++-aarch64-linux-gnu qemu-user ninja-build cmake pkg-config

if [ ! -e "$system/complete" ]; then
    echo "fetching the packages of AArch64"
    rm -rf "$system"
    mkdir -p "$system/apt/lists/partial" "$system/apt/archives/partial" "$system/root"
    : >"$system/apt/status"
    get="apt-get -qq -o Dir::State=$system/apt -o Dir::Cache=$system/apt -o Dir::State::status=$system/apt/status
        -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Debug::NoLocking=1"
    # shellcheck disable=SC2086 # options and names are split on purpose
    $get update
    # shellcheck disable=SC2046,SC2086 # likewise
    $get install -y --no-install-recommends --download-only libc6-dev libgcc-12-dev libstdc++-12-dev \
        libcriterion-dev $(printf '%s\n' $PACKAGES_BUILD | grep '^lib') >"$system/apt/log"
    for package in "$system"/apt/archives/*.deb; do
        dpkg -x "$package" "$system/root"
    done
    # Links that begin at the root are meant to begin at this one.
    find "$system/root" -type l | while read -r link; do
        to=$(readlink "$link")
        case $to in
        /*) ln -sfn "$system/root$to" "$link" ;;
        esac
    done
    rm -rf "$system/apt"
    : >"$system/complete"
fi

cat >"$build/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_SYSROOT $system/root)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
END
export PKG_CONFIG_SYSROOT_DIR="$system/root" PKG_CONFIG_LIBDIR="$system/root/usr/lib/aarch64-linux-gnu/pkgconfig"
echo "building for AArch64"
if ! { cmake -G Ninja -B "$build" -DCMAKE_TOOLCHAIN_FILE="$build/toolchain.cmake" -DCMAKE_BUILD_TYPE=Release \
    -DMOB_TESTS=ON && cmake --build "$build" -j "$(nproc)"; } >"$build/log" 2>&1; then
    grep -E 'error|FAILED' "$build/log" | head -n 20 >&2
    echo "the build failed: $build/log" >&2
    exit 1
fi

# The kernel starts programs of that machine with the emulator, and gives it the open file (O), as what the
# daemon starts has no name; the emulator is opened now (F).
if [ ! -e "$binfmt/register" ]; then
    mount -t binfmt_misc binfmt_misc "$binfmt"
fi
if [ ! -e "$binfmt/qemu-aarch64" ]; then
    magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
    mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
    printf '%s' ":qemu-aarch64:M::$magic:$mask:$(command -v qemu-aarch64):OF" >"$binfmt/register"
    trap 'echo -1 >"$binfmt/qemu-aarch64"' EXIT
fi
QEMU_LD_PREFIX=$system/root ctest --test-dir "$build" -R "$tests" --timeout 600 --output-on-failure
