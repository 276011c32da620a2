"""Codes of images: wavelet bands, and convolutional nets that learn from patches."""

import math

import numpy as np
from numba import get_num_threads
from sklearn.exceptions import ConvergenceWarning

from rdlearn._console import Progress
from rdlearn._image_nets import (
    DecoderObjective,
    ImageNets,
    image_objective,
    padded,
    patches,
    total_stride,
)
from rdlearn._image_stream import checked_image_shape
from rdlearn._latent_search import searched
from rdlearn._minibatch import PRICE_WARM_UP, Batches, Schedule, minimize
from rdlearn._moments import smallest_gaps
from rdlearn._perceptual import on_patches
from rdlearn._threads import one_blas_thread
from rdlearn._training import local_price, slope_bounds, warn
from rdlearn._transform_code import BIT, FINE, TURNS
from rdlearn._wavelet import LEVELS, Wavelet, colour_axes
from rdlearn.coding.latents import MOST_CHANNELS, Arrangement, closest_partners
from rdlearn.coding.trellis_planes import TrellisPlaneCode
from rdlearn.nets.losses import WeightedLoss, make_loss

__all__ = ["FIT_VALUES", "ImageTransforms"]

# Coefficients that tables are learned from.
FIT_VALUES = 1 << 25
# Part of the steps of patches over which the price of the rate rises.
PATCH_WARM_UP = 0.2
# Patches of a minibatch, unless the user says.
BATCH_OF_PATCHES = 8
# Epochs of the decoder alone at the end, as a part of those before, and their learning rate, as a
# part of that.
FINISH, FINISH_RATE = 0.25, 0.3
# Part of white that the brightest pixel of all images falls short of by mistake only.
DARK = 0.05
# Pixels whose values tell how finely a channel is resolved.
GAP_PIXELS = 1 << 20


