"""Columns that a codec of floats would change without a word are refused, and named."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from rdlearn import EchoAutoencoder, PCACodec, UniformNoiseCodec
from rdlearn._dtypes import check_dtypes, restored
from rdlearn.exceptions import CorruptStreamError

# The first integer that no float of 64 bits is.
ODD = 2**53 + 1
N = 40


def frame(**columns):
    values = np.random.default_rng(0).normal(size=N)
    return pd.DataFrame({"x": values, **columns})


LARGE = np.arange(N, dtype=np.int64) + ODD
TABLES = {
    "int64": frame(id=LARGE),
    "negative": frame(id=-LARGE),
    "uint64": frame(id=LARGE.astype(np.uint64) + np.uint64(2**63)),
    "nullable": frame(id=pd.array(LARGE, dtype="Int64")),
    "missing": frame(id=pd.array([None, *LARGE[1:]], dtype="Int64")),
    "sparse": frame(id=pd.arrays.SparseArray(LARGE)),
    "object": frame(id=pd.Series(LARGE.tolist(), dtype=object)),
}


@pytest.mark.parametrize("name", TABLES)
def test_integers_that_floats_would_round_are_refused(name):
    with pytest.raises(ValueError, match=r"Column 'id' holds the integer -?\d+, beyond 2\*\*53"):
        PCACodec().fit(TABLES[name])


def test_integers_of_arrow_are_refused():
    pytest.importorskip("pyarrow")
    table = frame(id=pd.Series(LARGE, dtype="int64[pyarrow]"))
    with pytest.raises(ValueError, match="Column 'id' holds the integer"):
        PCACodec().fit(table)


@pytest.mark.parametrize("kind", ["Int64", "int64[pyarrow]", "object", "float64"])
def test_columns_of_missing_values_are_called_that(kind):
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="contains NaN in row 0 of column 'c'"):
        PCACodec().fit(frame(c=pd.Series([None] * N, dtype=kind)))


@pytest.mark.parametrize("kind", [np.int64, object, list])
def test_arrays_and_lists_are_looked_at_too(kind):
    X = np.stack([np.arange(N), LARGE], axis=1)
    X = X.tolist() if kind is list else X.astype(kind)
    for codec in (PCACodec(), UniformNoiseCodec(max_iter=1), EchoAutoencoder(max_iter=1)):
        with pytest.raises(ValueError, match="Column 1 holds the integer 9007199254740993"):
            codec.fit(X)


def test_integers_beside_floats_are_looked_at_too():
    X = [[2**53 + 1 + i, i * 0.5] for i in range(N)]
    with pytest.raises(ValueError, match="Column 0 holds the integer 9007199254740993"):
        PCACodec().fit(X)
    codec = PCACodec(beta=1e-3).fit([[float(i), -(1.5**i)] for i in range(20)])
    # Large floats are what they are.
    assert codec.rate([[0.0, -(2.0**54)], [1.0, -1.0]]) > 0


def test_sparse_matrices_have_the_sentence_of_scikit_learn():
    for kind in (int, float):
        with pytest.raises(TypeError, match="Sparse data was passed"):
            PCACodec().fit(csr_matrix(np.eye(5, dtype=kind)))


def test_later_tables_are_looked_at_and_the_largest_float_is_not_refused():
    X = np.stack([np.arange(N), np.arange(N) - 20], axis=1)
    codec = PCACodec(target_rate=8).fit(X)
    edge = X.copy()
    edge[0, 1] = 2**53
    with pytest.raises(ValueError, match="too many steps"):
        codec.transform(edge)
    edge[0, 1] = -ODD
    for call in (codec.transform, codec.compress, codec.rate, codec.score):
        with pytest.raises(ValueError, match="Column 1 holds the integer -9007199254740993"):
            call(edge)


@pytest.mark.filterwarnings("ignore:pandas.DataFrame with sparse columns", "ignore:The code spends")
@pytest.mark.parametrize(
    "column",
    [
        pd.arrays.SparseArray(np.arange(N) % 3),
        pd.arrays.SparseArray(np.linspace(0, 1, N)),
        "decimal",
    ],
)
def test_columns_that_would_not_come_back_are_refused_at_fit(column):
    if isinstance(column, str):
        pa = pytest.importorskip("pyarrow")
        numbers = [Decimal(i) / 4 for i in range(N)]
        column = pd.Series(numbers, dtype=pd.ArrowDtype(pa.decimal128(8, 2)))
    with pytest.raises(ValueError, match=r"Column 'c' has dtype .*could not return it; convert"):
        PCACodec().fit(frame(c=column))
    # A codec without bytes has nothing to give back.
    EchoAutoencoder(2, max_iter=1).fit(frame(c=column))


def test_what_is_accepted_at_fit_comes_back():
    pytest.importorskip("pyarrow")
    numbers = np.arange(N) % 5 == 0
    for kind in ("bool", "int8", "uint64", "float32", "Int16", "boolean", "Float64"):
        table = frame(c=pd.Series(numbers, dtype=bool).astype(kind))
        codec = PCACodec(target_rate=20).fit(table)
        back = codec.decompress(codec.compress(table), as_frame=True)
        assert list(back.dtypes) == list(table.dtypes)
    for kind in ("int32[pyarrow]", "double[pyarrow]", "bool[pyarrow]"):
        check_dtypes(["c"], [kind])


@pytest.mark.parametrize("kind", ["object", "category"])
def test_texts_and_categories_of_numbers_come_back_as_floats(kind):
    table = frame(c=pd.Series([str(i % 3) for i in range(N)], dtype=object).astype(kind))
    codec = PCACodec(target_rate=20).fit(table)
    back = codec.decompress(codec.compress(table), as_frame=True)
    assert back["c"].dtype == np.float64


@pytest.mark.parametrize(
    "kind", ["datetime64[ns]", "timedelta64[s]", "complex128", "S99", "no dtype", "x" * 9999]
)
def test_dtypes_of_hostile_models_are_refused(kind):
    with pytest.raises(CorruptStreamError) as error:
        restored(pd.Series([0.0, 1.0]), kind)
    assert len(str(error.value)) < 200
