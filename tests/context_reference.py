"""The coder of planes once more, in plain Python integers: slow, from its description alone.

A plane here is (height, width, group, sources), a source is (plane, shifts, half, feature), and
whatever lies outside a plane is 0.
"""

import bisect
import math

CAP, LEARNED, N_BINS, TOTAL = 15, 22, 26, 1 << 16
CONSTANT = 37
ABOVE = [(-1, 0), (-2, 0), (-1, -1), (-1, 1), (-1, -2), (-1, 2), (-2, -1), (-2, 1)]
CENTRE, CROSS = [(0, 0)], [(-1, 0), (1, 0), (0, -1), (0, 1)]
DIAGONAL = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
# Where bins of predictions after the first one begin, and where buckets do.
BINS = [(2 + upper) << (n - 1) for n in range(4, 17) for upper in (0, 1)][:25]
BUCKETS = [*range(8), *((2 + upper) << (n - 1) for n in range(3, 30) for upper in (0, 1)), 1 << 30]


def _above(plane):
    return [(plane, [shift], 0, 2 + k) for k, shift in enumerate(ABOVE)]


def _around(plane, number):
    return [(plane, CENTRE, 0, 13 + 2 * number), (plane, CROSS, 0, 14 + 2 * number)]


def bands(height, width, n_channels, levels):
    """Low-pass bands of all channels, then (HL, LH, HH) of all channels, coarse to fine."""
    sizes = [(height, width)]
    for _ in range(levels):
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    planes = []

    def add(shape, c, k, o):
        here = len(planes)
        sources = _above(here)
        if k >= 2:
            parent = here - 3 * n_channels
            for feature, shifts in ((10, CENTRE), (11, CROSS), (12, DIAGONAL)):
                sources.append((parent, shifts, 1, feature))
        for number in range(o):
            sources += _around(here - (o - number) * n_channels, number)
        for number in range(c):
            sources += _around(here - c + number, 2 + number)
        planes.append((*shape, c * (levels + 1) + k, sources))

    for c in range(n_channels):
        add(sizes[-1], c, 0, 0)
    for k in range(1, levels + 1):
        (tall, broad), (h, w) = sizes[levels - k], sizes[levels - k + 1]
        for o, shape in enumerate([(h, broad - w), (tall - h, w), (tall - h, broad - w)]):
            for c in range(n_channels):
                add(shape, c, k, o)
    return planes


def grid(height, width, partners):
    """Channels of one size that look at some earlier ones."""
    planes = []
    for c, others in enumerate(partners):
        seen = [source for k, other in enumerate(others) for source in _around(other, k)]
        planes.append((height, width, c, _above(c) + seen))
    return planes


def columns(n_rows, partners):
    """Components of a table: looks at the same row only."""
    return [
        (1, n_rows, c, [(other, CENTRE, 0, 2 + k) for k, other in enumerate(others)])
        for c, others in enumerate(partners)
    ]


def differences(planes, n_smooth, symbols):
    """Symbols of one image, those of the first planes less the mean of the left and upper one."""
    out, n = list(symbols), 0
    for height, width, _, _ in planes[:n_smooth]:
        for i in range(height):
            for j in range(width):
                near = [symbols[n - 1]] * (j > 0) + [symbols[n - width]] * (i > 0)
                out[n] = symbols[n] - math.floor(sum(near) / max(len(near), 1))
                n += 1
    return out


def tables(planes, weights, in_row, residuals):
    """Number of the table of each symbol of one image."""
    sizes, out, n = [], [], 0
    for p, (height, width, group, sources) in enumerate(planes):
        sizes.append({})
        w = weights[p]
        for i in range(height):
            for j in range(width):
                total = w[CONSTANT]
                if in_row:
                    total += w[0] * sizes[p].get((i, j - 1), 0) + w[1] * sizes[p].get((i, j - 2), 0)
                for other, shifts, half, feature in sources:
                    for di, dj in shifts:
                        place = (i >> half) + di, (j >> half) + dj
                        total += w[feature] * sizes[other].get(place, 0)
                out.append(group * N_BINS + bisect.bisect_right(BINS, total))
                sizes[p][i, j] = min(abs(residuals[n]), CAP)
                n += 1
    return out


def steps(q, table, prob, negative):
    """(start, frequency) in 2**16 of each decision about a symbol, in the order of decoding."""
    k = bisect.bisect_right(BUCKETS, abs(q)) - 1
    for d in range(k + 1):
        f = prob[table][d] if d < LEARNED else TOTAL // 2
        yield (0, f) if d == k else (f, TOTAL - f)
    n_bits = (BUCKETS[k + 1] - BUCKETS[k]).bit_length() - 1
    while n_bits > 0:
        # 15 bits at a time, those that are left over first.
        part = n_bits % 15 or 15
        n_bits -= part
        digit = ((abs(q) - BUCKETS[k]) >> n_bits) % (1 << part)
        yield digit * (TOTAL >> part), TOTAL >> part
    if q:
        f = negative[table // N_BINS]
        yield (0, f) if q < 0 else (f, TOTAL - f)


def bits(q, table, prob, negative):
    """Ideal length of a symbol."""
    return sum(math.log2(TOTAL / f) for _, f in steps(q, table, prob, negative))


def encode(coded, prob, negative):
    """Bytes of (residual, table) pairs in coding order."""
    x, words = 1 << 32, []
    for start, f in reversed([step for pair in coded for step in steps(*pair, prob, negative)]):
        if x >= f << 32:
            words.append(x % TOTAL)
            x //= TOTAL
        x = (x // f) * TOTAL + x % f + start
    return x.to_bytes(6, "little") + b"".join(w.to_bytes(2, "little") for w in reversed(words))


def choice(value, table, price, prob):
    """Of the nearest integer, the one below it and 0, the cheapest; fair signs."""
    fair = [TOTAL // 2] * (table // N_BINS + 1)
    size = abs(value)
    high = math.floor(size + 0.5)
    if high >= BUCKETS[LEARNED]:
        return int(math.copysign(high, value))
    candidates = sorted({high, max(high - 1, 0), 0}, reverse=True)
    costs = [(size - q) ** 2 + price * bits(q, table, prob, fair) for q in candidates]
    return int(math.copysign(candidates[costs.index(min(costs))], value))
