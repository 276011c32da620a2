"""What a new user waits for: import time, and the time to a first result.

Import: seconds `import rdlearn` takes above importing scikit-learn and numba, each pair in a
fresh process, median. Limit: 0.3 s. First result: `fit` and `compress` of the digits in a fresh
process, with an empty and with a filled cache of compiled kernels.
"""

import os
import statistics
import subprocess
import sys
import tempfile

from _report import options, report

IMPORT = """
import time
start = time.perf_counter()
import sklearn.base, sklearn.utils.validation, numba
peers = time.perf_counter()
import rdlearn
print(peers - start, time.perf_counter() - peers)
"""
FIRST = """
import time
start = time.perf_counter()
from sklearn.datasets import load_digits
from rdlearn import {name}
X = load_digits().data
imported = time.perf_counter()
codec = {name}({parameters}).fit(X)
{use}
print(imported - start, time.perf_counter() - imported)
"""
BYTES = "codec.decompress(codec.compress(X))"
PCA = FIRST.format(name="PCACodec", parameters="target_rate=40", use=BYTES)


def run(code, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
    command = [sys.executable, "-c", code]
    printed = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
    return [float(value) for value in printed.split()]


def main():
    args = options(__doc__)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        pairs = [run(IMPORT, cache) for _ in range(3 if args.quick else 9)]
        peers, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append({"what": "import scikit-learn and numba", "seconds": peers})
        rows.append({"what": "import rdlearn above that (limit 0.3)", "seconds": ours})
        rows.append({"what": "first result, cold cache", "seconds": run(PCA, cache)[1]})
        rows.append({"what": "first result, warm cache", "seconds": run(PCA, cache)[1]})
    report("import_time", rows, args)


if __name__ == "__main__":
    main()
