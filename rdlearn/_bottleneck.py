"""The bits of a deep autoencoder: unrolling, fine-tuning, encoding, decoding, their law."""

import numpy as np
from scipy.special import expit
from sklearn.utils import check_random_state

from rdlearn._boltzmann import Draws
from rdlearn._console import Progress
from rdlearn._encoder_search import MAX_BITS, search_all, search_flips
from rdlearn._minibatch import Batches, Schedule, minimize
from rdlearn._objective import Objective, dense_net
from rdlearn.channels.binary import BinaryChannel, GivenBits
from rdlearn.coding.bits import BitMixture
from rdlearn.distortions import Bernoulli
from rdlearn.exceptions import CorruptStreamError
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import make_loss
from rdlearn.nets.sequential import Sequential

__all__ = ["BottleneckMixin"]

BLOCK_ROWS = 1024
# Flips that a bit is worth at least in a search by flips: it ends where few bits lead about as
# well as many, and loses next to nothing by that.
FREE_PRICE = 0.5
# Rows whose codewords the mixture is fitted to.
CODE_ROWS = 20_000
# Rounds in which all codewords are tried and the decoder learns from the best, and the epochs of
# each, and of the encoder at the end, as parts of those of fine-tuning.
REFITS, REFIT_EPOCHS, ENCODER_EPOCHS = 20, 0.05, 0.5
# Steps of fine-tuning for "auto", and its least and most epochs.
STEPS, EPOCHS = 5000, (20, 1000)
# Deviation of the weights of bits that a warm start adds.
NEW_BITS = 0.1


