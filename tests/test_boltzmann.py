"""Machines as numbers: kernels, conditionals and gradients against enumeration."""

import numpy as np
import pytest
from reference import Enumerated, words
from scipy import stats

from rdlearn._boltzmann import Draws, Machine, Trainer, all_states
from rdlearn.kernels.boltzmann import softplus_sums
from rdlearn.kernels.cpu import add_product
from rdlearn.kernels.elementwise import tilt
from rdlearn.kernels.random import bernoulli, row_bits
from rdlearn.nets.layers import Workspace

SHAPES = [(1, 1), (3, 7), (8, 4), (6, 6)]


def machine(d, h, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    made = Machine(d, h)
    made.params[:] = scale * rng.standard_normal(made.params.size)
    return made


def parts(m):
    return m.weights, m.visible, m.hidden


# Kernels.


@pytest.mark.parametrize("d", [1, 3, 4, 7, 64])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_compare_the_words_of_rows_with_probabilities(d, dtype):
    rng = np.random.default_rng(d)
    keys = rng.integers(0, 1 << 63, size=9).astype(np.uint64)
    prob = rng.random((9, d)).astype(dtype)
    prob[0], prob[1] = 0.0, 1.0
    seed, stream = np.uint64(3), np.uint64(8)
    raw, out = np.empty((9, d), np.uint32), np.empty((9, d), dtype)
    row_bits(keys, seed, stream, raw)
    bernoulli(prob, keys, seed, stream, out)
    np.testing.assert_array_equal(out, raw < prob.astype(np.float64) * 2.0**32)
    assert not out[0].any() and out[1].all()


def test_tilted_units_are_exactly_off_where_barred_and_on_where_forced():
    z = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    bias = np.array([0.5, -1.0, 90.0, -90.0], dtype=np.float32)
    shift = np.array([[0.0, 2.0, -np.inf, np.inf], [1.5, -3.0, 0.0, 0.0]], dtype=np.float32)
    out = z.copy()
    tilt(out, bias, shift)
    assert out[0, 2] == 0.0 and out[0, 3] == 1.0
    finite = np.isfinite(shift)
    want = 1 / (1 + np.exp(-(z + bias + shift).astype(np.float64)[finite]))
    np.testing.assert_allclose(out[finite], want, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("k", [1, 511, 512, 1300])
def test_sums_of_softplus(k):
    z = 30 * np.random.default_rng(k).standard_normal((3, k))
    out = np.empty(3)
    softplus_sums(z.astype(np.float32), out)
    want = np.logaddexp(0, z.astype(np.float32).astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(out, want, rtol=1e-6)


@pytest.mark.parametrize("dtype, tolerance", [(np.float32, 1e-5), (np.float64, 1e-14)])
def test_add_product(dtype, tolerance):
    rng = np.random.default_rng(0)
    a, b, out = (rng.normal(size=shape).astype(dtype) for shape in ((5, 3), (5, 4), (3, 4)))
    want = 0.25 * out + 1.5 * a.T @ b
    add_product(a, b, 1.5, 0.25, out, Workspace().empty)
    np.testing.assert_allclose(out, want, atol=tolerance)


# Conditionals and chains.


@pytest.mark.parametrize("d, h", SHAPES)
def test_conditionals_and_free_energies(d, h):
    m, work = machine(d, h), Workspace()
    exact = Enumerated(*parts(m))
    np.testing.assert_array_equal(all_states(d), exact.v)
    energy = m.free_energy(all_states(d))
    np.testing.assert_allclose(np.exp(-energy - exact.log_z), exact.p_v, rtol=1e-5)
    up = m.up(all_states(d), work).copy()
    np.testing.assert_allclose(up, exact.joint @ exact.h / exact.p_v[:, None], rtol=2e-6)
    p_h = exact.joint.sum(axis=0)
    down = m.down(all_states(h), work).copy()
    np.testing.assert_allclose(down, exact.joint.T @ exact.v / p_h[:, None], rtol=2e-6)
    np.testing.assert_allclose(
        m.flipped().free_energy(all_states(h)), -np.log(p_h) - exact.log_z, rtol=1e-5
    )


@pytest.mark.parametrize("shift", [None, [1.0, -2.0, 0.5], [np.inf, -np.inf, 0.3]])
def test_chains_tend_to_the_model(shift):
    m, n = machine(3, 2, seed=4), 20_000
    rows = None if shift is None else np.tile(np.float32(shift), (n, 1))
    draws = Draws(np.arange(n, dtype=np.uint64), 5)
    v = m.gibbs(np.zeros((n, 3), np.float32), 30, draws, Workspace(), rows)
    p = Enumerated(*parts(m), shift).p_v
    counts = np.bincount((v @ [1, 2, 4]).astype(int), minlength=8)
    assert not counts[p == 0].any()
    assert stats.chisquare(counts[p > 0], n * p[p > 0]).pvalue > 1e-4


def test_a_row_draws_by_its_key():
    m, x = machine(5, 4), np.zeros((6, 5), np.float32)
    keys = np.arange(6, dtype=np.uint64)
    whole = m.gibbs(x, 3, Draws(keys, 9), Workspace(by_rows=True)).copy()
    order = [4, 1, 5]
    part = m.gibbs(x[order], 3, Draws(keys[order], 9), Workspace(by_rows=True))
    np.testing.assert_array_equal(part, whole[order])


# Gradients.


def move(m, gradient, x, **options):
    """What a step of rate 1 adds to each part."""
    before = m.params.copy()
    given = {"n_gibbs": 1, "momentum": 0.0, "decay": 0.0, "seed": 0, **options}
    trainer = Trainer(m, gradient, **given)
    trainer.step(x, 1.0)
    after = Machine(*m.weights.shape, m.params - before)
    return parts(after)


@pytest.mark.parametrize("d, h", [*SHAPES, (12, 10), (12, 3)])
def test_exact_gradient(d, h):
    m = machine(d, h, seed=1, scale=0.5)
    x = np.random.default_rng(2).random((11, d)).astype(np.float32)
    exact = Enumerated(*parts(m))
    up = 1 / (1 + np.exp(-(x @ m.weights + m.hidden).astype(np.float64)))
    data = x.T @ up / len(x), x.mean(axis=0), up.mean(axis=0)
    for got, ours, theirs in zip(move(m, "exact", x), data, exact.means(), strict=True):
        np.testing.assert_allclose(got, ours - theirs, atol=3e-6)


@pytest.mark.parametrize("gradient, n_gibbs", [("cd", 40), ("pcd", 40)])
def test_long_chains_give_the_exact_gradient(gradient, n_gibbs):
    x = (np.random.default_rng(3).random((20_000, 4)) < 0.4).astype(np.float32)
    got = move(machine(4, 3), gradient, x, n_gibbs=n_gibbs)
    want = move(machine(4, 3), "exact", x)
    for one, other in zip(got, want, strict=True):
        # Means of 20,000 numbers in [0, 1]: five standard errors at most.
        np.testing.assert_allclose(one, other, atol=5 * 0.5 / np.sqrt(20_000))


def test_short_chains_start_where_they_should():
    x = np.ones((4000, 4), np.float32)
    # Without weights a chain forgets at once, with strong ones it stays.
    stuck = Machine(4, 4)
    stuck.weights[:] = 40 * np.eye(4)
    stuck.visible[:] = stuck.hidden[:] = -20
    got = move(stuck, "cd", x)
    assert all(np.abs(part).max() < 1e-5 for part in got)
    trainer = Trainer(stuck, "pcd", 1, 0.0, 0.0, 0)
    trainer.step(x, 1e-6)
    before = stuck.params.copy()
    trainer.step(np.zeros_like(x), 1.0)
    # The chains are still at ones, the data no more.
    np.testing.assert_allclose(stuck.visible - before[16:20], -1.0, atol=1e-4)


def test_momentum_and_decay():
    x = np.random.default_rng(0).random((8, 5)).astype(np.float32)
    plain = move(machine(5, 3), "exact", x)
    slow = move(machine(5, 3), "exact", x, momentum=0.75)
    for one, other in zip(slow, plain, strict=True):
        np.testing.assert_allclose(one, 0.25 * other, atol=1e-6)
    for momentum in (0.0, 0.75):
        m = machine(5, 3)
        weights = m.weights.copy()
        free = move(machine(5, 3), "exact", x, momentum=momentum)
        decayed = move(m, "exact", x, momentum=momentum, decay=0.1)
        np.testing.assert_allclose(decayed[0], free[0] - 0.1 * weights, atol=1e-6)
        np.testing.assert_allclose(decayed[1], free[1], atol=1e-7)
    m = machine(5, 3)
    trainer = Trainer(m, "exact", 1, 0.5, 0.0, 0)
    moves = []
    for _ in range(2):
        before = m.params.copy()
        gradient = np.concatenate(
            [part.ravel() for part in move(Machine(5, 3, before.copy()), "exact", x)]
        )
        trainer.step(x, 0.1)
        moves.append((m.params - before, gradient))
    np.testing.assert_allclose(moves[1][0], 0.5 * moves[0][0] + 0.05 * moves[1][1], atol=1e-6)


def test_likelihood_rises_to_that_of_the_source():
    rng = np.random.default_rng(0)
    source = Enumerated(*parts(machine(5, 2, seed=7)))
    x = words(5)[rng.choice(32, size=20_000, p=source.p_v)].astype(np.float32)
    entropy = -(source.p_v @ np.log(source.p_v))
    for gradient in ("exact", "pcd", "cd"):
        m = Machine(5, 6)
        m.init(rng, x.mean(axis=0), 0.01)
        trainer = Trainer(m, gradient, 5, 0.5, 0.0, 1)
        errors = [trainer.epoch(x, 0.5 * 0.05 ** (epoch / 39), 100, rng) for epoch in range(40)]
        fitted = Enumerated(*parts(m)).p_v
        assert -(source.p_v @ np.log(fitted)) - entropy < 0.01, gradient
        assert errors[-1] < errors[0]
