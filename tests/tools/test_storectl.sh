#!/bin/sh
# test_storectl.sh FOLDER - what storectl shows of objects, on one node and on two; of a daemon that
# does not answer; of boards that somebody wrote over; of very many objects.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"
storectl=$bin/storectl

# keep_start ARGUMENT...: a driver that goes on until keep_end; what it said is in said.
keep_start()
{
    rm -f "$scratch/stdin" "$scratch/said"
    mkfifo "$scratch/stdin"
    exec 9<>"$scratch/stdin"
    "$bin/tools_keep" "$@" <"$scratch/stdin" >"$scratch/said" 2>&1 9>&- &
    keeper=$!
    until_ok grep -qx -e ready -e '.*MOB_ERR.*' "$scratch/said"
    grep -qx ready "$scratch/said" || fail "the driver said: $(cat "$scratch/said")"
}

keep_end()
{
    exec 9>&-
    wait "$keeper"
    kept=$?
    [ "$kept" -eq "$1" ] || fail "the driver ended with $kept, not $1: $(cat "$scratch/said")"
}

# id LABEL: the id that the driver printed last with that label.
id()
{
    sed -n "s/^$1 //p" "$scratch/said" "$scratch/gate.in" 2>/dev/null | tail -n 1
}

# hides PATTERN: what says() would be glad of is not there.
hides()
{
    grep -q -e "$1" "$scratch/out" && fail "'$1' in the output"
}

# count FILTER...: how many objects there are.
count()
{
    "$storectl" ls --limit=0 --columns=id "$@" | grep -c '^[0-9a-f]\{32\}$'
}

works "$bin/mobula" start --num-cpus=2 --object-store-memory=256M
daemon=$(daemon_pid)
keep_start scene "$scratch/gate"
until_ok test -s "$scratch/gate.in"

# ---- ls: filters, order, columns ---------------------------------------------------------------------
[ "$(count state=sealed)" -eq 8 ] || fail "not eight sealed objects"
[ "$(count state=failed)" -eq 1 ] || fail "not one failed object"
[ "$(count state=waiting task=double_all)" -eq 1 ] || fail "not one task that waits"
[ "$(count 'size>1000')" -eq 1 ] || fail "not one large object"
[ "$(count 'size<6' 'size>5')" -eq 0 ] || fail "objects of no size"
[ "$(count 'size<6' 'size>4')" -eq 2 ] || fail "not two answers"
[ "$(count 'age<1h' 'age>0s')" -eq 11 ] || fail "not all are young"
[ "$(count 'age>1h')" -eq 0 ] || fail "some are old"
[ "$(count job=1)" -eq 11 ] || fail "not eleven objects of job 1"
[ "$(count job=2)" -eq 0 ] || fail "objects of job 2"
[ "$(count site=keep.c:)" -eq 11 ] || fail "objects without a line"
works "$storectl" ls --sort=size --limit=2 --columns=size,type,site
sed -n 2p "$scratch/out" | grep -q '^234.4 KiB  *float64\[300,100\]  *.*keep.c:' || fail "not the array first"
says 'and more'
works "$storectl" ls --sort=age --json
says '"age_ms"'
refuses 2 "'weight' is none" "$storectl" ls --columns=weight
works env COLUMNS=70 "$storectl" ls
says '~'

# ---- show and why --------------------------------------------------------------------------------------
works "$storectl" show "$(id array)"
says '^type  *float64\[300,100\]$'
says '^bytes  *234.4 KiB, segment [0-9]* at '
says "^made  .*s ago, at .*keep.c:[0-9]*$"
says "^used by  *argument 0 of $(id waiting) double_all, waiting$"
says "^pinned by  *driver $keeper$"
works "$storectl" show "$(id running)"
says '^state  *running, attempt 1$'
says '^function  *gate$'
says '^arguments  *a value of [0-9]* bytes$'
says "^  *$(id result) answer, sealed$"
works "$storectl" show "$(id inner)"
says "^parent  *$(id running) gate, running in process [0-9]*$"
says "^pinned by  *worker [0-9]*, which runs $(id running) gate"
works "$storectl" show "$(id failed)"
says '^error  *MOB_ERR_TASK_FAILED$'
says 'broken as it should be'
works "$storectl" why "$(id array)"
says "^The job's program has not released its id, which it got at .*keep.c:"
says "^It is argument 0 of $(id waiting) double_all, waiting\.$"
says "^A view of it is held by the driver $keeper\.$"
works "$storectl" why "$(id running)"
says '^Its task is not done: it is running\.$'
works "$storectl" why "$(id inner)"
says "^The task $(id running) gate, running in process [0-9]* has not released its id"
works "$storectl" why "$(id array)" --json
says '"used_by"'
refuses 1 'is no id' "$storectl" show nonsense
refuses 1 'no such object' "$storectl" show "$(id array | sed 's/.$/5/')"
refuses 1 'is of node' "$storectl" show 00000000000000110000000100000000

