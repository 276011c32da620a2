"""`rdlearn info`, and facts about codecs in words."""

import os
import sys

from rdlearn import _persistence, load
from rdlearn._console import printable
from rdlearn._image_stream import MAGIC as IMAGE_MAGIC
from rdlearn._image_stream import read_image_head
from rdlearn._standard_streams import STANDARD
from rdlearn.coding import container

__all__ = ["price_of", "print_facts", "run_info", "say", "unit_of"]


def run_info(args, progress):
    """Say what the file is; `progress` is not needed."""
    if args.file == STANDARD:
        raise ValueError("info reads no standard input (-); name a file.")
    with open(args.file, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        if magic == container.MAGIC:
            header = container.read_header(file)
            for _ in container.read_chunks(file, header, range(header.n_chunks)):
                pass  # the checksum of each chunk is checked on the way
            return _info_stream(args.file, header)
    if magic[: len(IMAGE_MAGIC)] == IMAGE_MAGIC:
        return _info_image(args.file)
    if magic != _persistence.MAGIC:
        raise ValueError(f"{args.file} is neither a model nor a compressed file of rdlearn.")
    return _info_model(args.file)


def _info_model(path):
    codec = load(path)
    params = {key: value for key, value in codec.get_params().items() if value is not None}
    names = getattr(codec, "feature_names_in_", None)
    listed = ""
    if names is not None:
        listed = ": " + ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    last = codec.history_.iloc[-1]
    say(f"{path}: model, {type(codec).__name__}")
    facts = {
        "written_by": f"rdlearn {_persistence.read(path)['version']}",
        "parameters": ", ".join(f"{key}={value!r}" for key, value in params.items()),
        "features": f"{codec.n_features_in_}{listed}",
        "components": f"{len(codec.get_feature_names_out())}",
    }
    if hasattr(codec, "beta_"):
        facts["beta"] = price_of(codec)
    if "rate_bits" in last and "distortion" in last:
        # Of nets what the last epoch saw, while the weights changed.
        when = ", as training ended" if hasattr(codec, "params_") else ""
        facts["rate"] = f"{last['rate_bits']:.4g} bits per training sample{when}"
        facts["distortion"] = f"{last['distortion']:.5g} per training sample ({unit_of(codec)})"
    estimate = getattr(codec, "rate_distortion_estimate_", None)
    if estimate is not None:
        facts["channel"] = (
            f"{estimate['rate_bits']:.4g} bits and {estimate['distortion']:.4g} "
            f"{codec.distortion_.unit} per training sample"
        )
    if hasattr(codec, "quantizers_"):
        tables = codec.quantizers_.side_information_bits() // 8
        facts["tables"] = f"{tables} of {os.path.getsize(path)} bytes"
    if getattr(codec, "_has_code", hasattr(codec, "compress")):
        facts["fingerprint"] = codec.fingerprint.hex()
    if hasattr(codec, "joint_quantizers_"):
        facts["of_joint_streams"] = codec._jointly().fingerprint.hex()
    print_facts(**facts)


def _info_stream(path, header):
    size = os.path.getsize(path)
    say(f"{path}: compressed table, {header.codec}")
    print_facts(
        rows=f"{header.n_rows} of {header.n_features} features, {header.dtype}",
        chunks=f"{header.n_chunks} of at most {header.chunk_rows} rows, checksums right",
        size=f"{size} bytes, {size / max(header.n_rows, 1):.4g} per row",
        fingerprint=f"{header.fingerprint.hex()} (of the model)",
    )


def _info_image(path):
    with open(path, "rb") as file:
        head = read_image_head(file.read())
    size = os.path.getsize(path)
    say(f"{path}: compressed image, {'grey' if head.grey else 'colour'}")
    print_facts(
        pixels=f"{head.width} x {head.height}",
        size=f"{size} bytes, {8 * size / (head.width * head.height):.4g} bits per pixel",
        fingerprint=f"{head.fingerprint.hex()} (of the model)",
    )


def unit_of(codec):
    if not hasattr(codec, "distortion_"):
        return "nats of cross-entropy"
    return codec.distortion_.unit + (", standardized" if codec.standardize else "")


def price_of(codec):
    if getattr(codec, "n_bits", None):
        return f"not used: {codec.n_bits} fixed bits for every component"
    return f"{codec.beta_:.4g} nats per unit of distortion"


def print_facts(output=None, **facts):
    """A line for each fact; on stderr where `output`, a file's name, is standard output."""
    width = max(map(len, facts))
    for name, value in facts.items():
        say(f"  {name.replace('_', ' '):<{width}}  {value}", output)


def say(text, output=None):
    """Print a line, `printable` since it may hold names out of files."""
    print(printable(text), file=sys.stderr if output == STANDARD else None)
