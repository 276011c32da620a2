"""Tables in files: csv, npy, npz and parquet, with complaints that name the place and the remedy.

Nothing here knows about codecs. Whoever cannot be served gets a `ValueError` or an `OSError` whose
message is one sentence.
"""

import os
import stat
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np

from rdlearn._persistence import refuse_read_only
from rdlearn._standard_streams import STANDARD, open_input, whole_output

__all__ = [
    "READABLE",
    "WRITABLE",
    "check_output",
    "match_columns",
    "read_table",
    "write_bytes",
    "write_table",
]

READABLE = (".csv", ".npy", ".npz", ".parquet")
WRITABLE = (".csv", ".npy", ".parquet")
# Values looked at together when a table is searched for NaN: a mapped file stays on the disk.
BLOCK_VALUES = 1 << 22


def read_table(name, note):
    """Read a numeric table.

    Parameters
    ----------
    name : str
        Path of a file, its format told by its ending; ``FILE.npz:array`` picks an array, and "-"
        is csv on standard input.
    note : callable
        Called with a sentence about anything that was not taken literally.

    Returns
    -------
    X : DataFrame (csv, parquet) or ndarray of shape (n_rows, n_columns)
        An npy file is mapped, not loaded.
    """
    path, array = name, None
    if ".npz:" in name and not Path(name).exists():
        path, _, array = name.rpartition(":")
    ending = ".csv" if name == STANDARD else _ending(path, READABLE, "read")
    name = "standard input" if name == STANDARD else name
    try:
        with open_input(path) as file:
            if ending == ".csv":
                table = _read_csv(file, name, note)
            elif ending == ".parquet":
                table = _read_parquet(path)
            elif ending == ".npy":
                table = np.lib.format.open_memmap(path, mode="r")
            else:
                table = _read_npz(file, path, array, note)
    except (_Complaint, MemoryError):
        raise
    except Exception as error:
        # Damaged bytes make numpy, zipfile and pyarrow raise errors of many kinds, TypeError and
        # RuntimeError among them. A file that cannot be opened already has its sentence.
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{name} cannot be read as {ending[1:]}: {reason}") from None
    if isinstance(table, np.ndarray):
        table = _as_matrix(table, name, note)
        _check_array(table, name)
    else:
        table.columns = table.columns.astype(str)
        _check_frame(table, name)
    return table


