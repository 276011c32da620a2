"""The training loop as estimators show it: stopping, schedules, callbacks."""

import math

import numpy as np
import pytest
from minibatch_data import SMALL, echo, table
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from rdlearn import EchoAutoencoder, VariationalAutoencoder, _minibatch
from rdlearn._console import EpochBar
from rdlearn._minibatch import Batches, Schedule
from rdlearn.distortions import Distortion, SquaredError


class Own(Distortion):
    """Squared error by somebody else, that does something at its k-th gradient."""

    name, unit = "own", "squares"

    def __init__(self, k=-1, what=None):
        self.k, self.what, self.calls = k, what, 0

    def elementwise(self, x, x_hat):
        return (x - x_hat) ** 2

    def gradient(self, x, x_hat):
        self.calls += 1
        if self.calls == self.k:
            if isinstance(self.what, float):
                return np.full_like(x, self.what)
            raise self.what
        return 2 * (x_hat - x)


class Batch(Own):
    """Notes the sizes of batches."""

    def gradient(self, x, x_hat):
        vars(self).setdefault("sizes", []).append(len(x))
        return super().gradient(x, x_hat)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_lost_later_stops_at_the_last_good_epoch(value):
    X = table()
    # Two batches an epoch: the seventh gradient is in epoch 4.
    with pytest.warns(ConvergenceWarning, match=r"not finite in epoch 4.*of epoch 3; lower learn"):
        codec = echo(distortion=Own(7, value)).fit(X)
    assert codec.n_iter_ == 3 and len(codec.history_) == 3
    assert np.isfinite(codec.params_).all() and np.isfinite(codec.mean_distortion(X))


def test_an_interrupt_keeps_the_last_whole_epoch():
    X = table()
    with pytest.warns(ConvergenceWarning, match="Interrupted in epoch 4; .*last whole epoch"):
        codec = echo(distortion=Own(8, KeyboardInterrupt())).fit(X)
    assert codec.n_iter_ == 3
    with pytest.warns(ConvergenceWarning, match="not finite in epoch 4"):
        other = echo(distortion=Own(8, math.nan)).fit(X)
    np.testing.assert_array_equal(codec.params_, other.params_)
    assert np.isfinite(codec.mean_distortion(X))


def test_an_interrupt_between_epochs_keeps_the_one_that_is_over(monkeypatch):
    X = table()
    codec = echo()

    def interrupt(*args):
        raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match="Interrupted in epoch 2"):
        with monkeypatch.context() as patch:
            patch.setattr(EpochBar, "show", interrupt)
            codec.fit(X)
    assert codec.n_iter_ == len(codec.history_) == 1
    assert codec.history_.iloc[0].equals(echo().fit(X).history_.iloc[0])


def test_an_interrupt_in_the_first_epoch_leaves_nothing():
    codec = echo(distortion=Own(2, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        codec.fit(table())
    assert vars(codec).keys() == vars(clone(codec)).keys()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("broken")])
def test_a_failed_fit_leaves_the_old_one(error):
    X = table()
    codec = echo().fit(X)
    before, codes = vars(codec).copy(), codec.transform(X)
    codec.set_params(distortion=Own(2, error))
    with pytest.raises(type(error)):
        codec.fit(table(150, 7))
    codec.set_params(distortion="squared_error")
    assert vars(codec) == before
    np.testing.assert_array_equal(codec.transform(X), codes)


def test_errors_after_the_first_epoch_are_not_swallowed():
    with pytest.raises(RuntimeError, match="broken"):
        echo(distortion=Own(9, RuntimeError("broken"))).fit(table())


