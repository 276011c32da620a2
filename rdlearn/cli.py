"""The command line: curve, fit, compress, decompress and info."""

import argparse
import contextlib
import functools
import os
import sys
import time
import warnings

from rdlearn import (
    EchoAutoencoder,
    PCACodec,
    UniformNoiseCodec,
    VariationalAutoencoder,
    __version__,
    _interrupts,
    load,
)
from rdlearn._arguments import count, folds, jobs, positive, seed, steps
from rdlearn._console import Progress, Warner, sentence, shown
from rdlearn._curve_command import run_curve
from rdlearn._image_command import (
    check_folder,
    compress_image,
    decompress_image,
    is_image,
    per_pixel,
    read_folder,
)
from rdlearn._info_command import price_of, print_facts, run_info, say, unit_of
from rdlearn._signals import ended_by_signals
from rdlearn._standard_streams import STANDARD, leave_streams, output_named, reopen_closed
from rdlearn._table_command import compress_table, decompress_table
from rdlearn._tables_io import check_output, read_table
from rdlearn.distortions import get_distortion

__all__ = ["main"]

CODECS = {
    "pca": PCACodec,
    "echo": EchoAutoencoder,
    "vae": VariationalAutoencoder,
    "iaf": functools.partial(VariationalAutoencoder, flow="iaf"),
    "uniform": UniformNoiseCodec,
}
# Those of the images in a folder.
OF_IMAGES = {
    name: functools.partial(UniformNoiseCodec, architecture=name, data_range=255)
    for name in ("wavelet", "conv")
}
# Those with real bytes, which a model file is for here.
WITH_BYTES = ["pca", "uniform", *OF_IMAGES]
# What bad input or a full disk can raise; anything else is a defect and keeps its traceback.
REFUSALS = (OSError, ValueError, ImportError, MemoryError, OverflowError)


