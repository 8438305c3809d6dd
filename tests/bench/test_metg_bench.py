#!/usr/bin/env python3
"""metg_bench in short: every runner that is built runs every pattern with all inputs checked, and
what is printed agrees with itself. No figure is judged: the machine may be busy.

usage: test_metg_bench.py METG_BENCH [unittest options]
"""
import json
import os
import subprocess
import sys
import unittest

import gate

METG_BENCH = None
PATTERNS = ["trivial", "stencil", "fft", "random"]
SHORT = ("--cpus", "2", "--steps", "50", "--rounds", "1", "--run-ms", "2")


def bench(*options):
    with gate.Place() as place:
        done = subprocess.run([METG_BENCH, *options], env=place.env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=250, check=False)
        left = [name for name in os.listdir(place.directory) if name.startswith("metg-")]
    return done, left


class MetgBench(unittest.TestCase):
    def check_sweep(self, name, sweep, form):
        points = sweep["points"]
        self.assertGreater(len(points), 0, name)
        grains = [point["grain"] for point in points]
        self.assertEqual(grains, sorted(grains, reverse=True))
        for point in points:
            self.assertGreater(point["ns"], 0)
            self.assertGreater(point["efficiency"], 0)
            self.assertEqual(point["tasks"] % (form["width"] * form["graphs"]), 0)
        if sweep["metg_ns"] > 0:
            self.assertEqual(sweep["bound_ns"], 0)
            granularity = [point["ns"] * 2 / point["tasks"] for point in points]
            self.assertLessEqual(min(granularity) * 0.999, sweep["metg_ns"])
            self.assertLessEqual(sweep["metg_ns"], max(granularity) * 1.001)

    def test_every_runner_and_pattern(self):
        done, left = bench("--json", "--widths", "8", "--graphs", "2", *SHORT)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(left, [], "StarPU's folder is left behind")
        result = json.loads(done.stdout)
        built = {"mobula", "blocks", "threads", "mpi", "openmp", "starpu"} - set(result["left_out"])
        self.assertLessEqual({"mobula", "blocks", "threads"}, built)
        rows = result["rows"]
        self.assertEqual([(row["pattern"], row["imbalance"]) for row in rows],
                         [(pattern, uneven) for pattern in PATTERNS for uneven in (0, 1)])
        for row in rows:
            self.assertEqual(set(row["systems"]), built)
            for name, sweep in row["systems"].items():
                self.check_sweep(name, sweep, row)
            for over in row["ratios"]:
                self.assertIn(over["of"], ("mobula", "blocks"))
                sweep = [row["systems"][over[which]] for which in ("of", "over")]
                mine, its = (one["metg_ns"] or one["bound_ns"] for one in sweep)
                self.assertAlmostEqual(over["ratio"], mine / its, delta=over["ratio"] * 1e-3)
                if "budget_max" in over:
                    self.assertEqual(over["within"], over["ratio"] <= over["budget_max"])

    def test_table_has_every_row_and_says_what_is_left_out(self):
        done, _ = bench("--widths", "3", "--patterns", "stencil,fft", "--systems",
                        "mobula,threads", *SHORT)
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split() for line in done.stdout.splitlines()]
        rows = [line[:4] for line in lines if line and line[0] in PATTERNS]
        self.assertEqual(rows, [[pattern, "3", graphs, uneven] for pattern in ("stencil", "fft")
                                for graphs, uneven in (("1", "0"), ("4", "0"), ("4", "1"))])
        for system in ("mpi", "openmp", "starpu"):
            self.assertIn(f"Left out: {system}: not asked for.", done.stdout)

    def test_usage(self):
        self.assertEqual(bench("--help")[0].returncode, 0)
        for bad in (("--patterns", "stencil,nothing"), ("--widths", "0"), ("--graphs", ","),
                    ("--imbalance", "2"), ("--systems", "ray"), ("--steps", "1"), ("--rounds", "x"),
                    ("--nothing",), ("extra",)):
            self.assertEqual(bench(*bad)[0].returncode, 2, bad)


if __name__ == "__main__":
    METG_BENCH = sys.argv[1]
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
