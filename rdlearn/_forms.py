"""Fitted objects as the arrays, numbers and texts that a model file holds, and back."""

import numpy as np

from rdlearn.coding.bits import BitMixture
from rdlearn.coding.latents import ColumnCode, PlaneCode
from rdlearn.coding.quantizers import ScalarQuantizers
from rdlearn.distortions import DISTORTIONS, Distortion

__all__ = ["from_plain", "to_plain"]


def to_plain(value):
    if isinstance(value, Distortion):
        if type(value) not in DISTORTIONS.values():
            raise ValueError(
                f"A model file cannot hold the distortion {value!r}, which rdlearn does not "
                "define; keep the codec with joblib.dump instead."
            )
        return {"__distortion__": value.name, "constants": value.constants()}
    if isinstance(value, ScalarQuantizers):
        return {"__quantizers__": value.to_state()}
    if isinstance(value, BitMixture):
        return {"__bit_mixture__": value.to_state()}
    if isinstance(value, ColumnCode):
        return {"__columns__": value.to_state()}
    if isinstance(value, PlaneCode):
        return {"__planes__": value.to_state()}
    if isinstance(value, dict):
        # A history: eight bytes a number where JSON would take twenty.
        return {name: np.asarray(items) for name, items in value.items()}
    if isinstance(value, tuple):
        return {"__tuple__": list(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"__text__": value.tolist()}
    return value


def from_plain(value):
    if isinstance(value, dict) and "__distortion__" in value:
        return DISTORTIONS[value["__distortion__"]](**value["constants"])
    if isinstance(value, dict) and "__quantizers__" in value:
        return ScalarQuantizers.from_state(value["__quantizers__"])
    if isinstance(value, dict) and "__bit_mixture__" in value:
        return BitMixture.from_state(value["__bit_mixture__"])
    if isinstance(value, dict) and "__columns__" in value:
        return ColumnCode.from_state(value["__columns__"])
    if isinstance(value, dict) and "__planes__" in value:
        return PlaneCode.from_state(value["__planes__"])
    if isinstance(value, dict) and "__tuple__" in value:
        return tuple(value["__tuple__"])
    if isinstance(value, dict) and "__text__" in value:
        return np.array(value["__text__"], dtype=str)
    return value
