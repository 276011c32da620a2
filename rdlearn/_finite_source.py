"""BlahutArimoto: the rate-distortion curve of a finite source, as an estimator."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array

from rdlearn._blahut_arimoto import blahut_arimoto
from rdlearn._sklearn import Interval, check_sample_weight, fit_context
from rdlearn.distortions import Distortion, get_distortion

__all__ = ["BlahutArimoto"]

# Ends of the curve in units of n_features / (loss of the best constant).
PRICES = (0.3, 300.0)


class BlahutArimoto(BaseEstimator):
    """The rate-distortion function of a finite source, from samples or from probabilities.

    Every row of X is a symbol; their frequencies, or `sample_weight`, are the source. The curve is
    that of the best code of blocks of any length for independent symbols, which no codec of them
    can beat, point by point with certified bounds.

    Parameters
    ----------
    betas : array-like of float, default=None
        Prices of distortion, nats per unit. None takes 20, from where nothing is coded to where
        little is lost.
    distortion : str, Distortion or array-like of shape (n_symbols, n_reproductions), \
            default="squared_error"
        What is lost, summed over features, or a matrix of losses whose rows follow `symbols_`
        (of objects, the order of their texts); inf forbids a pair.
    reproductions : array-like of shape (n_reproductions, n_features), default=None
        What symbols may be reproduced as; None is the symbols themselves.
    tol : float, default=1e-9
        Gap between the bounds, in nats, to stop at.
    max_iter : int, default=100
        Newton steps at most, for each beta.

    Attributes
    ----------
    curve_ : DataFrame
        By rising beta: `codec`, `beta`, `rate_bits`, `distortion`, `lower_bound`, `upper_bound`
        and `gap` (of rate + beta * distortion, in nats), `converged`, `n_iter`.
    points_ : list of BlahutArimotoResult
        The same, with the channels.
    symbols_ : ndarray of shape (n_symbols, n_features)
        Distinct rows of X, sorted.
    p_x_ : ndarray of shape (n_symbols,)
    distortion_matrix_ : ndarray of shape (n_symbols, n_reproductions)
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from rdlearn import BlahutArimoto
    >>> dice = BlahutArimoto(betas=[0.5, 2.0]).fit(np.arange(1, 7))
    >>> dice.curve_[["rate_bits", "distortion"]].round(3)
       rate_bits  distortion
    0      0.745       0.875
    1      1.763       0.184
    """

    _parameter_constraints: dict = {
        "betas": ["array-like", None],
        "distortion": [str, Distortion, "array-like"],
        "reproductions": ["array-like", None],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        betas=None,
        *,
        distortion="squared_error",
        reproductions=None,
        tol=1e-9,
        max_iter=100,
    ):
        self.betas = betas
        self.distortion = distortion
        self.reproductions = reproductions
        self.tol = tol
        self.max_iter = max_iter

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Compute the curve of the source that X is a sample of.

        Parameters
        ----------
        X : array-like of shape (n_samples,) or (n_samples, n_features)
            A symbol in each row: numbers, or with a matrix of losses anything that can be sorted.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; with one row for each symbol, their probabilities.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The table, the matrix or the prices are unusable; the sentence has the remedy.
        """
        import pandas as pd

        named = isinstance(self.distortion, str | Distortion)
        X = _rows(X, "X", named)
        weights = check_sample_weight(sample_weight, X, dtype=np.float64)
        if weights.min() < 0 or weights.sum() <= 0:
            raise ValueError(
                f"sample_weight goes from {weights.min():g} to {weights.max():g}; weights must be "
                "0 or more, and more than 0 somewhere."
            )
        symbols, place = np.unique(X, axis=0, return_inverse=True)
        p = np.bincount(place.ravel(), weights=weights, minlength=len(symbols))
        matrix, name, unit = self._matrix(symbols)
        betas = self._prices(p / p.sum(), matrix, X.shape[1])
        points, law = [], None
        for beta in betas:
            points.append(
                blahut_arimoto(
                    p / p.sum(),
                    matrix,
                    beta,
                    p_y=law,
                    tol=self.tol,
                    max_iter=self.max_iter,
                )
            )
            law = points[-1].p_y
        columns = [
            "beta",
            "rate_bits",
            "distortion",
            "lower_bound",
            "upper_bound",
            "gap",
        ]
        columns += ["converged", "n_iter"]
        rows = [{column: getattr(point, column) for column in columns} for point in points]
        self.curve_ = pd.DataFrame(rows)
        self.curve_.insert(0, "codec", type(self).__name__)
        self.curve_.attrs.update(distortion=name, distortion_unit=unit)
        self.points_, self.symbols_, self.p_x_ = points, symbols, p / p.sum()
        self.distortion_matrix_, self.n_features_in_ = matrix, X.shape[1]
        return self

    def _matrix(self, symbols):
        """Losses of symbols under reproductions, and what they are called and measured in."""
        if not isinstance(self.distortion, str | Distortion):
            matrix = np.asarray(self.distortion, dtype=np.float64)
            if matrix.ndim != 2 or len(matrix) != len(symbols):
                raise ValueError(
                    f"distortion has shape {matrix.shape}, but X has {len(symbols)} distinct "
                    "symbols; pass a row for each, in sorted order."
                )
            if self.reproductions is not None:
                raise ValueError(
                    "reproductions and a matrix as distortion are both given; the columns of the "
                    "matrix are the reproductions, so leave them out."
                )
            return matrix, "matrix", "units of the matrix"
        distortion = get_distortion(self.distortion)
        targets = symbols
        if self.reproductions is not None:
            targets = _rows(self.reproductions, "reproductions", True)
            if targets.shape[1] != symbols.shape[1]:
                raise ValueError(
                    f"reproductions have {targets.shape[1]} columns, but X has "
                    f"{symbols.shape[1]}; pass rows like those of X."
                )
        symbols, targets = symbols.astype(np.float64), targets.astype(np.float64)
        distortion.check(symbols)
        distortion.check(targets)
        columns = [
            distortion.samples(symbols, np.broadcast_to(row, symbols.shape)) for row in targets
        ]
        return np.stack(columns, axis=1), distortion.name, distortion.unit

    def _prices(self, p, matrix, n_features):
        if self.betas is not None:
            betas = np.unique(np.asarray(self.betas, dtype=np.float64))
            if not (betas.size and np.all(betas >= 0) and np.isfinite(betas).all()):
                raise ValueError(f"betas={self.betas!r} must be finite numbers, 0 or more.")
            return betas.tolist()
        loss = p @ np.where(np.isfinite(matrix), matrix, 0.0)
        forbidden = (p > 0) @ ~np.isfinite(matrix) > 0
        # The loss of the best constant; where every constant is forbidden somewhere, of any.
        least = np.min(loss[~forbidden]) if not forbidden.all() else loss.mean()
        # Above what no price can avoid.
        least -= p[p > 0] @ np.where(np.isfinite(matrix), matrix, np.inf).min(axis=1)[p > 0]
        return np.geomspace(*(end * n_features / (least or 1.0) for end in PRICES), 20).tolist()


def _rows(X, name, numbers):
    """Symbols as a table of one row each."""
    X = check_array(X, dtype=None, ensure_2d=False, input_name=name)
    X = X[:, None] if X.ndim == 1 else X
    if numbers:
        check_array(X, dtype=np.float64, input_name=name)
        return X if X.dtype.kind in "fiub" else X.astype(np.float64)
    # Objects have no order of rows; their texts do.
    return X.astype(str) if X.dtype.kind == "O" else X
