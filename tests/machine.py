"""Digests of what golden models code and decode, as JSON: run on machines that should agree.

``python machine.py MODULE`` first puts another module in zlib's place.
"""

import hashlib
import importlib
import json
import sys
import warnings
from pathlib import Path

GOLDEN = Path(__file__).with_name("golden")


def digest(data):
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def main(modules):
    for name in modules:
        sys.modules["zlib"] = importlib.import_module(name)
    # Whole numbers wrap around on purpose, of which only the interpreter warns.
    warnings.simplefilter("ignore", RuntimeWarning)
    import numpy as np

    from rdlearn import load

    found = {}
    for path in sorted(GOLDEN.glob("*.model")):
        name, codec = path.stem, load(path)
        found[f"{name} fingerprint"] = codec.fingerprint.hex()
        with np.load(GOLDEN / f"{name}.npz") as arrays:
            arrays = dict(arrays)
        if "decoded" in arrays:
            found |= tables(name, codec, arrays["decoded"])
        for kind in {"colour", "grey", "pixel"} & set(arrays):
            data = (GOLDEN / f"{name}_{kind}.image").read_bytes()
            found[f"{name} {kind} pixels"] = digest(codec.decode_image(data).tobytes())
            found[f"{name} {kind} bytes"] = digest(codec.encode_image(arrays[kind]))
            # Whole numbers hide what floats lose: look at a larger image before it is rounded.
            transform = codec._image_transform()
            pixels = np.arange(40 * 70 * 3).reshape(40, 70, 3) ** 2 % 251
            values = transform.analyse(pixels)
            found[f"{name} coefficients"] = digest(values.tobytes())
            image = transform.synthesise(values, *pixels.shape[:2])
            found[f"{name} floats"] = digest(image.tobytes())
    print(json.dumps(found))


def tables(name, codec, rows):
    """Digests of a stream's values and of the symbols and bytes of the rows it stands for."""
    stream = (GOLDEN / f"{name}.stream").read_bytes()
    found = {f"{name} symbols": digest(codec._quantize(rows).tobytes())}
    found[f"{name} bytes"] = digest(codec.compress(rows))
    # Nets' decoders call functions of the machine's own library.
    values = codec.decompress(stream)
    found[f"{name} values"] = digest(values.tobytes()) if "params_" not in vars(codec) else ""
    joint = GOLDEN / f"{name}_joint.stream"
    if joint.exists():
        found[f"{name} joint values"] = digest(codec.decompress(joint.read_bytes()).tobytes())
        found[f"{name} joint bytes"] = digest(codec.compress(rows, joint=True))
    return found


if __name__ == "__main__":
    main(sys.argv[1:])
