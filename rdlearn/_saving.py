"""What is kept of a fitted estimator: in a file of arrays and JSON, when a fit fails, and of work
that only its attributes decide.
"""

import contextlib
import functools
import weakref

import numpy as np
from sklearn.utils.validation import check_is_fitted

from rdlearn import _persistence
from rdlearn._forms import from_plain, to_plain
from rdlearn._version import __version__
from rdlearn.exceptions import CorruptStreamError

__all__ = ["SavingMixin", "load", "remembered"]

_REGISTRY = {}


class SavingMixin:
    """`save`, a place in the registry of `load`, and fits that fail without a trace."""

    # Fitted state that `save` keeps besides the public attributes ending in "_".
    _saved = ("_history",)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _REGISTRY[cls.__name__] = cls

    @contextlib.contextmanager
    def _unchanged_on_failure(self):
        # Half of a new fit beside half of an old one would be a codec nobody trained.
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    @property
    def history_(self):
        """DataFrame of rate_bits, distortion and objective (nats), a row for each step of fit."""
        import pandas as pd

        check_is_fitted(self)
        return pd.DataFrame(self._history)

    def save(self, path):
        """Write the fitted estimator to a file of arrays and JSON, whole or not at all.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        ValueError
            A parameter cannot be written, such as a RandomState instance or a Distortion that
            is not rdlearn's own.
        """
        check_is_fitted(self)
        _persistence.write(path, self._to_state())

    def _to_state(self):
        params = self.get_params(deep=False)
        fitted = {
            name: value
            for name, value in vars(self).items()
            if name not in params
            and (name in self._saved or (name.endswith("_") and name[0] != "_"))
        }
        return {
            "class": type(self).__name__,
            "version": __version__,
            "params": {name: to_plain(value) for name, value in params.items()},
            "fitted": {name: to_plain(value) for name, value in fitted.items()},
        }

    def _check_state(self):
        """Raise CorruptStreamError where the loaded attributes contradict each other."""
        d, columns = self.n_features_in_, [np.asarray(c) for c in self._history.values()]
        steps = columns[0].size
        numbers = all(c.shape == (steps,) and c.dtype.kind in "iuf" for c in columns)
        fits = True
        if hasattr(self, "feature_names_in_"):
            fits = self.feature_names_in_.shape == (d,) and self.feature_names_in_.dtype == object
        for holds, what in (
            (type(d) is int and d >= 1, "number of features"),
            (fits, "feature names"),
            (steps >= 1 and numbers, "history"),
        ):
            if not holds:
                raise CorruptStreamError(f"The model's {what} is missing or impossible.")


def remembered(method):
    """A method of `self` alone whose result is kept until a public attribute is another object.

    Fits, `load` and `set_params` replace attributes and never change them in place. The result is
    kept outside the estimator, so that copies, pickles and files do not carry it.
    """
    kept = weakref.WeakKeyDictionary()

    @functools.wraps(method)
    def recalled(self):
        now = {name: value for name, value in vars(self).items() if name[0] != "_"}
        before, result = kept.get(self, (None, None))
        if (
            before is None
            or before.keys() != now.keys()
            or any(value is not before[name] for name, value in now.items())
        ):
            result = method(self)
            kept[self] = now, result
        return result

    return recalled


def load(path, max_bytes=None):
    """Read an estimator that `save` wrote.

    Parameters
    ----------
    path : str or path-like
    max_bytes : int, default=None
        The most bytes that the file, and the arrays it unpacks to, may take; None for no limit. A
        model of strangers is read under one.

    Returns
    -------
    A fitted estimator of the class that was saved.

    Raises
    ------
    CorruptStreamError
        The file is damaged, is no model file, or names an estimator this version does not know.
    ValueError
        The model takes more than `max_bytes`.
    OSError
        The file cannot be read.
    """
    state = _persistence.read(path, max_bytes)
    try:
        codec = _REGISTRY[state["class"]](
            **{name: from_plain(value) for name, value in state["params"].items()}
        )
        for name, value in state["fitted"].items():
            if name not in codec._saved and (name[0] == "_" or name[-1] != "_"):
                raise CorruptStreamError(f"The model file sets the unknown attribute {name!r}.")
            setattr(codec, name, from_plain(value))
        if type(state["version"]) is not str:
            raise CorruptStreamError("The model file does not say which version wrote it.")
        codec._validate_params()
        check_is_fitted(codec)
        codec._check_state()
    except CorruptStreamError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError) as error:
        raise CorruptStreamError(
            f"{path} does not describe an estimator that rdlearn {__version__} can load "
            f"({type(error).__name__}: {error})."
        ) from None
    return codec
