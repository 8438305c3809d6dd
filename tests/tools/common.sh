# shellcheck shell=sh
# common.sh - for the tests of the commands. To be sourced with $1 the folder of the programs; what
# a test starts lives in a scratch folder, whose name has a space, and ends with the test.
bin=$1
scratch=$(mktemp -d "${TMPDIR:-/tmp}/mob tools.XXXXXX")
unset MOBULA_TIMELINE MOBULA_ADDRESS MOBULA_LOG_LEVEL MOBULA_KEY_FILE MOBULA_DAEMON MOBULA_LOOP COLUMNS
XDG_RUNTIME_DIR=$scratch/run
HOME=$scratch/home # where a head makes its key
export XDG_RUNTIME_DIR HOME
mkdir -m 700 "$XDG_RUNTIME_DIR" "$HOME"
node=$XDG_RUNTIME_DIR/mobula/node
failures=0

# The daemons that a failed test left, by their pid files.
clean_up()
{
    find "$scratch" -name pid -type f | while read -r file; do
        kill -9 "$(cut -d ' ' -f 2 "$file")" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM

fail()
{
    echo "FAILED: $*"
    failures=$((failures + 1))
    sed 's/^/  out: /' "$scratch/out" 2>/dev/null | head -n 20
    sed 's/^/  err: /' "$scratch/err" 2>/dev/null | head -n 20
}

finish()
{
    [ "$failures" -eq 0 ] && echo ok
    exit "$((failures != 0))"
}

# run COMMAND...: its output goes to out and err. Nothing may take longer than this.
run()
{
    timeout -k 5 60 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
}

# works COMMAND...: exit status 0, and silence on standard error.
works()
{
    run "$@"
    status=$?
    if [ "$status" -ne 0 ] || [ -s "$scratch/err" ]; then
        fail "status $status: $*"
        return 1
    fi
}

# refuses STATUS PATTERN COMMAND...: that exit status, and one line on standard error that matches.
refuses()
{
    want=$1
    pattern=$2
    shift 2
    run "$@"
    status=$?
    if [ "$status" -ne "$want" ]; then
        fail "status $status, not $want: $*"
    elif [ "$(wc -l <"$scratch/err")" -ne 1 ]; then
        fail "not one line on standard error: $*"
    elif ! grep -q -e "$pattern" "$scratch/err"; then
        fail "no '$pattern' in the error: $*"
    fi
}

says()
{
    grep -q -e "$1" "$scratch/out" || fail "no '$1' in the output"
}

# Waits until a command succeeds, some 20 s at most.
until_ok()
{
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -ge 400 ]; then
            fail "waited in vain for: $*"
            return 1
        fi
        sleep 0.05
    done
}

is_gone()
{
    ! kill -0 "$1" 2>/dev/null || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

daemon_pid()
{
    cut -d ' ' -f 2 "$node/pid"
}

# Nothing of a node is left in the runtime folder.
nothing_left()
{
    left=$(find "$XDG_RUNTIME_DIR" -mindepth 1)
    [ -z "$left" ] || fail "left behind: $left"
}

# hold_start: a driver that goes on until hold_end.
hold_start()
{
    rm -f "$scratch/stdin" "$scratch/said"
    mkfifo "$scratch/stdin"
    exec 9<>"$scratch/stdin" # for reading too, so that opening does not wait for the driver
    "$bin/tools_hold" <"$scratch/stdin" >"$scratch/said" 2>&1 9>&- &
    holder=$!
    until_ok grep -q . "$scratch/said"
    grep -qx ready "$scratch/said" || fail "the driver said: $(cat "$scratch/said")"
}

# hold_end STATUS
hold_end()
{
    exec 9>&-
    wait "$holder"
    held=$?
    [ "$held" -eq "$1" ] || fail "the driver ended with $held, not $1: $(cat "$scratch/said")"
}
