"""VariationalAutoencoder: the baseline with a Gaussian code, or with an autoregressive flow."""

from numbers import Integral

import numpy as np
from scipy.special import ndtri

from rdlearn._autoencoder import Autoencoder
from rdlearn._sklearn import Interval, StrOptions
from rdlearn.channels.flow import FlowChannel
from rdlearn.channels.gaussian import GaussianChannel
from rdlearn.exceptions import CorruptStreamError

__all__ = ["VariationalAutoencoder"]


class VariationalAutoencoder(Autoencoder):
    r"""Autoencoder with Gaussian noise and a standard normal prior: the usual baseline.

    The code of a row is drawn from :math:`q(z | x) = N(\mu(x), \sigma(x)^2)`, and the rate is the
    divergence of that from the prior :math:`p = N(0, 1)`, an upper bound on the information in
    the code. With ``flow="iaf"`` the code passes through inverse autoregressive steps, and the
    rate is :math:`\ln q(z | x) - \ln p(z)` at the sampled codes. Nets and training are those of
    `EchoAutoencoder`.

    Parameters
    ----------
    n_components : int, default=16
        Size of the bottleneck.
    flow : {None, "iaf"}, default=None
    n_flow_steps : int, default=4
        Steps of the flow, each a masked net with max(64, 4 n_components) hidden units.
    beta, distortion, hidden_layer_sizes, activation, learning_rate_init, batch_size, max_iter, \
            n_draws, shuffle, early_stopping, validation_fraction, tol, n_iter_no_change, \
            warm_start, target_rate, target_distortion, binarize, standardize, resolution, \
            data_range, random_state, device, verbose
        As in `EchoAutoencoder`, with the same defaults.

    Attributes
    ----------
    params_ : ndarray, float32
        All weights and biases in one vector: encoder, channel, decoder.
    mean_, scale_, sign_, n_components_, beta_, distortion_, distortion_per_feature_, \
            noise_scale_, resolution_, n_iter_, history_, n_features_in_, feature_names_in_, \
            feature_dtypes_
        As in `EchoAutoencoder`.

    References
    ----------
    Kingma, Welling, "Auto-encoding variational Bayes", ICLR 2014; Kingma et al., "Improved
    variational inference with inverse autoregressive flow", NeurIPS 2016.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from rdlearn import VariationalAutoencoder
    >>> X = load_digits().data
    >>> codec = VariationalAutoencoder(8, beta=0.02, max_iter=20, random_state=0).fit(X)
    >>> codec.transform(X).shape
    (1797, 8)
    """

    _parameter_constraints: dict = {
        **Autoencoder._parameter_constraints,
        "flow": [None, StrOptions({"iaf"})],
        "n_flow_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components=16,
        *,
        beta=1.0,
        flow=None,
        n_flow_steps=4,
        distortion="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        learning_rate_init=0.002,
        batch_size="auto",
        max_iter=200,
        n_draws=4,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        tol=1e-4,
        n_iter_no_change=10,
        warm_start=False,
        target_rate=None,
        target_distortion=None,
        binarize=None,
        standardize=False,
        resolution=None,
        data_range=None,
        random_state=None,
        device="cpu",
        verbose=False,
    ):
        self.n_components = n_components
        self.beta = beta
        self.flow = flow
        self.n_flow_steps = n_flow_steps
        self.distortion = distortion
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.n_draws = n_draws
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.target_rate = target_rate
        self.target_distortion = target_distortion
        self.binarize = binarize
        self.standardize = standardize
        self.resolution = resolution
        self.data_range = data_range
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _channel(self):
        if self.flow_ is None:
            return GaussianChannel(self.n_components_)
        return FlowChannel(self.n_components_, self.n_flow_steps_)

    def _channel_shape(self):
        return {"flow_": self.flow, "n_flow_steps_": int(self.n_flow_steps)}

    @property
    def _channel_samples_rate(self):
        return self.flow_ is not None

    def _check_state(self):
        if self.flow_ not in (None, "iaf") or type(self.n_flow_steps_) is not int:
            raise CorruptStreamError("The model's flow is impossible.")
        # A step has more parameters than this.
        most = self.params_.size // 256 if self.flow_ else 10**6
        if not 1 <= self.n_flow_steps_ <= most:
            raise CorruptStreamError("The model's flow does not fit its parameters.")
        super()._check_state()

    def _noise(self, keys, bits_of):
        # Half a step off zero, so that no draw is infinite.
        uniform = (bits_of(self.n_components_) + 0.5) * 2.0**-32
        return ndtri(uniform).astype(np.float32)

    def _mean_noise(self):
        return np.zeros(self.n_components_, dtype=np.float32)
