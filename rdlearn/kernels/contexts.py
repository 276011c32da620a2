"""Symbols whose probabilities are chosen by the magnitudes of those already coded, in integers.

Symbols lie in planes that are coded one after the other, each row by row. A non-negative linear
form of magnitudes around the place of a symbol, in its own plane and in earlier ones, predicts its
magnitude, and half octaves of the prediction number the tables. Only the two symbols before in the
same row have to be waited for: all the rest of a row's predictions are sums over whole rows.

A magnitude is coded as the number of its bucket, by yes-or-no decisions (is it this bucket, or a
later one?), then its place in the bucket and its sign. Buckets are single numbers up to 7 and half
octaves from there on.

Facts that surprise: magnitudes are cut to `CAP` before they are summed; all symbols are given
tables forwards and coded backwards; the state of the coder stays in [2**32, 2**48), with words of
16 bits, and is back at 2**32 when the decoder is done. Probabilities have 16 bits, so that a state
holds at least 2**16 times any of them: in a smaller one, rounding would cost a few percent.
"""

import numpy as np
from numba import njit

from rdlearn.kernels.jit import JIT

__all__ = [
    "CAP",
    "N_BINS",
    "N_DECISIONS",
    "N_SINGLE",
    "PRECISION",
    "STATE_BYTES",
    "STATE_LOW",
    "WEIGHT_BITS",
    "add_up",
    "assign",
    "code_length",
    "count",
    "decide",
    "decode",
    "difference",
    "encode",
    "gather",
    "reconstruct",
]

CAP = 15
# Of weights and of probabilities.
WEIGHT_BITS, PRECISION = 12, 16
# Half octaves of predictions from 2**-8 on.
LOWEST, N_BINS = 4, 26
# Buckets of one number, buckets whose decision is learned, and all there are: up to 2**30.
N_SINGLE, N_DECISIONS, N_BUCKETS = 8, 22, 62

TOTAL = np.uint64(1 << PRECISION)
HALF = np.uint64(1 << (PRECISION - 1))
MASK = TOTAL - np.uint64(1)
BITS = np.uint64(PRECISION)
STATE_BYTES = 6
STATE_LOW = np.uint64(1 << 32)
ROOM_BITS = np.uint64(32)

OK, OUT_OF_WORDS, TOO_LARGE, LEFT_OVER = range(4)


@njit(inline="always")
def _top_bit(s):
    """Floor of log2 of 1 <= s < 2**32."""
    n = 0
    if s >= 1 << 16:
        s >>= 16
        n += 16
    if s >= 1 << 8:
        s >>= 8
        n += 8
    if s >= 1 << 4:
        s >>= 4
        n += 4
    if s >= 1 << 2:
        s >>= 2
        n += 2
    if s >= 1 << 1:
        n += 1
    return n


@njit(inline="always")
def _bin(s):
    """Number of the half octave of a prediction in units of 2**-WEIGHT_BITS."""
    if s < 1 << LOWEST:
        return 0
    n = _top_bit(s)
    return min(1 + 2 * (n - LOWEST) + ((s >> (n - 1)) & 1), N_BINS - 1)


@njit(inline="always")
def _bucket(a):
    """Number of the bucket of a magnitude, the first magnitude in it, and log2 of its size."""
    if a < N_SINGLE:
        return a, a, 0
    n = _top_bit(a)
    upper = (a >> (n - 1)) & 1
    return N_SINGLE + 2 * (n - 3) + upper, (2 + upper) << (n - 1), n - 1


@njit(inline="always")
def _row_sums(i, width, mag, taps, weights, first, last, constant, sums):
    """Predictions of row i of a plane but for what the row itself adds."""
    for j in range(width):
        sums[j] = constant
    for t in range(first, last):
        w = weights[t]
        if w == 0:
            continue
        if taps[t, 2]:
            base = taps[t, 0] + (i >> 1) * taps[t, 1]
            for j in range(width >> 1):
                v = w * np.int32(mag[base + j])
                sums[2 * j] += v
                sums[2 * j + 1] += v
            if width & 1:
                sums[width - 1] += w * np.int32(mag[base + (width >> 1)])
        else:
            base = taps[t, 0] + i * taps[t, 1]
            for j in range(width):
                sums[j] += w * np.int32(mag[base + j])


