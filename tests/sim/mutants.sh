#!/bin/sh
# mutants.sh BUILD LIST BIN: builds the mutants, then looks for each in histories of many seeds until one fails. One
# that lives on says that the simulator does not see what that step is for, or that nothing is.
set -u
build=$1 list=$2 bin=$3
cmake --build "$build" --target sim_mutants >"$list.log" 2>&1 || {
    cat "$list.log"
    exit 1
}
lives=0
while read -r name args; do
    [ -n "$name" ] || continue
    # shellcheck disable=SC2086 # words
    if "$bin/sim_mutant_$name" --quiet --seeds 150 $args 2>"$list.err"; then
        echo "$name: not found"
        lives=1
    elif ! grep FAILED "$list.err" >"$list.why"; then
        echo "$name: not by a check"
        lives=1
    else
        echo "$name: $(cat "$list.why")"
    fi
done <"$list"
exit $lives
