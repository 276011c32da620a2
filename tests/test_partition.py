"""Partition functions: enumeration against the definition, annealing against enumeration."""

import numpy as np
import pytest
from reference import Enumerated

from rdlearn._boltzmann import Machine
from rdlearn._partition import annealed, enumerated


def cases(n):
    """Machines of up to 12 visible and 10 hidden units with rows of shifts."""
    rng = np.random.default_rng(1)
    for _ in range(n):
        d, h = rng.integers(1, 13), rng.integers(1, 11)
        m = Machine(d, h)
        m.params[:] = rng.standard_normal(m.params.size)
        m.weights[:] *= rng.choice([0.3, 1.0, 2.0])
        shift = rng.normal(size=(3, d))
        shift[1, 0], shift[2, -1] = -np.inf, np.inf
        yield m, shift


def oracle(m, shift):
    laws = [Enumerated(m.weights, m.visible, m.hidden, row) for row in shift]
    return np.array([law.log_z for law in laws]), np.array([law.means()[1] for law in laws])


@pytest.mark.parametrize(
    "case", list(cases(12)), ids=lambda case: "x".join(map(str, case[0].weights.shape))
)
def test_enumeration(case):
    m, shift = case
    for one, by in ((m, shift), (m, np.zeros_like(shift))):
        result = enumerated(one, by)
        log_z, means = oracle(one, by)
        np.testing.assert_allclose(result.log_z, log_z, rtol=1e-6, atol=1e-5)
        np.testing.assert_allclose(result.visible_means, means, atol=1e-5)
        assert not result.standard_error.any() and np.isinf(result.sample_size).all()


def test_annealing_is_within_three_of_its_standard_errors():
    inside, scores, off = 0, [], []
    for number, (m, shift) in enumerate(cases(100)):
        exact = enumerated(m, shift)
        base = np.random.default_rng(number).normal(size=len(m.visible))
        result = annealed(m, shift, base, 100, 300, number)
        assert result.sample_size.min() >= 10
        score = (result.log_z - exact.log_z) / np.maximum(result.standard_error, 1e-5)
        inside += np.all(np.abs(score[0]) < 3)
        scores.append(score)
        off.append(np.abs(result.visible_means - exact.visible_means).max())
    assert inside >= 95
    # Scores of errors that are as large as they say: deviation 1, known to a tenth.
    assert 0.7 < np.std(scores) < 1.3
    # 100 weighted particles: five standard errors of a half.
    assert max(off) < 5 * 0.5 / np.sqrt(60)


def test_too_few_steps_are_refused():
    m = Machine(40, 30)
    m.weights[:] = 3 * np.random.default_rng(0).standard_normal((40, 30))
    result = annealed(m, np.zeros((1, 40)), np.zeros(40), 100, 3, 0)
    with pytest.raises(ValueError, match=r"effective sample size of [0-9.]+, below 10.*n_steps"):
        result.refuse_small_samples()


def test_blocks_of_chains_are_those_of_their_rows():
    m, shift = next(cases(1))
    rows = np.tile(shift, (60, 1))
    result = annealed(m, rows, np.zeros(len(m.visible)), 50, 20, 3)
    assert len(result.log_z) == 180 and len(np.unique(result.log_z)) > 100