# ---- leaks ---------------------------------------------------------------------------------------------
works "$storectl" leaks --older=0s
grep -q '^  *5  *30 B  .*keep.c:' "$scratch/out" || fail "not five leaks of one line"
hides '300'
works "$storectl" leaks --older=1h
says '^no object is older than 60m'
works "$storectl" leaks --older=0s --json
says '"count": 5'

# ---- stat and top --------------------------------------------------------------------------------------
works "$storectl" stat
says '^objects  *11 ('
says '^  failed  *1 '
says '^filled  *[0-9]* % of the segments$'
works "$storectl" top --count=2 --delay=50ms
[ "$(grep -c '^[^ ]*  *used .*  objects 11 (.*)  pinned 234.4 KiB' "$scratch/out")" -eq 2 ] || fail "not two looks"
says 'tasks/s [0-9]'
printf '\033' | grep -q -f - "$scratch/out" && fail "top steers what is no terminal"

# ---- get, put, rm --------------------------------------------------------------------------------------
run "$storectl" get "$(id array)"
[ "$(wc -c <"$scratch/out")" -eq 240000 ] || fail "not all bytes"
od -A n -t f8 -j 239992 "$scratch/out" | grep -q '29999' || fail "not the bytes of the array"
run "$storectl" get "$(id leak)"
[ "$(cat "$scratch/out")" = leaked ] || fail "not the bytes that were put"
refuses 1 'is failed' "$storectl" get "$(id failed)"
refuses 1 'is running' "$storectl" get "$(id running)"
for size in 0 1 5000000; do
    head -c $size /dev/urandom >"$scratch/file"
    works "$storectl" put "$scratch/file"
    put=$(cat "$scratch/out")
    "$storectl" get "$put" | cmp -s - "$scratch/file" || fail "$size bytes came back as others"
    works "$storectl" rm "$put"
    refuses 1 'is gone' "$storectl" get "$put"
done
# Who puts and hangs up leaves nothing; who asks nonsense is told so.
before=$(count)
head -c 100000000 /dev/zero >"$scratch/file"
"$storectl" put "$scratch/file" >/dev/null 2>&1 &
kill -9 $!
wait $! 2>/dev/null
# shellcheck disable=SC2317 # until_ok calls it
as_before()
{
    [ "$(count)" -eq "$before" ]
}
until_ok as_before
for words in '' '{}' '[1]' '{"what":7}' '{"what":"ls","job":-1}' '{"what":"ls","filter":{"state":1}}' \
    '{"what":"show","job":1}' '{"what":"bytes","job":1,"link":4294967296,"offset":-1}' \
    '{"what":"rm","job":9,"link":1}' '{"what":"put","job":1}' '{"what":"put","job":1,"path":"/dev/zero"}' \
    '{"what":"ls","node":"0123456789"}' '{"what":"copy"}' '{"what":"digest"'; do
    run "$bin/tools_probe" ask "$node" "$words"
    [ $? -eq 1 ] || fail "not refused: $words"
done
refuses 1 'nothing.*No such file' "$storectl" put "$scratch/nothing"
refuses 1 'no job 7' "$storectl" put --job=7 "$scratch/file"
head -c 300000000 /dev/zero >"$scratch/file"
refuses 1 'no room' "$storectl" put "$scratch/file"
rm "$scratch/file"
refuses 1 'is not there yet' "$storectl" rm "$(id running)"
works "$storectl" rm "$(id leak)"
refuses 1 'no such object' "$storectl" show "$(id leak)"
works "$storectl" rm "$(id array)" # a view and a task keep it
says '^released; 1 uses'
refuses 1 'no handle keeps it' "$storectl" rm "$(id array)"
works "$storectl" why "$(id array)"
hides 'has not released'
works "$storectl" verify --data
says ': ok$'
says ', 7 objects of .* read'

# ---- a daemon that does not answer ----------------------------------------------------------------------
kill -STOP "$daemon"
for command in ls stat 'top --count=1' leaks verify 'verify --data' "show $(id array)" "why $(id running)" \
    "get $(id array)"; do
    # shellcheck disable=SC2086 # words
    run "$storectl" $command || fail "status $? of a stopped daemon: $command"
    grep -q "(pid $daemon) does not answer" "$scratch/err" || fail "does not say so: $command"
done
[ "$(wc -c <"$scratch/out")" -eq 240000 ] || fail "not all bytes of a stopped daemon's object"
run "$storectl" ls
says ' (put) .*segment'
refuses_stopped=$("$storectl" rm "$(id result)" 2>&1) && fail "rm without a daemon"
case $refuses_stopped in
*'must answer'*) ;;
*) fail "rm without a daemon said: $refuses_stopped" ;;
esac
kill -CONT "$daemon"
works "$storectl" ls --direct

