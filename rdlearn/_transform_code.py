"""Transform codes: rounding in steps, frozen tables, both views of rate and distortion."""

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from rdlearn._discrete import DiscreteCodec
from rdlearn._image_stream import ImageMixin
from rdlearn._moments import is_spread
from rdlearn._threads import one_blas_thread
from rdlearn._training import best_slope, local_price, meet_target, warn
from rdlearn._validation import explain_far
from rdlearn.coding.centers import CenterCode
from rdlearn.coding.latents import MAX_SYMBOL, ColumnCode, PlaneCode
from rdlearn.coding.trellis_columns import TrellisColumnCode
from rdlearn.coding.trellis_planes import PLANE_PRICE, TrellisPlaneCode
from rdlearn.exceptions import CorruptStreamError
from rdlearn.information import bits_to_nats

__all__ = ["BIT", "FINE", "TURNS", "TransformCodec"]

# Price of distortion times the squared step, at high rate (Gish & Pierce 1968).
FINE = 6.0
# How far the slope of nets, which are trained for a step of 1, may be turned to meet a target.
TURNS = FINE / 16, FINE * 16
# What a bit costs in squared steps where it is weighed against squared error: less than
# ln 2 / FINE, since a symbol also tells about those after it.
BIT = 0.09
# The same of a trellis, linear transforms first: nets gather their codes at whole steps, which
# finer ones follow better.
TRELLIS_FINE = 6.8, 5.0
# Codes whose encoders weigh bits.
PRICED = PlaneCode, TrellisColumnCode
# Coefficients that searches look at, and values that are measured at a time.
SEARCH_VALUES, BLOCK_VALUES = 1 << 21, 1 << 24
# Steps of 1, as a number of the finest ones.
FINEST = 2.0**8
# The window below a target.
REACH = 0.95


