"""The seam to numba: scalar rules and the loops over them, one theme a file."""
