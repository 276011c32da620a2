"""Errors that users catch."""

__all__ = ["CorruptStreamError"]


class CorruptStreamError(ValueError):
    """A stream or model file is damaged, truncated, hostile, or belongs to another model."""
