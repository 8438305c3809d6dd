#!/bin/sh
# test_errors.sh FOLDER - one clear line and the right exit status for what can go wrong on one
# machine; and that help texts and man pages know the same options.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
pages=$here/../../tools
mobula=$bin/mobula

# The command line.
refuses 2 'say a command' "$mobula"
refuses 2 "unknown command 'strat'" "$mobula" strat
refuses 2 'unknown option --jsn' "$mobula" status --jsn
refuses 2 'unknown option -x' "$mobula" start -x
refuses 2 'needs a value' "$mobula" start --node-dir
refuses 2 '--block takes no value' "$mobula" start --block=yes
refuses 2 "'now' is not expected" "$mobula" stop now
refuses 2 'one of them' "$mobula" start --head --address=127.0.0.1:6379
refuses 2 'one of them' "$mobula" start --head --key-stdin --key-file=x
refuses 2 'need --head or --address' "$mobula" start --port=6379
refuses 2 "--num-cpus: 'many'" "$mobula" start --num-cpus=many
refuses 2 "--num-cpus: '5000'" "$mobula" start --num-cpus=5000
refuses 1 'would run nothing' "$mobula" start --num-cpus=0
refuses 2 "--object-store-memory: '1Z'" "$mobula" start --object-store-memory=1Z
refuses 2 "--log-level: 'loud'" "$mobula" start --log-level=loud
refuses 2 'say a command' "$bin/storectl"
refuses 2 "unknown command 'cp'" "$bin/storectl" cp
for command in show why get put rm; do
    refuses 2 "storectl $command needs" "$bin/storectl" "$command"
done
refuses 2 "'more' is not expected" "$bin/storectl" show id more
refuses 2 "'color=red' is no filter" "$bin/storectl" ls color=red
refuses 2 "'many' is no" "$bin/storectl" ls 'size>many'
refuses 2 "'soon' is no time" "$bin/storectl" ls 'age>soon'
refuses 2 "--sort: 'weight'" "$bin/storectl" ls --sort=weight
refuses 2 "--older: 'long'" "$bin/storectl" leaks --older=long
refuses 2 "--limit: '-1'" "$bin/storectl" ls --limit=-1
refuses 2 '--job is not for storectl stat' "$bin/storectl" stat --job=1
refuses 2 'unknown option --colour' "$bin/mobulad" --colour
refuses 2 "'there' is no option" "$bin/mobulad" there
nothing_left

# The folder.
mkdir -m 755 "$scratch/open"
refuses 1 'not safe (others may enter' "$mobula" start --node-dir="$scratch/open"
refuses 1 'not safe (others may enter' "$mobula" status --node-dir="$scratch/open"
mkdir -m 700 "$scratch/mine"
ln -s "$scratch/mine" "$scratch/link"
refuses 1 'not safe (it is a link or a file' "$mobula" start --node-dir="$scratch/link"
: >"$scratch/file"
refuses 1 'not safe (it is a link or a file' "$mobula" start --node-dir="$scratch/file"
refuses 1 'No such file' "$mobula" start --node-dir="$scratch/none/there"
long=$scratch/$(printf 'l%.0s' $(seq 100))
refuses 1 'longer than the 107 bytes' "$mobula" start --node-dir="$long"
[ -e "$long" ] && fail "a folder that does not do was left"
mkdir -m 755 "$XDG_RUNTIME_DIR/mobula"
refuses 1 "not safe" "$mobula" start
refuses 1 "not safe" "$mobula" status
rmdir "$XDG_RUNTIME_DIR/mobula"
refuses 1 'No such file' env XDG_RUNTIME_DIR="$scratch/nowhere" "$mobula" start
[ "$(ls "$scratch/mine")" = '' ] || fail "something was made behind a link"
# Links in a folder that is ours lead nowhere either.
ln -s "$scratch/file" "$scratch/mine/pid"
refuses 1 'pid file' "$mobula" start --node-dir="$scratch/mine"
[ -s "$scratch/file" ] && fail "the pid went through a link"
rm -f "$scratch/mine/"*
ln -s "$scratch/file" "$scratch/mine/log"
refuses 1 'the log ' "$mobula" start --node-dir="$scratch/mine"
[ -s "$scratch/file" ] && fail "the log went through a link"
refuses 1 'the log file .*/none/log' "$mobula" start --log-file="$scratch/none/log"

