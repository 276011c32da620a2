"""Processes of their own for what must be settled before numba is imported; what a GPU lacks."""

import json
import os
import subprocess
import sys
from pathlib import Path

from rdlearn.kernels import _missing

__all__ = ["MISSING", "lines_of"]

MISSING = _missing()
# Where there should be one, tests that skip would hide that it does not work.
if MISSING and os.environ.get("RDLEARN_NEEDS_GPU"):
    raise RuntimeError(f"no GPU: needs {MISSING}")


def lines_of(script, *arguments, simulator):
    """What a script beside this file prints, a list from each line."""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": str(int(simulator))}
    command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
