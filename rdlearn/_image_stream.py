"""Single images of any size as bytes: the mixin of codecs that have `image_shape`."""

import zlib
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from sklearn.utils import check_scalar
from sklearn.utils.validation import check_is_fitted

from rdlearn._discrete import check_size
from rdlearn.exceptions import CorruptStreamError

__all__ = [
    "MAGIC",
    "MAX_PIXELS",
    "MAX_SIDE",
    "ImageMixin",
    "checked_image_shape",
    "read_image_head",
    "refuse_large",
    "refuse_stack",
]

MAGIC, VERSION = b"RDI", 1
# Bytes before the sizes: magic, version, fingerprint, flags; CRC32 of all the rest ends the head.
FIXED, CHECKSUM = 13, 4
GREY = 1
# An image takes about 20 bytes of memory a pixel and channel while it is coded; nets fill its sides
# up to multiples of their stride, which would make far more of a line of pixels.
MAX_PIXELS, MAX_SIDE = 1 << 26, 1 << 16
WHITE = 255


def checked_image_shape(image_shape, n_features):
    """(height, width, n_channels) whose product is n_features, or ValueError."""
    shape = () if image_shape is None else tuple(image_shape)
    whole = all(isinstance(n, int | np.integer) and n >= 1 for n in shape)
    if len(shape) != 3 or not whole or shape[2] not in (1, 3):
        raise ValueError(
            f"image_shape={image_shape!r} must be (height, width, n_channels) of the images in "
            "the rows of X, with one channel or three."
        )
    if np.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} has {np.prod(shape)} values, but the rows of X have "
            f"{n_features}; set it to the shape of the images that the rows are."
        )
    return tuple(int(n) for n in shape)


def refuse_stack(X):
    """ValueError for images that are not rows."""
    shape = getattr(X, "shape", ())
    if len(shape) == 4:
        raise ValueError(
            f"X has shape {shape}, but each image is a row here: pass X.reshape({shape[0]}, -1) "
            f"and image_shape={shape[1:]}."
        )


class ImageMixin:
    """`encode_image` and `decode_image`.

    A subclass supplies `_encode_pixels` ((height, width, n_channels) and steps of a search to
    payload), `_decode_pixels` (back, from payload, height and width), `image_shape_` and
    `data_range`.
    """

    def encode_image(self, image, *, search_steps=0):
        """Bytes of one image, of any size.

        Parameters
        ----------
        image : ndarray of shape (height, width) or (height, width, n_channels), uint8
            A grey image is welcome to a model of colours, and decodes to a grey one.
        search_steps : int, default=0
            Of ``architecture="conv"`` with ``quantizer="round"``: steps of a search for a code of
            this image that costs less rate plus beta times distortion, by gradient through the
            decoder (Yang, Bamler & Mandt, "Improving inference for neural image compression",
            NeurIPS 2020). Bytes and quality may both rise. A step takes about as long as all of
            an encoding without; decoding takes no longer.

        Returns
        -------
        bytes
            All that `decode_image` needs beside the model: a head of some 20 bytes, payload.

        Raises
        ------
        ValueError
            The image is of another kind, has more than 2**26 pixels or 2**16 in a row or column,
            or `search_steps` is asked of another codec; the sentence says what to do.
        """
        check_is_fitted(self)
        image = self._checked_image(image)
        check_scalar(search_steps, "search_steps", Integral, min_val=0)
        grey = image.ndim == 2
        n_channels = self._image_channels()
        pixels = np.repeat(image[:, :, None], n_channels, axis=2) if grey else image
        pixels = pixels * np.float32(self._white() / WHITE)
        payload = self._encode_pixels(pixels, search_steps)
        head = MAGIC + bytes([VERSION]) + self.fingerprint + bytes([GREY if grey else 0])
        head += _size(image.shape[0]) + _size(image.shape[1])
        checksum = zlib.crc32(payload, zlib.crc32(head))
        return head + checksum.to_bytes(CHECKSUM, "little") + payload

    def decode_image(self, data, *, max_bytes=None):
        """The image in the bytes of `encode_image`.

        Parameters
        ----------
        data : bytes-like
        max_bytes : int, default=None
            Most bytes of the image, for files from strangers; None: 2**26 pixels.

        Returns
        -------
        ndarray of shape (height, width) or (height, width, n_channels), uint8
            Of a wavelet the same on every machine; of nets a pixel may round to its neighbour.
            Values beyond black and white are cut, which `reconstruct` leaves as they are.

        Raises
        ------
        CorruptStreamError
            The bytes are damaged, truncated, or were written by another model.
        ValueError
            The image takes more than `max_bytes`.
        """
        check_is_fitted(self)
        if not isinstance(data, bytes | bytearray | memoryview):
            raise ValueError(
                f"decode_image takes the bytes of encode_image, not {type(data).__name__}; read a "
                "file with open(path, 'rb').read()."
            )
        self._image_channels()  # refuses a codec of tables
        head = read_image_head(bytes(data))
        if head.fingerprint != self.fingerprint:
            raise CorruptStreamError(
                f"The image was written by another model ({head.fingerprint.hex()}) than this one "
                f"({self.fingerprint.hex()}); load the model it was encoded with."
            )
        shape = head.height, head.width, 1 if head.grey else self._image_channels()
        check_size("image", shape, np.uint8, max_bytes)
        pixels = self._decode_pixels(head.payload, head.height, head.width)
        pixels *= WHITE / self._white()
        if head.grey:
            pixels = pixels.mean(axis=2, keepdims=True)
        pixels = np.clip(np.rint(pixels, out=pixels), 0, WHITE, out=pixels).astype(np.uint8)
        return pixels[:, :, 0] if head.grey or pixels.shape[2] == 1 else pixels

    def _image_channels(self):
        if getattr(self, "image_shape_", None) is None:
            raise ValueError(
                f"architecture={self.architecture!r} codes the rows of a table; images of any size "
                "need architecture='wavelet' or 'conv' and image_shape."
            )
        return self.image_shape_[2]

    def _white(self):
        """The model's value of white."""
        return WHITE if self.data_range is None else self.data_range

    def _checked_image(self, image):
        n_channels, image = self._image_channels(), np.asarray(image)
        if image.dtype != np.uint8:
            raise ValueError(
                f"The image holds {image.dtype}, but encode_image takes arrays of uint8, 0 to 255; "
                f"{_remedy(image)}."
            )
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[:, :, 0]
        if image.ndim not in (2, 3) or 0 in image.shape or image.shape[2:] not in ((), (3,)):
            alpha = image.ndim == 3 and image.shape[2] in (2, 4)
            raise ValueError(
                f"The image has shape {image.shape}, but encode_image takes (height, width) or "
                f"(height, width, 3){'; drop its alpha channel with image[..., :-1]' * alpha}."
            )
        if image.ndim == 3 and n_channels == 1:
            raise ValueError(
                "The image has three channels and the model has one; encode each channel by "
                "itself, or fit a model to colour images."
            )
        refuse_large(*image.shape[:2])
        return image


