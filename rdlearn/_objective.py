"""Rate plus price times distortion of an autoencoder, and its gradient.

Data flow: rows -> encoder -> channel (code, rate) -> decoder, beside the code the side
information -> loss.
"""

import numpy as np

from rdlearn.nets.adam import Adam
from rdlearn.nets.layers import Dense
from rdlearn.nets.sequential import Sequential

__all__ = ["Objective", "dense_net", "hidden_sizes"]

# Of the decoder's last weights at the start: what random ones add to the mean of the data costs
# many steps to unlearn.
OUTPUT_SCALE = 0.2


def hidden_sizes(given):
    """The parameter hidden_layer_sizes as an array of integers, or ValueError."""
    sizes = np.atleast_1d(np.asarray(given))
    if sizes.size and (sizes.ndim > 1 or sizes.dtype.kind not in "iu" or sizes.min() < 1):
        raise ValueError(
            f"hidden_layer_sizes={given!r} must be positive integers, or () for no hidden layer."
        )
    return sizes.astype(np.int64)


def dense_net(n_in, hidden, n_out, activation, name):
    """Dense layers with one activation between them and none at the end."""
    layers = [Dense(size, activation) for size in hidden] + [Dense(n_out)]
    return Sequential(layers, n_in, name)


class _PacedAdam:
    """Adam that lets the channel's own parameters learn at its pace and within its bounds.

    Parameters
    ----------
    channel : channel
    ends : list of int
        Where the encoder's, the channel's and the decoder's parameters end.
    ops : module
        Operations of the device that holds parameters and gradients.
    """

    def __init__(self, channel, ends, ops):
        self._channel, self._own = channel, slice(*ends[:2])
        parts = slice(ends[0]), self._own, slice(*ends[1:])
        self._parts = [(part, Adam(len(range(ends[-1])[part]), ops)) for part in parts]

    def step(self, params, grads, learning_rate):
        """Update the flat vector `params` in place."""
        for part, adam in self._parts:
            pace = self._channel.pace if part is self._own else 1.0
            adam.step(params[part], grads[part], pace * learning_rate)
        self._channel.confine(params[self._own])


class Objective:
    """Encoder, channel, decoder and loss as a function of one flat vector of parameters.

    Parameters
    ----------
    encoder, decoder : Sequential
    channel : channel
    loss : loss, or None where only codes and outputs are asked for
    """

    def __init__(self, encoder, channel, decoder, loss=None):
        self.encoder, self.channel, self.decoder, self.loss = encoder, channel, decoder, loss
        self._ends = np.cumsum(
            [encoder.n_parameters, channel.n_parameters, decoder.n_parameters]
        ).tolist()
        self.n_parameters = self._ends[-1]

    def views(self, flat):
        """(encoder, channel, decoder) parameters as views of a flat vector."""
        first, second, _ = self._ends
        encoder, decoder = self.encoder.views(flat[:first]), self.decoder.views(flat[second:])
        return encoder, flat[first:second], decoder

    def init(self, rng):
        """A flat vector of fresh parameters, float32."""
        flat = np.empty(self.n_parameters, dtype=np.float32)
        encoder, channel, decoder = self.views(flat)
        for net, views in ((self.encoder, encoder), (self.decoder, decoder)):
            for layer, part in zip(net.layers, views, strict=True):
                layer.init(rng, part)
        self.channel.init(rng, channel, encoder[-1])
        decoder[-1]["weights"] *= OUTPUT_SCALE
        decoder[-1]["bias"][:] = self._initial_bias()
        return flat

    def _initial_bias(self):
        return self.loss.initial_bias()

    def optimizer(self, ops):
        """What steps the parameters, which live on the device of `ops`."""
        alike = self.channel.pace == 1
        return Adam(self.n_parameters, ops) if alike else _PacedAdam(self.channel, self._ends, ops)

    def encode(self, views, x, work):
        """Encoder outputs of x."""
        return self.encoder.forward(views[0], x, work)[0]

    def decode(self, views, code, side, work):
        """Decoder outputs of codes, with side information (n, n_side) or None."""
        return self.decoder.forward(views[2], self._join(code, side, work), work)[0]

    def _join(self, code, side, work):
        if side is None:
            return code
        n, k = code.shape
        joined = work.empty("decoder input", (n, k + side.shape[1]), code.dtype)
        joined[:, :k], joined[:, k:] = code, side
        return joined

    def forward(self, views, x, target, side, draw, state, work, loss_weight=1.0):
        """Code, rate (n,) in nats, loss (n,), and what `backward` needs."""
        encoder, channel, decoder = views
        encoded, encoder_cache = self.encoder.forward(encoder, x, work)
        code, rate, channel_cache = self.channel.forward(channel, encoded, draw, state, work)
        joined = self._join(code, side, work)
        output, decoder_cache = self.decoder.forward(decoder, joined, work)
        loss, grad = self.loss.forward(output, target, loss_weight, work)
        return code, rate, loss, (encoder_cache, channel_cache, decoder_cache, grad)

    def keep(self, code, cache, state):
        """What the channel passes on to the next batch."""
        return self.channel.keep(code, cache[1], state)

    def backward(self, views, grads, cache, rate_weight, work):
        """Fill `grads` with those of rate_weight * sum(rate) + loss_weight * sum(loss)."""
        encoder_cache, channel_cache, decoder_cache, grad = cache
        (encoder, channel, decoder), (to_encoder, to_channel, to_decoder) = views, grads
        by_input = self.decoder.backward(decoder, decoder_cache, grad, to_decoder, work)
        by_code = by_input[:, : self.channel.n_components]
        by_encoded = self.channel.backward(
            channel, to_channel, by_code, rate_weight, channel_cache, work
        )
        self.encoder.backward(
            encoder, encoder_cache, by_encoded, to_encoder, work, wants_input=False
        )
