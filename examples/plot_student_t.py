"""
Where does a code put its cells?
================================

The 2-D Student-t source has many points near the middle and a few far out. A transform code
learned on it cuts the plane into cells; each has a code vector (dots) and a number of bits
(colour). Weighed by the probability of each point, D = p(x) |x - x_hat|^2, what happens far out
hardly counts: the cells there grow, and the bits go to the middle.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rdlearn import UniformNoiseCodec
from rdlearn.datasets import student_t_source

X = student_t_source().sample(20_000, 0)
radius = np.sqrt((X**2).sum(axis=1))
# The density of five degrees of freedom, up to a factor.
density = (1 + radius**2 / 5) ** -3.5
side = np.linspace(-6, 6, 300)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)

figure, panels = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
rows = []
for axes, weight in zip(panels, (None, density / density.mean()), strict=True):
    name = "plain distortion" if weight is None else "weighed by probability"
    codec = UniformNoiseCodec(
        2,
        beta=3.0,
        context="none",
        hidden_layer_sizes=(64, 64),
        activation="softplus",
        max_iter=30,
        random_state=0,
    ).fit(X, distortion_weight=weight)
    bits = codec.rate_samples(plane).reshape(300, 300)
    vectors = np.unique(codec.reconstruct(plane).round(6), axis=0)
    shown = axes.imshow(bits, origin="lower", extent=[-6, 6, -6, 6], vmax=16, cmap="viridis_r")
    axes.plot(*vectors.T, "k.", markersize=2)
    axes.set(xlim=(-6, 6), ylim=(-6, 6), title=name)
    loss = codec.distortion_samples(X)
    for part, inside in (
        ("|x| < 1", radius < 1),
        ("1 to 3", abs(radius - 2) < 1),
        ("> 3", radius > 3),
    ):
        rows.append({"training": name, "part": part, "rate_bits": codec.rate(X[inside])})
        rows[-1]["distortion"] = loss[inside].mean()
figure.colorbar(shown, ax=panels, label="bits")
print(pd.DataFrame(rows).round(3).to_string(index=False))
plt.savefig("student_t.png", dpi=120)
