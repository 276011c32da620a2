import io

import numpy as np
import pandas as pd
import pytest

from rdlearn import PCACodec


@pytest.fixture(scope="module")
def table():
    return np.random.default_rng(0).standard_normal((400, 3)) * [1.0, 5.0, 0.2]


@pytest.mark.parametrize("value, what", [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "inf")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_bad_entry_is_named_by_row_and_column(table, value, what, dtype):
    X = table.astype(dtype)
    X[17, 1] = value
    with pytest.raises(ValueError, match=rf"contains {what}.* in row 17 of column 1; fill"):
        PCACodec().fit(X)
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    with pytest.raises(ValueError, match=rf"contains {what}.* in row 17 of column 'b'; .* drop"):
        PCACodec().fit(frame)


@pytest.mark.parametrize(
    "column",
    [
        pd.date_range("2026-01-01", periods=400),
        pd.date_range("2026-01-01", periods=400, tz="UTC"),
        pd.timedelta_range("1 day", periods=400),
        pd.period_range("2026-01", periods=400, freq="D"),
        ["red", "green"] * 200,
        pd.Categorical(["red", "green"] * 200),
    ],
)
def test_a_column_that_is_no_number_is_named(table, column):
    frame = pd.DataFrame(table, columns=["a", "b", "c"]).assign(when=column)
    with pytest.raises(ValueError, match="Column 'when' has dtype .*not numeric; encode it"):
        PCACodec().fit(frame)


def test_numbers_in_other_clothes_are_welcome(table):
    frame = pd.DataFrame(
        {
            "nullable": pd.array(np.arange(400), dtype="Int64"),
            "text": pd.Series([str(v) for v in range(400)], dtype=object),
            "category": pd.Categorical(np.arange(400) % 7),
        }
    )
    assert PCACodec(target_rate=9).fit(frame).rate(frame) <= 9


@pytest.mark.parametrize("value", [1e18, -1e30, 1e300])
def test_a_value_that_no_symbol_holds_is_refused_and_named(table, value):
    codec = PCACodec(beta=10.0).fit(table)
    X = np.repeat(table[:3], 700, axis=0)
    X[1500, 1] = value
    for call in (codec.transform, codec.compress, codec.rate):
        with pytest.raises(ValueError, match=r"Row 1500 holds .* in column 'x1', too many steps"):
            call(X)


@pytest.mark.parametrize("value", [1e20, -1e20])
def test_both_sides_are_watched(table, value):
    codec = PCACodec(beta=10.0).fit(table[:, :1])
    with pytest.raises(ValueError, match="Row 0 holds .*1e[+]20 in column 'x0', too many steps"):
        codec.compress([[value]])


@pytest.mark.parametrize("beta, scale", [(1e36, 1.0), (1e308, 1.0), (1.0, 1e18)])
def test_a_price_beyond_the_units_is_refused(table, beta, scale):
    with pytest.raises(ValueError, match=r"beta=.* asks for steps of .*target_rate"):
        PCACodec(beta=beta).fit(table * scale)


def test_a_tiny_price_is_a_warning_not_an_error(table):
    with pytest.warns(UserWarning, match="The code takes 0 bits"):
        assert PCACodec(beta=1e-308).fit(table).rate(table) == 0


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failed_fit_leaves_the_codec_as_it_was(table, method):
    codec = getattr(PCACodec(beta=3.0), method)(table)
    blob, before = codec.compress(table), codec.fingerprint
    with pytest.raises(ValueError, match="out of reach"):
        getattr(codec.set_params(target_rate=1e9), method)(table * 100)
    assert codec.fingerprint == before
    assert codec.compress(table) == blob
    if method == "partial_fit":
        codec.set_params(target_rate=None).partial_fit(table)
        assert codec.n_samples_seen_ == 2 * len(table)


def test_a_failed_first_fit_leaves_nothing(table):
    codec = PCACodec(target_rate=1e9)
    parameters = set(vars(codec))
    with pytest.raises(ValueError, match="out of reach"):
        codec.fit(table)
    assert set(vars(codec)) == parameters


def test_a_constant_table_has_no_target():
    for target in ({"target_rate": 3}, {"target_distortion": 0.1}):
        with pytest.raises(ValueError, match="X is constant, so that no target"):
            PCACodec(**target).fit(np.full((20, 2), 5.0))


def test_a_stream_is_read_from_where_the_file_stands(table):
    codec = PCACodec(beta=3.0).fit(table)
    file = io.BytesIO()
    file.write(b"before")
    codec.compress_to(table, file, chunk_rows=150)
    file.seek(6)
    parts = list(codec.decompress_from(file))
    np.testing.assert_array_equal(np.concatenate(parts), codec.reconstruct(table))


def test_bytes_must_be_bytes(table):
    with pytest.raises(TypeError, match="bytes-like"):
        PCACodec(beta=3.0).fit(table).decompress(None)


def test_a_missing_folder_is_named(table, tmp_path):
    with pytest.raises(FileNotFoundError, match="The folder .*nowhere does not exist; create it"):
        PCACodec(beta=3.0).fit(table).save(tmp_path / "nowhere" / "m.rdl")
