"""Words of bits as bytes: a mixture of independent bits, in integers, with a raw fallback."""

import numpy as np

from rdlearn.coding.integers import stored
from rdlearn.exceptions import CorruptStreamError
from rdlearn.kernels import bit_coding as kernels

__all__ = ["BitMixture"]

# Sizes of the mixture that `fit` tries, and rows that it looks at.
SIZES, ROWS = (1, 8, 32, 128, 384), 30_000
N_ITER = 40
# Gain of a step, in nats a word, that more of them are worth; the first ones break symmetry.
LEAST_GAIN, FIRST_STEPS = 1e-4, 15
# Size up to which a larger one may be better where this one is not.
BOLD = 8
# Weight of the word in a component's first probabilities.
SHARP = 0.8
# Part of the rows that decide between sizes, and pseudo-counts of each component's bits.
HELD_OUT, PSEUDO = 0.2, 0.5
MAX_COMPONENTS = 4096
# Share of a component of fair bits.
UNEXPECTED = 2.0**-8


class BitMixture:
    """Joint law of words of bits: a mixture of words of independent bits.

    Parameters
    ----------
    weights : array-like of shape (n_components,), integers of 1 to 2**32 - 1
        The largest is at least 2**31.
    prob : array-like of shape (n_bits, n_components), integers of 1 to 2**16 - 1
        Probabilities of a 1, in units of 2**-16.
    """

    # Bytes that any chunk takes.
    least_payload = 1

    def __init__(self, weights, prob):
        weights, prob = np.asarray(weights, dtype=np.int64), np.asarray(prob, dtype=np.int64)
        if prob.ndim != 2 or weights.shape != prob.shape[1:] or prob.size == 0:
            raise CorruptStreamError("The mixture of bits has arrays that do not fit together.")
        if (
            len(weights) > MAX_COMPONENTS
            or weights.min() < 1
            or not 31 <= np.log2(weights.max()) < 32
        ):
            raise CorruptStreamError("The mixture of bits has impossible weights.")
        if prob.min() < 1 or prob.max() >= 1 << kernels.PROBABILITY_BITS:
            raise CorruptStreamError("The mixture of bits has impossible probabilities.")
        self.weights, self.prob = weights.astype(np.uint32), prob.astype(np.uint16, order="C")

    @property
    def n_columns(self):
        return len(self.prob)

    @property
    def least_bits(self):
        """Bits that no word takes less than: the coder calls no bit certain."""
        return -self.n_columns * float(np.log2(1 - 2.0**-kernels.PRECISION)) * 0.9999

    @classmethod
    def fit(cls, words, rng):
        """The mixture of words (n, n_bits) of 0 and 1 that codes held-out words shortest.

        Expectation-maximisation from different words, in sizes of up to a quarter of their number.
        """
        words = words[rng.permutation(len(words))[:ROWS]]
        held = max(1, int(HELD_OUT * len(words))) if len(words) > 1 else 0
        inner, (outer, times) = _counted(words[held:]), _counted(words[: held or None])
        best = None
        for size in SIZES:
            if best is not None and size > (len(words) - held) / 4:
                break
            mixture = _expectation_maximisation(*inner, size, rng)
            length = -np.average(_posterior(outer, *mixture)[1], weights=times)
            if best is None or length < best[0]:
                best = length, size
            elif size > BOLD:
                break
        return cls._in_integers(*_expectation_maximisation(*_counted(words), best[1], rng))

    @classmethod
    def _in_integers(cls, share, prob):
        # Words that the model did not expect cost a few bits more than themselves, not any number.
        share = np.append((1 - UNEXPECTED) * share, UNEXPECTED)
        prob = np.vstack([prob, np.full(prob.shape[1], 0.5)])
        top = (1 << kernels.PROBABILITY_BITS) - 1
        whole = np.rint(share / share.max() * (2.0**32 - 1))
        return cls(np.maximum(whole, 1), np.clip(np.rint(prob.T * (top + 1)), 1, top))

    def code_length(self, symbols):
        """Bits of each word of symbols (n_bits, n); returns (n,) float64."""
        out = np.empty(symbols.shape[1])
        kernels.code_length(symbols, self._frequencies(symbols), out)
        return out

    def _frequencies(self, symbols):
        out = np.empty(symbols.shape, dtype=np.uint16)
        kernels.bit_frequencies(symbols, self.weights, self.prob, out)
        return out

    def encode(self, symbols):
        """Bytes of words (n_bits, n): coded where that is shorter than the bits themselves."""
        words = np.empty(symbols.size + 1, dtype=np.uint16)
        state, first = kernels.encode(symbols, self._frequencies(symbols), words)
        coded = int(state).to_bytes(kernels.STATE_BYTES, "little")
        coded += words[first:].astype("<u2").tobytes()
        raw = np.packbits(symbols.T.astype(bool)).tobytes()
        # The decoder tells them apart by their length.
        return coded if len(coded) < len(raw) else raw

    def decode(self, payload, n):
        """Inverse of `encode`: (n_bits, n) int64, or CorruptStreamError."""
        out = np.empty((self.n_columns, n), dtype=np.int64)
        raw = -(-out.size // 8)
        if len(payload) == raw:
            bits = np.unpackbits(np.frombuffer(payload, dtype=np.uint8))
            if bits[out.size :].any():
                raise CorruptStreamError("A chunk of raw bits ends in more than it declares.")
            return bits[: out.size].reshape(n, -1).T.astype(np.int64)
        head = kernels.STATE_BYTES
        if not head <= len(payload) < raw or len(payload) % 2:
            raise CorruptStreamError(
                f"A chunk holds {len(payload)} bytes, which {n} words of {self.n_columns} bits "
                "never take."
            )
        state = int.from_bytes(payload[:head], "little")
        words = np.frombuffer(payload, "<u2", offset=head)
        status = kernels.decode(
            np.uint64(state), words.astype(np.uint16, copy=False), self.weights, self.prob, out
        )
        if status != kernels.OK or state < kernels.STATE_LOW:
            raise CorruptStreamError("A chunk's entropy code is damaged; fetch the stream again.")
        return out

    def to_state(self):
        """Arrays that `from_state` turns back into the same mixture."""
        return {"weights": self.weights, "prob": self.prob}

    @classmethod
    def from_state(cls, state):
        arrays = [stored(state, name, np.ndarray) for name in ("weights", "prob")]
        if any(array.dtype.kind not in "iu" for array in arrays):
            raise CorruptStreamError("The mixture of bits is not in integers.")
        return cls(*arrays)


def _counted(words):
    """Different words (m, n_bits), float64, in order, and how often each comes, (m,)."""
    packed = np.packbits(words > 0, axis=1)
    packed, counts = np.unique(packed, axis=0, return_counts=True)
    return np.unpackbits(packed, axis=1, count=words.shape[1]).astype(np.float64), counts


def _expectation_maximisation(words, counts, size, rng):
    """Shares (size,) and probabilities of a 1 (size, n_bits), from different words."""
    n = counts.sum()
    mean = (counts @ words + PSEUDO) / (n + 2 * PSEUDO)
    share = np.full(size, 1 / size)
    prob = mean[None].copy()
    if size > 1:
        # Those that are frequent come first.
        order = np.argsort(rng.exponential(size=len(counts)) / counts, kind="stable")
        first = words[order[np.arange(size) % len(order)]]
        prob, last = SHARP * first + (1 - SHARP) * mean, -np.inf
        for step in range(N_ITER):
            belongs, total = _posterior(words, share, prob)
            gained = np.average(total, weights=counts)
            if step > FIRST_STEPS and gained < last + LEAST_GAIN:
                break
            last = gained
            belongs *= counts[:, None]
            sizes = belongs.sum(axis=0)
            share = (sizes + PSEUDO) / (n + PSEUDO * size)
            # Pseudo-counts at the mean of all words: what is rare within a component.
            prob = (belongs.T @ words + PSEUDO * mean) / (sizes + PSEUDO)[:, None]
    return share, prob


def _posterior(words, share, prob):
    """Probabilities of each component given words, (n, size), and log ones of words, (n,)."""
    p = np.clip(prob, 2.0**-kernels.PROBABILITY_BITS, 1 - 2.0**-kernels.PROBABILITY_BITS)
    logs = words @ (np.log(p) - np.log1p(-p)).T
    logs += np.log1p(-p).sum(axis=1) + np.log(share)
    top = logs.max(axis=1, keepdims=True)
    logs -= top
    mass = np.exp(logs, out=logs)
    total = mass.sum(axis=1, keepdims=True)
    mass /= total
    return mass, (top + np.log(total))[:, 0]
