"""What both counting gates share: an isolated place to run in, and how a gate ends."""
import os
import shutil
import subprocess
import sys
import tempfile

SKIPPED = 77


def need(tool):
    if shutil.which(tool) is None:
        print(f"skipped: {tool} is not installed")
        sys.exit(SKIPPED)


def need_valgrind_reads(program):
    """Skips if this valgrind gives up on the program's debug information (as 3.19 does on the
    DWARF 5 of clang). Without arguments the programs only say how they are used."""
    done = subprocess.run(["valgrind", "--tool=none", program], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
                          check=False, text=True, errors="replace")
    if "debuginfo reader" in done.stdout:
        print("skipped: this valgrind cannot read this compiler's debug information")
        sys.exit(SKIPPED)


def fail(text):
    print(f"FAILED: {text}")
    sys.exit(1)


class Place:
    """A directory that goes with the program, and an environment in which no running node or
    cluster is found, so that the program under test has a node of its own."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="count-")
        self.env = {name: value for name, value in os.environ.items()
                    if not name.startswith("MOBULA_")}
        self.env["HOME"] = self.env["XDG_RUNTIME_DIR"] = self.directory
        self.env["TMPDIR"] = self.env["XDG_CACHE_HOME"] = self.directory
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.directory, name)

    def run(self, command, timeout_s, env=None):
        """Runs to the end; a failure or the time limit fails the gate with what it printed."""
        try:
            done = subprocess.run(command, env={**self.env, **(env or {})},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=timeout_s, check=False,
                                  text=True, errors="replace")
        except subprocess.TimeoutExpired as error:
            fail(f"{' '.join(command)} did not end in {timeout_s} s\n{error.output}")
        if done.returncode != 0:
            fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}")
