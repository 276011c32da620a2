"""PCACodec and dense nets along a trellis: rates against theory, the contract, joint streams."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

from rdlearn import PCACodec, UniformNoiseCodec, load
from rdlearn.coding.container import CHUNK_HEAD
from rdlearn.coding.trellis_columns import TrellisColumnCode
from rdlearn.coding.trellis_design import TrellisDesign
from rdlearn.exceptions import CorruptStreamError
from rdlearn.information import gaussian_rate_bits

DIGITS = load_digits().data
HEADER = 54


def correlated(seed, n_samples, n_features, dtype=np.float64):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(n_features, n_features)) * np.linspace(3, 0.5, n_features)
    return (rng.normal(size=(n_samples, n_features)) @ mixing + 7).astype(dtype)


@pytest.fixture(scope="module")
def digits():
    return PCACodec(target_rate=30, quantizer="trellis").fit(DIGITS)


# Theory.


@pytest.mark.parametrize("law, bits, limit", [
    ("gaussian", 1.0, 0.80), ("gaussian", 3.0, 0.60), ("laplace", 1.0, 0.60),
    ("laplace", 2.0, 0.70),
])  # fmt: skip
def test_long_trellises_come_near_the_rate_distortion_function(law, bits, limit):
    rng = np.random.default_rng(11)
    X = rng.normal(size=(60_000, 1)) if law == "gaussian" else rng.laplace(size=(60_000, 1))
    X /= X.std()
    codec = PCACodec(target_rate=bits, quantizer="trellis").fit(X)
    scalar = PCACodec(target_rate=bits).fit(X)
    snr = {}
    for name, c in (("trellis", codec), ("scalar", scalar)):
        blob = c.compress(X, joint=name == "trellis")
        assert 8 * len(blob) / len(X) <= bits + 0.02
        snr[name] = -10 * np.log10(np.mean((X - c.decompress(blob)) ** 2))
    # D(R) of the Laplace variable: METRICS of Sullivan 1996 and Blahut-Arimoto, in dB.
    shannon = (
        {1.0: 6.63, 2.0: 12.67} if law == "laplace" else {b: 6.0206 * b for b in (0.5, 1, 2, 3)}
    )
    assert shannon[bits] - snr["trellis"] <= limit
    assert snr["trellis"] > snr["scalar"] + 0.15


@pytest.mark.parametrize("bits", [0.6, 2.5])
def test_rows_of_many_components_lose_less_than_scalars(bits):
    X = np.random.default_rng(0).normal(size=(8_000, 12))
    scalar = PCACodec(target_rate=12 * bits).fit(X)
    trellis = PCACodec(target_rate=12 * bits, quantizer="trellis").fit(X)
    gain = 10 * np.log10(scalar.mean_distortion(X) / trellis.mean_distortion(X))
    assert gain > (0.2 if bits < 1 else 0.4)
    D = trellis.mean_distortion(X)
    assert trellis.rate(X) >= gaussian_rate_bits(np.ones(12), D)


def test_learning_lowers_the_objective_and_says_how_often():
    y = np.random.default_rng(1).laplace(size=(5000, 3)) * [3, 1, 0.5]
    for slope in (0.5, 4.0, 60.0):
        design = TrellisDesign(y)
        quantizers, n_iter = design.rows(slope)
        assert 4 <= n_iter == design.n_iter <= 100

        def objective(q, slope=slope):
            symbols = np.empty((q.active.size, len(y)), dtype=np.int64)
            q.quantize(np.ascontiguousarray(y[:, q.active]), symbols)
            error = np.sum((q.dequantize(symbols, float) - y) ** 2, axis=1)
            return np.mean(np.log(2) * q.tables.code_length(symbols) + slope * error)

        learner = design._learner(np.arange(3), slope, False)
        assert objective(quantizers) < objective(learner.rounded()) - 0.02
        # What another slope led to is where the next one starts.
        again, more = design.rows(slope * 1.05)
        assert more - n_iter <= n_iter and again.slope == slope * 1.05


# The contract.


@pytest.mark.parametrize("dtype, params", [
    (np.float32, {"beta": 3.0}), (np.float64, {"target_rate": 9.0}),
    (np.float64, {"beta": 3.0, "standardize": True}), (np.float32, {"beta": 1e8}),
    (np.float64, {"beta": 20.0, "distortion": "absolute_error"}), (np.float64, {"n_components": 1}),
])  # fmt: skip
def test_streams_are_transform_and_rates_are_bytes(dtype, params):
    X = correlated(3, 4000, 6, dtype)
    codec = PCACodec(quantizer="trellis", **params).fit(X)
    blob = codec.compress(X)
    Z = codec.transform(X)
    back = codec.decompress(blob)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, codec.inverse_transform(Z))
    # Of the 40 bits of each of eight states, 32 hold nothing on average.
    payload = 8 * (len(blob) - HEADER - CHUNK_HEAD - 32)
    assert abs(codec.rate(X) / (payload / len(X)) - 1) <= 0.005
    some = np.random.default_rng(0).permutation(len(X))[:100]
    np.testing.assert_array_equal(codec.transform(X[some]), Z[some])
    np.testing.assert_array_equal(codec.transform(X[some[:1]]), Z[some[:1]])
    np.testing.assert_array_equal(codec.rate_samples(X[some]), codec.rate_samples(X)[some])


@pytest.mark.parametrize("targets", [{"target_rate": 9.0}, {"target_distortion": 4.0}])
@pytest.mark.parametrize("distortion", ["squared_error", "absolute_error"])
def test_targets_are_met_by_rows_and_by_joint_streams(targets, distortion):
    X = correlated(5, 6000, 6)
    codec = PCACodec(quantizer="trellis", distortion=distortion, **targets).fit(X)
    blob = codec.compress(X, joint=True)
    back = codec.decompress(blob)
    if "target_rate" in targets:
        assert 0.98 * 9 <= codec.rate(X) <= 9
        bits = 8 * (len(blob) - HEADER - CHUNK_HEAD - 32) / len(X)
        assert 0.97 * 9 <= bits <= 9 * 1.001
        # More is gained along a component than along six.
        assert codec.distortion_.samples(X, back).mean() < codec.mean_distortion(X)
    else:
        assert 0.98 * 4 <= codec.mean_distortion(X) <= 4
        assert 0.98 * 4 <= codec.distortion_.samples(X, back).mean() <= 4
        assert len(blob) < len(codec.compress(X))


def test_a_target_between_designs_never_costs_more_than_a_lower_one():
    X = np.random.default_rng(5).integers(0, 2, (500, 3)).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for target in (0.5, 1.0, 1.5, 2.0):
            codec = PCACodec(quantizer="trellis", target_rate=target).fit(X)
            assert codec.rate(X) <= target
            # Nothing at all loses the variance.
            assert codec.mean_distortion(X) <= 1.001 * X.var(axis=0).sum()


def test_few_rows_and_degenerate_tables():
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        for X in (
            rng.normal(size=(2, 5)),
            rng.normal(size=(9, 40)),
            np.ones((30, 3)),
            np.repeat(rng.normal(size=(1, 4)), 50, axis=0),
            rng.standard_cauchy(size=(3000, 3)),
            (rng.random((300, 7)) < 0.2).astype(float),
        ):
            codec = PCACodec(beta=30.0, quantizer="trellis").fit(X)
            for joint in (False, True):
                back = codec.decompress(codec.compress(X, joint=joint))
                assert back.shape == X.shape and np.isfinite(back).all()
            np.testing.assert_array_equal(
                codec.decompress(codec.compress(X)), codec.inverse_transform(codec.transform(X))
            )


def test_far_rows_are_named_or_coded():
    X = np.random.default_rng(2).normal(size=(500, 3)) * [3, 2, 1]
    codec = PCACodec(beta=30.0, quantizer="trellis").fit(X)
    far = X[:5].copy()
    far[3] += 1e9
    for joint in (False, True):
        back = codec.decompress(codec.compress(far, joint=joint))
        assert np.abs(back - far).max() < 1e3
    far[3] += 1e60
    with pytest.raises(ValueError, match="1e\\+60"):
        codec.compress(far)


def test_saved_models_do_the_same(digits, tmp_path):
    digits.save(tmp_path / "model")
    again = load(tmp_path / "model")
    for joint in (False, True):
        blob = digits.compress(DIGITS, joint=joint)
        assert again.compress(DIGITS, joint=joint) == blob
        np.testing.assert_array_equal(again.decompress(blob), digits.decompress(blob))
    assert again.n_iter_ == digits.n_iter_ > 1


def test_fits_are_the_same_to_the_bit_and_forget_what_was_before(digits):
    again = PCACodec(target_rate=30, quantizer="trellis").fit(DIGITS)
    assert again.fingerprint == digits.fingerprint
    assert again._jointly().fingerprint == digits._jointly().fingerprint
    again.set_params(quantizer="scalar").fit(DIGITS)
    assert not hasattr(again, "joint_quantizers_")
    assert again.fingerprint == PCACodec(target_rate=30).fit(DIGITS).fingerprint


def test_partial_fits_learn_trellises_too():
    X = correlated(8, 3000, 4)
    whole = PCACodec(beta=4.0, quantizer="trellis").fit(X)
    parts = PCACodec(beta=4.0, quantizer="trellis").partial_fit(X[:1200]).partial_fit(X[1200:])
    assert parts.rate(X) == pytest.approx(whole.rate(X), rel=1e-3)
    assert parts.joint_quantizers_.tables.joint


# Joint streams.


@pytest.mark.parametrize("chunk_rows", [None, 1, 7, 100])
def test_joint_streams_come_back_in_chunks(digits, chunk_rows):
    X = DIGITS[:333]
    blob = digits.compress(X, joint=True, chunk_rows=chunk_rows)
    whole = digits.decompress(blob)
    np.testing.assert_array_equal(digits.decompress(blob, rows=slice(120, 260)), whole[120:260])
    # Each chunk begins anew.
    size = chunk_rows or 333
    first = digits.decompress(digits.compress(X[:size], joint=True))
    np.testing.assert_array_equal(whole[:size], first)
    if chunk_rows is None:
        assert not np.array_equal(whole, digits.inverse_transform(digits.transform(X)))


def test_joint_files_are_read_part_by_part(digits, tmp_path):
    path = tmp_path / "table.rd"
    digits.compress_to(DIGITS, path, joint=True, chunk_rows=500)
    parts = list(digits.decompress_from(path))
    assert [len(part) for part in parts] == [500, 500, 500, 297]
    np.testing.assert_array_equal(np.concatenate(parts), digits.decompress(path.read_bytes()))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_joint_streams_say_so(digits, seed):
    rng = np.random.default_rng(seed)
    blob = bytearray(digits.compress(DIGITS[:50], joint=True, chunk_rows=20))
    if seed % 4 == 0:
        del blob[int(rng.integers(len(blob))) :]
    else:
        blob[rng.integers(len(blob))] ^= 1 << rng.integers(8)
    with pytest.raises(CorruptStreamError):
        digits.decompress(bytes(blob))


def test_codecs_without_a_trellis_refuse_joint_streams(digits):
    scalar = PCACodec(target_rate=30).fit(DIGITS)
    with pytest.raises(ValueError, match=r"only a fitted PCACodec\(quantizer='trellis'\)"):
        scalar.compress(DIGITS, joint=True)
    with pytest.raises(ValueError, match="joint='yes' must be True or False"):
        digits.compress(DIGITS, joint="yes")
    with pytest.raises(CorruptStreamError, match="another model"):
        scalar.decompress(digits.compress(DIGITS[:9], joint=True))


def test_prices_beyond_50_bits_have_a_sentence():
    with pytest.raises(ValueError, match="more than 50 bits a value; lower beta"):
        PCACodec(beta=1e40, quantizer="trellis").fit(DIGITS)


def test_a_code_of_fixed_length_has_no_trellis():
    with pytest.raises(ValueError, match="n_bits=3 is a code of fixed length"):
        PCACodec(n_bits=3, quantizer="trellis").fit(DIGITS)


def test_models_whose_trellises_are_swapped_are_refused(digits, tmp_path):
    digits.save(tmp_path / "good")
    again = load(tmp_path / "good")
    again.quantizers_, again.joint_quantizers_ = again.joint_quantizers_, again.quantizers_
    again.save(tmp_path / "bad")
    with pytest.raises(CorruptStreamError, match="trellises"):
        load(tmp_path / "bad")


# Dense nets.


@pytest.mark.parametrize("context", ["none", "causal"])
def test_nets_along_a_trellis(context, tmp_path):
    # Centred, so that reconstructions are not moved to 0, which brings rounding more than paths.
    X = DIGITS - DIGITS.mean(axis=0)
    params = {"beta": 0.2, "max_iter": 60, "random_state": 0, "context": context}
    codec = UniformNoiseCodec(12, quantizer="trellis", **params).fit(X)
    blob = codec.compress(X, chunk_rows=300)
    np.testing.assert_array_equal(
        codec.decompress(blob), codec.inverse_transform(codec.transform(X))
    )
    states = CHUNK_HEAD + (16 if context == "none" else 2)
    payload = 8 * (len(codec.compress(X)) - HEADER - states)
    assert codec.rate(X) == pytest.approx(payload / len(X), rel=0.005)
    np.testing.assert_array_equal(codec.transform(X[5:8]), codec.transform(X)[5:8])
    codec.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").decompress(blob), codec.decompress(blob))
    rounded = UniformNoiseCodec(12, **params).fit(X)
    cost = [c.rate(X) * np.log(2) + 0.2 * c.mean_distortion(X) for c in (codec, rounded)]
    assert cost[0] < cost[1]


@pytest.mark.parametrize("target", [{"target_rate": 20.0}, {"target_distortion": 250.0}])
def test_targets_of_nets(target):
    params = {"max_iter": 60, "random_state": 0, "beta": 0.1}
    codec = UniformNoiseCodec(12, quantizer="trellis", **params, **target).fit(DIGITS)
    reached = codec.rate(DIGITS) if "target_rate" in target else codec.mean_distortion(DIGITS)
    goal = next(iter(target.values()))
    assert 0.95 * goal <= reached <= goal


def test_column_codes_refuse_paths_through_columns(digits):
    with pytest.raises(CorruptStreamError, match="through columns"):
        TrellisColumnCode(digits.joint_quantizers_)
