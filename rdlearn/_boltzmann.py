"""Restricted Boltzmann machines as numbers: conditionals, chains, gradients of the likelihood."""

import numpy as np

from rdlearn.kernels.elementwise import ACTIVATIONS
from rdlearn.nets.layers import Workspace

__all__ = ["EXACT_UNITS", "Draws", "Machine", "Trainer", "all_states", "exact_is_quick"]

LOGISTIC = ACTIVATIONS["logistic"]
# Units of the smaller layer up to which gradients go over all of its states.
EXACT_UNITS = 12
# Numbers, states times units of the other layer, up to which that is quick.
QUICK_NUMBERS = 1 << 18
# Rows in a pass of inference.
BLOCK_ROWS = 2048


def exact_is_quick(n_one, n_other):
    """Whether a gradient over all states costs about what chains do."""
    smaller, larger = min(n_one, n_other), max(n_one, n_other)
    return smaller <= EXACT_UNITS and larger << smaller <= QUICK_NUMBERS


def all_states(n):
    """All words of n bits (2**n, n), float32; bit j of row number i is bit j of i."""
    return ((np.arange(2**n)[:, None] >> np.arange(n)) & 1).astype(np.float32)


class Draws:
    """Random bits for rows that each have a key: the same bits on every machine.

    Parameters
    ----------
    keys : ndarray of shape (n,), uint64
    seed : int
    """

    def __init__(self, keys, seed):
        self.keys, self.seed, self._stream = keys, np.uint64(seed), 0

    def bits(self, prob, work, out=None):
        """Bits (n, d), float32, of probability prob (n, d); n is at most that of the keys.

        They are in `out`, which may be prob; None takes an array of `work`.
        """
        out = work.empty(("bits", prob.shape[1]), prob.shape, np.float32) if out is None else out
        work.ops.bernoulli(prob, self.keys, self.seed, np.uint64(self._stream), out)
        self._stream += 1
        return out


class Machine:
    """p(v, h) proportional to exp(v W h + b v + c h) over bits.

    Parameters
    ----------
    n_visible, n_hidden : int
    params : ndarray of shape (n_visible * n_hidden + n_visible + n_hidden,), float32, default=None
        Weights by rows of visible units, then b, then c; None makes zeros.
    """

    def __init__(self, n_visible, n_hidden, params=None):
        size = n_visible * n_hidden
        self.params = (
            np.zeros(size + n_visible + n_hidden, np.float32) if params is None else params
        )
        self.weights = self.params[:size].reshape(n_visible, n_hidden)
        self.visible = self.params[size : size + n_visible]
        self.hidden = self.params[size + n_visible :]

    def on(self, ops):
        """This machine on a device; on the CPU the same numbers, else a copy."""
        return Machine(*self.weights.shape, ops.to_device(self.params))

    def init(self, rng, mean, scale):
        """Small random weights, and visible biases at the data's mean."""
        self.weights[:] = scale * rng.standard_normal(self.weights.shape)
        mean = np.clip(mean, 0.005, 0.995)
        self.visible[:] = np.log(mean / (1 - mean))
        self.hidden[:] = 0.0

    def up(self, v, work, out=None):
        """Probabilities of hidden units, in `out`, or in an array of `work`."""
        h = work.empty("up", (len(v), self.hidden.size), np.float32) if out is None else out
        work.matmul(v, self.weights, out=h)
        work.ops.bias_activation(h, self.hidden, LOGISTIC)
        return h

    def down(self, h, work, shift=None):
        """Probabilities of visible units, their biases shifted by (n, n_visible), in `work`."""
        v = work.empty("down", (len(h), self.visible.size), np.float32)
        work.matmul(h, self.weights.T, out=v)
        if shift is None:
            work.ops.bias_activation(v, self.visible, LOGISTIC)
        else:
            work.ops.tilt(v, self.visible, shift)
        return v

    def gibbs(self, v, n_steps, draws, work, shift=None):
        """Visible bits after `n_steps` steps from v, their biases shifted; in `work`."""
        for _ in range(n_steps):
            h = draws.bits(self.up(v, work), work)
            v = draws.bits(self.down(h, work, shift), work)
        return v

    def free_energy(self, v, work=None):
        """-ln sum over h of the unnormalised p(v, h), (n,), float64; without `work` row by row."""
        work = Workspace(by_rows=True) if work is None else work
        out = work.ops.empty(len(v), dtype=np.float64)
        for start in range(0, len(v), BLOCK_ROWS):
            rows = v[start : start + BLOCK_ROWS].astype(np.float32, order="C", copy=False)
            z = work.empty("inputs", (len(rows), self.hidden.size), np.float32)
            work.matmul(rows, self.weights, out=z)
            z += self.hidden
            part = out[start : start + len(rows)]
            work.ops.softplus_sums(z, part)
            part += (rows.astype(np.float64) * self.visible).sum(axis=1)
        return -out

    def flipped(self):
        """The machine with its layers exchanged; a copy."""
        parts = (self.weights.T.ravel(), self.hidden, self.visible)
        return Machine(self.hidden.size, self.visible.size, np.concatenate(parts))