@pytest.mark.parametrize("noise_terms", [None, 5])
def test_early_stopping_keeps_the_best_weights(noise_terms, monkeypatch):
    values, validate = [], _minibatch._validate
    kept = []

    def watched(objective, views, *rest):
        means = validate(objective, views, *rest)
        values.append(means[0] + 0.3 * means[1])
        kept.append(views[0][0]["weights"].copy())
        return means

    monkeypatch.setattr(_minibatch, "_validate", watched)
    codec = EchoAutoencoder(
        2,
        beta=0.3,
        hidden_layer_sizes=(8,),
        max_iter=400,
        early_stopping=True,
        n_iter_no_change=5,
        noise_terms=noise_terms,
        random_state=0,
    ).fit(table())
    assert 200 < codec.n_iter_ < 400
    assert codec.history_["validation_objective"].tolist() == values
    # Stopping is about the second half of the schedule, where prices are whole.
    best = 199 + int(np.argmin(values[199:]))
    np.testing.assert_array_equal(codec.params_[:32].reshape(4, 8), kept[best])
    assert min(values[199:-5]) - max(codec.tol, 0) <= min(values[-5:])
    assert len(codec.history_) == codec.n_iter_


@pytest.mark.filterwarnings("ignore:target_rate.*settle")
def test_early_stopping_compares_at_the_price_of_today(monkeypatch):
    means, validate = [], _minibatch._validate
    monkeypatch.setattr(
        _minibatch, "_validate", lambda *args: means.append(validate(*args)) or means[-1]
    )
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 6)) @ rng.normal(size=(6, 6))
    params = {"target_rate": 6.0, "beta": 1e-3, "max_iter": 60}
    codec = EchoAutoencoder(4, **SMALL | params, early_stopping=True).fit(X)
    betas = codec.history_["beta"].to_numpy()
    assert betas[-1] > 50 * betas[0]
    values = [rate + beta * loss for (rate, loss), beta in zip(means, betas, strict=True)]
    np.testing.assert_allclose(codec.history_["validation_objective"], values, rtol=1e-12)
    # Objectives grow with beta: weights of a lower price would otherwise look the best.
    plain = EchoAutoencoder(4, **SMALL | params).fit(X)
    assert codec.mean_distortion(X) < 1.2 * plain.mean_distortion(X)


def test_early_stopping_looks_at_rows_it_does_not_learn_from():
    own = Batch()
    echo(distortion=own, early_stopping=True, validation_fraction=0.2, max_iter=1).fit(table())
    # 160 rows to learn from in two batches, then 40 to look at.
    assert own.sizes == [100, 60, 40]


@pytest.mark.filterwarnings("ignore:The code spends.*on nothing")
def test_the_history_has_a_row_for_each_epoch():
    codec = echo(beta=0.7).fit(table())
    history = codec.history_
    assert list(history.columns) == ["rate_bits", "distortion", "objective", "beta"]
    assert len(history) == codec.n_iter_ == 6
    np.testing.assert_allclose(
        history.objective, history.rate_bits * np.log(2) + 0.7 * history.distortion
    )
    assert np.all(history.beta == 0.7) and codec.beta_ == 0.7
    # One epoch with next to no learning: its means are those of the weights.
    X = table(2000)
    for batch_size, tolerance in ((2000, 1e-4), (100, 0.1)):
        # The covariance of the code is that of the batches so far. One batch has all rows; of
        # twenty, the first n have a log-determinant with a variance of 2 * 2 / (100 n), which
        # makes 0.5 * 0.2 * sqrt(2 / 20) nats of their mean, or 0.046 bits.
        still = echo(max_iter=1, learning_rate_init=1e-9, n_draws=50, batch_size=batch_size).fit(X)
        last = still.history_.iloc[-1]
        assert last.rate_bits == pytest.approx(still.rate(X), abs=tolerance)
        assert last.distortion == pytest.approx(still.mean_distortion(X), rel=0.02)


def test_a_warm_start_goes_on_where_the_last_fit_ended():
    X = table()
    codec = echo(warm_start=True, max_iter=40).fit(X)
    first = codec.history_
    codec.fit(X)
    assert codec.history_.objective[0] < first.objective[0]
    assert codec.history_.distortion[0] < 1.2 * first.distortion.iloc[-1]
    fresh = echo(max_iter=40).fit(X)
    assert not np.array_equal(codec.params_, fresh.params_)
    np.testing.assert_array_equal(codec.set_params(warm_start=False).fit(X).params_, fresh.params_)


