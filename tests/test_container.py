"""The byte container: layout byte by byte, independent chunks, checks on every field."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdlearn.coding.container import (
    CHUNK_HEAD,
    MAX_CHUNK,
    MAX_VALUES,
    Header,
    chunk_bytes,
    read_chunks,
    read_header,
)
from rdlearn.coding.tables import IntegerTables
from rdlearn.exceptions import CorruptStreamError

PLAIN = settings(deadline=None, derandomize=True, max_examples=60)
PAYLOADS = [b"a" * 50, b"", b"bc" * 40, bytes(range(256))]


def header(**changes):
    fields = {
        "codec": "PCACodec",
        "fingerprint": b"12345678",
        "n_rows": 31,
        "n_features": 5,
        "chunk_rows": 10,
        "dtype": np.dtype(np.float32),
    }
    return Header(**{**fields, **changes})


def stream(payloads=PAYLOADS, **changes):
    chunks = [chunk_bytes(number, payload) for number, payload in enumerate(payloads)]
    return header(**changes).to_bytes() + b"".join(chunks)


def read(data, wanted=range(4)):
    file = io.BytesIO(data)
    return list(read_chunks(file, read_header(file), wanted))


def with_crc(head):
    return head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))


@PLAIN
@given(
    codec=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    fingerprint=st.binary(min_size=8, max_size=8),
    n_rows=st.integers(0, 2**64 - 1),
    n_features=st.integers(1, 2**32 - 1),
    share=st.floats(0, 1),
    dtype=st.sampled_from([np.dtype(np.float32), np.dtype(np.float64)]),
)
def test_header_round_trip(share, **fields):
    most = max(1, min(MAX_CHUNK, MAX_VALUES // fields["n_features"]))
    head = Header(**fields, chunk_rows=max(1, int(share * most)))
    data = head.to_bytes()
    assert len(data) == 54
    assert read_header(io.BytesIO(data + b"more")) == head


@pytest.mark.parametrize("n_features", [1, 2, 3, 200, MAX_VALUES // 2, MAX_VALUES, 2**32 - 1])
def test_a_chunk_holds_no_more_values_than_one_may_decode(n_features):
    most = max(1, min(MAX_CHUNK, MAX_VALUES // n_features))
    for rows in {1, most}:
        head = header(n_features=n_features, chunk_rows=rows)
        assert read_header(io.BytesIO(head.to_bytes())) == head
    head = header(n_features=n_features, chunk_rows=most + 1).to_bytes()
    with pytest.raises(CorruptStreamError, match="impossible shape"):
        read_header(io.BytesIO(head))


def test_header_layout():
    expected = b"RDLS" + bytes([1, 0]) + b"PCACodec" + bytes(12) + b"12345678"
    expected += (31).to_bytes(8, "little") + (5).to_bytes(4, "little") + (10).to_bytes(4, "little")
    assert header().to_bytes() == expected + zlib.crc32(expected).to_bytes(4, "little")
    assert header(dtype=np.dtype(np.float64)).to_bytes()[5] == 1


def test_chunk_layout():
    data = chunk_bytes(3, b"payload")
    checksum = zlib.crc32((3).to_bytes(8, "little") + b"payload")
    assert data == struct.pack("<II", 7, checksum) + b"payload"
    # A chunk's head and the entropy coder's eight states.
    assert CHUNK_HEAD + IntegerTables.least_payload == 8 + 40


def test_a_long_name_is_refused():
    with pytest.raises(ValueError, match="too long"):
        header(codec="A" * 21).to_bytes()


def test_rows_of_chunks():
    head = header(n_rows=31, chunk_rows=10)
    assert head.n_chunks == 4
    assert [head.rows_of(k) for k in range(4)] == [(0, 10), (10, 10), (20, 10), (30, 1)]
    assert header(n_rows=30).n_chunks == 3 and header(n_rows=0).n_chunks == 0


def test_chunks_come_back():
    assert read(stream()) == list(enumerate(PAYLOADS))
    assert read(stream([], n_rows=0), range(0)) == []


class Counting(io.BytesIO):
    """A file that remembers which bytes were read."""

    def __init__(self, data):
        super().__init__(data)
        self.places = set()

    def read(self, size=-1):
        start = self.tell()
        data = super().read(size)
        self.places.update(range(start, start + len(data)))
        return data


@pytest.mark.parametrize("wanted", [range(0, 1), range(1, 3), range(3, 4), range(2, 2)])
def test_only_wanted_payloads_are_read(wanted):
    file = Counting(stream())
    head = read_header(file)
    assert list(read_chunks(file, head, wanted)) == [(k, PAYLOADS[k]) for k in wanted]
    expected, position = set(range(54)), 54
    for number, payload in enumerate(PAYLOADS[: wanted.stop]):
        expected.update(range(position, position + 8))
        if number in wanted:
            expected.update(range(position + 8, position + 8 + len(payload)))
        position += 8 + len(payload)
    assert file.places == expected


def test_damage_elsewhere_does_not_matter():
    data = bytearray(stream())
    data[54 + 8] ^= 1
    assert read(bytes(data), range(1, 4)) == list(enumerate(PAYLOADS))[1:]
    with pytest.raises(CorruptStreamError, match="Chunk 1 of 4 is damaged"):
        read(bytes(data))


def test_every_flipped_bit_is_seen():
    data = stream()
    for place in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << place % 8
        with pytest.raises(CorruptStreamError):
            read(bytes(damaged))


def test_every_truncation_and_extension_is_seen():
    data = stream()
    for length in range(len(data)):
        with pytest.raises(CorruptStreamError):
            read(data[:length])
    with pytest.raises(CorruptStreamError, match="3 bytes after its last chunk"):
        read(data + b"abc")
    # Fewer chunks wanted: what comes later is not looked at.
    assert read(data + b"abc", range(2)) == list(enumerate(PAYLOADS))[:2]


def test_swapped_and_repeated_chunks_are_seen():
    chunks = [chunk_bytes(number, payload) for number, payload in enumerate(PAYLOADS)]
    for order in ([1, 0, 2, 3], [0, 0, 2, 3], [0, 1, 3, 2]):
        data = header().to_bytes() + b"".join(chunks[k] for k in order)
        with pytest.raises(CorruptStreamError, match="damaged"):
            read(data)


def test_foreign_and_later_streams_are_named():
    with pytest.raises(CorruptStreamError, match="not an rdlearn stream"):
        read_header(io.BytesIO(b"PK\x03\x04" + bytes(100)))
    with pytest.raises(CorruptStreamError, match="not an rdlearn stream"):
        read_header(io.BytesIO(b""))
    with pytest.raises(CorruptStreamError, match="less than its header"):
        read_header(io.BytesIO(stream()[:53]))
    later = bytearray(stream())
    later[4] = 2
    with pytest.raises(CorruptStreamError, match="version 2"):
        read_header(io.BytesIO(bytes(later)))


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        (5, b"\x02"),  # dtype
        (42, struct.pack("<I", 0)),  # features
        (46, struct.pack("<I", 0)),  # rows a chunk
        (46, struct.pack("<I", MAX_CHUNK + 1)),
        (46, b"\xff" * 4),
    ],
)
def test_impossible_fields_with_a_right_checksum(offset, value):
    head = header().to_bytes()
    head = with_crc(head[:offset] + value + head[offset + len(value) :])
    with pytest.raises(CorruptStreamError, match="impossible"):
        read_header(io.BytesIO(head))


def test_a_name_of_any_bytes_is_read():
    head = header().to_bytes()
    name = read_header(io.BytesIO(with_crc(head[:6] + b"\xff" * 20 + head[26:]))).codec
    assert isinstance(name, str) and name != "PCACodec"


def test_declared_rows_cost_nothing():
    # 2**60 chunks are declared; reading stops where the bytes do.
    data = stream(n_rows=2**60, chunk_rows=1)
    with pytest.raises(CorruptStreamError, match="before chunk 5 of"):
        read(data, range(2**60))


def test_a_declared_length_allocates_nothing():
    data = header().to_bytes() + struct.pack("<II", 2**32 - 1, 0) + b"short"
    with pytest.raises(CorruptStreamError, match="within chunk 1"):
        read(data)
