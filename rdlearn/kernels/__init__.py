"""The seam to numba: scalar rules and the loops over them, one theme a file.

Nothing compiles at import: every kernel is lazily typed (read-only arrays and both float
widths are welcome), compiles at its first call and is cached on disk beside its file.
"""

__all__ = ["JIT"]

# nogil: joblib's threads run side by side. error_model: no hidden zero-division branches.
# No fastmath: it would let the compiler reorder sums that decide symbols.
JIT = {"nogil": True, "cache": True, "error_model": "numpy"}
