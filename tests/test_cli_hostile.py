"""Files and names on the command line that are made to break it, or to reach further."""

import io
import struct
import zipfile
import zlib

import command_line
import numpy as np
import pytest
from command_line import refused, run

from rdlearn import PCACodec, UniformNoiseCodec, _persistence, cli
from rdlearn._tables_io import read_table

Image = pytest.importorskip("PIL.Image")
folder, frame, model = command_line.folder, command_line.frame, command_line.model

PIXELS = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def photos(folder):
    """A folder with p.rdl, a model of images."""
    for number in range(2):
        (folder / "photos").mkdir(exist_ok=True)
        Image.fromarray(np.roll(PIXELS, number, axis=1)).save(f"photos/{number}.png")
    assert cli.main(["fit", "photos", "--model", "p.rdl", "--beta", "0.01"]) == 0
    return folder


def one_sentence(capsys, *args):
    """The refusal, whose line on the terminal is short and holds no control characters."""
    said = refused(capsys, *args)
    assert len("rdlearn: " + said) <= 300 and said.isprintable()
    return said


def npy(header):
    header = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(240)


def npz(local, central, value):
    """An archive of one table with a byte changed behind both its signatures."""
    file = io.BytesIO()
    np.savez(file, X=np.eye(4))
    blob = bytearray(file.getvalue())
    blob[blob.find(b"PK\x03\x04") + local] = value
    blob[blob.find(b"PK\x01\x02") + central] = value
    return bytes(blob)


DAMAGED = {
    "unclosed.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10, 3), "),
    "brackets.npy": npy("((((("),
    "keys.npy": npy("{'descr': '<f8', 'fortran_order': False, 1: (10, 3), }"),
    "flag.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (True, 3), }"),
    "huge.npy": npy(f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({10**30}, 3), }}"),
    "encrypted.npz": npz(6, 8, 1),
    "method.npz": npz(8, 10, 99),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_tables(folder, capsys, name):
    (folder / name).write_bytes(DAMAGED[name])
    assert f"{name} cannot be read as {name[-3:]}: " in one_sentence(capsys, "curve", name)


def test_archives_with_any_byte_changed(folder):
    """Damage anywhere is read as other numbers or refused in a sentence."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", npy("{'descr': '<f8', 'fortran_order': False, 'shape': (10, 3)}"))
    blob = file.getvalue()
    for place in range(0, len(blob), 3):
        (folder / "t.npz").write_bytes(
            blob[:place] + bytes([blob[place] ^ 0xB5]) + blob[place + 1 :]
        )
        try:
            assert read_table("t.npz", list().append).shape == (10, 3)
        except ValueError as error:
            assert "t.npz" in str(error)


def test_other_formats_under_offered_endings(photos, capsys, tmp_path_factory, monkeypatch):
    from PIL import EpsImagePlugin

    image = Image.fromarray(PIXELS)
    tools = tmp_path_factory.mktemp("tools")
    (tools / "gs").write_text(f"#!/bin/sh\necho 10 | tee {tools}/started\n")
    (tools / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    for kind, given in (("EPS", image), ("DDS", image), ("BLP", image.quantize(16))):
        file = io.BytesIO()
        given.save(file, kind)
        (photos / "x.png").write_bytes(file.getvalue())
        assert "none of PNG, JPEG" in one_sentence(
            capsys, "compress", "--model", "p.rdl", "x.png", "x.rd"
        )
    # An AVIF file by its first box; Pillow may be built without it.
    (photos / "x.png").write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(99))
    said = one_sentence(capsys, "compress", "--model", "p.rdl", "x.png", "x.rd")
    assert "none of PNG, JPEG" in said and not (tools / "started").exists()
    assert not (photos / "x.rd").exists()
    (photos / "x.png").unlink()


def declared(width, height):
    """A png file that declares a size and has no pixels."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (60000, 60000, "more than 67108864 pixels"),
        (10000, 10000, "10000 x 10000 pixels, more than 67108864"),
        (70000, 9, "9 x 70000 pixels, more than 67108864 in all or 65536 in a row"),
        (8192, 8192, "cannot be read as an image"),
    ],
)
def test_large_images_are_refused_by_their_heads(photos, capsys, width, height, words):
    (photos / "x.png").write_bytes(declared(width, height))
    assert words in one_sentence(capsys, "compress", "--model", "p.rdl", "x.png", "x.rd")
    (photos / "photos" / "x.png").write_bytes(declared(width, height))
    assert words in one_sentence(capsys, "fit", "photos", "--model", "q.rdl", "--beta", 1)


@pytest.mark.filterwarnings("default")
def test_libraries_do_not_speak_of_damaged_images(photos, capfd):
    """libtiff prints of its own; Pillow warns, which counts where the image is read anyway."""
    Image.fromarray(PIXELS).save("x.tif", compression="tiff_lzw")
    blob = (photos / "x.tif").read_bytes()
    (photos / "bad.tif").write_bytes(blob[:8] + bytes(60) + blob[68:])
    said = one_sentence(capfd, "compress", "--model", "p.rdl", "bad.tif", "x.rd")
    assert "bad.tif cannot be read as an image" in said
    (photos / "cut.tif").write_bytes(blob[:-20])
    one_sentence(capfd, "compress", "--model", "p.rdl", "cut.tif", "x.rd")
    Image.fromarray(PIXELS).save("x.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12")
    status, _, err = run(capfd, "compress", "--model", "p.rdl", "x.jpg", "x.rd")
    assert status == 0 and "rdlearn: warning: x.jpg: Corrupt EXIF data" in err


