import io
import pickle
import sys
import zipfile

import command_line
import numpy as np
import pytest
from command_line import refused, run

from rdlearn import cli, load

folder, frame, model = command_line.folder, command_line.frame, command_line.model


@pytest.mark.parametrize("ending", ["csv", "npy", "parquet"])
def test_a_damaged_stream_leaves_the_output_as_it_was(model, frame, capsys, ending):
    load("m.rdl").compress_to(frame, "out.rd", chunk_rows=100)
    data = bytearray((model / "out.rd").read_bytes())
    data[-1] ^= 1  # in the last chunk: the ones before it decode
    (model / "bad.rd").write_bytes(data)
    (model / f"b.{ending}").write_text("precious")
    before = sorted(model.iterdir())
    status, out, err = run(capsys, "decompress", "--model", "m.rdl", "bad.rd", f"b.{ending}")
    assert (status, out) == (2, "") and "Chunk 3 of 3 is damaged" in err.splitlines()[-1]
    assert (model / f"b.{ending}").read_text() == "precious"
    assert sorted(model.iterdir()) == before


def test_a_stream_of_another_model_is_refused(model, capsys):
    run(capsys, "compress", "--model", "m.rdl", "t.parquet", "out.rd")
    run(capsys, "fit", "t.csv", "--model", "n.rdl", "--target-rate", 10, "--standardize")
    assert "another model" in refused(capsys, "decompress", "--model", "n.rdl", "out.rd", "b.csv")
    assert "not an rdlearn model" in refused(capsys, "compress", "--model", "t.csv", "t.csv", "o")
    assert "not an rdlearn stream" in refused(
        capsys, "decompress", "--model", "m.rdl", "t.csv", "b.csv"
    )


NPY = b"\x93NUMPY\x01\x00F\x00" + b"{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1), }"
NPY = NPY.ljust(79) + b"\n" + bytes(16)