@njit(**JIT)
def assign(symbols, planes, taps, weights, own, mag, tables):
    """Table of each of symbols (n_images, n_symbols) int32, in coding order; `mag` is used up.

    planes (p, 8): place of the first symbol in `mag`, stride, height, width, number of its first
    symbol, first and last tap, group of tables. taps (t, 3): place in `mag` for row and column 0,
    stride, and whether that plane is half as large; weights (t,) int32. own (p, 3) int32: weights
    of the two symbols before in the row, and the constant. mag (m,) uint8, zero between planes.
    """
    sums = np.empty(planes[:, 3].max(), np.int32)
    for image in range(len(symbols)):
        q, out = symbols[image], tables[image]
        for p in range(len(planes)):
            start, stride, height, width, n, first, last, group = planes[p]
            one, two, constant = own[p]
            for i in range(height):
                _row_sums(i, width, mag, taps, weights, first, last, constant, sums)
                left = before = np.int32(0)
                place = start + i * stride
                for j in range(width):
                    out[n] = group * N_BINS + _bin(sums[j] + one * left + two * before)
                    m = np.int32(min(abs(q[n]), CAP))
                    mag[place + j] = m
                    before, left = left, m
                    n += 1


@njit(**JIT)
def decide(values, tables, bits, price, symbols):
    """The integers of least squared error plus `price` a bit, under given tables.

    values, tables, symbols (n,); bits as for `code_length`. Values whose bucket has no learned
    decision are rounded.
    """
    for n in range(values.size):
        a = abs(values[n])
        high = np.int64(a + np.float32(0.5))
        best_q = high
        if high > 0 and _bucket(high)[0] < N_DECISIONS:
            row, best = bits[tables[n]], np.float32(np.inf)
            for step in range(3):
                q = max(high - step, 0) if step < 2 else 0
                cost = (a - q) * (a - q) + price * (row[_bucket(q)[0]] + (q > 0))
                if cost < best:
                    best, best_q = cost, q
        symbols[n] = best_q if values[n] > 0 else -best_q


@njit(**JIT)
def count(symbols, tables, passed, seen):
    """Add up, for each table and decision, how often it was taken and how often it said no.

    passed, seen (n_tables, N_DECISIONS) float64.
    """
    for n in range(symbols.size):
        k, _, _ = _bucket(abs(symbols[n]))
        t = tables[n]
        for d in range(min(k + 1, N_DECISIONS)):
            seen[t, d] += 1
            passed[t, d] += k > d


@njit(**JIT)
def code_length(symbols, tables, bits, sign_bits, out):
    """Bits of each of symbols (n,), into out (n,) float32.

    bits (n_tables, N_DECISIONS + 1) float32: of each bucket with the place in it, and of having
    got beyond the last one; sign_bits (n_tables, 2) float32: of plus and minus.
    """
    for n in range(symbols.size):
        q, t = symbols[n], tables[n]
        k, _, width = _bucket(abs(q))
        total = bits[t, min(k, N_DECISIONS)]
        if k >= N_DECISIONS:
            total += np.float32(k - N_DECISIONS + 1 + width)
        if q != 0:
            total += sign_bits[t, 1 if q < 0 else 0]
        out[n] = total


