#!/usr/bin/env python3
"""Counts the system calls of a task, or of an operation of the store, over driver, workers and
daemon together.

Runs count_tasks, or count_store, under strace with two numbers of tasks; the difference, divided by the
difference of the numbers, is the cost of one. The path of a task makes no system call, but a
process that waits long for a slow neighbour parks, and that shows here: so the least of at most
--attempts counts decides, as the least is what the path itself needs.
"""
import argparse
import collections
import sys

import gate

TIMEOUT_S = 120


def parse_summary(lines):
    """Reads the table of strace -c. Returns {system call: calls}."""
    calls = collections.Counter()
    rules = 0
    for line in lines:
        fields = line.split()
        if line.startswith("------"):
            rules += 1
        elif rules == 1 and len(fields) in (5, 6):  # with or without errors
            calls[fields[-1]] += int(fields[3])
    if rules != 2 or not calls:
        raise ValueError("not a summary of strace")
    return calls


def strace_run(options, mode, tasks):
    with gate.Place() as place:
        out = place.path("calls")
        window = [str(options.window)] if options.window else []
        place.run(["strace", "--follow-forks", "--summary-only", f"--output={out}",
                   options.program, mode, str(tasks), *window], TIMEOUT_S)
        try:
            with open(out, encoding="utf-8", errors="replace") as file:
                return parse_summary(file)
        except (OSError, ValueError) as error:
            return gate.fail(f"strace: {error}")


def check(options, mode):
    tasks = options.many - options.few
    best = None
    for _ in range(options.attempts):
        calls = strace_run(options, mode, options.many)
        calls.subtract(strace_run(options, mode, options.few))
        a_task = sum(calls.values()) / tasks
        most = ", ".join(f"{name} {number}" for name, number in calls.most_common(5) if number)
        print(f"{mode}: {a_task:.5f} system calls {options.unit}, limit {options.limit}; of {tasks}: "
              f"{most}", flush=True)
        best = a_task if best is None else min(best, a_task)
        if best < options.limit:
            return []
    return [f"{mode}: {best:.5f} system calls {options.unit}, not below {options.limit}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="count_tasks")
    parser.add_argument("--limit", type=float, default=0.01, help="system calls a task")
    parser.add_argument("--few", type=int, default=1000, help="tasks of the shorter run")
    parser.add_argument("--many", type=int, default=1001000, help="tasks of the longer run")
    parser.add_argument("--window", type=int, default=256, help="tasks in flight; 0: the program has none")
    parser.add_argument("--attempts", type=int, default=3)
    parser.add_argument("--mode", action="append")
    parser.add_argument("--unit", default="a task", help="what is counted, for people")
    options = parser.parse_args()
    gate.need("strace")
    problems = []
    for mode in options.mode or ("sync", "async"):
        problems += check(options, mode)
    if problems:
        gate.fail("; ".join(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
