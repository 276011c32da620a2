"""
How few bits keep every zero a zero?
====================================

In a memory whose cells are cheap to clear and cannot be set, a stored 0 must not become a 1, while
a 1 may be lost at a cost. That is a Hamming distortion with a = inf. DBNBlahutArimoto draws
reproductions from its channel, which honour that of every row, seen or not, and estimates the
rate of that channel, here exactly. At beta = 0 losing ones costs nothing and so no bits are spent;
the larger beta, the more of the picture stays.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from rdlearn import DBNBlahutArimoto
from rdlearn.distortions import Hamming

X = (load_digits().data > 7).astype(np.float64)
X_train, X_test = X[:1500], X[1500:]
rows, pictures = [], {"stored": X_test[:12]}
for beta in (0.0, 1.0, 2.0, 4.0):
    memory = DBNBlahutArimoto(
        12, beta=beta, distortion=Hamming(a=np.inf, b=1.0), n_gibbs=30, random_state=0
    ).fit(X_train)
    Y = memory.reproduce(X_test, random_state=0)
    estimate = memory.estimate_rate_distortion(X_test)
    rows.append(
        {
            "beta": beta,
            "rate_bits": estimate["rate_bits"],
            "ones_lost": estimate["distortion"],
            "ones_lost_drawn": np.mean(np.sum((X_test == 1) & (Y == 0), axis=1)),
            "zeros_set": int(np.sum((X_test == 0) & (Y == 1))),
        }
    )
    pictures[f"beta = {beta:g}"] = Y[:12]
print(f"ones in an image: {X_test.sum(axis=1).mean():.2f} of 64")
print(pd.DataFrame(rows).round(3).to_string(index=False))

figure, axes = plt.subplots(len(pictures), 1, figsize=(7, 4), layout="constrained")
for axis, (label, images) in zip(axes, pictures.items(), strict=True):
    strip = np.pad(images.reshape(-1, 8, 8), ((0, 0), (0, 0), (1, 1))).transpose(1, 0, 2)
    axis.imshow(strip.reshape(8, -1), cmap="gray_r", vmin=0, vmax=1)
    axis.set_ylabel(label, rotation=0, ha="right", va="center")
    axis.set(xticks=[], yticks=[])
plt.savefig("write_efficient_memory.png", dpi=120)
