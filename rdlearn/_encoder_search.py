"""Encoders that try codewords against the decoder: the best of all, or better ones bit by bit."""

import numpy as np

from rdlearn._boltzmann import all_states
from rdlearn.kernels.losses import LOSSES, loss

__all__ = ["MAX_BITS", "search_all", "search_flips"]

# Bits up to which all codewords are tried.
MAX_BITS = 12
# Sweeps of single flips: by the likelihood, which sees more than a threshold does, then by the
# distortion itself until nothing changes, but at most so often.
SMOOTH_SWEEPS, SWEEPS = 2, 3
BLOCK_ROWS = 1024
# Words whose costs are remembered: some 50 MiB.
MEMORY = 1 << 18
# What a flip adds to the cross-entropy, about.
NATS_OF_A_FLIP = 1.4


def search_all(bits, n_bits, logits, distortion, cost_of_bits):
    """Codewords (n, n_bits), float32, that cost least of all, for rows of bits (n, d).

    Parameters
    ----------
    bits : ndarray of shape (n, d), float32
        Of 0 and 1.
    n_bits : int
    logits : callable
        Decoder outputs (m, d) of codewords (m, n_bits), each by its own row.
    distortion : Hamming
        Of finite costs.
    cost_of_bits : callable
        What codewords (m, n_bits) cost by themselves, (m,), in units of the distortion.
    """
    words = all_states(n_bits)
    ones = np.concatenate(
        [
            _ones(logits(words[start : start + BLOCK_ROWS]), distortion)
            for start in range(0, len(words), BLOCK_ROWS)
        ]
    )
    # a sum(y) - (a + b) x y, but for what depends on x alone. Whole numbers of float32, and sums of
    # them: exact in any order.
    weight = ones.sum(axis=1, dtype=np.float64) * distortion.a + cost_of_bits(words)
    best = np.empty(len(bits), dtype=np.int64)
    for start in range(0, len(bits), BLOCK_ROWS):
        common = bits[start : start + BLOCK_ROWS] @ ones.T
        loss = weight - (distortion.a + distortion.b) * common.astype(np.float64)
        best[start : start + BLOCK_ROWS] = loss.argmin(axis=1)
    return words[best]


def search_flips(bits, code, logits, distortion, cost_of_bits):
    """Codewords (n, n_bits), float32, that cost no more than `code`, by flips of single bits.

    Parameters as for `search_all`.
    """
    in_nats = NATS_OF_A_FLIP / min(distortion.a, distortion.b)
    # Rows pass by the same words again and again.
    cost_of_bits = _remembered(cost_of_bits)

    def smooth(z, x):
        return _cross_entropy(logits(z), x) + in_nats * cost_of_bits(z)

    def exact(z, x):
        return _loss(logits(z), x, distortion) + cost_of_bits(z)

    code = code.copy()
    for start in range(0, len(bits), BLOCK_ROWS):
        x, part = bits[start : start + BLOCK_ROWS], code[start : start + BLOCK_ROWS]
        before, first = part.copy(), exact(part, x)
        _descend(x, part, smooth, SMOOTH_SWEEPS)
        # Likelihood leads to better places, but not for every row.
        worse = exact(part, x) > first
        part[worse] = before[worse]
        _descend(x, part, exact, SWEEPS)
    return code


def _remembered(cost_of_bits):
    """The same function, which computes the cost of a word once."""
    known = {}

    def costs(words):
        packed = np.packbits(words > 0, axis=1)
        keys = packed.view(f"V{packed.shape[1]}").ravel().tolist()
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new:
            if len(known) > MEMORY:
                known.clear()
                return costs(words)
            costs_of_new = cost_of_bits(words[list(new.values())])
            known.update(zip(new, costs_of_new.tolist(), strict=True))
        return np.array([known[key] for key in keys])

    return costs


def _descend(x, code, cost, n_sweeps):
    """Flip each bit of `code` where that lowers the cost, in up to `n_sweeps` sweeps."""
    moving = np.arange(len(x))
    for _ in range(n_sweeps):
        rows, part = x[moving], code[moving]
        best, changed = cost(part, rows), np.zeros(len(part), dtype=bool)
        for j in range(code.shape[1]):
            part[:, j] = 1 - part[:, j]
            flipped = cost(part, rows)
            better = flipped < best
            part[~better, j] = 1 - part[~better, j]
            best = np.where(better, flipped, best)
            changed |= better
        code[moving] = part
        # No flip helps a row that a whole sweep has left as it was.
        moving = moving[changed]
        if not moving.size:
            break


def _ones(output, distortion):
    # expit(output) > a / (a + b), as Hamming's reproduction.
    return (output > np.log(distortion.a / distortion.b)).astype(np.float32)


def _loss(output, x, distortion):
    y = _ones(output, distortion)
    rise = np.count_nonzero(y > x, axis=1)
    return distortion.a * rise + distortion.b * np.count_nonzero(y < x, axis=1)


def _cross_entropy(output, x):
    grad, samples = np.empty_like(output), np.empty(len(output))
    loss(LOSSES["bernoulli"], output, x, 1.0, 0.0, grad, samples)
    return samples
