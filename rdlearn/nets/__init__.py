"""Layers, networks and the optimizer: explicit state, backward beside forward."""
