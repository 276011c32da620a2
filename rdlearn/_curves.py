"""Tables of operating points: the one of a grid search, and the distance between two curves."""

import math
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

__all__ = ["BDRate", "bd_rate", "curve_table", "last_step", "mean_test"]


def mean_test(cv_results, name):
    """Return the mean test values of one `rd_scoring` key as a float64 array."""
    if f"mean_test_{name}" not in cv_results:
        raise ValueError(
            f"cv_results_ has no mean_test_{name}: run the search with scoring=rd_scoring(...)."
        )
    return np.asarray(cv_results[f"mean_test_{name}"], dtype=np.float64)


def last_step(estimator):
    """Return the codec at the end of a Pipeline, or the codec itself."""
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return estimator


def curve_table(search):
    """Tabulate the operating points of a grid search that used `rd_scoring`.

    Parameters
    ----------
    search : fitted GridSearchCV or RandomizedSearchCV

    Returns
    -------
    table : DataFrame
        One row per candidate, by rising rate, failed ones (NaN) last; the index is the position
        in `cv_results_`, so ``table.loc[search.best_index_]`` is the best one. First `codec`
        (class name), then a column per searched parameter, without its step prefix where the rest
        is unambiguous and with the prefix ``param_`` where it would meet another column
        (`distortion`); then `rate_bits`, `distortion`, `score` (means over the folds, as
        `rd_scoring` defines them), `rate_bits_std`, `distortion_std`, `score_std`, `fit_seconds`,
        and `pareto`: no other candidate is at least as good in rate and distortion and better in
        one. ``table.attrs`` has the name of the scoring's distortion and its unit
        (`distortion`, `distortion_unit`).

    Raises
    ------
    NotFittedError
        If the search is not fitted.
    ValueError
        If it did not use `rd_scoring`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import GridSearchCV
    >>> from rdlearn import PCACodec
    >>> from rdlearn.model_selection import curve_table, rd_scoring
    >>> grid = {"beta": [10.0, 30.0, 100.0]}
    >>> search = GridSearchCV(PCACodec(), grid, scoring=rd_scoring(), refit=False)
    >>> curve_table(search.fit(load_iris().data))["beta"].tolist()
    [10.0, 30.0, 100.0]
    """
    import pandas as pd

    check_is_fitted(search, "cv_results_")
    results, params = search.cv_results_, search.cv_results_["params"]
    measured = {name: mean_test(results, name) for name in ("rate_bits", "distortion", "score")}
    measured |= {f"{name}_std": np.asarray(results[f"std_test_{name}"]) for name in measured}
    measured["fit_seconds"] = np.asarray(results["mean_fit_time"])
    rate, distortion = measured["rate_bits"], measured["distortion"]
    measured["pareto"] = _on_frontier(rate, distortion)

    columns = {"codec": [_codec_name(search.estimator, candidate) for candidate in params]}
    names = list(dict.fromkeys(name for candidate in params for name in candidate))
    short = [name.rpartition("__")[2] for name in names]
    taken = {"codec", *measured}
    for name, ending in zip(names, short, strict=True):
        column = ending if short.count(ending) == 1 and ending not in taken else name
        if column in taken:
            column = f"param_{name}"
        values = [candidate.get(name, math.nan) for candidate in params]
        # Without the explicit dtype pandas turns None among numbers into NaN.
        mixed = object if any(value is None for value in values) else None
        columns[column] = pd.Series(values, dtype=mixed)
    table = pd.DataFrame(columns | measured).iloc[np.lexsort((distortion, rate))]
    distortion = getattr(search.scorer_, "distortion", None)
    if distortion is not None:  # a caller's own wrapper around rd_scoring may not name it
        table.attrs.update(distortion=distortion.name, distortion_unit=distortion.unit)
    return table


def _codec_name(estimator, params):
    return type(last_step(clone(estimator).set_params(**clone(params, safe=False)))).__name__


def _on_frontier(rate, distortion):
    no_worse = (rate[:, None] <= rate) & (distortion[:, None] <= distortion)
    better = (rate[:, None] < rate) | (distortion[:, None] < distortion)
    return ~((no_worse & better).any(axis=0) | np.isnan(rate) | np.isnan(distortion))


class BDRate(NamedTuple):
    """Average rate difference of two curves.

    Attributes
    ----------
    percent : float
        Extra rate of the curve at equal quality, in percent; negative is a saving.
    quality_range : tuple of float (low, high)
        The qualities that both curves reach, over which the average runs, in dB.
    quality : {"psnr_db", "-10 log10(distortion)"}
        The quality axis.
    """

    percent: float
    quality_range: tuple
    quality: str

    def __repr__(self):
        low, high = self.quality_range
        return f"BDRate({self.percent:+.2f} % for {self.quality} from {low:.2f} to {high:.2f} dB)"


