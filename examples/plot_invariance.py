"""
A code that does not know where it was measured
===============================================

Sensors at five sites measure the same process, each with an offset and a gain of its own. A code
of the measurements tells a classifier the site; pooled studies would rather it did not. Given
the site beside the code (``side_information``), the decoder can put the site's part back, so
that bits spent on it in the code are bits wasted: the lower beta, the less of it is left.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rdlearn import EchoAutoencoder

N_SITES, N_FACTORS, N_FEATURES = 5, 3, 20
rng = np.random.default_rng(0)


def measure(n):
    """The process seen at random sites: table, site, and the process itself."""
    site = rng.integers(N_SITES, size=n)
    signal = np.tanh(rng.standard_normal((n, N_FACTORS)) @ loadings)
    noise = 0.1 * rng.standard_normal((n, N_FEATURES))
    return gains[site] * signal + offsets[site] + noise, site, signal


loadings = rng.standard_normal((N_FACTORS, N_FEATURES))
offsets = rng.standard_normal((N_SITES, N_FEATURES))
gains = rng.uniform(0.7, 1.3, (N_SITES, N_FEATURES))
X, site, signal = measure(4000)
X_test, site_test, signal_test = measure(3000)
one_hot = np.eye(N_SITES)

betas = [0.3, 1.0, 3.0, 10.0, 100.0, 1000.0]
readers = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression()),
    "random forest": RandomForestClassifier(100, min_samples_leaf=5, random_state=0),
}
told = {name: [] for name in readers}
untold = {name: [] for name in readers}
rows, kept = [], []
for beta in betas:
    params = {"n_components": 8, "beta": beta, "max_iter": 150, "random_state": 0}
    codec = EchoAutoencoder(**params).fit(X, side_information=one_hot[site])
    blind = EchoAutoencoder(**params).fit(X)
    for name, reader in readers.items():
        for scores, model in ((told, codec), (untold, blind)):
            codes = model.sample_codes(X_test, random_state=1)
            scores[name].append(cross_val_score(reader, codes, site_test, cv=3).mean())
    x_hat = codec.reconstruct(X_test, side_information=one_hot[site_test])
    # What is decoded, less what its site does to it, against the process itself.
    process = (x_hat - offsets[site_test]) / gains[site_test]
    error = np.mean((process - signal_test) ** 2) / signal_test.var()
    kept.append(1 - error)
    rows.append({"beta": beta, "rate_bits": codec.rate(X_test), "signal_kept": kept[-1]})
    rows[-1] |= {name: scores[-1] for name, scores in told.items()}
    rows[-1] |= {f"{name}, not told": scores[-1] for name, scores in untold.items()}
print(pd.DataFrame(rows).round(2).to_string(index=False))

figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
for name, color in zip(readers, ("tab:blue", "tab:orange"), strict=True):
    axes.semilogx(betas, told[name], "o-", color=color, label=f"site from the code, {name}")
    axes.semilogx(betas, untold[name], "o:", color=color, label="... decoder not told the site")
axes.semilogx(betas, kept, "k--", label="signal kept (part of its variance)")
axes.axhline(1 / N_SITES, color="gray", lw=1)
axes.text(betas[-1], 1 / N_SITES + 0.01, "chance", color="gray", ha="right")
axes.set(xlabel="beta (nats per squared unit)", ylabel="accuracy, part of variance", ylim=(0, 1.03))
axes.legend(fontsize="small", loc="center right")
axes.set_title("Side information drives the site out of the code")
plt.savefig("invariance.png", dpi=120)
