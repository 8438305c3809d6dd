#!/bin/sh
# lint.sh - everything that reads the sources without running them: clang-format, clang-tidy,
# cppcheck, shellcheck, and check_style.sh. Prints what it finds; exit status 1 if that is anything.
# The files that clang-tidy reads are those of the preset clang.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
cd "$root"
jobs=$(nproc)
failed=
mkdir -p build/lint

for tool in clang-format clang-tidy cppcheck shellcheck cmake; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "lint: $tool is missing; tools/test.sh installs it" >&2
        exit 1
    fi
done

# find_sources PATTERN...: as check_style.sh sees the tree.
find_sources()
{
    find . \( -name .git -o -path ./build -o -path './build-*' \) -prune -o -type f \
        \( -name "$1" -o -name "${2:-$1}" \) -print | sed 's|^\./||' | sort
}

# check NAME COMMAND...: runs one linter, and goes on with the others if it fails.
check()
{
    name=$1
    shift
    started=$(date +%s)
    if "$@"; then
        echo "lint: $name ok ($(($(date +%s) - started)) s)"
    else
        echo "lint: $name FAILED"
        failed="$failed $name"
    fi
}

format()
{
    find_sources '*.[ch]' '*.cc' | xargs clang-format --dry-run -Werror
}

# clang-tidy's exit status counts, its count of suppressed warnings does not. A C file that is not
# built would not be read: that is an error too. Consumers of an installed Mobula are built there.
tidy()
{
    cmake --preset clang >build/lint/configure.log 2>&1 || {
        tail -n 20 build/lint/configure.log
        return 1
    }
    sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' build/clang/compile_commands.json |
        sed "s|^$(printf '%s' "$root" | sed 's/[][\\.*^$|]/\\&/g')/||" |
        grep -v '^/\|^build/' | sort -u >build/lint/built
    unbuilt=$(find_sources '*.c' '*.cc' | grep -v '^tests/install/' |
        comm -23 - build/lint/built)
    clean=0
    # The largest first, so that none of those runs alone at the end.
    tr '\n' '\0' <build/lint/built | xargs -0 -r ls -S | tr '\n' '\0' |
        xargs -0 -r -n 1 -P "$jobs" clang-tidy --quiet -p build/clang 2>build/lint/tidy.stderr || {
        grep -v ' warnings\{0,1\} .*generated\.$' build/lint/tidy.stderr
        clean=1
    }
    if [ -n "$unbuilt" ]; then
        printf '%s\n' "$unbuilt" | sed 's/$/:1: no target builds this file/'
        clean=1
    fi
    return $clean
}

# Criterion's macro is given, since cppcheck does not look into system headers.
cpp_check()
{
    mkdir -p build/lint/cppcheck
    includes=
    for folder in include */include tests/support; do
        [ ! -d "$folder" ] || includes="$includes -I$folder"
    done
    # shellcheck disable=SC2086 # a list of words
    find_sources '*.c' '*.cc' | grep -v '^tests/install/' |
        cppcheck --quiet -j "$jobs" --enable=warning,performance,portability --inline-suppr \
            --error-exitcode=1 --std=c11 --library=posix --cppcheck-build-dir=build/lint/cppcheck \
            --suppress=missingIncludeSystem --suppress=missingInclude $includes \
            '-DTest(suite,name,...)=void suite##_##name(void)' --file-list=-
}

shells()
{
    {
        find_sources '*.sh'
        echo .ci/run
        echo tests/support/leftovers
    } | sort -u | xargs shellcheck -x
}

check clang-format format
check style sh tools/dev/check_style.sh
check shellcheck shells
check cppcheck cpp_check
check clang-tidy tidy

if [ -n "$failed" ]; then
    echo "lint: failed:$failed"
    exit 1
fi
