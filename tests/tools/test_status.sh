#!/bin/sh
# test_status.sh FOLDER - mobula status -v: jobs by class and why their tasks wait, on a node alone and in a
# cluster of two; with the head away; of a hundred jobs; of a job whose board is noise.
set -u
# shellcheck source=tests/tools/common.sh
. "$(dirname -- "$0")/common.sh"
mobula=$bin/mobula
second=$scratch/second
go=$scratch/go

# driver_start WORDS...: tools_status_driver until driver_end.
driver_start()
{
    rm -f "$scratch/stdin" "$scratch/said"
    mkfifo "$scratch/stdin"
    exec 9<>"$scratch/stdin"
    "$bin/tools_status_driver" "$@" <"$scratch/stdin" >"$scratch/said" 2>&1 9>&- &
    driver=$!
    until_ok grep -qx ready "$scratch/said"
}
driver_end()
{
    exec 9>&-
    wait "$driver"
}

# asks EXPRESSION: python on `root`, what status -v --json says; `job`, the first job of `this`, its first node.
# shellcheck disable=SC2317 # until_ok calls it
asks()
{
    "$mobula" status -v --json "$@" >"$scratch/json" 2>"$scratch/err" || return 1
    python3 - "$scratch/json" "$expression" <<'PY'
import json, sys
root = json.load(open(sys.argv[1]))
this = root["details"][0]
jobs = [j for d in root["details"] for j in d.get("jobs", [])]
job = jobs[0] if jobs else None
sys.exit(0 if eval(sys.argv[2]) else 1)
PY
}
holds()
{
    expression=$1
    shift
    until_ok asks "$@" || { echo "never: $expression"; head -c 3000 "$scratch/json"; }
}

# A node alone with one CPU: one runs, four are queued, two wait for the first.
works "$mobula" start --pin --num-cpus=1 --object-store-memory=2G # a job takes 11 MiB
driver_start phases "$go"
holds 'job["classes"][0]["running"] == 1 and job["classes"][0]["queued"] == 4'
holds 'job["classes"][0]["waiting"] == 2 and job["classes"][0]["why"] == "no CPU is free"'
holds 'job["classes"][0]["workers"]["busy"] == 1 and job["classes"][0]["cpus"] == 1.0'
works "$mobula" status -v
says '^JOB  *NAME  *CLASS  *DEMAND  *WAITING  *QUEUED  *RUNNING  *AWAY'
says '  no CPU is free$'
works "$mobula" status --verbose
# Its CPU, or why it has none: other nodes of this machine may have claimed them all.
holds '(this["pinned_cpus"] == "") != (this["not_pinned"] == "")'
holds 'all(w["cpus"] == this["pinned_cpus"] for w in job["workers"] if w["slot"] == "busy")'
touch "$go"
holds 'job["classes"][0]["queued"] == 0 and job["classes"][0]["why"] == ""'
holds 'job["classes"][0]["running"] == 0 and job["tasks_done"] >= 7'
driver_end

# Two jobs of weights 1 and 3 want the one CPU: the second does about three times as much.
size() { wc -c <"$1" 2>/dev/null || echo 0; }
# shellcheck disable=SC2317 # until_ok calls it
three_has() { [ "$(size "$scratch/three")" -ge "$1" ]; }
driver_start shares "$scratch/one" "$scratch/three"
until_ok three_has 120
one=$(size "$scratch/one")
{ [ "$one" -ge 15 ] && [ "$one" -le 80 ]; } || fail "for 120 tasks of weight 3, $one of weight 1"
holds 'sorted(j["weight"] for j in jobs) == [1, 3]'
works "$mobula" status
says ' (weight 3) '
driver_end
holds 'len(jobs) == 0'

# Groups: one is whole, and of those that wait for it no more are shown than may be; why, and the task of one.
driver_start groups
holds 'job["groups_count"] == 42 and len(job["groups"]) == 32'
holds 'all(g["strategy"] == "strict pack" and g["bundles"] == [""] for g in job["groups"])'
holds 'all(g["state"] == "waits" and g["waiting_ms"] > 0 for g in job["groups"])'
holds 'all(g["why"].startswith("1 of its 1 bundles have no place") for g in job["groups"])'
holds 'job["classes"][-1]["group"] == job["groups"][0]["group"] and job["classes"][-1]["bundle"] == 0'
holds 'job["classes"][-1]["queued"] == 1 and job["classes"][-1]["why"] == "their group is not whole"'
works "$mobula" status -v
says '^GROUP: JOB  *GROUP  *STRATEGY  *STATE  *WAITING  *BUNDLES  *WHY'
says '  strict pack  waits  *[0-9.]* s  0 nowhere  *1 of its 1 bundles have no place: other groups have'
says ' group=[0-9a-f]*/0 .*  their group is not whole$'
says '^and 10 more groups$'
driver_end
holds 'len(jobs) == 0'