def zip_of(name, data, damage=False):
    """An archive of one member, as latin-1 text; damaged within the member if so wanted."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, data)
    blob = file.getvalue().decode("latin-1")
    return blob.replace("descr", "dexcr") if damage else blob


BAD_TABLES = {
    "text.csv": ("a,b\n1,2\n3,x\n", "column 'b' is not numeric ('x' in row 2)"),
    "nan.csv": ("a,b\n1,2\n3,\n", "column 'b' has no value (NaN) in row 2"),
    "inf.csv": ("a,b\n-inf,2\n3,4\n", "column 'a' has an infinite value in row 1"),
    "empty.csv": ("", "empty.csv cannot be read as csv"),
    "header.csv": ("a,b\n", "0 rows"),
    "ragged.csv": ("a,b\n1,2\n1,2,3\n", "cannot be read as csv"),
    "index.csv": ("a,b\n1,2,3\n4,5,6\n", "more values in a row than names"),
    "semicolon.csv": ("a;b\n1;2\n", "separates its columns by semicolons"),
    "constant.csv": ("a,b\n1,2\n1,2\n1,2\n", "is constant"),
    "few.csv": ("a,b\n1,2\n3,4\n", "n_splits=3"),
    "odd.txt": ("a,b\n1,2\n", "use .csv, .npy, .npz or .parquet"),
    "damaged.npy": ("\x93NUMPY", "cannot be read as npy"),
    "empty.npy": ("", "cannot be read as npy"),
    "pickle.npy": (pickle.dumps([1]).decode("latin-1"), "cannot be read as npy"),
    "damaged.npz": ("PK\x03\x04damaged", "no zip archive"),
    "cut.npz": (zip_of("X.npy", b"\x93NUMPY"), "cannot be read as npz"),
    "broken.npz": (zip_of("X.npy", NPY, damage=True), "cannot be read as npz"),
    "zip.npy": (zip_of("X.npy", NPY), "cannot be read as npy"),
    "damaged.parquet": ("PAR1", "cannot be read as parquet"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_files_get_one_sentence(folder, capsys, name):
    text, complaint = BAD_TABLES[name]
    (folder / name).write_bytes(text.encode("latin-1"))
    assert complaint in refused(capsys, "curve", name)


BAD_ARRAYS = {
    "flat": (np.zeros(3), "X.reshape(-1, 1)"),
    "object": (np.array([[1, "a"]], dtype=object), "Python objects"),
    "complex": (np.zeros((2, 2), complex), "complex128"),
    "none": (np.zeros((0, 2)), "nothing in it"),
    "nan": (np.array([[0.0, 1.0], [2.0, np.nan]]), "column 1 (counted from 0) has no value"),
    "inf": (np.array([[0.0, np.inf], [2.0, 1.0]]), "has an infinite value in row 1"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_get_one_sentence(folder, capsys, name):
    array, complaint = BAD_ARRAYS[name]
    np.save("t.npy", array)
    said = refused(capsys, "fit", "t.npy", "--model", "m.rdl", "--beta", 1)
    assert complaint in said and not (folder / "m.rdl").exists()


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["curve", "none.csv"], "none.csv: No such file or directory."),
        (["curve", "nosuch"], "no source (gaussian, "),
        (["curve", "t.csv", "--out", "x.txt"], "use .csv or .parquet"),
        (["curve", "t.csv", "--plot", "x.bmp"], "use .png, .pdf or .svg"),
        (["curve", "t.csv", "--out", "none/x.csv"], "there is no folder"),
        (["curve", "t.csv", "--plot", "sub.png"], "is a folder"),
        (["curve", "t.csv", "--distortion", "taste"], "taste"),
        (["curve", "t.csv", "--distortion", "hamming"], "tiny"),
        (["curve", "t.csv", "--n-components", "9"], "must be at most 6"),
        (["curve", "t.csv", "--cv", "1"], "from 2"),
        (["curve", "--beta", "1", "t.csv"], "DATA goes before"),
        (["curve", "t.csv", "--beta", "-1"], "not a positive number"),
        (["curve", "t.csv", "--codec", "zip"], "invalid choice: 'zip'"),
        (["fit", "t.csv", "--model", "x.rdl"], "Say how much to spend"),
        (["fit", "t.csv", "--model", "t.csv", "--beta", "1"], "both read and written"),
        (["fit", "t.csv", "--model", "x.rdl", "--target-rate", "1e6"], "out of reach"),
        (["fit", "t.csv", "--model", "x.rdl", "--n-bits", "99", "--seed", "1"], "n_bits"),
        (["fit", "t.csv", "--model", "none/x.rdl", "--beta", "1"], "there is no folder"),
        (["compress", "--model", "m.rdl", "t.csv", "none/o.rd"], "there is no folder"),
        (["compress", "--model", "none.rdl", "t.csv", "o.rd"], "No such file"),
        (["decompress", "--model", "m.rdl", "out.rd", "b.xls"], "use .csv, .npy or .parquet"),
        (["decompress", "--model", "m.rdl", "none.rd", "b.csv"], "No such file"),
        (["polish"], "invalid choice: 'polish'"),
    ],
)
def test_bad_requests_get_one_sentence(model, capsys, args, complaint):
    (model / "sub.png").mkdir()
    before = sorted(model.iterdir())
    assert complaint in refused(capsys, *args)
    assert sorted(model.iterdir()) == before


def test_outputs_are_checked_before_the_work(folder, frame, capsys, monkeypatch):
    frame.to_csv("t.csv", index=False)

    def work(*args, **kwargs):
        raise AssertionError("work began")

    monkeypatch.setattr("rdlearn._curve_command.read_table", work)
    monkeypatch.setattr("rdlearn.cli.read_table", work)
    assert "no folder" in refused(capsys, "curve", "t.csv", "--plot", "none/x.png")
    assert "no folder" in refused(capsys, "fit", "t.csv", "--model", "none/m", "--beta", 1)
    monkeypatch.setattr("tempfile.TemporaryFile", _denied)
    assert "Permission denied" in refused(capsys, "curve", "t.csv", "--out", "x.csv")


def _denied(dir):
    raise PermissionError(13, "Permission denied", dir)


def test_a_device_is_not_replaced_and_a_link_is_followed(folder, frame, capsys):
    frame.to_csv("t.csv", index=False)
    fit = ["fit", "t.csv", "--target-rate", 9, "--standardize", "--model"]
    assert "not a regular file" in refused(capsys, *fit, "/dev/null")
    (folder / "sub").mkdir()
    (folder / "link.rdl").symlink_to(folder / "sub" / "m.rdl")
    assert run(capsys, *fit, "link.rdl")[0] == 0
    assert (folder / "link.rdl").is_symlink() and load("sub/m.rdl").target_rate == 9


def test_plot_without_matplotlib_is_refused_at_the_start(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'rdlearn[plot]'" in refused(capsys, "curve", "--plot", "c.png")


def test_interrupt_memory_and_defects(folder, capsys, monkeypatch):
    def raising(error):
        def run_curve(*args):
            raise error

        monkeypatch.setattr(cli, "run_curve", run_curve)

    raising(KeyboardInterrupt())
    assert run(capsys, "curve") == (130, "", "")
    raising(MemoryError("Unable to allocate 9 EiB"))
    assert "not enough memory (Unable to allocate 9 EiB)" in refused(capsys, "curve")
    raising(ValueError("First  line.\nSecond line."))
    assert refused(capsys, "curve") == "First line."
    raising(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["curve"])
