"""The contract of every codec, written once.

Data flow: X -> validate -> `_reconstructions` -> distortion, X -> `_rate_samples` -> bits; a
subclass supplies those two, `_fit`, `transform` and `inverse_transform`. What its decoder
needs beside the code, it takes as keywords (`_decoder_inputs`).
"""

from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_array, check_is_fitted

from rdlearn._moments import check_range, smallest_gaps
from rdlearn._saving import SavingMixin
from rdlearn._sklearn import Interval, check_sample_weight, fit_context
from rdlearn._training import warn
from rdlearn._validation import validated
from rdlearn.distortions import Distortion, get_distortion
from rdlearn.exceptions import CorruptStreamError
from rdlearn.information import bits_to_nats
from rdlearn.metrics import psnr_db

__all__ = ["BaseCodec"]

# Statistics of the residual are taken on at most this many training values, evenly spaced.
MAX_RESIDUALS = 1 << 22
# Distortions between fixed values, which other units would move.
FIXED_VALUES = {"hamming", "bernoulli", "ms_ssim", "nlpd"}
# Bits of a row that count as none, and the part of the distortion of the mean of all rows above
# which a code has kept nothing.
FREE_BITS, LEAST_GAIN = 0.1, 0.999


class BaseCodec(SavingMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A lossy codec as a scikit-learn transformer: code, rate, distortion, description length.

    Rates are in bits a sample, summed over the code; distortions in the distortion's own unit,
    summed over features; `score` in nats a sample.
    """

    _parameter_constraints: dict = {
        "beta": [Interval(Real, 0, None, closed="neither")],
        "distortion": [str, Distortion],
        "standardize": ["boolean"],
        "resolution": [None, Interval(Real, 0, None, closed="neither"), "array-like"],
        "data_range": [None, Interval(Real, 0, None, closed="neither")],
        "target_rate": [None, Interval(Real, 0, None, closed="neither")],
        "target_distortion": [None, Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
    }
    # What a subclass supplies.

    def _fit(self, X, **inputs):
        """Learn from validated X; sets `beta_`, `n_iter_`, `_history` and the codec itself."""
        raise NotImplementedError

    def _reconstruct(self, X, **inputs):
        """Reconstruction of validated X whose distortion the rate pays for."""
        raise NotImplementedError

    def _reconstructions(self, X, **inputs):
        """Reconstructions whose mean distortion the rate pays for: several of noisy channels."""
        yield self._reconstruct(X, **inputs)

    def _decoder_inputs(self, n_samples, **inputs):
        """Validated arrays, a row for each sample, that the decoder takes beside the code."""
        if inputs:
            raise TypeError(
                f"{type(self).__name__} has a decoder that takes nothing but the code, so it "
                f"cannot use {', '.join(inputs)}; leave that out."
            )
        return inputs

    def _rate_samples(self, X):
        """Bits of each row of validated X."""
        raise NotImplementedError

    def _coded(self, X, **inputs):
        """What `_reconstructions` and `_rate_samples` give, of one code where codes are exact."""
        return self._reconstructions(X, **inputs), self._rate_samples(X)

    # The contract.

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, **inputs):
        """Learn the codec from a table.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Finite numbers, at least two rows. float32 is kept, all else becomes float64.
        y : None
            Ignored.
        **inputs : dict
            What the decoder takes beside the code, where this codec's does.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The table, or a parameter on this table, is unusable; the sentence has the remedy.
        """
        with self._unchanged_on_failure():
            X = self._begin(X, reset=True)
            inputs = self._decoder_inputs(len(X), **inputs)
            self._fit(X, **inputs)
            self._describe_residual(X, **inputs)
        return self

    def _begin(self, X, reset):
        """Validate a training table and note what `decompress` and `score` need of it."""
        frame = X if hasattr(X, "columns") and hasattr(X, "dtypes") else None
        X = self._validate(X, reset=reset, ensure_min_samples=2 if reset else 1)
        check_range(X)
        if reset:
            if frame is not None:
                self.feature_dtypes_ = [str(kind) for kind in frame.dtypes]
            elif hasattr(self, "feature_dtypes_"):
                del self.feature_dtypes_
            shape = getattr(self, "image_shape", None)
            self.distortion_ = get_distortion(self.distortion, shape, self.data_range)
            if self.standardize and self.distortion_.name in FIXED_VALUES:
                raise ValueError(
                    f"standardize=True does not go with distortion={self.distortion_.name!r}, "
                    "whose values are fixed; use standardize=False."
                )
            if self.target_rate is not None and self.target_distortion is not None:
                raise ValueError(
                    f"target_rate={self.target_rate} and target_distortion="
                    f"{self.target_distortion} are both given; keep one and set the other to None."
                )
        self.distortion_.check(X, getattr(self, "feature_names_in_", None))
        return X

    def _validate(self, X, reset=False, ensure_min_samples=1):
        return validated(self, X, reset, ensure_min_samples)

    def _validate_code(self, Z):
        check_is_fitted(self)
        Z = check_array(Z, dtype=[np.float64, np.float32], order="C", input_name="Z")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, but this {type(self).__name__} has codes of "
                f"{self._n_features_out}; pass what transform returned."
            )
        return Z

    def _check_input(self, X):
        check_is_fitted(self)
        X = self._validate(X)
        if hasattr(self, "sign_"):
            self._warn_of_signs(X)
        return X

    def _units(self):
        """Divisor of each feature that puts a residual in the distortion's units."""
        return self.scale_ if self.standardize else np.ones(self.n_features_in_)

    def _learn_signs(self, low, high):
        """Note which columns keep to one side of 0, of the extremes of each."""
        self.sign_ = np.where(low >= 0, 1, np.where(high <= 0, -1, 0)).astype(np.int8)

    def _keep_signs(self, X_hat):
        """Set to 0, in place, what lies beyond 0 in columns that never did in training.

        Not the whole range is kept: a later value may well lie beyond the largest one seen, but
        hardly beyond a limit at 0. So a value on the side of `sign_` never loses by it.
        """
        if self.sign_.any():
            X_hat[X_hat * self.sign_ < 0] = 0
        return X_hat

    def _warn_of_signs(self, X):
        """Warn of values on the other side of 0, which are lost."""
        for side, extreme, word in ((1, np.min, "below"), (-1, np.max, "above")):
            columns = np.flatnonzero(self.sign_ == side)
            # Whole rows are read faster than some of their columns.
            wrong = columns[extreme(X, axis=0)[columns] * side < 0] if columns.size else columns
            if wrong.size:
                names = list(getattr(self, "feature_names_in_", range(X.shape[1])))
                warn(
                    f"Column {names[wrong[0]]!r} holds values {word} 0, where training had none, "
                    "so that they are reconstructed as 0; fit on rows that have such values."
                )

    def _describe_residual(self, X, **inputs):
        self.resolution_ = self._learn_resolution(X)
        step = -(-X.size * getattr(self, "n_draws", 1) // MAX_RESIDUALS)
        X = X[::step]
        units = self._units()
        draws, bits = self._coded(X, **{key: a[::step] for key, a in inputs.items()})
        draws = list(draws)
        x, x_hat = np.concatenate([X] * len(draws)) / units, np.concatenate(draws) / units
        self.distortion_per_feature_ = self.distortion_.per_feature(x, x_hat)
        if self.distortion_.has_noise_model:
            self.noise_scale_ = self.distortion_.fit_scale(x, x_hat)
        self._compare_with_mean(X / units, float(np.mean(bits)))
        per_feature = float(np.mean(bits)) / self.n_features_in_
        if not (self._asked_for_rate or 0.01 <= per_feature <= 16):
            warn(
                f"The code takes {per_feature:.3g} bits per feature, outside 0.01 to 16: "
                f"beta={self.beta_:.3g} does not suit the units of these data. Set target_rate "
                "to the bits per sample you can spend, or change beta."
            )

    def _compare_with_mean(self, x, rate_bits):
        """Warn of a codec with epochs that spends bits and loses what a code of no bits does."""
        if not hasattr(self, "max_iter") or rate_bits < FREE_BITS:
            return
        mean = self.distortion_.reproduction(x.mean(axis=0, keepdims=True, dtype=np.float64))
        free = float(self.distortion_.per_feature(x, np.broadcast_to(mean, x.shape)).sum())
        lost = float(self.distortion_per_feature_.sum())
        if lost >= LEAST_GAIN * free > 0:
            warn(
                f"The code spends {rate_bits:.3g} bits per sample on nothing: it loses {lost:.4g}, "
                f"and the mean of the training rows, which takes no bits, {free:.4g}. Raise "
                f"max_iter={self.max_iter}, or ask for more bits by beta or a target.",
                ConvergenceWarning,
            )

    @property
    def _asked_for_rate(self):
        """Whether parameters other than beta decide the rate."""
        return self.target_rate is not None or self.target_distortion is not None

    def _learn_resolution(self, X):
        if self.resolution is not None:
            given = np.asarray(self.resolution, dtype=np.float64)
            if given.ndim > 1 or given.size not in (1, X.shape[1]) or not np.all(given > 0):
                raise ValueError(
                    f"resolution={self.resolution!r} must be a positive number, or one for each "
                    f"of the {X.shape[1]} features."
                )
            return np.broadcast_to(given, X.shape[1]).copy()
        return smallest_gaps(X)

    def reconstruct(self, X, **inputs):
        """Reconstruction whose distortion the rate pays for: a sampled one of noisy channels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        **inputs : dict
            What the decoder takes beside the code, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_features), dtype of X
        """
        X = self._check_input(X)
        return self._reconstruct(X, **self._decoder_inputs(len(X), **inputs))

    def rate_samples(self, X):
        """Information in the code of each sample, in bits, summed over the code.

        Headers and the model's own tables are not part of it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        return self._rate_samples(self._check_input(X))

    def rate(self, X):
        """Mean of `rate_samples`: bits per sample, a float."""
        return float(np.mean(self.rate_samples(X)))

    def distortion_samples(self, X, **inputs):
        """Loss of each sample, summed over features, in the distortion's unit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        **inputs : dict
            What the decoder takes beside the code, as in `fit`.

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        X = self._check_input(X)
        self.distortion_.check(X, getattr(self, "feature_names_in_", None))
        return self._loss_samples(X, **self._decoder_inputs(len(X), **inputs))

    def _loss_samples(self, X, **inputs):
        return self._losses(X, self._reconstructions(X, **inputs))

    def _losses(self, X, draws):
        """Loss of each row of X, a mean over reconstructions."""
        x, units = X / self._units(), self._units()
        return np.mean([self.distortion_.samples(x, x_hat / units) for x_hat in draws], axis=0)

    def mean_distortion(self, X, **inputs):
        """Mean of `distortion_samples`, a float."""
        return float(np.mean(self.distortion_samples(X, **inputs)))

    def score(self, X, y=None, sample_weight=None, **inputs):
        """Description length of a sample in nats, negated: higher is better.

        Minus the rate, plus the log probability that the distortion's noise model (of scale
        `noise_scale_`) gives to the cell of width `resolution_` around each value. Comparable
        across beta, bottleneck size and distortion, on the same data and resolution: a learned
        resolution is the smallest gap seen, so on continuous data set it to compare fits to
        samples of different size.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the mean; k counts as k repeats.
        **inputs : dict
            What the decoder takes beside the code, as in `fit`.

        Returns
        -------
        float, at most 0

        Raises
        ------
        ValueError
            The distortion has no noise model.
        """
        X = self._check_input(X)
        if not self.distortion_.has_noise_model:
            raise ValueError(
                f"distortion={self.distortion_.name!r} has no noise model, hence no description "
                "length; compare models with rdlearn.model_selection.rd_scorer(slope=...)."
            )
        self.distortion_.check(X, getattr(self, "feature_names_in_", None))
        units = self._units()
        model = self.noise_scale_, self.resolution_ / units
        draws, bits = self._coded(X, **self._decoder_inputs(len(X), **inputs))
        nats = np.mean(
            [
                self.distortion_.log_mass(X / units, x_hat / units, *model).sum(axis=1)
                for x_hat in draws
            ],
            axis=0,
        )
        nats -= bits_to_nats(bits)
        return float(np.average(nats, weights=check_sample_weight(sample_weight, X)))

    def psnr_db(self, X, **inputs):
        """Peak signal-to-noise ratio in dB, 10 log10(data_range**2 / mean squared error).

        Raises
        ------
        ValueError
            The parameter `data_range` (largest minus smallest possible value) is None.
        """
        X = self._check_input(X)
        if self.data_range is None:
            raise ValueError(
                "psnr_db needs data_range=None replaced by the difference between the largest "
                "and the smallest possible value (255 for 8-bit images)."
            )
        draws = self._reconstructions(X, **self._decoder_inputs(len(X), **inputs))
        error = np.mean([np.mean((X - x_hat).astype(np.float64) ** 2) for x_hat in draws])
        return psnr_db(float(error), self.data_range)

    def _check_state(self):
        super()._check_state()
        d = self.n_features_in_
        kinds = getattr(self, "feature_dtypes_", [])
        modelled = getattr(self.distortion_, "has_noise_model", False)
        scale = self.noise_scale_ if modelled else 0.0
        gaps = self.resolution_
        sign = getattr(self, "sign_", None)
        signed = sign is None or (sign.dtype == np.int8 and sign.shape == (d,))
        for holds, what in (
            (type(self.n_components_) is int, "number of components"),
            (isinstance(self.distortion_, Distortion), "distortion"),
            (type(self.beta_) is float and self.beta_ >= 0, "beta"),
            (type(scale) is float and 0 <= scale < np.inf, "noise scale"),
            (gaps.shape == (d,) and gaps.dtype == np.float64, "resolution"),
            (np.all(np.isfinite(gaps)) and np.all(gaps > 0), "resolution"),
            (signed and (sign is None or np.all((-1 <= sign) & (sign <= 1))), "signs"),
            (len(kinds) in (0, d) and all(type(k) is str for k in kinds), "feature dtypes"),
        ):
            if not holds:
                raise CorruptStreamError(f"The model's {what} is missing or impossible.")

    @property
    def _n_features_out(self):
        return self.n_components_
