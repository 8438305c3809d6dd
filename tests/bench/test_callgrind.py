"""The reader of callgrind's output, on a file small enough to add up by hand."""
import unittest

import callgrind
import count_locked

SAMPLE = """\
# callgrind format
version: 1
creator: by hand
positions: line
events: Ir
summary: 1

ob=(1) /bin/program
fl=(1) main.c
fn=(1) main
10 5
cfn=(2) mob_submit
calls=2 20
11 300
+1 7

fn=(2)
20 100
fi=(2) inlined.h
3 50
fe=(1)
cfn=(3) spin_wait.part.0
calls=4 30
21 90
cfn=(5) spinner
calls=1 60
* 60

fn=(3)
30 40
cfn=(4) park_wait
calls=1 40
31 50

fn=(4)
40 50
fn=(5)
60 60
"""


WITH_ADDRESSES = """\
positions: instr line
events: Ir

ob=(1) /lib/one.so
fl=(1) one.c
fn=(1) mob_submit.part.0
0x10 5 7
0x14 5 7
cob=(2) /lib/two.so
cfn=(2) park_wait
calls=3 0x100
0x18 6 900
0x18 6 3

ob=(2)
fn=(2)
0x10 1 4
ob=(1)
fn=(1)
0x14 5 1
"""


class Executed(unittest.TestCase):
    def setUp(self):
        self.executed = callgrind.parse_executed(WITH_ADDRESSES.splitlines())

    def test_times_by_address_without_callees(self):
        self.assertEqual(self.executed.times, {("/lib/one.so", "mob_submit", 0x10): 7,
                                               ("/lib/one.so", "mob_submit", 0x14): 8,
                                               ("/lib/one.so", "mob_submit", 0x18): 3,
                                               ("/lib/two.so", "park_wait", 0x10): 4})

    def test_sum_and_difference(self):
        both = callgrind.Executed()
        both.add(self.executed)
        both.add(self.executed)
        self.assertEqual(both.minus(self.executed).times, self.executed.times)

    def test_files_without_addresses_are_refused(self):
        with self.assertRaises(ValueError):
            callgrind.parse_executed(SAMPLE.splitlines())


class Locked(unittest.TestCase):
    def test_what_is_locked(self):
        for text in ("lock cmpxchg %rcx,(%rdx)", "xchg   %rax,0x8(%rdi)", "mfence",
                     "lock orq $0x0,(%rsp)"):
            self.assertTrue(count_locked.LOCKED.match(f"   1185c:\t{text}"), text)
        for text in ("xchg   %ax,%ax", "cmpxchg %rcx,(%rdx)", "mov %rax,(%rdx)", "lfence"):
            self.assertFalse(count_locked.LOCKED.match(f"   1185c:\t{text}"), text)

    def test_waiting_and_other_instructions_are_left_out(self):
        locked = count_locked.Locked()
        locked.addresses = {"/lib/one.so": {0x14, 0x18}, "/lib/two.so": {0x10}}
        executed = callgrind.parse_executed(WITH_ADDRESSES.splitlines())
        self.assertEqual(locked.by_function(executed), {"mob_submit": 11})


class Parse(unittest.TestCase):
    def setUp(self):
        self.profile = callgrind.parse(SAMPLE.splitlines())

    def test_self_cost_by_function(self):
        self.assertEqual(self.profile.self_cost, {"main": 12, "mob_submit": 150,
                                                  "spin_wait": 40, "park_wait": 50,
                                                  "spinner": 60})

    def test_calls_are_inclusive(self):
        self.assertEqual(self.profile.calls[("mob_submit", "spin_wait")], 90)
        self.assertEqual(self.profile.calls[("main", "mob_submit")], 300)

    def test_waiting_counts_each_instruction_once(self):
        self.assertEqual(self.profile.total(), 312)
        self.assertEqual(self.profile.waiting(), 90)  # not 140: parking was inside spinning
        self.assertEqual(self.profile.own(), 12)
        self.assertEqual(self.profile.work(), 210)  # "spinner" is not "spin_": it stays

    def test_minus(self):
        twice = callgrind.Profile()
        twice.add(self.profile)
        twice.add(self.profile)
        self.assertEqual(twice.minus(self.profile).work(), 210)

    def test_not_a_profile(self):
        for text in ("", "hello\n", "events: Cy\n", "events: Ir\nfn=(9)\n", "events: Ir\n5 5\n"):
            with self.assertRaises(ValueError):
                callgrind.parse(text.splitlines())


if __name__ == "__main__":
    unittest.main()
