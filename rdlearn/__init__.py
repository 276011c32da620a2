"""Rate-distortion for people who use scikit-learn."""

# First, since the rest takes long to import and Ctrl-C may come in that time.
from rdlearn import _interrupts  # noqa: F401
from rdlearn._blahut_arimoto import BlahutArimotoResult, blahut_arimoto
from rdlearn._dbn import DBNBlahutArimoto
from rdlearn._echo import EchoAutoencoder
from rdlearn._echo_classifier import EchoClassifier
from rdlearn._finite_source import BlahutArimoto
from rdlearn._pca import PCACodec
from rdlearn._rbm import RestrictedBoltzmannMachine
from rdlearn._saving import load
from rdlearn._uniform_noise import UniformNoiseCodec
from rdlearn._variational import VariationalAutoencoder
from rdlearn._version import __version__
from rdlearn.exceptions import CorruptStreamError

__all__ = [
    "BlahutArimoto",
    "BlahutArimotoResult",
    "CorruptStreamError",
    "DBNBlahutArimoto",
    "EchoAutoencoder",
    "EchoClassifier",
    "PCACodec",
    "RestrictedBoltzmannMachine",
    "UniformNoiseCodec",
    "VariationalAutoencoder",
    "__version__",
    "blahut_arimoto",
    "load",
]
