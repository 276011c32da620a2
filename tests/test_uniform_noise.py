"""UniformNoiseCodec of tables: its bytes against its rate, its rate against entropies."""

import functools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from rdlearn import CorruptStreamError, UniformNoiseCodec, load
from rdlearn.datasets import banana_source, gaussian_source, student_t_source
from rdlearn.model_selection import curve_table, rd_scoring

N = 20_000
HEADER = 54
# What a chunk takes beside the code: its length and checksum.
CHUNK_HEAD = 8
# Sources, with the price of distortion in units of 1 / variance.
SOURCES = ["gauss", "laplace", "banana", "student_t", "correlated"]


@functools.cache
def rows_of(name, seed=0):
    rng = np.random.default_rng(seed)
    if name == "gauss":
        return rng.normal(3, 2, (N, 1))
    if name == "laplace":
        return rng.laplace(size=(N, 1))
    source = {
        "banana": banana_source,
        "student_t": student_t_source,
        "correlated": lambda: gaussian_source(covariance=[[1, 0.8], [0.8, 1]]),
    }[name]()
    return source.sample(N, random_state=seed)


def codec(n_components=2, **params):
    standard = {"hidden_layer_sizes": (16,), "activation": "softplus", "max_iter": 12}
    standard |= {"batch_size": 500, "learning_rate_init": 0.01, "random_state": 0}
    return UniformNoiseCodec(n_components, **standard | params)


@functools.cache
def fitted(name, context="none", **params):
    X = rows_of(name)
    return codec(X.shape[1], beta=60 / X.var(axis=0).mean(), context=context, **params).fit(X)


def entropy_bits(column):
    share = np.unique(column, return_counts=True)[1] / len(column)
    return -(share * np.log2(share)).sum()


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("context", ["none", "causal"])
@pytest.mark.parametrize("name", SOURCES)
def test_bytes_are_the_rate_and_the_rate_is_an_entropy(name, context):
    model, X = fitted(name, context), rows_of(name)
    # Steps of nets are 1: codes differ by whole numbers, whatever their offset.
    Z = model.transform(X)
    symbols = np.rint(Z - model.offset_)
    np.testing.assert_allclose(Z - model.offset_, symbols, atol=1e-4)
    apart = sum(map(entropy_bits, symbols.T))
    words = np.unique(symbols, axis=0, return_inverse=True)[1]
    blob = model.compress(X)
    coded = 8 * (len(blob) - HEADER) / N
    # Without contexts no code beats the components' entropies; with them, none the rows' entropy.
    # That of all words is estimated low by about (words - 1) / 2N nats.
    together = entropy_bits(words)
    if context == "none" or X.shape[1] == 1 or name == "correlated":
        # The nets make components that are nearly uncorrelated; contexts have nothing to gain.
        assert apart * 0.999 < coded + 0.02 * (context == "causal") < apart * 1.02 + 0.02
    assert together < coded < apart * 1.02
    if context == "none":
        # The tables are those of these very rows, up to the whole numbers they hold.
        assert apart * 0.9999 < model.rate(X) < apart * 1.001
    payload = 8 * (len(blob) - HEADER - CHUNK_HEAD) / N
    assert model.rate(X) == pytest.approx(payload, rel=0.005)
    np.testing.assert_allclose(model.rate_samples(X).mean(), model.rate(X))


def test_contexts_see_what_components_know_of_each_other():
    alone, with_context = fitted("banana"), fitted("banana", "causal")
    np.testing.assert_array_equal(alone.params_, with_context.params_)
    X = rows_of("banana", 1)
    # Principal components, which the nets start as, have less to tell of each other than others.
    assert with_context.rate(X) < 0.98 * alone.rate(X)
    np.testing.assert_array_equal(alone.transform(X), with_context.transform(X))


@pytest.mark.parametrize("name", SOURCES)
def test_noise_stands_for_rounding(name):
    model, X = fitted(name), rows_of(name, 1)
    coded, noisy = model.rate(X), np.mean(model.rate_samples(X, view="noisy"))
    assert coded > 2 * X.shape[1] and noisy == pytest.approx(coded, rel=0.03)
    noisy = np.mean(model.distortion_samples(X, view="noisy"))
    assert noisy == pytest.approx(model.mean_distortion(X), rel=0.05)
    # The last epoch of training saw nearly that.
    assert model.history_["rate_bits"].iloc[-1] == pytest.approx(coded, rel=0.05)
    assert model.history_["distortion"].iloc[-1] == pytest.approx(noisy, rel=0.25)


