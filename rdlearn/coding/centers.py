"""Values as the nearest of a few centres, under the entropy code of the centres' numbers."""

import numpy as np

from rdlearn.coding.integers import stored
from rdlearn.coding.latents import ColumnCode, PlaneCode
from rdlearn.exceptions import CorruptStreamError

__all__ = ["MOST_CENTERS", "CenterCode"]

MOST_CENTERS = 256


class CenterCode:
    """Symbols that number a channel's centres, upwards from the most frequent one, which is 0.

    Parameters
    ----------
    code : ColumnCode or PlaneCode
        Of the symbols.
    centers : ndarray of shape (n_channels, n_centers), float32
        In rising order, in steps.
    zero : ndarray of shape (n_channels,), int64
        The place of symbol 0 among the centres.
    """

    def __init__(self, code, centers, zero):
        self.code, self.centers, self.zero = code, centers, zero

    @classmethod
    def fit(cls, values, centers, fit_code):
        """The code of values (n_rows, n_columns), in steps, places one by one with all channels.

        ``fit_code`` makes the code of symbols, which it is given as float32.
        """
        centers = np.sort(centers, axis=1)
        places = _nearest(values, centers)
        seen = [np.bincount(column, minlength=centers.shape[1]) for column in places.T]
        zero = np.argmax(seen, axis=1)
        code = fit_code((places - zero).reshape(values.shape).astype(np.float32))
        return cls(code, centers, zero)

    def resized(self, height, width):
        """The code of images of another size."""
        return CenterCode(self.code.resized(height, width), self.centers, self.zero)

    @property
    def n_columns(self):
        return self.code.n_columns

    @property
    def least_payload(self):
        return self.code.least_payload

    @property
    def least_bits(self):
        return self.code.least_bits

    @property
    def arrangement(self):
        return self.code.arrangement

    def quantize(self, values):
        """Symbols (n_rows, n_columns), int, of values in steps."""
        symbols = _nearest(values, self.centers) - self.zero
        return self.code.quantize(symbols.reshape(values.shape).astype(np.float32))

    def dequantize(self, symbols):
        """Values (n_rows, n_columns), float32, that the decoder sees."""
        places = symbols.reshape(-1, len(self.centers)) + self.zero
        values = np.take_along_axis(self.centers, places.T, axis=1).T
        return np.ascontiguousarray(values).reshape(symbols.shape)

    def code_length(self, symbols):
        """Bits of each row of symbols (n_rows, n_columns)."""
        return self.code.code_length(symbols)

    def encode(self, symbols):
        """Bytes of symbols (n_rows, n_columns)."""
        return self.code.encode(symbols)

    def decode(self, payload, n_rows):
        """Inverse of `encode`, or CorruptStreamError."""
        symbols = self.code.decode(payload, n_rows)
        places = symbols.reshape(-1, len(self.centers)) + self.zero
        if places.size and not 0 <= places.min() <= places.max() < self.centers.shape[1]:
            raise CorruptStreamError("The code names a centre that the model does not have.")
        return symbols

    def describe(self):
        """The code in plain numbers, for fingerprints."""
        return self._state(self.code.describe())

    def to_state(self):
        """Arrays that `from_state` turns back into the same code."""
        return self._state(self.code.to_state())

    def _state(self, inner):
        kind = "planes" if isinstance(self.code, PlaneCode) else "columns"
        return {kind: inner, "centers": self.centers, "zero": self.zero}

    @classmethod
    def from_state(cls, state):
        kind = "planes" if "planes" in state else "columns"
        inner = {"planes": PlaneCode, "columns": ColumnCode}[kind]
        code = inner.from_state(stored(state, kind, dict))
        centers, zero = stored(state, "centers", np.ndarray), stored(state, "zero", np.ndarray)
        channels = code.arrangement.shape[-1] if kind == "planes" else code.n_columns
        if centers.ndim != 2 or len(centers) != channels or centers.dtype != np.float32:
            raise CorruptStreamError("The code's centres do not fit its columns.")
        if not np.isfinite(centers).all() or np.any(np.diff(centers, axis=1) < 0):
            raise CorruptStreamError("The code's centres are not numbers in rising order.")
        fine = zero.shape == (channels,) and zero.dtype == np.int64
        if not fine or zero.min() < 0 or zero.max() >= centers.shape[1]:
            raise CorruptStreamError("The code's first centres are not among its centres.")
        return cls(code, centers, zero)


def _nearest(values, centers):
    """Numbers (n_places, n_channels) of the centres that values (n_rows, n_columns) lie at."""
    places = values.reshape(-1, len(centers))
    borders = (centers[:, 1:] + centers[:, :-1]) / 2
    return np.stack(
        [np.searchsorted(border, column) for border, column in zip(borders, places.T, strict=True)],
        axis=1,
    )
