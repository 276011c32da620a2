"""How time and memory grow with the size of the problem, and what a first result takes."""

import math
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from functools import partial

import import_time
import numpy as np
from pca_throughput import WATCH, correlated
from scipy import stats
from sklearn.exceptions import ConvergenceWarning

import rdlearn

# Confidence of the tolerance of a slope, two-sided.
CONFIDENCE = 0.95
# Seconds after which two rounds are enough.
LONG = 15.0
# What must not grow faster than in proportion.
LINEAR = ("rows", "epochs")
SEARCHING = "DBNBlahutArimoto, search by flips"
BINARY = ("RestrictedBoltzmannMachine", "DBNBlahutArimoto", SEARCHING)
NETS = {"beta": 1.0, "hidden_layer_sizes": (100,), "random_state": 0}
SHORT = {"fine_tune_epochs": 4, "n_epochs": 1, "n_gibbs": 2, "random_state": 0}
PARAMETERS = {
    "EchoAutoencoder": NETS,
    "UniformNoiseCodec": NETS,
    "RestrictedBoltzmannMachine": {"gradient": "pcd", "random_state": 0},
    "DBNBlahutArimoto": {**SHORT, "encoder_search": None},
    SEARCHING: {**SHORT, "encoder_search": "flips"},
    "PCACodec": {"target_rate": 20},
}
NAMES = {"epochs": "max_iter", "components": "n_components", "batch": "batch_size"}
BASE = {"rows": 8000, "epochs": 4, "features": 64, "components": 16, "batch": 100}
# Sizes at which what does not grow is a small part.
SIZES = {
    "rows": (8000, 16_000, 32_000, 64_000),
    "epochs": (8, 16, 32, 64),
    "features": (128, 256, 512, 1024),
    "components": (16, 32, 64, 128),
    "batch": (50, 100, 200, 400),
}
OWN_SIZES = {
    "DBNBlahutArimoto": {
        **SIZES,
        "rows": (4000, 8000, 16_000, 32_000),
        "epochs": (32, 64, 128, 256),
    },
    # Below some thousand rows the law of words grows with them, and what a word costs with the law.
    SEARCHING: {"rows": (8000, 16_000, 32_000, 64_000), "components": (8, 16, 32)},
    "PCACodec": {
        "rows": (125_000, 250_000, 500_000, 1_000_000),
        "features": SIZES["features"],
        "components": (16, 32, 64),
    },
}
OWN_BASE = {
    "DBNBlahutArimoto": {"rows": 2000},
    SEARCHING: {"rows": 2000},
    "PCACodec": {"rows": 20_000, "features": 64},
}
CODED_ROWS = (50_000, 100_000, 200_000, 400_000)
# A fit in a process of its own; its first one compiles.
FIT = f"""{WATCH}
import sys, warnings
sys.path[:0] = sys.argv[1:2]
import numpy as np
from _speed_growth import estimator, table

warnings.simplefilter("ignore")
name, rows = sys.argv[2], int(sys.argv[3])
codec, X = estimator(name, epochs=2), table(name, rows, 64)
codec.fit(X[:1000])
print(X.nbytes // 1024, added(lambda: codec.fit(X)))
"""
STARTED = {
    "PCACodec": ("target_rate=40", import_time.BYTES),
    "EchoAutoencoder": ("16, beta=0.1, max_iter=20, random_state=0", "codec.rate(X)"),
    "UniformNoiseCodec": ("16, beta=0.1, max_iter=20, random_state=0", import_time.BYTES),
}


def estimator(name, **sizes):
    """An estimator of rdlearn whose parameters of the problem's size are given."""
    known = {NAMES[key]: value for key, value in sizes.items() if key in NAMES}
    if name == "PCACodec":
        known = {key: value for key, value in known.items() if key == "n_components"}
    return getattr(rdlearn, name.split(",")[0])(**PARAMETERS[name], **known)


