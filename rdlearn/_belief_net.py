"""Deep belief networks as stacks of machines: training, tilted draws, exact masses."""

import numpy as np
from scipy.special import logsumexp

from rdlearn._boltzmann import EXACT_UNITS, Machine, Trainer, all_states, exact_is_quick
from rdlearn._partition import countable, enumerated

__all__ = ["BeliefNet"]

# Deviation of the weights at the start.
SCALE = 0.01
MOMENTUM, DECAY = 0.5, 0.0


class BeliefNet:
    """Layers of bits: the top two are a restricted Boltzmann machine, those below follow from it.

    Parameters
    ----------
    sizes : list of int
        Units of the layers, visible first.
    params : ndarray, float32, default=None
        Those of one machine after the other; None makes zeros.
    """

    def __init__(self, sizes, params=None):
        self.sizes = sizes
        counts = [d * h + d + h for d, h in zip(sizes, sizes[1:], strict=False)]
        self.params = np.zeros(sum(counts), np.float32) if params is None else params
        ends = np.cumsum(counts).tolist()
        parts = [self.params[end - n : end] for end, n in zip(ends, counts, strict=True)]
        shapes = zip(sizes, sizes[1:], parts, strict=False)
        self.machines = [Machine(d, h, part) for d, h, part in shapes]

    def on(self, ops):
        """This network on a device; on the CPU the same numbers, else a copy."""
        return BeliefNet(self.sizes, ops.to_device(self.params))

    def init(self, rng, mean):
        """Small random weights, and the visible biases at the data's mean."""
        for d, machine in zip(self.sizes, self.machines, strict=False):
            machine.init(rng, mean if machine is self.machines[0] else np.full(d, 0.5), SCALE)

    def trainers(self, n_gibbs, rng, device):
        """One for each machine: exact where that is quick, else contrastive divergence."""
        made = []
        for machine in self.machines:
            kind = "exact" if exact_is_quick(*machine.weights.shape) else "cd"
            seed = int(rng.integers(1 << 62))
            made.append(Trainer(machine, kind, n_gibbs, MOMENTUM, DECAY, seed, device))
        return made

    def learn(self, rows, trainers, n_epochs, rate, batch_size, rng):
        """Greedy epochs on rows (n, d): each layer on the means of the one below.

        Returns the first layer's mean squared error, a row.
        """
        errors = []
        for machine, trainer in zip(self.machines, trainers, strict=True):
            for _ in range(n_epochs):
                error = trainer.epoch(rows, rate, batch_size, rng)
            errors.append(error)
            if machine is not self.machines[-1]:
                rows = machine.up(rows, trainer.work).copy()
        return errors[0]

    def draw(self, x, shift, n_passes, draws, work):
        """Visible bits after passes up and down that start at x, the visible biases shifted.

        With one machine they are Gibbs steps of the law tilted by `shift` (n, d).
        """
        *lower, top = self.machines
        v = x
        for _ in range(n_passes):
            for machine in lower:
                v = draws.bits(machine.up(v, work), work)
            h = draws.bits(top.up(v, work), work)
            v = h
            for machine in reversed(self.machines):
                by = shift if machine is self.machines[0] else None
                v = draws.bits(machine.down(v, work, by), work)
        return v

    @property
    def enumerable(self):
        """Whether `tilted` can be computed."""
        if len(self.machines) == 1:
            return countable(*self.sizes)
        return max(self.sizes[1:-1]) <= EXACT_UNITS

    @property
    def n_numbers(self):
        """Numbers that `tilted` looks at for each row."""
        d, h = self.sizes[:2]
        one_machine = len(self.machines) == 1
        return max(d, h) << min(d, h) if one_machine else d << h

    def tilted(self, shift):
        """Log of the sum over y of p(y) exp(shift y), and the mean of y in the tilted law.

        Exactly, for shifts (n, d); a barred 1 (-inf) or 0 (inf) adds nothing.
        """
        if len(self.machines) == 1:
            result = enumerated(self.machines[0], np.vstack([np.zeros((1, self.sizes[0])), shift]))
            return result.log_z[1:] - result.log_z[0], result.visible_means[1:]
        states, logs = self._first_layer()
        machine = self.machines[0]
        inputs = _inputs(machine, states)
        off, on = -np.logaddexp(0, inputs), -np.logaddexp(0, -inputs)
        log_mass, means = np.empty(len(shift)), np.empty(shift.shape)
        for i, by in enumerate(shift):
            forced, barred = np.isposinf(by), np.isneginf(by)
            one = np.where(barred, -np.inf, on + np.where(forced | barred, 0.0, by))
            both = np.logaddexp(one, np.where(forced, -np.inf, off))
            total = logs + both.sum(axis=1)
            log_mass[i] = logsumexp(total)
            means[i] = np.exp(total - log_mass[i]) @ np.exp(one - both)
        return log_mass, means

    def _first_layer(self):
        """All states of the first hidden layer, of two or more, and their log probabilities."""
        states = all_states(self.sizes[-2])
        logs = -self.machines[-1].free_energy(states)
        logs -= logsumexp(logs)
        for machine in reversed(self.machines[1:-1]):
            inputs = _inputs(machine, states)
            states = all_states(machine.visible.size)
            each = inputs @ states.T - np.logaddexp(0, inputs).sum(axis=1)[:, None]
            logs = logsumexp(each + logs[:, None], axis=0)
        return states, logs


def _inputs(machine, hidden):
    """Inputs of visible units in float64."""
    return hidden.astype(np.float64) @ machine.weights.T.astype(np.float64) + machine.visible
