#!/usr/bin/env python3
"""Counts the locked instructions of a task, or of an operation of the store: what is atomic towards other
cores, and full fences.

Each of them waits for all stores before it, and for its cache line, and what follows waits for it. So
they are counted apart from the other instructions. Runs the program as count_instructions.py does, and
asks callgrind how often the instruction at each address ran; objdump says which of those are locked:
those with a lock prefix, xchg with memory, and mfence. What waits is left out by name.
"""
import argparse
import collections
import platform
import re
import subprocess
import sys

import callgrind
import count_instructions
import gate

LOCKED = re.compile(r"^\s*([0-9a-f]+):\s+(lock |xchg .*\(|mfence)")


def locked_addresses(binary):
    done = subprocess.run(["objdump", "-d", "--no-show-raw-insn", binary], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, text=True,
                          errors="replace")
    if done.returncode != 0:
        gate.fail(f"objdump {binary} ended with {done.returncode}\n{done.stdout}")
    found = (LOCKED.match(line) for line in done.stdout.splitlines())
    return {int(match.group(1), 16) for match in found if match}


class Locked:
    """Picks locked instructions out of what ran, object by object."""

    def __init__(self):
        self.addresses = {}

    def of(self, binary):
        if binary not in self.addresses:
            self.addresses[binary] = locked_addresses(binary) if binary.startswith("/") else set()
        return self.addresses[binary]

    def by_function(self, executed):
        """{function: times that a locked instruction in it ran}, without what waits."""
        result = collections.Counter()
        for (binary, function, address), times in executed.times.items():
            if times and not callgrind.starts_with(function, callgrind.WAITING) and \
                    address in self.of(binary):
                result[function] += times
        return result


def count(options, mode):
    """Returns what all extra tasks ran: driver and workers."""
    few, many = (count_instructions.profile_run(
        options, mode, tasks, callgrind.Executed, callgrind.read_executed, ("--dump-instr=yes",))
        for tasks in (options.few, options.many))
    return [more.minus(less) for more, less in zip(many, few)]


def check(options, mode):
    mode, _, limit = mode.partition("=")
    locked, counts, limit = Locked(), [], float(limit)
    tasks = options.many - options.few
    while len(counts) < options.attempts and (not counts or min(counts) > limit):
        sides = [locked.by_function(side) for side in count(options, mode)]
        counts.append(sum(sum(side.values()) for side in sides) / tasks)
        if len(counts) == 1:
            for name, side in zip(("driver", "workers")[:1 + (options.workers > 0)], sides):
                print(f"{mode}, {name}: {sum(side.values()) / tasks:.2f} locked {options.unit}:",
                      ", ".join(f"{function} {times / tasks:.2f}"
                                for function, times in side.most_common()
                                if times / tasks >= 0.005))
    print(f"{mode}: {min(counts):.2f} locked instructions {options.unit}, limit {limit:g}; counts "
          f"{' '.join(f'{c:.2f}' for c in counts)}", flush=True)
    if min(counts) <= 0:
        return [f"{mode}: {options.unit} cannot do without locked instructions"]
    if min(counts) > limit:
        return [f"{mode}: {min(counts):.2f} locked instructions {options.unit}, more than {limit:g}"]
    return []


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="count_tasks or count_store")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--mode", action="append", metavar="MODE=LIMIT", required=True)
    parser.add_argument("--unit", default="a task", help="what is counted, for people")
    parser.add_argument("--few", type=int, default=1000, help="tasks of the shorter run")
    parser.add_argument("--many", type=int, default=11000, help="tasks of the longer run")
    parser.add_argument("--attempts", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="profiles expected, at least")
    options = parser.parse_args()
    if platform.machine() not in ("x86_64", "AMD64"):
        print("skipped: which instructions are locked is known for x86-64 only")
        sys.exit(gate.SKIPPED)
    gate.need("valgrind")
    gate.need("objdump")
    gate.need_valgrind_reads(options.program)
    problems = sum((check(options, mode) for mode in options.mode), [])
    if problems:
        gate.fail("; ".join(problems))
    return 0


if __name__ == "__main__":
    sys.exit(main())