def table(name, n_rows, n_features):
    """Rows that the estimator of a name takes, float32: correlated ones, or their signs."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((n_features, n_features)) * 2.0 ** (-np.arange(n_features) / 6)
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32) @ mixing.T.astype(np.float32)
    return (X > 0).astype(np.float32) if name in BINARY else X


def growth(quick):
    """A row for each estimator and each measure of size."""
    warnings.simplefilter("ignore", UserWarning)
    warnings.simplefilter("ignore", ConvergenceWarning)
    rounds = 1 if quick else 3
    for name in PARAMETERS:
        for axis, sizes in axes_of(name, quick):
            yield slope(f"{name}.fit", axis, sizes, partial(prepared_fit, name, axis), rounds)
    for name in ("PCACodec", "UniformNoiseCodec"):
        sizes = CODED_ROWS[:3] if quick else CODED_ROWS
        codec = estimator(name, components=16, epochs=2).fit(correlated(20_000))
        yield slope(f"{name}.compress", "rows", sizes, lambda n, c=codec: compress(c, n), rounds)
        yield slope(f"{name}.decompress", "rows", sizes, lambda n, c=codec: expand(c, n), rounds)


def axes_of(name, quick):
    """Measures of size of a fit, and the sizes taken."""
    for axis, sizes in OWN_SIZES.get(name, SIZES).items():
        if quick:
            if axis not in LINEAR:
                continue
            sizes = tuple(size // 8 for size in sizes[:3])
        yield axis, sizes


def prepared_fit(name, axis, size):
    sizes = {**BASE, **OWN_BASE.get(name, {}), axis: size}
    X = table(name, sizes.pop("rows"), max(sizes["features"], sizes["components"]))
    return lambda: estimator(name, **sizes).fit(X)


def compress(codec, n):
    X = correlated(n)
    return lambda: codec.compress(X)


def expand(codec, n):
    blob = codec.compress(correlated(n))
    return lambda: codec.decompress(blob)


def slope(what, axis, sizes, prepared, rounds):
    """The exponent of time, by least squares on logarithms; `prepared` makes calls of sizes."""
    calls = [prepared(size) for size in sizes]
    calls[0]()
    seconds, begun = [], time.perf_counter()
    while len(seconds) < rounds and (len(seconds) < 2 or time.perf_counter() < begun + LONG):
        seconds.append([timed(call) for call in calls])
    seconds = np.array(seconds)
    logs = np.tile(np.log(sizes), len(seconds)), np.log(seconds).ravel()
    fitted = stats.linregress(*logs)
    free = seconds.size - 2
    error = fitted.stderr * stats.t.ppf((1 + CONFIDENCE) / 2, free) if free else math.nan
    most = 1 + error if axis in LINEAR else math.nan
    return {
        "what": what,
        "against": axis,
        "sizes": " ".join(map(str, sizes)),
        "seconds_at_largest": float(np.median(seconds[:, -1])),
        "exponent": float(fitted.slope),
        "at_most": most,
        "holds": "" if math.isnan(most) else bool(fitted.slope <= most),
    }


def timed(call, repeats=1):
    """Seconds of a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def memory_of_fits(quick):
    """What a fit adds to the anonymous memory of a process, at two numbers of rows."""
    names = ("PCACodec", "EchoAutoencoder") if quick else PARAMETERS
    for name in names:
        for rows in (10_000, 20_000) if quick else (50_000, 200_000):
            command = [sys.executable, "-c", FIT, sys.path[0], name, str(rows)]
            printed = subprocess.run(command, check=True, capture_output=True).stdout
            held, added = (int(value) / 2**10 for value in printed.split())
            what = f"{name}.fit"
            yield {"what": what, "rows": rows, "data_MiB": held, "added_MiB": added}


def starts(quick):
    """Seconds of importing, and of a first result, with empty and with filled caches of kernels."""
    with tempfile.TemporaryDirectory() as cache:
        pairs = [import_time.run(import_time.IMPORT, cache) for _ in range(3 if quick else 9)]
        peers, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        yield {"what": "import scikit-learn and numba", "seconds": peers}
        yield {"what": "import rdlearn above that", "seconds": ours}
    for name, (parameters, use) in list(STARTED.items())[: 1 if quick else None]:
        code = import_time.FIRST.format(name=name, parameters=parameters, use=use)
        with tempfile.TemporaryDirectory() as cache:
            cold = import_time.run(code, cache)[1]
            warm = statistics.median(import_time.run(code, cache)[1] for _ in range(3))
        yield {"what": f"{name}, first result, cold cache", "seconds": cold}
        yield {"what": f"{name}, first result, warm cache", "seconds": warm}
