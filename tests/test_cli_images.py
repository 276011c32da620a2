"""Folders of images and single images on the command line."""

import re

import command_line
import numpy as np
import pytest
from command_line import refused, run

from rdlearn import UniformNoiseCodec, load
from rdlearn.metrics import psnr

Image = pytest.importorskip("PIL.Image")
folder = command_line.folder


def picture(height, width, seed=0, grey=False):
    """A smooth image, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 12
    waves = [np.sin(rng.normal() * y + rng.normal() * x + rng.normal()) for _ in range(3)]
    image = np.stack(waves, axis=-1) * 60 + 128 + rng.normal(0, 3, (height, width, 3))
    image = np.clip(image, 0, 255).astype(np.uint8)
    return image[..., 0] if grey else image


@pytest.fixture
def photos(folder):
    (folder / "photos").mkdir()
    for seed in range(6):
        # Portrait and landscape, of several sizes.
        image = picture(40 + seed, 60 - seed, seed)
        Image.fromarray(image if seed % 2 else image.swapaxes(0, 1)).save(f"photos/{seed}.png")
    (folder / "photos" / "notes.txt").write_text("no image")
    Image.fromarray(picture(33, 70, 9)).save("photo.png")
    return folder


@pytest.fixture
def model(photos, capsys):
    status, out, _ = run(capsys, "fit", "photos", "--model", "m.rdl", "--beta", 0.02)
    assert status == 0 and "photo.png out.rd" in out
    said = re.search(r"pixels +([\d.]+) bits per pixel, ([\d.]+) dB", out).groups()
    codec = load("m.rdl")
    rate, lost = (float(a) for a in codec.history_[["rate_bits", "distortion"]].iloc[-1])
    assert float(said[0]) == pytest.approx(rate / (40 * 55), rel=1e-3)
    assert float(said[1]) == pytest.approx(10 * np.log10(255**2 * 40 * 55 * 3 / lost), abs=0.01)
    return photos


def test_a_folder_of_images_is_fitted_by_a_wavelet(model):
    codec = load("m.rdl")
    assert isinstance(codec, UniformNoiseCodec)
    # The smallest sides of all, turned to landscape.
    assert (codec.architecture_, codec.image_shape_) == ("wavelet", (40, 55, 3))
    assert (codec.context, codec.data_range) == (UniformNoiseCodec().context, 255)


def test_an_image_goes_there_and_back(model, capsys):
    status, out, _ = run(capsys, "compress", "--model", "m.rdl", "photo.png", "photo.rd")
    before = np.asarray(Image.open("photo.png"))
    data = (model / "photo.rd").read_bytes()
    assert status == 0 and "70 x 33 pixels" in out and f"{len(data)} bytes" in out
    assert data == load("m.rdl").encode_image(before)
    status, out, _ = run(capsys, "info", "photo.rd")
    assert status == 0 and "compressed image, colour" in out and "70 x 33" in out
    for name in ("back.png", "back.tif", "back.bmp"):
        status, out, _ = run(capsys, "decompress", "--model", "m.rdl", "photo.rd", name)
        after = np.asarray(Image.open(name))
        assert status == 0 and "70 x 33 pixels, colour" in out
        np.testing.assert_array_equal(after, load("m.rdl").decode_image(data))
    assert psnr(before, after, data_range=255) > 30


def test_grey_and_palette_images_are_read(model, capsys):
    Image.fromarray(picture(20, 30, grey=True)).save("grey.png")
    Image.fromarray(picture(20, 30)).quantize(16).save("palette.png")
    for name, kind in (("grey.png", "grey"), ("palette.png", "colour")):
        assert run(capsys, "compress", "--model", "m.rdl", name, "x.rd")[0] == 0
        out = run(capsys, "decompress", "--model", "m.rdl", "x.rd", "x.png")[1]
        assert f"30 x 20 pixels, {kind}" in out


def test_what_is_no_image_for_the_model_gets_a_sentence(model, capsys):
    Image.fromarray(np.dstack([picture(9, 9), np.full((9, 9), 7, np.uint8)])).save("alpha.png")
    Image.fromarray(np.arange(81, dtype=np.uint16).reshape(9, 9)).save("deep.png")
    (model / "broken.png").write_bytes(b"\x89PNG and no more")
    compress = ["compress", "--model", "m.rdl"]
    assert "alpha" in refused(capsys, *compress, "alpha.png", "x.rd")
    assert "8 bits" in refused(capsys, *compress, "deep.png", "x.rd")
    assert "cannot be read as an image" in refused(capsys, *compress, "broken.png", "x.rd")
    assert "No such file" in refused(capsys, *compress, "absent.png", "x.rd")
    run(capsys, *compress, "photo.png", "photo.rd")
    decompress = ["decompress", "--model", "m.rdl"]
    assert "name a png" in refused(capsys, *decompress, "photo.rd", "back.csv")
    assert "use .png" in refused(capsys, *decompress, "photo.rd", "back.jpg")
    (model / "cut.rd").write_bytes((model / "photo.rd").read_bytes()[:-3])
    assert "damaged or truncated" in refused(capsys, *decompress, "cut.rd", "back.png")
    assert not (model / "back.png").exists() and not (model / "x.rd").exists()


def test_codecs_and_data_must_go_together(model, capsys):
    np.save("t.npy", np.random.default_rng(0).normal(size=(50, 3)))
    fit = ["--model", "x.rdl", "--beta", 1]
    assert "codes tables" in refused(capsys, "fit", "photos", *fit, "--codec", "pca")
    assert "codes images" in refused(capsys, "fit", "t.npy", *fit, "--codec", "wavelet")
    run(capsys, "fit", "t.npy", "--model", "t.rdl", "--target-rate", 6)
    assert "no images" in refused(capsys, "compress", "--model", "t.rdl", "photo.png", "x.rd")
    assert "no images" in refused(capsys, "decompress", "--model", "t.rdl", "x.rd", "x.png")
    (model / "empty").mkdir()
    assert "holds 0 images" in refused(capsys, "fit", "empty", *fit)
    Image.fromarray(picture(40, 60, grey=True)).save("photos/grey.png")
    assert "grey and colour" in refused(capsys, "fit", "photos", *fit)


def test_pixels_are_read_as_a_viewer_shows_them(model, capsys):
    def coded(name):
        assert run(capsys, "compress", "--model", "m.rdl", name, "o.rd")[0] == 0
        assert run(capsys, "decompress", "--model", "m.rdl", "o.rd", "back.png")[0] == 0
        with Image.open("back.png") as back:
            return back.mode, back.size

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(30, 50)).save("turned.jpg", exif=exif, quality=95)
    assert coded("turned.jpg")[1] == (30, 50)
    Image.fromarray(picture(30, 50, grey=True) > 128).save("bits.png")
    assert coded("bits.png")[0] == "L"
    palette = Image.fromarray(picture(30, 50)).quantize(16)
    palette.save("palette.png")
    assert coded("palette.png")[0] == "RGB"
    palette.save("through.png", transparency=3)
    assert "alpha channel" in refused(capsys, "compress", "--model", "m.rdl", "through.png", "o.rd")


def test_what_is_cut_is_said(photos, capsys):
    _, _, err = run(capsys, "fit", "photos", "--model", "m.rdl", "--beta", 0.02)
    assert "cut to 55 x 40 pixels, the sides of photos/0.png and photos/5.png" in err


def test_options_and_sources_that_do_not_fit(model, capsys):
    fit = ["--model", "x.rdl", "--beta", 1]
    assert "--n-bits is of --codec pca, not of wavelet" in refused(
        capsys, "fit", "photos", *fit, "--n-bits", 3
    )
    assert "--max-iter is of --codec uniform or conv, not of wavelet" in refused(
        capsys, "fit", "photos", *fit, "--max-iter", 3
    )
    assert "one image" in refused(capsys, "fit", "photo.png", *fit)
    assert "no folder nope/" in refused(capsys, "fit", "nope/", *fit)
    compress = ["compress", "--model", "m.rdl"]
    assert "one by one" in refused(capsys, *compress, "photos", "o.rd")
    assert "search_steps=3 searches" in refused(
        capsys, *compress, "photo.png", "o.rd", "--search-steps", 3
    )
    assert "whole number of 0" in refused(
        capsys, *compress, "photo.png", "o.rd", "--search-steps", -3
    )


@pytest.mark.filterwarnings("ignore:The code spends")
def test_a_search_on_the_command_line(photos, capsys):
    fit = ["fit", "photos", "--model", "c.rdl", "--codec", "conv", "--beta", 0.01]
    assert run(capsys, *fit, "--max-iter", 2, "--n-components", 4)[0] == 0
    compress = ["compress", "--model", "c.rdl", "photo.png", "o.rd"]
    assert run(capsys, *compress, "--search-steps", 4)[0] == 0
    with Image.open("photo.png") as file:
        blob = load("c.rdl").encode_image(np.asarray(file), search_steps=4)
    assert (photos / "o.rd").read_bytes() == blob
    out = run(capsys, "info", "c.rdl")[1]
    assert "per training sample, as training ended" in out


def test_uniform_codes_a_table(folder, capsys):
    np.save("t.npy", np.random.default_rng(0).normal(size=(200, 3)).cumsum(axis=1))
    fit = ["fit", "t.npy", "--model", "u.rdl", "--codec", "uniform", "--beta", 5]
    assert run(capsys, *fit)[0] == 0
    assert run(capsys, "compress", "--model", "u.rdl", "t.npy", "t.rd")[0] == 0
    assert run(capsys, "decompress", "--model", "u.rdl", "t.rd", "b.npy")[0] == 0
    codec, X = load("u.rdl"), np.load("t.npy")
    np.testing.assert_array_equal(np.load("b.npy"), codec.reconstruct(X))
