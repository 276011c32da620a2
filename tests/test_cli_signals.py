"""A command that is ended by a signal leaves no unfinished file and says so by its status."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from rdlearn import PCACodec

# The signal comes while the table is being written.
SCRIPT = """
import os, signal, sys
import pandas as pd
from rdlearn import cli

number, wanted = int(sys.argv[1]), sys.argv[2]
# Whatever runs the tests may have it ignored.
signal.signal(number, signal.SIG_IGN if wanted == "ignored" else signal.SIG_DFL)
before = signal.getsignal(number)
write = pd.DataFrame.to_csv

def to_csv(frame, **options):
    assert any(name.endswith(".part") for name in os.listdir("."))
    os.kill(os.getpid(), number)
    return write(frame, **options)

pd.DataFrame.to_csv = to_csv
status = cli.main(["decompress", "--model", "m.rdl", "out.rd", "back.csv"])
assert signal.getsignal(number) == before
print(status, *sorted(os.listdir(".")))
"""
SIGNALS = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


@pytest.fixture
def folder(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 2))
    codec = PCACodec(beta=3).fit(X)
    codec.save(tmp_path / "m.rdl")
    codec.compress_to(X, tmp_path / "out.rd")
    return tmp_path


def _run(folder, name, wanted):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(int(getattr(signal, name))), wanted],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("name", SIGNALS)
def test_a_signal_removes_the_unfinished_file(folder, name):
    done = _run(folder, name, "ended")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(128 + getattr(signal, name)), "m.rdl", "out.rd"]


@pytest.mark.skipif("SIGHUP" not in SIGNALS, reason="this system has no SIGHUP")
def test_an_ignored_signal_stays_ignored(folder):
    done = _run(folder, "SIGHUP", "ignored")
    assert done.returncode == 0, done.stderr
    assert "back.csv" in done.stdout.split()


def test_importing_the_library_installs_no_handler():
    script = "import signal\nbefore = signal.getsignal(signal.SIGTERM)\nimport rdlearn.cli\n"
    script += "assert signal.getsignal(signal.SIGTERM) == before"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
