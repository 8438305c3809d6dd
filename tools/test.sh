#!/bin/sh
# test.sh - everything that gates, in stages: installs what is missing, builds with each compiler
# and sanitizer, reads the sources, and runs the tests. CI runs this and nothing else.
#
#   --full    long variants of the tests (they see MOB_TEST_FULL=1)
#
# A stage prints one line with its result and its minutes; its output goes to build/test/ and is
# shown if it fails. After each stage tests/support/leftovers looks for what stayed behind. A test
# that cannot run here is listed with its reason; if CI is true it has failed. At the end stands
#   N passed, N failed
# which counts tests, and a stage that failed otherwise (a build, a linter, a leftover) as one
# failure more. The exit status is 0 if nothing failed.
set -u

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
cd "$root" || exit 1
# shellcheck source=tools/dev/packages.sh
. tools/dev/packages.sh

case ${1:-} in
'') ;;
--full) export MOB_TEST_FULL=1 ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

labels='unit|stress|crash|net|rdma|fuzz|libfuzzer|bench|install'
jobs=$(nproc)
logs=$root/build/test
rm -rf "$logs"
mkdir -p "$logs"
results=$logs/results # a line for each test: pass, skip or fail, build, name, reason
: >"$results"
stages_failed=0

# The tests have folders of their own, so that they neither find a node that runs on this machine
# nor leave files elsewhere. The path is short, since names of sockets end at 107 bytes, and does
# not begin with mob, since two runs at once must not take each other's for leftovers.
MOB_TEST_RUN=$(mktemp -d /tmp/testmob.XXXXXX) || exit 1
export MOB_TEST_RUN
trap 'rm -rf "$MOB_TEST_RUN"' EXIT
trap 'exit 1' HUP INT TERM
mkdir -m 700 "$MOB_TEST_RUN/tmp" "$MOB_TEST_RUN/run" "$MOB_TEST_RUN/cache"
export TMPDIR="$MOB_TEST_RUN/tmp" XDG_RUNTIME_DIR="$MOB_TEST_RUN/run"
export XDG_CACHE_HOME="$MOB_TEST_RUN/cache"
for name in $(env | sed -n 's/^\(MOBULA_[A-Za-z0-9_]*\)=.*/\1/p'); do
    unset "$name"
done

# stage NAME BUDGET_MINUTES COMMAND...: returns 1 if it failed.
stage()
{
    name=$1
    budget=$2
    shift 2
    log=$logs/$name.log
    failed_before=$(grep -c '^fail' "$results")
    started=$(date +%s)
    printf '%-8s ' "$name"
    tests/support/leftovers save "$logs/leftovers"
    "$@" >"$log" 2>&1
    status=$?
    tests/support/leftovers check "$logs/leftovers" >>"$log" 2>&1 || status=1
    # The machine may be slow: a budget that is overrun is said, not failed.
    took=$(awk -v s="$(($(date +%s) - started))" -v budget="$budget" 'BEGIN {
        printf("%.1f min%s", s / 60, (s > budget * 60) ? ", over its budget of " budget : "") }')
    failed_tests=$(grep '^fail' "$results" | tail -n "+$((failed_before + 1))")
    if [ "$status" -eq 0 ] && [ -z "$failed_tests" ]; then
        echo "ok     $took"
        return 0
    fi
    echo "FAILED $took; the end of build/test/$name.log:"
    tail -n 40 "$log" | sed 's/^/    /'
    if [ -n "$failed_tests" ]; then
        printf '%s\n' "$failed_tests" | sed 's/^fail\t/  failed: /; s/\t$//; s/\t/: /g'
    else
        stages_failed=$((stages_failed + 1))
    fi
    return 1
}

