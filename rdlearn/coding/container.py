"""The byte container: a checked header, then independent chunks of rows.

Header (54 bytes): magic, version, dtype, codec name, model fingerprint, rows, features, rows a
chunk, CRC32. Chunk: length of its payload, CRC32 over its number and payload, payload. With
the entropy coder's 40 bytes of states a chunk has 48 bytes of fixed cost.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from rdlearn.exceptions import CorruptStreamError

__all__ = [
    "CHUNK_HEAD",
    "MAX_CHUNK",
    "MAX_VALUES",
    "Header",
    "chunk_bytes",
    "read_chunks",
    "read_header",
]

MAGIC = b"RDLS"
VERSION = 1
DTYPES = (np.dtype(np.float32), np.dtype(np.float64))
# Symbols a chunk may hold (rows, where rows have no symbols), and values of the table it stands
# for; a single row may have more. Both bound what a decoder allocates before it sees more bytes.
MAX_CHUNK, MAX_VALUES = 1 << 20, 1 << 21
_HEAD = struct.Struct("<4sBB20s8sQIII")
_CHUNK = struct.Struct("<II")
CHUNK_HEAD = _CHUNK.size


@dataclass(frozen=True)
class Header:
    """What a stream declares about itself."""

    codec: str
    fingerprint: bytes
    n_rows: int
    n_features: int
    chunk_rows: int
    dtype: np.dtype

    @property
    def n_chunks(self):
        return -(-self.n_rows // self.chunk_rows)

    def rows_of(self, chunk):
        """First row and number of rows of a chunk."""
        first = chunk * self.chunk_rows
        return first, min(self.chunk_rows, self.n_rows - first)

    def to_bytes(self):
        if len(self.codec) > 20:
            raise ValueError(f"{self.codec!r} is too long: a stream names its codec in 20 bytes.")
        fields = (
            MAGIC,
            VERSION,
            DTYPES.index(self.dtype),
            self.codec.encode("ascii"),
            self.fingerprint,
            self.n_rows,
            self.n_features,
            self.chunk_rows,
        )
        head = _HEAD.pack(*fields, 0)
        return head[:-4] + struct.pack("<I", zlib.crc32(head[:-4]))


def read_header(file):
    """The header of a stream, or CorruptStreamError."""
    head = file.read(_HEAD.size)
    if head[:4] != MAGIC:
        raise CorruptStreamError("This is not an rdlearn stream (wrong first bytes).")
    if len(head) < _HEAD.size:
        raise CorruptStreamError(f"The stream holds {len(head)} bytes, less than its header.")
    _, version, dtype, codec, fingerprint, n_rows, n_features, chunk_rows, crc = _HEAD.unpack(head)
    if version != VERSION:
        raise CorruptStreamError(f"The stream has version {version}; this rdlearn reads {VERSION}.")
    if zlib.crc32(head[:-4]) != crc:
        raise CorruptStreamError("The stream's header is damaged (wrong checksum).")
    large = chunk_rows > 1 and chunk_rows * n_features > MAX_VALUES
    if dtype >= len(DTYPES) or not 1 <= chunk_rows <= MAX_CHUNK or n_features < 1 or large:
        raise CorruptStreamError("The stream's header declares an impossible shape or dtype.")
    name = codec.rstrip(b"\0").decode("ascii", "replace")
    return Header(name, fingerprint, n_rows, n_features, chunk_rows, DTYPES[dtype])


def chunk_bytes(number, payload):
    """One chunk, ready to be written."""
    checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<Q", number)))
    return _CHUNK.pack(len(payload), checksum) + payload


def read_chunks(file, header, wanted):
    """Yield (chunk number, payload) of the wanted range of chunks, skipping over the others.

    The range is ascending; the file must seek and stand behind the header. Where the range
    reaches the last chunk, the file must end there.
    """
    position = file.tell()
    end = file.seek(0, 2)
    for number in range(wanted.stop):
        file.seek(position)
        head = file.read(_CHUNK.size)
        if len(head) < _CHUNK.size:
            raise CorruptStreamError(
                f"The stream ends before chunk {number + 1} of {header.n_chunks}: truncated."
            )
        length, checksum = _CHUNK.unpack(head)
        position += _CHUNK.size + length
        if position > end:
            raise CorruptStreamError(
                f"The stream ends within chunk {number + 1} of {header.n_chunks}: truncated."
            )
        if number in wanted:
            payload = file.read(length)
            if chunk_bytes(number, payload)[: _CHUNK.size] != head:
                raise CorruptStreamError(
                    f"Chunk {number + 1} of {header.n_chunks} is damaged (wrong checksum)."
                )
            yield number, payload
    if wanted.stop == header.n_chunks and position != end:
        raise CorruptStreamError(f"The stream has {end - position} bytes after its last chunk.")
