"""Bits through noise: code, rate and gradient."""

import math

import numpy as np
import pytest

from rdlearn.channels.binary import BinaryChannel, GivenBits
from rdlearn.nets.layers import Workspace

NONE = np.zeros(0)


@pytest.mark.parametrize("n, k", [(1, 1), (5, 3)])
def test_binary_channel(n, k):
    rng, channel, work = np.random.default_rng(n), BinaryChannel(k), Workspace()
    encoded, weight = rng.normal(size=(n, k)), rng.normal(size=(n, k))
    draw = channel.draw(rng, n)
    code, rate, cache = channel.forward(NONE, encoded, draw, None, work)
    np.testing.assert_allclose(
        code, 1 / (1 + np.exp(-encoded - 3 * draw.astype(float))), rtol=1e-12
    )
    np.testing.assert_allclose(rate, k * math.log(2))
    grad = channel.backward(NONE, NONE, weight.copy(), 1.0, cache, work).copy()
    step = 1e-6
    for place in np.ndindex(n, k):
        moved = encoded.copy()
        values = []
        for by in (step, -step):
            moved[place] = encoded[place] + by
            values.append((weight * channel.forward(NONE, moved, draw, None, work)[0]).sum())
        assert grad[place] == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-8)


def test_given_bits_pass_as_they_are():
    channel, code = GivenBits(3), np.arange(6.0).reshape(2, 3)
    out, rate, cache = channel.forward(NONE, code, channel.draw(None, 2), None, Workspace())
    np.testing.assert_array_equal(out, code)
    np.testing.assert_allclose(rate, 3 * math.log(2))
    np.testing.assert_array_equal(
        channel.backward(NONE, NONE, 2 * code, 1.0, cache, Workspace()), 2 * code
    )
