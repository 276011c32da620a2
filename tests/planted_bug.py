"""Counts the damaged payloads on which a decoder looks beyond the end of its chunk.

Copies of the kernels, as they are and with one bounds check planted out, decode the same mutants
of test_fuzz. Each payload lies in a larger buffer, once before zeros and once before ones: a
decoder that checks every read says the same about both. Prints a count for each copy. Run by
test_fuzz in a process and a numba cache of its own.
"""

import importlib.util
import pathlib
import tempfile

import numpy as np
from test_fuzz import mutate

from rdlearn.coding.tables import IntegerTables
from rdlearn.kernels import entropy_coding

HEAD, N_ROWS, N_MUTANTS = 40, 64, 400
PLANTED = {
    "intact": ("", ""),
    "eight_at_once": (" and p + N_LANES <= n_words", ""),
    "off_by_one": ("x < STATE_LOW and p >= n_words", "x < STATE_LOW and p > n_words"),
}


def changed_kernels(folder, name):
    text, replacement = PLANTED[name]
    source = pathlib.Path(entropy_coding.__file__).read_text()
    assert name == "intact" or source.count(text) == 1
    path = pathlib.Path(folder) / f"{name}.py"
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
    mutants = [mutate(rng, payload) for _ in range(N_MUTANTS)]
    with tempfile.TemporaryDirectory() as folder:
        for name in PLANTED:
            kernels = changed_kernels(folder, name)
            assert verdict(kernels, tables, payload, 0)[1] == symbols.tobytes()
            found = 0
            for damaged in mutants:
                if len(damaged) >= HEAD:
                    zeros, ones = (verdict(kernels, tables, damaged, byte) for byte in (0, 255))
                    found += zeros != ones
            print(name, found)


if __name__ == "__main__":
    main()
