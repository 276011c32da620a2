"""Inverse autoregressive flow: a Gaussian posterior bent by gated autoregressive steps."""

import numpy as np

from rdlearn.channels.gaussian import GaussianChannel
from rdlearn.nets.layers import MaskedDense
from rdlearn.nets.sequential import Sequential

__all__ = ["FlowChannel"]

# Gates start nearly open: the flow starts near the identity (Kingma et al. 2016, section 4).
INITIAL_GATE = 2.0


class FlowChannel(GaussianChannel):
    """Gaussian code, then steps z' = g z + (1 - g) m with reversed order between steps.

    (m, log-odds of g) at place j are a masked network's function of the places before j and of
    a context; encoder outputs are (n, 3 k) = (mu, log sigma, context). The rate is
    log q(code | x) - log p(code) at the sampled code, in nats: an estimate of the divergence
    from the prior (Kingma et al., NeurIPS 2016).

    Parameters
    ----------
    n_components : int
    n_steps : int, default=4
    """

    sampled = True

    def __init__(self, n_components, n_steps=4):
        super().__init__(n_components)
        k = n_components
        self.n_outputs = 3 * k
        width = max(64, 4 * k)
        # Degrees (Germain et al., MADE, 2015): a unit hears of inputs of its degree at most, and
        # output j of units of a lower degree; the context has degree 0, so all may hear it.
        inputs = np.concatenate([np.arange(1, k + 1), np.zeros(k, dtype=int)])
        hidden = np.arange(width) % k
        outputs = np.tile(np.arange(1, k + 1), 2)
        masks = inputs[:, None] <= hidden, hidden[:, None] < outputs
        layers = [MaskedDense(masks[0], "relu"), MaskedDense(masks[1])]
        self.steps = [Sequential(layers, 2 * k, ("flow", number)) for number in range(n_steps)]
        self.n_parameters = sum(step.n_parameters for step in self.steps)

    def _split(self, params):
        size = self.steps[0].n_parameters
        for number, step in enumerate(self.steps):
            yield step, step.views(params[number * size : (number + 1) * size])

    def init(self, rng, params, last):
        """Set the parameters of the steps, and the encoder's last layer."""
        super().init(rng, params, last)
        for step, views in self._split(params):
            for layer, part in zip(step.layers, views, strict=True):
                layer.init(rng, part)
            views[-1]["weights"] *= 0.1
            views[-1]["bias"][self.n_components :] = INITIAL_GATE

    def forward(self, params, encoded, draw, state, work):
        """Code (n, k), rate (n,) in nats, and what `backward` needs."""
        z, rate, base = super().forward(params, encoded, draw, state, work)
        n, k = z.shape
        caches = []
        for number, (step, views) in enumerate(self._split(params)):
            joined = work.empty(("flow input", number), (n, 2 * k), z.dtype)
            joined[:, :k], joined[:, k:] = z, encoded[:, 2 * k :]
            raw, cache = step.forward(views, joined, work)
            after = work.empty(("flow code", number), (n, k), z.dtype)
            gate = work.empty(("flow gate", number), (n, k), z.dtype)
            work.ops.gate_forward(z, raw, after, gate, rate)
            caches.append((z, raw, gate, cache))
            z = after
        rate += 0.5 * (z * z).sum(axis=1)
        return z, rate, (base, caches, z)

    def backward(self, params, grads, grad_code, grad_rate, cache, work):
        """Gradient (n, 3 k) by the encoder outputs; fills `grads`."""
        base, caches, code = cache
        n, k = code.shape
        flow = grad_code + code.dtype.type(grad_rate) * code
        by_context = work.empty("flow context gradient", (n, k), code.dtype)
        by_context[:] = 0.0
        steps = zip(self._split(params), self._split(grads), caches, strict=True)
        for (step, views), (_, parts), (z, raw, gate, inner) in reversed(list(steps)):
            by_z = work.empty("flow code gradient", (n, k), code.dtype)
            by_raw = work.empty("flow raw gradient", (n, 2 * k), code.dtype)
            work.ops.gate_backward(flow, grad_rate, z, raw, gate, by_z, by_raw)
            by_input = step.backward(views, inner, by_raw, parts, work)
            flow = by_z + by_input[:, :k]
            by_context += by_input[:, k:]
        out = super().backward(params, grads, flow, grad_rate, base, work)
        out[:, 2 * k :] = by_context
        return out