def test_what_is_left_out_is_said(photos, capsys):
    first, *others = (Image.fromarray(np.roll(PIXELS, shift, axis=0)) for shift in range(3))
    for name in ("x.png", "x.tif", "x.webp"):
        first.save(name, save_all=True, append_images=others)
        status, _, err = run(capsys, "compress", "--model", "p.rdl", name, "x.rd")
        assert status == 0 and f"note: {name} holds 3 pictures: the first is read" in err
    assert "pictures" not in run(capsys, "compress", "--model", "p.rdl", "photos/0.png", "x.rd")[2]
    np.savez(
        "t.npz", A=np.random.default_rng(0).normal(size=(90, 3)), y=np.arange(90), z=np.eye(1)[0]
    )
    err = run(capsys, "curve", "t.npz", "--beta", 1)[2]
    assert "note: t.npz holds 3 arrays: A is read, y, z left out" in err


def test_an_image_for_a_model_of_tables(photos, capsys):
    X = np.random.default_rng(0).normal(size=(60, 3))
    codec = UniformNoiseCodec(2, beta=5.0, max_iter=2, random_state=0).fit(X)
    codec.save("u.rdl")
    run(capsys, "compress", "--model", "p.rdl", "photos/0.png", "x.rd")
    # An image that pretends to be of this model: its checksum is right.
    blob = (photos / "x.rd").read_bytes()
    head = blob[:4] + codec.fingerprint + blob[12:15]
    (photos / "forged.rd").write_bytes(
        head + zlib.crc32(blob[19:], zlib.crc32(head)).to_bytes(4, "little") + blob[19:]
    )
    for name in ("x.rd", "forged.rd"):
        args = ["decompress", "--model", "u.rdl", name]
        assert "codes the rows of a table" in one_sentence(capsys, *args, "b.png")
        assert "holds an image" in one_sentence(capsys, *args, "b.csv")
    assert run(capsys, "info", "forged.rd")[0] == 0
    said = one_sentence(capsys, "compress", "--model", "u.rdl", "photos/0.png", "y.rd")
    assert "codes the rows of a table" in said


def test_info_of_models_without_what_it_prints(folder, capsys):
    PCACodec(beta=9.0).fit(np.random.default_rng(0).normal(size=(50, 2))).save("m.rdl")
    state = _persistence.read("m.rdl")
    del state["fitted"]["_history"]["distortion"]
    _persistence.write("m.rdl", state)
    assert run(capsys, "info", "m.rdl")[0] == 0
    del state["version"]
    _persistence.write("m.rdl", state)
    status, _, err = run(capsys, "info", "m.rdl")
    assert status == 2 and err.count("\n") == 1 and "version" in err


ESCAPE = "\x1b[31m\x9b2J\u202e\x07"


def test_control_characters_do_not_reach_the_terminal(folder, frame, capsys):
    name, column = f"{ESCAPE}.csv", f"col{ESCAPE}"
    frame.rename(columns={"tiny": column}).to_csv(name, index=False)
    fit = ["fit", name, "--model", f"{ESCAPE}.rdl", "--target-rate", 9, "--standardize"]
    done = [
        fit,
        ["info", f"{ESCAPE}.rdl"],
        ["compress", "--model", f"{ESCAPE}.rdl", name, f"{ESCAPE}.rd"],
        ["info", f"{ESCAPE}.rd"],
        ["decompress", "--model", f"{ESCAPE}.rdl", f"{ESCAPE}.rd", f"back{ESCAPE}.csv"],
        ["curve", name, "--beta", 1, "--standardize", "--out", f"c{ESCAPE}.csv"],
    ]
    for args in done:
        status, out, err = run(capsys, *args)
        assert status == 0 and r"\x1b[31m\x9b2J\u202e\x07" in out + err
        assert all(line.isprintable() for line in (out + err).splitlines())
    frame.to_csv("plain.csv", index=False)
    for args in (
        ["compress", "--model", f"{ESCAPE}.rdl", "plain.csv", "x.rd"],
        ["info", f"no{ESCAPE}"],
        [f"no{ESCAPE}"],
        ["curve", name, f"no{ESCAPE}"],
        ["curve", f"first\nline{ESCAPE}"],
        ["curve", f"first\nline{ESCAPE}.txt"],
        ["curve", "x" * 5000 + ".csv"],
        ["curve", "--codec", "x" * 5000],
    ):
        said = one_sentence(capsys, *args)
        assert "\\x1b" in said or "xxx" in said
        assert "line" in said or "first" not in said


def test_a_title_is_no_mathematics(folder, frame, capsys):
    frame.to_csv(r"$\nosuch{$.csv", index=False)
    args = ["curve", r"$\nosuch{$.csv", "--beta", 1, "--standardize", "--plot", "c.png"]
    assert run(capsys, *args)[0] == 0


def test_a_curve_does_not_replace_its_data(model, capsys):
    before = (model / "t.csv").read_bytes()
    assert "both read and written" in one_sentence(capsys, "curve", "t.csv", "--out", "t.csv")
    assert (model / "t.csv").read_bytes() == before
