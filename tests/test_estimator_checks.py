"""What scikit-learn asks of an estimator: its own checks, callbacks, searches."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils import estimator_checks

from rdlearn import (
    DBNBlahutArimoto,
    EchoAutoencoder,
    EchoClassifier,
    PCACodec,
    RestrictedBoltzmannMachine,
    UniformNoiseCodec,
    VariationalAutoencoder,
)
from rdlearn.model_selection import curve_table, rate_distortion_path, rd_scoring

NET = {"hidden_layer_sizes": (8,), "max_iter": 20}
VARIANTS = {
    "default": PCACodec(),
    "fine": PCACodec(beta=300.0),
    "target_rate": PCACodec(target_rate=4.0),
    "n_bits": PCACodec(n_bits=2),
    "trellis": PCACodec(beta=5.0, quantizer="trellis"),
    "standardize": PCACodec(beta=5.0, standardize=True),
    "absolute_error": PCACodec(beta=5.0, distortion="absolute_error"),
    "echo": EchoAutoencoder(**NET),
    "echo, cut off": EchoAutoencoder(noise_terms=3, **NET),
    "echo, absolute_error": EchoAutoencoder(distortion="absolute_error", standardize=True, **NET),
    "echo, early stopping": EchoAutoencoder(early_stopping=True, **NET),
    "variational": VariationalAutoencoder(**NET),
    "iaf": VariationalAutoencoder(flow="iaf", **NET),
    "uniform noise": UniformNoiseCodec(**NET),
    "uniform noise, contexts": UniformNoiseCodec(4, context="causal", standardize=True, **NET),
    "uniform noise, trellis": UniformNoiseCodec(quantizer="trellis", **NET),
    "belief net": DBNBlahutArimoto(4, binarize=0.0, max_iter=2, fine_tune_epochs=5),
    "boltzmann": RestrictedBoltzmannMachine(8, binarize=0.0),
    "classifier": EchoClassifier(beta=30.0, hidden_layer_sizes=(8,), max_iter=100),
}
DIGITS = load_digits().data
# Public checks that check_estimator does not yield.
UNLISTED = [
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]
pytestmark = [
    # The checks pass tables with and without names on purpose.
    pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning"),
    # Their tables have unit variance and some are constant: little is worth a bit at beta=1.
    pytest.mark.filterwarnings("ignore:The code takes:UserWarning"),
    # Few epochs on few rows of noise learn next to nothing.
    pytest.mark.filterwarnings("ignore:The code spends.*on nothing"),
]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_check_passes_without_expected_failures(name):
    results = estimator_checks.check_estimator(VARIANTS[name], on_skip=None)
    assert len(results) > 40
    skipped = {r["check_name"] for r in results if r["status"] != "passed"}
    # Runs only where the variable SCIPY_ARRAY_API is set, and then only for array API support.
    assert skipped <= {"check_array_api_input"}


@pytest.mark.parametrize("check", UNLISTED)
@pytest.mark.parametrize("name", VARIANTS)
def test_unlisted_checks_pass(name, check):
    codec = VARIANTS[name]
    getattr(estimator_checks, check)(type(codec).__name__, codec)


# Callbacks.


class Recorder:
    """A callback that keeps what it is shown."""

    def __init__(self, stop_after=None, ask=lambda estimator, X: None):
        self.stop_after, self.ask = stop_after, ask
        self.events, self.answers, self.data = [], [], []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.events.append(f"begin {context.task_name}")
        self.data.append((X, y))

    def on_fit_task_end(self, estimator, context, *, X=None, metadata=None, fitted_estimator=None):
        self.events.append(f"end {context.task_name}")
        self.answers.append(self.ask(fitted_estimator, X))
        self.metadata = metadata
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after


needs_callbacks = pytest.mark.skipif(
    not hasattr(EchoAutoencoder(), "set_callbacks"),
    reason="this scikit-learn has no callbacks; they came with 1.9",
)


def small(estimator=EchoAutoencoder, **params):
    return estimator(
        **{"n_components": 2, "hidden_layer_sizes": (8,), "max_iter": 4, "random_state": 0} | params
    )


X = DIGITS[:150]


@needs_callbacks
@pytest.mark.parametrize(
    "codec, measure",
    [
        (small(beta=0.05), "mean_distortion"),
        (small(beta=0.05, noise_terms=5, early_stopping=True), "mean_distortion"),
        (small(VariationalAutoencoder, beta=0.05), "mean_distortion"),
        (small(EchoClassifier), "rate"),
    ],
)
def test_callbacks_see_a_model_after_each_epoch(codec, measure):
    y = load_digits().target[:150]

    def ask(estimator, X):
        return estimator.rate(X), getattr(estimator, measure)(X), estimator.score(X, y)

    plain = clone(codec).fit(X, y)
    recorder = Recorder(ask=ask)
    watched = clone(codec).set_callbacks(recorder).fit(X, y)
    epochs = ["begin epoch", "end epoch"] * 4
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    np.testing.assert_array_equal(recorder.data[0][0], X)
    assert len({answer[0] for answer in recorder.answers[:4]}) == 4
    assert np.isfinite(recorder.answers).all()
    # The last epoch's model is the one that fit returns, and being watched changes nothing.
    np.testing.assert_array_equal(watched.params_, plain.params_)
    if not codec.early_stopping:
        assert recorder.answers[3][:2] == recorder.answers[4][:2] == ask(watched, X)[:2]
    assert not [name for name in vars(watched) if "callback" in name and name != "_skl_callbacks"]


@needs_callbacks
def test_the_model_of_an_epoch_is_that_of_a_fit_that_stopped_there():
    recorder = Recorder(ask=lambda estimator, X: estimator)
    small(beta=0.05).set_callbacks(recorder).fit(X)
    kept = [estimator.transform(X) for estimator in recorder.answers[:4]]
    for k, codes in enumerate(kept, start=1):
        stopped = small(beta=0.05).set_callbacks(Recorder(stop_after=k)).fit(X)
        assert stopped.n_iter_ == k == len(stopped.history_)
        np.testing.assert_array_equal(stopped.transform(X), codes)


@needs_callbacks
@pytest.mark.parametrize("target", [{}, {"target_rate": 20.0}])
def test_callbacks_are_torn_down_when_fit_fails(target):
    def ask(estimator, X):
        raise RuntimeError("asked too much")

    recorder = Recorder(ask=ask)
    codec = small(beta=0.05, **target).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="asked too much"):
        codec.fit(X)
    assert recorder.events[-1] == "teardown" and not hasattr(codec, "params_")
    assert not hasattr(codec, "_callback_fit_ctx")
    recorder = Recorder()
    with pytest.raises(ValueError, match="both given"):
        small(target_rate=1.0, target_distortion=1.0).set_callbacks(recorder).fit(X)
    assert recorder.events in (["setup", "teardown"], [])


@needs_callbacks
def test_callbacks_see_side_information():
    recorder = Recorder()
    C = np.arange(150.0)
    small(beta=0.05).set_callbacks(recorder).fit(X, side_information=C)
    np.testing.assert_array_equal(np.ravel(recorder.metadata["side_information"]), C)


@needs_callbacks
def test_scikit_learn_s_own_callbacks_work():
    from sklearn.callback import ScoringMonitor

    # It scores where there is a y.
    monitor = ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    codec = small(EchoClassifier).set_callbacks(monitor)
    GridSearchCV(codec, {"beta": [0.5, 5.0]}, cv=2).fit(X, load_digits().target[:150])
    (log,) = monitor.get_logs(select="all")
    epochs = log.data_as_pandas.query("task_name == 'epoch'")
    # Two prices, two folds and the fit on all rows, of four epochs each.
    assert len(epochs) == 20 and np.isfinite(epochs["neg_log_loss"]).all()
    assert epochs["accuracy"].between(0, 1).all()


# Searches.


def test_a_grid_search_ranks_prices_sizes_and_distortions():
    pipeline = Pipeline([("scale", MinMaxScaler()), ("codec", EchoAutoencoder(random_state=0))])
    pipeline.set_params(codec__hidden_layer_sizes=(12,), codec__max_iter=10)
    grid = {
        "codec__beta": [0.3, 30.0],
        "codec__n_components": [2, 8],
        "codec__distortion": ["squared_error", "absolute_error"],
    }
    X = DIGITS[:400]
    search = GridSearchCV(
        pipeline, grid, scoring=rd_scoring(), refit="score", cv=2, n_jobs=2, error_score="raise"
    ).fit(X)
    table = curve_table(search)
    assert (
        len(table) == 8
        and np.isfinite(table[["rate_bits", "distortion", "score"]].to_numpy()).all()
    )
    rows = ["n_components", "codec__distortion"]
    pairs = table.rename(columns={"codec__n_components": rows[0]}).pivot_table(
        index=rows, columns="beta", values=["rate_bits", "distortion"]
    )
    assert len(pairs) == 4
    assert np.all(pairs["rate_bits"][30.0] > pairs["rate_bits"][0.3])
    assert np.all(pairs["distortion"][30.0] < pairs["distortion"][0.3])
    assert search.best_estimator_.score(X) < 0
    alone = GridSearchCV(pipeline, {"codec__beta": [0.3, 30.0]}, cv=2, n_jobs=2).fit(X)
    assert np.isfinite(alone.cv_results_["mean_test_score"]).all()


@pytest.mark.filterwarnings("ignore:The code takes:UserWarning")
def test_the_score_chooses_a_price_between_too_little_and_too_much():
    codec = EchoAutoencoder(16, hidden_layer_sizes=(40,), max_iter=40, random_state=0)
    betas = [0.0003, 0.003, 0.03, 0.3, 3.0]
    search = GridSearchCV(codec, {"beta": betas}, cv=3, error_score="raise").fit(DIGITS)
    assert search.best_params_["beta"] in betas[1:-1], search.cv_results_["mean_test_score"]


def test_a_sweep_goes_on_from_price_to_price():
    codec = EchoAutoencoder(6, hidden_layer_sizes=(16,), max_iter=30, random_state=0)
    betas, test = [0.01, 0.03, 0.1], DIGITS[1200:]
    table = rate_distortion_path(codec, DIGITS[:1200], betas, X_test=test, data_range=16)
    assert table["rate_bits"].is_monotonic_increasing
    assert table["distortion"].is_monotonic_decreasing
    assert table["n_components"].tolist() == [6, 6, 6]
    chain = clone(codec).set_params(warm_start=True)
    # From the finest on: codes that have collapsed are hard to open again.
    for rate, beta in zip(table["rate_bits"][::-1], betas[::-1], strict=True):
        assert chain.set_params(beta=beta).fit(DIGITS[:1200]).rate(test) == rate
    assert not hasattr(codec, "params_") and codec.warm_start is False
