"""UniformNoiseCodec: learned transform codes of tables and images, with real bytes."""

from numbers import Integral

import numpy as np

from rdlearn._image_codec import ImageTransforms
from rdlearn._image_stream import checked_image_shape, refuse_stack
from rdlearn._networks import NetworkMixin
from rdlearn._principal_start import PrincipalStart, zeros_of
from rdlearn._sklearn import Interval, StrOptions, check_row_weight, with_callbacks
from rdlearn._transform_code import BIT, FINE, TURNS, TransformCodec
from rdlearn.channels.centers import CentersChannel
from rdlearn.channels.uniform_noise import UniformNoiseChannel
from rdlearn.coding.centers import MOST_CENTERS, CenterCode
from rdlearn.coding.latents import MOST_COLUMNS, Arrangement, closest_partners
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels.random import keys_of
from rdlearn.nets.losses import WeightedLoss

__all__ = ["UniformNoiseCodec"]


class UniformNoiseCodec(ImageTransforms, NetworkMixin, TransformCodec):
    r"""Learned transform code: an analysis transform, rounding, entropy-coded integers.

    ``architecture="dense"`` trains two nets by gradient, from principal components, which it keeps
    where they cost less at a target. Rounding has no gradient, so that it is replaced by uniform
    noise while training, and the integers' probabilities by those of a learned law F of each
    component:

    .. math::

        E\Big[-\sum_c \ln \big(F_c(z_c + 1/2) - F_c(z_c - 1/2)\big) + \beta\, d(x, g(z))\Big],
        \quad z = f(x) + u, \quad u_c \sim U[-1/2, 1/2].

    When coding, codes are rounded; at the end of `fit` integers are counted into frozen tables.

    ``architecture="conv"`` is that for images: strided convolutions (9 x 9 with stride 4, then one
    of 5 x 5 with stride 2 for each hidden layer) with divisive normalization (GDN) between them,
    and a law for each channel. It trains on patches and codes images of any size.

    ``architecture="wavelet"`` is linear and takes a minute where nets take hours: colours turned to
    their principal axes, six levels of the 9/7 wavelet, steps of one size. `fit` learns the colour
    axes, tables and reconstruction points.

    Parameters
    ----------
    n_components : int, default=16
        Size of the bottleneck of nets; a wavelet has as many coefficients as features.
    beta : float, default=1.0
        Price of distortion: nats of rate per unit of distortion, ``-dR/dD``. Larger beta: more
        bits, less loss. Where a target is given, the start of the search; of dense nets and squared
        error that is the price at which principal components meet the target.
    distortion : {"squared_error", "absolute_error", "bernoulli", "ms_ssim", "nlpd"} or \
            Distortion, default="squared_error"
        What is lost, summed over features. Nets need a gradient; of a wavelet only the step depends
        on it. "ms_ssim" and "nlpd" need `image_shape` and `data_range`, and large prices: ms_ssim
        of photographs of 320 x 480 a beta of 2e5 to 3e6 for 0.1 to 0.5 bit per pixel.
    architecture : {"dense", "conv", "wavelet"}, default="dense"
        Of tables, of images, of images. A wavelet looks at no parameter of nets or of training.
    image_shape : tuple of int, default=None
        (height, width, n_channels) of the images that the rows of X are, each in C order, with one
        channel or three; for images.
    patch_size : int, default=128
        Side in pixels, 16 at least, of the squares of images that convolutions are trained on.
    context : {"none", "causal"}, default="causal"
        "causal": the table of a symbol follows the magnitudes of those already coded: earlier
        components of a row; in images neighbours, coarser bands, other colours. "none": a table for
        each component, which costs less where a few components lie in heaps, as of clusters.
    quantizer : {"round", "centers", "trellis"}, default="round"
        "centers", of nets: the nearest of `n_centers` learned values of its component, in training
        too, without noise; slopes are those of a soft assignment. "trellis": two quantizers by
        turns, as codes before say, along a row or an image: fewer bytes, slower to encode.
    n_centers : int, default=8
        At most log2(`n_centers`) bits for each symbol; 2 to 256.
    hidden_layer_sizes : array-like of int, default=(100,)
        Widths of the encoder's hidden layers; the decoder has them in reverse. () gives linear
        maps.
    activation : {"relu", "tanh", "softplus", "logistic", "identity"}, default="relu"
    learning_rate_init : float, default=0.002
        Rises linearly at first, is constant until half of the steps, then falls along a cosine.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch; "auto" is min(100, n_samples).
    max_iter : int, default=200
        Epochs, over which the schedules of the learning rate and of the price of the rate, which in
        a fresh fit grows from nothing over the first half, are laid out. Convolutions add a quarter
        as many in which the decoder alone learns from rounded codes.
    n_draws : int, default=4
        Draws of noise that the noisy view of rate and distortion is a mean over, at most 10,000.
    shuffle : bool, default=True
        Whether rows are shuffled in each epoch.
    early_stopping : bool, default=False
        Whether to stop when the objective of held-out rows, in the second half of the schedule, has
        not improved by `tol` for `n_iter_no_change` epochs, and keep the best weights.
    validation_fraction : float, default=0.1
    tol : float, default=1e-4
        In nats.
    n_iter_no_change : int, default=10
    warm_start : bool, default=False
        Whether `fit` of nets starts from the parameters of the last fit.
    target_rate : float, default=None
        Bits per training sample, headers not counted; `fit` adapts `beta_` so that the rate lies
        between 0.95 and 1.0 of the target, never above.
    target_distortion : float, default=None
        Mean distortion on the training data; met likewise.
    standardize : bool, default=False
        Measure distortion in units of each feature's standard deviation; for tables.
    resolution : float or array-like of shape (n_features,), default=None
        Width of the cells whose probability `score` takes; None learns the smallest gap between
        distinct training values of each feature.
    data_range : float, default=None
        Difference of the largest and smallest possible value; needed by `psnr_db` and by perceptual
        distortions. `encode_image` takes 0 to `data_range` for the model's black and white, 255
        where it is None.
    random_state : int, RandomState instance or None, default=None
        Seeds weights, order and noise.
    device : {"cpu", "cuda", "auto"}, default="cpu"
        Where `fit` computes; "cuda" needs a GPU and ``pip install 'rdlearn[cuda]'``, "auto" takes
        one where it works. All else is on the CPU, and in each step "ms_ssim", "nlpd" and
        distortions of your own.
    verbose : bool or int, default=False
        Whether to show a progress bar with rate and distortion on stderr.

    Attributes
    ----------
    code_ : ColumnCode, PlaneCode, CenterCode, TrellisColumnCode or TrellisPlaneCode
        Integer tables, and reconstruction points or centres.
    n_centers_ : int, or None for rounding
    step_ : float
        What is rounded is the output of the analysis transform in units of this.
    params_, offset_ : ndarray, float32
        Of nets: all weights and biases in one vector, and the encoder outputs that round to 0.
    colour_axes_ : ndarray of shape (n_channels, n_channels), float64
        Of a wavelet: orthonormal.
    mean_, scale_ : ndarray of shape (n_features_in_,), float64
        Mean and standard deviation of each feature; of images, those of its channel.
    sign_ : ndarray of shape (n_features_in_,), int8
        Of tables: the side of 0 that training values and reconstructions lie on, or 0 for both.
    n_components_ : int
        Columns of the code.
    image_shape_ : tuple of int, or None
    beta_ : float
        The price in force: `beta`, or what the target led to.
    distortion_ : Distortion
    distortion_per_feature_ : ndarray of shape (n_features_in_,), float64
        Of images, the mean of its channel.
    noise_scale_ : float
        Scale of the distortion's noise model, fitted on the training residual.
    resolution_ : ndarray of shape (n_features_in_,), float64
    n_iter_ : int
        Epochs, or prices tried; of wavelets along a trellis, rounds of search and new tables.
    history_ : DataFrame
        rate_bits, distortion, objective in nats and beta of each epoch, with noise in place of
        rounding and while the weights changed, or of each price tried.
    n_features_in_, feature_names_in_, feature_dtypes_
        What `fit` saw; names and dtypes for DataFrames only.

    References
    ----------
    Balle, Laparra, Simoncelli, "End-to-end optimized image compression", ICLR 2017; Gish, Pierce,
    "Asymptotically efficient quantizing", IEEE Trans. Information Theory 14 (1968).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from rdlearn import UniformNoiseCodec
    >>> X = load_digits().data
    >>> codec = UniformNoiseCodec(8, beta=0.02, max_iter=20, random_state=0).fit(X)
    >>> blob = codec.compress(X)
    >>> bool((codec.decompress(blob) == codec.inverse_transform(codec.transform(X))).all())
    True
    >>> abs(8 * len(blob) / len(X) - codec.rate(X)) < 1
    True
    """

    _parameter_constraints: dict = {
        **TransformCodec._parameter_constraints,
        **NetworkMixin._parameter_constraints,
        "architecture": [StrOptions({"dense", "conv", "wavelet"})],
        "image_shape": [None, "array-like"],
        "patch_size": [Interval(Integral, 16, None, closed="left")],
        "context": [StrOptions({"none", "causal"})],
        "quantizer": [StrOptions({"round", "centers", "trellis"})],
        "n_centers": [Interval(Integral, 2, MOST_CENTERS, closed="both")],
    }

    def __init__(
        self,
        n_components=16,
        *,
        beta=1.0,
        distortion="squared_error",
        architecture="dense",
        image_shape=None,
        patch_size=128,
        context="causal",
        quantizer="round",
        n_centers=8,
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
        self.architecture = architecture
        self.image_shape = image_shape
        self.patch_size = patch_size
        self.context = context
        self.quantizer = quantizer
        self.n_centers = n_centers
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
        self.standardize = standardize
        self.resolution = resolution
        self.data_range = data_range
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @with_callbacks
    def fit(self, X, y=None, *, distortion_weight=None):
        """Learn the codec from a table.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Finite numbers, at least two rows; with `image_shape` each row is an image. float32 is
            kept, all else becomes float64; the transforms compute in float32.
        y : None
            Ignored.
        distortion_weight : array-like of shape (n_samples,), default=None
            Factors of each row's distortion in training, at least 0: nets spend bits where the
            weight is. What is measured afterwards is not weighted.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            The table, or a parameter on this table, is unusable; the sentence has the remedy.
        """
        refuse_stack(X)
        # Trained nets expect whole steps: a bit has no price.
        self._weight, self._bit = distortion_weight, 0.0
        try:
            with self._calling_back(y):
                return super().fit(X, y)
        finally:
            del self._weight, self._bit

    def _fit(self, X):
        images = self.architecture != "dense"
        self.image_shape_ = checked_image_shape(self.image_shape, X.shape[1]) if images else None
        self._check_architecture()
        if getattr(self, "architecture_", self.architecture) != self.architecture:
            # Nothing of another transform is left beside this one.
            names = "params_", "hidden_sizes_", "activation_", "colour_axes_", "n_centers_", "sign_"
            for name in names:
                vars(self).pop(name, None)
        self.architecture_ = self.architecture
        self._learn_units(X)
        self._callbacks.begin(X=X)
        fit = {"dense": self._fit_rows, "conv": self._fit_patches, "wavelet": self._fit_bands}
        fit[self.architecture](X)
        self._callbacks.end(self._fitted_attributes)

    _pool_rows = 0

    def _channel(self, n_places=1):
        if self.n_centers_ is not None:
            return CentersChannel(self.n_components_, self.n_centers_, n_places)
        return UniformNoiseChannel(self.n_components_, n_places)

    def _channel_shape(self):
        return {"n_centers_": int(self.n_centers) if self.quantizer == "centers" else None}

    def _noise(self, keys, bits_of):
        return (bits_of(self._n_features_out) * 2.0**-32 - 0.5).astype(np.float32)

    def _row_weights(self, X):
        weight = self._weight
        return None if weight is None else check_row_weight(weight, X, "distortion_weight")

    def _fit_rows(self, X):
        self._learn_signs(X.min(axis=0), X.max(axis=0))
        loss, weight = self._loss(), self._row_weights(X)
        target = loss.target(X / self._units())
        if weight is not None:
            loss, target = WeightedLoss(loss), np.column_stack([target, weight]).astype(np.float32)
        start = PrincipalStart((X - self.mean_) / self._units())
        self._train(X, target, X.shape[1], loss=loss, start=start, **self._goals())
        self._learn_offset(X)
        if not self._asked_for_rate or start.plain is None or self.n_centers_ is not None:
            self._design(X, X, FINE, TURNS, direct=True)
            return
        trained = {"params_": self.params_, "offset_": self.offset_, "_bit": 0.0}
        self.params_, self.offset_ = start.plain, np.zeros_like(self.offset_)
        linear = {"params_": start.plain, "offset_": zeros_of(self._values(X)), "_bit": BIT}
        self._design_best(X, [(trained, TURNS), (linear, None)], weight)

    def _learn_offset(self, few):
        """What codes are rounded about: their medians, so that most of small ones are 0."""
        self.offset_ = np.zeros(self.n_components_, dtype=np.float32)
        if self.n_centers_ is None:
            values = self._values(few).reshape(-1, self.n_components_)
            self.offset_ = np.median(values, axis=0)

    def _build(self, loss=None):
        return super()._build(loss) if self.image_shape_ is None else self._build_images(loss)

    def _encode(self, X):
        if self.architecture_ == "dense":
            return super()._encode(X)
        objective = self._build()
        encoded = self._analysed(X)
        return objective, objective.views(self.params_), encoded, keys_of(X.astype(np.float32))

    # What `TransformCodec` asks for.

    def _arrangement(self, steps):
        if self.image_shape_ is not None:
            return self._image_arrangement(steps)
        if self.context == "none":
            return None, 0.0
        partners = closest_partners(np.abs(np.rint(steps)), MOST_COLUMNS)
        return Arrangement("columns", (self.n_components_,), 0, partners), self._bit

    def _centers(self):
        if self.n_centers_ is None:
            return None
        channel = self._build().views(self.params_)[1]
        return self._channel().centers(channel)

    def _draw_codes(self, X, n_draws, draw_keys=None):
        self._refuse_without_noise("sample_codes draws", "transform")
        return super()._draw_codes(X, n_draws, draw_keys)

    def _values(self, X):
        values = self._encode(X)[2] if self.image_shape_ is None else self._analysed(X)
        return self._moved(values)

    def _decode(self, Z):
        if self.architecture_ == "dense":
            rows = self._loss().decode(self._outputs(Z, None), Z.dtype)
            return self._keep_signs(rows * self._units().astype(Z.dtype))
        return self.distortion_.reproduction(self._synthesised(Z).astype(Z.dtype))

    def _decoder_state(self):
        state = {n: vars(self)[n] for n in ("architecture_", "image_shape_", "spread_")}
        transform = self.colour_axes_ if self.architecture_ == "wavelet" else self.params_
        return {**state, "transform": transform, **super()._decoder_state()}

    def _check_state(self):
        centers = self.n_centers_
        if self.architecture_ == "wavelet" and centers is None:
            TransformCodec._check_state(self)
        elif self.architecture_ in ("dense", "conv"):
            known = type(centers) is int and 2 <= centers <= MOST_CENTERS
            if not (centers is None or known):
                raise CorruptStreamError("The model's n_centers_ is impossible.")
            super()._check_state()
        else:
            raise CorruptStreamError(f"The model's transform {self.architecture_!r} is impossible.")
        whole = self.image_shape_ is None and self.code_.n_columns == self.n_components_
        fits = whole if self.architecture_ == "dense" else self._images_fit()
        if not fits or isinstance(self.code_, CenterCode) != (centers is not None):
            raise CorruptStreamError("The model's shapes, tables and axes do not fit together.")
