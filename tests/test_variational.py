"""VariationalAutoencoder; and what it shares with EchoAutoencoder: targets, weights, files."""

import joblib
import numpy as np
import pytest
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from rdlearn import (
    CorruptStreamError,
    EchoAutoencoder,
    PCACodec,
    VariationalAutoencoder,
    _persistence,
    load,
)

DIGITS = load_digits().data
SMALL = {"hidden_layer_sizes": (12,), "max_iter": 15, "random_state": 0}
GAUSSIAN, FLOW = {}, {"flow": "iaf", "n_flow_steps": 2}
KINDS = {
    "echo": (EchoAutoencoder, {}),
    "gaussian": (VariationalAutoencoder, GAUSSIAN),
    "iaf": (VariationalAutoencoder, FLOW),
}


def table(n=300, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3


def encoder_outputs(codec, X):
    """What a net of one relu layer says of rows, straight from the vector of parameters."""
    d, (hidden,) = X.shape[1], codec.hidden_sizes_
    n_out = 2 * codec.n_components_
    rest = codec.params_.astype(np.float64)
    parts = []
    for n_in, n in ((d, hidden), (hidden, n_out)):
        weights, bias, rest = np.split(rest, [n_in * n, (n_in + 1) * n])
        parts.append((weights.reshape(n_in, n), bias))
    x = (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0).mean())
    (first, second), (third, fourth) = parts
    return np.maximum(x @ first + second, 0) @ third + fourth


# Rates.


def test_the_rate_is_the_divergence_from_the_prior():
    X = table()
    codec = VariationalAutoencoder(3, beta=3.0, **SMALL).fit(X)
    mu, log_sigma = np.split(encoder_outputs(codec, X), 2, axis=1)
    nats = 0.5 * (mu**2 + np.exp(2 * log_sigma) - 1) - log_sigma
    # float32 nets.
    np.testing.assert_allclose(codec.rate_samples(X), nats.sum(axis=1) / np.log(2), rtol=1e-4)
    np.testing.assert_allclose(codec.transform(X), mu, atol=1e-4)
    # Noise is standard normal: 900 draws have mean and variance right to 4 standard errors.
    noise = (codec.sample_codes(X, random_state=0) - mu) / np.exp(log_sigma)
    assert abs(noise.mean()) < 4 / 30 and abs(noise.var() - 1) < 4 * np.sqrt(2) / 30


@pytest.mark.parametrize("beta", [1.0, 2.0, 8.0])
def test_a_gaussian_reaches_the_shannon_bound_where_the_prior_is_right(beta):
    X = np.random.default_rng(0).normal(size=(10_000, 1))
    X = (X - X.mean()) / X.std()
    codec = VariationalAutoencoder(
        1, hidden_layer_sizes=(), beta=beta, max_iter=30, random_state=0
    ).fit(X)
    distortion, nats = codec.mean_distortion(X), codec.rate(X) * np.log(2)
    # Four draws of 10,000 squared errors: 0.5 % of the bound each at three standard errors.
    assert -0.01 <= nats + 0.5 * np.log(distortion) <= 0.02
    assert distortion == pytest.approx(1 / (2 * beta), rel=0.03)


