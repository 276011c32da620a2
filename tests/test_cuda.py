"""The GPU: every kernel against its CPU twin, and what is said where there is none.

Without a GPU, kernels run on numba-cuda's simulator, in a process in which it is switched on
before numba is imported, and CuPy is a stand-in; what only compilers see is compiled where they
are installed (nvidia-nvvm, nvidia-cuda-nvrtc).
"""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest
from cuda_processes import MISSING, lines_of

from rdlearn import EchoAutoencoder
from rdlearn.kernels import _missing, cpu, get_ops


@pytest.fixture(scope="module")
def simulated():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    found = {}
    for name, variant, worst in lines_of("cuda_simulated.py", simulator=True):
        found.setdefault(name, {})[variant] = worst
    return found


# What a device does by its own libraries, or says of itself.
NO_KERNELS = {
    "ONE_BY_ONE",
    "PATCH_VALUES",
    "add_dense_product",
    "add_product",
    "device_name",
    "empty",
    "matmul",
    "matmul_by_rows",
    "matmul_sparse",
    "to_device",
    "to_host",
}


@pytest.mark.parametrize("name", sorted(set(cpu.__all__) - NO_KERNELS))
def test_kernels_agree_with_their_twins(simulated, name):
    assert len(simulated[name]) >= 2
    assert max(simulated[name].values()) <= 1, simulated[name]


def test_kernels_compile():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib

        for library in ("nvrtc", "nvvm"):
            load_nvidia_dynamic_lib(library)
    except Exception as error:
        pytest.skip(f"no compiler, pip install nvidia-nvvm nvidia-cuda-nvrtc: {error}")
    compiled = lines_of("cuda_compiled.py", simulator=False)
    # Each for float32 and float64.
    assert len(compiled) >= 2 * 25


def test_small_grids_are_no_reason_to_warn():
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    code = """
import warnings
import numpy as np
from rdlearn.kernels.cuda_dense import decayed_add
warnings.simplefilter("error")
one = np.ones(3)
try:
    decayed_add(one, 1.0, one)
except Exception as error:
    assert "Warning" not in type(error).__name__, error
"""
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_what_is_missing_is_named(monkeypatch):
    if MISSING is None:
        pytest.skip("a GPU works here")
    with pytest.raises(ValueError, match='device="cuda" needs .*; device="cpu" computes the same'):
        EchoAutoencoder(2, device="cuda").fit(np.eye(4))
    assert get_ops("auto") is get_ops("cpu") is cpu
    for gone, name in (("numba_cuda", "numba-cuda"), ("cupy", "CuPy")):

        def find(asked, gone=gone):
            return None if asked == gone else asked

        monkeypatch.setattr(importlib.util, "find_spec", find)
        _missing.cache_clear()
        assert _missing() == f"{name}, which is not installed: pip install 'rdlearn[cuda]'"
    monkeypatch.undo()
    _missing.cache_clear()


@pytest.mark.filterwarnings("ignore:The code spends")
def test_auto_says_where_it_trains(capsys):
    EchoAutoencoder(2, max_iter=1, device="auto", verbose=True, random_state=0).fit(np.eye(9))
    assert f"device='auto': training on {get_ops('auto').device_name()}" in capsys.readouterr().err
