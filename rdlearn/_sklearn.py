"""The one file that knows scikit-learn's private and its newest helpers."""

from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight as check_sample_weight

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:
    # Before scikit-learn 1.9 there are no callbacks to support.
    class CallbackSupportMixin:
        """Nothing to mix in."""

    def with_callbacks(method):
        """The method as it is."""
        return method


__all__ = [
    "CallbackSupportMixin",
    "EpochCallbacks",
    "Interval",
    "StrOptions",
    "check_row_weight",
    "check_sample_weight",
    "fit_context",
    "with_callbacks",
]


def check_row_weight(weight, X, name):
    """Weights of the rows of X, at least 0, or a ValueError that calls them by their name."""
    try:
        return check_sample_weight(weight, X, ensure_non_negative=True)
    except ValueError as error:
        words = str(error).replace("sample_weight", name).replace("Sample weights", name)
        raise ValueError(f"{words.rstrip('.')} ({name}: a number of 0 or more a row).") from None


class EpochCallbacks:
    """The epochs of a fit as scikit-learn's callbacks see them.

    Parameters
    ----------
    estimator : estimator
        Its callbacks are called.
    n_epochs : int
    y : object
        What `fit` was given as y.
    """

    def __init__(self, estimator, n_epochs, y):
        self.estimator, self.y = estimator, y
        self.root = None
        if hasattr(estimator, "_skl_callbacks") or hasattr(estimator, "_parent_callback_ctx"):
            self.root = estimator._init_callback_context(max_subtasks=n_epochs)

    def begin(self, **data):
        """The fit begins; all hooks get this data: X, and metadata where there is some."""
        self.data = {"y": self.y, **data}
        if self.root is not None:
            self.root.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def epoch(self, fitted):
        """An epoch is over; returns whether a callback wants to stop.

        `fitted` makes the attributes of a model as if fit stopped here, when one asks for it.
        """
        if self.root is None:
            return False
        task = self.root.subcontext(task_name="epoch")
        task.call_on_fit_task_begin(estimator=self.estimator, **self.data)
        return task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted, **self.data
        )

    def end(self, fitted):
        """The fit is over."""
        if self.root is not None:
            self.root.call_on_fit_task_end(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.data
            )
