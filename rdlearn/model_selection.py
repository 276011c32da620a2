"""Operating points: sweeps over beta, budgets for grid search, tables and curve comparison."""

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array
from sklearn.utils.metadata_routing import MetadataRequest
from sklearn.utils.parallel import Parallel, delayed

from rdlearn._curves import BDRate, bd_rate, curve_table, mean_test
from rdlearn._points import description_length, measure
from rdlearn.distortions import Distortion, get_distortion
from rdlearn.information import bits_to_nats

__all__ = [
    "BDRate",
    "bd_rate",
    "curve_table",
    "lowest_distortion",
    "lowest_rate",
    "rate_distortion_path",
    "rd_scorer",
    "rd_scoring",
]


def rate_distortion_path(codec, X, betas, *, X_test=None, cv=None, n_jobs=None, data_range=None):
    """Fit a codec at several prices of distortion and tabulate its rate-distortion curve.

    One clone of `codec` walks through `betas`, from the largest down: nets that have given up a
    part of their code for a low price of distortion do not find it again. If it has the
    parameter `warm_start`, that is switched on, so each fit starts from the one before.

    Parameters
    ----------
    codec : estimator
        A codec with the parameter `beta`; left as it is.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Training data.
    betas : array-like of shape (n_betas,)
        Prices of distortion, in nats per unit of distortion.
    X_test : array-like or DataFrame of shape (n_test_samples, n_features), default=None
        Data that the points are measured on. None means `X`.
    cv : int, splitter or iterable, default=None
        As in scikit-learn. Each fold is one sweep, measured on its held-out rows; the table has
        means over the folds and population standard deviations. Excludes `X_test`.
    n_jobs : int, default=None
        Folds run at the same time, under whichever joblib backend is active.
    data_range : float, default=None
        Distance from the smallest to the largest possible value, for `psnr_db`. None means the
        codec's own parameter `data_range` where it has one.

    Returns
    -------
    table : DataFrame
        One row per beta, ascending: `codec` (class name), `beta`, `n_components` (columns of the
        code), `rate_bits` (per sample), `rate_bits_per_feature`, `distortion` (the codec's own,
        per sample), `distortion_per_feature`, `score` (nats per sample, NaN where the distortion
        has no noise model), `psnr_db` (of the mean squared error; NaN without a data range),
        `bytes_per_sample` (of the compressed blob; NaN where the codec writes none), `model_bytes`
        (of the file that `save` would write; NaN likewise), `fit_seconds`; with `cv` also
        `rate_bits_std`, `distortion_std` and `score_std`.
        ``table.attrs`` has the name of the distortion and its unit (`distortion`,
        `distortion_unit`).

    Raises
    ------
    ValueError
        If `betas` is empty, not one-dimensional or has NaN, if the codec has no parameter `beta`
        or aims at a target of its own, or if both `X_test` and `cv` are given.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from rdlearn import PCACodec
    >>> from rdlearn.model_selection import rate_distortion_path
    >>> X = load_iris().data
    >>> table = rate_distortion_path(PCACodec(), X, betas=[10.0, 30.0, 100.0])
    >>> bool(table["rate_bits"].is_monotonic_increasing)
    True
    """
    import pandas as pd

    betas = np.sort(np.asarray(betas, dtype=np.float64))
    if betas.ndim != 1 or betas.size == 0 or np.isnan(betas).any():
        raise ValueError(f"betas must be a non-empty list of numbers, got {betas}.")
    if cv is not None and X_test is not None:
        raise ValueError("Give X_test or cv, not both: cv measures on its held-out rows.")
    params = codec.get_params(deep=False)
    if "beta" not in params:
        raise ValueError(
            f"{type(codec).__name__} has no parameter beta to sweep; for a Pipeline use "
            "GridSearchCV with rd_scoring and curve_table."
        )
    for target in ("target_rate", "target_distortion"):
        if params.get(target) is not None:
            raise ValueError(f"{target} makes fit choose beta itself; set it to None for a sweep.")

    if cv is None:
        folds = [_sweep(codec, betas, X, X if X_test is None else X_test, data_range)]
    else:
        rows = X.iloc if hasattr(X, "iloc") else np.asarray(X)
        folds = Parallel(n_jobs=n_jobs)(
            delayed(_sweep)(codec, betas, rows[train], rows[test], data_range)
            for train, test in check_cv(cv).split(X)
        )
    columns = list(folds[0][0][0])
    values = np.array([[[row[name] for name in columns] for row in rows] for rows, _ in folds])
    table = pd.DataFrame(values.mean(axis=0), columns=columns)
    if (table["n_components"] % 1 == 0).all():  # the width may differ between folds
        table["n_components"] = table["n_components"].astype(int)
    if cv is not None:
        for name in ("rate_bits", "distortion", "score"):
            table[f"{name}_std"] = values[:, :, columns.index(name)].std(axis=0)
    table.insert(0, "codec", type(codec).__name__)
    distortion = folds[0][1]
    table.attrs.update(distortion=distortion.name, distortion_unit=distortion.unit)
    return table


