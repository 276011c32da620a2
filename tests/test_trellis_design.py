"""How trellises are learned and priced: on rows that drift, which no few rows stand for."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from rdlearn import PCACodec
from rdlearn._landing import MAX_DESIGNS, approach, land, lead
from rdlearn.coding.container import CHUNK_HEAD
from rdlearn.coding.trellis_design import LONG, SHORT, TrellisDesign, _Learner

HEADER = 54


def walk(seed, shape):
    return np.random.default_rng(seed).normal(size=shape).cumsum(axis=0)


def test_drifting_rows_meet_targets_in_few_rounds(monkeypatch):
    X, target = walk(1, (20_000, 6)), 14.0
    searched, search = [], _Learner._search

    def counting(self, quantizers):
        searched.append(len(self.y))
        return search(self, quantizers)

    monkeypatch.setattr(_Learner, "_search", counting)
    codec = PCACodec(quantizer="trellis", target_rate=target).fit(X)
    # Both orders, each at so many prices of so many rounds, and a sketch a fifth as long.
    assert sum(searched) < 2 * MAX_DESIGNS * (SHORT + LONG / 4) * len(X)
    assert 0.98 * target <= codec.rate(X) <= target
    # Of one chunk, but for its head and the coder's states.
    bits = 8 * (len(codec.compress(X, joint=True)) - HEADER - CHUNK_HEAD - 32) / len(X)
    assert 0.98 * target <= bits <= 1.001 * target
    # And no worse than what scalars do.
    scalar = PCACodec(target_rate=target).fit(X)
    assert codec.mean_distortion(X) < 0.95 * scalar.mean_distortion(X)


def test_designs_on_many_rows_start_from_a_sketch_in_their_own_order():
    y = walk(0, (20_000, 4))
    design = TrellisDesign(y)
    assert len(design.sketch.y) < 5000 and design.sketch.sketch is design.sketch
    rounds = []
    design.tell = lambda quantizers, n, n_rounds, bits: rounds.append(quantizers.tables.joint)
    quantizers, n_iter = design.rows(0.01, most=SHORT)
    assert not any(rounds) and 2 <= len(rounds) <= SHORT and not quantizers.tables.joint
    assert n_iter == design.n_iter == len(rounds) + design.sketch.n_iter


def test_columns_that_the_sketch_hardly_shows_are_kept():
    rng = np.random.default_rng(0)
    y = np.zeros((20_000, 3))
    y[:, :2] = rng.normal(size=(20_000, 2))
    # Rare, large, and in none of the rows that a sketch takes.
    y[np.arange(7, 20_000, 400), 2] = 30.0
    design = TrellisDesign(y)
    assert not design.sketch.y[:, 2].any()
    for quantizers, _ in (design.rows(4.0), design.joint(4.0)):
        assert quantizers.active.tolist() == [0, 1, 2]
        symbols = np.empty((3, len(y)), dtype=np.int64)
        quantizers.quantize(y, symbols)
        assert np.abs(quantizers.dequantize(symbols, float) - y)[:, 2].max() < 1.0


@pytest.mark.parametrize("power, guess", [(0.3, 0.3), (0.3, 0.8), (1.0, 0.4), (2.5, 1.0)])
@pytest.mark.parametrize("name", ["target_rate", "target_distortion"])
def test_powers_are_approached_in_few_steps(power, name, guess):
    def measure(beta):
        return 3.0 * beta**power, 5.0 * beta**-power

    target, sign = 7.0, 1 if name == "target_rate" else -1
    tried = approach(measure, 1.0, (1e-9, 1e9), sign * guess, **{name: target})
    assert len(tried) <= 7
    assert 0.98 * target <= tried[-1][1 if sign > 0 else 2] <= target


def test_what_moves_while_it_is_measured_is_followed():
    calls = []

    def measure(beta):
        # Designs that start from each other get better, here by a tenth in all.
        calls.append(beta)
        return 10 * beta * (1 + 0.1 * 0.5 ** len(calls)), 1 / beta

    tried = approach(measure, 0.3, (1e-9, 1e9), 1.0, target_rate=20.0)
    assert 0.98 * 20 <= tried[-1][1] <= 20 and len(tried) <= 6


@pytest.mark.parametrize("name, target", [("target_rate", 5.0), ("target_distortion", 5.0)])
def test_a_jump_over_the_target_is_encoded_more_coarsely(name, target):
    looks = []

    def finish(beta, price):
        looks.append(beta)
        level = (1.0 if beta < 2.0 else 8.0) * (price / beta) ** 0.5
        return level, 10.0 - level

    beta, price, reached, tried = land(finish, 1.0, (1e-6, 1e6), 1.0, **{name: target})
    assert price < beta and 0.98 * target <= reached <= target
    assert len(tried) == MAX_DESIGNS and reached == finish(beta, price)[name != "target_rate"]


def few_values(low, high, shape):
    return np.random.default_rng(0).integers(low, high, shape).astype(float)


# Bits and squared errors that a search over the prices of designs reached by bisection.
@pytest.mark.parametrize(
    "limits, targets, bits, error",
    [
        ((-5, 6, (3000, 3)), {"target_rate": 0.5}, (0.49, 0.5), 28.1),
        ((-5, 6, (3000, 3)), {"target_rate": 1.5}, (1.47, 1.5), 20.0),
        ((-5, 6, (3000, 3)), {"target_rate": 2.0}, (1.96, 2.0), 16.4),
        ((-5, 6, (3000, 3)), {"target_distortion": 20.0}, (1.0, 1.89), 20.0),
        ((0, 2, (3000, 4)), {"target_rate": 0.5}, (0.3, 0.5), 0.96),
    ],
)
def test_low_rates_of_few_values_are_met(limits, targets, bits, error):
    X = few_values(*limits)
    with warnings.catch_warnings():
        # Of two values there may be nothing close below.
        warnings.simplefilter("ignore" if limits[0] == 0 else "error", ConvergenceWarning)
        codec = PCACodec(quantizer="trellis", **targets).fit(X)
    assert bits[0] <= codec.rate(X) <= bits[1]
    assert codec.mean_distortion(X) <= error


def test_a_joint_stream_of_a_low_rate_is_no_empty_one():
    X = few_values(0, 2, (3000, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        codec = PCACodec(quantizer="trellis", target_rate=0.5).fit(X)
    stream = codec.compress(X, joint=True)
    assert 0.4 <= 8 * (len(stream) - HEADER - CHUNK_HEAD - 32) / len(X) <= 0.51
    # Nothing kept costs the variance, near 1; a straight line from there to 1 bit, 0.89.
    assert np.mean(np.sum((codec.decompress(stream) - X) ** 2, axis=1)) < 0.93


def test_a_design_is_led_over_a_jump_by_what_it_learns():
    names = {2.0: (4.0, 2.0)}

    def finish(beta, price):
        # Each design halves its rate over a factor of four in price, and jumps to 0 below that.
        rate, own = names[beta]
        rate = rate * (price / own) ** 0.5 if price > own / 4 else 0.0
        return rate, 10.0 - rate

    def relearn(beta, price):
        names[price] = (finish(beta, price)[0], price)
        return price

    pairs = lead(finish, relearn, 2.0, target_rate=0.5)
    assert any(0.98 * 0.5 <= finish(*pair)[0] <= 0.5 for pair in pairs)
    assert not any(0.98 * 0.5 <= finish(2.0, pair[1])[0] <= 0.5 for pair in pairs)


def test_progress_tells_prices_and_rounds(capsys):
    X = walk(3, (400, 3))
    PCACodec(quantizer="trellis", target_rate=6.0).fit(X)
    assert capsys.readouterr().err == ""
    PCACodec(quantizer="trellis", target_rate=6.0, verbose=True).fit(X)
    lines = capsys.readouterr().err.splitlines()
    assert any("trellis through rows of 400 x 3, price" in line for line in lines)
    assert any("trellis through columns" in line and "round 2" in line for line in lines)
    PCACodec(target_rate=6.0, verbose=1).fit(X)
    (line, *_) = capsys.readouterr().err.splitlines()
    assert line.startswith("rdlearn: price ") and "bits, distortion" in line


def test_long_tables_say_when_all_rows_are_designed_on(monkeypatch, capsys):
    from rdlearn import _moments

    X = np.random.default_rng(0).normal(size=(3000, 2))
    monkeypatch.setattr(_moments, "SAMPLE_ROWS", 200)
    rare = np.setdiff1d(np.arange(3000), _moments.spaced_rows(np.arange(3000)))[:3]
    X[rare] = 300.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        PCACodec(beta=1.0, verbose=True).fit(X)
    assert "200 rows will not do; all 3000" in capsys.readouterr().err
