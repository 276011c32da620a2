"""What every benchmark shares: its two options, its table on the screen and its csv."""

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd

RESULTS = Path(__file__).parent / "results"


def options(description, *flags):
    """Parse ``--quick``, ``--out`` and further flags."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a small run that shows the form")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the csv")
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    return parser.parse_args()


def report(name, rows, args, note=""):
    """Print rows as a table, with machine and versions, and write them as csv; returns the text."""
    table = pd.DataFrame(rows)
    packages = ("numpy", "scipy", "numba", "scikit-learn")
    text = (
        f"{name}{' (quick)' if args.quick else ''}: {note}\n"
        f"{platform.machine()}, Python {platform.python_version()}, "
        + ", ".join(f"{package} {version(package)}" for package in packages)
        + f"\n{table.to_string(index=False, float_format=lambda v: f'{v:.4g}')}\n"
    )
    print(f"\n{text}", end="", flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(args.out / f"{name}{'_quick' if args.quick else ''}.csv", index=False)
    return text


def fastest(call, repeats):
    """Seconds of the fastest of several calls after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
