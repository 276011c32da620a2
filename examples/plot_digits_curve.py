"""
How many bits does a handwritten digit need?
============================================

Sweep the price of distortion on scikit-learn's digits, with cross-validation, for three
bottleneck sizes, and draw rate against distortion. The dashed line is R(D) of the Gaussian with
the same covariance: no Gaussian-shaped data of this covariance could be coded below it, while
real data, which are less random than a Gaussian, may.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from rdlearn import PCACodec
from rdlearn.datasets import gaussian_source
from rdlearn.model_selection import rate_distortion_path
from rdlearn.plotting import RateDistortionDisplay

X = load_digits().data
betas = np.geomspace(0.01, 30, 12)

tables = []
for n_components in (8, 24, None):
    codec = PCACodec(n_components, data_range=16)
    table = rate_distortion_path(codec, X, betas, cv=5, n_jobs=2, data_range=16)
    size = n_components or X.shape[1]
    tables.append(table.assign(codec=f"PCACodec, {size} components"))
table = pd.concat(tables, ignore_index=True)
columns = ["codec", "beta", "rate_bits", "distortion", "psnr_db", "score"]
print(table[columns].round(2).to_string(index=False))

# The description length (score) says how much detail is worth keeping: its peak over beta is
# where another bit of code no longer saves a bit of residual.
best = table.loc[table["score"].idxmax()]
print(f"\nBest description length: beta = {best['beta']:.2g}, {best['rate_bits']:.0f} bits.")

covariance = np.cov(X.T, bias=True)
display = RateDistortionDisplay.from_table(
    table, by="codec", reference=gaussian_source(covariance=covariance)
)
display.ax_.set_title("Digits, 64 pixels from 0 to 16")
plt.savefig("digits_curve.png", dpi=120)
