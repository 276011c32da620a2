"""What estimators of encoder, noisy channel and decoder share: units, training, codes.

A subclass supplies the channel, the loss, and the noise of a row.
"""

import contextlib
from functools import partial
from numbers import Integral, Real

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from rdlearn._console import EpochBar
from rdlearn._minibatch import PRICE_WARM_UP, Batches, Schedule, minimize
from rdlearn._moments import is_spread
from rdlearn._objective import Objective, dense_net, hidden_sizes
from rdlearn._side_information import SideInformationMixin
from rdlearn._sklearn import CallbackSupportMixin, EpochCallbacks, Interval, StrOptions
from rdlearn._threads import one_blas_thread
from rdlearn._training import warn
from rdlearn._validation import explain_far
from rdlearn.exceptions import CorruptStreamError
from rdlearn.information import bits_to_nats, nats_to_bits
from rdlearn.kernels import device_note
from rdlearn.kernels.elementwise import ACTIVATIONS
from rdlearn.kernels.random import keys_of, row_bits
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import make_loss

__all__ = ["NetworkMixin"]

# Draws that the parameter may ask for: a model from a file must not ask for years of them.
MOST_DRAWS = 10_000
# Rows in a pass of inference: its buffers stay within a few MB.
BLOCK_ROWS = 2048
# Mean squared length of an encoder input at most: wide tables, whose columns say similar things,
# would otherwise drive the first layer far harder than narrow ones.
MAX_ENERGY = 64


