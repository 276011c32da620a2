"""RestrictedBoltzmannMachine: a model of bits whose likelihood is a ratio of two sums."""

from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted

from rdlearn._binary import BinaryMixin, log_odds
from rdlearn._boltzmann import EXACT_UNITS, Machine, Trainer, exact_is_quick
from rdlearn._console import Progress
from rdlearn._likelihood import LikelihoodMixin
from rdlearn._saving import SavingMixin
from rdlearn._sklearn import Interval, StrOptions, fit_context
from rdlearn._threads import one_blas_thread
from rdlearn._validation import validated
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import device_note, get_ops
from rdlearn.nets.layers import Workspace

__all__ = ["RestrictedBoltzmannMachine"]

# Deviation of the weights at the start.
INITIAL_SCALE = 0.01
# The learning rate of the last epoch, as a part of the first.
LAST_RATE = 0.05


class RestrictedBoltzmannMachine(
    LikelihoodMixin,
    BinaryMixin,
    SavingMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    BaseEstimator,
):
    r"""Model of bits v by hidden bits h, :math:`p(v, h) \propto e^{v^T W h + b^T v + c^T h}`.

    Trained by stochastic ascent of the likelihood, whose gradient is a mean over the data minus
    one over the model.

    Parameters
    ----------
    n_components : int, default=256
        Hidden units.
    gradient : {"auto", "exact", "cd", "pcd"}, default="auto"
        The mean over the model: "exact" sums over all states of the smaller layer, of at most 12
        units; "cd" takes chains of `n_gibbs` steps that start at the data (contrastive
        divergence, Hinton 2002); "pcd" chains that go on through the whole fit (Tieleman 2008).
        "auto" is "exact" where that is quick (states times units of the other layer at most
        2**18), else "pcd".
    n_gibbs : int, default=1
    learning_rate_init : float, default=0.1
        Falls geometrically, to a twentieth in the last epoch.
    momentum : float, default=0.5
        Memory of the running mean of gradients, in [0, 1).
    weight_decay : float, default=1e-4
    batch_size : int, default=100
    max_iter : int, default=20
        Epochs.
    binarize : {None, float, "sample"}, default=None
        What makes bits of X: nothing, a threshold that ones exceed, or "sample", which takes
        values as probabilities of 1 and draws anew in each epoch; outside of fit the draw depends
        on what is in a row.
    warm_start : bool, default=False
    random_state : int, RandomState instance or None, default=None
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where `fit` computes; "cuda" needs a GPU and ``pip install 'rdlearn[cuda]'``, "auto" takes
        one where it works. All else is on the CPU.
    verbose : int, default=0

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features), float32
        The transpose of W.
    intercept_visible_, intercept_hidden_ : ndarray, float32
        b and c.
    base_ : ndarray of shape (n_features,)
        Log odds of the training bits, where annealing starts.
    gradient_ : str
    n_iter_ : int
    history_ : DataFrame
        `reconstruction_error` of each epoch: squared error of a row of a batch.
    n_features_in_ : int
    feature_names_in_ : ndarray of str

    Examples
    --------
    >>> import numpy as np
    >>> from rdlearn import RestrictedBoltzmannMachine
    >>> rng = np.random.default_rng(0)
    >>> first = rng.integers(0, 2, size=(2000, 1))
    >>> X = np.hstack([first, first, first])
    >>> rbm = RestrictedBoltzmannMachine(2, learning_rate_init=1.0, max_iter=100, random_state=0)
    >>> bits = -rbm.fit(X).score(X) / np.log(2)
    >>> bool(1.0 <= bits < 1.1)  # one bit says it all
    True
    """

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "gradient": [StrOptions({"auto", "exact", "cd", "pcd"})],
        "n_gibbs": [Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        **BinaryMixin._parameter_constraints,
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=256,
        *,
        gradient="auto",
        n_gibbs=1,
        learning_rate_init=0.1,
        momentum=0.5,
        weight_decay=1e-4,
        batch_size=100,
        max_iter=20,
        binarize=None,
        warm_start=False,
        random_state=None,
        device="cpu",
        verbose=0,
    ):
        self.n_components = n_components
        self.gradient = gradient
        self.n_gibbs = n_gibbs
        self.learning_rate_init = learning_rate_init
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.binarize = binarize
        self.warm_start = warm_start
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn the law of the rows of a table of bits.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            X holds what `binarize` does not take, or gradient="exact" has too many units.
        """
        with self._unchanged_on_failure():
            X = self._validate(X, reset=True)
            self._learn(X)
        return self

    def _learn(self, X):
        d = X.shape[1]
        smaller = min(d, self.n_components)
        if self.gradient == "exact" and smaller > EXACT_UNITS:
            raise ValueError(
                f"gradient='exact' goes over all states of {smaller} units, but {EXACT_UNITS} are "
                "the most; use 'cd' or 'pcd'."
            )
        kind = self.gradient
        if kind == "auto":
            kind = "exact" if exact_is_quick(d, self.n_components) else "pcd"
        again = self.warm_start and hasattr(self, "components_")
        if again and self.components_.shape != (self.n_components, d):
            raise ValueError(
                f"warm_start=True cannot change n_components={len(self.components_)} and "
                f"{self.components_.shape[1]} features of the fitted model to "
                f"{self.n_components} and {d}; set warm_start=False to start over."
            )
        generator = check_random_state(self.random_state)
        rng = np.random.Generator(np.random.Philox(generator.randint(2**31 - 1)))
        mean = self._bits(X).mean(axis=0, dtype=np.float64)
        machine = self._machine() if again else Machine(d, self.n_components)
        if not again:
            machine.init(rng, mean, INITIAL_SCALE)
        ops = get_ops(self.device)
        live = machine.on(ops)
        trainer = Trainer(
            live,
            kind,
            self.n_gibbs,
            self.momentum,
            self.weight_decay,
            int(rng.integers(1 << 62)),
            self.device,
        )
        progress, errors = Progress(), []
        if self.verbose and self.device != "cpu":
            progress.show(f"device={self.device!r}: training on {device_note(self.device)}")
        with one_blas_thread():
            for epoch in range(self.max_iter):
                if epoch == 0 or self.binarize == "sample":
                    bits = ops.to_device(self._bits(X, rng).astype(np.float32))
                rate = self.learning_rate_init * LAST_RATE ** (epoch / max(1, self.max_iter - 1))
                errors.append(trainer.epoch(bits, rate, min(self.batch_size, len(X)), rng))
                if not np.isfinite(live.params).all():
                    raise ValueError(
                        f"The weights were not finite after epoch {epoch + 1}; lower "
                        f"learning_rate_init={self.learning_rate_init:g}."
                    )
                if self.verbose:
                    progress.show(f"epoch {epoch + 1}/{self.max_iter}: error {errors[-1]:.5g}")
        if self.verbose:
            progress.clear()
        machine.params[:] = ops.to_host(live.params)
        self.components_ = machine.weights.T.copy()
        self.intercept_visible_ = machine.visible.copy()
        self.intercept_hidden_ = machine.hidden.copy()
        self.base_ = log_odds(mean, len(X))
        self.gradient_, self.n_iter_ = kind, self.max_iter
        self._history = {"reconstruction_error": errors}

    def _validate(self, X, reset=False):
        X = validated(self, X, reset)
        self._check_binary(X)
        return X

    def _read(self, X):
        """Bits of new rows, float32, and the dtype they came in."""
        check_is_fitted(self)
        X = self._validate(X)
        return self._bits(X).astype(np.float32), X.dtype

    def _machine(self):
        machine = Machine(self.components_.shape[1], len(self.components_))
        machine.weights[:] = self.components_.T
        machine.visible[:], machine.hidden[:] = self.intercept_visible_, self.intercept_hidden_
        return machine

    def transform(self, X):
        """Probabilities of the hidden units.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        H : ndarray of shape (n_samples, n_components), dtype of X
            A row's result does not depend on the other rows.
        """
        bits, dtype = self._read(X)
        return self._machine().up(bits, Workspace(by_rows=True)).astype(dtype)

    def inverse_transform(self, H):
        """Probabilities of the visible units under hidden units, or under their probabilities.

        Parameters
        ----------
        H : array-like of shape (n_samples, n_components)

        Returns
        -------
        V : ndarray of shape (n_samples, n_features), dtype of H
        """
        check_is_fitted(self)
        H = check_array(H, dtype=[np.float64, np.float32], order="C", input_name="H")
        if H.shape[1] != len(self.components_):
            raise ValueError(
                f"H has {H.shape[1]} columns, but this machine has {len(self.components_)} hidden "
                "units; pass what transform returned."
            )
        if not ((H >= 0) & (H <= 1)).all():
            raise ValueError(
                f"H contains {H[(H < 0) | (H > 1)][0]:g}, but hidden units are 0 or 1, and their "
                "probabilities between; pass what transform returned."
            )
        return self._machine().down(H.astype(np.float32), Workspace(by_rows=True)).astype(H.dtype)

    def _check_state(self):
        super()._check_state()
        weights, d = self.components_, self.n_features_in_
        shapes = {
            "components_": (np.float32, (len(self.intercept_hidden_), d)),
            "intercept_visible_": (np.float32, (d,)),
            "intercept_hidden_": (np.float32, (len(weights),)),
            "base_": (np.float64, (d,)),
        }
        for name, (dtype, shape) in shapes.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape or not np.isfinite(array).all():
                raise CorruptStreamError(f"The model's {name} does not fit, or is not finite.")
        if len(weights) < 1:
            raise CorruptStreamError("The model has no hidden units.")

    @property
    def _n_features_out(self):
        return len(self.components_)
