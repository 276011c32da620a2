"""PCACodec: Karhunen-Loeve transform, entropy-constrained quantizers, real bytes."""

import copy
from numbers import Integral

import numpy as np

from rdlearn._discrete import DiscreteCodec
from rdlearn._moments import Moments, RowSample
from rdlearn._pca_design import BLOCK_ROWS, DesignMixin
from rdlearn._saving import remembered
from rdlearn._sklearn import Interval, StrOptions, fit_context
from rdlearn._threads import one_blas_thread
from rdlearn._training import warn
from rdlearn._validation import explain_far
from rdlearn.coding.trellis import TrellisQuantizers
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels.products import affine, cast

__all__ = ["PCACodec"]

LEAST_DEVIATION = 1e-75


class PCACodec(DesignMixin, DiscreteCodec):
    """Transform code on principal components, with entropy-coded quantizers.

    The data are centred, rotated to their principal components (the Karhunen-Loeve transform)
    and each component is quantized so that ``rate + beta * distortion`` is least on the training
    data: cells are chosen by rate and distortion together, values are reconstructed at the
    cells' centroids, and symbols are coded by rANS under integer tables that are frozen at the
    end of `fit`. Components that are not worth a bit at this price are dropped, and with them
    whatever later data hold in directions that did not vary in training. A column whose training
    values were all at least 0, or all at most 0, is reconstructed on that side of 0.

    At high rate this is reverse water-filling with one step for all components,
    ``step = sqrt(6 / beta)``; on Gaussian data the rate of scalar quantizers lies at most 0.26 bit
    per active component above R(D) (``benchmarks/gaussian_gap.py``).

    Of a table of more than 65536 rows, quantizers are designed on that many, spread over it; a
    target is met on all rows, and where the sample cannot do it, or its variances are not those
    of all rows, all of them are designed on.

    Parameters
    ----------
    n_components : int, default=None
        Most components kept; None keeps min(n_samples, n_features).
    beta : float, default=1.0
        Price of distortion: nats of rate per unit of distortion, ``-dR/dD``. Larger beta: more
        bits, less loss. Where a target is given, the start of the search.
    distortion : {"squared_error", "absolute_error", "hamming", "bernoulli"} or Distortion, \
            default="squared_error"
        What `beta` prices and `mean_distortion` reports, summed over features. Cells are decided
        by squared error in any case; for another distortion the step is searched.
    quantizer : {"scalar", "trellis"}, default="scalar"
        "trellis": two interleaved quantizers, of which the parities of earlier components choose
        one, and a search for the best path through them. Each row is a path, so that it can be
        coded by itself; paths of one component gain nothing and long ones the most. With
        ``compress(X, joint=True)`` paths lead through rows instead (``benchmarks/shannon_gap.py``).
    n_bits : int, default=None
        Fixed-rate code of `n_bits` bits, 1 to 12, for every component (Lloyd-Max quantizers) in
        place of the entropy-coded one; ``n_bits=1`` sends one sign per component. `beta` is not
        used.
    target_rate : float, default=None
        Bits per training sample, headers not counted; `fit` finds `beta_` so that the rate lies
        between 0.98 and 1.0 of the target, never above. Where few samples let the rate move in
        steps too coarse for that, it is the nearest step below, with a ConvergenceWarning.
    target_distortion : float, default=None
        Mean distortion on the training data; found likewise, never above.
    standardize : bool, default=False
        Measure distortion in units of each feature's standard deviation.
    resolution : float or array-like of shape (n_features,), default=None
        Width of the cells whose probability `score` takes; None learns the smallest gap between
        distinct training values of each feature.
    data_range : float, default=None
        Difference of the largest and smallest possible value; needed by `psnr_db` only.
    random_state : int, RandomState instance or None, default=None
        Seeds the sample of rows that `partial_fit` keeps; `fit` draws nothing.
    verbose : bool or int, default=False
        Whether to show on stderr what is tried: the rate and distortion of each price on the way to
        a target, and of a trellis each round of search and new tables. A target of a trellis takes
        at most ten prices of at most eight rounds on all rows designed on, twice: along rows and
        along components.

    Attributes
    ----------
    components_ : ndarray of shape (n_components_, n_features_in_), float64
        Principal axes (of the standardized data where `standardize`), by falling variance.
    explained_variance_ : ndarray of shape (n_components_,), float64
    mean_, scale_ : ndarray of shape (n_features_in_,), float64
        Mean and standard deviation of each feature.
    sign_ : ndarray of shape (n_features_in_,), int8
        1 where no training value was negative, -1 where none was positive, else 0. No
        reconstruction lies on the other side of 0.
    quantizers_ : ScalarQuantizers or TrellisQuantizers
        Reconstruction points and integer tables of the active components.
    joint_quantizers_ : TrellisQuantizers
        Those of ``compress(X, joint=True)``; of a trellis only.
    n_components_ : int
    beta_ : float
        The price in force: `beta`, or what the target led to.
    distortion_ : Distortion
    distortion_per_feature_ : ndarray of shape (n_features_in_,), float64
    noise_scale_ : float
        Scale of the distortion's noise model, fitted on the training residual: the standard
        deviation for squared error, the mean deviation for absolute error (in standard
        deviations of the features where `standardize`), the exponent for Hamming distortion.
    resolution_ : ndarray of shape (n_features_in_,), float64
    n_samples_seen_ : int
    n_iter_ : int
        Most iterations that the design of a component's quantizer took; of a trellis, rounds of
        search and new tables.
    history_ : DataFrame
        Every price tried: rate_bits, distortion, objective in nats, beta.
    n_features_in_, feature_names_in_, feature_dtypes_
        What `fit` saw; names and dtypes for DataFrames only.

    References
    ----------
    Chou, Lookabaugh, Gray, "Entropy-constrained vector quantization", IEEE Trans. ASSP 37
    (1989); Goyal, "Theoretical foundations of transform coding", IEEE Signal Proc. Mag. 18 (2001).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from rdlearn import PCACodec
    >>> X = load_digits().data
    >>> codec = PCACodec(target_rate=40).fit(X)
    >>> 39 < codec.rate(X) <= 40
    True
    >>> blob = codec.compress(X)
    >>> abs(8 * len(blob) / len(X) - codec.rate(X)) < 1
    True
    >>> bool((codec.decompress(blob) == codec.inverse_transform(codec.transform(X))).all())
    True
    """

    _parameter_constraints: dict = {
        **DiscreteCodec._parameter_constraints,
        "n_components": [None, Interval(Integral, 1, None, closed="left")],
        "quantizer": [StrOptions({"scalar", "trellis"})],
        "n_bits": [None, Interval(Integral, 1, 12, closed="both")],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        n_components=None,
        *,
        beta=1.0,
        distortion="squared_error",
        quantizer="scalar",
        n_bits=None,
        target_rate=None,
        target_distortion=None,
        standardize=False,
        resolution=None,
        data_range=None,
        random_state=None,
        verbose=False,
    ):
        self.n_components = n_components
        self.beta = beta
        self.distortion = distortion
        self.quantizer = quantizer
        self.n_bits = n_bits
        self.target_rate = target_rate
        self.target_distortion = target_distortion
        self.standardize = standardize
        self.resolution = resolution
        self.data_range = data_range
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X):
        self._partial = None
        self._check_targets(X)
        with one_blas_thread():
            moments = Moments(X.shape[1])
            moments.update(X, keep_scatter=X.shape[0] >= X.shape[1])
            lost = self._set_transform(moments, X)
        self._design(X, lost)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None):
        """Fit to more rows of a table that need not fit in memory.

        Continues earlier calls of `partial_fit`; after `fit` or `load`, whose rows are not kept,
        it starts over with a warning.

        The transform is exact: mean and covariance of all rows so far. The quantizers are
        designed anew at each call on a uniform random sample of the rows so far (all of them up
        to 65536 rows or 2**24 values), so split the table into few, large pieces. How the rows
        are split changes results by rounding only.

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
            As for `fit`; a target must be within reach in every call.
        """
        partial = getattr(self, "_partial", None)
        if partial is None and hasattr(self, "components_"):
            warn(
                "partial_fit starts over: it continues only what partial_fit began, and this "
                "codec was fitted as a whole or loaded from a file."
            )
        with self._unchanged_on_failure():
            self._continue(X, partial)
        return self

    def _continue(self, X, partial):
        X = self._begin(X, reset=partial is None)
        if partial is None:
            partial = RowSample(X.shape[1], X.dtype, self.random_state)
        # A copy, so that a failure below leaves no rows counted twice.
        partial = copy.deepcopy(partial)
        with one_blas_thread():
            partial.update(X)
        sample = partial.rows
        self._check_targets(sample)
        with one_blas_thread():
            lost = self._set_transform(partial.moments, sample)
        self._design(sample, lost)
        self._describe_residual(sample)
        self._partial = partial

    @property
    def _asked_for_rate(self):
        return self.n_bits is not None or super()._asked_for_rate

    def _check_targets(self, X):
        if self.n_bits is not None and (self.target_rate or self.target_distortion):
            name = "target_rate" if self.target_rate else "target_distortion"
            raise ValueError(
                f"n_bits={self.n_bits} fixes the rate and {name}={getattr(self, name)} asks for "
                "another; set one of them to None."
            )
        if self.n_bits is not None and self.quantizer == "trellis":
            raise ValueError(
                f"n_bits={self.n_bits} is a code of fixed length, but quantizer='trellis' is one "
                "of entropy-coded indices; set n_bits=None or quantizer='scalar'."
            )
        blocks = (X[start : start + BLOCK_ROWS] for start in range(0, len(X), BLOCK_ROWS))
        if (self.target_rate or self.target_distortion) and all(np.all(b == X[0]) for b in blocks):
            raise ValueError("X is constant, so that no target can be met; set it to None.")
        most = min(X.shape)
        if self.n_components is not None and self.n_components > most:
            raise ValueError(
                f"n_components={self.n_components} must be at most {most}, the smaller of "
                f"n_samples={X.shape[0]} and n_features={X.shape[1]}."
            )

    def _set_transform(self, moments, X):
        """Mean, units and principal axes; returns the variance outside the kept components."""
        self.n_samples_seen_ = moments.count
        self.mean_ = moments.mean
        self._learn_signs(moments.low, moments.high)
        deviation = np.sqrt(moments.squares / moments.count)
        if 0 < deviation.max() < LEAST_DEVIATION:
            raise ValueError(
                f"The columns of X deviate from their means by {deviation.max():.3g} at most, too "
                "little to square; rescale them, as StandardScaler does."
            )
        # A column that is constant up to rounding keeps its units.
        flat = deviation <= 10 * np.finfo(np.float64).eps * np.abs(moments.mean)
        self.scale_ = np.where(flat | (deviation == 0), 1.0, deviation)
        units = self._units()
        self.n_components_ = int(self.n_components or min(moments.count, X.shape[1]))
        if moments.scatter is not None:
            covariance = moments.scatter / moments.count / np.outer(units, units)
            variance, axes = np.linalg.eigh(covariance)
            variance, axes = variance[::-1], axes[:, ::-1].T
        else:
            # Fewer rows than features: the rows' span is all there is.
            rows = (X - self.mean_) / units
            _, singular, axes = np.linalg.svd(rows, full_matrices=False)
            variance = singular**2 / moments.count
        axes = np.ascontiguousarray(axes[: self.n_components_])
        # Signs are free; fix them so that the largest loading of each axis is positive.
        largest = axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)]
        self.components_ = axes * np.where(largest < 0, -1.0, 1.0)[:, None]
        self.explained_variance_ = np.maximum(variance[: self.n_components_], 0.0)
        total = float(np.sum(moments.squares / units**2)) / moments.count
        return max(total - float(self.explained_variance_.sum()), 0.0)

    def _quantize(self, X):
        active = self.quantizers_.active
        weights = (self.components_[active] / self._units()).T
        operands = cast(X.dtype, self.mean_, weights, np.zeros(active.size))
        symbols = np.empty((active.size, len(X)), dtype=np.int64)
        # Block by block, so that scores stay in the cache between the two kernels; in joint order
        # paths lead through all rows.
        n_rows = len(X) if self._rows_depend else BLOCK_ROWS
        scores = np.empty((min(n_rows, len(X)), active.size), dtype=X.dtype)
        for start in range(0, len(X), n_rows):
            block = X[start : start + n_rows]
            affine(block, *operands, scores)
            part = symbols[:, start : start + len(block)]
            if self.quantizers_.quantize(scores[: len(block)], part):
                names = self._column_names()
                raise explain_far(block, self.mean_, self._units(), names, start)
        return symbols

    def _dequantize(self, symbols, dtype):
        return self.quantizers_.dequantize(symbols, dtype)

    def _decode(self, Z):
        weights = self.components_ * self._units()
        out = np.empty((len(Z), self.n_features_in_), dtype=Z.dtype)
        affine(Z, *cast(Z.dtype, np.zeros(Z.shape[1]), weights, self.mean_), out)
        return self._keep_signs(self.distortion_.reproduction(out))

    @property
    def _tables(self):
        return self.quantizers_.tables

    @property
    def _rows_depend(self):
        """Whether a row's symbols depend on the rows before it."""
        return getattr(self._tables, "joint", False)

    @remembered
    def _jointly(self):
        if not hasattr(self, "joint_quantizers_"):
            return super()._jointly()
        codec = copy.copy(self)
        codec.quantizers_ = self.joint_quantizers_
        return codec

    def _decoder_state(self):
        return {
            "components": self.components_,
            "mean": self.mean_,
            "units": self._units(),
            "sign": self.sign_,
            "quantizers": self.quantizers_.describe(),
            "distortion": self.distortion_.name,
            "constants": self.distortion_.constants(),
        }

    def _check_state(self):
        super()._check_state()
        n, d = self.n_components_, self.n_features_in_
        vectors = [self.mean_, self.scale_]
        shapes = [(self.components_, (n, d)), (self.explained_variance_, (n,))]
        for array, shape in shapes + [(vector, (d,)) for vector in vectors]:
            if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
                raise CorruptStreamError("The model's arrays do not fit together.")
        trellises = []
        if type(self.quantizers_) is TrellisQuantizers or hasattr(self, "joint_quantizers_"):
            trellises = [(self.quantizers_, False), (self.joint_quantizers_, True)]
        if not all(
            type(q) is TrellisQuantizers and q.tables.joint is order and q.n_columns == n
            for q, order in trellises
        ):
            raise CorruptStreamError("The model's trellises are not those of rows and columns.")
        if self.quantizers_.n_columns != n or np.any(self.scale_ <= 0) or self.sign_.size != d:
            raise CorruptStreamError("The model's quantizers do not fit its components.")
