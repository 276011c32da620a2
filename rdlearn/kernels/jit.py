"""How every kernel is compiled."""

__all__ = ["JIT"]

# nogil: joblib's threads run side by side. error_model: no hidden zero-division branches.
# No fastmath: it would let the compiler reorder sums that decide symbols.
JIT = {"nogil": True, "cache": True, "error_model": "numpy"}
