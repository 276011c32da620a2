import sys

import numpy as np
import pytest
import sklearn.datasets

from rdlearn.datasets import load_bsds, load_kodak, load_mnist, load_omniglot

# Largest of a handful of standard normal deviates: beyond 4.5 once in 10^5.
SIGMAS = 4.5


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: load_mnist(binarize="half"), "binarize must be .* got 'half'"),
        (lambda: load_bsds("test"), "split must be 'train' or 'val', got 'test'"),
    ],
)
def test_bad_parameter_is_named_with_its_value(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", refuse)


@pytest.fixture
def data_or_skip(offline):
    def call(loader, *args, **kwargs):
        try:
            return loader(*args, **kwargs)
        except FileNotFoundError as error:
            pytest.skip(str(error))

    return call


def write_tables(path, n_train=6, n_test=4):
    rng = np.random.RandomState(0)
    tables = {
        "X_train": rng.randint(0, 256, (n_train, 5, 3), dtype=np.uint8),
        "y_train": np.arange(n_train, dtype=np.uint8),
        "X_test": rng.randint(0, 256, (n_test, 5, 3), dtype=np.uint8),
        "y_test": np.arange(n_test, dtype=np.uint8),
    }
    np.savez(path, **tables)
    return tables


@pytest.mark.parametrize("folder", [None, "", "absent", "empty"])
@pytest.mark.parametrize(
    "loader, missing",
    [
        (load_mnist, "MNIST"),
        (load_omniglot, "omniglot28.npz"),
        (load_kodak, r"kodak/\*.png"),
        (load_bsds, r"bsds500/train/\*.jpg"),
    ],
)
def test_missing_data_is_one_sentence(offline, monkeypatch, tmp_path, loader, missing, folder):
    for name in ("mnist.npz", "omniglot28.npz", "kodak/a.png", "bsds500/train/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()  # in the working directory, where nobody asked to look
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    if folder is None:
        monkeypatch.delenv("RDLEARN_DATA", raising=False)
    else:
        monkeypatch.setenv("RDLEARN_DATA", folder)
    with pytest.raises(FileNotFoundError, match=rf"^{missing} is missing: .*RDLEARN_DATA.*\.$"):
        loader()


@pytest.mark.parametrize(
    "loader, name", [(load_mnist, "mnist.npz"), (load_omniglot, "omniglot28.npz")]
)
def test_tables_are_read_as_rows(offline, monkeypatch, tmp_path, loader, name):
    tables = write_tables(tmp_path / name)
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    data = loader()
    assert data.image_shape == (5, 3)
    for part in ("train", "test"):
        X = data[f"X_{part}"]
        np.testing.assert_array_equal(X.reshape(-1, 5, 3), tables[f"X_{part}"])
        np.testing.assert_array_equal(data[f"y_{part}"], tables[f"y_{part}"])
        assert X.dtype == np.uint8 and X.ndim == 2


def test_pickled_arrays_are_refused(offline, monkeypatch, tmp_path):
    np.savez(tmp_path / "omniglot28.npz", X_train=np.array([{}], dtype=object))
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load_omniglot()


def test_mnist_falls_back_to_openml(monkeypatch, tmp_path):
    grey = np.random.RandomState(1).randint(0, 256, (70_000, 2))
    digits = np.random.RandomState(2).randint(0, 10, 70_000)

    def fetch(name, *, version, return_X_y, as_frame, n_retries):
        assert (name, version, return_X_y, as_frame) == ("mnist_784", 1, True, False)
        return grey, digits.astype(str).astype(object)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    data = load_mnist()
    assert data.image_shape == (28, 28)
    assert data.X_train.dtype == data.X_test.dtype == data.y_train.dtype == np.uint8
    np.testing.assert_array_equal(data.X_train, grey[:60_000])
    np.testing.assert_array_equal(data.X_test, grey[60_000:])
    np.testing.assert_array_equal(data.y_train, digits[:60_000])
    np.testing.assert_array_equal(data.y_test, digits[60_000:])


@pytest.mark.parametrize("threshold", [0, 127.5, 254])
def test_mnist_threshold(offline, monkeypatch, tmp_path, threshold):
    tables = write_tables(tmp_path / "mnist.npz")
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    data = load_mnist(binarize=threshold)
    for part in ("X_train", "X_test"):
        expected = (tables[part] > threshold).reshape(len(tables[part]), -1)
        np.testing.assert_array_equal(data[part], expected)
        assert data[part].dtype == np.uint8


def test_mnist_pixels_are_drawn_with_their_grey_value(offline, monkeypatch, tmp_path):
    greys = np.array([0, 1, 64, 128, 254, 255], dtype=np.uint8)
    X = np.tile(greys, (30_000, 1)).reshape(-1, 2, 3)
    labels = np.zeros(len(X), dtype=np.uint8)
    np.savez(tmp_path / "mnist.npz", X_train=X, y_train=labels, X_test=X, y_test=labels)
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    data = load_mnist(binarize="sample", random_state=0)
    p = greys / 255
    for part in ("X_train", "X_test"):
        assert set(np.unique(data[part])) == {0, 1} and data[part].dtype == np.uint8
        standard_error = np.sqrt(p * (1 - p) / len(X))
        assert np.all(np.abs(data[part].mean(axis=0) - p) <= SIGMAS * standard_error)
    assert not np.array_equal(data.X_train, data.X_test)
    again = load_mnist(binarize="sample", random_state=np.random.RandomState(0))
    np.testing.assert_array_equal(again.X_train, data.X_train)
    np.testing.assert_array_equal(again.X_test, data.X_test)
    assert not np.array_equal(load_mnist("sample", random_state=1).X_test, data.X_test)


@pytest.mark.parametrize(
    "load, folder, suffix",
    [
        (load_kodak, "kodak", "png"),
        (lambda: load_bsds("train"), "bsds500/train", "jpg"),
        (lambda: load_bsds("val"), "bsds500/val", "jpg"),
    ],
)
def test_images_are_rgb_and_sorted(monkeypatch, tmp_path, load, folder, suffix):
    image = pytest.importorskip("PIL.Image")
    (tmp_path / folder).mkdir(parents=True)
    grey = np.arange(64 * 32, dtype=np.uint8).reshape(64, 32)
    colour = np.full((16, 24, 3), [200, 100, 50], dtype=np.uint8)
    image.fromarray(grey).save(tmp_path / folder / f"b.{suffix}")
    image.fromarray(colour).save(tmp_path / folder / f"a.{suffix}")
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    data = load()
    assert data.names == [f"a.{suffix}", f"b.{suffix}"]
    assert [x.shape for x in data.images] == [(16, 24, 3), (64, 32, 3)]
    assert all(x.dtype == np.uint8 and x.flags.writeable for x in data.images)
    np.testing.assert_allclose(data.images[0], colour, atol=3)  # JPEG loses a little


def test_images_without_pillow_name_the_extra(monkeypatch, tmp_path):
    (tmp_path / "kodak").mkdir()
    (tmp_path / "kodak" / "a.png").touch()
    monkeypatch.setenv("RDLEARN_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"needs Pillow: .* 'rdlearn\[plot\]'"):
        load_kodak()


@pytest.mark.parametrize(
    "loader, n_train, n_test, n_classes",
    [(load_mnist, 60_000, 10_000, 10), (load_omniglot, 24_345, 8_070, 1_623)],
)
def test_real_tables(data_or_skip, loader, n_train, n_test, n_classes):
    data = data_or_skip(loader)
    assert data.X_train.shape == (n_train, 784) and data.X_test.shape == (n_test, 784)
    assert data.y_train.shape == (n_train,) and data.y_test.shape == (n_test,)
    assert data.X_train.dtype == data.X_test.dtype == np.uint8
    assert len(np.union1d(data.y_train, data.y_test)) == n_classes
    assert data.image_shape == (28, 28)
    # Ink is 255 on an empty border.
    assert data.X_test.max() == 255 and data.X_test.reshape(-1, 28, 28)[:, 0].mean() < 10


def test_real_images(data_or_skip):
    kodak = data_or_skip(load_kodak)
    assert {x.shape for x in kodak.images} == {(512, 768, 3), (768, 512, 3)}
    assert len(kodak.images) == len(kodak.names) == 12
    val = data_or_skip(load_bsds, "val")
    assert len(val.images) == 100
    assert {x.shape for x in val.images} <= {(321, 481, 3), (481, 321, 3)}
