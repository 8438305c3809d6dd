#!/bin/sh
# test_timeline.sh FOLDER - mobula timeline: what is in the file of a node alone, of a killed worker, of a failure, of
# more events than are kept, of two nodes; and what it says when there is nothing.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"
mobula=$bin/mobula
driver=$bin/tools_timeline_driver
second=$scratch/second
file=$scratch/out.json
here=$(dirname -- "$0")

# holds EXPRESSION...: the file is a timeline, and they are true of it; see check_timeline.py.
holds()
{
    python3 "$here/check_timeline.py" "$file" "$@" >"$scratch/out" 2>&1 || fail "the timeline"
}
task()
{
    echo "[e for e in runs if e['name'] == '$1']"
}

works "$mobula" start --num-cpus=1 --object-store-memory=256M
refuses 1 'nothing was recorded' "$mobula" timeline "$file"
refuses 2 '--start goes alone' "$mobula" timeline --start "$file"
refuses 2 'say --start, --stop or a file' "$mobula" timeline

# Forty tasks of 2 ms on one CPU: each there, one after the other, no shorter than it was, with its arrow from
# the submit to who waited; the one with arguments began after they were there.
works "$mobula" timeline --start
works "$driver" work 40 2000
works "$mobula" timeline --stop "$file"
says ' 0 older ones were overwritten; clocks agree within [0-9.]* us$'
holds "len($(task spin_for)) == 40 and len($(task add)) == 1" \
    "all(e['dur'] >= 2000 and e['args']['state'] == 'ran' for e in $(task spin_for))" \
    "sum(e['dur'] for e in runs) <= max(e['ts'] + e['dur'] for e in runs) - min(e['ts'] for e in runs)" \
    "len({(e['pid'], e['tid']) for e in runs}) == 1" \
    "sum(1 for e in events if e.get('cat') == 'submit') == 41" \
    "all(e['args']['attempt'] == 1 and 'queue_us' in e['args'] for e in runs)" \
    "max(e['args']['queue_us'] for e in $(task spin_for)) >= 38 * 2000" \
    "sum(1 for f in flows.values() if [a['ph'] for a in sorted(f, key=lambda a: 'stf'.index(a['ph']))][:2] == ['s', 't']) == 41" \
    "any(e['ph'] == 'X' and e['name'] == 'wait' for e in events)" \
    "any(a['ph'] == 'f' for f in flows.values() for a in f)" \
    "all(e['args']['queue_us'] + e['args']['argument_us'] > 0 for e in $(task add))" \
    "about['nodes'][0]['answered'] and about['nodes'][0]['overwritten'] == 0"

# What is not recorded is not there; what was recorded stays until a new beginning.
works "$driver" work 5 10
works "$mobula" timeline "$file"
holds "len($(task spin_for)) == 40"

# Unless memory is wanted: a job that is over is the first to go.
works "$bin/storectl" evict
works "$mobula" timeline "$file"
holds "len(runs) == 0"

# A killed worker leaves what it was at; the next attempt is another slice.
works "$mobula" timeline --start
works "$driver" kill "$scratch/mark"
says MOB_OK
works "$driver" fail
says MOB_ERR_TASK_FAILED
works "$mobula" timeline --stop "$file"
holds "sorted((e['args']['attempt'], e['args']['state']) for e in $(task die_once)) == [(1, 'killed'), (2, 'ran')]" \
    "$(task fail)[0]['args']['state'] == 'failed'" \
    "$(task fail)[0]['args']['status'] == 'MOB_ERR_TASK_FAILED'" \
    "any(e['ph'] == 'i' and e['name'] == 'worker ended' for e in events)"

# More than is kept: the newest are there, the file says how many are not.
works "$mobula" timeline --start
works "$driver" many 40000
works "$mobula" timeline --stop "$file"
holds "len(runs) == 8192" "about['nodes'][0]['overwritten'] >= 40000 - 8192" \
    "sum(1 for e in events if e.get('cat') in ('submit', 'get')) <= 32768"
works "$mobula" stop

# To disk and back: more than the store holds.
mkdir "$scratch/disk"
works "$mobula" start --num-cpus=1 --object-store-memory=96M --spill-dir="$scratch/disk"
works "$mobula" timeline --start
works "$driver" large 200 "'$mobula' timeline --stop '$file'"
holds "len($(task large)) == 200" "sum(e['args']['bytes'] for e, _ in spans('spill')) >= 100 << 20" \
    "sum(e['args']['bytes'] for e, _ in spans('restore')) >= 20 << 20"
works "$mobula" stop

# Two nodes: tasks on both, the arrows cross, objects are on their way, leases are said, clocks are compared.
for try in 1 2 3 4 5; do
    port=$((20000 + ($$ + try * 7919) % 12000))
    run "$mobula" start --head --listen=127.0.0.1 --port="$port" --num-cpus=1 \
        --object-store-memory=256M && break
done
works "$mobula" start --address="127.0.0.1:$port" --node-dir="$second" --num-cpus=1 \
    --object-store-memory=256M
# shellcheck disable=SC2317 # until_ok calls it
both()
{
    [ "$("$mobula" status | grep -c ' alive ')" -eq 2 ]
}
until_ok both
works "$mobula" timeline --start
# shellcheck disable=SC2317 # until_ok calls it
spread()
{
    "$driver" work 100 10000 && "$driver" large 30 && "$mobula" timeline "$file" &&
        python3 "$here/check_timeline.py" "$file" "len({e['pid'] for e in runs}) == 2"
}
until_ok spread
holds "len(about['nodes']) == 2 and all(n['answered'] for n in about['nodes'])" \
    "all(n['clock_error_ns'] < 10**9 for n in about['nodes'])" \
    "len(spans('away')) > 0 and all('node' in a['args'] for a, _ in spans('away'))" \
    "any(e['args']['bytes'] > 0 for e, _ in spans('pull'))" \
    "any(e['ph'] == 'i' and e['name'] == 'lease here' and e['args']['slots'] == 1 for e in events)" \
    "any(e['ph'] == 'i' and e['name'] == 'lease elsewhere' for e in events)" \
    "any(len({a['pid'] for a in f}) == 2 for f in flows.values())"
works "$mobula" timeline --stop
works "$mobula" stop --node-dir="$second"
works "$mobula" stop

# From the start on.
works env MOBULA_TIMELINE=1 "$mobula" start --num-cpus=1 --object-store-memory=256M
works "$driver" work 3 10
works "$mobula" timeline "$file"
holds "len($(task spin_for)) == 3"
works "$mobula" stop
nothing_left
finish
