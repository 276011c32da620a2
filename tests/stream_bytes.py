"""Streams taken apart and put together again, by the layout of `rdlearn.coding.container`."""

import struct
import zlib

HEADER = 54


def split_stream(data):
    payloads, position = [], HEADER
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position)
        payloads.append(data[position + 8 : position + 8 + length])
        position += 8 + length
    return data[:HEADER], payloads


def header_checksum(head):
    return head[:50] + struct.pack("<I", zlib.crc32(head[:50]))


def join_stream(head, payloads):
    chunks = []
    for number, payload in enumerate(payloads):
        checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<Q", number)))
        chunks.append(struct.pack("<II", len(payload), checksum) + payload)
    return header_checksum(head) + b"".join(chunks)


def repaired_checksums(data):
    """A damaged stream with every checksum right, by its own declared lengths."""
    data = bytearray(data)
    if len(data) >= HEADER:
        data[:HEADER] = header_checksum(bytes(data[:HEADER]))
    position, number = HEADER, 0
    while position + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, position)
        payload = bytes(data[position + 8 : position + 8 + length])
        checksum = zlib.crc32(payload, zlib.crc32(struct.pack("<Q", number)))
        struct.pack_into("<I", data, position + 4, checksum)
        position, number = position + 8 + length, number + 1
    return bytes(data)
