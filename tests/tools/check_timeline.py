#!/usr/bin/env python3
"""check_timeline.py FILE EXPRESSION... - a timeline is what Perfetto expects, and each expression holds.

Expressions see `events`, `runs` (slices of tasks), `spans(name)` (asynchronous ones, paired), `flows` (arrows by
id) and `about` (what the file says of itself).
"""
import collections
import json
import sys

root = json.load(open(sys.argv[1]))
events, about = root["traceEvents"], root["otherData"]
wrong = []


def need(what, text):
    if not what:
        wrong.append(text)


tracks = collections.defaultdict(list)
begun = {}
flows = collections.defaultdict(list)
named = {(e["pid"], e["tid"]) for e in events if e["ph"] == "M"}
paired = collections.defaultdict(list)
for e in events:
    need(e["ph"] in "MXibestf", f"phase {e['ph']}")
    need(isinstance(e["pid"], int) and isinstance(e["tid"], int), "pid or tid")
    need((e["pid"], e["tid"]) in named, f"a track without a name: {e}")
    if e["ph"] == "M":
        continue
    need(e["ts"] >= 0, f"before the beginning: {e}")
    if e["ph"] == "X":
        need(e["dur"] >= 0, f"ends before it begins: {e}")
        # Whole nanoseconds: sums of fractions would not nest.
        begin = round(e["ts"] * 1000)
        tracks[e["pid"], e["tid"]].append((begin, begin + round(e["dur"] * 1000), e))
    elif e["ph"] == "b":
        need((e["cat"], e["id"]) not in begun, f"begun twice: {e}")
        begun[e["cat"], e["id"]] = e
    elif e["ph"] == "e":
        first = begun.pop((e["cat"], e["id"]), None)
        need(first is not None and first["ts"] <= e["ts"], f"ended and not begun: {e}")
        if first:
            paired[e["name"]].append((first, e))
    elif e["ph"] in "stf":
        flows[e["id"]].append(e)
need(not begun, f"never ended: {begun}")
for track in tracks.values():
    open_until = []
    for begin, end, e in sorted(track, key=lambda x: (x[0], -x[1])):
        while open_until and open_until[-1] <= begin:
            open_until.pop()
        need(not open_until or end <= open_until[-1], f"does not nest: {e}")
        open_until.append(end)
for arrows in flows.values():
    kinds = [a["ph"] for a in arrows]
    need(kinds.count("s") <= 1, f"two beginnings: {arrows}")
    starts = [a["ts"] for a in arrows if a["ph"] == "s"]
    # Between nodes clocks agree within what the file says.
    slack = sum(n["clock_error_ns"] for n in about["nodes"]) / 1000
    need(all(a["ts"] >= s - slack for a in arrows for s in starts), f"an arrow back in time: {arrows}")
runs = [e for e in events if e["ph"] == "X" and e["cat"] == "run"]
for e in runs:
    need(e["args"]["state"] in ("ran", "failed", "killed", "running"), f"state: {e}")
    need(e["args"].get("queue_us", 0) >= 0 and e["args"].get("argument_us", 0) >= 0, f"time: {e}")
def spans(name):
    return paired[name]


for expression in sys.argv[2:]:
    need(eval(expression), f"does not hold: {expression}")
for text in wrong[:20]:
    print(text)
sys.exit(1 if wrong else 0)
