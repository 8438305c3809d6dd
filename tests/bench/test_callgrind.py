"""The reader of callgrind's output, on a file small enough to add up by hand."""
import unittest

import callgrind

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
