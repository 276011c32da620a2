"""The channel of DBNBlahutArimoto: the law it fits, its estimate, its draws."""

import numpy as np
import pytest
from bits_data import RULES, N, codec, markov, sample, table
from reference import Enumerated, words
from scipy.special import logsumexp

from rdlearn import DBNBlahutArimoto, blahut_arimoto
from rdlearn.distortions import Hamming


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 4.0])
def test_one_layer_comes_close_to_blahut_arimoto(beta):
    p, d = markov(), (words(N)[:, None] != words(N)).sum(axis=2).astype(float)
    best = blahut_arimoto(p, d, beta).upper_bound
    model = DBNBlahutArimoto(
        10, beta=beta, fine_tune_epochs=0, encoder_search=None, random_state=0, **RULES
    ).fit(sample(p, 5000))
    machine = model._belief_net().machines[0]
    law = Enumerated(machine.weights, machine.visible, machine.hidden).p_v
    got = -p @ logsumexp(np.log(law) - beta * d, axis=1)
    assert best < got < 1.06 * best
    # Without rounds, a machine of the words themselves says too much where little is worth it.
    if beta <= 2:
        assert got < -p @ logsumexp(np.log(p) - beta * d, axis=1)
    estimate = model.estimate_rate_distortion(words(N))
    assert model.rate_distortion_estimate_.keys() == estimate.keys()


@pytest.mark.parametrize(
    "distortion", [Hamming(), Hamming(0.5, 2.0), Hamming(np.inf), Hamming(b=np.inf)]
)
@pytest.mark.parametrize("hidden", [(), (4,)])
@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_the_estimate_is_equation_4(beta, hidden, distortion):
    model = codec(
        beta=beta, hidden_layer_sizes=hidden, distortion=distortion, fine_tune_epochs=0
    ).fit(sample(markov(), 300))
    X, p = words(N).astype(float), None
    for m in reversed(model._belief_net().machines):
        if p is None:
            p = Enumerated(m.weights, m.visible, m.hidden).p_v
            continue
        on = 1 / (1 + np.exp(-(words(m.hidden.size) @ m.weights.T.astype(float) + m.visible)))
        v = words(m.visible.size)
        p = p @ np.where(v[None] == 1, on[:, None], 1 - on[:, None]).prod(axis=2)
    loss = np.stack([distortion.samples(np.tile(x, (64, 1)), X) for x in X])
    with np.errstate(invalid="ignore"):
        logs = np.log(p) + np.where(np.isinf(loss), -np.inf, -beta * loss)
    mass = logsumexp(logs, axis=1)
    channel = np.exp(logs - mass[:, None])
    mean = (channel * np.where(channel > 0, loss, 0)).sum(axis=1)
    rate = (-mass - beta * mean) / np.log(2)
    got = model.estimate_rate_distortion(X)
    assert got["rate_bits"] == pytest.approx(rate.mean(), abs=1e-4)
    assert got["distortion"] == pytest.approx(mean.mean(), abs=1e-4)
    assert got["rate_bits_error"] == pytest.approx(rate.std(ddof=1) / 8, rel=1e-3, abs=1e-4)
    assert got["distortion_error"] == pytest.approx(mean.std(ddof=1) / 8, rel=1e-3, abs=1e-4)


def test_the_estimate_may_be_annealed_or_refused():
    X = table(200, 20)
    model = codec(n_components=20, fine_tune_epochs=0, encoder_search=None, beta=1.0).fit(X)
    assert model.rate_distortion_estimate_ is None
    got = model.estimate_rate_distortion(X[:20])
    other = model.estimate_rate_distortion(X[:20], random_state=1)
    assert abs(got["rate_bits"] - other["rate_bits"]) < 1.0 and got["rate_bits_error"] > 0
    model.stack_[:400] *= 40
    with pytest.raises(ValueError, match="effective sample size"):
        model.estimate_rate_distortion(X[:3], n_steps=2)
    deep = codec(hidden_layer_sizes=(13,), fine_tune_epochs=0).fit(X)
    assert deep.rate_distortion_estimate_ is None
    with pytest.raises(ValueError, match="too many states.*layers of at most 12"):
        deep.estimate_rate_distortion(X)


@pytest.mark.parametrize("beta", [0.0, 1.0, np.inf])
def test_a_stored_zero_stays_a_zero(beta):
    X = table()
    model = codec(beta=beta, distortion=Hamming(a=np.inf), hidden_layer_sizes=(30,)).fit(X)
    Y = model.reproduce(X, random_state=0)
    assert not np.any((X == 0) & (Y == 1))
    assert np.any((X == 1) & (Y == 0)) == np.isfinite(beta)
    for call in (model.transform, model.rate, model.compress, model.mean_distortion, model.score):
        with pytest.raises(ValueError, match=r"bars flips.*use reproduce\(X\)"):
            call(X)
    with pytest.raises(ValueError, match="bars flips"):
        model.inverse_transform(np.zeros((1, 3)))


def test_reproduce_follows_beta():
    X = table()
    flips = [
        np.mean(codec(beta=beta, fine_tune_epochs=0).fit(X).reproduce(X, random_state=0) != X)
        for beta in (0.0, 1.0, 3.0, np.inf)
    ]
    assert flips[0] > flips[1] > flips[2] > flips[3] == 0.0
    model = codec(beta=1.0).fit(X)
    np.testing.assert_array_equal(
        model.reproduce(X, random_state=1), model.reproduce(X, random_state=1)
    )
    assert not np.array_equal(
        model.reproduce(X, random_state=1), model.reproduce(X, random_state=2)
    )
