"""Reads the output files of callgrind: instructions by function, with or without callees.

Only what the gates need: one event (Ir), functions by name. The format is described in the
Callgrind manual, "Callgrind Format Specification".
"""
import collections
import re

# The one list of what a count leaves out.
#
# WAITING: with everything they call. What a process does while it waits is not work, and how
# long it waits depends on the neighbours. The library names the functions that spin or park so.
WAITING = ("spin_", "park_")
# OWN: without what they call. The counting program's own loop.
OWN = ("count_", "main")


def starts_with(name, prefixes):
    return any(name == prefix or (prefix.endswith("_") and name.startswith(prefix))
               for prefix in prefixes)


class Profile:
    """Instructions of one or more processes.

    self_cost: {function: instructions in itself}
    calls: {(caller, callee): instructions in the callee and below, through this call}
    """

    def __init__(self):
        self.self_cost = collections.Counter()
        self.calls = collections.Counter()

    def add(self, other):
        self.self_cost.update(other.self_cost)
        self.calls.update(other.calls)

    def minus(self, other):
        """What this profile has more than the other; a function may come out below zero."""
        result = Profile()
        result.self_cost = self.self_cost.copy()
        result.self_cost.subtract(other.self_cost)
        result.calls = self.calls.copy()
        result.calls.subtract(other.calls)
        return result

    def total(self):
        return sum(self.self_cost.values())

    def waiting(self):
        """Instructions of the waiting functions and all below them.

        Calls from one waiting function to another are inside the outer one's cost already. A
        waiting function calls nothing that leads back out, so no call is counted twice.
        """
        return sum(cost for (caller, callee), cost in self.calls.items()
                   if starts_with(callee, WAITING) and not starts_with(caller, WAITING))

    def own(self):
        return sum(cost for name, cost in self.self_cost.items() if starts_with(name, OWN))

    def work(self):
        """What the budget is about."""
        return self.total() - self.waiting() - self.own()


class Executed:
    """How often each instruction ran, of a file made with --dump-instr=yes.

    times: {(object file, function, address in it): times}
    """

    def __init__(self):
        self.times = collections.Counter()

    def add(self, other):
        self.times.update(other.times)

    def minus(self, other):
        result = Executed()
        result.times = self.times.copy()
        result.times.subtract(other.times)
        return result


COST_LINE = re.compile(r"[-+*\d]")
NAME = re.compile(r"\((\d+)\)(?: (.*))?$")


class Names:
    """The names of a file: "(12) main" says that 12 is main, "(12)" means it, "main" is
    uncompressed."""

    def __init__(self):
        self.known = {}

    def of(self, text):
        match = NAME.match(text)
        if match is None:
            return text
        number, name = match.groups()
        if name is not None:
            self.known[number] = name
        if number not in self.known:
            raise ValueError(f"number ({number}) has no name")
        return self.known[number]


def plain(function):
    """Levels of recursion ("f'2") are one function, and so are the compiler's parts of it
    ("f.part.0")."""
    return re.split(r"'\d|\.(?:part|constprop|isra|cold)\b", function)[0]


def parse(lines):
    """Parses an output file, given as lines. Raises ValueError if it is not one."""
    profile = Profile()
    names = Names()
    columns = 1  # of position before the cost
    function = callee = None
    after_calls = False
    events = None

    for line in lines:
        line = line.strip()
        if COST_LINE.match(line):
            fields = line.split()
            cost = int(fields[columns]) if len(fields) > columns else 0
            if function is None:
                raise ValueError(f"a cost without a function: {line}")
            if after_calls:
                profile.calls[(function, callee)] += cost
                after_calls = False
            else:
                profile.self_cost[function] += cost
            continue
        key, _, value = line.partition("=")
        if key == "fn":
            function = plain(names.of(value))
        elif key == "cfn":
            callee = plain(names.of(value))
        elif key == "calls":
            after_calls = True
        elif line.startswith("positions:"):
            columns = len(line.split()) - 1
        elif line.startswith("events:"):
            events = line.split()[1:]
            if events[0] != "Ir":
                raise ValueError(f"first event is {events[0]}, not Ir")
    if events is None:
        raise ValueError("not an output file of callgrind: no events")
    return profile


def parse_executed(lines):
    """Parses an output file with addresses: positions "instr line". Raises ValueError."""
    executed = Executed()
    functions, objects = Names(), Names()
    function = binary = None
    after_calls = addresses = False
    for line in lines:
        line = line.strip()
        if COST_LINE.match(line):
            fields = line.split()
            if not addresses or binary is None or function is None:
                raise ValueError(f"a cost without an address, object or function: {line}")
            if after_calls: # of the callee and all below it
                after_calls = False
            elif len(fields) > 2:
                executed.times[(binary, function, int(fields[0], 16))] += int(fields[2])
            continue
        key, _, value = line.partition("=")
        if key == "fn":
            function = plain(functions.of(value))
        elif key == "ob":
            binary = objects.of(value)
        elif key in ("cfn", "cob"):
            (functions if key == "cfn" else objects).of(value)
        elif key == "calls":
            after_calls = True
        elif line.startswith("positions:"):
            addresses = line.split()[1:] == ["instr", "line"]
    return executed


def read_executed(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        try:
            return parse_executed(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        try:
            return parse(file)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
