"""Loaders of real data from the folder that the environment variable RDLEARN_DATA names."""

import os
from numbers import Real
from pathlib import Path

import numpy as np

__all__ = ["load_bsds", "load_kodak", "load_mnist", "load_omniglot"]


def load_mnist(binarize=None, random_state=None):
    """MNIST, 60,000 training and 10,000 test images of handwritten digits, in original order.

    Read from ``mnist.npz`` in the folder that the environment variable ``RDLEARN_DATA`` names;
    where it is not there, fetched from OpenML by `sklearn.datasets.fetch_openml`.

    Parameters
    ----------
    binarize : None, "sample" or float, default=None
        None keeps the grey values. A number gives 1 where the grey value exceeds it.
        ``"sample"`` draws each pixel once, 1 with probability grey value / 255.
    random_state : int, RandomState instance or None, default=None
        Seeds ``"sample"``; the training images are drawn first.

    Returns
    -------
    data : Bunch
        ``X_train`` of shape (60000, 784) and ``X_test`` of shape (10000, 784), uint8, from 0 to
        255 (ink is 255) or 0 and 1; ``y_train`` and ``y_test``, the digits, uint8;
        ``image_shape``, (28, 28).

    Raises
    ------
    ValueError
        If `binarize` is none of the above.
    FileNotFoundError
        If neither the file nor OpenML can be reached.

    Examples
    --------
    >>> from rdlearn.datasets import load_mnist
    >>> load_mnist(binarize="sample", random_state=0).X_train.shape  # doctest: +SKIP
    (60000, 784)
    """
    if not (binarize is None or binarize == "sample" or isinstance(binarize, Real)):
        raise ValueError(f"binarize must be None, 'sample' or a number, got {binarize!r}.")
    paths = _find("mnist.npz")
    data = _read_tables(paths[0]) if paths else _fetch_mnist()
    if binarize == "sample":
        from sklearn.utils import check_random_state

        rng = check_random_state(random_state)
        for part in ("X_train", "X_test"):
            # An integer from 0 to 254 lies below the grey value with probability grey / 255.
            draws = rng.randint(0, 255, size=data[part].shape, dtype=np.uint8)
            data[part] = (draws < data[part]).astype(np.uint8)
    elif binarize is not None:
        for part in ("X_train", "X_test"):
            data[part] = (data[part] > binarize).astype(np.uint8)
    return data


def load_omniglot():
    """Omniglot, drawings of 1,623 handwritten characters, averaged down to 28x28 pixels.

    Read from ``omniglot28.npz`` in the folder that the environment variable ``RDLEARN_DATA``
    names.

    Returns
    -------
    data : Bunch
        ``X_train`` of shape (24345, 784) and ``X_test`` of shape (8070, 784), uint8, from 0 to
        255 (ink is 255); ``y_train`` and ``y_test``, the characters, uint16; ``image_shape``,
        (28, 28).

    Raises
    ------
    FileNotFoundError
        If the file is not there.

    Examples
    --------
    >>> from rdlearn.datasets import load_omniglot
    >>> load_omniglot().X_test.shape  # doctest: +SKIP
    (8070, 784)
    """
    return _read_tables(_require("omniglot28.npz")[0])


def load_kodak():
    """Photographs of the Kodak set, 768x512 or 512x768 RGB.

    Read from ``kodak/*.png`` in the folder that the environment variable ``RDLEARN_DATA`` names.

    Returns
    -------
    data : Bunch
        ``images``, a list of uint8 arrays of shape (height, width, 3); ``names``, the list of
        their file names, sorted.

    Raises
    ------
    FileNotFoundError
        If the folder holds no such file.
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> from rdlearn.datasets import load_kodak
    >>> load_kodak().images[0].shape  # doctest: +SKIP
    (512, 768, 3)
    """
    return _read_images("kodak/*.png")


def load_bsds(split="train"):
    """Photographs of the Berkeley segmentation data set BSDS500, 481x321 or 321x481 RGB.

    Read from ``bsds500/train/*.jpg`` or ``bsds500/val/*.jpg`` in the folder that the environment
    variable ``RDLEARN_DATA`` names. For non-commercial research.

    Parameters
    ----------
    split : {"train", "val"}, default="train"
        200 images for training or 100 for validation.

    Returns
    -------
    data : Bunch
        ``images``, a list of uint8 arrays of shape (height, width, 3); ``names``, the list of
        their file names, sorted.

    Raises
    ------
    ValueError
        If there is no such split.
    FileNotFoundError
        If the folder holds no such file.
    ImportError
        If Pillow is not installed.

    Examples
    --------
    >>> from rdlearn.datasets import load_bsds
    >>> len(load_bsds("val").images)  # doctest: +SKIP
    100
    """
    if split not in ("train", "val"):
        raise ValueError(f"split must be 'train' or 'val', got {split!r}.")
    return _read_images(f"bsds500/{split}/*.jpg")


def _find(pattern):
    folder = os.environ.get("RDLEARN_DATA")
    return sorted(Path(folder).glob(pattern)) if folder else []


def _require(pattern):
    paths = _find(pattern)
    if not paths:
        raise FileNotFoundError(
            f"{pattern} is missing: set the environment variable RDLEARN_DATA to a folder that "
            "holds it."
        )
    return paths


def _read_tables(path):
    from sklearn.utils import Bunch

    with np.load(path, allow_pickle=False) as arrays:
        data = Bunch(**arrays)
    data.image_shape = data.X_train.shape[1:]
    for part in ("X_train", "X_test"):
        data[part] = data[part].reshape(len(data[part]), -1)
    return data


def _fetch_mnist():
    from sklearn.datasets import fetch_openml
    from sklearn.utils import Bunch

    try:
        # Without retries: each would warn, and without a network none succeeds.
        X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, n_retries=0)
    except OSError as error:
        raise FileNotFoundError(
            "MNIST is missing: set the environment variable RDLEARN_DATA to a folder that holds "
            "mnist.npz, or connect to the network so that scikit-learn can fetch it from OpenML."
        ) from error
    X, y = X.astype(np.uint8), y.astype(np.uint8)
    n_train = 60_000  # OpenML keeps the original order, training images first
    return Bunch(
        X_train=X[:n_train],
        y_train=y[:n_train],
        X_test=X[n_train:],
        y_test=y[n_train:],
        image_shape=(28, 28),
    )


def _read_images(pattern):
    from sklearn.utils import Bunch

    paths = _require(pattern)
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            "Reading images needs Pillow: install it with pip install 'rdlearn[plot]'."
        ) from error
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.array(image.convert("RGB")))
    return Bunch(images=images, names=[path.name for path in paths])