@pytest.mark.parametrize("params", [GAUSSIAN, FLOW], ids=["gaussian", "iaf"])
def test_the_rate_is_at_least_the_information(params):
    law = ndtri((np.random.default_rng(0).permutation(20_000)[:, None] + 0.5) / 20_000)
    X = np.sign(law) + 0.2 * law
    codec = VariationalAutoencoder(1, beta=10.0, **SMALL | params).fit(X)
    z = codec.sample_codes(X, random_state=0)[:, 0]
    ranks = [np.argsort(np.argsort(v)) // 1000 for v in (X[:, 0], z)]
    joint = np.bincount(20 * ranks[0] + ranks[1], minlength=400) / len(X)
    joint = joint[joint > 0]
    # 20 by 20 cells: less than what there is, but for a bias of 19**2 / 40,000 nats.
    information = np.sum(joint * np.log(joint * 400)) - 0.01
    assert information > 0.5
    assert codec.rate(X) * np.log(2) > information


def test_a_flow_s_rate_is_a_mean_over_draws():
    X = table()
    codec = VariationalAutoencoder(3, beta=3.0, n_draws=4, **SMALL | FLOW).fit(X)
    several = codec.rate_samples(X)
    codec.n_draws = 1
    single = codec.rate_samples(X)
    assert not np.array_equal(several, single)
    assert several.mean() == pytest.approx(single.mean(), rel=0.1)
    assert codec.transform(X).shape == (300, 3)
    assert len(np.unique(codec.sample_codes(X[[0] * 9], random_state=0), axis=0)) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_larger_beta_more_bits_less_loss(kind):
    estimator, params = KINDS[kind]
    codecs = [estimator(4, beta=b, **SMALL | params).fit(DIGITS[:500]) for b in (0.01, 0.1, 1.0)]
    rates = [codec.rate(DIGITS[:500]) for codec in codecs]
    losses = [codec.mean_distortion(DIGITS[:500]) for codec in codecs]
    assert rates == sorted(rates) and losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("params", [GAUSSIAN, FLOW], ids=["gaussian", "iaf"])
def test_what_a_row_gets_does_not_depend_on_the_others(params):
    X = DIGITS[np.random.default_rng(0).integers(len(DIGITS), size=2500)]
    codec = VariationalAutoencoder(3, beta=0.05, **SMALL | params).fit(DIGITS)
    order = np.random.default_rng(1).permutation(len(X))
    for method in (codec.transform, codec.rate_samples, codec.distortion_samples):
        whole = method(X)
        np.testing.assert_array_equal(method(X[order]), whole[order])
        np.testing.assert_array_equal(method(X[100:107]), whole[100:107])
    again = clone(codec).fit(DIGITS)
    np.testing.assert_array_equal(again.params_, codec.params_)
    single = codec.transform(X.astype(np.float32))
    assert single.dtype == codec.inverse_transform(single).dtype == np.float32


# Targets.


def fit_to_target(kind, max_iter=60, beta=0.02, X=DIGITS, **target):
    estimator, params = KINDS[kind]
    codec = estimator(
        8, beta=beta, hidden_layer_sizes=(50,), max_iter=max_iter, random_state=0, **params
    )
    return codec.set_params(**target).fit(X)


@pytest.mark.filterwarnings("ignore:target_:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("target", [8.0, 25.0])
@pytest.mark.parametrize("kind", KINDS)
def test_target_rates_are_met_from_below(kind, target):
    codec = fit_to_target(kind, target_rate=target)
    assert 0.95 * target <= codec.rate(DIGITS) <= target
    assert codec.beta_ != 0.02
    assert codec.history_["beta"].iloc[-1] == codec.beta_


@pytest.mark.filterwarnings("ignore:target_:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("target", [600.0, 350.0])
@pytest.mark.parametrize("kind", KINDS)
def test_target_distortions_are_met_from_below(kind, target):
    codec = fit_to_target(kind, target_distortion=target)
    assert 0.95 * target <= codec.mean_distortion(DIGITS) <= target
    assert codec.beta_ != 0.02


def test_more_to_spend_leads_to_a_larger_beta_whatever_the_start():
    low, high = (fit_to_target("echo", target_rate=rate) for rate in (8.0, 25.0))
    assert low.beta_ < high.beta_ and low.mean_distortion(DIGITS) > high.mean_distortion(DIGITS)
    far = fit_to_target("echo", target_rate=8.0, beta=2.0)
    # Prices end where the curve has the target, from above as from below.
    assert far.beta_ == pytest.approx(low.beta_, rel=0.3)


@pytest.mark.parametrize("start", [0.5, 10.0])
def test_the_price_a_target_led_to_is_the_slope_of_the_closed_form(start):
    X = np.random.default_rng(0).normal(size=(5000, 1))
    codec = EchoAutoencoder(
        1, hidden_layer_sizes=(), beta=start, max_iter=240, target_rate=1.5, random_state=0
    ).fit(X)
    # beta = 1 / (2 D) and D = 2**(-2 R) of the variance.
    expected = 2 ** (2 * codec.rate(X)) / 2 / X.var()
    assert codec.beta_ == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("kind", ["echo", "gaussian"])
@pytest.mark.parametrize(
    "target", [{"target_rate": 500.0}, {"target_distortion": 3.0}, {"target_rate": 1e-4}]
)
def test_targets_out_of_reach_name_the_range(kind, target):
    ((name, value),) = target.items()
    with pytest.raises(ValueError, match=rf"{name}={value:g} is out of reach.*between") as error:
        fit_to_target(kind, max_iter=5, **target)
    low, high = str(error.value).split("between ")[1].split(" and ")[:2]
    low, high = float(low), float(high.split()[0])
    assert low < high and not low <= value <= high


def test_two_targets_are_one_too_many():
    with pytest.raises(ValueError, match="both given; keep one"):
        fit_to_target("echo", target_rate=8.0, target_distortion=300.0)


def test_a_fit_too_short_for_its_target_says_so():
    with pytest.warns(ConvergenceWarning, match="target_rate=12 is met, but.* 3 epochs.*max_iter"):
        codec = fit_to_target("echo", max_iter=3, target_rate=12.0)
    assert 0.95 * 12 <= codec.rate(DIGITS) <= 12


# Weights of samples.


@pytest.mark.parametrize(
    "codec",
    [
        EchoAutoencoder(3, beta=3.0, **SMALL),
        VariationalAutoencoder(3, beta=3.0, **SMALL | FLOW),
        PCACodec(beta=3.0),
    ],
    ids=lambda codec: type(codec).__name__,
)
def test_integer_weights_are_repeated_rows(codec):
    X = table()
    codec = clone(codec).fit(X)
    weights = np.random.default_rng(0).integers(0, 4, size=len(X))
    repeated = codec.score(np.repeat(X, weights, axis=0))
    assert codec.score(X, sample_weight=weights) == pytest.approx(repeated, rel=1e-12)
    assert codec.score(X, sample_weight=np.ones(len(X))) == pytest.approx(codec.score(X), rel=1e-12)
    assert codec.score(X, None, 2.5 * weights) == pytest.approx(repeated, rel=1e-12)
    with pytest.raises(ValueError, match="sample_weight.shape"):
        codec.score(X, sample_weight=weights[:-1])


# Models as files.


@pytest.mark.parametrize("params", [GAUSSIAN, FLOW], ids=["gaussian", "iaf"])
def test_models_survive_being_stored(params, tmp_path):
    X = table()
    codec = VariationalAutoencoder(3, beta=3.0, **SMALL | params).fit(X)
    codec.save(tmp_path / "model")
    joblib.dump(codec, tmp_path / "pickle")
    for back in (load(tmp_path / "model"), joblib.load(tmp_path / "pickle")):
        for method in ("transform", "rate_samples", "reconstruct", "score"):
            np.testing.assert_array_equal(getattr(back, method)(X), getattr(codec, method)(X))


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["fitted"].update(flow_="iaf"),
        lambda s: s["fitted"].update(flow_="maf"),
        lambda s: s["fitted"].update(params_=s["fitted"]["params_"][:-1]),
        lambda s: s["fitted"].update(mean_=np.full(5, np.nan)),
        lambda s: s["fitted"].update(hidden_sizes_=np.array([2**40])),
        lambda s: s["fitted"].update(n_components_=10**12),
        lambda s: s["fitted"].pop("scale_"),
        lambda s: s.update({"class": "EchoAutoencoder"}),
    ],
)
def test_models_that_contradict_themselves_are_refused(change, tmp_path):
    state = VariationalAutoencoder(3, beta=3.0, **SMALL).fit(table())._to_state()
    change(state)
    _persistence.write(tmp_path / "model", state)
    with pytest.raises(CorruptStreamError):
        load(tmp_path / "model")


def test_a_hostile_number_of_flow_steps_takes_no_memory(tmp_path):
    state = VariationalAutoencoder(3, beta=3.0, **SMALL | FLOW).fit(table())._to_state()
    state["fitted"]["n_flow_steps_"] = 10**5
    _persistence.write(tmp_path / "model", state)
    with pytest.raises(CorruptStreamError):
        load(tmp_path / "model")


# What becomes of attributes in a hostile file.
IMPOSSIBLE = {
    "params_": [lambda v: v[:-1], lambda v: v.astype(np.float64), lambda v: v * np.nan],
    "mean_": [lambda v: v[:-1], lambda v: v * np.nan],
    "scale_": [lambda v: v * 0],
    "spread_": [lambda v: -1.0, lambda v: np.inf],
    "resolution_": [lambda v: v[:2], lambda v: -v, lambda v: v * np.nan],
    "hidden_sizes_": [
        lambda v: v + 2**40,
        lambda v: np.array([2**62, 2**62]),
        lambda v: -v,
        lambda v: v.astype(np.float64),
    ],
    "n_components_": [lambda v: 10**15, lambda v: -3, lambda v: "3", lambda v: 3.0],
    "n_outputs_": [lambda v: 4],
    "n_features_in_": [lambda v: 4, lambda v: 5.0],
    "n_side_features_": [lambda v: 1, lambda v: -1, lambda v: 0.0],
    "activation_": [lambda v: "sign"],
    "pool_shift_": [lambda v: v * np.nan, lambda v: v[:-1]],
    "pool_scale_": [lambda v: v[:, :2], lambda v: v + np.inf, lambda v: v.astype(np.float64)],
    "pool_mean_": [lambda v: v[:2], lambda v: v * np.nan, lambda v: v.astype(np.float64)],
    "mixing_": [
        lambda v: v[:2],
        lambda v: v.ravel(),
        lambda v: v + np.inf,
        lambda v: v.astype(int),
    ],
    "pool_chains_": [
        lambda v: v[:1],
        lambda v: v[:, :-1],
        lambda v: v + np.inf,
        lambda v: v.astype(np.float64),
    ],
    "log_det_": [lambda v: np.nan, lambda v: -np.inf, lambda v: "0", lambda v: 1],
    "noise_seed_": [lambda v: "seed", lambda v: -1, lambda v: 2**70],
    "distortion_": [lambda v: 3],
    "beta_": [lambda v: "much"],
    "noise_scale_": [lambda v: None, lambda v: -1.0],
    "noise_terms_": [lambda v: 0, lambda v: "many"],
    "_history": [lambda v: 3],
    "pool_keys_": [
        lambda v: v[:5],
        lambda v: v.astype(np.int64),
        lambda v: v[:1],
        lambda v: v[:, None],
    ],
}


@pytest.fixture(scope="module")
def echo():
    return EchoAutoencoder(3, beta=3.0, **SMALL).fit(table())


def flat(changes):
    return [(name, change) for name, several in changes.items() for change in several]


def assert_refused(codec, name, change, path):
    state = codec._to_state()
    value = state["fitted"].pop(name)
    if change is not None:
        state["fitted"][name] = change(value)
    _persistence.write(path / "model", state)
    with pytest.raises(CorruptStreamError):
        load(path / "model")


@pytest.mark.parametrize(
    "name, change",
    [*flat(IMPOSSIBLE), ("pool_keys_", None), ("noise_seed_", None), ("mixing_", None)],
)
def test_echo_models_that_contradict_themselves_are_refused(echo, name, change, tmp_path):
    assert_refused(echo, name, change, tmp_path)
