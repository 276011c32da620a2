"""Standard input, output and error of the command line, closed ones too, and Ctrl-C."""

import io
import os
import signal
import subprocess
import sys

import command_line
import numpy as np
import pytest
from command_line import refused

from rdlearn import cli, load

folder, frame, model = command_line.folder, command_line.frame, command_line.model


@pytest.fixture
def piped(capsysbinary, monkeypatch):
    """Runs a command with bytes on its standard input; returns status, bytes and text."""

    def run(data, *args):
        capsysbinary.readouterr()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        status = cli.main([str(arg) for arg in args])
        out, err = capsysbinary.readouterr()
        return status, out, err.decode()

    return run


def test_a_table_goes_there_and_back_through_pipes(model, frame, piped):
    table = (model / "t.csv").read_bytes()
    assert cli.main(["compress", "--model", "m.rdl", "t.csv", "t.rd"]) == 0
    status, blob, err = piped(table, "compress", "--model", "m.rdl", "-", "-")
    assert status == 0 and blob == (model / "t.rd").read_bytes()
    assert f"read     -, {len(table)} bytes, 300 rows" in err and f"{len(blob)} bytes" in err
    status, back, err = piped(blob, "decompress", "--model", "m.rdl", "-", "-")
    assert status == 0 and f"written  -, {len(back)} bytes, 300 rows of 6 columns" in err
    assert cli.main(["decompress", "--model", "m.rdl", "t.rd", "back.csv"]) == 0
    assert back == (model / "back.csv").read_bytes()
    status, out, _ = piped(blob, "decompress", "--model", "m.rdl", "-", "b.npy")
    assert status == 0 and b"b.npy" in out
    expected = load("m.rdl").decompress(blob, as_frame=True).to_numpy(np.float64)
    np.testing.assert_array_equal(np.load("b.npy"), expected)
    assert not (model / "-").exists()
    # 300 rows of 6 columns in float64.
    limit = ["--max-bytes", 300 * 6 * 8 - 1]
    status, out, err = piped(blob, "decompress", "--model", "m.rdl", *limit, "-", "-")
    assert (status, out) == (2, b"") and "300 x 6 values, 14400 bytes, more than max_bytes" in err


def test_fit_and_curve_read_csv_from_standard_input(model, piped):
    table = (model / "t.csv").read_bytes()
    fit = ["--model", "x.rdl", "--beta", 9, "--standardize"]
    assert piped(table, "fit", "-", *fit)[0] == 0
    assert cli.main(["fit", "t.csv", "--model", "y.rdl", *map(str, fit[2:])]) == 0
    assert load("x.rdl").fingerprint == load("y.rdl").fingerprint
    status, out, _ = piped(table, "curve", "-", "--beta", 9, "--standardize")
    assert status == 0 and b"standard input: 300 rows, 6 features" in out
    status, out, err = piped(b"a,b\n1,x\n", "curve", "-")
    assert (status, out) == (2, b"") and "standard input: column 'b' is not numeric" in err


def test_images_through_pipes(folder, piped):
    Image = pytest.importorskip("PIL.Image")
    (folder / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    for name in ("0", "1"):
        Image.fromarray(pixels).save(f"photos/{name}.png")
    assert cli.main(["fit", "photos", "--model", "p.rdl", "--beta", "0.01"]) == 0
    status, blob, err = piped(b"", "compress", "--model", "p.rdl", "photos/0.png", "-")
    assert status == 0 and blob == load("p.rdl").encode_image(pixels) and "dB PSNR" in err
    assert piped(blob, "decompress", "--model", "p.rdl", "-", "b.png")[0] == 0
    with Image.open("b.png") as back:
        np.testing.assert_array_equal(np.asarray(back), load("p.rdl").decode_image(blob))


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["fit", "t.csv", "--model", "-", "--beta", 1], "name a file"),
        (["curve", "t.csv", "--out", "-"], "name a file"),
        (["curve", "t.csv", "--plot", "-"], "name a file"),
        (["info", "-"], "name a file"),
        (["compress", "--model", "-", "t.csv", "x.rd"], "-: No such file"),
    ],
)
def test_other_files_have_names(model, capsys, args, complaint):
    before = sorted(model.iterdir())
    assert complaint in refused(capsys, *args)
    assert sorted(model.iterdir()) == before


def test_bytes_do_not_go_to_a_terminal(model, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "not for a terminal" in refused(capsys, "compress", "--model", "m.rdl", "t.csv", "-")


def test_closed_streams(model, capsys, monkeypatch):
    def shell(arguments):
        line = f"{sys.executable} -m rdlearn {arguments}"
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True)
        return done.returncode, done.stderr

    message = "Standard output is closed; redirect it to a file or /dev/null."
    assert shell("info m.rdl >&-") == (2, f"rdlearn: {message}\n")
    # No file takes the number of the closed stream, to be written into.
    assert shell("compress --model m.rdl t.csv x.rd 2>&-") == (0, "")
    load("m.rdl").decompress((model / "x.rd").read_bytes())
    monkeypatch.setattr(sys, "stdin", None)
    said = refused(capsys, "compress", "--model", "m.rdl", "-", "y.rd")
    assert said == "standard input: It is closed; name a file."


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_full_streams(model, capsys, monkeypatch):
    """A full disk is said once, and what is left to write does not fail again at the end."""
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert cli.main(["info", "m.rdl"]) == 2
    said = "rdlearn: standard output: No space left on device.\n"
    assert capsys.readouterr().err == said
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stdout", full)
        assert cli.main(["compress", "--model", "m.rdl", "t.csv", "-"]) == 2
    assert capsys.readouterr().err.endswith(said)
    with monkeypatch.context() as patch, open("/dev/full", "w") as full:
        patch.setattr(sys, "stderr", full)
        assert cli.main(["info", "none.rdl"]) == 2


INTERRUPT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ.get("INTERRUPT_AT"):
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

# A shell that runs the tests in the background has them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
"""
SCRIPT = "import sys\nfrom rdlearn.cli import main\nsys.exit(main())\n"
LIBRARY = """
import signal, sys, rdlearn
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(5)
"""


@pytest.fixture
def interrupted(folder):
    """Runs Python and sends it Ctrl-C where it imports a module; status and stderr."""
    (folder / "sitecustomize.py").write_text(INTERRUPT)
    (folder / "bin").mkdir()
    (folder / "bin" / "rdlearn").write_text(SCRIPT)
    (folder / "library.py").write_text(LIBRARY)
    path = os.pathsep.join([str(folder), os.path.dirname(os.path.dirname(cli.__file__))])

    def run(place, *args):
        env = os.environ | {"PYTHONPATH": path, "INTERRUPT_AT": place}
        done = subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env)
        return done.returncode, done.stderr

    return run


def test_ctrl_c_is_quiet_from_the_first_import_on(interrupted):
    # The shell calls a death by SIGINT status 130.
    assert interrupted("rdlearn.kernels", "bin/rdlearn", "curve") == (-signal.SIGINT, "")
    command = ["-W", "ignore", "-m", "rdlearn", "curve"]
    assert interrupted("rdlearn.cli", *command) == (-signal.SIGINT, "")
    # The command itself has begun, and catches it.
    assert interrupted("sklearn.datasets", "-m", "rdlearn", "curve") == (130, "")


def test_a_library_leaves_ctrl_c_as_it_was(interrupted):
    assert interrupted("", "library.py") == (5, "")
