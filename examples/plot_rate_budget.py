"""
Grid search under a rate budget, inside a Pipeline
==================================================

A budget of 40 bits per row: which price and which bottleneck lose least, when the loss is
measured in the original units although the codec works on scaled data?
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from rdlearn import PCACodec
from rdlearn.model_selection import curve_table, lowest_distortion, rd_scoring

X = load_digits().data
pipeline = make_pipeline(MinMaxScaler(), PCACodec())
search = GridSearchCV(
    pipeline,
    {
        "pcacodec__beta": [3, 10, 30, 100, 300],
        "pcacodec__n_components": [4, 8, 16, 32],
    },
    # Every candidate is judged by squared error in the Pipeline's input space.
    scoring=rd_scoring(distortion="squared_error"),
    refit=lowest_distortion(max_rate_bits=40),
    cv=3,
    n_jobs=2,
).fit(X)

table = curve_table(search)
print(table.drop(columns="codec").round(3).to_string(index=False))
print("\nWithin 40 bits per row, least distortion:", search.best_params_)

fig, ax = plt.subplots(layout="constrained")
for n_components, group in table.groupby("n_components"):
    ax.plot(group["rate_bits"], group["distortion"], "o-", label=f"{n_components} components")
ax.axvline(40, color="grey", linestyle=":", label="budget")
ax.set(
    xlabel="rate (bits per sample)",
    ylabel="distortion (squared error per sample)",
    yscale="log",
    title="Grid search over beta and n_components",
)
ax.legend()
fig.savefig("rate_budget.png", dpi=120)