def _sweep(codec, betas, X, X_test, data_range):
    codec = clone(codec)
    if "warm_start" in codec.get_params(deep=False):
        codec.set_params(warm_start=True)
    points = []
    for beta in betas[::-1]:
        start = time.perf_counter()
        codec.set_params(beta=float(beta)).fit(X)
        fit_seconds = time.perf_counter() - start
        points.append({"beta": float(beta)} | measure(codec, X_test, data_range))
        points[-1]["fit_seconds"] = fit_seconds
    return points[::-1], codec.distortion_


def _reconstruct(estimator, X, inputs):
    """Return the codec at the end, the rows that it sees, what it is to reproduce, and X_hat.

    `inputs` are keywords for the codec's decoder.
    """
    x = check_array(X, dtype=(np.float64, np.float32))
    if not isinstance(estimator, Pipeline):
        if not (hasattr(estimator, "rate") and hasattr(estimator, "reconstruct")):
            raise TypeError(f"Expected a codec or a Pipeline that ends in one, got {estimator!r}.")
        threshold = getattr(estimator, "binarize", None)
        if threshold is not None:  # then the bits are the source, and X only says what they are
            x = (x > threshold).astype(x.dtype)
        return estimator, X, x, estimator.reconstruct(X, **inputs)
    if len(estimator) == 1:
        return _reconstruct(estimator[0], X, inputs)
    head = estimator[:-1]
    if not hasattr(head, "inverse_transform"):
        raise TypeError(
            "The distortion is measured in the Pipeline's input space, so every step before the "
            f"codec needs inverse_transform; one of {[name for name, _ in head.steps]} has none."
        )
    codec, rows, _, x_hat = _reconstruct(estimator[-1], head.transform(X), inputs)
    return codec, rows, x, head.inverse_transform(x_hat)


def _rate_and_distortion(estimator, X, distortion, inputs):
    codec, rows, x, x_hat = _reconstruct(estimator, X, inputs)
    distortion.check(x)
    x_hat = distortion.reproduction(check_array(x_hat, dtype=(np.float64, np.float32)))
    return codec, rows, codec.rate(rows), float(distortion.samples(x, x_hat).mean())


class _Routed:
    """A scorer that metadata routing can hand what the decoder takes beside the code."""

    def set_score_request(self, **requests):
        """Ask for metadata when scoring, as of an estimator; returns a scorer that does."""
        return replace(self, requests=tuple(requests.items()))

    def get_metadata_routing(self):
        """What metadata routing asks of a scorer."""
        request = MetadataRequest(owner=self)
        for name, alias in self.requests:
            request.score.add_request(param=name, alias=alias)
        return request


@dataclass(frozen=True)
class _RDScoring(_Routed):
    distortion: Distortion
    requests: tuple = ()

    def __call__(self, estimator, X, y=None, **inputs):
        measured = _rate_and_distortion(estimator, X, self.distortion, inputs)
        codec, rows, rate, distortion = measured
        score = description_length(codec, rows, inputs)
        return {"rate_bits": rate, "distortion": distortion, "score": score}


@dataclass(frozen=True)
class _RDScorer(_Routed):
    slope: float
    distortion: Distortion
    requests: tuple = ()

    def __call__(self, estimator, X, y=None, **inputs):
        _, _, rate, distortion = _rate_and_distortion(estimator, X, self.distortion, inputs)
        return -(bits_to_nats(rate) + self.slope * distortion)


