"""DBNBlahutArimoto: a deep belief network fitted to the optimal reproduction, and its bits."""

from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state

from rdlearn._belief_net import BeliefNet
from rdlearn._binary import BinaryMixin, log_odds, tilt_towards
from rdlearn._bottleneck import BottleneckMixin
from rdlearn._console import Progress
from rdlearn._discrete import DiscreteCodec
from rdlearn._objective import hidden_sizes
from rdlearn._sklearn import Interval, StrOptions
from rdlearn._threads import one_blas_thread
from rdlearn._tilted_channel import TiltedChannelMixin
from rdlearn.distortions import Distortion
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import device_note, get_ops

__all__ = ["DBNBlahutArimoto"]

# The learning rate of the last round, as a part of the first.
LAST_RATE = 0.03
# Epochs on the data themselves before the first round, in rounds.
FIRST_ROUNDS = 3
# Gibbs steps that the parameter may ask for: a model from a file must not ask for years of them.
MOST_STEPS = 10_000
# Rows that the estimate in `fit` is a mean over, and numbers that it looks at for each, at most.
ESTIMATE_ROWS, ESTIMATE_NUMBERS = 500, 1 << 18


class DBNBlahutArimoto(TiltedChannelMixin, BottleneckMixin, BinaryMixin, DiscreteCodec):
    r"""Blahut-Arimoto on tables of bits, with a deep belief network as the law of Y (Li & Chen).

    The best channel at a price beta is :math:`\mu(y | x) \propto \mu(y) e^{-\beta d(x, y)}`, whose
    marginal is :math:`\mu(y)` again. So rounds of two steps: draw y for every x from the network
    tilted towards x, which shifts the biases of its visible units; train the network on the y.
    Exact for one hidden layer; with more, the tilt of the visible biases alone is not the law
    :math:`\mu(y | x)`, and y is drawn by passes up and down that start at x.

    The network is then unrolled to an autoencoder with a bottleneck of `n_components` bits, and
    fine-tuned to reproduce y. With beta = inf, y is x, and this is Hinton & Salakhutdinov's
    autoencoder (Science 2006); beta = 0 makes Y independent of X. (The paper calls the lossless
    end beta = 0, against its own equation.) Codewords are bits, packed by a learned model of their
    joint law.

    Parameters
    ----------
    n_components : int, default=16
        Bits of the bottleneck, the units of the last hidden layer.
    hidden_layer_sizes : array-like of int, default=()
        Units of the layers between the data and the bottleneck.
    beta : float, default=4.0
        Price of distortion in nats per unit, from 0 to inf: larger beta, y closer to x. The
        bottleneck alone is served as well by inf, which saves the draws of y.
    distortion : "hamming" or Hamming, default="hamming"
        With costs a of a 1 for a 0 and b of a 0 for a 1. An infinite cost bars its flip in
        `reproduce` and in the estimate; there is no bottleneck code then, which could not promise
        that of new rows.
    max_iter : int, default=20
        Rounds.
    n_epochs : int, default=4
        Epochs of each layer in a round.
    n_gibbs : int, default=10
        Gibbs steps, or passes, that draw y, and steps of contrastive divergence. Machines of few
        states are trained by the exact gradient instead. At most 10,000.
    batch_size : int or "auto", default="auto"
        "auto" is a twentieth of the rows, but 10 to 100.
    learning_rate_init : float, default=0.3
        Of the rounds; falls geometrically.
    fine_tune_epochs : int or "auto", default="auto"
        Epochs of the autoencoder; 0 leaves it as unrolled. "auto" takes about 5000 steps, but 20 to
        1000 epochs.
    fine_tune_learning_rate : float, default=0.004
        Of Adam; falls by a cosine over the second half.
    encoder_search : {"auto", "all", "flips", None}, default="auto"
        Whether codewords are tried against the decoder: "all" of them (at most 12 bits), "flips"
        of single bits of the encoder's word, or None: the encoder's word. What counts is the
        distortion and, at ln 2 / beta (for "flips" at least half a flip) a bit, the code's length.
        "auto" is "all" where that is possible, else "flips". With "all", `fit` ends with rounds in
        which the decoder learns from the words that the search finds, as Lloyd's quantizer does,
        and the encoder then learns those words (unless `fine_tune_epochs` is 0).
    binarize : {None, float, "sample"}, default=None
        What makes bits of X: nothing, a threshold that ones exceed, or "sample", which takes
        values as probabilities of 1 and draws anew in each epoch; outside of fit the draw depends
        on what is in a row.
    warm_start : bool, default=False
        Whether `fit` starts from the last fit. `beta` may change in between, and `n_components`,
        with which the top machine starts afresh and the bottleneck keeps what bits it can.
    random_state : int, RandomState instance or None, default=None
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where `fit` computes; "cuda" needs a GPU and ``pip install 'rdlearn[cuda]'``, "auto" takes
        one where it works. All else is on the CPU.
    verbose : int, default=0

    Attributes
    ----------
    rate_distortion_estimate_ : dict or None
        `rate_bits`, `distortion`, `rate_bits_error`, `distortion_error` of mu(y | x), a mean over
        at most 500 training rows, by equation (4) of the paper; None where the exact sums are
        long, for which there is `estimate_rate_distortion`.
    history_ : DataFrame
        `stage` 0 for rounds, 1 for fine-tuning, 2 for the rounds with the search, and the
        `loss` of its steps: mean squared error of the first machine's reconstructions,
        cross-entropy of the autoencoder, or at the very end of the encoder's words, in nats.
    beta_ : float
    stack_, sizes_ : ndarray
        Parameters of the machines, one after the other, and units of the layers.
    params_ : ndarray
        Parameters of the autoencoder.
    mixture_ : BitMixture
        The law of its bits.
    base_ : ndarray of shape (n_features,)
        Log odds of the training bits, where annealing starts.
    n_iter_ : int
        Rounds, without the epochs on the data themselves before them.
    n_features_in_ : int

    References
    ----------
    Li and Chen, "Learning to Compress Using Deep AutoEncoder", 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from rdlearn import DBNBlahutArimoto
    >>> rng = np.random.default_rng(0)
    >>> words = rng.integers(0, 2, size=(4, 20))[rng.integers(0, 4, size=1000)]
    >>> X = words ^ (rng.random(words.shape) < 0.05)
    >>> codec = DBNBlahutArimoto(4, random_state=0).fit(X)
    >>> bool(codec.mean_distortion(X) < 1.2), bool(codec.rate(X) < 2.5)
    (True, True)
    >>> codec.transform(X[:1]).shape
    (1, 4)
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="both")],
        "distortion": [StrOptions({"hamming"}), Distortion],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "n_epochs": [Interval(Integral, 1, None, closed="left")],
        "n_gibbs": [Interval(Integral, 1, MOST_STEPS, closed="both")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "fine_tune_epochs": [StrOptions({"auto"}), Interval(Integral, 0, None, closed="left")],
        "fine_tune_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "encoder_search": [StrOptions({"auto", "all", "flips"}), None],
        **BinaryMixin._parameter_constraints,
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "verbose": ["verbose"],
    }
    _saved = ("_history", "_estimate")
    # Parts of the contract that bits leave no choice about.
    standardize, resolution, data_range = False, None, 1.0
    target_rate = target_distortion = None
    _asked_for_rate = True

    def __init__(
        self,
        n_components=16,
        *,
        hidden_layer_sizes=(),
        beta=4.0,
        distortion="hamming",
        max_iter=20,
        n_epochs=4,
        n_gibbs=10,
        batch_size="auto",
        learning_rate_init=0.3,
        fine_tune_epochs="auto",
        fine_tune_learning_rate=0.004,
        encoder_search="auto",
        binarize=None,
        warm_start=False,
        random_state=None,
        device="cpu",
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.beta = beta
        self.distortion = distortion
        self.max_iter = max_iter
        self.n_epochs = n_epochs
        self.n_gibbs = n_gibbs
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.fine_tune_epochs = fine_tune_epochs
        self.fine_tune_learning_rate = fine_tune_learning_rate
        self.encoder_search = encoder_search
        self.binarize = binarize
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    # Fitting.

    def _validate(self, X, reset=False, ensure_min_samples=1):
        X = super()._validate(X, reset, ensure_min_samples)
        self._check_binary(X)
        if reset:
            # What "sample" draws from, for the time of the fit.
            self._source = X
        return self._bits(X)

    def fit(self, X, y=None):
        """Learn the network, and the bottleneck code, from a table of bits.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            At least two rows of what `binarize` takes.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            X holds what `binarize` does not take, or a parameter does not suit this table.
        """
        try:
            return super().fit(X, y)
        finally:
            vars(self).pop("_source", None)

    def _fit(self, X):
        tilt_towards(X[:1], self.beta, self.distortion_)
        self._check_search(self.n_components)
        sizes = np.concatenate(
            [[X.shape[1]], hidden_sizes(self.hidden_layer_sizes), [self.n_components]]
        )
        again = self._can_go_on(sizes)
        generator = check_random_state(self.random_state)
        rng = np.random.Generator(np.random.Philox(generator.randint(2**31 - 1)))
        mean = X.mean(axis=0, dtype=np.float64)
        net = BeliefNet(sizes.tolist())
        net.init(rng, mean)
        same = again and self.sizes_[-1] == sizes[-1]
        if again:
            # All machines but a top one whose size has changed.
            kept = slice(None if same else net.params.size - net.machines[-1].params.size)
            net.params[kept] = self.stack_[kept]
        self.sizes_, self.stack_, self.beta_ = sizes, net.params, float(self.beta)
        self.n_components_, self.base_ = int(self.n_components), log_odds(mean, len(X))
        losses = {"stage": [], "loss": []}
        with one_blas_thread():
            self._rounds(net, rng, losses, same)
            if self._has_code:
                self._fit_bottleneck(net, X, again, rng, losses)
        self.n_iter_ = self.max_iter
        self._history = losses
        self._estimate = None
        if net.enumerable and net.n_numbers <= ESTIMATE_NUMBERS:
            self._estimate = self._exact_estimate(net, X[:: -(-len(X) // ESTIMATE_ROWS)])

    def _rounds(self, net, rng, losses, trained):
        """Blahut-Arimoto: draw y given x, train on the y; on x before, unless `trained`."""
        ops, progress = get_ops(self.device), Progress()
        live = net.on(ops)
        trainers = live.trainers(self.n_gibbs, rng, self.device)
        if self.verbose and self.device != "cpu":
            progress.show(f"device={self.device!r}: training on {device_note(self.device)}")
        size = self._batch_rows()
        first = int(trained)
        for number in range(first, self.max_iter + 1):
            done = max(0, number - 1) / max(1, self.max_iter - 1)
            rate = self.learning_rate_init * LAST_RATE**done
            if number == first or self.binarize == "sample":
                source = ops.to_device(self._bits(self._source, rng).astype(np.float32))
            bits, epochs = source, self.n_epochs
            if number == 0:
                epochs *= FIRST_ROUNDS
            else:
                bits = self._draw_blocks(live, bits, int(rng.integers(1 << 62)), self.device)
            losses["loss"].append(live.learn(bits, trainers, epochs, rate, size, rng))
            losses["stage"].append(0)
            if not np.isfinite(live.params).all():
                raise ValueError(
                    f"The weights were not finite after round {number}; lower "
                    f"learning_rate_init={self.learning_rate_init:g}."
                )
            if self.verbose:
                progress.show(f"round {number}/{self.max_iter}: {losses['loss'][-1]:.4g}")
        net.params[:] = ops.to_host(live.params)
        if self.verbose:
            progress.clear()

    def _check_state(self):
        super()._check_state()
        sizes = self.sizes_
        if sizes.ndim != 1 or sizes.dtype.kind != "i" or len(sizes) < 2 or np.any(sizes < 1):
            raise CorruptStreamError("The model's layers are out of range.")
        if sizes[0] != self.n_features_in_ or sizes[-1] != self.n_components_:
            raise CorruptStreamError("The model's layers do not fit its columns.")
        counts = [int(d) * int(h) + int(d) + int(h) for d, h in zip(sizes, sizes[1:], strict=False)]
        for array, dtype, size in (
            (self.stack_, np.float32, sum(counts)),
            (self.base_, np.float64, self.n_features_in_),
        ):
            if array.dtype != dtype or array.shape != (size,) or not np.isfinite(array).all():
                raise CorruptStreamError("The model's network does not fit its layers.")
        whole = type(self._estimate) is list and len(self._estimate) == 4
        if self._estimate is not None and not (
            whole and all(type(value) is float for value in self._estimate)
        ):
            raise CorruptStreamError("The model's estimate is no four numbers.")
        self._check_bottleneck()
