"""What the estimators on the training loop refuse, and how they say it."""

import numpy as np
import pytest
from minibatch_data import SMALL, echo, table

from rdlearn import EchoAutoencoder, VariationalAutoencoder


@pytest.mark.parametrize(
    "params, words",
    [
        ({"distortion": "bernoulli"}, r"only values from 0 to 1, but column \d contains.*Min"),
        ({"distortion": "hamming"}, r"hamming.*binarize X first"),
        ({"binarize": "sample"}, r"binarize='sample'.*'squared_error'.*'bernoulli'"),
        ({"noise_terms": 100}, r"noise_terms=100 needs 101 rows.*batches of 100.*lower"),
        ({"noise_terms": 30, "early_stopping": True}, r"needs 31 rows.*validation rows of 20"),
        ({"learning_rate_init": 1e30}, r"not finite in epoch 1.*lower learning_rate_init=1e\+30"),
        ({"device": "cuda"}, r'device="cuda" needs .*device="cpu" computes the same'),
        ({"hidden_layer_sizes": (8, 0)}, r"hidden_layer_sizes=\(8, 0\) must be positive integers"),
        ({"hidden_layer_sizes": (8.5,)}, r"hidden_layer_sizes=\(8.5,\) must be positive"),
        ({"hidden_layer_sizes": [np.nan]}, r"hidden_layer_sizes=\[nan\] must be positive"),
        ({"hidden_layer_sizes": ((3, 4), (5, 6))}, "must be positive integers, or ()"),
        ({"hidden_layer_sizes": -3}, "'hidden_layer_sizes' parameter"),
        (
            {"early_stopping": True, "validation_fraction": 0.995},
            r"validation_fraction=0.995 leaves 1 of 200 rows.*lower it",
        ),
        ({"target_rate": 3.0, "target_distortion": 3.0}, "both given"),
        ({"n_components": 0}, "'n_components' parameter"),
        ({"activation": "sign"}, "'activation' parameter"),
        ({"noise_terms": 0}, "'noise_terms' parameter"),
        ({"resolution": [1.0, 2.0]}, "each of the 4 features"),
    ],
)
def test_unusable_parameters_name_value_and_remedy(params, words):
    codec = echo(**params)
    with pytest.raises(ValueError, match=words):
        codec.fit(table())
    assert not [name for name in vars(codec) if name.endswith("_")]


def test_nets_too_large_for_memory_are_named():
    codec = echo(hidden_layer_sizes=(10**7, 10**7))
    with pytest.raises(MemoryError, match=r"hidden_layer_sizes=\(10000000, 10000000\).*smaller"):
        codec.fit(table())
    assert not [name for name in vars(codec) if name.endswith("_")]


def test_hamming_is_refused_on_bits_too():
    with pytest.raises(ValueError, match="hamming.*use distortion='bernoulli'"):
        echo(distortion="hamming").fit(np.sign(table()) > 0)


@pytest.mark.filterwarnings("ignore:The code spends.*on nothing")
def test_one_row_is_too_few_and_two_are_enough():
    with pytest.raises(ValueError, match="minimum of 2"):
        echo().fit(table(1))
    assert np.isfinite(echo().fit(table(2)).score(table(2)))


def test_batches_larger_than_the_table_are_clipped():
    with pytest.warns(UserWarning, match="batch_size=1000 is clipped to 200"):
        clipped = echo(batch_size=1000).fit(table())
    np.testing.assert_array_equal(clipped.params_, echo(batch_size=200).fit(table()).params_)


METHODS = [
    "transform",
    "sample_codes",
    "rate_samples",
    "reconstruct",
    "distortion_samples",
    "score",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("estimator", [EchoAutoencoder, VariationalAutoencoder])
def test_values_too_far_away_are_named(estimator, method):
    codec, X = estimator(2, **SMALL).fit(table()), table()
    X[3, 2] = 1e300
    with pytest.raises(ValueError, match=r"Row 3 holds 1e\+300 in column 2.*remove or clip"):
        getattr(codec, method)(X)


@pytest.mark.parametrize("estimator", [EchoAutoencoder, VariationalAutoencoder])
def test_outliers_get_finite_codes_or_a_sentence(estimator):
    codec, X = estimator(2, **SMALL).fit(table()), table()
    for far in (1e3, 1e6, 1e30):
        X[3, 2], X[4, 2] = far, -far
        for method in ("transform", "sample_codes", "rate_samples"):
            try:
                result = getattr(codec, method)(X)
            except ValueError as error:
                assert any(f"Row {row} holds" in str(error) for row in (3, 4))
            else:
                assert np.isfinite(result).all(), method


@pytest.mark.parametrize(
    "params, X, words",
    [
        ({"n_components": 3}, table(), "cannot change n_components_"),
        ({"hidden_layer_sizes": (9,)}, table(), "cannot change hidden_sizes_"),
        ({"activation": "tanh"}, table(), "cannot change activation_"),
        ({}, table(d=3), "cannot change n_outputs_"),
    ],
)
def test_a_warm_start_cannot_change_sizes(params, X, words):
    codec = echo(warm_start=True).fit(table())
    before = codec.transform(table())
    with pytest.raises(ValueError, match=f"warm_start=True {words}.*warm_start=False"):
        codec.set_params(**params).fit(X)
    np.testing.assert_array_equal(codec.transform(table()), before)