def test_high_rate_theory():
    # Cells of one size: D = step**2 / 12 and R = h - log2(step), 1.53 dB above the bound, and
    # the price of nets' distortion, dR/dD, is 1 / 2D.
    model, X = fitted("gauss"), rows_of("gauss", 1)
    D, variance = model.mean_distortion(X), 4.0
    assert 1 / (2 * D) == pytest.approx(model.beta, rel=0.2)
    bound = 0.5 * np.log2(variance / D)
    assert model.rate(X) - bound == pytest.approx(0.5 * np.log2(2 * np.pi * np.e / 12), abs=0.06)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("context", ["none", "causal"])
def test_decompress_is_inverse_transform_of_transform(context, dtype):
    model, X = fitted("banana", context), rows_of("banana", 2)[:700].astype(dtype)
    Z = model.transform(X)
    expected = model.inverse_transform(Z)
    assert expected.dtype == X.dtype and same_bits(expected, model.reconstruct(X))
    for chunk_rows in (None, 1, 7, 400, 5000):
        blob = model.compress(X, chunk_rows=chunk_rows)
        assert same_bits(model.decompress(blob), expected)
    part = model.decompress(model.compress(X, chunk_rows=7), rows=slice(650, 3, -5))
    assert same_bits(part, np.ascontiguousarray(expected[650:3:-5]))
    damaged = bytearray(blob)
    damaged[-1] ^= 1
    with pytest.raises(CorruptStreamError):
        model.decompress(bytes(damaged))
    other = fitted("banana", "none" if context == "causal" else "causal")
    with pytest.raises(CorruptStreamError, match="another model"):
        other.decompress(blob)


@pytest.mark.parametrize("context", ["none", "causal"])
def test_rows_do_not_depend_on_company(context):
    model, X = fitted("student_t", context), rows_of("student_t", 3)[:3000]
    Z, bits = model.transform(X), model.rate_samples(X)
    noisy = model.rate_samples(X, view="noisy")
    order = np.random.default_rng(1).permutation(3000)
    for some in (order, slice(3, 4), slice(0, 2999, 5), order[:33]):
        part = np.asfortranarray(X[some])
        assert same_bits(model.transform(part), Z[some])
        np.testing.assert_array_equal(model.rate_samples(part), bits[some])
        np.testing.assert_array_equal(model.rate_samples(part, view="noisy"), noisy[some])


def test_saved_and_loaded(tmp_path):
    for context in ("none", "causal"):
        model, X = fitted("banana", context), rows_of("banana", 2)[:500]
        model.save(tmp_path / "m.rdl")
        again = load(tmp_path / "m.rdl")
        blob = model.compress(X)
        assert again.compress(X) == blob and same_bits(again.decompress(blob), model.reconstruct(X))
        assert again.rate(X) == model.rate(X) and again.score(X) == model.score(X)
        again.save(tmp_path / "again.rdl")
        assert (tmp_path / "again.rdl").read_bytes() == (tmp_path / "m.rdl").read_bytes()


def test_fits_of_a_seed_are_the_same_to_the_bit():
    X = rows_of("banana")[:2000]
    model = codec(max_iter=2).fit(X)
    again, other = clone(model).fit(X), clone(model).set_params(random_state=1).fit(X)
    np.testing.assert_array_equal(again.params_, model.params_)
    assert again.fingerprint == model.fingerprint and again.compress(X) == model.compress(X)
    assert not np.array_equal(other.params_, model.params_)
    assert other.fingerprint != model.fingerprint


def test_warm_start_goes_on():
    X = rows_of("banana")[:2000]
    model = codec(beta=60.0, max_iter=5).fit(X)
    before = model.params_
    # Steps of Adam are no longer than the learning rate, which of laws is ten times that of nets.
    model.set_params(warm_start=True, learning_rate_init=1e-6, max_iter=1).fit(X)
    assert 0 < np.abs(model.params_ - before).max() < 1e-4 and model.n_iter_ == 1
    assert not np.allclose(codec(beta=60.0, max_iter=1).fit(X).params_, before, atol=1e-3)
    with pytest.raises(ValueError, match="warm_start=True cannot change n_components_"):
        model.set_params(n_components=1).fit(X)
    cold = model.set_params(
        n_components=2, warm_start=False, learning_rate_init=0.01, max_iter=5
    ).fit(X)
    np.testing.assert_array_equal(cold.params_, before)


@pytest.mark.parametrize("context", ["none", "causal"])
@pytest.mark.parametrize("rate, distortion", [(4.0, None), (None, 0.1)])
def test_targets_are_met_from_below(rate, distortion, context):
    X = rows_of("correlated")[:5000]
    model = codec(target_rate=rate, target_distortion=distortion, context=context, max_iter=60)
    model.fit(X)
    name, target = ("rate", rate) if rate else ("mean_distortion", distortion)
    assert 0.95 * target <= getattr(model, name)(X) <= target
    # Not far from what a price alone gives: the closed form at this rate, plus shaping loss.
    bound = gaussian_source(covariance=[[1, 0.8], [0.8, 1]]).rate_bits(model.mean_distortion(X))
    assert bound < model.rate(X) < bound + 2 * 0.254 + 0.2
    assert 1 < model.beta_ < 1000


