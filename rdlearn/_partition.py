"""Partition functions of machines: by enumeration, or by annealed importance sampling."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from scipy.special import expit, logsumexp
from sklearn.utils import check_scalar

from rdlearn._boltzmann import LOGISTIC, Draws, all_states
from rdlearn._threads import one_blas_thread
from rdlearn.kernels.boltzmann import softplus_sums
from rdlearn.nets.layers import Workspace

__all__ = ["Partition", "annealed", "countable", "enumerated", "partition"]

# Numbers up to which partition functions are sums over all states of the smaller layer: states
# times units of the other.
COUNTABLE = 1 << 22
# Probability of a state that leaves no trace in a mean of float64.
NEGLIGIBLE = 1e-18
# Effective sample size below which an estimate is refused.
LEAST_SAMPLE_SIZE = 10
# Chains that move together: their buffers stay within some tens of MB.
BLOCK_CHAINS = 4096


@dataclass(frozen=True)
class Partition:
    """Log partition functions of a machine under several shifts of its visible biases.

    Attributes
    ----------
    log_z : ndarray of shape (n,)
        In nats.
    standard_error : ndarray of shape (n,)
        Of `log_z`; 0 where it is exact.
    sample_size : ndarray of shape (n,)
        Effective number of independent particles; inf where `log_z` is exact.
    visible_means : ndarray of shape (n, n_visible)
        Expected visible units under each shift.
    """

    log_z: np.ndarray
    standard_error: np.ndarray
    sample_size: np.ndarray
    visible_means: np.ndarray

    def refuse_small_samples(self):
        """ValueError where an estimate rests on too few particles."""
        least = float(self.sample_size.min())
        if least < LEAST_SAMPLE_SIZE:
            raise ValueError(
                f"Annealed importance sampling has an effective sample size of {least:.3g}, below "
                f"{LEAST_SAMPLE_SIZE}, so its estimate says nothing; raise n_steps (first) or "
                "n_particles."
            )


def countable(n_one, n_other):
    """Whether `enumerated` takes a machine with layers of so many units."""
    return max(n_one, n_other) << min(n_one, n_other, 64) <= COUNTABLE


def partition(machine, shift, base, n_particles, n_steps, seed):
    """By enumeration where that is possible, else annealed; ValueError where that says nothing."""
    check_scalar(n_particles, "n_particles", Integral, min_val=2)
    check_scalar(n_steps, "n_steps", Integral, min_val=1)
    if countable(*machine.weights.shape):
        return enumerated(machine, shift)
    with one_blas_thread():
        result = annealed(machine, shift, base, n_particles, n_steps, seed)
    result.refuse_small_samples()
    return result


def enumerated(machine, shift):
    """Exact partition functions, as `annealed`, over all states of the smaller layer."""
    shift = np.asarray(shift, dtype=np.float64)
    finite, forced, barred = _split(shift)
    bias = machine.visible.astype(np.float64)
    weights = machine.weights.astype(np.float64)
    log_z, means = np.empty(len(shift)), np.empty(shift.shape)
    if len(bias) <= machine.hidden.size:
        states = all_states(len(bias))
        energies = -machine.free_energy(states)
        for i in range(len(shift)):
            allowed = ((states >= forced[i]) & (states <= ~barred[i])).all(axis=1)
            logs = np.where(allowed, energies + states @ finite[i], -np.inf)
            log_z[i] = logsumexp(logs)
            means[i] = np.exp(logs - log_z[i]) @ states
    else:
        states = all_states(machine.hidden.size).astype(np.float64)
        inputs, sums = bias + states @ weights.T, np.empty(len(states))
        own = states @ machine.hidden.astype(np.float64)
        for i in range(len(shift)):
            # What a unit adds: both its states, or the only one that the shift leaves it.
            free = ~(forced[i] | barred[i])
            softplus_sums(np.add(inputs[:, free], finite[i, free], order="C"), sums)
            logs = own + sums + inputs[:, forced[i]].sum(axis=1)
            log_z[i] = logsumexp(logs)
            # States that weigh nothing need no means.
            share = np.exp(logs - log_z[i])
            some = share > NEGLIGIBLE
            on = np.where(free, expit(inputs[some] + finite[i]), forced[i])
            means[i] = share[some] @ on / share[some].sum()
    return Partition(log_z, np.zeros(len(shift)), np.full(len(shift), np.inf), means)


def annealed(machine, shift, base, n_particles, n_steps, seed):
    """Partition functions by annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008).

    From independent visible units of biases `base` + shift to the machine's, with a Gibbs step at
    each of `n_steps` temperatures in between. Biased downwards, by about half of the variance of
    the log weights.

    Parameters
    ----------
    machine : Machine
    shift : ndarray of shape (n, n_visible)
        Added to the visible biases; -inf bars a unit from 1, inf from 0, at no cost.
    base : ndarray of shape (n_visible,)
    n_particles, n_steps : int
    seed : int

    Returns
    -------
    Partition
    """
    shift = np.asarray(shift, dtype=np.float64)
    at_once = max(1, BLOCK_CHAINS // n_particles)
    parts = [
        _anneal(machine, shift[i : i + at_once], base, n_particles, n_steps, seed + i)
        for i in range(0, len(shift), at_once)
    ]
    logs = np.concatenate([part[0] for part in parts])
    top = logs.max(axis=1, keepdims=True)
    weights = np.exp(logs - top)
    mean = weights.mean(axis=1)
    return Partition(
        log_z=np.log(mean) + top[:, 0],
        standard_error=weights.std(axis=1, ddof=1) / mean / np.sqrt(n_particles),
        sample_size=weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1),
        visible_means=np.concatenate([part[1] for part in parts]),
    )


def _split(shift):
    forced, barred = np.isposinf(shift), np.isneginf(shift)
    return np.where(forced | barred, 0.0, shift), forced, barred


def _anneal(machine, shift, base, n_particles, n_steps, seed):
    """Log weights (n, n_particles) and weighted visible means (n, n_visible)."""
    n, d = shift.shape
    work = Workspace()
    ops = work.ops
    draws = Draws(np.arange(n * n_particles, dtype=np.uint64), seed)
    finite, forced, barred = _split(shift)
    start = base + finite
    free = ~(forced | barred)
    log_z = machine.hidden.size * np.log(2) + np.where(
        free, np.logaddexp(0, start), np.where(forced, start, 0.0)
    ).sum(axis=1)
    tilt = np.repeat(shift, n_particles, axis=0).astype(np.float32)
    # Of the machine's bias, what the base lacks.
    gap = machine.visible.astype(np.float64) - base
    v = work.empty("chains", tilt.shape, np.float32)
    v[:] = 0.0
    ops.tilt(v, base.astype(np.float32), tilt)
    v = draws.bits(v, work)
    logs = np.repeat(log_z, n_particles)
    sums = np.empty(len(v))
    inputs = work.empty("inputs", (len(v), machine.hidden.size), np.float32)
    scaled = work.empty("scaled", inputs.shape, np.float32)
    for step in range(n_steps):
        low, high = step / n_steps, (step + 1) / n_steps
        work.matmul(v, machine.weights, out=inputs)
        inputs += machine.hidden
        for sign, level in ((-1, low), (1, high)):
            np.multiply(inputs, np.float32(level), out=scaled)
            ops.softplus_sums(scaled, sums)
            logs += sign * sums
        logs += (high - low) * (v @ gap)
        if step + 1 < n_steps:
            inputs *= np.float32(high)
            ops.bias_activation(inputs, np.zeros_like(machine.hidden), LOGISTIC)
            h = draws.bits(inputs, work)
            back = work.empty("back", v.shape, np.float32)
            work.matmul(h, machine.weights.T, out=back)
            back *= np.float32(high)
            ops.tilt(back, (base + high * gap).astype(np.float32), tilt)
            v = draws.bits(back, work)
    logs = logs.reshape(n, n_particles)
    weights = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
    means = np.einsum("np,npd->nd", weights, v.reshape(n, n_particles, d).astype(np.float64))
    return logs, means
