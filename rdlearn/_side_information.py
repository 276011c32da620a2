"""What the decoder is told beside the code."""

import contextlib

import numpy as np
from sklearn.utils.validation import check_array

from rdlearn.exceptions import CorruptStreamError

__all__ = ["SideInformationMixin"]

# Deviations from the mean within which the decoder's float32 products are safe.
FARTHEST = 1e6


class SideInformationMixin:
    """Side information: its validation, and its units for a decoder net."""

    def _check_state(self):
        super()._check_state()
        if type(self.n_side_features_) is not int or self.n_side_features_ < 0:
            raise CorruptStreamError("The model's side information does not fit.")
        if self.n_side_features_:
            for vector in (self.side_mean_, self.side_scale_):
                fits = vector.shape == (self.n_side_features_,) and vector.dtype == np.float64
                if not fits or not np.isfinite(vector).all():
                    raise CorruptStreamError("The model's side information does not fit.")

    def _learn_side(self, side):
        """Validated side information of training rows in the decoder's units, or None."""
        if side is None:
            return None
        self.side_mean_ = side.mean(axis=0)
        deviation = side.std(axis=0)
        flat = deviation <= 10 * np.finfo(np.float64).eps * np.abs(self.side_mean_)
        self.side_scale_ = np.where(flat | (deviation == 0), 1.0, deviation)
        return self._scaled_side(side)

    def _scaled_side(self, side):
        with np.errstate(over="ignore"):
            steps = (side - self.side_mean_) / self.side_scale_
        far = np.abs(steps).max(axis=1)
        if far.max() > FARTHEST:
            row = int(np.argmax(far))
            column = int(np.argmax(np.abs(steps[row])))
            raise ValueError(
                f"Row {row} of side_information holds {side[row, column]:.4g} in column {column}, "
                f"{far[row]:.3g} deviations from what fit saw; correct it, or fit on data that "
                "have such values."
            )
        return steps.astype(np.float32)

    def _check_side(self, side_information, n):
        with contextlib.suppress(TypeError, ValueError):
            if np.ndim(side_information) == 1:
                side_information = np.asarray(side_information, dtype=np.float64)[:, None]
        side = check_array(
            side_information, dtype=np.float64, order="C", input_name="side_information"
        )
        if len(side) != n:
            raise ValueError(
                f"side_information has {len(side)} rows, but there are {n} samples; pass one row "
                "for each."
            )
        return side

    def _decoder_side(self, n, side_information=None):
        """Validated side information of n rows to decode in the decoder's units, or None."""
        wanted, side = self.n_side_features_, side_information
        if side is None:
            if wanted:
                raise ValueError(
                    f"This {type(self).__name__} was fitted with side_information of {wanted} "
                    "columns and cannot decode without; pass side_information=. In a Pipeline or "
                    "a grid search, turn on metadata routing and request it for this method too."
                )
            return None
        if not wanted:
            raise ValueError(
                f"This {type(self).__name__} was fitted without side_information; leave it out "
                "here, or give it to fit."
            )
        if side.shape[1] != wanted:
            raise ValueError(
                f"side_information has {side.shape[1]} columns, but fit saw {wanted}; pass the "
                "same ones."
            )
        return self._scaled_side(side)