# The program goes on, and sees that the object is gone.
: >"$scratch/gate"
keep_end 0
grep -qx 'leak is MOB_ERR_RELEASED' "$scratch/said" || fail "the driver said: $(cat "$scratch/said")"

# ---- boards that somebody wrote over --------------------------------------------------------------------
for seed in 1 2 3 4 5 6; do
    rm -f "$scratch/gate" "$scratch/gate.in"
    keep_start scene "$scratch/gate"
    until_ok test -s "$scratch/gate.in"
    kill -STOP "$daemon" # else it might end the job before it is looked at
    "$bin/tools_probe" scribble "$daemon" $seed || fail "nothing was written over"
    run "$storectl" verify --data
    [ $? -eq 3 ] || fail "verify is content with garbage, seed $seed"
    for command in ls stat 'top --count=1' 'leaks --older=0s' "show $(id array)" "why $(id array)" \
        "get $(id array)"; do
        # shellcheck disable=SC2086 # words
        run "$storectl" $command
        [ $? -le 1 ] || fail "status above 1 on garbage, seed $seed: $command"
    done
    kill -CONT "$daemon"
    # Whether the job is over or not, the daemon answers.
    for command in ls stat 'leaks --older=0s' "show $(id array)" "get $(id array)"; do
        # shellcheck disable=SC2086 # words
        run "$storectl" $command
        [ $? -le 1 ] || fail "status above 1 on garbage, seed $seed, asked: $command"
    done
    run "$storectl" verify --data
    kill -0 "$daemon" || fail "the daemon died of seed $seed"
    : >"$scratch/gate"
    kill -9 "$keeper"
    exec 9>&-
    wait "$keeper" 2>/dev/null
done
works "$bin/mobula" status
works "$bin/mobula" stop

# ---- very many objects ----------------------------------------------------------------------------------
works "$bin/mobula" start --num-cpus=1 --object-store-memory=512M
keep_start many 100000
[ "$(count)" -eq 100000 ] || fail "not a hundred thousand objects"
[ "$("$storectl" ls | grep -c ' sealed ')" -eq 1000 ] || fail "not the first thousand"
works "$storectl" leaks --older=0s
says '^ *100000  *781.2 KiB '
works "$storectl" show "$(id last)"
says '^bytes  *8 B, inline$'
works "$storectl" verify --data
says '100000 objects of 781.2 KiB read: ok$'
works "$storectl" verify --direct
works "$storectl" stat
says '^objects  *100000 ('
keep_end 0
works "$bin/mobula" stop
nothing_left

# ---- how old things are ----------------------------------------------------------------------------------
# age LABEL: in ms, of one listing
age()
{
    awk -v id="\"$(id "$1")\"," '$1 == "\"id\":" { this = $2 }
        $1 == "\"age_ms\":" && this == id { print $2 + 0 }' "$scratch/ages"
}

# apart EARLIER LATER: made at least 2.3 s apart.
apart()
{
    "$storectl" ls --limit=0 --json >"$scratch/ages"
    between=$(($(age "$1") - $(age "$2")))
    [ $between -ge 2300 ] || fail "$1 and $2 were made 2.5 s apart, it is said $between ms"
}
works "$bin/mobula" start --num-cpus=1 --object-store-memory=64M
rm -f "$scratch/gate" "$scratch/gate.in"
keep_start late "$scratch/gate"
apart early late
apart queued behind
: >"$scratch/gate"
keep_end 0
works "$bin/mobula" stop

# ---- objects on disk ---------------------------------------------------------------------------------------
mkdir -m 700 "$scratch/disk"
if "$bin/mobula" start --num-cpus=1 --object-store-memory=128M --spill-dir="$scratch/disk" \
    >"$scratch/out" 2>&1; then
    keep_start large 24
    works "$storectl" spill 12M
    says ': [1-9].* MiB written to disk$'
    [ "$("$storectl" ls --limit=0 --columns=place | grep -c '^spilled$')" -ge 12 ] || fail "nothing is on disk"
    works "$storectl" stat
    says '^spilled  *[1-9][0-9.]* MiB$'
    says "^  folder  *$scratch/disk$"
    says '^huge pages  *[a-z_?]*$'
    works "$storectl" verify --data
    says ', 24 objects of 24 MiB read: ok$'
    gone=$("$storectl" ls --limit=0 --columns=id,place | sed -n 's/ *spilled$//p' | head -n 1)
    works "$storectl" show "$gone"
    at=$(sed -n 's/^bytes .* on disk, file 0 at \([0-9]*\)$/\1/p' "$scratch/out")
    # What was changed on the disk is seen, and once it is wanted it is lost by name.
    "$bin/tools_probe" flip "$(daemon_pid)" "$scratch/disk/" $((at + 40)) || fail "no byte was changed"
    run "$storectl" verify --data
    [ $? -eq 3 ] || fail "verify does not see that bytes on disk have changed"
    says "object $gone cannot be read: on disk it has another checksum than then"
    refuses 1 'lost on disk' "$storectl" get "$gone"
    works "$storectl" ls --columns=id,place
    says "^$gone  lost$"
    whole=$(sed -n 's/ *spilled$//p' "$scratch/out" | head -n 1)
    run "$storectl" get "$whole"
    [ "$(tr -d '\007' <"$scratch/out" | wc -c)" -eq 0 ] || fail "other bytes came back from disk"
    [ "$(wc -c <"$scratch/out")" -eq 1048576 ] || fail "not all bytes came back from disk"
    keep_end 0
    works "$bin/mobula" stop
