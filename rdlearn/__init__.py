"""Rate-distortion for people who use scikit-learn."""

from rdlearn._echo import EchoAutoencoder
from rdlearn._echo_classifier import EchoClassifier
from rdlearn._pca import PCACodec
from rdlearn._saving import load
from rdlearn._variational import VariationalAutoencoder
from rdlearn._version import __version__
from rdlearn.exceptions import CorruptStreamError

__all__ = [
    "CorruptStreamError",
    "EchoAutoencoder",
    "EchoClassifier",
    "PCACodec",
    "VariationalAutoencoder",
    "__version__",
    "load",
]