def check_output(name, endings=None, inputs=(), standard=False):
    """Raise before the work starts where `name` could not be written when it ends.

    `standard` says whether "-" is standard output.

    Returns
    -------
    path : str
        Where to write; a link is followed, so that it is not replaced by a file.
    """
    if name == STANDARD:
        if standard:
            return name
        raise ValueError("- names standard output, which is not written here; name a file.")
    if endings is not None:
        _ending(name, endings, "written")
    path = os.path.realpath(name)
    for other in inputs:
        if os.path.realpath(other) == path:
            raise ValueError(f"{name} is both read and written; name another output.")
    if os.path.isdir(path):
        raise ValueError(f"{name} is a folder; name a file in it.")
    if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{name} is not a regular file; name one that may be replaced.")
    refuse_read_only(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise ValueError(f"{name} cannot be written: there is no folder {folder}.")
    try:
        # Permission bits do not tell everything (read-only mounts): try.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ValueError(f"{name} cannot be written: {error.strerror} in {folder}.") from None
    return path


def write_table(path, frames, n_rows):
    """Write a table that comes in pieces, whole or not at all.

    Parameters
    ----------
    path : str
        Ends in csv, npy or parquet, or is "-" for csv on standard output. Only parquet is
        collected in memory.
    frames : iterable of DataFrame
    n_rows : int
        Rows of all pieces together.

    Returns
    -------
    int
        Bytes written.
    """
    frames = iter(frames)
    with whole_output(path) as file:
        if path == STANDARD or path.lower().endswith(".csv"):
            for number, frame in enumerate(frames):
                text = frame.to_csv(index=False, header=number == 0, lineterminator="\n")
                file.write(text.encode())
        elif path.lower().endswith(".npy"):
            _write_npy(file, frames, n_rows)
        else:
            import pandas as pd

            file.write(_parquet(pd.concat(list(frames), ignore_index=True)))
        return file.tell()


def write_bytes(path, data):
    """Write bytes, whole or not at all."""
    with whole_output(path) as file:
        file.write(data)


class _Complaint(ValueError):
    """A sentence that needs no preface."""


def _ending(path, known, use):
    ending = Path(path).suffix.lower()
    if ending not in known:
        listed = ", ".join(known[:-1]) + " or " + known[-1]
        raise ValueError(f"{path} has an ending that cannot be {use}; use {listed}.")
    return ending


def _read_csv(file, name, note):
    import pandas as pd

    def read(**more):
        file.seek(0)
        return pd.read_csv(file, **options, **more)

    options = {"low_memory": False}
    if tuple(map(int, pd.__version__.split(".")[:2])) < (3, 1):
        # From 3.1 on every number is read exactly, and the option is deprecated.
        options["float_precision"] = "round_trip"
    first = read(header=None, nrows=1)
    if first.shape[1] == 1 and isinstance(first.iloc[0, 0], str):
        for mark, title in ((";", "semicolons"), ("\t", "tabs")):
            if mark in first.iloc[0, 0]:
                raise _Complaint(f"{name} separates its columns by {title}; use commas.")
    numbers = all(kind.kind in "iuf" for kind in first.dtypes)
    # 0, 1, 2, ... is the header pandas writes for a table without names, a blank before it or not.
    names = first.iloc[0].tolist()
    names = names[1:] if names[0] != names[0] else names
    if numbers and names != list(range(len(names))):
        note(f"{name} has no header line: its columns are called x0, x1, ...")
        frame = read(header=None)
        return frame.set_axis([f"x{j}" for j in range(frame.shape[1])], axis=1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = read(index_col=False)
    except pd.errors.ParserWarning:
        raise _Complaint(f"{name} has more values in a row than names in its header.") from None
    if str(frame.columns[0]) == "Unnamed: 0":
        note(
            f"the first column of {name} has no name and counts as data; if it is an index, write "
            "the file without it (to_csv(index=False))."
        )
    return frame


def _read_parquet(path):
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError:
        raise _Complaint("Reading parquet needs pyarrow: pip install pyarrow.") from None


def _parquet(frame):
    try:
        return frame.to_parquet(index=False)
    except ImportError:
        raise ValueError("Writing parquet needs pyarrow: pip install pyarrow.") from None


def _read_npz(file, path, name, note):
    if not zipfile.is_zipfile(file):
        raise _Complaint(f"{path} is not an npz file: it is no zip archive.")
    file.seek(0)
    with np.load(file, allow_pickle=False) as archive:
        if name is None and len(archive.files) == 1:
            name = archive.files[0]
        if name is None:
            shapes = {key: _shape(archive, key) for key in archive.files}
            tables = [key for key, shape in shapes.items() if shape and len(shape) >= 2]
            if len(tables) != 1:
                listed = ", ".join(f"{key} {shape or ''}".strip() for key, shape in shapes.items())
                raise _Complaint(
                    f"{path} holds {len(tables)} tables among its arrays ({listed}); name the one "
                    f"to read, as in {path}:{(tables or list(shapes) or ['NAME'])[0]}."
                )
            name = tables[0]
            others = ", ".join(key for key in archive.files if key != name)
            note(f"{path} holds {len(shapes)} arrays: {name} is read, {others} left out.")
        if name not in archive.files:
            raise _Complaint(f"{path} has no array {name!r}, only {', '.join(archive.files)}.")
        return archive[name]


def _shape(archive, key):
    try:
        return archive[key].shape
    except ValueError:  # an array of objects, which is no table
        return None


def _as_matrix(array, name, note):
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {array.dtype} values; convert them to numbers.")
    if array.ndim < 2:
        raise ValueError(
            f"{name} has shape {array.shape}; rows and columns are needed, as in "
            "X.reshape(-1, 1) for a single column."
        )
    if array.ndim > 2:
        note(f"{name} has shape {array.shape}: each row is flattened to {array[0].size} columns.")
        array = array.reshape(len(array), -1)
    if 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}: there is nothing in it.")
    return array


def _check_array(array, name):
    if array.dtype.kind != "f":
        return
    rows = max(1, BLOCK_VALUES // array.shape[1])
    for start in range(0, len(array), rows):
        wrong = ~np.isfinite(array[start : start + rows])
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            row += start
            _refuse_value(name, column, row, array[row, column])


def _check_frame(frame, name):
    import pandas as pd

    if 0 in frame.shape:
        raise ValueError(f"{name} has {len(frame)} rows and {frame.shape[1]} columns of data.")
    for label, column in frame.items():
        kind = column.dtype
        if not pd.api.types.is_numeric_dtype(kind) or pd.api.types.is_complex_dtype(kind):
            row = _first(pd.to_numeric(column.astype(str), errors="coerce").isna())
            raise ValueError(
                f"{name}: column {label!r} is not numeric ({column.iloc[row]!r} in row {row + 1}); "
                "leave it out or encode it as numbers."
            )
        wrong = ~np.isfinite(column.to_numpy(np.float64, na_value=np.nan))
        if wrong.any():
            row = _first(wrong)
            _refuse_value(name, label, row, column.iloc[row])


def _first(flags):
    return int(np.argmax(flags))


def _refuse_value(name, column, row, value):
    infinite = isinstance(value, float | np.floating) and np.isinf(value)
    what = "an infinite value" if infinite else "no value (NaN)"
    place = repr(column) if isinstance(column, str) else f"{column} (counted from 0)"
    raise ValueError(
        f"{name}: column {place} has {what} in row {row + 1} (counted from 1, without a header); "
        "put a number there or drop the row."
    )


def _write_npy(file, frames, n_rows):
    for number, frame in enumerate(frames):
        if number == 0:
            kinds = set(frame.dtypes)
            kind = kinds.pop() if len(kinds) == 1 else np.dtype(np.float64)
            dtype = kind if isinstance(kind, np.dtype) else np.dtype(np.float64)
            header = {
                "descr": np.lib.format.dtype_to_descr(dtype),
                "fortran_order": False,
                "shape": (n_rows, frame.shape[1]),
            }
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(frame.to_numpy(dtype)).tobytes())


def match_columns(codec, X, name):
    """The table with its columns in the model's order."""
    names = getattr(codec, "feature_names_in_", None)
    if not hasattr(X, "columns"):
        return X
    if names is None:
        return X.to_numpy(np.result_type(*(_float_of(kind) for kind in X.dtypes)))
    missing = [label for label in names if label not in X.columns]
    extra = [label for label in X.columns if label not in names]
    for labels, verb in ((missing, "lacks"), (extra, "has, unlike the model,")):
        if labels:
            listed = ", ".join(map(repr, labels[:5])) + (", ..." if len(labels) > 5 else "")
            noun = "column" if len(labels) == 1 else "columns"
            raise ValueError(f"{name} {verb} the {noun} {listed} (the model has {len(names)}).")
    return X[list(names)]


def _float_of(kind):
    return np.float32 if kind == np.float32 else np.float64
