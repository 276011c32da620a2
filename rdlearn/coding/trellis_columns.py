"""Components of a table along a trellis through each row, under two tables a component."""

import numpy as np

from rdlearn.coding.quantizers import repriced
from rdlearn.coding.trellis import TrellisQuantizers
from rdlearn.coding.trellis_design import PRICE, TrellisDesign
from rdlearn.exceptions import CorruptStreamError

__all__ = ["TrellisColumnCode"]


class TrellisColumnCode:
    """Values in steps as the indices of `TrellisQuantizers`, in the order of rows.

    Parameters
    ----------
    quantizers : TrellisQuantizers
    """

    def __init__(self, quantizers):
        if quantizers.tables.joint:
            raise CorruptStreamError("The code's paths lead through columns instead of rows.")
        self.quantizers = quantizers
        self.least_payload, self.n_columns = quantizers.tables.least_payload, quantizers.n_columns
        self.least_bits = quantizers.tables.least_bits

    @classmethod
    def fit(cls, values):
        """The code of values (n_rows, n_columns), in steps."""
        return cls(TrellisDesign(values.astype(np.float64)).rows(np.log(2) / PRICE)[0])

    @property
    def price(self):
        """What a bit costs, in squared steps."""
        return np.log(2) / self.quantizers.slope

    @price.setter
    def price(self, price):
        self.quantizers = repriced(self.quantizers, np.log(2) / price)

    def quantize(self, values):
        """Symbols (n_rows, n_active), int64, of values in steps."""
        y = np.ascontiguousarray(values[:, self.quantizers.active])
        symbols = np.empty(y.shape[::-1], dtype=np.int64)
        self.quantizers.quantize(y, symbols)
        return np.ascontiguousarray(symbols.T)

    def dequantize(self, symbols):
        """Values (n_rows, n_columns), float32, that the decoder sees."""
        return self.quantizers.dequantize(np.ascontiguousarray(symbols.T), np.float32)

    def code_length(self, symbols):
        """Bits of each row of symbols (n_rows, n_active)."""
        return self.quantizers.tables.code_length(np.ascontiguousarray(symbols.T))

    def encode(self, symbols):
        """Bytes of symbols (n_rows, n_active)."""
        return self.quantizers.tables.encode(np.ascontiguousarray(symbols.T))

    def decode(self, payload, n_rows):
        """Inverse of `encode`, or CorruptStreamError."""
        return np.ascontiguousarray(self.quantizers.tables.decode(payload, n_rows).T)

    def describe(self):
        """The code in plain numbers, for fingerprints."""
        return self.quantizers.describe()

    def to_state(self):
        """Arrays and numbers that `from_state` turns back into the same code."""
        return self.quantizers.to_state()

    @classmethod
    def from_state(cls, state):
        return cls(TrellisQuantizers.from_state(state))
