"""The one file that knows scikit-learn's private helpers."""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval

__all__ = ["Interval", "fit_context"]