# A hundred jobs: each is there, and the answer takes no longer than it may.
driver_start many 100
holds 'len(jobs) == 100 and len({j["number"] for j in jobs}) == 100'
works timeout 10 "$mobula" status -v
driver_end
holds 'len(jobs) == 0'

# Noise on a board: what is counted is no more than there is, and the node goes on.
driver_start garbage
holds 'len(jobs) == 1 and sum(job["records"].values()) <= 1 << 22'
holds 'all(0 <= c[k] <= 1 << 22 for c in job["classes"] for k in ("waiting", "queued", "running", "away"))'
works timeout 10 "$mobula" status -v
works timeout 10 "$bin/storectl" stat
kill -9 "$driver"
driver_end 2>/dev/null
holds 'len(jobs) == 0'
works "$mobula" stop

# Workers run on any CPU if it was asked for, or as there are too few.
works "$mobula" start --no-pin --object-store-memory=256M
works "$mobula" status
says '^workers are not pinned to CPUs: it was started with --no-pin$'
works "$mobula" status -v
says '^workers are not pinned to CPUs: it was started with --no-pin$'
works "$mobula" stop
works "$mobula" start --num-cpus=4096 --object-store-memory=256M
works "$mobula" status
says '^workers are not pinned to CPUs: it has 4096 CPUs for tasks, and may run on [1-9]'
works "$mobula" stop

# Two nodes of one CPU: a lease with its epoch on both sides, tasks away, words to the head counted.
rm -f "$go"
for try in 1 2 3 4 5; do
    port=$((20000 + ($$ + try * 7919) % 12000))
    run "$mobula" start --head --listen=127.0.0.1 --port="$port" --num-cpus=1 \
        --object-store-memory=256M && break
done
works "$mobula" start --address="127.0.0.1:$port" --node-dir="$second" --num-cpus=1 \
    --object-store-memory=256M
driver_start phases "$go" 5
holds '[j["weight"] for j in jobs] == [5, 5]' # on both nodes
holds 'any(j["owner"] == "" and j["classes"][0]["away"] >= 1 for j in jobs)'
holds 'any(l["granted"] and l["epoch"] >= 1 for j in jobs for l in j["leases"])'
holds 'any(not l["granted"] and l["epoch"] >= 1 for j in jobs for l in j["leases"])'
holds 'sum(d["head_words"]["sent"] for d in root["details"]) > 0'
holds 'sum(d["head_words"]["heard"] for d in root["details"]) > 0'
holds 'any(j["owner"] == "" and "; the head has leased " in j["classes"][0]["why"] for j in jobs)'
works "$mobula" status -v
says '^LEASE: JOB  *LEASE  *EPOCH'
says ' granted at [0-9a-f]* '
says ' held for [0-9a-f]* '
says '^messages about leases: [1-9][0-9]* to the head, [1-9]'
id=$("$mobula" status --json --node-dir="$second" | sed -n 's/^  "id": "\(.*\)",*$/\1/p')
holds "len(root['details']) == 1 and this['node'] == '$id' and job['owner'] != ''" --node="$id"
run "$mobula" status --node=0123456789
says 'there is no node 0123456789'

# One asks for more than any node has.
touch "$go"
driver_end
driver_start large "$go"
holds 'any("no node has what one" in c["why"] for j in jobs for c in j["classes"])'
kill -9 "$driver"
driver_end 2>/dev/null

# The head is away: what is known is said, and soon.
rm -f "$go"
kill -9 "$(daemon_pid)"
MOBULA_ADDRESS=$second
export MOBULA_ADDRESS
driver_start phases "$go"
holds 'root["cluster"] == "headless" and job["classes"][0]["queued"] == 4'
holds 'job["classes"][0]["why"] == "no CPU is free; the head is away, which could lease more"'
works timeout 10 "$mobula" status -v
says 'the head is away'
touch "$go"
driver_end
driver_start groups
holds 'job["groups"][0]["why"] == "the head is away, which finds places for its bundles"'
driver_end
works "$mobula" stop --node-dir="$second"
finish
