"""
What does a digit look like at 5, 12 or 26 bits?
================================================

An EchoAutoencoder learns a code of handwritten digits at several prices of distortion. Its rate
is the exact information in the code, so the pictures show what so many bits can say, at the same
nets: with few bits a digit is redrawn as a typical one of its kind, with more it keeps its hand.
Below, rate against distortion, beside PCACodec, whose rate is that of real bytes.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from rdlearn import EchoAutoencoder, PCACodec
from rdlearn.model_selection import rate_distortion_path

X_train, X_test = train_test_split(load_digits().data, test_size=0.3, random_state=0)
echo = EchoAutoencoder(16, hidden_layer_sizes=(200,), max_iter=150, random_state=0)
betas = [0.01, 0.03, 0.1, 0.3, 1.0]

names = ("EchoAutoencoder (exact information)", "PCACodec (real bytes)")
tables = {
    name: rate_distortion_path(codec, X_train, betas, X_test=X_test)
    for name, codec in zip(names, (echo, PCACodec()), strict=True)
}
for name, table in tables.items():
    print(name)
    columns = ["beta", "rate_bits", "distortion", "score", "fit_seconds"]
    print(table[columns].round(3).to_string(index=False))

shown = X_test[:10]
figure = plt.figure(figsize=(8, 8.5), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=[1.25, 1])
axes = top.subplots(len(betas) + 1, 1)
pictures = [("original", shown)]
for beta in betas:
    codec = echo.set_params(beta=beta).fit(X_train)
    pictures.append((f"{codec.rate(X_test):.1f} bits", codec.reconstruct(shown)))
for axis, (label, rows) in zip(axes, pictures, strict=True):
    strip = np.pad(rows.reshape(-1, 8, 8), ((0, 0), (0, 0), (1, 1))).transpose(1, 0, 2)
    axis.imshow(strip.reshape(8, -1), cmap="gray_r", vmin=0, vmax=16)
    axis.set_ylabel(label, rotation=0, ha="right", va="center")
    axis.set(xticks=[], yticks=[])
axis = bottom.subplots()
for name, table in tables.items():
    axis.plot(table["rate_bits"], table["distortion"], "o-", label=name)
axis.set(xlabel="rate (bits per image)", ylabel="distortion (summed squared error)", yscale="log")
axis.legend()
plt.savefig("echo_digits.png", dpi=120)