class Trainer:
    """Stochastic ascent of a machine's likelihood, in place.

    Parameters
    ----------
    machine : Machine
        On the device.
    gradient : {"cd", "pcd", "exact"}
        Where the model's half of the gradient comes from: chains that start at the data (Hinton
        2002), chains that go on from step to step (Tieleman 2008), or all states of the smaller
        layer.
    n_gibbs : int
        Steps of the chains.
    momentum : float
        The velocity is a running mean of gradients with this memory.
    decay : float
        Pull of the weights towards 0.
    seed : int
    device : str
    """

    def __init__(self, machine, gradient, n_gibbs, momentum, decay, seed, device="cpu"):
        self.machine, self.gradient, self.n_gibbs = machine, gradient, n_gibbs
        self.momentum, self.decay, self.seed = momentum, decay, seed
        self.work = Workspace(device, sparse=True)
        self._velocity = Machine(*machine.weights.shape).on(self.work.ops)
        self._draws = self._chains = None
        if gradient == "exact":
            self._by_visible = machine.visible.size <= machine.hidden.size
            self._states = self.work.ops.to_device(all_states(min(machine.weights.shape)))

    def epoch(self, x, rate, batch_size, rng):
        """One pass over rows x (n, n_visible) in [0, 1], float32, on the device.

        Returns the squared error of one batch, a row, reconstructed from its hidden means.
        """
        rows = self.work.ops.to_device(rng.permutation(len(x)))
        for start in range(0, len(x), batch_size):
            self.step(x[rows[start : start + batch_size]], rate)
        v = x[rows[:batch_size]]
        error = v - self.machine.down(self.machine.up(v, self.work), self.work)
        return float(np.mean(np.sum(error**2, axis=1, dtype=np.float64)))

    def step(self, v, rate):
        """One step with a batch of rows."""
        work, machine, n = self.work, self.machine, len(v)
        m = len(self._states) if self.gradient == "exact" else n
        # Data above what stands for the model, so that one product has both halves.
        visible = work.empty("visible", (n + m, v.shape[1]), np.float32)
        hidden = work.empty("hidden", (n + m, machine.hidden.size), np.float32)
        visible[:n] = v
        if self.gradient == "exact":
            machine.up(visible[:n], work, hidden[:n])
            weights = self._all_states(visible[n:], hidden[n:])
        else:
            self._run_chains(visible, hidden, n)
            weights = np.full_like(hidden[:n, 0], 1 / n)
        visible[:n] *= np.float32(1 / n)
        visible[n:] *= -weights[:, None]
        self._move(visible, hidden, rate, hidden[:n].mean(axis=0) - weights @ hidden[n:])

    def _move(self, visible, hidden, rate, by_hidden):
        """Add to the parameters: visible.T @ hidden and its like for the biases, times the rate."""
        ops, machine, velocity = self.work.ops, self.machine, self._velocity
        empty = self.work.empty
        keep, speed = 1 - rate * self.decay, (1 - self.momentum) * rate
        if self.momentum == 0:
            ops.add_product(visible, hidden, speed, keep, machine.weights, empty)
        else:
            ops.add_product(visible, hidden, speed, self.momentum, velocity.weights, empty)
            ops.decayed_add(machine.weights.ravel(), np.float32(keep), velocity.weights.ravel())
        for bias, by, move in (
            (machine.visible, visible.sum(axis=0), velocity.visible),
            (machine.hidden, by_hidden, velocity.hidden),
        ):
            move *= np.float32(self.momentum)
            move += np.float32(speed) * by
            bias += move

    def _run_chains(self, visible, hidden, n):
        """Fill rows from n on with ends of chains, and all hidden means."""
        work, machine = self.work, self.machine
        if self._draws is None or self._draws.keys.size < n:
            keys = self.work.ops.to_device(np.arange(n, dtype=np.uint64))
            self._draws = Draws(keys, self.seed)
        means = None
        if self.gradient == "pcd" and self._chains is not None and len(self._chains) >= n:
            means = self._chains[:n]
        fresh = slice(0 if means is not None else n, None)
        if means is None:
            means = machine.up(visible[:n], work, hidden[:n])
        for step in range(self.n_gibbs):
            bits = self._draws.bits(means, work)
            prob = machine.down(bits, work)
            self._draws.bits(prob, work, visible[n:])
            if step + 1 < self.n_gibbs:
                means = machine.up(visible[n:], work, hidden[n:])
        machine.up(visible[fresh], work, hidden[fresh])
        if self.gradient == "pcd":
            if self._chains is None:
                self._chains = np.empty_like(hidden[n:])
            self._chains[:n] = hidden[n:]

    def _all_states(self, visible, hidden):
        """Fill in all states of the smaller layer and means of the other; their probabilities."""
        work, machine = self.work, self.machine
        if self._by_visible:
            visible[:] = self._states
            machine.up(visible, work, hidden)
            energy = machine.free_energy(visible, work)
        else:
            hidden[:] = self._states
            visible[:] = machine.down(hidden, work)
            energy = machine.flipped().free_energy(hidden, work)
        weights = np.exp(energy.min() - energy)
        return (weights / weights.sum()).astype(np.float32)
