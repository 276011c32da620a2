"""Rate-distortion for people who use scikit-learn."""

from rdlearn._pca import PCACodec
from rdlearn._version import __version__
from rdlearn.base import load
from rdlearn.exceptions import CorruptStreamError

__all__ = ["CorruptStreamError", "PCACodec", "__version__", "load"]