def test_a_target_out_of_reach_has_a_sentence():
    X = rows_of("gauss")[:500]
    with pytest.raises(ValueError, match="target_rate=100 is out of reach"):
        codec(1, target_rate=100.0, max_iter=1).fit(X)
    with pytest.raises(ValueError, match="both given"):
        codec(1, target_rate=1.0, target_distortion=1.0).fit(X)


@pytest.fixture(scope="module")
def crossed():
    """Rows that spread along one axis in the first half, along another in the second."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 2)) * 0.05
    X[:2000, 0] += rng.normal(size=2000)
    X[2000:, 1] += rng.normal(size=2000)
    return X


def test_distortion_weights_spend_bits_where_they_are(crossed):
    model = codec(beta=10.0, max_iter=60)
    plain = model.fit(crossed)
    loss = plain.distortion_samples(crossed)
    ones = clone(model).fit(crossed, distortion_weight=np.ones(4000))
    np.testing.assert_array_equal(ones.params_, plain.params_)
    for half in (slice(2000), slice(2000, None)):
        weight = np.ones(4000)
        weight[half] = 8.0
        weighted = clone(model).fit(crossed, distortion_weight=weight)
        now = weighted.distortion_samples(crossed)
        assert now[half].mean() < 0.5 * loss[half].mean()
        other = np.delete(np.arange(4000), np.arange(4000)[half])
        assert now[half].mean() < 0.5 * now[other].mean()
        assert "_weight" not in vars(weighted)
    # A weight for all rows is a price.
    dear = clone(model).set_params(beta=80.0).fit(crossed)
    all_rows = clone(model).fit(crossed, distortion_weight=np.full(4000, 8.0))
    assert all_rows.rate(crossed) == pytest.approx(dear.rate(crossed), rel=0.03)


def test_rows_without_weight_are_not_learned(crossed):
    weight = np.repeat([1.0, 0.0], 2000)
    model = codec(beta=60.0, max_iter=20).fit(crossed, distortion_weight=weight)
    loss = model.distortion_samples(crossed)
    assert loss[:2000].mean() < 0.05 and loss[2000:].mean() > 0.5


@pytest.mark.parametrize(
    "weight, words",
    [
        (-np.ones(50), "[Nn]egative"),
        (np.ones(49), "distortion_weight.*49"),
        (np.ones((50, 2)), "1D array or scalar"),
        (np.full(50, np.nan), "distortion_weight contains NaN"),
    ],
)
def test_impossible_weights(weight, words):
    model, X = codec(1, max_iter=1), rows_of("gauss")[:50]
    with pytest.raises(ValueError, match=words) as caught:
        model.fit(X, distortion_weight=weight)
    assert "sample_weight" not in str(caught.value)
    assert not vars(model).keys() & {"_weight", "params_", "n_features_in_"}


def test_views():
    model, X = fitted("gauss"), rows_of("gauss")[:50]
    for measure in (model.rate_samples, model.distortion_samples):
        with pytest.raises(ValueError, match="view='sampled' must be 'coded' or 'noisy'"):
            measure(X, view="sampled")
        assert not np.array_equal(measure(X), measure(X, view="noisy"))
        np.testing.assert_array_equal(measure(X), measure(X, view="coded"))
    units = np.abs(X - model.reconstruct(X)) ** 2
    np.testing.assert_allclose(model.distortion_samples(X), units.sum(axis=1))


def test_training_raises_the_score():
    X, test = rows_of("banana"), rows_of("banana", 1)
    model = codec(beta=60.0, resolution=0.01)
    scores = [clone(model).set_params(max_iter=n).fit(X).score(test) for n in (1, 12)]
    # They start as principal components, which know nothing of the bend.
    assert scores[0] + 0.02 < scores[1]


def test_absolute_error():
    X = rows_of("laplace")
    model = codec(1, beta=6.0, distortion="absolute_error").fit(X)
    error = np.abs(X - model.reconstruct(X))
    assert model.mean_distortion(X) == pytest.approx(error.mean())
    assert model.rate(X) > 1 and error.mean() < 0.3 * np.abs(X - np.median(X)).mean()
    assert model.score(X) < 0


def test_bernoulli():
    rng = np.random.default_rng(0)
    words = (rng.random((4, 30)) < 0.5)[rng.integers(0, 4, 3000)]
    X = (words ^ (rng.random((3000, 30)) < 0.05)).astype(float)
    # Two components in heaps: tables that follow magnitudes would cost a quarter more.
    params = {"hidden_layer_sizes": (30,), "max_iter": 30, "context": "none"}
    model = codec(2, beta=1.0, distortion="bernoulli", **params)
    P = model.fit(X).reconstruct(X)
    assert P.min() >= 0 and P.max() <= 1
    likelihood = -np.where(X > 0, np.log(P), np.log(1 - P)).sum(axis=1)
    np.testing.assert_allclose(model.distortion_samples(X), likelihood, rtol=1e-6)
    # Four words are two bits, and 30 flips of one in twenty 0.199 nats each.
    assert 1.9 < model.rate(X) < 4.5 and 4 < likelihood.mean() < 8
    blob = model.compress(X)
    assert same_bits(model.decompress(blob), P)


def test_units_do_not_matter_to_standardized_fits():
    X = rows_of("correlated")[:4000]
    model = codec(beta=60.0, standardize=True, max_iter=5)
    plain = clone(model).fit(X).rate_samples(X)
    np.testing.assert_allclose(
        clone(model).fit(X * [64.0, 0.25]).rate_samples(X * [64, 0.25]), plain
    )


@pytest.mark.parametrize("value, words", [(np.nan, "NaN in row 3"), (np.inf, "infinity in row 3")])
def test_tables_that_are_no_numbers(value, words):
    X = rows_of("gauss")[:20].copy()
    X[3] = value
    with pytest.raises(ValueError, match=words):
        codec(1).fit(X)
    for use in (fitted("gauss").transform, fitted("gauss").compress, fitted("gauss").score):
        with pytest.raises(ValueError, match=words):
            use(X)


def test_far_rows_are_named_or_coded():
    for context in ("none", "causal"):
        model, X = fitted("banana", context), rows_of("banana")[:20].copy()
        X[7, 1] = 1e6
        assert same_bits(model.decompress(model.compress(X)), model.reconstruct(X))
        for far in (1e12, -1e30, 1e300):
            X[7, 1] = far
            for use in (model.transform, model.compress, model.rate):
                with pytest.raises(ValueError, match="Row 7 holds .* in column (1|'x1')"):
                    use(X)


@pytest.mark.parametrize(
    "params, words",
    [
        ({"architecture": "fourier"}, "architecture"),
        ({"context": "all"}, "context"),
        ({"patch_size": 15}, "patch_size"),
        ({"n_components": 0}, "n_components"),
        ({"distortion": "hamming"}, "use distortion='bernoulli'"),
        ({"architecture": "conv"}, "image_shape=None must be"),
        ({"architecture": "wavelet", "image_shape": (1, 2, 3)}, "has 6 values.* have 1"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
    ],
)
def test_parameters_are_refused_with_a_sentence(params, words):
    X = np.zeros((20, 1)) if params.get("distortion") else rows_of("gauss")[:20]
    with pytest.raises(ValueError, match=words):
        codec(1, max_iter=1).set_params(**params).fit(X)


def test_a_grid_search():
    X = rows_of("banana")[:2000]
    grid = {"beta": [10.0, 100.0], "n_components": [1, 2]}
    search = GridSearchCV(
        codec(max_iter=20, batch_size=50), grid, scoring=rd_scoring(), refit="score", cv=2
    )
    table = curve_table(search.fit(X))
    values = ["rate_bits", "distortion"]
    table = table.pivot_table(index="n_components", columns="beta", values=values)
    assert np.all(table["rate_bits"][100.0] > table["rate_bits"][10.0])
    assert np.all(table["distortion"][100.0] < table["distortion"][10.0])
    assert search.best_estimator_.score(X) < 0


def test_what_is_fitted_does_not_look_at_parameters():
    X = rows_of("banana")[:200]
    for context in ("none", "causal"):
        model = clone(fitted("banana", context)).fit(rows_of("banana")[:2000])
        before = model.compress(X), model.rate(X), model.score(X), model.fingerprint
        model.set_params(
            n_components=9, beta=1e9, distortion="nonsense", architecture="wavelet", context="all",
            image_shape=3, patch_size=None, hidden_layer_sizes=None, activation="relu",
            batch_size=-1, max_iter=0, target_rate=-1, resolution=-1, random_state="x", verbose=2,
        )  # fmt: skip
        assert (model.compress(X), model.rate(X), model.score(X), model.fingerprint) == before


def test_images_need_an_architecture_of_images():
    with pytest.raises(ValueError, match="architecture='dense' codes the rows of a table"):
        fitted("gauss").encode_image(np.zeros((4, 4), np.uint8))


def test_early_stopping_keeps_the_best():
    X = rows_of("banana")[:3000]
    model = codec(beta=60.0, max_iter=30, early_stopping=True, n_iter_no_change=2, tol=0.1).fit(
        X, distortion_weight=np.linspace(0.5, 1.5, 3000)
    )
    assert model.n_iter_ < 30 and len(model.history_["validation_objective"]) == model.n_iter_
    assert np.isfinite(model.score(X))