@ended_by_signals()
def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str, default=None
        Arguments; None takes those of the process.

    Returns
    -------
    int
        Exit status: 0, 2 after bad input (one sentence on stderr), 130 when interrupted, 143 or
        129 when ended by SIGTERM or SIGHUP.
    """
    closed = reopen_closed()
    progress = Progress()
    try:
        with _interrupts.caught():
            if closed:
                raise ValueError("Standard output is closed; redirect it to a file or /dev/null.")
            parser = _parser()
            args = parser.parse_args(argv)
            if args.run is None:
                parser.print_help(sys.stderr)
                return 2
            with warnings.catch_warnings():
                warnings.showwarning = Warner()
                args.run(args, progress)
            with output_named():
                sys.stdout.flush()
    except SystemExit as leaving:  # a signal, or argparse after --help or a sentence
        progress.clear()
        return leaving.code
    except KeyboardInterrupt:
        progress.clear()
        return 130
    except BrokenPipeError:  # the reader is gone
        return 1
    except REFUSALS as error:
        given = sys.argv[1:] if argv is None else argv
        with contextlib.suppress(OSError):  # stderr itself may be what cannot be written
            progress.clear()
            print(f"rdlearn: {sentence(error, given)}", file=sys.stderr)
        return 2
    finally:
        leave_streams()
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"rdlearn: {shown(f'{message} (see {self.prog} --help)')}\n")


def _parser():
    parser = _Parser(
        prog="rdlearn",
        description="Lossy compression of tables with exact bits.",
        epilog="example: rdlearn curve --plot curve.png",
    )
    parser.add_argument("--version", action="version", version=f"rdlearn {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND", parser_class=_Parser)

    def command(name, run, help, example):
        sub = commands.add_parser(
            name, help=help, description=help, epilog=f"example: rdlearn {example}"
        )
        sub.set_defaults(run=run)
        return sub

    curve = command(
        "curve",
        _curve,
        "Fit codecs over a grid of prices (beta) and tabulate rate against distortion.",
        "curve table.csv --n-components 5 10 --out curve.csv --plot curve.png",
    )
    curve.add_argument(
        "data",
        nargs="?",
        metavar="DATA",
        help="csv, npy, npz (FILE.npz:array) or parquet file, - for csv on standard input, or the "
        "name of a source with known R(D), such as gaussian or banana; default: the digits of "
        "scikit-learn",
    )
    curve.add_argument("--out", metavar="FILE", help="write the table to a csv or parquet file")
    curve.add_argument("--plot", metavar="FILE", help="draw the curve into a png, pdf or svg file")
    curve.add_argument(
        "--codec",
        nargs="+",
        choices=CODECS,
        default=["pca"],
        help="pca (default) or uniform (nets), real bytes; echo, vae or iaf (nets: the information "
        "in their code)",
    )
    curve.add_argument(
        "--beta",
        nargs="+",
        type=positive,
        metavar="PRICE",
        help="nats per unit of distortion; default: chosen from the spread of the data",
    )
    curve.add_argument(
        "--n-components",
        nargs="+",
        type=count,
        metavar="N",
        help="most components kept, a curve for each; default: all, and 16 of nets",
    )
    curve.add_argument("--cv", type=folds, default=3, metavar="K", help="folds (default: 3)")
    curve.add_argument(
        "--jobs", type=jobs, metavar="N", help="folds fitted at the same time (default: 1)"
    )
    curve.add_argument("--rows", type=count, metavar="N", help="rows drawn from a named source")
    curve.add_argument("--seed", type=seed, default=0, help="of folds and sources (default: 0)")
    _add_loss(curve, default=None)

    fit = command(
        "fit",
        _fit,
        "Learn a codec from a table or a folder of images, cut to the smallest, and save it.",
        "fit table.csv --model m.rdl --target-rate 20",
    )
    fit.add_argument(
        "data",
        metavar="DATA",
        help="csv, npy, npz (FILE.npz:array) or parquet file, - for csv on standard input, or a "
        "folder of images",
    )
    fit.add_argument("--model", required=True, metavar="FILE", help="the model file to write")
    fit.add_argument(
        "--codec",
        choices=WITH_BYTES,
        help="tables: pca (default) or uniform (nets); images: wavelet (default) or conv (nets)",
    )
    fit.add_argument("--beta", type=positive, metavar="PRICE", help="nats per unit of distortion")
    target = fit.add_mutually_exclusive_group()
    target.add_argument("--target-rate", type=positive, metavar="BITS", help="bits per sample")
    target.add_argument(
        "--target-distortion", type=positive, metavar="D", help="distortion per sample"
    )
    fit.add_argument(
        "--n-components", type=count, metavar="N", help="most components kept, of nets the code"
    )
    fit.add_argument(
        "--trellis", action="store_true", help="fewer bytes at the same loss, slower to encode"
    )
    fit.add_argument("--n-bits", type=count, metavar="B", help="of pca: fixed bits a component")
    fit.add_argument("--max-iter", type=count, metavar="N", help="of nets: epochs (default: 200)")
    fit.add_argument("--seed", type=seed, default=0, help="default: 0")
    _add_loss(fit, default="squared_error")

    compress = command(
        "compress",
        _compress,
        "Compress a table or an image with a fitted codec.",
        "compress --model m.rdl table.csv out.rd",
    )
    decompress = command(
        "decompress",
        _decompress,
        "Write the reconstruction of a compressed table or image.",
        "decompress --model m.rdl out.rd back.csv",
    )
    for sub, source, target in (
        (
            compress,
            "csv, npy, npz (FILE.npz:array) or parquet file, or an image; - reads csv from "
            "standard input",
            "compressed file to write, or - for standard output",
        ),
        (
            decompress,
            "file that compress wrote, or - for standard input",
            "csv, npy or parquet file, or image, to write; - writes csv to standard output",
        ),
    ):
        sub.add_argument("--model", required=True, metavar="FILE", help="file that fit wrote")
        sub.add_argument("data", metavar="IN", help=source)
        sub.add_argument("out", metavar="OUT", help=target)
    decompress.add_argument(
        "--max-bytes", type=count, metavar="N", help="refuse larger tables and images, of strangers"
    )
    compress.add_argument(
        "--search-steps", type=steps, default=0, metavar="N", help="of conv: search for the code"
    )
    compress.add_argument(
        "--joint", action="store_true", help="of pca --trellis: code rows together, losing less"
    )

    info = command("info", run_info, "Say what a model or compressed file is.", "info m.rdl")
    info.add_argument("file", metavar="FILE")
    return parser


def _add_loss(parser, default):
    parser.add_argument(
        "--distortion",
        default=default,
        help="squared_error (default), absolute_error, hamming or bernoulli; of images ms_ssim or "
        "nlpd",
    )
    parser.add_argument(
        "--standardize",
        action="store_true",
        help="measure distortion in units of each feature's standard deviation",
    )


def _make_codec(name, **params):
    """A codec with those parameters that were asked for."""
    given = {key: value for key, value in params.items() if value is not None}
    return {**CODECS, **OF_IMAGES}[name]().set_params(**given)


def _curve(args, progress):
    # A sweep covers extremes on purpose; the table says what each of them takes.
    warnings.filterwarnings("ignore", message="The code takes")
    run_curve(args, _make_codec, progress)


def _fit(args, progress):
    if not (args.beta or args.target_rate or args.target_distortion or args.n_bits):
        raise ValueError(
            "Say how much to spend: --target-rate (bits per sample), --target-distortion, --beta "
            "or --n-bits."
        )
    model = check_output(args.model, inputs=[args.data])
    check_folder(args.data)
    images = os.path.isdir(args.data)
    if not images:
        get_distortion(args.distortion)
    name = args.codec or ("wavelet" if images else "pca")
    if (name in OF_IMAGES) != images:
        raise ValueError(
            f"--codec {name} codes {'images' if name in OF_IMAGES else 'tables'}, and {args.data} "
            f"is a {'folder of images' if images else 'table'}; choose another codec."
        )
    for option, value, owners in (
        ("--n-bits", args.n_bits, ("pca",)),
        ("--max-iter", args.max_iter, ("uniform", "conv")),
    ):
        if value is not None and name not in owners:
            raise ValueError(f"{option} is of --codec {' or '.join(owners)}, not of {name}.")
    progress.show(f"reading {args.data}")
    if images:
        X, shape = read_folder(args.data, progress.note)
    else:
        X, shape = read_table(args.data, progress.note), None
    n_samples, n_features = X.shape
    progress.show(f"fitting {n_samples} rows of {n_features} features")
    codec = _make_codec(
        name,
        image_shape=shape,
        beta=args.beta,
        target_rate=args.target_rate,
        target_distortion=args.target_distortion,
        n_components=args.n_components,
        n_bits=args.n_bits,
        quantizer="trellis" if args.trellis else None,
        max_iter=args.max_iter,
        distortion=args.distortion,
        standardize=args.standardize or None,
        random_state=args.seed,
        # A bar would fill a log with lines.
        verbose=progress.terminal or None,
    )
    start = time.perf_counter()
    codec.fit(X).set_params(verbose=False)
    seconds = time.perf_counter() - start
    progress.show("measuring rate and distortion")
    rate, distortion = codec.rate(X), codec.mean_distortion(X)
    codec.save(model)
    progress.clear()
    say(f"{type(codec).__name__} fitted to {n_samples} rows of {n_features} features")
    print_facts(
        rate=f"{rate:.4g} bits per sample, {rate / n_features:.4g} per feature",
        distortion=f"{distortion:.5g} per sample ({unit_of(codec)})",
        **(per_pixel(shape, rate, distortion, codec.distortion_) if images else {}),
        beta=price_of(codec),
        time=f"{seconds:.2f} s",
        model=f"{args.model}, {os.path.getsize(model)} bytes",
        next=f"rdlearn compress --model {args.model} "
        f"{args.data if shape is None else 'photo.png'} out.rd",
    )


def _load_with_bytes(path):
    codec = load(path)
    if not hasattr(codec, "compress"):
        raise ValueError(
            f"{path} holds {type(codec).__name__}, which measures information and writes no "
            "bytes; fit a codec that does, such as pca."
        )
    return codec


def _compress(args, progress):
    codec = _load_with_bytes(args.model)
    out = check_output(args.out, inputs=[args.data, args.model], standard=True)
    if out == STANDARD and sys.stdout.isatty():
        raise ValueError("Compressed bytes are not for a terminal; redirect - or name a file.")
    if is_image(args.data):
        if args.joint:
            raise ValueError(f"--joint codes rows of a table, and {args.data} is an image.")
        compress_image(codec, args, out, progress.note)
        return
    if os.path.isdir(args.data):
        raise ValueError(f"{args.data} is a folder; compress its images one by one.")
    compress_table(codec, args, out, progress)


def _decompress(args, progress):
    codec = _load_with_bytes(args.model)
    if is_image(args.out):
        decompress_image(codec, args)
    else:
        decompress_table(codec, args, progress)
