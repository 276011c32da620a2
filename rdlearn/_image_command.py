"""Image files on the command line, with complaints that name the file and the remedy."""

import contextlib
import io
import os
import time
import warnings
from pathlib import Path

import numpy as np

from rdlearn._image_stream import MAX_PIXELS, refuse_large
from rdlearn._info_command import print_facts
from rdlearn._standard_streams import open_input, silent_libraries
from rdlearn._tables_io import check_output, write_bytes
from rdlearn.metrics import psnr, psnr_db

__all__ = [
    "check_folder",
    "compress_image",
    "decompress_image",
    "is_image",
    "per_pixel",
    "read_folder",
]

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".jp2")
# Pillow's names of these formats. It would read others under these endings too, some of them by
# starting another program, as Ghostscript for EPS.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "JPEG2000")
# Lossless ones: what a decoded image may be written to.
LOSSLESS = (".png", ".bmp", ".tif", ".tiff")


def is_image(path):
    """Whether a name ends as those of image files do."""
    return os.path.splitext(path)[1].lower() in IMAGES


def _read_image(path, note):
    """A grey (height, width) or colour (height, width, 3) image of a file, uint8.

    ``note(text)`` is told of pictures that are left out.
    """
    image_module, ops = _pillow()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        # Our own limit is lower than the one that Pillow warns of.
        warnings.simplefilter("ignore", image_module.DecompressionBombWarning)
        with _damage_named(path, image_module):
            file = image_module.open(path, formats=FORMATS)
        with file:
            refuse_large(file.height, file.width, path)
            with _damage_named(path, image_module):
                n_frames = getattr(file, "n_frames", 1)
                # Cameras write pixels as the sensor lies, and beside them how to turn it.
                image = ops.exif_transpose(file)
                if image.mode == "P" and "transparency" in image.info:
                    image = image.convert("RGBA")
                elif image.mode in ("1", "P"):
                    image = image.convert("L" if image.mode == "1" else "RGB")
                mode, pixels = image.mode, np.asarray(image)
    for warning in heard:  # of an image that was read nevertheless
        warnings.warn(f"{path}: {warning.message}", stacklevel=2)
    if n_frames > 1:
        note(f"{path} holds {n_frames} pictures: the first is read, the others are left out.")
    if mode not in ("L", "RGB"):
        remedy = "drop its alpha channel" if mode in ("RGBA", "LA") else "save it with 8 bits"
        raise ValueError(
            f"{path} has the pixel format {mode}; {remedy}, as grey or RGB, and try again."
        )
    return pixels


@contextlib.contextmanager
def _damage_named(path, image_module):
    """One sentence for all that Pillow raises of damaged bytes, TypeError and others among it."""
    try:
        with silent_libraries():
            yield
    except image_module.DecompressionBombError:
        raise ValueError(f"{path} has more than {MAX_PIXELS} pixels; encode it in tiles.") from None
    except image_module.UnidentifiedImageError:
        raise ValueError(
            f"{path} cannot be read as an image: it is none of {', '.join(FORMATS)}, or damaged."
        ) from None
    except Exception as error:
        # A file that cannot be opened already has its sentence.
        if isinstance(error, MemoryError) or getattr(error, "filename", None) is not None:
            raise
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image: {reason}") from None


def check_folder(path):
    """Refuse what was meant for a folder of images and is none."""
    if is_image(path):
        raise ValueError(f"{path} is one image; a codec learns from a folder of two or more.")
    if path.endswith(os.sep) and not os.path.isdir(path):
        raise ValueError(f"There is no folder {path}.")


def read_folder(path, note):
    """The images of a folder as rows, all turned to landscape and cut to the smallest.

    ``note(text)`` says what was cut.

    Returns
    -------
    X : ndarray of shape (n_images, n_values), float32
    image_shape : (int, int, int)
    """
    names = sorted(str(file) for file in Path(path).iterdir() if is_image(str(file)))
    if len(names) < 2:
        raise ValueError(
            f"The folder {path} holds {len(names)} images ({', '.join(IMAGES)}); a codec learns "
            "from two or more."
        )
    images = [_read_image(name, note) for name in names]
    colours = {image.ndim for image in images}
    if len(colours) > 1:
        raise ValueError(
            f"The folder {path} holds grey and colour images; keep one kind, or convert the others."
        )
    images = [
        image if image.shape[0] <= image.shape[1] else image.swapaxes(0, 1) for image in images
    ]
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    if any(image.shape[:2] != (height, width) for image in images):
        least = [names[np.argmin([image.shape[axis] for image in images])] for axis in (0, 1)]
        smallest = " and ".join(dict.fromkeys(least))
        note(f"all images are cut to {width} x {height} pixels, the sides of {smallest}")
    rows = np.stack([image[:height, :width].ravel() for image in images]).astype(np.float32)
    return rows, (height, width, rows.shape[1] // (height * width))


def _write_image(path, pixels):
    """Write an image whole or not at all, in the format its name says."""
    file = io.BytesIO()
    kind = {".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".png": "PNG"}
    _pillow()[0].fromarray(pixels).save(file, kind[os.path.splitext(path)[1].lower()])
    write_bytes(path, file.getvalue())


def per_pixel(shape, rate, lost, distortion):
    """Facts about the mean image of a folder, in the units of images."""
    facts = {"pixels": f"{rate / (shape[0] * shape[1]):.4g} bits per pixel"}
    if distortion.name == "squared_error":
        facts["pixels"] += f", {psnr_db(lost / np.prod(shape), 255):.2f} dB PSNR"
    return facts


def compress_image(codec, args, out, note):
    """Encode an image file, say what it took."""
    if not hasattr(codec, "encode_image"):
        raise ValueError(
            f"{args.model} holds {type(codec).__name__}, which codes tables and no images; fit a "
            "codec to a folder of images."
        )
    image = _read_image(args.data, note)
    start = time.perf_counter()
    data = codec.encode_image(image, search_steps=args.search_steps)
    seconds = time.perf_counter() - start
    write_bytes(out, data)
    height, width = image.shape[:2]
    print_facts(
        args.out,
        read=f"{args.data}, {os.path.getsize(args.data)} bytes, {width} x {height} pixels",
        written=f"{args.out}, {len(data)} bytes, {8 * len(data) / (height * width):.4g} bits per "
        "pixel",
        quality=f"{psnr(image, codec.decode_image(data), data_range=255):.2f} dB PSNR",
        time=f"{seconds:.2f} s",
    )


def decompress_image(codec, args):
    """Decode an image into a file."""
    if not hasattr(codec, "decode_image"):
        raise ValueError(f"{args.model} holds {type(codec).__name__}, which codes no images.")
    out = check_output(args.out, LOSSLESS, inputs=[args.data, args.model])
    with open_input(args.data) as file:
        image = codec.decode_image(file.read(), max_bytes=args.max_bytes)
    _write_image(out, image)
    print_facts(
        args.out,
        written=f"{args.out}, {os.path.getsize(out)} bytes, {image.shape[1]} x {image.shape[0]} "
        f"pixels, {'grey' if image.ndim == 2 else 'colour'}",
    )


def _pillow():
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise ImportError("Image files need Pillow: pip install pillow.") from None
    return Image, ImageOps