class TransformCodec(ImageMixin, DiscreteCodec):
    """A codec that rounds the values of a transform in units of `step_`.

    A subclass supplies `_values` (rows to values for a step of 1), `_decode`, `_arrangement`
    (planes of the values and the price of a bit; None where each column has one table), `_centers`
    (what values are drawn to, None for whole steps) and `offset_`; `_design` sets `step_` and
    `code_`. A slope stands for a step: sqrt(FINE / slope), of a trellis with its own numerator.
    """

    def _set_code(self, values, slope, coarser=1.0):
        """Step and tables for values; where `coarser` is above 1, bits weigh that much more."""
        fine = FINE if self.quantizer != "trellis" else TRELLIS_FINE[self.architecture != "wavelet"]
        self.step_ = float(np.sqrt(fine / slope))
        steps, centers = self._in_steps(values), self._centers()
        if centers is None:
            self.code_ = self._fitted_code(steps)
        else:
            self.code_ = CenterCode.fit(steps, centers, self._fitted_code)
        if isinstance(self.code_, PRICED):
            self.code_.price *= coarser

    def _fitted_code(self, steps):
        arrangement, price = self._arrangement(steps)
        trellis = self.quantizer == "trellis"
        if arrangement is None:
            return (TrellisColumnCode if trellis else ColumnCode).fit(steps)
        kind, price = (TrellisPlaneCode, PLANE_PRICE) if trellis else (PlaneCode, price)
        # On several threads its small products would be slow, and change with their number.
        with one_blas_thread():
            return kind.fit([steps], [arrangement], price, self.context == "causal")

    def _in_steps(self, values):
        return values * np.float32(1 / self.step_)

    def _measure_on(self, rows):
        """A function from slopes to (bits, distortion) of some rows, which sets step and tables."""
        values = self._values(rows)
        stride = -(-values.size // SEARCH_VALUES)
        values, rows = values[::stride], rows[::stride]

        def measure(slope):
            self._set_code(values, slope)
            return self._means(rows)

        return measure

    def _design(self, X, few, slope, bounds, direct):
        """Choose a slope, freeze the tables, learned from the rows `few` of X; returns the slope.

        Without a target it is the one given where it is `direct`, and else the one at which bits
        and distortion cost least at `beta`.
        """
        if not self._asked_for_rate:
            if not direct:
                slope = best_slope(self._measure_on(few), float(self.beta), bounds)
                if slope < 1.01 * bounds[0]:
                    warn(
                        f"beta={self.beta:g} leads to the coarsest step there is: an image costs "
                        f"far more than {self.beta:g} nats for a unit of distortion "
                        f"({self.distortion_.unit}); raise beta, or set target_rate."
                    )
            self._set_code(self._values(few), slope)
            return slope
        slope, reached, tried = self._meet(X, few, slope, bounds)
        self._conclude(X, reached, tried)
        return slope

    def _goal(self):
        """Name and value of the target."""
        name = "target_distortion" if self.target_rate is None else "target_rate"
        return name, getattr(self, name)

    def _meet(self, X, few, slope, bounds):
        """Step and tables for the target; returns the slope, what is reached and was tried."""
        values, (name, target) = self._values(few), self._goal()

        def finish(slope, price):
            self._set_code(values, slope, slope / price)
            return self._means(X)

        measure = self._measure_on(few)
        exact = self.architecture == "dense" and values.size <= SEARCH_VALUES
        slope, price, reached, tried = meet_target(
            measure, finish, slope, bounds, exact=exact, **{name: target}
        )
        finish(slope, price)
        return slope, reached, tried

    def _conclude(self, X, reached, tried):
        """Remember what was tried for a target, and say where it is not reached."""
        for step in tried:
            self._remember(*step)
        name, target = self._goal()
        if reached < REACH * target:
            warn(
                f"{name}={target:g}: the {len(X)} training samples allow {reached:.4g} and "
                "nothing closer below it; fit on more samples or choose another target.",
                ConvergenceWarning,
            )

    def _design_best(self, X, rivals, weight=None):
        """Meet the target with each of several transforms, and keep the one that costs least.

        Parameters
        ----------
        X : ndarray
            Rows to learn from.
        rivals : list of (dict, (float, float))
            Attributes of a transform, and bounds of its slope or None for all that tell symbols.
        weight : ndarray of shape (n_samples,), default=None
            Factors of each row's distortion.
        """
        found, error = [], None
        for rank, (attributes, bounds) in enumerate(rivals):
            vars(self).update(attributes)
            try:
                slope, reached, tried = self._meet(X, X, FINE, bounds or self._all_slopes(X))
            except ValueError as out_of_reach:
                error = out_of_reach
                continue
            missed = reached < REACH * self._goal()[1]
            cost = self._means(X, weight)[self.target_rate is not None]
            state = {**attributes, "step_": self.step_, "code_": self.code_}
            found.append((missed, cost, rank, state, slope, reached, tried))
        if not found:
            raise error
        *_, rank, state, slope, reached, tried = min(found, key=lambda one: one[:3])
        vars(self).update(state)
        if rank > 0:
            self.beta_ = local_price(self._measure_on(X), slope)
            vars(self).update(state)
        self._conclude(X, reached, tried)

    def _all_slopes(self, X):
        """Bounds of slopes: at one all symbols are 0, at the other steps are very fine."""
        widest = max(float(np.abs(self._values(X)).max()), 1.0)
        return FINE / (2 * widest) ** 2, FINE * FINEST**2

    def _remember(self, beta, rate_bits, distortion):
        """A row of the history of codes that are tried rather than trained."""
        objective = bits_to_nats(rate_bits) + beta * distortion
        for name, value in zip(
            ("rate_bits", "distortion", "objective", "beta"),
            (rate_bits, distortion, objective, beta),
            strict=True,
        ):
            self._history[name].append(float(value))

    def _means(self, X, weight=None):
        """(bits, distortion) a row of the codec as it stands, distortion with rows' weights."""
        rows = max(1, BLOCK_VALUES // X.shape[1])
        sums = np.zeros(2)
        for start in range(0, len(X), rows):
            part = X[start : start + rows]
            draws, bits = self._coded(part)
            losses = self._losses(part, draws)
            if weight is not None:
                losses = losses * weight[start : start + rows]
            sums += bits.sum(), losses.sum()
        return tuple((sums / len(X)).tolist())

    def _quantize(self, X):
        steps = self._in_steps(self._values(X))
        far = ~(np.abs(steps) < MAX_SYMBOL).all(axis=1)
        if far.any():
            row = int(np.argmax(far))
            names = list(self._column_names())
            raise explain_far(X[row : row + 1], self.mean_, self._units(), names, row)
        return self.code_.quantize(steps)

    def _dequantize(self, symbols, dtype):
        return self._coded_values(self.code_, symbols).astype(dtype, copy=False)

    def _coded_values(self, code, symbols):
        """Values, float32, that symbols of a code stand for."""
        values = np.ascontiguousarray(code.dequantize(symbols))
        values *= np.float32(self.step_)
        # In place: images are large.
        places = values.reshape(*values.shape[:-1], -1, len(self.offset_))
        places += self.offset_
        return values

    @property
    def _tables(self):
        return self.code_

    def _decoder_state(self):
        # Of images, whose features are many, one place says all.
        first = slice(None) if self.image_shape_ is None else slice(self.image_shape_[2])
        signs = {"sign": self.sign_} if self.image_shape_ is None else {}
        return {
            **signs,
            "step": self.step_,
            "offset": self.offset_,
            "mean": self.mean_[first],
            "units": self._units()[first],
            "code": self.code_.describe(),
            "distortion": self.distortion_.name,
            "constants": self.distortion_.constants(),
        }

    @property
    def _n_features_out(self):
        return self.code_.n_columns

    def _moved(self, values):
        """Values (..., n_symbols) less the offsets of the channels, place after place."""
        places = values.reshape(*values.shape[:-1], -1, len(self.offset_))
        return (places - self.offset_).reshape(values.shape)

    # Images.

    def _encode_pixels(self, pixels, search_steps):
        transform = self._image_transform()
        code = self.code_.resized(*transform.places(*pixels.shape[:2]))
        values = transform.analyse(pixels)
        symbols = self._pixel_symbols(code, values)
        if search_steps:
            found = self._searched(pixels, values, search_steps)
            both, size = (symbols, self._pixel_symbols(code, found)), pixels.shape[:2]

            def cost(symbols):
                nats = bits_to_nats(float(code.code_length(symbols)[0]))
                decoded = transform.synthesise(self._coded_values(code, symbols)[0], *size)
                return nats + self._priced_loss(pixels, self.distortion_.reproduction(decoded))

            # The search looks at learned laws and at pixels beyond black and white.
            symbols = min(both, key=cost)
        return code.encode(symbols)

    def _pixel_symbols(self, code, values):
        steps = self._in_steps(self._moved(values))[None]
        if not (np.abs(steps) < MAX_SYMBOL).all():
            raise ValueError(
                "The image lies too many steps outside the training data to be coded; fit on "
                "images of its kind, with data_range as their largest possible value."
            )
        return code.quantize(steps)

    def _decode_pixels(self, payload, height, width):
        transform = self._image_transform()
        code = self.code_.resized(*transform.places(height, width))
        values = self._coded_values(code, code.decode(payload, 1))[0]
        return self.distortion_.reproduction(transform.synthesise(values, height, width))

    # Both views.

    def rate_samples(self, X, view="coded"):
        """Bits of each sample, summed over the code.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        view : {"coded", "noisy"}, default="coded"
            Bits that are written, headers and tables not counted; or what training of nets sees:
            -log2 of the learned density at codes with uniform noise, a mean over `n_draws`. A
            wavelet and centres have no noise and raise ValueError.

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        X = self._check_input(X)
        if self._is_coded(view):
            return self._rate_samples(X)
        return np.mean([bits for _, bits in self._draw_codes(X, self.n_draws)], axis=0)

    def distortion_samples(self, X, view="coded"):
        """Loss of each sample, summed over features, in the distortion's unit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        view : {"coded", "noisy"}, default="coded"
            Of rounded codes; or, of nets, of codes with uniform noise, a mean over `n_draws`. A
            wavelet and centres have no noise and raise ValueError.

        Returns
        -------
        ndarray of shape (n_samples,), float64
        """
        if self._is_coded(view):
            return super().distortion_samples(X)
        X = self._check_input(X)
        self.distortion_.check(X, getattr(self, "feature_names_in_", None))
        units = self._units()
        draws = [
            self._decode(code.astype(X.dtype)) for code, _ in self._draw_codes(X, self.n_draws)
        ]
        return np.mean([self.distortion_.samples(X / units, x / units) for x in draws], axis=0)

    def _is_coded(self, view):
        check_is_fitted(self)
        if view not in ("coded", "noisy"):
            raise ValueError(f"view={view!r} must be 'coded' or 'noisy'.")
        if view == "noisy":
            self._refuse_without_noise("view='noisy' is of", "view='coded'")
        return view == "coded"

    def _refuse_without_noise(self, what, instead):
        without = None if self.n_centers_ is None else "quantizer='centers'"
        if self.architecture_ == "wavelet":
            without = "architecture='wavelet'"
        if without:
            raise ValueError(
                f"{what} codes that were trained with noise, but {without} has none; use {instead}."
            )

    def _check_state(self):
        super()._check_state()
        d = self.n_features_in_
        if not isinstance(self.code_, (ColumnCode, CenterCode, *PRICED)):
            raise CorruptStreamError("The model has no tables.")
        if not (type(self.step_) is float and 1e-30 < self.step_ < 1e30):
            raise CorruptStreamError("The model's step is impossible.")
        n = 1 if self.architecture_ == "wavelet" else self.n_components_
        arrays = (self.offset_, n, "f4"), (self.mean_, d, "f8"), (self.scale_, d, "f8")
        if self.architecture_ == "dense":
            arrays += ((self.sign_, d, "i1"),)
        for array, size, kind in arrays:
            if array.shape != (size,) or array.dtype != kind or not np.isfinite(array).all():
                raise CorruptStreamError("The model's arrays do not fit together.")
        if not (np.all(self.scale_ > 0) and is_spread(self.spread_)):
            raise CorruptStreamError("The model's units are impossible.")
