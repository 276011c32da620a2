"""EchoAutoencoder: an autoencoder whose rate is exact."""

from numbers import Integral

import numpy as np

from rdlearn._autoencoder import Autoencoder
from rdlearn._moments import Moments
from rdlearn._sklearn import Interval
from rdlearn._validation import explain_far
from rdlearn.channels.diagonal_echo import DiagonalEchoChannel
from rdlearn.channels.echo import EchoChannel
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels.echo import POOL_WORDS, pool_chain, pool_noise

__all__ = ["EchoAutoencoder", "EchoMixin"]


class EchoMixin:
    """Echo noise of new rows, drawn from a pool of training codes that is part of the model."""

    def _channel(self):
        if self.noise_terms_ is not None:
            return DiagonalEchoChannel(self.n_components_, self.noise_terms_)
        return EchoChannel(self.n_components_, getattr(self, "log_det_", 0.0))

    def _channel_shape(self):
        return {"noise_terms_": self.noise_terms}

    def _learn_noise(self, encoded, keys, population):
        channel = self._channel()
        shift, log_scale = channel.split(encoded)
        shift, scale = shift.copy(), np.exp(log_scale)
        members, everyone = Moments(2 * self.n_components_), Moments(2 * self.n_components_)
        members.update(np.hstack([shift, scale]))
        for block in population:
            f, log_s = channel.split(block)
            everyone.update(np.hstack([f, np.exp(log_s)]))
        mean, mixing, log_det, centre, deviation = channel.mix(everyone, members)
        mean, mixing = mean.astype(np.float32), mixing.astype(np.float32)
        chains = np.empty((2, *shift.shape), dtype=np.float32)
        pool = (shift, scale, mean, mixing)
        for chain, step in zip(chains, (-1, 1), strict=True):
            pool_chain(*pool, (centre + step * deviation).astype(np.float32), step, chain)
        # The places of a chain depend on each other, so that their variances are a few per cent
        # off. Codes that are put before them keep the moments that they find.
        spread = chains.std(axis=(0, 1), dtype=np.float64)
        gain = np.divide(deviation, spread, out=np.ones_like(spread), where=spread > 0)
        chains[:] = centre + gain * (chains - chains.mean(axis=(0, 1), dtype=np.float64))
        return {
            "pool_shift_": shift,
            "pool_scale_": scale,
            "pool_mean_": mean,
            "mixing_": mixing,
            "log_det_": log_det,
            "pool_chains_": chains,
            "pool_keys_": keys,
        }

    def set_noise_pool(self, X):
        """Draw the noise from the codes of other rows than those of training.

        Code and noise have one law, and the rate is exact, where the rows to be coded come from
        the population of the pool. Held-out rows of another population than the training rows,
        or that nets have not learned by heart as they have those, are measured exactly after
        this with such rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows. The noise is made of 2000 of them at random, and has the mean and
            covariance that all of them give. They may be those that are coded later: none becomes
            part of its own noise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            X has one row only, or a row too far from those of training.
        """
        X = self._check_input(X)
        if len(X) < 2:
            raise ValueError(
                f"The noise of a row is made of other rows, but X has {len(X)}; pass 2 or more."
            )
        _, _, encoded, keys = self._encode(X)
        self._refuse_far(X, encoded)
        # In random order: tables are often sorted, and runs of equal rows make noise grow.
        pool = np.random.Generator(np.random.Philox(self.noise_seed_)).permutation(len(X))
        pool = pool[: self._pool_rows]
        try:
            noise = self._learn_noise(encoded[pool], keys[pool], [encoded])
        except np.linalg.LinAlgError:
            # One row's code is so far out that the others' are equal beside it.
            names = list(getattr(self, "feature_names_in_", range(X.shape[1])))
            raise explain_far(X, self.mean_, self._units(), names, 0) from None
        vars(self).update(noise)
        return self

    def _noise(self, keys, bits_of):
        # The row itself, where it is in the pool: equal rows are as good as it.
        order = np.argsort(self.pool_keys_, kind="stable")
        place = np.searchsorted(self.pool_keys_, keys, sorter=order)
        own = order[np.minimum(place, len(order) - 1)]
        own = np.where(self.pool_keys_[own] == keys, own, -1)
        noise = np.empty((len(keys), self.n_components_), dtype=np.float32)
        pool = (self.pool_shift_, self.pool_scale_, self.pool_mean_, self.mixing_)
        pool_noise(*pool, self.pool_chains_, own, bits_of(POOL_WORDS), noise)
        return noise

    def _mean_noise(self):
        means = (self.pool_shift_.mean(axis=0), self.pool_scale_.mean(axis=0))
        code = means[0] + means[1] * self.pool_chains_.mean(axis=(0, 1)) - self.pool_mean_
        return self.mixing_ @ code

    def _check_state(self):
        super()._check_state()
        m, k, terms = self.pool_keys_.size, self.n_components_, self.noise_terms_
        if not (terms is None or (type(terms) is int and terms >= 1)):
            raise CorruptStreamError("The model's noise_terms_ is impossible.")
        for array, shape in (
            (self.pool_shift_, (m, k)),
            (self.pool_scale_, (m, k)),
            (self.pool_mean_, (k,)),
            (self.mixing_, (k, k)),
            (self.pool_chains_, (2, m, k)),
        ):
            if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
                raise CorruptStreamError("The model's pool of noise does not fit together.")
        keys = self.pool_keys_
        finite = type(self.log_det_) is float and np.isfinite(self.log_det_)
        # A noise is drawn from the other members of the pool, so that there must be some.
        if m < 2 or keys.ndim != 1 or keys.dtype != np.uint64 or not finite:
            raise CorruptStreamError("The model's pool of noise is out of range.")


