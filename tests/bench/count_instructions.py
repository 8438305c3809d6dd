#!/usr/bin/env python3
"""Counts the instructions of a task: submit, claim to return, get, release; or of an operation of
the store.

Runs count_tasks, or count_store, under callgrind, driver and workers both, with two numbers of tasks; the
difference, divided by the difference of the numbers, is the cost of one. What waits (see
callgrind.WAITING) and the program's own loop are left out. The daemon is not counted: no task
goes through it.

Processes spin as long as they may, so that the count is of the path and not of wake-ups. One that
waits very long for a slow neighbour parks all the same, and who wakes it has more to do; so the
least of at most --attempts counts decides, as the least is what the path itself needs.
"""
import argparse
import glob
import sys

import callgrind
import gate

TIMEOUT_S = 120


def profile_run(options, mode, tasks, kind=callgrind.Profile, read=callgrind.read, flags=()):
    """One run. Returns the profiles of the driver and of the workers: @kind, made by @read."""
    with gate.Place() as place:
        valgrind = ["valgrind", "--quiet", "--vgdb=no", "--tool=callgrind", "--compress-pos=no",
                    *flags]
        worker_out = f"--callgrind-out-file={place.path('worker.%p')}"
        driver_out = f"--callgrind-out-file={place.path('driver')}"
        place.run([*valgrind, driver_out, options.program, mode, str(tasks)], TIMEOUT_S,
                  {"MOBULA_WORKER_WRAP": " ".join([*valgrind, worker_out]),
                   "MOBULA_SPIN_US": "1000000",
                   **dict(setting.split("=", 1) for setting in options.env)})
        workers = kind()
        files = glob.glob(place.path("worker.*"))
        if len(files) < options.workers:
            gate.fail(f"{len(files)} workers left a profile, {options.workers} were expected: "
                      "a worker must end by exit, and MOBULA_WORKER_WRAP must be obeyed")
        try:
            for file in files:
                workers.add(read(file))
            return read(place.path("driver")), workers
        except (OSError, ValueError) as error:
            return gate.fail(error)


def count(options, mode):
    """Returns the cost of all extra tasks: two profiles, driver and workers."""
    few = profile_run(options, mode, options.few)
    many = profile_run(options, mode, options.many)
    return [more.minus(less) for more, less in zip(many, few)]


def print_functions(name, profile, tasks, unit):
    print(f"  {name}: {profile.total() / tasks:.1f} {unit} in all, "
          f"{profile.waiting() / tasks:.1f} waiting, {profile.own() / tasks:.1f} the program's "
          f"own loop, {profile.work() / tasks:.1f} work; by function:")
    for function, cost in profile.self_cost.most_common():
        if cost / tasks >= 0.5:
            note = ("  (waiting)" if callgrind.starts_with(function, callgrind.WAITING) else
                    "  (own)" if callgrind.starts_with(function, callgrind.OWN) else "")
            print(f"    {cost / tasks:9.1f}  {function}{note}")


def check(options, mode):
    mode, _, limit = mode.partition("=")
    limit = float(limit or options.limit)
    tasks = options.many - options.few
    counts = []
    while len(counts) < options.attempts and (not counts or min(counts) > limit):
        driver, workers = count(options, mode)
        counts.append((driver.work() + workers.work()) / tasks)
        if len(counts) == 1:
            print(f"{mode}:")
            print_functions("driver", driver, tasks, options.unit)
            if options.workers > 0:
                print_functions("workers", workers, tasks, options.unit)
    print(f"{mode}: {min(counts):.1f} instructions {options.unit}, limit {limit:g}; counts "
          f"{' '.join(f'{c:.1f}' for c in counts)}", flush=True)
    problems = []
    if min(counts) <= 0:
        problems.append(f"{mode}: {options.unit} cannot cost {min(counts):.1f} instructions")
    if min(counts) > limit:
        problems.append(f"{mode}: {min(counts):.1f} instructions {options.unit}, more than "
                        f"{limit:g}")
    return problems


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="count_tasks")
    parser.add_argument("--limit", type=float, default=600,
                        help="instructions {options.unit}: the budget of docs/BENCHMARKS.md")
    parser.add_argument("--few", type=int, default=1000, help="tasks of the shorter run")
    parser.add_argument("--many", type=int, default=11000, help="tasks of the longer run")
    parser.add_argument("--attempts", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="profiles expected, at least")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE",
                        help="of the program and its node")
    parser.add_argument("--mode", action="append", metavar="MODE[=LIMIT]")
    parser.add_argument("--unit", default="a task", help="what is counted, for people")
    options = parser.parse_args()
    gate.need("valgrind")
    gate.need_valgrind_reads(options.program)
    problems = []
    for mode in options.mode or ("sync", "async"):
        problems += check(options, mode)
    if problems:
        gate.fail("; ".join(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
