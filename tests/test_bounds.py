"""What a stream declares is not believed before bytes that could hold it have been seen."""

import io
import tracemalloc

import numpy as np
import pytest
from image_data import fitted, image
from stream_bytes import HEADER, join_stream, split_stream

from rdlearn import DBNBlahutArimoto, PCACodec, UniformNoiseCodec
from rdlearn.coding import container
from rdlearn.exceptions import CorruptStreamError

# Most bytes beside those of declared values, and of each of these.
BASE, A_VALUE = 64 << 20, 12


def peak(call):
    """Result of a call, or the error it ends in, and the most memory it took."""
    tracemalloc.start()
    try:
        result = call()
    except ValueError as error:
        result = error
    finally:
        memory = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return result, memory


def with_header(blob, **changes):
    """A stream whose header says something else, with a right checksum."""
    header = container.read_header(io.BytesIO(blob))
    return container.Header(**{**vars(header), **changes}).to_bytes() + blob[HEADER:]


@pytest.fixture(scope="module")
def silent():
    """A codec of 200 columns that keeps no component, and two rows in a chunk."""
    X = np.random.default_rng(0).normal(size=(50, 200)).astype(np.float32)
    with pytest.warns(UserWarning, match="takes 0 bits per feature"):
        codec = PCACodec(beta=1e-9).fit(X)
    return codec, codec.compress(X[:2])


def test_a_chunk_of_no_symbols_stands_for_no_more_than_its_limit(silent):
    codec, blob = silent
    rows = (1 << 21) // 200
    most = with_header(blob, chunk_rows=rows, n_rows=rows)
    for call in (
        lambda: codec.decompress(most),
        lambda: codec.decompress(most, rows=slice(0, 1)),
        lambda: list(codec.decompress_from(io.BytesIO(most))),
    ):
        result, memory = peak(call)
        assert not isinstance(result, Exception)
        assert memory < BASE + A_VALUE * rows * 200
    for more in (rows + 1, 1 << 20):
        lie = with_header(blob, chunk_rows=more, n_rows=more)
        for call in (
            lambda lie=lie: codec.decompress(lie),
            lambda lie=lie: codec.decompress(lie, rows=slice(0, 1)),
            lambda lie=lie: list(codec.decompress_from(io.BytesIO(lie))),
        ):
            result, memory = peak(call)
            assert isinstance(result, CorruptStreamError) and memory < 1 << 18
    with pytest.raises(ValueError, match=f"between 1 and {rows} for this codec"):
        codec.compress(np.zeros((1, 200)), chunk_rows=rows + 1)


def test_nothing_is_allocated_for_rows_before_a_chunk_of_them_is_right(silent):
    codec, blob = silent
    n_chunks, rows = 3000, (1 << 21) // 200
    head, payloads = split_stream(with_header(blob, chunk_rows=rows, n_rows=n_chunks * rows))
    spoilt = join_stream(head, [payloads[0][:-1] + b"\1"] + payloads * (n_chunks - 1))
    result, memory = peak(lambda: codec.decompress(spoilt))
    assert isinstance(result, CorruptStreamError) and memory < 1 << 20
    # The table of the right one would take 25 GB.
    right = join_stream(head, payloads * n_chunks)
    result, memory = peak(lambda: codec.decompress(right, max_bytes=10**9))
    assert f"{4 * 200 * n_chunks * rows} bytes, more than max_bytes=1000000000" in str(result)
    assert memory < 1 << 20
    assert codec.decompress(right, rows=slice(7, 9), max_bytes=1600).shape == (2, 200)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 4))
    nets = {"hidden_layer_sizes": (), "max_iter": 3, "random_state": 0}
    return X, [
        PCACodec(target_rate=8).fit(X),
        PCACodec(target_rate=8, quantizer="trellis").fit(X),
        UniformNoiseCodec(4, beta=3, context="none", **nets).fit(X),
        UniformNoiseCodec(4, beta=3, context="causal", **nets).fit(X),
        UniformNoiseCodec(4, beta=3, quantizer="centers", **nets).fit(X),
        UniformNoiseCodec(4, beta=3, quantizer="trellis", **nets).fit(X),
        DBNBlahutArimoto(4, max_iter=2, random_state=0).fit(X > 0),
    ]


def test_rows_take_the_least_bits_that_tables_allow(tables):
    X, codecs = tables
    for codec in codecs:
        rows = X > 0 if isinstance(codec, DBNBlahutArimoto) else X
        blob = codec.compress(rows, chunk_rows=400)
        least = codec._tables.least_bits
        assert 0 < least <= codec.rate_samples(rows).min()
        # Rows of one chunk more than its bytes can hold, in a chunk that is not too large.
        many = int(8 * len(blob) / least) + 1
        if many < container.MAX_CHUNK // 4:
            lie = with_header(blob, chunk_rows=many, n_rows=many)
            with pytest.raises(CorruptStreamError, match="truncated"):
                codec.decompress(lie)


def test_max_bytes(tables):
    X, codecs = tables
    codec = codecs[0]
    blob = codec.compress(X, chunk_rows=100)
    for rows, size in ((None, 400 * 32), (slice(10, 20), 320)):
        assert codec.decompress(blob, rows=rows, max_bytes=size).nbytes == size
        with pytest.raises(ValueError, match=f"{size} bytes, more than max_bytes={size - 1}"):
            codec.decompress(blob, rows=rows, max_bytes=size - 1)
    assert len(list(codec.decompress_from(io.BytesIO(blob), max_bytes=3200))) == 4
    with pytest.raises(ValueError, match="chunk declared has 100 x 4 values, 3200 bytes"):
        next(codec.decompress_from(io.BytesIO(blob), max_bytes=3199))
    for wrong in (0, -1, 1.5, "5", True):
        with pytest.raises(ValueError, match="max_bytes=.* must be a positive integer"):
            codec.decompress(blob, max_bytes=wrong)


def test_images_take_twelve_bytes_a_value_to_decode():
    codec = fitted("wavelet")
    data = codec.encode_image(image(1200, 2000, 3))
    result, memory = peak(lambda: codec.decode_image(data, max_bytes=1200 * 2000 * 3))
    assert result.shape == (1200, 2000, 3)
    # Blocks of pixels beside what grows with the image.
    assert memory < 12 * result.size + (4 << 20)
    result, memory = peak(lambda: codec.decode_image(data, max_bytes=1200 * 2000 * 3 - 1))
    assert "1200 x 2000 x 3 values, 7200000 bytes" in str(result) and memory < 1 << 20