def test_the_learning_rate_rises_stays_and_falls():
    schedule = Schedule(beta=1.0, batch_size=1, learning_rate_init=0.5, max_iter=1)
    rates = np.array([schedule.learning_rate(step, 10_000) for step in range(10_000)])
    np.testing.assert_allclose(rates[:200], 0.5 * np.arange(1, 201) / 200)
    np.testing.assert_array_equal(rates[200:5001], 0.5)
    assert np.all(np.diff(rates[5001:]) < 0)
    # Half of the cosine is half of the way, and 2 % is where it ends.
    assert rates[7500] == pytest.approx(0.5 * (1 + 0.02) / 2)
    assert rates[-1] == pytest.approx(0.5 * 0.02, rel=1e-3)
    # The rise takes a tenth of short fits, and none of the shortest.
    assert [schedule.learning_rate(step, 30) for step in (0, 1, 2)] == pytest.approx(
        [0.5 / 3, 1 / 3, 0.5]
    )
    assert schedule.learning_rate(0, 1) == 0.5


def test_rows_in_order_and_shuffled():
    X = table()
    by_order = echo(shuffle=False).fit(X)
    np.testing.assert_array_equal(by_order.params_, echo(shuffle=False).fit(X).params_)
    assert not np.array_equal(by_order.params_, echo().fit(X).params_)


@pytest.mark.parametrize("noise_terms, last", [(None, [50, 10]), (5, [50, 10]), (30, [60])])
def test_a_last_batch_too_short_for_its_noise_joins_the_one_before(noise_terms, last):
    own = Batch()
    echo(distortion=own, batch_size=50, noise_terms=noise_terms, max_iter=2).fit(table(210))
    assert own.sizes == 2 * ([50] * 3 + last)


def test_each_row_is_seen_once_an_epoch():
    rows = []

    class Rows(Own):
        def gradient(self, x, x_hat):
            rows.extend(x[:, 0].tolist())
            return super().gradient(x, x_hat)

    echo(distortion=Rows(), max_iter=1, batch_size=30).fit(table())
    np.testing.assert_allclose(sorted(rows), np.sort(table()[:, 0]), rtol=1e-5, atol=1e-6)


def test_a_distortion_of_one_s_own_trains_as_the_built_in_one():
    X = table()
    codec, builtin = (echo(distortion=d, max_iter=60, beta=2.0) for d in (Own(), SquaredError()))
    codec.fit(X), builtin.fit(X)
    # The same up to rounding, which training blows up a little.
    assert codec.mean_distortion(X) == pytest.approx(builtin.mean_distortion(X), rel=0.02)
    assert codec.rate(X) == pytest.approx(builtin.rate(X), rel=0.02)
    with pytest.raises(ValueError, match="no noise model"):
        codec.score(X)


@pytest.mark.parametrize("verbose", [0, 1])
def test_progress_is_a_line_an_epoch_on_stderr(verbose, capsys):
    codec = echo(verbose=verbose).fit(table())
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 6 * verbose
    for number, line in enumerate(lines, start=1):
        row = codec.history_.iloc[number - 1]
        assert (
            f"epoch {number}/6: {row.rate_bits:.4g} bits, distortion {row.distortion:.5g}" in line
        )


@pytest.mark.filterwarnings("ignore:The code spends.*on nothing")
def test_binarized_training_draws_anew_in_each_epoch():
    X = np.full((100, 6), 0.5)
    seen = []

    class Watched(EchoAutoencoder):
        def _inputs(self, X, start=0):
            seen.append(np.array(X))
            return super()._inputs(X, start)

    Watched(2, **SMALL | {"shuffle": False}, distortion="bernoulli", binarize="sample").fit(X)
    bits = [x for x in seen if set(np.unique(x)) == {0.0, 1.0} and len(x) == 100]
    # One for each epoch; what is measured after it is drawn once.
    bits = bits[:6]
    assert len(bits) == 6 and len({x.tobytes() for x in bits}) == len(bits)
    # 600 fair bits: four standard errors.
    assert all(abs(x.mean() - 0.5) < 4 * 0.5 / np.sqrt(600) for x in bits)


