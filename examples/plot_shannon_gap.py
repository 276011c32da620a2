"""
How close to Shannon's limit do quantizers come?
================================================

Scalar quantizers with an entropy code, the best there are for single values, lie a quarter of a bit
above the rate-distortion function. A trellis, which chooses between two quantizers by what was
coded before and searches the best path, leaves a third of that.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from rdlearn import PCACodec
from rdlearn.information import gaussian_rate_bits

# Rates near zero are on purpose here.
warnings.simplefilter("ignore", UserWarning)
X = np.random.default_rng(0).normal(size=(50_000, 1))
rates = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0)

fig, ax = plt.subplots(layout="constrained")
for quantizer, joint, label in (
    ("scalar", False, "scalar quantizers"),
    ("trellis", True, "trellis along the rows of a chunk"),
):
    bits, gap = [], []
    for rate in rates:
        codec = PCACodec(target_rate=rate, quantizer=quantizer).fit(X)
        blob = codec.compress(X, joint=joint)
        # What is decoded is not `transform` of single rows where they were coded together.
        distortion = np.mean((X - codec.decompress(blob)) ** 2)
        bits.append(8 * len(blob) / len(X))
        gap.append(bits[-1] - gaussian_rate_bits([1.0], distortion))
        print(f"{quantizer}: {bits[-1]:.3f} bits, {gap[-1]:.3f} above R(D)")
    ax.plot(bits, gap, "o-", label=label)
ax.axhline(0, color="black", label="R(D)")
ax.set(
    xlabel="rate (bits per sample, headers included)",
    ylabel="bits per sample above R(D)",
    title="A memoryless Gaussian source",
)
ax.legend()
fig.savefig("shannon_gap.png", dpi=120)
