"""Autoencoders with a noisy channel as codecs: what echo and variational models share."""

import numpy as np
from scipy.optimize import brentq
from sklearn.exceptions import ConvergenceWarning

from rdlearn._binary import drawn_bits
from rdlearn._minibatch import AIM
from rdlearn._networks import NetworkMixin
from rdlearn._sklearn import StrOptions, with_callbacks
from rdlearn._training import warn
from rdlearn.base import BaseCodec
from rdlearn.exceptions import CorruptStreamError

__all__ = ["Autoencoder"]

# The window below a target, and how far the noise may be turned to get there, in nats.
REACH = 0.95
LOUDEST = 2.0
# A turn that costs more than rounding: nets that were not trained for it.
FAR = 0.3


class Autoencoder(NetworkMixin, BaseCodec):
    """A codec whose code is an encoder's output plus noise, trained by gradient.

    A subclass supplies `_channel`, `_noise`, `_mean_noise` and `_learn_noise`.
    """

    _parameter_constraints: dict = {
        **BaseCodec._parameter_constraints,
        **NetworkMixin._parameter_constraints,
        "binarize": [None, StrOptions({"sample"})],
    }

    @with_callbacks
    def fit(self, X, y=None, *, side_information=None):
        """Learn the codec from a table.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Finite numbers, at least two rows. float32 is kept, all else becomes float64; the
            nets compute in float32.
        y : None
            Ignored.
        side_information : array-like of shape (n_samples, n_side) or (n_samples,), default=None
            Numbers that the decoder is given beside the code, so that the code need not carry
            them. Every method that decodes then needs them too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The table, or a parameter on this table, is unusable; the sentence has the remedy.
        """
        with self._calling_back(y):
            return super().fit(X, y, side_information=side_information)

    def _check_input(self, X):
        return self._bits(super()._check_input(X))

    def _describe_residual(self, X, **inputs):
        super()._describe_residual(self._bits(X), **inputs)

    def _bits(self, X):
        """The values, or where `binarize` asks for bits, bits drawn by the contents of each row."""
        if self.binarize is None:
            return X
        self.distortion_.check(X, getattr(self, "feature_names_in_", None))
        return drawn_bits(X)

    def _decoder_inputs(self, n_samples, side_information=None):
        if side_information is None:
            return {}
        return {"side_information": self._check_side(side_information, n_samples)}

    def _fit(self, X, side_information=None):
        side = self._learn_side(side_information)
        if self.binarize is not None and self.distortion_.name != "bernoulli":
            raise ValueError(
                f"binarize={self.binarize!r} draws bits, which distortion="
                f"{self.distortion_.name!r} does not price; use distortion='bernoulli'."
            )
        self._learn_units(X)
        self._learn_signs(X.min(axis=0), X.max(axis=0))
        loss = self._loss()
        units = self._units()
        redraw = None
        if self.binarize is not None:

            def redraw(rng, rows):
                draws = rng.random((len(rows), X.shape[1]), dtype=np.float32)
                bits = (draws < X[rows]).astype(X.dtype)
                return self._inputs(bits), loss.target(bits)

        data = {} if side is None else {"metadata": {"side_information": side_information}}
        self._callbacks.begin(X=X, **data)
        goals = self._goals()
        schedule = self._train(X, loss.target(X / units), X.shape[1], side, redraw, **goals)
        if goals:
            inputs = {} if side is None else {"side_information": side_information}
            self._meet_target(self._bits(X), inputs, schedule.interrupted)
        self._callbacks.end(self._fitted_attributes)

    # Targets.

    def _meet_target(self, X, inputs, interrupted):
        """Turn the noise up or down a little, until the target is met from below."""
        by_rate = self.target_rate is not None
        name = "target_rate" if by_rate else "target_distortion"
        target = self.target_rate if by_rate else self.target_distortion
        start, turned = self.params_, {}
        encoded = self._encode(X)[2]

        def miss(by):
            params = start.copy()
            objective = self._build()
            objective.channel.louder(objective.views(params)[0][-1], by, encoded)
            vars(self).update(self._model(params))
            samples = self._rate_samples(X) if by_rate else self._loss_samples(X, **inputs)
            turned[by] = float(np.mean(samples))
            return turned[by] - AIM * target

        # More noise: less rate, more distortion.
        if miss(-LOUDEST) * miss(LOUDEST) < 0:
            brentq(miss, -LOUDEST, LOUDEST, xtol=1e-3)
        best = min(turned, key=lambda by: (turned[by] > target, abs(turned[by] - AIM * target)))
        miss(best)
        end = f"this fit of {self.n_iter_} epochs"
        if not REACH * target <= turned[best] <= target:
            if interrupted:
                warn(f"{name}={target:g} is not met: {turned[best]:.4g}.", ConvergenceWarning)
                return
            low, high = sorted((turned[-LOUDEST], turned[LOUDEST]))
            unit = "bits per sample" if by_rate else "per sample"
            raise ValueError(
                f"{name}={target:g} is out of reach: {end} led to between {low:.4g} and "
                f"{high:.4g} {unit}. Choose a target in between, another beta to start from, more "
                "epochs (max_iter), or other nets."
            )
        if abs(best) > FAR:
            warn(
                f"{name}={target:g} is met, but {end} was too short to settle there, and the "
                "noise was turned by much afterwards; raise max_iter, or start from a beta near "
                f"{self.beta_:.3g}.",
                ConvergenceWarning,
            )

    # Codes.

    def transform(self, X):
        """Mean code of each row, which involves no draw.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), dtype of X
            A row's code does not depend on the other rows. It says more about the row than the
            rate pays for; `sample_codes` draws what the rate describes.
        """
        return self._mean_code(self._check_input(X))

    def inverse_transform(self, Z, *, side_information=None):
        """Reconstruction of codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
        side_information : array-like of shape (n_samples, n_side), default=None
            As in `fit`.

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features), dtype of Z

        Raises
        ------
        ValueError
            Z or the side information does not have the rows or columns of this model.
        """
        Z = self._validate_code(Z)
        inputs = self._decoder_inputs(len(Z), side_information)
        return self._decode(Z, self._decoder_side(len(Z), **inputs), Z.dtype)

    def _decode(self, code, side, dtype):
        rows = self._loss().decode(self._outputs(code, side), dtype)
        return self._keep_signs(rows * self._units().astype(dtype))

    def _reconstructions(self, X, side_information=None):
        side = self._decoder_side(len(X), side_information)
        for code, _ in self._draw_codes(X, self.n_draws):
            yield self._decode(code, side, X.dtype)

    def _reconstruct(self, X, side_information=None):
        return next(self._reconstructions(X, side_information))

    def _rate_samples(self, X):
        draws = self.n_draws if self._channel_samples_rate else 1
        return np.mean([rate for _, rate in self._draw_codes(X, draws)], axis=0)

    # Whether the rate is known only at a draw.
    _channel_samples_rate = False

    def score(self, X, y=None, sample_weight=None, *, side_information=None):
        """Description length of a sample in nats, negated: higher is better.

        Minus the rate, plus the log probability that the distortion's noise model (of scale
        `noise_scale_`) gives to the cell of width `resolution_` around each value, a mean over
        `n_draws` sampled codes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the mean; k counts as k repeats.
        side_information : array-like of shape (n_samples, n_side), default=None
            As in `fit`; its own description is not counted.

        Returns
        -------
        float, at most 0

        Raises
        ------
        ValueError
            The distortion has no noise model, or side information does not fit.
        """
        return super().score(X, y, sample_weight, side_information=side_information)

    def _check_state(self):
        super()._check_state()
        d = self.n_features_in_
        if self.n_outputs_ != d or self.sign_.shape != (d,):
            raise CorruptStreamError("The model's arrays do not fit together.")