def rd_scoring(distortion="squared_error"):
    """Make the `scoring` of a grid search that records rate, distortion and description length.

    Every candidate is measured by the distortion named here, in the original units, whatever it
    was trained on. In a Pipeline the rate and the score are the last step's on the transformed
    rows, and the distortion is measured in the Pipeline's input space: the codec's reconstruction
    is taken back through the earlier steps.

    Parameters
    ----------
    distortion : str or Distortion, default="squared_error"
        The distortion of every candidate, summed over the features of a sample.

    Returns
    -------
    scoring : callable
        ``scoring(estimator, X, y=None)`` gives a dict of floats: `rate_bits` (bits per sample),
        `distortion` (per sample) and `score` (negated description length, nats per sample; NaN
        where the codec's distortion has no noise model). It can be pickled. Where the decoder
        takes side information, ``rd_scoring().set_score_request(side_information=True)`` hands
        it on under scikit-learn's metadata routing.

    Raises
    ------
    ValueError
        If the distortion is unknown.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from rdlearn import PCACodec
    >>> from rdlearn.model_selection import lowest_distortion, rd_scoring
    >>> search = GridSearchCV(
    ...     PCACodec(),
    ...     {"beta": [10.0, 30.0, 100.0]},
    ...     scoring=rd_scoring("squared_error"),
    ...     refit=lowest_distortion(max_rate_bits=40),
    ... )
    >>> search.fit(load_iris().data).best_params_["beta"]
    100.0
    """
    return _RDScoring(get_distortion(distortion))


def rd_scorer(slope, distortion="squared_error"):
    """Make a scorer that weighs rate against distortion at one price for all candidates.

    ``-(rate + slope * distortion)`` with the rate in nats; higher is better. Measured as in
    `rd_scoring`. For a squared error the natural price is ``1 / (2 * tolerated variance)``.

    Parameters
    ----------
    slope : float
        Nats per unit of distortion, positive. On an optimal curve it is ``-dR/dD``.
    distortion : str or Distortion, default="squared_error"
        The distortion of every candidate, summed over the features of a sample.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y=None)`` gives a float in nats per sample. It can be pickled.

    Raises
    ------
    ValueError
        If `slope` is not positive and finite, or the distortion is unknown.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from rdlearn import PCACodec
    >>> from rdlearn.model_selection import rd_scorer
    >>> X = load_iris().data
    >>> cross_val_score(PCACodec(beta=10.0), X, scoring=rd_scorer(slope=10.0)).shape
    (5,)
    """
    if not 0 < slope < math.inf:
        raise ValueError(f"slope must be positive and finite, got {slope}.")
    return _RDScorer(slope, get_distortion(distortion))


@dataclass(frozen=True)
class _LowestUnderBudget:
    lowest: str
    limited: str
    budget: float

    def __call__(self, cv_results):
        lowest, limited = (mean_test(cv_results, name) for name in (self.lowest, self.limited))
        fitted = ~(np.isnan(lowest) | np.isnan(limited))
        if not fitted.any():
            raise ValueError("No candidate has a rate and a distortion: all their fits failed.")
        within = fitted & (limited <= self.budget)
        if not within.any():
            nearest = int(np.argmin(np.where(fitted, limited, np.inf)))
            raise ValueError(
                f"No candidate has {self.limited} <= {self.budget:g}; the nearest is "
                f"{cv_results['params'][nearest]} with {self.limited} = {limited[nearest]:g}."
            )
        order = np.lexsort((limited, lowest))
        return int(order[within[order]][0])


def lowest_distortion(max_rate_bits):
    """Make the `refit` of a grid search: the lowest distortion within a budget of bits.

    Ties go to the lower rate. Candidates with a failed fit (NaN) are passed over.

    Parameters
    ----------
    max_rate_bits : float
        Largest mean test rate, in bits per sample.

    Returns
    -------
    refit : callable
        Takes `cv_results_` of a search that used `rd_scoring`, returns the index of the best
        candidate. It can be pickled. It raises ValueError when no candidate is within the budget,
        naming the nearest, and when `cv_results_` has no rate.

    Examples
    --------
    >>> from rdlearn.model_selection import lowest_distortion
    >>> lowest_distortion(3.0)(
    ...     {"mean_test_rate_bits": [1.0, 2.0, 4.0], "mean_test_distortion": [0.9, 0.5, 0.1]}
    ... )
    1
    """
    return _LowestUnderBudget("distortion", "rate_bits", max_rate_bits)


def lowest_rate(max_distortion):
    """Make the `refit` of a grid search: the fewest bits within a budget of distortion.

    The mirror of `lowest_distortion`; ties go to the lower distortion.

    Parameters
    ----------
    max_distortion : float
        Largest mean test distortion per sample, in the unit of the `rd_scoring` distortion.

    Returns
    -------
    refit : callable
        As `lowest_distortion` returns.

    Examples
    --------
    >>> from rdlearn.model_selection import lowest_rate
    >>> lowest_rate(0.6)(
    ...     {"mean_test_rate_bits": [1.0, 2.0, 4.0], "mean_test_distortion": [0.9, 0.5, 0.1]}
    ... )
    1
    """
    return _LowestUnderBudget("rate_bits", "distortion", max_distortion)
