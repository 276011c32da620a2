"""What a trellis is, written from its definition in plain Python: nothing of rdlearn's."""

import itertools
import math

# Next states and sets of quantizers as published (VVC, and its successor's model).
NEXT = {
    4: ((0, 2), (2, 0), (1, 3), (3, 1)),
    8: ((0, 2), (5, 7), (1, 3), (6, 4), (2, 0), (4, 6), (3, 1), (7, 5)),
}
SECOND = {4: {2, 3}, 8: {1, 3, 5, 7}}


def quantizers(indices, n_states):
    """Which quantizer each index of a path is of."""
    state, out = 0, []
    for k in indices:
        out.append(int(state in SECOND[n_states]))
        state = NEXT[n_states][state][k % 2]
    return out


def paths(n, joint, n_columns=1):
    """Places (column, row) of each path."""
    if joint:
        return [[(c, i) for i in range(j, n, 8)] for c in range(n_columns) for j in range(8)]
    return [[(c, i) for c in range(n_columns)] for i in range(n)]


def cheapest(values, n_states, cost, most=2):
    """Least cost over all paths whose indices lie within `most` of the values, in steps.

    cost(position, quantizer, index, value).
    """
    ranges = [range(math.floor(v) - most, math.ceil(v) + most + 1) for v in values]
    best = math.inf, None
    for path in itertools.product(*ranges):
        total = 0.0
        for place, (q, k) in enumerate(zip(quantizers(path, n_states), path, strict=True)):
            total += cost(place, q, k, values[place])
            if total >= best[0]:
                break
        else:
            best = total, path
    return best
