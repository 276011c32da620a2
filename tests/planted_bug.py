"""Counts the damaged payloads on which a decoder looks beyond the end of its chunk.

Run as ``python planted_bug.py TEXT REPLACEMENT``: a copy of the kernels with TEXT replaced decodes
the mutants of test_fuzz. Each payload lies in a larger buffer, once before zeros and once before
ones: a decoder that checks every read says the same about both. Run by test_fuzz in a process
and a numba cache of its own.
"""

import importlib.util
import pathlib
import sys
import tempfile

import numpy as np
from test_fuzz import mutate

from rdlearn.coding.tables import IntegerTables
from rdlearn.kernels import entropy_coding

HEAD, N_ROWS, N_MUTANTS = 32, 64, 400


def changed_kernels(folder, text, replacement):
    source = pathlib.Path(entropy_coding.__file__).read_text()
    if source.count(text) != 1:
        raise SystemExit(f"{text!r} occurs {source.count(text)} times")
    path = pathlib.Path(folder) / "changed_kernels.py"
    path.write_text(source.replace(text, replacement))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verdict(kernels, tables, payload, filler):
    """Status and symbols of a payload that lies before a stretch of one byte."""
    # Room for every word that the rows could ask for, so that no read leaves the buffer.
    buffer = np.full(len(payload) + 4 * N_ROWS * tables.n_columns, filler, dtype=np.uint8)
    buffer[: len(payload)] = np.frombuffer(payload, dtype=np.uint8)
    raw = buffer[: len(payload)]
    words = raw[HEAD : HEAD + (len(payload) - HEAD) // 2 * 2].view(np.uint16)
    out = np.zeros((tables.n_columns, N_ROWS), dtype=np.int64)
    layout = (tables.low, tables.size, tables.shift, tables.start)
    status = kernels.decode(raw, HEAD, words, *layout, tables._entries, *tables._jump_tables(), out)
    return status, out.tobytes()


def main():
    rng = np.random.default_rng(0)
    symbols = np.rint(rng.normal(0, 100, (2, N_ROWS))).astype(np.int64)
    tables = IntegerTables.fit(symbols.T)
    payload = tables.encode(symbols)
    with tempfile.TemporaryDirectory() as folder:
        kernels = changed_kernels(folder, *sys.argv[1:])
        assert verdict(kernels, tables, payload, 0)[1] == symbols.tobytes()
        found = 0
        for _ in range(N_MUTANTS):
            damaged = mutate(rng, payload)
            if len(damaged) >= HEAD:
                one, two = (verdict(kernels, tables, damaged, filler) for filler in (0, 255))
                found += one != two
    print(found)


if __name__ == "__main__":
    main()