@njit(inline="always")
def _push(x, p, words, f, cum):
    if x >= f << ROOM_BITS:
        p -= 1
        words[p] = np.uint16(x & MASK)
        x = x >> BITS
    return ((x // f) << BITS) + x % f + cum, p


@njit(**JIT)
def encode(symbols, tables, prob, negative, words):
    """Final state and first word used of symbols (n,); words fill from the end.

    The most words that symbols may take is `N_BUCKETS` + 4 each.
    """
    x, p = STATE_LOW, words.size
    for n in range(symbols.size - 1, -1, -1):
        q, t = symbols[n], tables[n]
        a = abs(q)
        k, base, width = _bucket(a)
        if q != 0:
            f = np.uint64(negative[t])
            if q < 0:
                x, p = _push(x, p, words, f, np.uint64(0))
            else:
                x, p = _push(x, p, words, TOTAL - f, f)
            rest = a - base
            while width > 0:
                part = min(width, 15)
                f = np.uint64(1 << (PRECISION - part))
                x, p = _push(x, p, words, f, np.uint64(rest & ((1 << part) - 1)) * f)
                rest >>= part
                width -= part
        f = np.uint64(prob[t, k]) if k < N_DECISIONS else HALF
        x, p = _push(x, p, words, f, np.uint64(0))
        for d in range(k - 1, -1, -1):
            f = np.uint64(prob[t, d]) if d < N_DECISIONS else HALF
            x, p = _push(x, p, words, TOTAL - f, f)
    return x, p


@njit(inline="always")
def _refill(x, at, words):
    # Beyond the end zeros come in; the caller looks at `at` before it believes a row.
    if x < STATE_LOW:
        word = np.uint64(words[at]) if at < words.size else np.uint64(0)
        return (x << BITS) | word, at + 1
    return x, at


@njit(inline="always")
def _pop_bits(x, at, words, count):
    shift = BITS - np.uint64(count)
    value = np.int64((x & MASK) >> shift)
    x = ((x >> BITS) << shift) | (x & ((np.uint64(1) << shift) - np.uint64(1)))
    x, at = _refill(x, at, words)
    return x, at, value


@njit(**JIT)
def decode(state, words, planes, taps, weights, own, prob, negative, mag, symbols):
    """Inverse of `encode` into symbols (n_images, n_symbols); OK, or what is wrong."""
    x, at = state, 0
    sums = np.empty(planes[:, 3].max(), np.int32)
    for image in range(len(symbols)):
        out = symbols[image]
        for p in range(len(planes)):
            start, stride, height, width, n, first, last, group = planes[p]
            one, two, constant = own[p]
            for i in range(height):
                if at > words.size:
                    return OUT_OF_WORDS
                _row_sums(i, width, mag, taps, weights, first, last, constant, sums)
                left = before = np.int32(0)
                place = start + i * stride
                for j in range(width):
                    t = group * N_BINS + _bin(sums[j] + one * left + two * before)
                    k = 0
                    while True:
                        f = np.uint64(prob[t, k]) if k < N_DECISIONS else HALF
                        slot = x & MASK
                        if slot < f:
                            x = f * (x >> BITS) + slot
                            x, at = _refill(x, at, words)
                            break
                        x = (TOTAL - f) * (x >> BITS) + slot - f
                        x, at = _refill(x, at, words)
                        k += 1
                        if k == N_BUCKETS:
                            return TOO_LARGE
                    q = np.int64(k)
                    if k > 0:
                        if k >= N_SINGLE:
                            size = (k - N_SINGLE) // 2 + 2
                            rest = np.int64(0)
                            high = size % 15
                            if high:
                                x, at, rest = _pop_bits(x, at, words, high)
                            for _ in range(size // 15):
                                x, at, part = _pop_bits(x, at, words, 15)
                                rest = (rest << 15) | part
                            q = ((2 + (k & 1)) << size) + rest
                        slot, below = x & MASK, np.uint64(negative[t])
                        if slot < below:
                            x = below * (x >> BITS) + slot
                            q = -q
                        else:
                            x = (TOTAL - below) * (x >> BITS) + slot - below
                        x, at = _refill(x, at, words)
                    m = np.int32(min(abs(q), CAP))
                    mag[place + j] = m
                    before, left = left, m
                    out[n] = q
                    n += 1
    return OK if at == words.size and x == STATE_LOW else LEFT_OVER


@njit(**JIT)
def reconstruct(symbols, planes, n_smooth, shift, out):
    """Values of symbols (n_images, n_symbols), as out of that shape, float32.

    shift (n_groups, m) float32: what is added to magnitudes 0, 1, ..., m - 1 and more, but in the
    first `n_smooth` planes.
    """
    most = shift.shape[1] - 1
    for image in range(len(symbols)):
        for p in range(len(planes)):
            height, width, n = planes[p, 2:5]
            group, flat = planes[p, 7], p < n_smooth
            for place in range(n, n + height * width):
                q = symbols[image, place]
                value = np.float32(q)
                if q != 0 and not flat:
                    add = shift[group, min(abs(q), most)]
                    value += add if q > 0 else -add
                out[image, place] = value


@njit(inline="always")
def _guess(q, n, i, j, width):
    """Mean of the symbols before and above."""
    if i == 0:
        return q[n - 1] if j > 0 else np.int32(0)
    above = q[n - width]
    return (q[n - 1] + above) >> 1 if j > 0 else above


@njit(**JIT)
def difference(symbols, planes, n_planes, out):
    """Symbols (n_images, n_symbols), in the first planes less what is guessed of them."""
    for image in range(len(symbols)):
        out[image] = symbols[image]
        for p in range(n_planes):
            height, width, n = planes[p, 2:5]
            for i in range(height):
                for j in range(width):
                    out[image, n] -= _guess(symbols[image], n, i, j, width)
                    n += 1


@njit(**JIT)
def add_up(symbols, planes, n_planes):
    """Inverse of `difference`, in place; what overflows wraps around."""
    for image in range(len(symbols)):
        q = symbols[image]
        for p in range(n_planes):
            height, width, n = planes[p, 2:5]
            for i in range(height):
                for j in range(width):
                    q[n] += _guess(q, n, i, j, width)
                    n += 1


@njit(**JIT)
def gather(places, mag, taps, features, out):
    """Magnitudes at the taps of a plane, summed by feature; places (m, 2), out (m, n_features)."""
    for m in range(len(places)):
        i, j = places[m]
        for t in range(len(taps)):
            k = taps[t, 2]
            out[m, features[t]] += mag[taps[t, 0] + (i >> k) * taps[t, 1] + (j >> k)]
