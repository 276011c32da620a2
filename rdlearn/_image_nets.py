"""Convolutional nets between images and codes: layers, training on patches, single images."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rdlearn._objective import Objective
from rdlearn._threads import one_blas_thread
from rdlearn.kernels import get_ops
from rdlearn.nets.convolution import GDN, Conv, TransposedConv
from rdlearn.nets.layers import Workspace
from rdlearn.nets.losses import make_loss
from rdlearn.nets.sequential import Sequential
from rdlearn.nets.soap import Soap

__all__ = [
    "DecoderObjective",
    "ImageNets",
    "ImageObjective",
    "image_objective",
    "padded",
    "patches",
    "total_stride",
]

# (side of the kernel, stride) of the layer at the pixels, and of all others.
OUTER, INNER = (9, 4), (5, 2)
# The longest gradient, in units of the usual one, and how fast what is usual is forgotten.
MOST_NORM, FORGET = 2.0, 0.02
# Of a gradient that is divided by.
LEAST_NORM = 1e-300


def total_stride(hidden):
    """Pixels of an image's side for one place of the code."""
    return OUTER[1] * INNER[1] ** len(hidden)


def image_objective(n_channels, hidden, channel, loss, size, n_threads=1, device="cpu"):
    """Nets with GDN between convolutions, `hidden` channels between them, as an objective."""
    widths = [*hidden, channel.n_outputs]
    down, up = [], []
    for number, width in enumerate(widths):
        kernel, stride = OUTER if number == 0 else INNER
        down += [Conv(width, kernel, stride)] + [GDN(width)] * (number < len(hidden))
        before = n_channels if number == 0 else widths[number - 1]
        up = [GDN(before, inverse=True)] * (number > 0) + up
        up = [TransposedConv(before, kernel, stride), *up]
    encoder = Sequential(down, n_channels, "encoder")
    decoder = Sequential(up, channel.n_components, "decoder")
    return ImageObjective(encoder, channel, decoder, loss, size, n_threads, device)


class ImageObjective(Objective):
    """Rate plus price times distortion of images, a part of the batch in each thread.

    Parameters
    ----------
    encoder, decoder : Sequential
    channel : channel
    loss : loss, or None where only codes and outputs are asked for
    size : (int, int)
        Height and width of the images that targets are rows of; inputs may be padded.
    n_threads : int, default=1
        On the CPU.
    device : str, default="cpu"
        Where gradients are computed.
    """

    def __init__(self, encoder, channel, decoder, loss, size, n_threads=1, device="cpu"):
        super().__init__(encoder, channel, decoder, loss)
        self.size, self.device = size, device
        ops = get_ops(device)
        n_threads = n_threads if ops is get_ops("cpu") else 1
        self._pool = ThreadPoolExecutor(n_threads)
        self._works = [Workspace(device) for _ in range(n_threads)]
        self._usual = None
        # Coding needs none, and a damaged model file may ask for any number.
        size = 0 if loss is None else self.n_parameters
        self._grads = [ops.empty(size, dtype=np.float32) for _ in self._works]

    def _initial_bias(self):
        rows = self.loss.initial_bias().reshape(self.size[0] * self.size[1], -1)
        return rows.mean(axis=0)

    def optimizer(self, ops):
        return Soap(self, ops)

    def forward(self, views, x, target, side, draw, state, work, loss_weight=1.0):
        """No code, rate (n,) in nats, loss (n,), and what `backward` needs."""
        parts = np.array_split(np.arange(len(x)), min(len(self._works), len(x)))

        def run(work, rows):
            rows = slice(rows[0], rows[-1] + 1)
            return self._forward(views, x[rows], target[rows], draw[rows], work, loss_weight)

        done = list(self._pool.map(run, self._works[: len(parts)], parts))
        rate, loss = (np.concatenate([part[k] for part in done]) for k in (0, 1))
        return None, rate, loss, [part[2] for part in done]

    def _forward(self, views, x, target, draw, work, loss_weight):
        encoder, channel, decoder = views
        encoded, encoder_cache = self.encoder.forward(encoder, x, work)
        code, rate, channel_cache = self.channel.forward(channel, encoded, draw, None, work)
        loss, decoder_cache = self._decoded(decoder, code, target, work, loss_weight)
        return rate.copy(), loss, (encoder_cache, channel_cache, *decoder_cache)

    def _decoded(self, decoder, code, target, work, loss_weight):
        """Loss (n,) of codes, and what the decoder's gradient needs."""
        output, cache = self.decoder.forward(decoder, code, work)
        height, width = self.size
        inside = output[:, :height, :width].reshape(len(code), -1)
        loss, slope = self.loss.forward(inside, target, loss_weight, work)
        grad = work.empty("output gradient", output.shape, output.dtype)
        grad[:] = 0
        grad[:, :height, :width] = slope.reshape(len(code), height, width, -1)
        return loss.copy(), (cache, grad)

    def keep(self, code, cache, state):
        """What the channel passes on to the next batch."""
        return self.channel.keep(code, cache, state)

    def backward(self, views, grads, cache, rate_weight, work):
        """Fill `grads` with those of rate_weight * sum(rate) + loss_weight * sum(loss)."""
        parts = [self.views(flat) for flat in self._grads[: len(cache)]]

        def run(work, own, part):
            self._backward(views, own, part, rate_weight, work)

        list(self._pool.map(run, self._works[: len(cache)], parts, cache))
        total = self._grads[0]
        for flat in self._grads[1 : len(cache)]:
            total += flat
        total *= self._restraint(np.linalg.norm(total).astype(np.float64)).astype(total.dtype)
        encoder, channel, decoder = self.views(total)
        grads[1][:] = channel
        for net, own in ((grads[0], encoder), (grads[2], decoder)):
            for layer, part in zip(net, own, strict=True):
                for name, array in layer.items():
                    array[:] = part[name]

    def _restraint(self, norm):
        """Factor of a gradient: products of channels make rare ones that would undo all others."""
        usual = norm if self._usual is None else self._usual
        # All on the device: nothing waits for a number to come back.
        factor = np.minimum(1.0, MOST_NORM * usual / np.maximum(norm, LEAST_NORM))
        self._usual = usual + FORGET * (factor * norm - usual)
        return factor

    def _backward(self, views, grads, cache, rate_weight, work):
        encoder_cache, channel_cache, decoder_cache, grad = cache
        (encoder, channel, decoder), (to_encoder, to_channel, to_decoder) = views, grads
        by_code = self.decoder.backward(decoder, decoder_cache, grad, to_decoder, work)
        by_encoded = self.channel.backward(
            channel, to_channel, by_code, rate_weight, channel_cache, work
        )
        self.encoder.backward(
            encoder, encoder_cache, by_encoded, to_encoder, work, wants_input=False
        )

    def code_gradient(self, views, grads, code, target, loss_weight, rate_weight, work):
        """That of rate_weight * sum(rate) + loss_weight * sum(loss) by a code without noise."""
        _, channel, decoder = views
        draw = np.zeros_like(code)
        _, _, channel_cache = self.channel.forward(channel, code, draw, None, work)
        _, (cache, grad) = self._decoded(decoder, code, target, work, loss_weight)
        by_code = self.decoder.backward(decoder, cache, grad, grads[2], work)
        return self.channel.backward(channel, grads[1], by_code, rate_weight, channel_cache, work)


