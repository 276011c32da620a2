"""A codec simple enough to check by hand, with data for it."""

import math

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from rdlearn.distortions import Distortion, get_distortion


class ToyCodec(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Centred uniform quantiser; 1 + 2 log2(1 + |symbol|) bits a symbol, 2 bytes a symbol."""

    def __init__(
        self,
        beta=1.0,
        distortion="squared_error",
        binarize=None,
        data_range=None,
        target_rate=None,
        fail_below=0.0,
        warm_start=False,
    ):
        self.beta = beta
        self.distortion = distortion
        self.binarize = binarize
        self.data_range = data_range
        self.target_rate = target_rate
        self.fail_below = fail_below
        self.warm_start = warm_start

    def fit(self, X, y=None):
        if self.beta < self.fail_below:
            raise ValueError("beta is too small for this codec")
        X = validate_data(self, X)
        visited = self.visited_ if self.warm_start and hasattr(self, "visited_") else ()
        self.visited_ = (*visited, self.beta)
        self.mean_ = X.mean(axis=0) if self.binarize is None else np.zeros(X.shape[1])
        self.step_ = math.sqrt(6.0 / self.beta)
        self.beta_ = self.beta
        self.distortion_ = get_distortion(self.distortion)
        self._n_features_out = X.shape[1]
        return self

    def _rows(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        return X if self.binarize is None else (X > self.binarize).astype(float)

    def transform(self, X):
        return np.round((self._rows(X) - self.mean_) / self.step_) * self.step_

    def inverse_transform(self, Z):
        return np.asarray(Z) + self.mean_

    def reconstruct(self, X):
        return self.inverse_transform(self.transform(X))

    def rate(self, X):
        symbols = np.abs(np.round((self._rows(X) - self.mean_) / self.step_))
        return (1 + 2 * np.log2(1 + symbols)).sum(axis=1).mean()

    def distortion_samples(self, X):
        return self.distortion_.samples(self._rows(X), self.reconstruct(X))

    def mean_distortion(self, X):
        return self.distortion_samples(X).mean()

    def score(self, X, y=None):
        return -(self.rate(X) * math.log(2) + self.distortion_samples(X).mean())

    def compress(self, X):
        return b"head" + np.round(self.transform(X) / self.step_).astype("<i2").tobytes()


class PlainCodec(ToyCodec):
    """Without warm_start and without bytes."""

    compress = property()

    def __init__(self, beta=1.0, distortion="squared_error"):
        super().__init__(beta, distortion)

    @classmethod
    def _get_param_names(cls):
        return ["beta", "distortion"]


class Quartic(Distortion):
    name, unit = "quartic", "summed fourth powers"

    def elementwise(self, x, x_hat):
        return (x - x_hat) ** 4


def squared(x, x_hat):
    return float(((np.asarray(x) - np.asarray(x_hat)) ** 2).sum(axis=1).mean())


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(90, 3)) * [1.0, 3.0, 0.2] + [5.0, -1.0, 2.0]


@pytest.fixture
def frame(X):
    return pd.DataFrame(X, columns=["a", "b", "c"], index=np.arange(len(X))[::-1])
