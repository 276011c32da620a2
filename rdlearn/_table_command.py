"""`rdlearn compress` and `decompress` of tables."""

import os
import time

from rdlearn._discrete import check_size
from rdlearn._image_stream import MAGIC
from rdlearn._info_command import print_facts
from rdlearn._standard_streams import open_input, whole_output
from rdlearn._tables_io import WRITABLE, check_output, match_columns, read_table, write_table
from rdlearn.coding import container

__all__ = ["compress_table", "decompress_table"]


def compress_table(codec, args, out, progress):
    """Compress a table, say what it took."""
    progress.show(f"reading {args.data}")
    X = match_columns(codec, read_table(args.data, progress.note), args.data)
    progress.show(f"compressing {len(X)} rows")
    start = time.perf_counter()
    with whole_output(out) as file:
        codec.compress_to(X, file, joint=args.joint)
        after = file.tell()
    seconds = time.perf_counter() - start
    progress.clear()
    with open_input(args.data.partition(".npz:")[0]) as file:
        before = file.seek(0, os.SEEK_END)
    model = os.path.getsize(args.model)
    print_facts(
        args.out,
        read=f"{args.data}, {before} bytes, {len(X)} rows",
        written=f"{args.out}, {after} bytes, {8 * after / len(X):.4g} bits per sample with headers",
        ratio=f"{before / after:.4g} to 1; {before / (after + model):.4g} to 1 with the model's "
        f"{model} bytes",
        time=f"{seconds:.2f} s",
    )


def decompress_table(codec, args, progress):
    """Write the reconstruction of a table, piece by piece."""
    out = check_output(args.out, WRITABLE, inputs=[args.data, args.model], standard=True)
    with open_input(args.data) as stream:
        if stream.read(len(MAGIC)) == MAGIC:
            raise ValueError(f"{args.data} holds an image; name a png file to write it to.")
        stream.seek(0)
        header = container.read_header(stream)
        n_rows = header.n_rows
        check_size("table", (n_rows, header.n_features), header.dtype, args.max_bytes)
        stream.seek(0)

        def frames():
            done = 0
            for frame in codec.decompress_from(stream, as_frame=True):
                done += len(frame)
                if progress.terminal:  # elsewhere each chunk would be a line
                    progress.show(f"decompressing: {done} of {n_rows} rows")
                yield frame

        start = time.perf_counter()
        size = write_table(out, frames(), n_rows)
    progress.clear()
    print_facts(
        args.out,
        written=f"{args.out}, {size} bytes, {n_rows} rows of {codec.n_features_in_} columns",
        time=f"{time.perf_counter() - start:.2f} s",
    )