# The machine.
refuses 1 'mobulad: .*; install it beside mobula, or set MOBULA_DAEMON' \
    env MOBULA_DAEMON="$scratch/none/mobulad" "$mobula" start
printf '#!/bin/sh\nkill -9 $$\n' >"$scratch/dies"
printf '#!/bin/sh\nexit 5\n' >"$scratch/ends"
printf '#!/bin/sh\necho ready nonsense >&3\n' >"$scratch/babbles"
chmod 755 "$scratch/dies" "$scratch/ends" "$scratch/babbles"
refuses 1 'killed by signal 9' env MOBULA_DAEMON="$scratch/dies" "$mobula" start
refuses 1 'ended with status 5' env MOBULA_DAEMON="$scratch/ends" "$mobula" start
refuses 1 'in no known way' env MOBULA_DAEMON="$scratch/babbles" "$mobula" start
nothing_left
refuses 1 'says 1000 TiB, and this machine or cgroup has' "$mobula" start \
    --object-store-memory=1000T
refuses 1 "MOBULA_LOOP is 'kqueue'" env MOBULA_LOOP=kqueue "$mobula" start
refuses 1 'may have 1 MiB, and a job needs .* MiB' "$mobula" start --object-store-memory=1M
nothing_left
run "$bin/tools_probe" no_uring true
if [ $? -ne 77 ]; then
    # Who insists on it is told; all others get a node that says what it runs on.
    refuses 1 'insists on io_uring.*profile' env MOBULA_LOOP=io_uring "$bin/tools_probe" no_uring \
        "$mobula" start
    if [ -x "$bin/square" ] && [ -z "${SANITIZED:-}" ]; then
        refuses 1 'NO_NODE: a node could not be started: .*io_uring' env MOBULA_LOOP=io_uring \
            "$bin/tools_probe" no_uring "$bin/square"
        works "$bin/tools_probe" no_uring "$bin/square"
        says '^\[0, 1, 4, 9\]$'
    fi
    nothing_left
    works "$bin/tools_probe" no_uring "$mobula" start
    works "$mobula" status
    says ' epoll (io_uring '
    works "$mobula" status --json
    says '"loop": "epoll (io_uring '
    grep -q ' warn  the loop runs on epoll: .*io_uring' "$node/log" || fail "the log does not say why"
    works "$mobula" stop
    nothing_left
fi
works "$mobula" start
works "$bin/tools_probe" version "$node"
says 'same version of mobula for both'
# A daemon that stands still, and one that was killed this moment.
pid=$(cut -d ' ' -f 2 "$node/pid")
kill -STOP "$pid"
refuses 1 "(pid $pid) did not answer within 10 s" "$mobula" status
kill -CONT "$pid"
works "$mobula" status
kill -KILL "$pid"
refuses 1 'no node run' "$mobula" stop
nothing_left
for program in mobula mobulad storectl; do
    works "$bin/$program" --version
    says '^mobula [0-9]*\.[0-9]*\.[0-9]*$'
done
# What cannot be written is an error.
# shellcheck disable=SC2016 # for the inner shell
refuses 1 'writing: No space left' sh -c '"$1" --help >/dev/full' sh "$mobula"
nothing_left

# Options, one a line: of help texts, and of a man page.
of_help()
{
    for words in "$@"; do
        # shellcheck disable=SC2086 # a list of words
        "$bin/"$words --help
    done | sed -n 's/^  \(--[a-z-]*\).*/\1/p' | sort -u
}
of_page()
{
    sed -n 's/\\-/-/g; s/^\.BI\{0,1\} \(--[a-z-]*\).*/\1/p' "$pages/$1" | sort -u
}
compare()
{
    page=$1
    shift
    of_help "$@" >"$scratch/help"
    of_page "$page" >"$scratch/page"
    [ -s "$scratch/help" ] || fail "the help of $* has no options"
    diff "$scratch/help" "$scratch/page" || fail "$page and the help of $* differ, as shown above"
}
compare mobula.1 'mobula start' 'mobula status' 'mobula stop' 'mobula timeline' 'mobula check-transport'
compare mobulad.8 mobulad
compare storectl.1 storectl
works "$mobula" --help
says 'mobula start'
for page in mobula.1 mobulad.8 storectl.1; do
    if command -v groff >/dev/null 2>&1; then
        works groff -ww -man -Tascii "$pages/$page"
    elif [ "${CI:-}" = true ]; then
        fail "no groff to render $page with"
    fi
done

finish
