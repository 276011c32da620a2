"""Recipes of the README that no other test holds to what they promise."""

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from rdlearn import PCACodec, load
from rdlearn.model_selection import lowest_distortion, rd_scoring

README = Path(__file__).parent.parent / "README.md"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The README's lines about bytes of a Pipeline."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall("```python\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if "pipe[-1].compress" in block]
    return found


def test_bytes_of_a_pipeline(recipe):
    X = load_digits().data
    names = {"X": X, "PCACodec": PCACodec}
    exec(recipe, names)
    pipe = names["pipe"]
    np.testing.assert_array_equal(names["X_hat"], pipe.inverse_transform(pipe.transform(X)))
    again = load("codec.rdl").decompress(names["blob"])
    np.testing.assert_array_equal(pipe[:-1].inverse_transform(again), names["X_hat"])


def test_bytes_of_the_pipeline_that_a_search_found(recipe):
    X = load_digits().data[:300]
    search = GridSearchCV(
        Pipeline([("scale", StandardScaler()), ("codec", PCACodec())]),
        {"codec__beta": [0.5, 2.0]},
        scoring=rd_scoring(distortion="squared_error"),
        refit=lowest_distortion(max_rate_bits=100),
        cv=2,
    ).fit(X)
    pipe = search.best_estimator_
    lines = [line for line in recipe.splitlines() if "compress" in line]
    names = {"X": X, "pipe": pipe}
    exec("\n".join(lines), names)
    np.testing.assert_array_equal(names["X_hat"], pipe.inverse_transform(pipe.transform(X)))