# run_tests BUILD LABEL JOBS: the tests of a build that have the label. Having none is a failure,
# since a stage that runs nothing proves nothing.
run_tests()
{
    junit=$logs/$1-$2.xml
    ctest --test-dir "build/$1" -L "^$2\$" -j "$3" --no-tests=error --output-on-failure \
        --output-junit "$junit"
    status=$?
    [ -f "$junit" ] || return 1
    before=$(wc -l <"$results")
    # The output of a test stands in there escaped, so no line of it looks like markup.
    awk -v build="$1" -v ci="${CI:-}" '
        /<testcase / {
            name = $0
            sub(/^.*<testcase name="/, "", name)
            sub(/".*$/, "", name)
            passed = /status="run"/
            skipped = 0
            reason = ""
        }
        /<skipped message="SKIP_RETURN_CODE/ { skipped = 1 }
        /<failure message="|<skipped message="/ && !skipped {
            reason = $0
            sub(/^.*message="/, "", reason)
            sub(/".*$/, "", reason)
        }
        /<system-out>/ { inside = 1; sub(/^.*<system-out>/, "") }
        inside && skipped {
            text = $0
            sub(/<\/system-out>.*$/, "", text)
            if (text ~ /[^ \t]/) reason = text
        }
        /<\/system-out>/ { inside = 0 }
        /<\/testcase>/ {
            gsub(/&lt;/, "<", reason)
            gsub(/&gt;/, ">", reason)
            gsub(/&quot;/, "\"", reason)
            gsub(/&apos;/, "\047", reason)
            gsub(/&amp;/, "\\&", reason)
            what = passed ? "pass" : skipped && ci != "true" ? "skip" : "fail"
            if (skipped && what == "fail") reason = "skipped: " reason
            print what "\t" build "\t" name "\t" reason
        }' "$junit" >>"$results"
    # What ctest calls a failure without naming a test.
    [ "$status" -eq 0 ] || tail -n "+$((before + 1))" "$results" | grep -q '^fail'
}

setup()
{
    # shellcheck disable=SC2086 # lists of words
    install_missing $PACKAGES_BUILD $PACKAGES_TEST $PACKAGES_GUEST
}

builds()
{
    # Not debug, which is asan without the sanitizers.
    for preset in release asan tsan clang; do
        cmake --preset "$preset" -DMOB_TESTS=ON || return 1
        cmake --build --preset "$preset" -j "$jobs" || return 1
    done
    # A test that no stage runs gates nothing.
    astray=$(ctest --test-dir build/release -N -LE "^($labels)\$" | sed -n 's/^ *Test *#.*: //p')
    if [ -n "$astray" ]; then
        echo "tests without one of the labels $labels:" "$astray"
        return 1
    fi
}

unit()
{
    all=0
    run_tests asan unit "$jobs" || all=1
    run_tests release unit "$jobs" || all=1
    return $all
}

crash()
{
    all=0
    run_tests release stress "$jobs" || all=1
    run_tests release crash "$jobs" || all=1
    run_tests asan crash "$jobs" || all=1
    run_tests tsan stress "$jobs" || all=1
    return $all
}

# Nodes that wait for heartbeats, deaths and slow networks use an eighth of a CPU, so that many share one. Those that
# measure have the machine alone (tests/net/CMakeLists.txt).
net()
{
    all=0
    run_tests release net $((2 * jobs)) || all=1
    run_tests asan net $((2 * jobs)) || all=1
    return $all
}

# clang's libFuzzer where it is installed: Debian has it in a package of its own.
fuzz()
{
    all=0
    run_tests asan fuzz "$jobs" || all=1
    if echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { (void)d; (void)n; return 0; }' |
        clang -x c -fsanitize=fuzzer -o "$MOB_TEST_RUN/fuzzer" - 2>/dev/null; then
        cmake --preset fuzz -DMOB_TESTS=ON && cmake --build --preset fuzz -j "$jobs" &&
            run_tests fuzz libfuzzer "$jobs" || all=1
    else
        printf 'skip\tfuzz\tlibfuzzer\tclang has no libFuzzer here: install libclang-rt-dev\n' >>"$results"
    fi
    return $all
}

echo "Mobula: all tests, on $jobs CPUs"
go_on=1
stage setup 2 setup && stage builds 5 builds || go_on=
if [ -n "$go_on" ]; then
    stage lint 3 sh tools/dev/lint.sh
    stage unit 3 unit
    stage crash 4 crash
    stage net 4 net
    stage rdma 5 run_tests release rdma 1
    stage fuzz 3 fuzz
    stage bench 2 run_tests release bench 1
    stage install 2 run_tests release install 1
fi

sed -n 's/^skip\t\([^\t]*\)\t\([^\t]*\)\t/skipped: \1: \2: /p' "$results"
passed=$(grep -c '^pass' "$results")
failed=$(($(grep -c '^fail' "$results") + stages_failed))
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