class NetworkMixin(SideInformationMixin, CallbackSupportMixin):
    """Encoder, channel and decoder over one vector of parameters, `params_`."""

    _parameter_constraints: dict = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "beta": [Interval(Real, 0, None, closed="neither")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "n_draws": [Interval(Integral, 1, MOST_DRAWS, closed="both")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "device": [StrOptions({"cpu", "cuda", "auto"})],
        "verbose": ["verbose"],
    }

    # What a subclass supplies.

    def _channel(self):
        """The channel of the fitted model."""
        raise NotImplementedError

    def _channel_shape(self):
        """Fitted attributes that `_channel` looks at, by name, from parameters."""
        raise NotImplementedError

    def _noise(self, keys, bits_of):
        """Noise (n, k), float32, for rows of keys (n,); ``bits_of(w)`` draws (n, w) words."""
        raise NotImplementedError

    def _mean_noise(self):
        """Expected noise (k,), float32."""
        raise NotImplementedError

    def _learn_noise(self, encoded, keys, population):
        """What `_noise` needs: from outputs and keys of some rows, and blocks of all outputs."""
        return {}

    @contextlib.contextmanager
    def _calling_back(self, y):
        """What a fit needs and a fitted model does not: callbacks, and the way to finish."""
        self._callbacks = EpochCallbacks(self, self.max_iter, y)
        try:
            yield
        finally:
            for name in ("_callbacks", "_model"):
                vars(self).pop(name, None)

    def _check_state(self):
        super()._check_state()
        check_is_fitted(self, "params_")
        units = self.mean_.shape == self.scale_.shape == (self.n_features_in_,)
        units = units and self.mean_.dtype == self.scale_.dtype == np.float64
        finite = units and np.isfinite(self.mean_).all() and np.isfinite(self.scale_).all()
        if not (finite and np.all(self.scale_ > 0)):
            raise CorruptStreamError("The model's units do not fit its columns.")
        sizes, counts = self.hidden_sizes_, (self.n_components_, self.n_outputs_)
        whole = all(type(n) is int and n >= 1 for n in counts) and sizes.dtype.kind == "i"
        if not whole or sizes.ndim != 1 or np.any(sizes < 1) or not is_spread(self.spread_):
            raise CorruptStreamError("The model's layers are out of range.")
        if type(self.noise_seed_) is not int or not 0 <= self.noise_seed_ < 2**64:
            raise CorruptStreamError("The model's noise_seed_ is impossible.")
        params = self.params_
        # Numbers before nets: a hostile size would be allocated by the layers' masks.
        if self.n_components_ > params.size or sizes.sum() > params.size:
            raise CorruptStreamError("The model's parameters do not fit its layers.")
        if params.dtype != np.float32 or params.shape != (self._build().n_parameters,):
            raise CorruptStreamError("The model's parameters do not fit its layers.")
        if not np.isfinite(params).all():
            raise CorruptStreamError("The model's parameters hold values that are no numbers.")

    # Units of the nets.

    def _learn_units(self, X):
        """Set mean, deviation and spread of the training table."""
        self.mean_ = X.mean(axis=0, dtype=np.float64)
        deviation = X.std(axis=0, dtype=np.float64)
        flat = deviation <= 10 * np.finfo(X.dtype).eps * np.abs(self.mean_)
        self.scale_ = np.where(flat | (deviation == 0), 1.0, deviation)
        relative = np.where(flat, 0.0, deviation) / self._units()
        spread = float(np.sqrt(np.mean(relative**2)))
        self.spread_ = spread if spread > 0 else 1.0

    def _units(self):
        return self.scale_ if getattr(self, "standardize", False) else np.ones(len(self.mean_))

    def _inputs(self, X, start=0):
        """Rows as the encoder sees them: centred, of overall spread 1 or less, float32."""
        units = self._units()
        spread = self.spread_ * max(1.0, (X.shape[1] / MAX_ENERGY) ** 0.5)
        with np.errstate(over="ignore"):
            # 0.0 turns -0.0 into 0.0, which must not be another row.
            t = ((X - self.mean_) / units / spread + 0.0).astype(np.float32)
        if not np.isfinite(t).all():
            names = getattr(self, "feature_names_in_", range(X.shape[1]))
            raise explain_far(X, self.mean_, units, list(names), start)
        return t

    # Training.

    def _loss(self):
        """The loss of the fitted model."""
        return make_loss(self.distortion_, self.mean_ / self._units(), self.spread_)

    def _goals(self, share=1.0):
        """Targets of training, in nats and loss of a `share` of each row."""
        goals = {}
        if self.target_rate is not None:
            goals["target_rate"] = share * bits_to_nats(self.target_rate)
        if self.target_distortion is not None:
            goals["target_loss"] = share * self.target_distortion
        return goals

    def _build(self, loss=None):
        """The model as an objective, from fitted attributes alone."""
        hidden, channel = self.hidden_sizes_.tolist(), self._channel()
        encoder = dense_net(
            self.n_features_in_, hidden, channel.n_outputs, self.activation_, "encoder"
        )
        n_in = self.n_components_ + self.n_side_features_
        decoder = dense_net(n_in, hidden[::-1], self.n_outputs_, self.activation_, "decoder")
        return Objective(encoder, channel, decoder, loss)

    def _train(
        self, X, target, n_outputs, side=None, redraw=None, loss=None, start=None, **targets
    ):
        """Fit `params_` to validated X; `target` is what the loss compares outputs with.

        `targets` are those of `Schedule`, which is returned. `start` improves on fresh parameters.
        """
        again = self.warm_start and hasattr(self, "params_")
        shape = {
            "n_components_": int(self.n_components),
            "n_outputs_": int(n_outputs),
            "n_side_features_": 0 if side is None else side.shape[1],
            "hidden_sizes_": hidden_sizes(self.hidden_layer_sizes),
            "activation_": self.activation,
            **self._channel_shape(),
        }
        changed = [n for n, v in shape.items() if again and not np.array_equal(vars(self)[n], v)]
        vars(self).update(shape)
        generator = check_random_state(self.random_state)
        rng = np.random.Generator(np.random.Philox(generator.randint(2**31 - 1)))
        objective = self._build(self._loss() if loss is None else loss)
        if again and (changed or self.params_.size != objective.n_parameters):
            what = ", ".join(changed) or "the number of features or the channel"
            raise ValueError(
                f"warm_start=True cannot change {what} of the fitted model; set warm_start=False "
                "to start over."
            )
        beta = float(self.beta_ if again and targets else self.beta)
        try:
            params = self.params_.copy() if again else objective.init(rng)
        except MemoryError:
            raise MemoryError(
                f"The nets of hidden_layer_sizes={self.hidden_layer_sizes!r} and n_components="
                f"{self.n_components} would have {objective.n_parameters:,} parameters, which "
                "memory has no room for; make them smaller."
            ) from None
        x = self._inputs(X)
        if start is not None and not again:
            beta = start(objective, params, x, beta, rng, **targets)
        train, validation = self._split(Batches(x, target, side, redraw), rng)
        schedule = Schedule(
            beta=beta,
            batch_size=self._batch_size(len(train)),
            learning_rate_init=self.learning_rate_init,
            max_iter=self.max_iter,
            shuffle=self.shuffle,
            warm=again,
            price_warm_up=self._price_warm_up,
            tol=self.tol,
            n_iter_no_change=self.n_iter_no_change,
            **targets,
        )
        smallest = objective.channel.min_rows
        for part, size in (
            ("batches", schedule.batch_size),
            ("validation rows", smallest if validation is None else len(validation)),
        ):
            if size < smallest:
                raise ValueError(
                    f"noise_terms={smallest - 1} needs {smallest} rows or more at a time, but "
                    f"there are {part} of {size}; lower noise_terms, raise batch_size or "
                    "validation_fraction, or set noise_terms=None."
                )
        self.noise_seed_ = int(rng.integers(1 << 62))
        pool = np.sort(rng.permutation(len(train))[: self._pool_rows])
        pool = rng.permutation(pool)
        callbacks, bar = self._callbacks, EpochBar(self.verbose, self.max_iter)
        pool_x = train.take(pool, rng)[0]

        def model(params):
            if not self._pool_rows:
                return {"params_": params}
            encode = partial(self._encode_rows, objective, objective.views(params))
            population = map(encode, train.blocks(BLOCK_ROWS, self.noise_seed_))
            noise = self._learn_noise(encode(pool_x), keys_of(pool_x), population)
            return {"params_": params, **noise}

        self._model = model
        if self.device != "cpu":
            bar.say(f"device={self.device!r}: training on {device_note(self.device)}")

        def tell(epoch, history, params):
            bar.show(epoch, history)
            return callbacks.epoch(lambda: {**self._fitted_attributes(), **model(params.copy())})

        with one_blas_thread(), np.errstate(over="ignore", invalid="ignore"):
            beta = minimize(
                objective,
                params,
                train,
                schedule,
                rng,
                validation=validation,
                device=self.device,
                tell=tell,
            )
        bar.clear()
        vars(self).update(model(params))
        self.beta_ = float(beta)
        self._history = schedule.history
        self.n_iter_ = len(schedule.history["rate_bits"])
        return schedule

    def _fitted_attributes(self):
        """What is fitted so far, as a callback in the middle of a fit sees it."""
        known = {name: value for name, value in vars(self).items() if name.endswith("_")}
        known.setdefault("beta_", float(self.beta))
        if hasattr(self, "resolution"):
            # What a score is made of is learned at the end.
            known.setdefault("resolution_", np.ones(self.n_features_in_))
            known.setdefault("noise_scale_", 1.0)
        return known

    # Rows of training that the noise of new rows is made of.
    _pool_rows = 2000
    # Part of the steps over which the price of the rate rises.
    _price_warm_up = PRICE_WARM_UP

    def _split(self, batches, rng):
        """Training rows, and validation rows where early stopping wants them."""
        if not self.early_stopping:
            return batches, None
        n = len(batches)
        held = max(1, round(n * self.validation_fraction))
        if n - held < 2:
            raise ValueError(
                f"early_stopping=True with validation_fraction={self.validation_fraction} leaves "
                f"{n - held} of {n} rows to learn from; lower it or set early_stopping=False."
            )
        rows = rng.permutation(n)
        return batches.split(np.sort(rows[held:])), batches.split(np.sort(rows[:held]))

    def _batch_size(self, n):
        if self.batch_size == "auto":
            return min(100, n)
        if self.batch_size > n:
            warn(
                f"batch_size={self.batch_size} is clipped to {n}, the number of rows to learn from."
            )
        return min(self.batch_size, n)

    # Codes.

    def _encode_rows(self, objective, views, x):
        """Encoder outputs of rows, each of which depends on its own row only."""
        work = Workspace(by_rows=True)
        out = np.empty((len(x), objective.channel.n_outputs), dtype=np.float32)
        for start in range(0, len(x), BLOCK_ROWS):
            out[start : start + BLOCK_ROWS] = objective.encode(
                views, x[start : start + BLOCK_ROWS], work
            )
        return out

    def _encode(self, X):
        """The objective, views of its parameters, encoder outputs and keys of validated X."""
        objective = self._build()
        views = objective.views(self.params_)
        x = self._inputs(X)
        return objective, views, self._encode_rows(objective, views, x), keys_of(x)

    def _mean_code(self, X):
        objective, views, encoded, _ = self._encode(X)
        noise = np.tile(self._mean_noise(), (len(X), 1))
        with np.errstate(over="ignore", invalid="ignore"):
            code, _ = objective.channel.code(views[1], encoded, noise, Workspace(by_rows=True))
        self._refuse_far(X, code)
        return code.astype(X.dtype)

    def _refuse_far(self, X, *results):
        finite = np.logical_and.reduce([np.isfinite(part).all(axis=1) for part in results])
        if not finite.all():
            names = list(getattr(self, "feature_names_in_", range(X.shape[1])))
            first = int(np.argmin(finite))
            raise explain_far(X[first : first + 1], self.mean_, self._units(), names, first)

    def _draw_codes(self, X, n_draws, draw_keys=None):
        """Codes and rates (in bits) of sampled noise, `n_draws` times.

        The draws of a row depend on the model and on the row's own contents, not on its place
        in the table, unless `draw_keys` says otherwise.
        """
        objective, views, encoded, keys = self._encode(X)
        draw_keys = keys if draw_keys is None else draw_keys
        work = Workspace(by_rows=True)
        for stream in range(n_draws):

            def bits_of(n_words, stream=stream):
                out = np.empty((len(X), n_words), dtype=np.uint32)
                row_bits(draw_keys, np.uint64(self.noise_seed_), np.uint64(stream), out)
                return out

            noise = self._noise(keys, bits_of)
            with np.errstate(over="ignore", invalid="ignore"):
                code, rate = objective.channel.code(views[1], encoded, noise, work)
            self._refuse_far(X, code, rate[:, None])
            yield code, nats_to_bits(rate.astype(np.float64))

    def sample_codes(self, X, random_state=None):
        """Codes with their noise: what the rate is the information of.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), dtype of X
        """
        X = self._check_input(X)
        generator = check_random_state(random_state)
        keys = generator.randint(0, 2**63 - 1, size=len(X), dtype=np.int64).astype(np.uint64)
        code, _ = next(self._draw_codes(X, 1, keys))
        return code.astype(X.dtype)

    def _outputs(self, code, side):
        """Decoder outputs of codes, each of which depends on its own code only."""
        objective = self._build()
        views = objective.views(self.params_)
        work = Workspace(by_rows=True)
        code = np.ascontiguousarray(code, dtype=np.float32)
        out = np.empty((len(code), self.n_outputs_), dtype=np.float32)
        for start in range(0, len(code), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            part = None if side is None else side[rows]
            out[rows] = objective.decode(views, code[rows], part, work)
        return out
