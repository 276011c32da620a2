"""Codecs with real bytes: symbols, integer tables and the container behind one interface."""

import contextlib
import hashlib
import io
import math
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from rdlearn import _persistence
from rdlearn._dtypes import check_dtypes, restored
from rdlearn._saving import remembered
from rdlearn.base import BaseCodec
from rdlearn.coding import container
from rdlearn.exceptions import CorruptStreamError

__all__ = ["DiscreteCodec", "check_size"]


class DiscreteCodec(BaseCodec):
    """A codec whose code is integers under frozen tables.

    A subclass supplies `_quantize` (rows to symbols), `_dequantize` (symbols to codes), `_decode`
    (codes to rows), `_tables` and `_decoder_state`.
    """

    def _quantize(self, X):
        """Symbols (n_symbols, n_samples) of validated X."""
        raise NotImplementedError

    def _dequantize(self, symbols, dtype):
        """Codes (n_samples, n_components) of symbols."""
        raise NotImplementedError

    def _decode(self, Z):
        """Reconstruction of validated codes Z, in their dtype."""
        raise NotImplementedError

    @property
    def _tables(self):
        """The IntegerTables of the symbols."""
        raise NotImplementedError

    def _decoder_state(self):
        """Everything the decoder uses, for the fingerprint in each stream."""
        raise NotImplementedError

    def _begin(self, X, reset):
        X = super()._begin(X, reset)
        if reset and hasattr(self, "feature_dtypes_"):
            check_dtypes(self._column_names(), self.feature_dtypes_)
        return X

    def transform(self, X):
        """Code of each row: the values the decoder sees.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), dtype of X
            A row's code does not depend on the other rows.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from rdlearn import PCACodec
        >>> X = load_digits().data
        >>> codec = PCACodec(n_components=8, target_rate=20).fit(X)
        >>> codec.transform(X).shape
        (1797, 8)
        """
        return self._transform(self._check_input(X))

    def _transform(self, X):
        return self._dequantize(self._quantize(X), X.dtype)

    def inverse_transform(self, Z):
        """Reconstruction of codes.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)

        Returns
        -------
        X_hat : ndarray of shape (n_samples, n_features), dtype of Z

        Raises
        ------
        ValueError
            Z does not have the columns of a code of this model.
        """
        return self._decode(self._validate_code(Z))

    def _reconstruct(self, X):
        return self._decode(self._transform(X))

    def _rate_samples(self, X):
        return self._tables.code_length(self._quantize(X))

    def _coded(self, X):
        symbols = self._quantize(X)
        X_hat = self._decode(self._dequantize(symbols, X.dtype))
        return [X_hat], self._tables.code_length(symbols)

    @property
    @remembered
    def fingerprint(self):
        """Eight bytes that tell this decoder from any other; every stream carries them."""
        check_is_fitted(self)
        state = {"class": type(self).__name__, **self._decoder_state()}
        return hashlib.blake2b(_persistence.pack(state), digest_size=8).digest()

    def _jointly(self):
        """The codec of ``joint=True``: this one but for its symbols and their tables."""
        raise ValueError(
            "joint=True codes the rows of a chunk along a trellis, which only a fitted "
            "PCACodec(quantizer='trellis') has; fit one, or leave it out."
        )

    def _most_chunk_rows(self):
        symbols = max(1, self._tables.n_columns)
        most = min(container.MAX_CHUNK // symbols, container.MAX_VALUES // self.n_features_in_)
        return max(1, most)

    def compress(self, X, *, chunk_rows=None, joint=False):
        """Compress a table to bytes.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
        chunk_rows : int, default=None
            Rows of a chunk, the unit that can be decoded alone. A chunk has a fixed cost of 8
            bytes, and of 6 (contexts and bits) or 40 (all others) for the entropy coder. None
            takes the most a chunk can hold: 2**20 symbols and 2**21 values of the table.
        joint : bool, default=False
            Of ``PCACodec(quantizer="trellis")``: code the rows of a chunk together, along each
            component, which `transform` cannot do. In as many bits less is lost, most where
            components are few and chunks have a thousand rows or more; below a hundred, or where
            columns are sparse and discrete, more may be. Targets are met by these streams too, as
            far as their own tables allow; `rate` and `mean_distortion` are those of single rows.

        Returns
        -------
        bytes
            `decompress` gives ``inverse_transform(transform(X))``, bit for bit, but with `joint`.

        Raises
        ------
        ValueError
            X is not what `transform` takes, `chunk_rows` is out of range, or the codec has no
            trellis to code jointly by.
        """
        file = io.BytesIO()
        self.compress_to(X, file, chunk_rows=chunk_rows, joint=joint)
        return file.getvalue()

    def compress_to(self, X, file, *, chunk_rows=None, joint=False):
        """Compress a table to a file, chunk by chunk, in memory that its length does not change.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            A memory-mapped array is read a chunk at a time.
        file : str, path-like or binary file object
            A path is written whole or not at all.
        chunk_rows : int, default=None
        joint : bool, default=False
            As for `compress`.

        Raises
        ------
        ValueError
            As for `compress`; a chunk read late may be the one that is refused.
        """
        check_is_fitted(self)
        if not isinstance(joint, bool | np.bool_):
            raise ValueError(f"joint={joint!r} must be True or False.")
        codec = self._jointly() if joint else self
        if not hasattr(X, "shape"):
            X = np.asarray(X)
        if len(X.shape) != 2 or X.shape[0] == 0:
            # One place words the complaint.
            self._validate(X)
        most = codec._most_chunk_rows()
        if chunk_rows is None:
            chunk_rows = most
        elif not (isinstance(chunk_rows, Integral) and 1 <= chunk_rows <= most):
            raise ValueError(
                f"chunk_rows={chunk_rows!r} must be an integer between 1 and {most} for this "
                "codec; None takes the most."
            )
        rows = X.iloc if hasattr(X, "iloc") else X
        first = self._validate(rows[:1])
        header = container.Header(
            codec=type(self).__name__,
            fingerprint=codec.fingerprint,
            n_rows=X.shape[0],
            n_features=self.n_features_in_,
            chunk_rows=int(chunk_rows),
            dtype=first.dtype,
        )
        with _open_for_writing(file) as out:
            out.write(header.to_bytes())
            for number in range(header.n_chunks):
                start, count = header.rows_of(number)
                chunk = self._check_input(rows[start : start + count])
                symbols = codec._quantize(chunk.astype(header.dtype, copy=False))
                out.write(container.chunk_bytes(number, codec._tables.encode(symbols)))

    def decompress(self, data, *, rows=None, as_frame=False, max_bytes=None):
        """Reconstruction from the bytes of `compress`.

        Parameters
        ----------
        data : bytes-like
        rows : slice, default=None
            Rows wanted; only their chunks are read and checked.
        as_frame : bool, default=False
            Return a DataFrame with the column names and dtypes seen in `fit`; integer columns
            are rounded, texts and categories that were read as numbers are floats. Names that are
            no strings come back as x0, x1, ...; row labels are not part of a stream.
        max_bytes : int, default=None
            Most bytes of the array that is returned, for streams from strangers: a chunk of 48
            bytes may stand for 2**21 values where the model keeps no component. None: no limit.

        Returns
        -------
        ndarray of shape (n_rows, n_features), dtype of the compressed table; or DataFrame

        Raises
        ------
        CorruptStreamError
            The stream is damaged, truncated, or was written by another model.
        ValueError
            The rows wanted take more than `max_bytes`.
        TypeError
            `rows` is not a slice.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from rdlearn import PCACodec
        >>> X = load_digits().data
        >>> codec = PCACodec(target_rate=20).fit(X)
        >>> blob = codec.compress(X, chunk_rows=100)
        >>> codec.decompress(blob, rows=slice(150, 160)).shape
        (10, 64)
        """
        file = io.BytesIO(memoryview(data))
        codec, header = self._read_header(file)
        wanted = range(header.n_rows)[slice(None) if rows is None else _checked_slice(rows)]
        # From the smallest to the largest row wanted, whichever way the slice runs.
        low = high = 0
        if wanted:
            low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
        check_size("table", (high - low, header.n_features), header.dtype, max_bytes)
        out = None
        for start, part in codec._decode_chunks(file, header, low, high):
            if out is None:
                # Not before a chunk has turned out to be what the header says.
                out = np.empty((high - low, header.n_features), dtype=header.dtype)
            first, last = max(start, low), min(start + len(part), high)
            out[first - low : last - low] = part[first - start : last - start]
        if out is None:
            out = np.empty((0, header.n_features), dtype=header.dtype)
        if wanted and wanted.step < 0:
            out = out[::-1]
        out = np.ascontiguousarray(out[:: abs(wanted.step)])
        return self._as_frame(out) if as_frame else out

    def decompress_from(self, file, *, as_frame=False, max_bytes=None):
        """Iterate over the reconstruction of a compressed file, chunk by chunk.

        Parameters
        ----------
        file : str, path-like or seekable binary file object
            An object is read from where it stands to its end.
        as_frame : bool, default=False
            As for `decompress`.
        max_bytes : int, default=None
            Most bytes of the array of a chunk; None: no limit.

        Yields
        ------
        ndarray of shape (chunk_rows, n_features), or DataFrame

        Raises
        ------
        CorruptStreamError
            As for `decompress`, as soon as the iteration gets there.
        """
        with _open_for_reading(file) as stream:
            codec, header = self._read_header(stream)
            shape = min(header.chunk_rows, header.n_rows), header.n_features
            check_size("chunk", shape, header.dtype, max_bytes)
            for _, part in codec._decode_chunks(stream, header, 0, header.n_rows):
                yield self._as_frame(part) if as_frame else part

    def _read_header(self, file):
        """The codec that wrote a stream, this one or its joint form, and the header."""
        check_is_fitted(self)
        header, codec = container.read_header(file), self
        if header.fingerprint != self.fingerprint:
            with contextlib.suppress(ValueError):
                codec = self._jointly()
        if header.codec != type(self).__name__ or header.fingerprint != codec.fingerprint:
            raise CorruptStreamError(
                f"The stream was written by another model ({header.codec}, fingerprint "
                f"{header.fingerprint.hex()}) than this {type(self).__name__} "
                f"({self.fingerprint.hex()}); load the model it was compressed with."
            )
        symbols = header.chunk_rows * codec._tables.n_columns
        # A single row may hold more symbols: images do.
        large = header.chunk_rows > 1 and symbols > container.MAX_CHUNK
        if header.n_features != self.n_features_in_ or large:
            raise CorruptStreamError("The stream's header does not fit the model's shape.")
        # Chunks and symbols take bytes, so the declared rows are bounded by the bytes there are.
        position = file.tell()
        present = file.seek(0, io.SEEK_END) - position
        file.seek(position)
        least = header.n_chunks * (container.CHUNK_HEAD + codec._tables.least_payload)
        if max(least, header.n_rows * codec._tables.least_bits / 8) > present:
            raise CorruptStreamError(
                f"The stream declares {header.n_rows} rows in {header.n_chunks} chunks but holds "
                f"only {present} bytes: truncated."
            )
        return codec, header

    def _decode_chunks(self, file, header, low, high):
        """Yield (first row, rows) of the chunks that hold rows low to high."""
        chunks = range(low // header.chunk_rows, -(-high // header.chunk_rows))
        for number, payload in container.read_chunks(file, header, chunks):
            start, count = header.rows_of(number)
            symbols = self._tables.decode(payload, count)
            yield start, self._decode(self._dequantize(symbols, header.dtype))

    def _as_frame(self, X):
        import pandas as pd

        frame = pd.DataFrame(X, columns=self._column_names())
        # By position: names may repeat.
        for j, kind in enumerate(getattr(self, "feature_dtypes_", [])):
            frame.isetitem(j, restored(frame.iloc[:, j], kind))
        return frame

    def _column_names(self):
        if hasattr(self, "feature_names_in_"):
            return self.feature_names_in_
        return [f"x{j}" for j in range(self.n_features_in_)]


def check_size(what, shape, dtype, max_bytes):
    """ValueError where an array would take more than `max_bytes`, which is None or a number."""
    _persistence.check_limit(max_bytes)
    size = math.prod(map(int, shape)) * np.dtype(dtype).itemsize
    if max_bytes is not None and size > max_bytes:
        raise ValueError(
            f"The {what} declared has {' x '.join(map(str, shape))} values, {size} bytes, more "
            f"than max_bytes={max_bytes}; raise it if the source is to be trusted."
        )


def _checked_slice(rows):
    if not isinstance(rows, slice):
        raise TypeError(f"rows={rows!r} must be a slice, such as slice(100, 200), or None.")
    return rows


@contextlib.contextmanager
def _open_for_writing(file):
    if hasattr(file, "write"):
        yield file
    else:
        with _persistence.whole_file(file) as out:
            yield out


@contextlib.contextmanager
def _open_for_reading(file):
    if hasattr(file, "read"):
        yield file
    else:
        with open(file, "rb") as stream:
            yield stream
