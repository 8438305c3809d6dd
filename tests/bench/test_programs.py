#!/usr/bin/env python3
"""The benchmark programs and the gates, against the double of the API (mob_double.c), where
every answer is known: a gate that could not fail would prove nothing.

usage: test_programs.py SQUARE_BENCH COUNT_TASKS [unittest options]
"""
import json
import os
import shutil
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SQUARE_BENCH = COUNT_TASKS = None


def run(command, **env):
    return subprocess.run(command, env={**os.environ, **env}, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=100, check=False)


def bench(*options, **env):
    return run([SQUARE_BENCH, "--seconds", "0.2", *options], **env)


class SquareBench(unittest.TestCase):
    def test_table_has_every_row(self):
        done = bench()
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("round trip, awake", "round trip, parked", "tasks in flight", "bounce",
                     "futex pair", "CAS queue", "closed loop"):
            self.assertIn(text, done.stdout)

    def test_json_is_whole_and_agrees_with_itself(self):
        result = json.loads(bench("--json").stdout)
        for name, least in (("awake", 31), ("parked", 31)):
            part = result[name]
            self.assertGreaterEqual(part["rounds"], least)
            self.assertEqual(part["floor_ns"]["count"], part["rounds"])
            self.assertAlmostEqual(part["ratio"], part["best_ns"] / part["floor_best_ns"],
                                   delta=part["ratio"] * 1e-3)
            self.assertEqual(part["within"], part["ratio"] <= part["budget_max"])
            self.assertLessEqual(part["min_ns"], part["p50_ns"])
            self.assertLessEqual(part["p50_ns"], part["p99_ns"])
            self.assertLessEqual(part["p99_ns"], part["max_ns"])
        part = result["in_flight"]
        self.assertGreaterEqual(part["ratio"]["count"], 11)
        self.assertLessEqual(part["ratio"]["min"], part["ratio"]["median"])
        self.assertLessEqual(part["ratio"]["median"], part["ratio"]["max"])

    def test_mode_chooses(self):
        sync = json.loads(bench("--json", "--mode", "sync").stdout)
        self.assertIn("awake", sync)
        self.assertNotIn("in_flight", sync)
        flight = json.loads(bench("--json", "--mode", "async", "--tasks", "1000").stdout)
        self.assertNotIn("awake", flight)
        self.assertEqual(flight["in_flight"]["tasks"], 1000 * flight["in_flight"]["rounds"])

    def test_work_is_done(self):
        result = json.loads(bench("--json", "--mode", "sync", "--tasks", "4", "--work",
                                  "200000").stdout)
        self.assertGreaterEqual(result["awake"]["min_ns"], 200000)
        self.assertFalse(result["budgets_apply"])

    def test_payload(self):
        done = bench("--json", "--payload", "4096")
        self.assertEqual(json.loads(done.stdout)["payload_bytes"], 4096)

    def test_wrong_result_is_found(self):
        for options in (("--mode", "async"), ("--mode", "sync"), ("--payload", "64")):
            done = bench(*options, DOUBLE_WRONG="2500")
            self.assertEqual(done.returncode, 1)
            self.assertIn("wrong result", done.stderr)

    def test_usage(self):
        self.assertEqual(run([SQUARE_BENCH, "--help"]).returncode, 0)
        for bad in (("--mode", "both"), ("--tasks", "0"), ("--payload", "7"), ("--work", "-1"),
                    ("--seconds", "nan"), ("--window", "1e3"), ("--nothing",), ("extra",)):
            self.assertEqual(run([SQUARE_BENCH, *bad]).returncode, 2, bad)


class Gates(unittest.TestCase):
    def gate(self, script, *options, **env):
        done = run([sys.executable, os.path.join(HERE, script), COUNT_TASKS, *options], **env)
        return done.returncode, done.stdout + done.stderr

    def instructions(self, *options, **env):
        if os.environ.get("SANITIZED") or shutil.which("valgrind") is None:
            self.skipTest("valgrind cannot run this program here")
        code, text = self.gate("count_instructions.py", "--workers", "0", "--attempts", "1",
                               "--few", "100", "--many", "300", *options, **env)
        if code == 77:
            self.skipTest(text)
        return code, text

    def locked(self, limit, **env):
        if os.environ.get("SANITIZED") or shutil.which("valgrind") is None:
            self.skipTest("valgrind cannot run this program here")
        code, text = self.gate("count_locked.py", "--workers", "0", "--attempts", "1", "--few",
                               "100", "--many", "300", "--mode", f"sync={limit}",
                               "--mode", f"async={limit}", **env)
        if code == 77:
            self.skipTest(text)
        return code, text

    def test_locked_are_counted(self):
        code, text = self.locked(3, DOUBLE_LOCKED="3")
        self.assertEqual(code, 0, text)
        self.assertIn("async: 3.00 locked instructions a task", text)

    def test_locked_over_the_limit_fail(self):
        code, text = self.locked(2.5, DOUBLE_LOCKED="3")
        self.assertEqual(code, 1, text)
        self.assertIn("sync: 3.00 locked instructions a task, more than 2.5", text)

    def test_no_locked_at_all_fails(self):
        code, text = self.locked(2.5)
        self.assertEqual(code, 1, text)
        self.assertIn("cannot do without", text)

    def syscalls(self, *options, **env):
        if os.environ.get("SANITIZED") or shutil.which("strace") is None:
            self.skipTest("strace cannot run this program here")
        return self.gate("count_syscalls.py", "--few", "100", "--many", "2100", *options, **env)

    def test_instructions_leave_out_waiting(self):
        code, text = self.instructions("--limit", "2000", DOUBLE_SPIN="5000")
        self.assertEqual(code, 0, text)
        self.assertIn("spin_double  (waiting)", text)

    def test_instructions_over_the_limit_fail(self):
        code, text = self.instructions("--limit", "10")
        self.assertEqual(code, 1, text)
        self.assertIn("more than 10", text)

    def test_missing_worker_profile_fails(self):
        code, text = self.instructions("--workers", "1")
        self.assertEqual(code, 1, text)
        self.assertIn("MOBULA_WORKER_WRAP", text)

    def test_no_system_calls_pass(self):
        code, text = self.syscalls("--attempts", "1")
        self.assertEqual(code, 0, text)

    def test_system_calls_fail(self):
        code, text = self.syscalls("--attempts", "1", DOUBLE_SYSCALLS="1")
        self.assertEqual(code, 1, text)
        self.assertIn("sync: 1.00", text)

    def test_a_program_that_fails_fails_the_gate(self):
        code, text = self.syscalls("--attempts", "1", DOUBLE_WRONG="50")
        self.assertEqual(code, 1, text)
        self.assertIn("ended with 1", text)


if __name__ == "__main__":
    SQUARE_BENCH, COUNT_TASKS = sys.argv[1:3]
    unittest.main(argv=sys.argv[:1] + sys.argv[3:])
