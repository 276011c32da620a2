"""
What is left of a digit in 24, 15 or 9 bits?
============================================

DBNBlahutArimoto codes binarised MNIST images with K bits. Three nets, one warm-started from the
other; the encoder alone takes the bits that its net says, with a search it tries others against
the decoder. The last column of the table is what the bits cost when they are packed: their law is
learned too. Needs the MNIST files in the folder that RDLEARN_DATA names.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rdlearn import DBNBlahutArimoto
from rdlearn.datasets import load_mnist

grey = load_mnist()["X_train"][:10_000].reshape(-1, 784) / np.float32(255)
X_test = load_mnist(binarize="sample", random_state=0)["X_test"][:300].astype(np.float32)
X_test = X_test.reshape(len(X_test), 784)

codec = DBNBlahutArimoto(
    24,
    hidden_layer_sizes=(300, 150),
    beta=np.inf,  # reproduce the image itself
    max_iter=1,
    n_epochs=1,
    n_gibbs=1,
    learning_rate_init=0.1,
    fine_tune_epochs=40,
    binarize="sample",  # grey values are probabilities, drawn afresh in each epoch
    warm_start=True,
    random_state=0,
)
rows, pictures = [], {"original": X_test[:12]}
for k in (24, 15, 9):
    codec.set_params(n_components=k, encoder_search="auto").fit(grey)
    rows.append({"K": k, "searched": codec.mean_distortion(X_test) / 784})
    rows[-1]["coded_bits"] = codec.rate(X_test)
    pictures[f"{k} bits"] = codec.reconstruct(X_test[:12])
    codec.set_params(encoder_search=None, fine_tune_epochs=20)
    rows[-1]["encoder_alone"] = codec.mean_distortion(X_test) / 784
print(pd.DataFrame(rows)[["K", "encoder_alone", "searched", "coded_bits"]].round(4).to_string())

figure, axes = plt.subplots(len(pictures), 1, figsize=(8, 3.2), layout="constrained")
for axis, (label, images) in zip(axes, pictures.items(), strict=True):
    strip = images.reshape(-1, 28, 28).transpose(1, 0, 2).reshape(28, -1)
    axis.imshow(strip, cmap="gray_r", vmin=0, vmax=1)
    axis.set_ylabel(label, rotation=0, ha="right", va="center")
    axis.set(xticks=[], yticks=[])
plt.savefig("mnist_bottleneck.png", dpi=120)
