"""Where numba finds no folder for compiled kernels, rdlearn works without one."""

import os
import subprocess
import sys

# numba takes the first folder that it can write to; here none is.
UNWRITABLE = """
import warnings
from numba.core import caching

def refuse(locator):
    raise PermissionError(13, "Permission denied", locator.get_cache_path())

caching._CacheLocator.ensure_cache_path = refuse
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import numpy as np
    import rdlearn
    from rdlearn.kernels.jit import JIT
assert not JIT["cache"]
told = [str(w.message) for w in seen if "NUMBA_CACHE_DIR" in str(w.message)]
assert len(told) == 1, told
from rdlearn.kernels.products import cast, affine
out = np.empty((1, 1))
two, three, zero = np.full((1, 1), 2.0), np.full((1, 1), 3.0), np.zeros(1)
affine(two, *cast(two.dtype, zero, three, zero), out)
assert out[0, 0] == 6
"""


def _run(script, **environment):
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_no_folder_for_compiled_kernels_is_a_warning():
    _run(UNWRITABLE)


def test_a_cache_folder_that_cannot_be_made_is_passed_over(tmp_path):
    # Folders below a file can be made by nobody, the superuser included.
    (tmp_path / "file").write_bytes(b"")
    folder = str(tmp_path / "file" / "folder")
    script = "import rdlearn; from rdlearn.kernels.jit import JIT; assert JIT['cache']"
    assert "NUMBA_CACHE_DIR" not in _run(script, NUMBA_CACHE_DIR=folder).stderr