else
    grep -q 'spill' "$scratch/out" || fail "no node with a folder on disk"
    echo "objects on disk are not tried: $(cat "$scratch/out")"
fi

# ---- two nodes -------------------------------------------------------------------------------------------
for try in 1 2 3 4 5; do
    port=$((20000 + ($$ + try * 7919) % 12000))
    run "$bin/mobula" start --head --listen=127.0.0.1 --port="$port" --num-cpus=1 \
        --object-store-memory=256M && break
done
works "$bin/mobula" start --address="127.0.0.1:$port" --node-dir="$scratch/second" --num-cpus=2 \
    --object-store-memory=256M
# shellcheck disable=SC2317 # until_ok calls it
both()
{
    [ "$("$bin/mobula" status | grep -c ' alive ')" -eq 2 ]
}
until_ok both
keep_start far
grep -qx 'shape 512 256, last 262142' "$scratch/said" || fail "the array came back as: $(cat "$scratch/said")"
works "$storectl" ls --columns=id,node,task,type
[ "$(grep -c 'float64\[512,256\]' "$scratch/out")" -ge 3 ] || fail "not the objects of both nodes"
second=$("$bin/mobula" status --node-dir="$scratch/second" --json | sed -n 's/^  "id": "\(.*\)",/\1/p')
works "$storectl" ls --node="$second" --columns=id,task,type
says "^$second.*(put)  *float64\[512,256\]$"
copy=$(sed -n 's/^\([0-9a-f]*\)  *(put)  *float64.*/\1/p' "$scratch/out")
works "$storectl" show "$(id array)"
says "^copies  *$copy on "
works "$storectl" show "$copy"
says "^copy of  *$(id array)$"
works "$storectl" why "$copy"
says 'until room is needed'
"$storectl" get "$copy" | cmp -s - /dev/null && fail "a copy without bytes"
works env MOBULA_ADDRESS="$scratch/second" "$storectl" show "$(id result)"
says '^task  *double_all$'
refuses 1 'is the copy of' "$storectl" rm "$copy"
works "$storectl" stat --node="$second"
says '^evictable  *[12] MiB$'
works "$storectl" verify --data
[ "$(grep -c ': ok$' "$scratch/out")" -eq 2 ] || fail "not both nodes are verified"
says '^[1-9][0-9]* copies of objects compared'
# A copy that is not the same any more.
"$storectl" show "$copy" >"$scratch/out"
place=$(sed -n 's/^bytes .*, segment \([0-9]*\) at \([0-9]*\)$/\/memfd:mobula-objects-1-\1 \2/p' "$scratch/out")
# shellcheck disable=SC2086 # two words
"$bin/tools_probe" flip "$(cut -d ' ' -f 2 "$scratch/second/pid")" $place
flipped=$?
if [ $flipped -eq 0 ]; then
    run "$storectl" verify --data
    [ $? -eq 3 ] || fail "verify does not see that a copy differs"
    says "copy $copy has other bytes than $(id array)$"
elif [ $flipped -ne 77 ]; then
    fail "no byte was changed: $place"
fi
works "$storectl" stat
[ "$(grep -c '^limit ' "$scratch/out")" -eq 2 ] || fail "not both nodes' figures"
works "$storectl" leaks --older=0s
says ' NODE$'
works "$storectl" top --count=1
works "$storectl" evict
says ': [12] MiB of copies dropped$'
refuses 1 'no such object' "$storectl" show "$copy"
works env MOBULA_ADDRESS="$scratch/second" "$storectl" rm "$(id result)"
refuses 1 'no such object' "$storectl" show "$(id result)"
refuses 1 "no node 'nowhere'" "$storectl" ls --node=nowhere
keep_end 0
works "$bin/mobula" stop --node-dir="$scratch/second"
works "$bin/mobula" stop
nothing_left

finish