class BottleneckMixin:
    """Encoder, bits and decoder of a belief network, in `params_`; the law of bits, `mixture_`."""

    @property
    def _has_code(self):
        return bool(np.isfinite([self.distortion_.a, self.distortion_.b]).all())

    def _refuse_barred(self):
        if not self._has_code:
            raise ValueError(
                f"distortion={self.distortion_!r} bars flips, which a bottleneck code cannot "
                "promise of new rows; use reproduce(X), which does, or finite costs."
            )

    def _check_search(self, n_bits):
        """What to search with `n_bits` bits."""
        search = self.encoder_search
        if search not in ("auto", "all", "flips", None):
            raise ValueError(f"encoder_search={search!r} must be 'auto', 'all', 'flips' or None.")
        if search == "all" and n_bits > MAX_BITS:
            raise ValueError(
                f"encoder_search='all' tries 2**{n_bits} codewords, but 2**{MAX_BITS} are the "
                "most; use 'flips'."
            )
        return ("all" if n_bits <= MAX_BITS else "flips") if search == "auto" else search

    def _batch_rows(self):
        n = len(self._source)
        if self.batch_size == "auto":
            return min(n, 100, max(10, n // 20))
        return min(self.batch_size, n)

    def _epochs(self):
        if self.fine_tune_epochs != "auto":
            return self.fine_tune_epochs
        return min(max(STEPS * self._batch_rows() // len(self._source), EPOCHS[0]), EPOCHS[1])

    def _can_go_on(self, sizes):
        """Whether a warm start goes on from the last fit."""
        again = self.warm_start and hasattr(self, "stack_")
        if again and not np.array_equal(self.sizes_[:-1], sizes[:-1]):
            raise ValueError(
                f"warm_start=True cannot change the layers {self.sizes_[:-1].tolist()} of the "
                f"fitted model to {sizes[:-1].tolist()}; set warm_start=False to start over."
            )
        return again

    def _objective(self, n_bits, loss=None):
        d, *hidden = self.sizes_[:-1].tolist()
        encoder = dense_net(d, hidden, n_bits, "logistic", "encoder")
        decoder = dense_net(n_bits, hidden[::-1], d, "logistic", "decoder")
        return Objective(encoder, BinaryChannel(n_bits), decoder, loss)

    # Fitting.

    def _fit_bottleneck(self, net, X, again, rng, losses):
        """Set `params_` and `mixture_`."""
        n_bits = int(self.sizes_[-1])
        loss = make_loss(Bernoulli(), X.mean(axis=0, dtype=np.float64), 1.0)
        objective = self._objective(n_bits, loss)
        params = np.empty(objective.n_parameters, dtype=np.float32)
        encoder, _, decoder = objective.views(params)
        if again and hasattr(self, "params_"):
            self._resize(X, encoder, decoder, rng)
        else:
            for machine, up, down in zip(net.machines, encoder, reversed(decoder), strict=True):
                up["weights"][:], up["bias"][:] = machine.weights, machine.hidden
                down["weights"][:], down["bias"][:] = machine.weights.T, machine.visible
        tuned = self.fine_tune_epochs != 0 and self._fine_tune(net, objective, params, rng, losses)
        self.params_ = params
        rows = np.sort(rng.permutation(len(X))[:CODE_ROWS])
        # Here no row has to be the same in other company, so that products may be fast.
        self.mixture_ = BitMixture.fit(self._encode(X[rows].astype(np.float32), None, False), rng)
        if tuned and self._check_search(n_bits) == "all":
            self._refit(objective, X.astype(np.float32), rows, rng, losses)
        elif self.encoder_search is not None:
            # The search prices bits by the law of the encoder's words, and moves that law.
            self._learn_law(X[rows].astype(np.float32), slice(None), rng)

    def _refit(self, objective, bits, rows, rng, losses):
        """Lloyd's iteration: the best of all words for each row, the best decoder for the words.

        At the end the encoder learns the words, which `sample_codes` and flips start from.
        """
        source, encoder, decoder = self._source, objective.encoder, objective.decoder

        def learn(net, params, loss, share, batches):
            n_in = batches.x.shape[1]
            net = Objective(Sequential([], n_in, "given"), GivenBits(n_in), net, loss)
            n_epochs = max(1, round(share * self._epochs()))
            return self._minimize(net, params, batches, n_epochs, rng, losses, stage=2)

        def fresh(rng, part):
            return self._bits(source[part], rng).astype(np.float32)

        for _ in range(REFITS):
            words = self._learn_law(bits, rows, rng)
            batches = Batches(
                words, bits, redraw=lambda rng, part, words=words: (words[part], fresh(rng, part))
            )
            params = self.params_[-decoder.n_parameters :]
            going = learn(decoder, params, objective.loss, REFIT_EPOCHS, batches)
            if not going:
                break
        words = self._learn_law(bits, rows, rng)
        if going:
            loss = make_loss(Bernoulli(), words.mean(axis=0, dtype=np.float64), 1.0)
            batches = Batches(bits, words, redraw=lambda rng, part: (fresh(rng, part), words[part]))
            learn(encoder, self.params_[: encoder.n_parameters], loss, ENCODER_EPOCHS, batches)

    def _learn_law(self, bits, rows, rng):
        """Words of bits, by the search; sets `mixture_` to the law of some of them."""
        words = self._words(bits, by_rows=False)
        self.mixture_ = BitMixture.fit(words[rows], rng)
        return words

    def _fine_tune(self, net, objective, params, rng, losses):
        source, work = self._source, Workspace(self.device)
        net, ops, fixed = net.on(work.ops), work.ops, None
        if self.binarize != "sample":
            fixed = ops.to_device(self._bits(source).astype(np.float32))

        def redraw(rng, rows):
            if fixed is None:
                bits = ops.to_device(self._bits(source[rows], rng).astype(np.float32))
            else:
                bits = fixed[ops.to_device(rows)]
            keys = ops.to_device(np.arange(len(rows), dtype=np.uint64))
            draws = Draws(keys, int(rng.integers(1 << 62)))
            y = self._draw(net, bits, draws, work)
            return y, y

        batches = Batches(source, source, redraw=redraw)
        return self._minimize(objective, params, batches, self._epochs(), rng, losses, stage=1)

    def _minimize(self, objective, params, batches, n_epochs, rng, losses, stage):
        """Change `params` in place; False where the user has interrupted that."""
        schedule = Schedule(
            beta=1.0,
            batch_size=self._batch_rows(),
            learning_rate_init=self.fine_tune_learning_rate,
            max_iter=n_epochs,
        )
        progress = Progress()

        def tell(epoch, history, params):
            if self.verbose:
                nats = history["distortion"][-1]
                progress.show(f"epoch {epoch}/{n_epochs}: {nats:.5g} nats")
            return False

        minimize(objective, params, batches, schedule, rng, device=self.device, tell=tell)
        if self.verbose:
            progress.clear()
        losses["loss"] += schedule.history["distortion"]
        losses["stage"] += [stage] * len(schedule.history["distortion"])
        return not schedule.interrupted

    def _resize(self, X, encoder, decoder, rng):
        """Fill in the parameters of the last fit, without its least bits, or with new ones."""
        old = len(self.mixture_.prob)
        views = self._objective(old).views(self.params_)
        for new, last in ((encoder[:-1], views[0][:-1]), (decoder[1:], views[2][1:])):
            for part, other in zip(new, last, strict=True):
                for name in part:
                    part[name][:] = other[name]
        up, down, last_up, last_down = encoder[-1], decoder[0], views[0][-1], views[2][0]
        # What the decoder sees of a bit: its variance times its weights.
        words = self._encode(X[: 10 * BLOCK_ROWS].astype(np.float32), old)
        says = words.var(axis=0) * (last_down["weights"] ** 2).sum(axis=1)
        n = min(old, up["bias"].size)
        kept = np.sort(np.argsort(-says, kind="stable")[:n])
        up["weights"][:] = NEW_BITS * rng.standard_normal(up["weights"].shape)
        down["weights"][:] = NEW_BITS * rng.standard_normal(down["weights"].shape)
        up["bias"][:] = 0.0
        up["weights"][:, :n], up["bias"][:n] = last_up["weights"][:, kept], last_up["bias"][kept]
        down["weights"][:n] = last_down["weights"][kept]
        # Bits that go leave their mean behind.
        gone = np.setdiff1d(np.arange(old), kept)
        down["bias"][:] = (
            last_down["bias"] + words[:, gone].mean(axis=0) @ last_down["weights"][gone]
        )

    # Codewords.

    def _net(self, n_bits=None, by_rows=True):
        objective = self._objective(self.n_components_ if n_bits is None else n_bits)
        return objective, objective.views(self.params_), Workspace(by_rows=by_rows)

    def _encoded(self, bits, *net):
        """Encoder outputs of bits (n, d), float32: log odds of the code's bits."""
        objective, views, work = self._net(*net)
        out = np.empty((len(bits), objective.channel.n_outputs), dtype=np.float32)
        for start in range(0, len(bits), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            out[part] = objective.encode(views, bits[part], work)
        return out

    def _encode(self, bits, *net):
        return (self._encoded(bits, *net) > 0).astype(np.float32)

    def _words(self, bits, by_rows=True):
        """Codewords (n, n_bits) of bits (n, d), both float32."""
        self._refuse_barred()
        search = self._check_search(self.n_components_)
        objective, views, work = self._net(None, by_rows)

        def logits(words):
            return objective.decode(views, words, None, work)

        d = self.distortion_
        price = np.log(2) / self.beta_ if self.beta_ > 0 else 0.0
        if search == "flips":
            price = max(price, FREE_PRICE * min(d.a, d.b))

        def cost_of_bits(words):
            symbols = np.ascontiguousarray(words.T, dtype=np.int64)
            return price * self.mixture_.code_length(symbols)

        if search == "all":
            return search_all(bits, self.n_components_, logits, d, cost_of_bits)
        words = self._encode(bits, None, by_rows)
        return words if search is None else search_flips(bits, words, logits, d, cost_of_bits)

    def rate(self, X):
        """Mean of `rate_samples`, but of no chunk more than the bits themselves, written raw."""
        bits, rows = self.rate_samples(X), self._most_chunk_rows()
        chunks = [bits[start : start + rows] for start in range(0, len(bits), rows)]
        return sum(min(c.sum(), len(c) * float(self.n_components_)) for c in chunks) / len(bits)

    def _quantize(self, X):
        return np.ascontiguousarray(self._words(X.astype(np.float32)).T, dtype=np.int64)

    def _dequantize(self, symbols, dtype):
        return np.ascontiguousarray(symbols.T, dtype=dtype)

    def _decode(self, Z):
        return self.distortion_.reproduction(self._probabilities(Z)).astype(Z.dtype)

    def _probabilities(self, Z):
        self._refuse_barred()
        objective, views, work = self._net()
        out = np.empty((len(Z), self.n_features_in_), dtype=Z.dtype)
        for start in range(0, len(Z), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            code = np.ascontiguousarray(Z[part], dtype=np.float32)
            out[part] = expit(objective.decode(views, code, None, work).astype(np.float64))
        return out

    @property
    def _tables(self):
        self._refuse_barred()
        return self.mixture_

    def sample_codes(self, X, random_state=None):
        """Codewords drawn by the encoder's probabilities, rather than the most probable ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        random_state : int, RandomState instance or None, default=None

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), of 0 and 1, dtype of X
        """
        X = self._check_input(X)
        self._refuse_barred()
        generator = check_random_state(random_state)
        prob = expit(self._encoded(X.astype(np.float32)).astype(np.float64))
        return (generator.random_sample(prob.shape) < prob).astype(X.dtype)

    def inverse_transform(self, Z, *, probabilities=False):
        """Reproduction of codewords.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Bits, or their probabilities.
        probabilities : bool, default=False
            Return the decoder's probabilities of a 1 rather than bits.

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features), dtype of Z

        Raises
        ------
        ValueError
            Z does not have the columns of a code of this model.
        """
        Z = self._validate_code(Z)
        if not ((Z >= 0) & (Z <= 1)).all():
            raise ValueError(
                f"Z contains {Z[(Z < 0) | (Z > 1)][0]:g}, but bits are 0 or 1, and probabilities "
                "between; pass what transform returned."
            )
        return self._probabilities(Z) if probabilities else self._decode(Z)

    def _describe_residual(self, X):
        if self._has_code:
            super()._describe_residual(X)
        else:
            self.resolution_, self.noise_scale_ = np.ones(X.shape[1]), 0.0
            # Nothing of an earlier fit with a code.
            for name in ("params_", "mixture_", "distortion_per_feature_"):
                vars(self).pop(name, None)

    def _decoder_state(self):
        self._refuse_barred()
        return {
            "params": self.params_,
            "sizes": self.sizes_,
            "mixture": self.mixture_.to_state(),
            "constants": self.distortion_.constants(),
        }

    def _check_bottleneck(self):
        if not self._has_code:
            return
        self._check_search(self.n_components_)
        size = self._objective(self.n_components_).n_parameters
        params = self.params_
        if params.dtype != np.float32 or params.shape != (size,) or not np.isfinite(params).all():
            raise CorruptStreamError("The model's autoencoder does not fit its layers.")
        if (
            not isinstance(self.mixture_, BitMixture)
            or self.mixture_.n_columns != self.n_components_
        ):
            raise CorruptStreamError("The model's law of bits does not fit its code.")
