"""What a column's dtype asks of a codec that computes in floats: exact numbers, and a way back."""

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = ["check_dtypes", "refuse_large_integers", "restored"]

# Integers up to here are floats, all of them.
LARGEST = 1 << 53


def refuse_large_integers(X):
    """ValueError for integers that a float would round; it names the first column that has any."""
    if hasattr(X, "iloc") and hasattr(X, "columns"):
        columns = ((repr(name), X.iloc[:, j]) for j, name in enumerate(X.columns))
    else:
        if not hasattr(X, "dtype"):
            X = _as_array(X)
        if not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind not in "iuO":
            return
        columns = enumerate(X.T)
    for name, column in columns:
        value = _large_integer(column)
        if value is not None:
            raise ValueError(
                f"Column {name} holds the integer {value}, beyond 2**53, which a float would round "
                "to another number; leave such columns out, or encode them as smaller numbers."
            )


def _as_array(X):
    """An array of what may be one, or X where scikit-learn has to say what it is not."""
    try:
        array = np.asarray(X)
        # Beside floats integers are rounded already: as objects they stay what they are.
        rounded = array.dtype.kind == "f" and bool((np.abs(array) >= LARGEST).any())
        return np.asarray(X, dtype=object) if rounded else array
    except (TypeError, ValueError):
        return X


def _large_integer(column):
    """An integer of a column that a float may round, or None."""
    # Sparse columns keep their numbers apart, those of Arrow and of pandas theirs beside a mask.
    kind = getattr(column.dtype, "subtype", getattr(column.dtype, "numpy_dtype", column.dtype))
    if getattr(kind, "itemsize", 8) < 8:
        return None
    kind = getattr(kind, "kind", "O")
    if kind == "O":
        large = (v for v in column if isinstance(v, int | np.integer) and abs(int(v)) > LARGEST)
        return next(large, None)
    if kind not in "iu" or not len(column):
        return None
    # A column of missing values has no ends.
    ends = [end for end in (column.min(), column.max()) if isinstance(end, int | np.integer)]
    return next((int(end) for end in ends if abs(int(end)) > LARGEST), None)


def check_dtypes(names, kinds):
    """ValueError where `decompress` could not give a column its dtype back.

    Parameters
    ----------
    names : sequence
        Of the columns, for the sentence.
    kinds : list of str
        Their dtypes.
    """
    import pandas as pd

    for name, kind in zip(names, kinds, strict=True):
        try:
            returns = str(restored(pd.Series([0.0, 1.0]), kind).dtype) in (kind, "float64")
        except (TypeError, ValueError, NotImplementedError):
            returns = False
        if not returns:
            raise ValueError(
                f"Column {name!r} has dtype {kind}, in which decompress could not return it; "
                "convert it with astype('float64') or another dtype of numbers first."
            )


def restored(column, kind):
    """A column of floats in the dtype named `kind`: integers rounded and kept in range."""
    import pandas as pd

    types = pd.api.types
    try:
        dtype = types.pandas_dtype(kind)
    except (TypeError, ValueError):
        raise CorruptStreamError(f"The model names {kind[:50]!r}, no dtype here.") from None
    if types.is_object_dtype(dtype) or isinstance(dtype, pd.CategoricalDtype):
        # Texts and categories were read as numbers, and that is what can be given back.
        return column
    fine = types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype)
    if isinstance(dtype, pd.SparseDtype) or types.is_complex_dtype(dtype) or not fine:
        raise CorruptStreamError(f"The model names {kind[:50]!r}, which is no dtype of numbers.")
    if types.is_bool_dtype(dtype):
        return (column >= 0.5).astype(dtype)
    if types.is_integer_dtype(dtype):
        limits = np.iinfo(getattr(dtype, "numpy_dtype", dtype))
        # The largest 64-bit integers are no floats; stay at the last float below.
        top = np.nextafter(np.float64(limits.max), 0) if limits.bits == 64 else limits.max
        return np.clip(np.rint(column.astype(np.float64)), limits.min, top).astype(dtype)
    return column.astype(dtype)
