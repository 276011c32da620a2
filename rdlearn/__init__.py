"""Rate-distortion for people who use scikit-learn."""

from rdlearn._version import __version__

__all__ = ["__version__"]
