"""Sentences for tables that scikit-learn refuses: which value, in which column, and what to do."""

import numpy as np
from sklearn.utils.validation import validate_data

from rdlearn._dtypes import refuse_large_integers

__all__ = ["explain", "explain_far", "validated"]


def validated(estimator, X, reset, ensure_min_samples=1):
    """A table of finite floats by scikit-learn's rules, or a sentence that names the entry."""
    refuse_large_integers(X)
    kinds = {"dtype": [np.float64, np.float32], "order": "C"}
    try:
        return validate_data(
            estimator, X, reset=reset, ensure_min_samples=ensure_min_samples, **kinds
        )
    except (TypeError, ValueError) as error:
        explained = explain(X, error)
        if explained is error:
            raise
        raise explained from error


def explain(X, error):
    """A ValueError that names the offending entry of a refused table, or `error` itself."""
    frame = X if hasattr(X, "columns") and hasattr(X, "iloc") else None
    if frame is not None:
        columns = [frame.iloc[:, j] for j in range(frame.shape[1])]
        names = [repr(name) for name in frame.columns]
    elif isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind == "f":
        columns, names = X.T, [str(j) for j in range(X.shape[1])]
    else:
        return error
    for name, column in zip(names, columns, strict=True):
        values = np.asarray(column)
        try:
            # Times would convert silently, in units nobody chose.
            if values.dtype.kind in "mM":
                raise TypeError
            numbers = values.astype(np.float64)
        except (TypeError, ValueError):
            if frame is None:
                return error
            return ValueError(
                f"Column {name} has dtype {column.dtype}, which is not numeric; encode it as "
                "numbers or leave it out."
            )
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size and " contains " in str(error):
            what = "NaN" if np.isnan(numbers[bad[0]]) else "infinity"
            return ValueError(
                f"Input X contains {what} in row {bad[0]} of column {name}; fill such entries in, "
                "as sklearn.impute.SimpleImputer does for NaN, or drop their rows."
            )
    return error


def explain_far(X, center, units, names, start):
    """A ValueError that names the entry of X (rows from `start` on) farthest from the center."""
    far = np.abs((X - center) / units)
    row, column = np.unravel_index(np.argmax(far), far.shape)
    return ValueError(
        f"Row {start + row} holds {X[row, column]:.4g} in column {names[column]!r}, too many steps "
        "outside the training data to be coded; remove or clip such values, or fit on data that "
        "have them."
    )