def bd_rate(curve, reference, *, quality=None):
    r"""Bjontegaard delta rate: how many percent more bits a curve needs at equal quality.

    .. math::

        100 \left( \exp \frac{1}{q_1 - q_0} \int_{q_0}^{q_1}
        \bigl( \ln R(q) - \ln R_{ref}(q) \bigr) \, dq - 1 \right)

    with ln R interpolated in the quality q by monotone cubics (PCHIP), over the range of qualities
    that both curves reach. Nothing is extrapolated.

    Parameters
    ----------
    curve, reference : DataFrame or mapping of columns
        Operating points with `rate_bits` and `psnr_db` or `distortion`, in any order; rows with
        NaN are left out. Both must be measured in the same units.
    quality : {"psnr_db", "distortion"}, default=None
        The quality axis; for "distortion" it is ``-10 log10(distortion)``. None takes `psnr_db`
        where both curves have it in every row with a rate, otherwise the distortion.

    Returns
    -------
    result : BDRate
        Named tuple (`percent`, `quality_range`, `quality`).

    Raises
    ------
    ValueError
        If a column is missing, a rate or a distortion is not positive, a value is infinite, a
        curve has fewer than 2 points or does not spend more bits on more quality, or the curves
        have no quality in common.

    References
    ----------
    G. Bjontegaard, "Calculation of average PSNR differences between RD-curves", ITU-T SG16
    VCEG-M33, 2001. PCHIP in place of its cubic polynomial: ITU-T HSTP-VID-WPOM, "Working practices
    using objective metrics for evaluation of video coding efficiency experiments", 2020.

    Examples
    --------
    >>> from rdlearn.model_selection import bd_rate
    >>> reference = {"rate_bits": [10.0, 20.0, 40.0], "distortion": [4.0, 2.0, 1.0]}
    >>> curve = {"rate_bits": [9.0, 18.0, 36.0], "distortion": [4.0, 2.0, 1.0]}
    >>> bd_rate(curve, reference)
    BDRate(-10.00 % for -10 log10(distortion) from -6.02 to 0.00 dB)
    """
    import pandas as pd
    from scipy.interpolate import PchipInterpolator

    if quality not in (None, "psnr_db", "distortion"):
        raise ValueError(f"quality must be 'psnr_db', 'distortion' or None, got {quality!r}.")
    tables = {"curve": pd.DataFrame(curve), "reference": pd.DataFrame(reference)}
    if quality is None:
        complete = all(
            {"rate_bits", "psnr_db"} <= set(table)
            and table.loc[table["rate_bits"].notna(), "psnr_db"].notna().all()
            for table in tables.values()
        )
        quality = "psnr_db" if complete else "distortion"
    points = [_points(label, table, quality) for label, table in tables.items()]
    ends = [(float(q[0]), float(q[-1])) for q, _ in points]
    low, high = max(start for start, _ in ends), min(stop for _, stop in ends)
    axis = "psnr_db" if quality == "psnr_db" else "-10 log10(distortion)"
    if not low < high:
        (a, b), (c, d) = ends
        raise ValueError(
            f"The curves have no range of {axis} in common: the curve covers {a:.4g} to {b:.4g} dB "
            f"and the reference {c:.4g} to {d:.4g} dB."
        )
    area, reference_area = (PchipInterpolator(*xy).integrate(low, high) for xy in points)
    percent = 100 * math.expm1((area - reference_area) / (high - low))
    return BDRate(percent, (low, high), axis)


def _points(label, table, quality):
    """Return qualities in dB, rising, and the log rates at them."""
    missing = {"rate_bits", quality} - set(table)
    if missing:
        raise ValueError(f"The {label} has no column {' and '.join(sorted(missing))}.")
    table = table[["rate_bits", quality]].astype(np.float64).dropna()
    if len(table) < 2:
        raise ValueError(f"The {label} has {len(table)} usable points; bd_rate needs 2 or more.")
    wrong = np.isinf(table) | (table <= 0)
    if quality == "psnr_db":  # already a logarithm: any finite value will do
        wrong[quality] = np.isinf(table[quality])
    if wrong.any(axis=None):
        row = int(np.argmax(wrong.any(axis=1)))
        values = ", ".join(f"{name} = {value:g}" for name, value in table.iloc[row].items())
        raise ValueError(
            f"Row {table.index[row]} of the {label} has {values}; bd_rate takes logarithms of "
            "rates and distortions, so they must be positive and finite: leave such rows out."
        )
    rate, q = table["rate_bits"].to_numpy(), table[quality].to_numpy()
    if quality == "distortion":
        q = 0.0 - 10 * np.log10(q)  # not -0.0 dB at a distortion of 1
    order = np.lexsort((rate, q))
    rate, q = rate[order], q[order]
    stuck = np.flatnonzero((np.diff(rate) <= 0) | (np.diff(q) <= 0))
    if stuck.size:
        row, other = table.index[order[stuck[0] + 1]], table.index[order[stuck[0]]]
        raise ValueError(
            f"The {label} is not monotone: row {row} against row {other} does not pay more "
            "bits for more quality; keep the rows on the frontier (`pareto` in curve_table)."
        )
    return q, np.log(rate)
