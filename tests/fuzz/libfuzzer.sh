#!/bin/sh
# libfuzzer.sh TARGET LIBFUZZER - clang's fuzzer for some seconds, from the seeds of the target on. What it
# finds is printed in base64, to be tried again with: base64 -d >FILE; TARGET --input FILE
set -u
seconds=10
[ "${MOB_TEST_FULL:-}" = 1 ] && seconds=300
work=$(mktemp -d "${TMPDIR:-/tmp}/mob-fuzz.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
mkdir "$work/seeds" "$work/found"
"$1" --write "$work/seeds" || exit 1
[ -n "$(ls "$work/seeds")" ] || exit 1
"$2" -max_total_time=$seconds -timeout=20 -rss_limit_mb=2048 -max_len=32768 -print_final_stats=1 \
    -artifact_prefix="$work/found/" "$work/seeds" >"$work/log" 2>&1
status=$?
tail -n 40 "$work/log"
for file in "$work"/found/*; do
    [ -f "$file" ] && echo "$file:" && base64 "$file"
done
exit $status
