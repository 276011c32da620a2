"""Models, streams and images are the same on machines that differ in all that a machine may."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rdlearn

SCRIPT = Path(__file__).with_name("machine.py")
# Instructions that numpy looks for, beyond those of every x86-64 processor; elsewhere none is.
VECTORS = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR AVX2 FMA3"
# Settings of the environment, and modules that stand for others.
MACHINES = {
    "plain": (
        {
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
            "NUMBA_NUM_THREADS": "1",
            "OPENBLAS_CORETYPE": "Nehalem",
            "OPENBLAS_NUM_THREADS": "1",
            "NPY_DISABLE_CPU_FEATURES": VECTORS,
        },
        ["zlib_ng.zlib_ng"],
    ),
    "interpreted": (
        {
            "NUMBA_DISABLE_JIT": "1",
            "OPENBLAS_CORETYPE": "Haswell",
            "OPENBLAS_NUM_THREADS": "2",
        },
        [],
    ),
}


def found_on(settings, modules):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", SCRIPT, *modules],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def here():
    return found_on({}, [])


@pytest.mark.parametrize("name", MACHINES)
def test_golden_models_code_and_decode_the_same(name, here):
    pytest.importorskip("zlib_ng", reason="zlib-ng is not installed")
    there = found_on(*MACHINES[name])
    assert len(here) > 50 and there.keys() == here.keys()
    assert {key for key in here if there[key] != here[key]} == set()


def test_nothing_is_deflated():
    # Another zlib deflates to other bytes; its checksums and its inflation are the same.
    names = set()
    for path in Path(rdlearn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "zlib":
                names.add(node.attr)
    assert names <= {"crc32", "error"}
