"""Changed files of every kind of model: refused, or a model whose uses work or say what is wrong.

Their checksums are right, as those of a file made by hand are. The seed is fixed, hence the same
changes on every run.
"""

import warnings

import model_mutants
import numpy as np
import pytest

from rdlearn import CorruptStreamError, _persistence, load

# Changes of each kind of model, of thousands that there are.
SAMPLE = 25


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """By name, what a model's file holds, its rows and what decodes beside its code."""
    path, known = tmp_path_factory.mktemp("models") / "m.rdl", {}

    def of(name):
        if name not in known:
            codec, X, beside = model_mutants.fit(name)
            codec.save(path)
            known[name] = _persistence.read(path), X, beside
        return known[name]

    return of


def outcome(path, state, X, beside):
    """How a changed model ends: "refused", "works", or, where a use is refused, "says so"."""
    _persistence.write(path, state)
    with warnings.catch_warnings():
        # Absurd numbers overflow on the way.
        warnings.simplefilter("ignore")
        try:
            codec = load(path)
        except CorruptStreamError:
            return "refused"
        refused = False
        for _, use in model_mutants.uses(codec, X, beside):
            try:
                use()
            except ValueError:
                refused = True
    return "says so" if refused else "works"


@pytest.mark.parametrize("name", list(model_mutants.models()))
def test_changed_models(name, stored, tmp_path):
    state, X, beside = stored(name)
    rng, seen = np.random.default_rng(sum(map(ord, name))), set()
    places = list(model_mutants.places(state))
    for place in rng.integers(len(places), size=SAMPLE):
        path = places[place]
        options = list(model_mutants.changes(model_mutants.entry(state, path)))
        value = options[rng.integers(len(options))]
        changed = model_mutants.changed(state, path, value)
        try:
            seen.add(outcome(tmp_path / "m.rdl", changed, X, beside))
        except Exception as error:
            raise AssertionError(f"{path} = {value!r:.80}") from error
    assert "refused" in seen and len(seen) > 1


SIMILAR = {
    "__distortion__": "ms_ssim",
    "constants": {"image_shape": [16, 16, 1], "data_range": 1e200},
}
FOUND = [
    ("conv_similar", "distortion_", SIMILAR),
    ("pca", "noise_scale_", model_mutants.DELETED),
    ("dbn_barred", "noise_scale_", model_mutants.DELETED),
    ("dbn_barred", "resolution_", model_mutants.DELETED),
    ("dbn_barred", "resolution_", None),
    ("pca_trellis", "joint_quantizers_", None),
    ("pca_trellis", "joint_quantizers_", model_mutants.DELETED),
    ("uniform", "spread_", 1e200),
    ("echo", "spread_", 1e200),
    ("echo", "spread_", True),
    ("wavelet", "spread_", 10**30),
    ("wavelet", "n_centers_", model_mutants.DELETED),
    ("wavelet", "n_centers_", 5),
    ("wavelet", "image_shape_", {"__tuple__": [16, 16, True]}),
    ("uniform", "offset_", np.zeros(2)),
    ("echo", "mean_", np.zeros(3, dtype=np.float32)),
    ("echo", "side_scale_", np.ones(2, dtype=np.int32)),
    ("classifier", "classes_", ["a", "b", "c"]),
    ("classifier", "class_prior_", np.ones(3, dtype=np.float32)),
    ("classifier", "beta_", None),
    ("classifier", "feature_names_in_", 3),
]


@pytest.mark.parametrize(("name", "attribute", "value"), FOUND)
def test_what_no_fit_leaves_is_refused(name, attribute, value, stored, tmp_path):
    state, X, beside = stored(name)
    changed = model_mutants.changed(state, ("fitted", attribute), value)
    assert outcome(tmp_path / "m.rdl", changed, X, beside) == "refused"


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [("echo", "n_draws", 2**32), ("uniform", "n_draws", 10_001), ("dbn", "n_gibbs", 2**31)],
)
def test_parameters_that_take_years_are_refused(name, parameter, value, stored, tmp_path):
    state, _, _ = stored(name)
    _persistence.write(
        tmp_path / "m.rdl", model_mutants.changed(state, ("params", parameter), value)
    )
    with pytest.raises(CorruptStreamError, match=parameter):
        load(tmp_path / "m.rdl")


@pytest.mark.parametrize("kind", ["interval", "S2147483647", "U1000000000", "i4,i4", "no dtype"])
def test_dtypes_that_columns_cannot_have(kind, stored, tmp_path):
    state, X, _ = stored("pca")
    kinds = [*state["fitted"]["feature_dtypes_"][:2], kind]
    path = tmp_path / "m.rdl"
    _persistence.write(path, model_mutants.changed(state, ("fitted", "feature_dtypes_"), kinds))
    codec = load(path)
    data = codec.compress(X)
    assert codec.decompress(data).shape == X.shape
    with pytest.raises(CorruptStreamError, match=kind):
        codec.decompress(data, as_frame=True)


def test_psnr_of_an_extreme_range(stored, tmp_path):
    state, X, _ = stored("pca_bits")
    path = tmp_path / "m.rdl"
    _persistence.write(path, model_mutants.changed(state, ("params", "data_range"), 1e200))
    codec = load(path)
    error = np.mean((X - codec.reconstruct(X)) ** 2)
    assert codec.psnr_db(X) == pytest.approx(4000 - 10 * np.log10(error), rel=1e-12)
