"""Fitted objects as the arrays, numbers and texts that a model file holds, and back."""

import numpy as np

from rdlearn.coding.bits import BitMixture
from rdlearn.coding.centers import CenterCode
from rdlearn.coding.latents import ColumnCode, PlaneCode
from rdlearn.coding.quantizers import ScalarQuantizers
from rdlearn.coding.trellis import TrellisQuantizers
from rdlearn.coding.trellis_columns import TrellisColumnCode
from rdlearn.coding.trellis_planes import TrellisPlaneCode
from rdlearn.distortions import DISTORTIONS, Distortion

__all__ = ["from_plain", "to_plain"]

# What says itself how it is kept, by the name that its state has in a file.
STATES = {
    "__quantizers__": ScalarQuantizers,
    "__trellis__": TrellisQuantizers,
    "__bit_mixture__": BitMixture,
    "__columns__": ColumnCode,
    "__trellis_columns__": TrellisColumnCode,
    "__planes__": PlaneCode,
    "__trellis_planes__": TrellisPlaneCode,
    "__centers__": CenterCode,
}


def to_plain(value):
    if isinstance(value, Distortion):
        if type(value) not in DISTORTIONS.values():
            raise ValueError(
                f"A model file cannot hold the distortion {value!r}, which rdlearn does not "
                "define; keep the codec with joblib.dump instead."
            )
        return {"__distortion__": value.name, "constants": value.constants()}
    for name, kind in STATES.items():
        if type(value) is kind:
            return {name: value.to_state()}
    if isinstance(value, dict):
        # A history: eight bytes a number where JSON would take twenty.
        return {name: np.asarray(items) for name, items in value.items()}
    if isinstance(value, tuple):
        return {"__tuple__": list(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return {"__text__": value.tolist()}
    return value


def from_plain(value):
    if not isinstance(value, dict):
        return value
    for name, kind in STATES.items():
        if name in value:
            return kind.from_state(value[name])
    if "__distortion__" in value:
        return DISTORTIONS[value["__distortion__"]](**value["constants"])
    if "__tuple__" in value:
        return tuple(value["__tuple__"])
    if "__text__" in value:
        return np.array(value["__text__"], dtype=str)
    return value
