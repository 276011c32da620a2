"""The seam to numba: scalar rules and the loops over them, one theme a file.

Nothing compiles at import: every kernel is lazily typed (read-only arrays and both float
widths are welcome), compiles at its first call and is cached on disk beside its file.
"""

__all__ = ["get_ops"]


def get_ops(device):
    """The module of operations of a device: "cpu", or "auto" for the best there is."""
    if device == "cuda":
        raise ValueError(
            'device="cuda" is not available in this version; use device="cpu" or device="auto".'
        )
    from rdlearn.kernels import cpu

    return cpu