def test_blocks_of_all_rows_are_drawn_by_their_seed():
    x = np.arange(10, dtype=np.float32)[:, None]
    plain = Batches(x, x)
    fresh = Batches(x, x, redraw=lambda rng, rows: (x[rows] + rng.random((len(rows), 1)), None))
    assert [len(block) for block in plain.blocks(4, 0)] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(list(plain.blocks(4, 0))), x)
    first, again, other = (np.concatenate(list(fresh.blocks(4, seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(np.floor(first), x)
    assert not np.array_equal(first, other)


def test_binarized_models_are_measured_on_bits():
    rng = np.random.default_rng(0)
    X = rng.random((300, 6))
    params = SMALL | {"distortion": "bernoulli", "max_iter": 40, "binarize": "sample"}
    codec = EchoAutoencoder(3, beta=2.0, **params).fit(X)
    bits = (rng.random(X.shape) < X).astype(float)
    # Drawn anew, they are other bits of the same law: 300 rows of some bits each.
    spread = codec.rate_samples(bits).std() / np.sqrt(300)
    assert codec.rate(X) == pytest.approx(codec.rate(bits), abs=6 * spread)
    assert set(np.unique(codec._bits(X))) == {0.0, 1.0}
    # 1800 bits: five standard errors of a half.
    assert codec._bits(X).mean() == pytest.approx(X.mean(), abs=5 * 0.5 / np.sqrt(1800))
    np.testing.assert_array_equal(codec._bits(bits), bits)
    np.testing.assert_array_equal(codec.rate_samples(X), codec.rate_samples(codec._bits(X)))
    np.testing.assert_array_equal(codec.transform(X[50:60]), codec.transform(X)[50:60])
    with pytest.raises(ValueError, match="bernoulli"):
        codec.rate(X + 1)
    fitted = EchoAutoencoder(3, target_rate=1.5, **params).fit(X)
    assert fitted.rate(X) == pytest.approx(1.5, rel=0.06)


def test_an_interrupt_on_the_way_to_a_target_keeps_the_model():
    with pytest.warns(ConvergenceWarning) as caught:
        codec = echo(distortion=Own(8, KeyboardInterrupt()), target_distortion=0.5).fit(table())
    assert codec.n_iter_ == 3 and np.isfinite(codec.mean_distortion(table()))
    texts = [str(warning.message) for warning in caught]
    assert any("Interrupted in epoch 4" in text for text in texts)
    assert any("target_distortion=0.5 is not met" in text for text in texts)


def test_a_warm_search_for_a_target_starts_where_the_last_one_ended():
    X = table()
    codec = echo(target_rate=2.0, beta=0.03, max_iter=60, batch_size=20, warm_start=True).fit(X)
    first = codec.beta_
    assert first > 0.06
    codec.set_params(max_iter=1).fit(X)
    assert codec.history_["beta"].iloc[0] == pytest.approx(first, rel=0.3)


@pytest.mark.filterwarnings("ignore:target_rate.*settle")
def test_the_price_of_a_warm_fit_is_whole_from_the_start(monkeypatch):
    prices, price = [], _minibatch._Control.price
    monkeypatch.setattr(
        _minibatch._Control, "price", lambda *args: prices.append(price(*args)) or prices[-1]
    )
    codec = echo(max_iter=5, warm_start=True)
    for fresh, target in ((True, None), (False, None), (True, 1.5)):
        prices.clear()
        if fresh:
            codec = clone(codec)
        codec.set_params(target_rate=target, max_iter=5 if target is None else 60).fit(table())
        rises = [min(1.0, (step + 1) / 5) for step in range(10)]
        assert prices == (pytest.approx(rises) if fresh and target is None else [1.0] * len(prices))


@pytest.mark.parametrize("estimator", [EchoAutoencoder, VariationalAutoencoder])
def test_far_rows_get_bounded_noise(estimator):
    X = table()
    codec = estimator(2, beta=1.0, **SMALL | {"max_iter": 40}).fit(X)
    far = np.vstack([X[:50], 300 * X[50:51]])
    codes = codec.sample_codes(far, random_state=0)[-1] - codec.transform(far)[-1]
    # Noise of at most exp(2) times a few deviations of white noise.
    assert np.abs(codes).max() < 8 * 8
    assert codec.rate_samples(far)[-1] > -2 * 2 / np.log(2) - 10
