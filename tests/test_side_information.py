"""Side information at the decoder: what it saves, every method, and metadata routing."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rdlearn import EchoAutoencoder, PCACodec, VariationalAutoencoder, load
from rdlearn.model_selection import rd_scorer, rd_scoring

SMALL = {"hidden_layer_sizes": (16,), "max_iter": 60, "random_state": 0}


def sites(n=900, seed=0):
    """A signal of one dimension, moved by where it was measured, and that place as one-hot."""
    rng = np.random.default_rng(seed)
    place = rng.integers(3, size=n)
    offsets = 4 * np.array([[1.0, 0, 1, 0], [0, -1, 0, 1], [-1, 1, -1, -1]])
    X = rng.normal(size=(n, 1)) * [1.0, 0.5, -1, 0.2] + offsets[place]
    return X + 0.1 * rng.normal(size=(n, 4)), np.eye(3)[place]


X, C = sites()


@pytest.fixture(scope="module")
def fitted():
    codec = EchoAutoencoder(2, beta=3.0, data_range=12.0, **SMALL)
    return codec.fit(X, side_information=C)


@pytest.mark.parametrize("estimator", [EchoAutoencoder, VariationalAutoencoder])
@pytest.mark.filterwarnings("ignore:target_:sklearn.exceptions.ConvergenceWarning")
def test_what_the_decoder_knows_costs_no_bits(estimator):
    quick = {"learning_rate_init": 0.01, "batch_size": 30, "max_iter": 100}
    codec = estimator(2, target_distortion=0.5, **SMALL | quick)
    without = clone(codec).fit(X).rate(X)
    codec.fit(X, side_information=C)
    assert 0.95 * 0.5 <= codec.mean_distortion(X, side_information=C) <= 0.5
    # Which of three places, far apart, is log2(3) bits less the little that is uncertain.
    assert codec.rate(X) < without - 1.5
    # The wrong place is believed.
    wrong = np.roll(C, 1, axis=1)
    assert codec.mean_distortion(X, side_information=wrong) > 5


def test_every_method_that_decodes_takes_it(fitted):
    Z = fitted.transform(X)
    given = {"side_information": C}
    np.testing.assert_array_equal(Z, fitted.transform(X.copy()))
    assert fitted.inverse_transform(Z, **given).shape == X.shape
    x_hat = fitted.reconstruct(X, **given)
    assert np.mean((X - x_hat) ** 2) < 0.5
    samples = fitted.distortion_samples(X, **given)
    assert fitted.mean_distortion(X, **given) == pytest.approx(samples.mean())
    assert fitted.score(X, **given) < 0
    mse = samples.mean() / 4
    assert fitted.psnr_db(X, **given) == pytest.approx(10 * np.log10(144 / mse), rel=1e-6)
    # Rows are rows: subsets agree to the bit.
    np.testing.assert_array_equal(
        fitted.distortion_samples(X[5:9], side_information=C[5:9]), samples[5:9]
    )
    assert fitted.score(X, None, np.ones(len(X)), **given) == pytest.approx(
        fitted.score(X, **given)
    )


def test_tables_lists_and_columns_are_taken(fitted):
    x_hat = fitted.reconstruct(X, side_information=C)
    for same in (pd.DataFrame(C, columns=list("abc")), C.tolist(), C.astype(bool)):
        np.testing.assert_array_equal(fitted.reconstruct(X, side_information=same), x_hat)
    column = C.argmax(axis=1)
    codec = EchoAutoencoder(2, beta=3.0, **SMALL)
    flat = clone(codec).fit(X, side_information=column)
    tall = clone(codec).fit(X, side_information=column[:, None])
    framed = clone(codec).fit(X, side_information=pd.Series(column, name="place"))
    for other in (tall, framed):
        np.testing.assert_array_equal(flat.params_, other.params_)
    np.testing.assert_array_equal(
        flat.reconstruct(X, side_information=column.tolist()),
        tall.reconstruct(X, side_information=column[:, None]),
    )


def test_units_of_side_information_do_not_matter(fitted):
    other = clone(fitted).fit(X, side_information=1e4 * C + 1e6)
    assert other.mean_distortion(X, side_information=1e4 * C + 1e6) == pytest.approx(
        fitted.mean_distortion(X, side_information=C), rel=0.1
    )
    # 0.1 is no sum of powers of two: its mean rounds, and its deviation is not quite 0.
    constant = clone(fitted).fit(X, side_information=np.full(len(X), 0.1))
    near, far = (np.full(len(X), value) for value in (0.1, 0.2))
    assert np.isfinite(constant.score(X, side_information=near))
    np.testing.assert_allclose(
        constant.mean_distortion(X, side_information=far),
        constant.mean_distortion(X, side_information=near),
        rtol=0.2,
    )


@pytest.mark.parametrize(
    "side, words",
    [
        (C[:-1], r"side_information has 899 rows, but there are 900 samples; pass one row"),
        (C[:, :2], r"side_information has 2 columns, but fit saw 3; pass the same"),
        (None, r"fitted with side_information of 3 columns.*cannot decode without.*routing"),
        (C + 1e40, r"Row 0 of side_information holds 1e\+40 in column [012].*fit on data"),
        (C * np.nan, "side_information contains NaN"),
        (np.array([["a"]] * 900), "convert string"),
    ],
)
@pytest.mark.parametrize(
    "method", ["reconstruct", "distortion_samples", "mean_distortion", "score", "psnr_db"]
)
def test_unusable_side_information_is_named(fitted, method, side, words):
    with pytest.raises(ValueError, match=words):
        getattr(fitted, method)(X, side_information=side)
    with pytest.raises(ValueError, match=words):
        fitted.inverse_transform(fitted.transform(X), side_information=side)


def test_side_information_of_other_rows_is_refused_in_fit_and_leaves_nothing():
    codec = EchoAutoencoder(2, **SMALL)
    for side, words in ((C[:5], "has 5 rows, but there are 900"), (C * np.nan, "NaN")):
        with pytest.raises(ValueError, match=words):
            codec.fit(X, side_information=side)
    assert not hasattr(codec, "params_")


def test_side_information_that_fit_did_not_see_is_refused():
    codec = EchoAutoencoder(2, beta=3.0, **SMALL).fit(X)
    with pytest.raises(ValueError, match="fitted without side_information; leave it out"):
        codec.reconstruct(X, side_information=C)
    # A refit forgets.
    codec.fit(X, side_information=C).fit(X)
    assert codec.reconstruct(X).shape == X.shape
    assert codec.fit(X, side_information=C).rate(X) > 0


def test_codecs_whose_decoder_takes_nothing_refuse_it():
    with pytest.raises(TypeError, match="takes nothing but the code.*side_information; leave"):
        PCACodec().fit(X, side_information=C)
    codec = PCACodec().fit(X)
    for method in ("reconstruct", "score", "distortion_samples"):
        with pytest.raises(TypeError, match="takes nothing but the code"):
            getattr(codec, method)(X, side_information=C)


def test_models_with_side_information_survive_being_stored(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    back = load(tmp_path / "model")
    np.testing.assert_array_equal(
        back.reconstruct(X, side_information=C), fitted.reconstruct(X, side_information=C)
    )


def test_a_warm_start_goes_on_with_the_same_columns(fitted):
    codec = clone(fitted).set_params(warm_start=True, max_iter=5)
    codec.fit(X, side_information=C).fit(X, side_information=C)
    with pytest.raises(ValueError, match="cannot change n_side_features_"):
        codec.fit(X)


# Metadata routing.


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def routed(**params):
    codec = EchoAutoencoder(2, beta=3.0, **SMALL | params)
    codec.set_fit_request(side_information=True).set_score_request(side_information=True)
    return codec.set_inverse_transform_request(side_information=True)


def test_a_pipeline_routes_it(routing):
    pipeline = make_pipeline(StandardScaler(), routed()).fit(X, side_information=C)
    direct = EchoAutoencoder(2, beta=3.0, **SMALL)
    scaled = pipeline[0].transform(X)
    direct.fit(scaled, side_information=C)
    np.testing.assert_array_equal(pipeline[1].params_, direct.params_)
    assert pipeline.score(X, side_information=C) == direct.score(scaled, side_information=C)
    Z = pipeline.transform(X)
    np.testing.assert_allclose(
        pipeline.inverse_transform(Z, side_information=C),
        pipeline[0].inverse_transform(direct.inverse_transform(Z, side_information=C)),
    )
    with pytest.raises(ValueError, match="cannot decode without"):
        pipeline.score(X)


def test_a_pipeline_without_routing_says_how_to_get_it():
    with sklearn.config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), routed()).fit(X, side_information=C)
    with pytest.raises(ValueError, match="turn on metadata routing"):
        pipeline.score(X)


GRID = {"beta": [1.0, 10.0]}


def test_a_grid_search_routes_it_to_the_codec_s_own_score(routing):
    search = GridSearchCV(routed(max_iter=20), GRID, cv=3, error_score="raise")
    search.fit(X, side_information=C)
    fold = slice(0, 300)
    codec = clone(search.best_estimator_).fit(X[300:], side_information=C[300:])
    expected = codec.score(X[fold], side_information=C[fold])
    assert search.cv_results_["split0_test_score"][search.best_index_] == pytest.approx(expected)
    assert search.score(X, side_information=C) < 0


def test_rd_scoring_routes_it(routing):
    scoring = rd_scoring().set_score_request(side_information=True)
    codec = routed(max_iter=20)
    search = GridSearchCV(codec, GRID, cv=3, scoring=scoring, refit=False, error_score="raise")
    results = search.fit(X, side_information=C).cv_results_
    for place, beta in enumerate(GRID["beta"]):
        one = clone(codec).set_params(beta=beta).fit(X[300:], side_information=C[300:])
        given = {"side_information": C[:300]}
        assert results["split0_test_rate_bits"][place] == pytest.approx(one.rate(X[:300]))
        x_hat = one.reconstruct(X[:300], **given)
        loss = np.mean(np.sum((X[:300] - x_hat) ** 2, axis=1))
        assert results["split0_test_distortion"][place] == pytest.approx(loss)
        score = one.score(X[:300], **given)
        assert results["split0_test_score"][place] == pytest.approx(score)


def test_rd_scorer_routes_it_through_a_pipeline(routing):
    scorer = rd_scorer(slope=2.0).set_score_request(side_information=True)
    pipeline = make_pipeline(StandardScaler(), routed(max_iter=20))
    given = {"cv": 3, "scoring": scorer, "params": {"side_information": C}}
    result = cross_validate(pipeline, X, error_score="raise", return_estimator=True, **given)
    best = result["estimator"][0]
    x = X[:300]
    scaled = best[0].transform(x)
    x_hat = best[0].inverse_transform(best[1].reconstruct(scaled, side_information=C[:300]))
    loss = np.mean(np.sum((x - x_hat) ** 2, axis=1))
    nats = best[1].rate(scaled) * np.log(2)
    assert result["test_score"][0] == pytest.approx(-(nats + 2 * loss))


def test_scorers_that_were_not_asked_say_so(routing):
    scorer = rd_scorer(slope=2.0)
    asked = scorer.set_score_request(side_information=True)
    assert asked is not scorer and asked != scorer
    with pytest.raises(ValueError, match="side_information"):
        GridSearchCV(EchoAutoencoder(2, **SMALL), GRID, scoring=scorer, error_score="raise").fit(
            X, side_information=C
        )