class DecoderObjective(ImageObjective):
    """The decoder's part of an objective, at the rounded codes of an encoder that stays.

    Parameters
    ----------
    nets : ImageObjective
    params : ndarray
        Of the nets; those of the decoder are the parameters here.
    offset : ndarray of shape (n_components,)
        What codes are rounded about.
    """

    def __init__(self, nets, params, offset):
        parts = (nets.encoder, nets.channel, nets.decoder, nets.loss)
        super().__init__(*parts, nets.size, len(nets._works), nets.device)
        ops = self._works[0].ops
        self._encoder, self.offset = nets.views(ops.to_device(params))[0], ops.to_device(offset)
        self.n_parameters = nets.decoder.n_parameters
        self._grads = [grad[: self.n_parameters] for grad in self._grads]

    def views(self, flat):
        return [], flat[:0], self.decoder.views(flat)

    def _forward(self, views, x, target, draw, work, loss_weight):
        encoded, _ = self.encoder.forward(self._encoder, x, work)
        code = work.empty("code", encoded.shape, encoded.dtype)
        np.rint(np.subtract(encoded, self.offset, out=code), out=code)
        code += self.offset
        loss, cache = self._decoded(views[2], code, target, work, loss_weight)
        return np.zeros_like(loss), loss, cache

    def _backward(self, views, grads, cache, rate_weight, work):
        decoder_cache, grad = cache
        self.decoder.backward(views[2], decoder_cache, grad, grads[2], work, wants_input=False)


class ImageNets:
    """Codes of images of any size, and back.

    Parameters
    ----------
    objective : ImageObjective
    params : ndarray
    stride : int
        Pixels of an image's side for one place of the code.
    mean : ndarray of shape (n_channels,)
    spread : float
        The nets see (image - mean) / spread.
    distortion : Distortion
    """

    def __init__(self, objective, params, stride, mean, spread, distortion):
        self.objective, self.stride = objective, stride
        self.views = objective.views(params)
        self.mean, self.spread, self.distortion = mean, spread, distortion
        self._work = Workspace()

    def places(self, height, width):
        """Height and width of an image's code."""
        return -(-height // self.stride), -(-width // self.stride)

    def analyse(self, image):
        """Encoder outputs (n_symbols,), float32, of an image (height, width, n_channels)."""
        x = padded(image[None], self.stride)
        x = ((x - self.mean) / self.spread).astype(np.float32)
        with one_blas_thread():
            return self.objective.encode(self.views, x, self._work).ravel().copy()

    def synthesise(self, values, height, width):
        """Image (height, width, n_channels), float32, of a code (n_symbols,)."""
        code = values.astype(np.float32).reshape(1, *self.places(height, width), -1)
        with one_blas_thread():
            out = self.objective.decode(self.views, code, None, self._work)
        inside = out[:, :height, :width].reshape(1, -1)
        loss = make_loss(self.distortion, np.tile(self.mean, height * width), self.spread)
        return loss.decode(inside, inside.dtype).reshape(height, width, -1)


def padded(images, stride):
    """Images (n, h, w, c) with their last row and column repeated up to multiples of a stride."""
    _, height, width, _ = images.shape
    pad = ((0, 0), (0, -height % stride), (0, -width % stride), (0, 0))
    return np.ascontiguousarray(np.pad(images, pad, mode="edge"))


def patches(images, rows, size, rng):
    """A patch of each of some images (n, h, w, c), at random, mirrored or not: (m, *size, c)."""
    out = np.empty((len(rows), *size, images.shape[3]), dtype=images.dtype)
    for patch, row in zip(out, rows, strict=True):
        sides = zip(images.shape[1:3], size, strict=True)
        top, left = (rng.integers(side - part + 1) for side, part in sides)
        part = images[row, top : top + size[0], left : left + size[1]]
        patch[:] = part[:, ::-1] if rng.integers(2) else part
    return out