def _remedy(image):
    """How to make uint8 of an array of another kind."""
    if image.dtype.kind not in "buif":
        return "open a file with numpy.asarray(PIL.Image.open(path))"
    if image.dtype == np.uint16:
        return "of 16 bits take (image // 257).astype('uint8')"
    if image.dtype.kind == "f" and image.size and np.nanmax(np.abs(image)) <= 1:
        return "of 0 to 1 take (image * 255).round().astype('uint8')"
    return "of 0 to 255 take image.round().astype('uint8'), and rescale others first"


def refuse_large(height, width, name="The image"):
    """ValueError for an image of more pixels than are coded."""
    if _too_large(height, width):
        raise ValueError(
            f"{name} has {height} x {width} pixels, more than {MAX_PIXELS} in all or {MAX_SIDE} in "
            "a row or column; encode it in tiles."
        )


def _too_large(height, width):
    return height * width > MAX_PIXELS or max(height, width) > MAX_SIDE


@dataclass(frozen=True)
class ImageHead:
    """What the bytes of an image say about it, and the payload behind."""

    fingerprint: bytes
    grey: bool
    height: int
    width: int
    payload: bytes


def read_image_head(data):
    """The ImageHead of the bytes of `encode_image`, or CorruptStreamError."""
    if data[:3] != MAGIC:
        raise CorruptStreamError(
            "This is not an image of rdlearn (wrong first bytes); `decompress` takes the bytes of "
            "tables."
        )
    if len(data) < FIXED + 2 + CHECKSUM:
        raise CorruptStreamError(f"The image holds {len(data)} bytes, less than its head.")
    if data[3] != VERSION:
        raise CorruptStreamError(
            f"The image has format version {data[3]}; this rdlearn reads {VERSION}."
        )
    height, place = _read_size(data, FIXED)
    width, place = _read_size(data, place)
    payload = data[place + CHECKSUM :]
    checksum = zlib.crc32(payload, zlib.crc32(data[:place]))
    if data[place : place + CHECKSUM] != checksum.to_bytes(CHECKSUM, "little"):
        raise CorruptStreamError(
            "The image is damaged or truncated (wrong checksum); fetch it again."
        )
    if _too_large(height, width) or data[12] > GREY:
        raise CorruptStreamError("The image's head declares an impossible size or kind.")
    return ImageHead(data[4:12], data[12] == GREY, height, width, payload)


def _size(n):
    """A positive integer in groups of seven bits."""
    out = bytearray()
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def _read_size(data, place):
    n, shift = 0, 0
    while shift < 35 and place < len(data):
        byte = data[place]
        n, shift, place = n | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            if n == 0:
                break
            return n, place
    raise CorruptStreamError("The image's head declares an impossible size.")
