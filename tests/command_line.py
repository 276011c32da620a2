"""Fixtures and ways to run a command for the tests of the command line."""

import numpy as np
import pandas as pd
import pytest

from rdlearn import cli


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def frame():
    z = np.random.default_rng(0).normal(size=(300, 3))
    return pd.DataFrame(
        {
            "tiny": (z[:, 0] * 30).astype(np.int8),
            "big": (z[:, 1] * 1e6).astype(np.int64),
            "count": (z[:, 2] * 500 + 3000).astype(np.uint16),
            "single": z[:, 0].astype(np.float32),
            "double": z[:, 1] + z[:, 2],
            "flag, quoted": z[:, 0] > 0,
        }
    )


@pytest.fixture
def model(folder, frame):
    frame.to_parquet("t.parquet")
    frame.to_csv("t.csv", index=False)
    fit = ["fit", "t.parquet", "--model", "m.rdl", "--target-rate", "20", "--standardize"]
    assert cli.main(fit) == 0
    return folder


def run(capsys, *args):
    """Exit status, stdout and stderr of the command line."""
    capsys.readouterr()
    status = cli.main([str(arg) for arg in args])
    return status, *capsys.readouterr()


def refused(capsys, *args):
    """The one sentence on stderr of a command that must exit with 2 and print nothing else."""
    status, out, err = run(capsys, *args)
    lines = [line for line in err.splitlines() if not line.startswith("rdlearn: reading")]
    lines = [line for line in lines if not line.startswith(("rdlearn: fitting", "rdlearn: curve"))]
    assert (status, out, len(lines)) == (2, "", 1), (status, out, err)
    assert lines[0].startswith("rdlearn: ")
    return lines[0].removeprefix("rdlearn: ")
