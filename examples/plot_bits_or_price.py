"""
More bits, or another price of distortion?
==========================================

Two grid searches over DBNBlahutArimoto on binarised digits. At a fixed price beta, the number of
bits of the bottleneck decides how well images come back; at a fixed number of bits, beta decides
what the autoencoder is trained to reproduce: the image itself (inf), or what a network that knows
digits makes of it. The score, minus the description length of code and flips together, weighs
both.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from rdlearn import DBNBlahutArimoto
from rdlearn.model_selection import curve_table, rd_scoring

X = (load_digits().data > 7).astype(np.float64)
codec = DBNBlahutArimoto(
    12, hidden_layer_sizes=(40,), max_iter=3, n_gibbs=1, fine_tune_epochs=60, random_state=0
)
grids = {
    "fixed price, beta = 4": {"n_components": [2, 4, 6, 8, 10, 12]},
    "fixed rate, 8 bits": {"n_components": [8], "beta": [0.5, 1.0, 2.0, 4.0, np.inf]},
}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for axis, (title, grid) in zip(axes, grids.items(), strict=True):
    search = GridSearchCV(
        codec, grid, scoring=rd_scoring(distortion="hamming"), refit="score", cv=3
    ).fit(X)
    table = curve_table(search)
    print(f"\n{title}: best {search.best_params_}")
    print(table.round(3).to_string(index=False))
    axis.plot(table["rate_bits"], table["distortion"], "o")
    name = list(grid)[-1]
    for place, value in zip(table[["rate_bits", "distortion"]].to_numpy(), grid[name], strict=True):
        axis.annotate(f" {value:g}", place)
    axis.set(
        title=f"{title}; labels: {name}", xlabel="coded bits per image", ylabel="flipped pixels"
    )
plt.savefig("bits_or_price.png", dpi=120)