class EchoAutoencoder(EchoMixin, Autoencoder):
    r"""Autoencoder with echo noise, whose rate is the exact information in its code.

    The code is :math:`z = f(x) + \mathrm{diag}(\sigma(x)) \epsilon`, and the noise is the code
    :math:`z'` of another row, with noise of its own, centred and made white:
    :math:`\epsilon = M (z' - m)`. So :math:`\epsilon` has the law of :math:`M (z - m)`, and

    .. math::

        I(X; Z) = -E \sum_j \ln \sigma_j(x) - \ln |\det M|

    exactly, with no assumption on that law. Encoder and decoder are dense nets, trained by Adam
    on ``rate[nats] + beta * distortion``.

    A column whose training values were all at least 0, or all at most 0, is reconstructed on that
    side of 0.

    The rate is a statement about the population that the rows are drawn from: on n stored rows,
    no code carries more than ln n nats about which of them it was.

    Parameters
    ----------
    n_components : int, default=16
        Size of the bottleneck.
    beta : float, default=1.0
        Price of distortion: nats of rate per unit of distortion, ``-dR/dD``. Larger beta: more
        bits, less loss. Where a target is given, the start of the search.
    distortion : {"squared_error", "absolute_error", "bernoulli"} or Distortion, \
            default="squared_error"
        What is lost, summed over features. "bernoulli" takes values in [0, 1] and is in nats. A
        Distortion of your own needs a gradient.
    hidden_layer_sizes : array-like of int, default=(100,)
        Widths of the encoder's hidden layers; the decoder has them in reverse. () gives linear
        maps.
    activation : {"relu", "tanh", "softplus", "logistic", "identity"}, default="relu"
    learning_rate_init : float, default=0.002
        Rises linearly at first, is constant until half of the steps, then falls along a cosine.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch; "auto" is min(100, n_samples).
    max_iter : int, default=200
        Epochs. The schedules of the learning rate and of the price of the rate, which in a fresh
        fit grows from nothing over the first half of the steps, are laid out over all of them.
    noise_terms : int, default=None
        None ends the noise of a batch in a code stored from an earlier batch, and makes it white:
        no floor of the rate but 0.001 nats per component. A number takes a diagonal S and cuts
        every noise off after that many terms, as published; the clip of S that this needs is a
        floor of the rate, 0.18 nats per component at 99 terms.
    n_draws : int, default=4
        Draws of the noise that distortions and scores are a mean over, at most 10,000. They depend
        on the model and on what is in a row: equal rows share them, and want more of them.
    shuffle : bool, default=True
        Whether rows are shuffled in each epoch.
    early_stopping : bool, default=False
        Whether to stop when the objective of held-out rows, in the second half of the schedule,
        has not improved by `tol` for `n_iter_no_change` epochs, and keep the best weights.
    validation_fraction : float, default=0.1
    tol : float, default=1e-4
        In nats.
    n_iter_no_change : int, default=10
    warm_start : bool, default=False
        Whether `fit` starts from the parameters of the last fit, and a target's search from its
        `beta_`.
    target_rate : float, default=None
        Bits per training sample; `fit` adapts `beta_` so that the rate lies between 0.95 and 1.0
        of the target, never above.
    target_distortion : float, default=None
        Mean distortion on the training data; met likewise.
    binarize : {None, "sample"}, default=None
        "sample" draws each training value anew as 0 or 1 in each epoch, with the value as the
        probability of 1; for distortion "bernoulli". Whatever is measured is measured on bits
        too, drawn once by what is in a row; a table of bits stays what it is.
    standardize : bool, default=False
        Measure distortion in units of each feature's standard deviation.
    resolution : float or array-like of shape (n_features,), default=None
        Width of the cells whose probability `score` takes; None learns the smallest gap between
        distinct training values of each feature.
    data_range : float, default=None
        Difference of the largest and smallest possible value; needed by `psnr_db` only.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, order and noise. The same seed gives the same fit, to the bit, on the same
        machine.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where `fit` computes; "cuda" needs a GPU and ``pip install 'rdlearn[cuda]'``, "auto" takes
        one where it works. All else is on the CPU, and in each step a Distortion of your own.
    verbose : bool or int, default=False
        Whether to show a progress bar with rate and distortion on stderr.

    Attributes
    ----------
    params_ : ndarray, float32
        All weights and biases in one vector: encoder, channel, decoder.
    pool_shift_, pool_scale_ : ndarray of shape (n_pool, n_components_), float32
        f and sigma of up to 2000 training rows, which the noise of new rows is made of.
    pool_chains_ : ndarray of shape (2, n_pool, n_components_), float32
        Noise that chains down and up the pool make, shifted and scaled to have the mean and the
        variance of the population's noise.
    pool_keys_ : ndarray of shape (n_pool,), uint64
        What these rows are recognised by: none becomes part of its own noise.
    pool_mean_, mixing_ : ndarray of shape (n_components_,) and (n_components_, n_components_)
        Noise is ``mixing_ @ (code - pool_mean_)`` of another row's code.
    log_det_ : float
        ln |det M| of the formula above, from the codes of all training rows. `mixing_` is M as
        the codes of the pool have it, whose covariance differs by chance from that of all.
    mean_, scale_ : ndarray of shape (n_features_in_,), float64
        Mean and standard deviation of each feature.
    sign_ : ndarray of shape (n_features_in_,), int8
        1 where no training value was negative, -1 where none was positive, else 0. No
        reconstruction lies on the other side of 0.
    n_components_ : int
    beta_ : float
        The price in force: `beta`, or what the target led to.
    distortion_ : Distortion
    distortion_per_feature_ : ndarray of shape (n_features_in_,), float64
    noise_scale_ : float
        Scale of the distortion's noise model, fitted on the training residual.
    resolution_ : ndarray of shape (n_features_in_,), float64
    n_iter_ : int
        Epochs.
    history_ : DataFrame
        rate_bits, distortion, objective in nats and beta of each epoch, means while the weights
        changed and, in the first half, before the rate had its full price; with early stopping
        also validation_objective.
    n_features_in_, feature_names_in_, feature_dtypes_
        What `fit` saw; names and dtypes for DataFrames only.

    References
    ----------
    Brekelmans, Moyer, Galstyan, Ver Steeg, "Exact rate-distortion in autoencoders via echo
    noise", NeurIPS 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from rdlearn import EchoAutoencoder
    >>> X = load_digits().data
    >>> codec = EchoAutoencoder(8, beta=0.02, max_iter=20, random_state=0).fit(X)
    >>> codec.transform(X).shape
    (1797, 8)
    >>> 5 < codec.rate(X) < 40
    True
    """

    _parameter_constraints: dict = {
        **Autoencoder._parameter_constraints,
        "noise_terms": [None, Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_components=16,
        *,
        beta=1.0,
        distortion="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        learning_rate_init=0.002,
        batch_size="auto",
        max_iter=200,
        noise_terms=None,
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
        self.distortion = distortion
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.noise_terms = noise_terms
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