class ImageTransforms:
    """What `UniformNoiseCodec` does with images and not with tables."""

    def _check_architecture(self):
        if self.image_shape_ is not None and self.standardize:
            raise ValueError(
                "standardize=True would give each pixel a unit of its own; use "
                f"standardize=False with architecture={self.architecture!r}."
            )
        if self.architecture != "wavelet":
            return
        if self._weight is not None:
            raise ValueError(
                "distortion_weight weighs rows in the training of nets, but "
                "architecture='wavelet' has none; leave it out."
            )
        if self.quantizer == "centers":
            raise ValueError(
                f"quantizer={self.quantizer!r} learns its values with nets, but "
                "architecture='wavelet' has none; use quantizer='round' or 'trellis'."
            )

    def _check_white(self, X):
        low, high, white = float(X.min()), float(X.max()), self._white()
        if low < 0 or high > white or high < DARK * white:
            warn(
                f"The images hold values from {low:g} to {high:g}, but data_range="
                f"{self.data_range} takes 0 for black and {white:g} for white, in encode_image "
                "too; set data_range to the value of white, 1 for images scaled to [0, 1]."
            )

    def _learn_units(self, X):
        super()._learn_units(X)
        if self.image_shape_ is not None:
            self._check_white(X)
            pixels, n_places = X.reshape(-1, self.image_shape_[2]), math.prod(self.image_shape_[:2])
            self.mean_ = np.tile(pixels.mean(axis=0, dtype=np.float64), n_places)
            deviation = pixels.std(axis=0, dtype=np.float64)
            self.scale_ = np.tile(np.where(deviation > 0, deviation, 1.0), n_places)

    def _learn_resolution(self, X):
        if self.image_shape_ is None or self.resolution is not None:
            return super()._learn_resolution(X)
        pixels = X.reshape(-1, self.image_shape_[2])
        return np.tile(
            smallest_gaps(pixels[:: -(-len(pixels) // GAP_PIXELS)]),
            math.prod(self.image_shape_[:2]),
        )

    def _describe_residual(self, X, **inputs):
        super()._describe_residual(X, **inputs)
        if self.image_shape_ is not None:
            shares = self.distortion_per_feature_.reshape(-1, self.image_shape_[2])
            self.distortion_per_feature_ = np.tile(shares.mean(axis=0), len(shares))

    def _fit_bands(self, X):
        n_channels = self.image_shape_[2]
        self.n_components_ = X.shape[1]
        few = X[:: -(-X.size // FIT_VALUES)]
        self.colour_axes_ = colour_axes(few.reshape(-1, *self.image_shape_))
        self.offset_, self.n_centers_ = np.zeros(1, dtype=np.float32), None
        self._history = {"rate_bits": [], "distortion": [], "objective": [], "beta": []}
        bounds = slope_bounds(float(self.scale_[:n_channels].max()) ** 2)
        # Squared error is the one distortion whose price is the slope.
        direct = self.distortion_.name == "squared_error"
        slope = self._design(X, few, float(self.beta), bounds, direct)
        self.beta_ = float(self.beta)
        if self._asked_for_rate:
            code = self.code_, self.step_
            self.beta_ = slope if direct else local_price(self._measure_on(few), slope)
            self.code_, self.step_ = code
        self._remember(self.beta_, *self._means(X))
        self.n_iter_ = getattr(self.code_, "n_iter", len(self._history["beta"]))

    def _fit_patches(self, X):
        n_channels = self.image_shape_[2]
        size, weight = self._patch_size(), self._row_weights(X)
        images = X.reshape(-1, *self.image_shape_)
        share = math.prod(size) * n_channels / X.shape[1]
        loss, factor = self._image_loss(size)
        if factor != 1 or weight is not None:
            weight = factor * (np.ones(len(X)) if weight is None else weight)
            loss = WeightedLoss(loss)

        def redraw(rng, rows):
            raw = patches(images, rows, size, rng)
            x = (padded(raw, self._stride) - self.mean_[:n_channels]) / self.spread_
            target = loss.target(raw.reshape(len(raw), math.prod(raw.shape[1:])))
            if weight is not None:
                target = np.column_stack([target, weight[rows]]).astype(np.float32)
            return x.astype(np.float32), target

        train = {"redraw": redraw, "loss": loss}
        schedule = self._train(images, images, n_channels, **train, **self._goals(share))
        for name in ("rate_bits", "distortion", "objective", "validation_objective"):
            if name in self._history:
                self._history[name] = [value / share for value in self._history[name]]
        few = X[:: -(-X.size // FIT_VALUES)]
        self._learn_offset(few)
        if self.n_centers_ is None and not schedule.interrupted:
            self._finish(images, schedule.batch_size, **train)
        self._design(X, few, FINE, TURNS, direct=True)

    def _image_distortion(self, size):
        """That of images of some size, and its price as a multiple of that of rows' images."""
        shape = (*size, self.image_shape_[2])
        return on_patches(self.distortion_, shape, math.prod(shape) / math.prod(self.image_shape_))

    def _image_loss(self, size):
        distortion, factor = self._image_distortion(size)
        center = np.tile(self.mean_[: self.image_shape_[2]], math.prod(size))
        return make_loss(distortion, center, self.spread_), factor

    def _finish(self, images, batch_size, redraw, loss):
        """Let the decoder learn from codes that are rounded, as those it will see."""
        objective = DecoderObjective(self._build(loss), self.params_, self.offset_)
        epochs = max(1, round(FINISH * self.n_iter_))
        schedule = Schedule(
            beta=self.beta_,
            batch_size=batch_size,
            learning_rate_init=FINISH_RATE * self.learning_rate_init,
            max_iter=epochs,
            warm=True,
        )
        params, progress = self.params_.copy(), Progress()
        decoder = params[-objective.n_parameters :]
        batches = Batches(images, images, None, redraw)
        rng = np.random.Generator(np.random.Philox(self.noise_seed_))

        def tell(epoch, history, _):
            if self.verbose:
                progress.show(f"decoder on rounded codes: epoch {epoch}/{epochs}")

        try:
            with one_blas_thread():
                minimize(objective, decoder, batches, schedule, rng, device=self.device, tell=tell)
            self.params_ = params
        except KeyboardInterrupt:
            warn(
                "Interrupted before the decoder had learned from rounded codes; the model is that "
                "of the epochs before, and loses a little more.",
                ConvergenceWarning,
            )
        if self.verbose:
            progress.clear()

    @property
    def _stride(self):
        return total_stride(self.hidden_sizes_)

    @property
    def _price_warm_up(self):
        # Codes of images do not collapse, and what they cost takes long to learn.
        return PATCH_WARM_UP if self.architecture_ == "conv" else PRICE_WARM_UP

    def _batch_size(self, n):
        if self.architecture_ == "conv" and self.batch_size == "auto":
            return min(BATCH_OF_PATCHES, n)
        return super()._batch_size(n)

    def _inputs(self, X, start=0):
        # Patches are cut from images as they are.
        return X if X.ndim == 4 else super()._inputs(X, start)

    def _patch_size(self):
        return tuple(min(self.patch_size, side) for side in self.image_shape_[:2])

    def _build_images(self, loss):
        if loss is None:
            return self._image_objective(None, (1, 1))
        # Only training has patches, and the work for more than one thread.
        return self._image_objective(loss, self._patch_size(), get_num_threads(), self.device)

    def _image_objective(self, loss, size, n_threads=1, device="cpu"):
        channel = self._channel(math.prod(-(-side // self._stride) for side in size))
        hidden = self.hidden_sizes_.tolist()
        nets = (self.n_outputs_, hidden, channel)
        return image_objective(*nets, loss, size, n_threads, device)

    def _images(self, X):
        return X.reshape(-1, *self.image_shape_)

    def _image_transform(self):
        """Analysis and synthesis of images of any size."""
        mean = self.mean_[: self.image_shape_[2]]
        if self.architecture_ == "wavelet":
            return Wavelet(mean, self.colour_axes_)
        return ImageNets(
            self._build(), self.params_, self._stride, mean, self.spread_, self.distortion_
        )

    def _searched(self, pixels, values, n_steps):
        """Values of an image's analysis that round to a better code."""
        self._refuse_without_noise(f"search_steps={n_steps} searches", "search_steps=0")
        if isinstance(self.code_, TrellisPlaneCode):
            raise ValueError(
                f"search_steps={n_steps} searches codes that are rounded one by one, but "
                "quantizer='trellis' searches paths; use search_steps=0."
            )
        size = pixels.shape[:2]
        loss, factor = self._image_loss(size)
        with one_blas_thread():
            found = searched(
                self._image_objective(loss, size),
                self.params_,
                values.reshape(1, *self._image_transform().places(*size), -1),
                loss.target(pixels.reshape(1, -1)),
                self.beta_ * factor,
                self.offset_,
                self.step_,
                n_steps,
            )
        return found.ravel()

    def _priced_loss(self, pixels, decoded):
        """What an image's loss costs, in nats."""
        distortion, factor = self._image_distortion(pixels.shape[:2])
        seen = np.clip(decoded, 0, self._white())
        lost = distortion.samples(pixels.reshape(1, -1), seen.reshape(1, -1))
        return self.beta_ * factor * float(lost[0])

    def _analysed(self, X):
        """Outputs (n_samples, n_symbols) of the analysis of each row."""
        transform = self._image_transform()
        # Once for all rows: what sets the limit is slow.
        with one_blas_thread():
            return np.stack([transform.analyse(image) for image in self._images(X)])

    def _synthesised(self, Z):
        """Images, as rows, of codes."""
        transform, size = self._image_transform(), self.image_shape_[:2]
        with one_blas_thread():
            return np.stack([transform.synthesise(z, *size).ravel() for z in Z])

    def _image_arrangement(self, steps):
        """Planes of the symbols, and what a bit costs in squared steps."""
        if self.architecture_ == "wavelet":
            return Arrangement("bands", self.image_shape_, LEVELS), BIT
        places = self._image_transform().places(*self.image_shape_[:2])
        seen = np.abs(np.rint(steps.reshape(-1, self.n_components_)))
        partners = closest_partners(seen, MOST_CHANNELS)
        return Arrangement("grid", (*places, self.n_components_), 0, partners), 0.0

    def _images_fit(self):
        """Whether a loaded model's images, planes and colours are of one shape."""
        shape = checked_image_shape(self.image_shape_, self.n_features_in_)
        if any(type(side) is not int for side in self.image_shape_):
            return False
        planes = self.code_.arrangement
        if self.architecture_ == "conv":
            places = self._image_transform().places(*shape[:2])
            return (planes.kind, planes.shape) == ("grid", (*places, self.n_components_))
        axes, known = self.colour_axes_, (planes.kind, planes.shape, planes.levels)
        square = axes.shape == (shape[2], shape[2]) and known == ("bands", shape, LEVELS)
        return square and np.allclose(axes @ axes.T, np.eye(len(axes)))
