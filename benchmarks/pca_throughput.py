"""PCACodec.compress beside scikit-learn's PCA.transform, and the memory of compress_to.

1,000,000 x 20 float32, one thread, the same array in the same run. Limit: at least 0.15 of the
throughput of PCA.transform. Memory: anonymous memory (VmHWM would count the mapped file) that
compress_to adds while it codes a memory-mapped file of n rows; it must not grow with n.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _report import fastest, options, report
from sklearn.decomposition import PCA
from threadpoolctl import threadpool_limits

from rdlearn import PCACodec
from rdlearn.kernels.products import affine

N_FEATURES = 20
WATCH = """
import threading

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

def added(call):
    before, peak, done = anonymous(), [0], threading.Event()

    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    call()
    done.set()
    watcher.join()
    return peak[0] - before
"""
CHILD = f"""{WATCH}
import sys
import numpy as np
import rdlearn

model, data, out = sys.argv[1:]
codec = rdlearn.load(model)
X = np.load(data, mmap_mode="r")
codec.compress(X[:1000])
print(added(lambda: codec.compress_to(X, out)))
"""


def correlated(n, seed=0):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((N_FEATURES, N_FEATURES)) * 2.0 ** (-np.arange(N_FEATURES) / 6)
    return (rng.standard_normal((n, N_FEATURES)) @ mixing.T).astype(np.float32)


def throughput(n, repeats):
    X = correlated(n)
    pca = PCA(N_FEATURES).fit(X)
    center, bias = np.zeros(N_FEATURES, np.float32), np.zeros(N_FEATURES, np.float32)
    weights, out = np.ascontiguousarray(pca.components_.T), np.empty_like(X)
    for rate in (20, 40, 60, 80):
        codec = PCACodec(target_rate=rate).fit(X)
        blob = codec.compress(X)
        row = {
            "rate_bits": codec.rate(X),
            "coded_components": codec.quantizers_.active.size,
            "pca_transform_s": fastest(lambda: pca.transform(X), repeats),
            "blas_product_s": fastest(lambda: np.matmul(X, weights, out=out), repeats),
            "row_exact_product_s": fastest(lambda: affine(X, center, weights, bias, out), repeats),
            "compress_s": fastest(lambda c=codec: c.compress(X), repeats),
            "decompress_s": fastest(lambda c=codec, b=blob: c.decompress(b), repeats),
        }
        row["of_pca_throughput"] = row["pca_transform_s"] / row["compress_s"]
        row["at_least_0.15"] = row["of_pca_throughput"] >= 0.15
        yield row


def memory(sizes):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        PCACodec(target_rate=60).fit(correlated(20_000)).save(folder / "model.rdl")
        for n in sizes:
            data = folder / f"{n}.npy"
            mapped = np.lib.format.open_memmap(data, "w+", np.float32, (n, N_FEATURES))
            for start in range(0, n, 100_000):
                mapped[start : start + 100_000] = correlated(min(100_000, n - start), start)
            mapped.flush()
            command = [sys.executable, "-c", CHILD, folder / "model.rdl", data, folder / "out.rd"]
            added = int(subprocess.run(command, check=True, capture_output=True).stdout)
            stream = (folder / "out.rd").stat().st_size
            yield {
                "rows": n,
                "file_MiB": data.stat().st_size / 2**20,
                "stream_MiB": stream / 2**20,
                "added_anonymous_MiB": added / 2**10,
            }


def main():
    args = options(__doc__)
    n, repeats = (100_000, 3) if args.quick else (1_000_000, 7)
    with threadpool_limits(1):
        rows = list(throughput(n, repeats))
    report("pca_throughput", rows, args, f"{n} x {N_FEATURES} float32, one thread")
    sizes = (100_000, 200_000) if args.quick else (250_000, 1_000_000, 4_000_000)
    report("compress_to_memory", list(memory(sizes)), args, "from a memory-mapped file")


if __name__ == "__main__":
    main()
