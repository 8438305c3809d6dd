#!/bin/sh
# lint.sh - everything that reads the sources without running them: clang-format, clang-tidy,
# cppcheck, shellcheck, and check_style.sh. Prints what it finds; exit status 1 if that is anything.
# The files that clang-tidy reads are those of the preset clang.
#
#   --changed [BASE]    clang-tidy and cppcheck read only C files that differ from BASE (default:
#                       main), and clang-format those and headers; a changed header alone has its
#                       users read by the full run
set -eu

changed_since=
case ${1:-} in
'') ;;
--changed) changed_since=${2:-main} ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

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

# selected: of the files on standard input, one a line, those that are to be read.
selected()
{
    if [ -z "$changed_since" ]; then
        cat
        return
    fi
    {
        git diff --name-only "$changed_since"
        git ls-files --others --exclude-standard
    } | sort -u >build/lint/changed
    comm -12 - build/lint/changed
}

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
    find_sources '*.[ch]' '*.cc' | selected | xargs -r clang-format --dry-run -Werror
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
    selected <build/lint/built | tr '\n' '\0' | xargs -0 -r ls -S | tr '\n' '\0' |
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

# Suppressed everywhere:
#   getcontext, makecontext: POSIX has nothing in their place; the model checker's fibers are them.
#   readdir: safe for folders that one thread reads, and readdir_r is obsolete.
#   sizeofwithnumericparameter: MOB_VALUE(1.0), where the size of the number is meant.
#   ctuuninitvar: takes the filling of an array within a structure for a read of it.
#   ctunullpointer in the double of the API: hands it arguments of other programs' calls.
cpp_check()
{
    mkdir -p build/lint/cppcheck
    includes=
    for folder in include */include tests/support; do
        [ ! -d "$folder" ] || includes="$includes -I$folder"
    done
    find_sources '*.c' '*.cc' | grep -v '^tests/install/' | selected >build/lint/cppcheck.files
    [ -s build/lint/cppcheck.files ] || return 0
    # shellcheck disable=SC2086 # a list of words
    cppcheck --quiet -j "$jobs" --max-configs=1 --enable=warning,performance,portability --inline-suppr \
        --error-exitcode=1 --std=c11 --library=posix --library=tools/dev/cppcheck.cfg \
        --cppcheck-build-dir=build/lint/cppcheck --suppress=missingIncludeSystem \
        --suppress=missingInclude --suppress=getcontextCalled --suppress=makecontextCalled \
        --suppress=readdirCalled --suppress=sizeofwithnumericparameter \
        --suppress=ctuuninitvar --suppress=ctunullpointer:tests/bench/mob_double.c \
        $includes --file-list=build/lint/cppcheck.files
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
