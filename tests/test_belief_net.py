"""Stacks of machines: tilted masses and draws against enumeration."""

import numpy as np
import pytest
from reference import Enumerated, words
from scipy.special import logsumexp

from rdlearn._belief_net import BeliefNet
from rdlearn._boltzmann import Draws
from rdlearn.nets.layers import Workspace


def network(sizes, seed=0):
    net = BeliefNet(list(sizes))
    net.params[:] = np.random.default_rng(seed).standard_normal(net.params.size)
    return net


def law(net):
    """Probabilities of all visible words: the top machine's, then down layer by layer."""
    *lower, top = net.machines
    p = Enumerated(top.weights, top.visible, top.hidden).p_v
    for m in reversed(lower):
        h, v = words(m.hidden.size), words(m.visible.size)
        on = 1 / (1 + np.exp(-(h @ m.weights.T.astype(float) + m.visible)))
        each = np.where(v[None] == 1, on[:, None], 1 - on[:, None]).prod(axis=2)
        p = p @ each
    return p


@pytest.mark.parametrize(
    "sizes", [(4, 3), (3, 5), (4, 3, 2), (5, 2, 6), (3, 4, 2, 3), (2, 3, 2, 4, 2)]
)
def test_tilted_masses_and_means(sizes):
    net, rng = network(sizes), np.random.default_rng(1)
    p, v = law(net), words(sizes[0])
    shift = rng.normal(size=(4, sizes[0]))
    shift[1, 0], shift[2, 1], shift[3] = -np.inf, np.inf, 0.0
    mass, means = net.tilted(shift)
    for by, got, mean in zip(shift, mass, means, strict=True):
        finite = np.where(np.isinf(by), 0.0, by)
        barred = (v * np.isneginf(by)).any(axis=1) | ((1 - v) * np.isposinf(by)).any(axis=1)
        logs = np.where(barred, -np.inf, np.log(p) + v @ finite)
        assert got == pytest.approx(logsumexp(logs), abs=1e-5)
        np.testing.assert_allclose(mean, np.exp(logs - logsumexp(logs)) @ v, atol=1e-5)
    assert mass[3] == pytest.approx(0, abs=1e-5)


def test_what_can_be_enumerated():
    assert network((4, 30)).enumerable and network((30, 4)).enumerable
    assert not network((30, 20)).enumerable
    assert network((30, 12, 40)).enumerable and not network((30, 13, 4)).enumerable


@pytest.mark.parametrize("sizes", [(4, 3), (4, 3, 2)])
def test_passes_without_a_tilt_keep_the_model(sizes):
    net, n = network(sizes), 40_000
    p = law(net)
    rng = np.random.default_rng(0)
    x = words(4)[rng.choice(16, size=n, p=p)].astype(np.float32)
    draws = Draws(np.arange(n, dtype=np.uint64), 3)
    y = net.draw(x, np.zeros_like(x), 30, draws, Workspace())
    share = np.bincount((y @ [1, 2, 4, 8]).astype(int), minlength=16) / n
    # Upward passes of a deep network are not its posterior: only one machine keeps its law.
    limit = 5 * np.sqrt(p / n) if len(sizes) == 2 else 0.1
    assert np.all(np.abs(share - p) < limit)


@pytest.mark.parametrize("sizes", [(4, 3), (4, 3, 2)])
def test_barred_bits_stay(sizes):
    net, n = network(sizes), 500
    x = np.random.default_rng(0).integers(0, 2, size=(n, 4)).astype(np.float32)
    shift = np.where(x == 0, -np.inf, 0.0).astype(np.float32)
    draws = Draws(np.arange(n, dtype=np.uint64), 3)
    y = net.draw(x, shift, 2, draws, Workspace())
    assert not y[x == 0].any() and (y[x == 1] == 0).any()


def test_layers_learn_what_the_layer_below_says():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, size=(2, 10))
    x = base[rng.integers(2, size=2000)].astype(np.float32)
    net = BeliefNet([10, 6, 2])
    net.init(rng, x.mean(axis=0))
    trainers = net.trainers(1, rng, "cpu")
    assert [trainer.gradient for trainer in trainers] == ["exact", "exact"]
    errors = [net.learn(x, trainers, 2, 0.5, 50, rng) for _ in range(10)]
    assert errors[-1] < 0.2 * errors[0]
    work = Workspace()
    top = net.machines[1].up(net.machines[0].up(x, work).copy(), work)
    # One of two words is a bit.
    codes = np.unique((top > 0.5)[x[:, np.argmax(base[0] != base[1])] == 1], axis=0)
    assert len(np.unique(top > 0.5, axis=0)) >= 2 and len(codes) == 1
