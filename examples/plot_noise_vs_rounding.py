"""
Is noise a fair stand-in for rounding?
======================================

A transform code is trained with uniform noise in place of rounding. Rate and distortion then have
two views: with noise, under the learned density, as training sees them; rounded, under the frozen
tables, as files see them. Where codes take more than two bits a component the two agree; where they
take less, the density is no longer flat over a cell, and they part.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from rdlearn import UniformNoiseCodec

X = load_digits().data
rows = []
for beta in np.geomspace(0.003, 1, 8):
    codec = UniformNoiseCodec(12, beta=beta, context="none", max_iter=60, random_state=0).fit(X)
    row = {"beta": beta}
    for view in ("noisy", "coded"):
        row[f"rate_{view}"] = codec.rate_samples(X, view=view).mean()
        row[f"distortion_{view}"] = codec.distortion_samples(X, view=view).mean()
    row["bytes"] = len(codec.compress(X))
    rows.append(row)
table = pd.DataFrame(rows)
print(table.round(3).to_string(index=False))

figure, panels = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for axes, name, unit in zip(panels, ("rate", "distortion"), ("bits", "squared"), strict=True):
    x, y = table[f"{name}_noisy"], table[f"{name}_coded"]
    ends = [min(x.min(), y.min()), max(x.max(), y.max())]
    axes.plot(ends, ends, "k--", linewidth=0.8)
    points = axes.scatter(x, y, c=np.log10(table["beta"]))
    axes.set(xlabel=f"with noise ({unit} a digit)", ylabel="rounded", title=name)
figure.colorbar(points, label="log10 beta")
plt.savefig("noise_vs_rounding.png", dpi=120)
