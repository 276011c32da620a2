import os
import subprocess
import sys

import command_line
import numpy as np
import pandas as pd
import pytest
from command_line import refused, run

from rdlearn import (
    DBNBlahutArimoto,
    PCACodec,
    RestrictedBoltzmannMachine,
    __version__,
    cli,
    load,
)
from rdlearn._curve_command import FORMATS, default_betas
from rdlearn._tables_io import read_table
from rdlearn.datasets import source
from rdlearn.distortions import Hamming
from rdlearn.information import gaussian_water_level

COLUMNS = ["codec", "beta", "n_components", "rate_bits", "distortion", "score", "psnr_db"]
COLUMNS += ["bytes_per_sample", "fit_seconds", "excess_bits"]

folder, frame, model = command_line.folder, command_line.frame, command_line.model


def table_of(out):
    """The printed table as a DataFrame of strings, rows without a mark filled up."""
    lines = out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.split()[:2] == ["codec", "beta"])
    last = lines.index("", first)
    names = [*lines[first].split(), "best"]
    rows = [[*line.split(), ""][: len(names)] for line in lines[first + 1 : last]]
    return pd.DataFrame(rows, columns=names)


def test_curve_of_digits_prints_the_table_and_saves_the_same(folder, capsys):
    status, out, err = run(capsys, "curve", "--out", "c.csv", "--plot", "c.png", "--cv", 2)
    assert status == 0
    assert err.count("rdlearn: curve 1 of 1 (pca), beta = ") == 9
    shown = table_of(out)
    assert list(shown) == [*COLUMNS, "best"]
    saved = pd.read_csv("c.csv")
    assert list(saved)[: len(COLUMNS)] == COLUMNS and "rate_bits_std" in saved
    for name, form in FORMATS.items():
        expected = ["-" if value != value else form.format(value) for value in saved[name]]
        assert shown[name].tolist() == expected
    assert (shown["excess_bits"] == "-").all()
    assert saved["rate_bits"].is_monotonic_increasing and saved["score"].notna().all()
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")
    marked = shown.index[shown["best"] == "*"]
    assert list(marked) == [saved["score"].idxmax()]
    assert f"* best score, at beta = {saved['beta'][marked[0]]:.4g}" in out
    for words in ("nats per unit", "rate_bits: per sample", "nats per sample", "data range of 16"):
        assert words in out
    assert max(map(len, out.splitlines())) < 120


def test_excess_over_a_known_source(folder, capsys):
    status, out, _ = run(
        capsys, "curve", "gaussian-equal", "--rows", 20000, "--beta", 2, 20, "--out", "g.csv"
    )
    assert status == 0 and "excess_bits: rate_bits minus R(D)" in out
    saved = pd.read_csv("g.csv")
    known = source("gaussian-equal")
    excess = saved["rate_bits"] - known.rate_bits(saved["distortion"].to_numpy())
    np.testing.assert_allclose(saved["excess_bits"], excess, rtol=1e-12)
    per_component = saved["excess_bits"] / known.n_features
    assert ((per_component > 0.1) & (per_component < 0.3)).all()


def test_excess_over_a_lower_bound_is_said_to_be_an_upper_limit(folder, capsys):
    _, out, err = run(capsys, "curve", "banana", "--rows", 2000, "--beta", 1, "--plot", "b.svg")
    assert "at most this" in out and "drawing 2000 rows" in err
    # Letters become outlines, with the text beside them as a comment.
    assert "banana R(D), lower bound" in (folder / "b.svg").read_text()
    assert table_of(out)["excess_bits"].tolist() != ["-"]
    _, out, _ = run(capsys, "curve", "banana", "--rows", 500, "--beta", 1, "--standardize")
    assert table_of(out)["excess_bits"].tolist() == ["-"] and "standardized" in out


def test_a_binary_source_brings_its_own_distortion(capsys):
    status, out, _ = run(capsys, "curve", "binary", "--rows", 300, "--beta", 3, "--cv", 2)
    assert status == 0 and "distortion: hamming" in out
    assert float(table_of(out)["excess_bits"][0]) > 0


def test_a_file_wins_over_a_source_of_its_name(folder, capsys):
    (folder / "gaussian").write_text("a,b\n1,2\n")
    assert "'gaussian'" not in refused(capsys, "curve", "gaussian")


def test_each_width_is_a_curve_and_jobs_change_nothing(folder, frame, capsys):
    frame.to_csv("t.csv", index=False)
    args = ["curve", "t.csv", "--n-components", 2, 4, "--beta", 5, 1, "--standardize"]
    status, out, _ = run(capsys, *args, "--plot", "c.pdf")
    shown = table_of(out)
    assert status == 0 and shown["n_components"].tolist() == ["2", "2", "4", "4"]
    assert shown["beta"].tolist() == ["1", "5", "1", "5"]
    assert "PCACodec, 4 components" in out and (folder / "c.pdf").stat().st_size > 1000
    parallel = table_of(run(capsys, *args, "--jobs", 2)[1])
    assert parallel.drop(columns="fit_seconds").equals(shown.drop(columns="fit_seconds"))


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_prices_follow_the_units_of_the_data(unit):
    X = np.random.default_rng(0).normal(size=(400, 3)) * [3.0, 1.0, 0.1]
    betas = default_betas(X * unit, "squared_error", standardize=False)
    np.testing.assert_allclose(
        betas, np.divide(default_betas(X, "squared_error", False), unit**2), 6e-3
    )
    assert len(betas) == 9 and betas == sorted(betas)
    variances = np.linalg.eigvalsh(np.cov((X * unit).T, bias=True))
    ends = [0.5 / gaussian_water_level(variances, f * variances.sum()) for f in (0.8, 0.002)]
    np.testing.assert_allclose([betas[0], betas[-1]], ends, rtol=1e-2)
    absolute = np.multiply(default_betas(X * unit, "absolute_error", False), unit)
    np.testing.assert_allclose(absolute, default_betas(X, "absolute_error", False), rtol=6e-3)
    standard = default_betas(X * unit, "squared_error", True)
    np.testing.assert_allclose(standard, default_betas(X, "squared_error", True), rtol=6e-3)


def test_prices_of_a_wide_table_and_a_constant_column():
    X = np.random.default_rng(0).normal(size=(5, 40))
    X[:, 0] = 7.0
    for name in ("squared_error", "absolute_error", "hamming"):
        betas = default_betas(X, name, True)
        assert np.isfinite(betas).all() and np.all(np.diff(betas) > 0)


def test_fit_saves_the_model_it_describes(folder, frame, capsys):
    frame.to_csv("t.csv", index=False)
    args = ["fit", "t.csv", "--model", "m.rdl", "--target-rate", "12", "--n-components", "4"]
    status, out, err = run(capsys, *args, "--standardize", "--seed", 3)
    codec = load("m.rdl")
    X = pd.read_csv("t.csv")
    assert status == 0 and "fitting 300 rows" in err
    expected = PCACodec(4, target_rate=12.0, standardize=True, random_state=3)
    assert codec.get_params() == expected.get_params()
    assert f"{codec.rate(X):.4g} bits per sample" in out and codec.rate(X) <= 12
    assert f"{codec.mean_distortion(X):.5g} per sample" in out
    assert f"{(folder / 'm.rdl').stat().st_size} bytes" in out
    assert "rdlearn compress --model m.rdl t.csv out.rd" in out
    run(
        capsys,
        "fit",
        "t.csv",
        "--model",
        "n.rdl",
        "--n-bits",
        "1",
        "--distortion",
        "absolute_error",
    )
    assert load("n.rdl").n_bits == 1 and load("n.rdl").distortion == "absolute_error"
    run(capsys, "fit", "t.csv", "--model", "n.rdl", "--target-distortion", "3", "--standardize")
    assert load("n.rdl").target_distortion == 3.0
    run(capsys, "fit", "t.csv", "--model", "n.rdl", "--beta", "2.5", "--standardize")
    assert load("n.rdl").beta == 2.5


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_names_and_dtypes_come_back(model, frame, capsys, ending):
    status, out, _ = run(capsys, "compress", "--model", "m.rdl", "t.parquet", "out.rd")
    size = (model / "out.rd").stat().st_size
    assert status == 0 and f"{size} bytes, {8 * size / 300:.4g} bits per sample" in out
    status, out, _ = run(capsys, "decompress", "--model", "m.rdl", "out.rd", f"back.{ending}")
    assert status == 0 and "300 rows of 6 columns" in out
    expected = load("m.rdl").decompress((model / "out.rd").read_bytes(), as_frame=True)
    assert expected.dtypes.equals(frame.dtypes)
    if ending == "parquet":
        back = pd.read_parquet("back.parquet")
    else:
        assert b"\r" not in (model / "back.csv").read_bytes()
        kinds = frame.dtypes.to_dict()
        # pandas before 3.1 reads numbers exactly only when it is told to.
        back = read_table("back.csv", pytest.fail).astype(kinds)
    pd.testing.assert_frame_equal(back, expected, check_exact=True)


def test_decompress_to_npy_and_in_several_chunks(model, frame, capsys):
    codec = load("m.rdl")
    codec.compress_to(frame, "out.rd", chunk_rows=64)
    for ending in ("npy", "csv", "parquet"):
        assert run(capsys, "decompress", "--model", "m.rdl", "out.rd", f"b.{ending}")[0] == 0
    expected = codec.decompress((model / "out.rd").read_bytes(), as_frame=True)
    np.testing.assert_array_equal(np.load("b.npy"), expected.to_numpy(np.float64))
    assert len(pd.read_csv("b.csv")) == len(pd.read_parquet("b.parquet")) == 300
    assert (model / "b.csv").read_text().count("tiny") == 1


def test_arrays_go_through_without_names(folder, capsys):
    X = np.random.default_rng(1).normal(size=(200, 2, 2)).astype(np.float32)
    np.save("t.npy", X)
    status, _, err = run(capsys, "fit", "t.npy", "--model", "m.rdl", "--target-rate", 8)
    assert status == 0 and "each row is flattened to 4 columns" in err
    assert run(capsys, "compress", "--model", "m.rdl", "t.npy", "o.rd")[0] == 0
    assert run(capsys, "decompress", "--model", "m.rdl", "o.rd", "b.csv")[0] == 0
    assert run(capsys, "decompress", "--model", "m.rdl", "o.rd", "b.npy")[0] == 0
    flat = X.reshape(200, 4)
    back = np.load("b.npy")
    assert back.dtype == np.float32 and np.array_equal(back, load("m.rdl").reconstruct(flat))
    csv = pd.read_csv("b.csv", dtype=np.float32)
    assert list(csv) == ["x0", "x1", "x2", "x3"] and np.array_equal(csv.to_numpy(), back)
    # A csv of the same values needs no names either, and its float32 columns stay float32.
    pd.DataFrame(flat, columns=list("abcd")).to_parquet("t.parquet")
    assert run(capsys, "compress", "--model", "m.rdl", "t.parquet", "o2.rd")[0] == 0
    assert (folder / "o2.rd").read_bytes() == (folder / "o.rd").read_bytes()


def test_npy_is_mapped_not_loaded(folder):
    np.save("t.npy", np.zeros((10, 3, 2)))
    table = read_table("t.npy", lambda text: None)
    assert table.shape == (10, 6)
    base = table
    while not isinstance(base, np.memmap):
        base = base.base
    assert not base.flags.writeable


def test_columns_are_matched_by_name(model, frame, capsys):
    run(capsys, "compress", "--model", "m.rdl", "t.parquet", "one.rd")
    frame[frame.columns[::-1]].to_parquet("turned.parquet")
    assert run(capsys, "compress", "--model", "m.rdl", "turned.parquet", "two.rd")[0] == 0
    assert (model / "one.rd").read_bytes() == (model / "two.rd").read_bytes()
    frame.drop(columns="big").to_csv("less.csv", index=False)
    assert "lacks the column 'big'" in refused(
        capsys, "compress", "--model", "m.rdl", "less.csv", "no.rd"
    ).replace("rdlearn: ", "")
    frame.assign(new=1, newer=2).to_csv("more.csv", index=False)
    said = refused(capsys, "compress", "--model", "m.rdl", "more.csv", "no.rd")
    assert "columns 'new', 'newer'" in said and not (model / "no.rd").exists()


@pytest.mark.filterwarnings("default")
def test_a_warning_is_one_line(model, frame, capsys):
    np.save("t.npy", frame.to_numpy(np.float64))
    status, _, err = run(capsys, "compress", "--model", "m.rdl", "t.npy", "out.rd")
    warned = [line for line in err.splitlines() if "warning" in line]
    assert status == 0 and len(warned) == 1
    assert warned[0].startswith("rdlearn: warning: X does not have valid feature names")
    assert ".py" not in err


def test_info(model, capsys):
    run(capsys, "compress", "--model", "m.rdl", "t.parquet", "out.rd")
    codec, size = load("m.rdl"), (model / "out.rd").stat().st_size
    status, out, _ = run(capsys, "info", "m.rdl")
    assert status == 0
    for fact in ("PCACodec", "target_rate=20.0", __version__, "6: tiny, big", "bits per training"):
        assert fact in out
    assert f"{codec.quantizers_.side_information_bits() // 8} of" in out
    status, out, _ = run(capsys, "info", "out.rd")
    assert status == 0
    for fact in ("300 of 6 features, float64", "1 of at most", f"{size} bytes, {size / 300:.4g}"):
        assert fact in out
    assert codec.fingerprint.hex() in out
    assert "neither a model nor a compressed file" in refused(capsys, "info", "t.csv")
    (model / "cut.rdl").write_bytes((model / "m.rdl").read_bytes()[:-3])
    assert "truncated" in refused(capsys, "info", "cut.rdl")
    (model / "cut.rd").write_bytes((model / "out.rd").read_bytes()[:20])
    assert "less than its header" in refused(capsys, "info", "cut.rd")
    assert refused(capsys, "info", "none.rdl") == "none.rdl: No such file or directory."


def test_npz_picks_the_only_table_or_the_named_one(folder, capsys):
    A, B = np.arange(6.0).reshape(3, 2), np.arange(12.0).reshape(3, 2, 2)
    np.savez("one.npz", y=np.arange(3), A=A)
    np.savez("two.npz", A=A, B=B, names=np.array(["a", None]))
    ignore = [].append
    np.testing.assert_array_equal(read_table("one.npz", ignore), A)
    np.testing.assert_array_equal(read_table("two.npz:B", ignore), B.reshape(3, 4))
    said = refused(capsys, "curve", "two.npz")
    assert "holds 2 tables" in said and "A (3, 2), B (3, 2, 2)" in said and "two.npz:A" in said
    assert "no array 'C', only A, B" in refused(capsys, "curve", "two.npz:C")


def test_csv_without_header_keeps_its_first_row(folder):
    notes = []
    X = np.random.default_rng(0).normal(size=(4, 3))
    np.savetxt("bare.csv", X, delimiter=",", fmt="%.17g")
    np.testing.assert_array_equal(read_table("bare.csv", notes.append), X)
    assert "no header line" in notes[0]
    pd.DataFrame(X).to_csv("numbered.csv", index=False)
    table = read_table("numbered.csv", notes.append)
    assert list(table) == ["0", "1", "2"] and np.array_equal(table, X) and len(notes) == 1
    pd.DataFrame(X).to_csv("indexed.csv")
    read_table("indexed.csv", notes.append)
    assert "index=False" in notes[1]


def test_progress_rewrites_its_line_on_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, _, err = run(capsys, "curve", "banana", "--rows", 100, "--beta", 1, 2)
    assert status == 0 and "\n" not in err
    assert err.endswith("\r\x1b[K") and err.count("\r\x1b[Krdlearn: ") == 3


def test_help_version_and_no_command(capsys):
    assert run(capsys, "--version") == (0, f"rdlearn {__version__}\n", "")
    for name in ("curve", "fit", "compress", "decompress", "info"):
        status, out, _ = run(capsys, name, "--help")
        assert status == 0 and f"example: rdlearn {name}" in out
    assert "example: rdlearn curve" in run(capsys, "--help")[1]
    status, out, err = run(capsys)
    assert (status, out) == (2, "") and err.startswith("usage: rdlearn")


def test_as_a_program(folder):
    program = [sys.executable, "-m", "rdlearn"]
    done = subprocess.run([*program, "info", "none"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "rdlearn: none: No such file or directory.\n" and done.stdout == ""


def test_a_closed_pipe_is_quiet(folder):
    program = f"{sys.executable} -m rdlearn curve banana --rows 200 --beta 1 | true"
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, env=env)
    assert "Traceback" not in done.stderr and "Broken" not in done.stderr


def test_importing_brings_no_matplotlib():
    code = "import sys, rdlearn.cli; print([m for m in sys.modules if m == 'matplotlib'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_mixed_units_bring_a_hint(capsys, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 4)) * [1.0, 2.0, 1.0, 1e5]
    np.save(tmp_path / "mixed.npy", X)
    command = ["curve", str(tmp_path / "mixed.npy"), "--beta", "0.001"]
    assert cli.main(command) == 0
    assert "--standardize\nmeasures each column" in capsys.readouterr().out
    assert cli.main([*command, "--standardize"]) == 0
    assert "--standardize" not in capsys.readouterr().out


def test_info_checks_the_chunks_of_a_stream(capsys, tmp_path):
    X = np.random.default_rng(0).standard_normal((500, 3))
    blob = PCACodec(beta=5.0).fit(X).compress(X, chunk_rows=100)
    path = tmp_path / "out.rd"
    path.write_bytes(blob)
    assert cli.main(["info", str(path)]) == 0
    assert "5 of at most 100 rows, checksums right" in capsys.readouterr().out
    flipped = bytearray(blob)
    flipped[300] ^= 4
    for damaged, words in ((blob[:-9], "truncated"), (flipped, "wrong checksum")):
        path.write_bytes(damaged)
        assert cli.main(["info", str(path)]) == 2
        assert words in capsys.readouterr().err


def test_info_of_models_without_quantizers(capsys, tmp_path):
    X = (np.random.default_rng(0).random((200, 6)) < 0.3).astype(float)
    rules = {"max_iter": 1, "random_state": 0}
    path = str(tmp_path / "m.rdl")
    DBNBlahutArimoto(3, **rules, fine_tune_epochs=1).fit(X).save(path)
    _, out, _ = run(capsys, "info", path)
    assert "model, DBNBlahutArimoto" in out and "fingerprint" in out
    assert "4 nats per unit of distortion" in out and "flips per training sample" in out
    barred = DBNBlahutArimoto(3, **rules, distortion=Hamming(a=np.inf), beta=1.0).fit(X)
    barred.save(path)
    assert "fingerprint" not in run(capsys, "info", path)[1]
    RestrictedBoltzmannMachine(3, **rules).fit(X).save(path)
    _, out, _ = run(capsys, "info", path)
    assert "model, RestrictedBoltzmannMachine" in out and "components" in out


def test_trellises_and_joint_streams(model, frame, capsys):
    target = ["--target-rate", 20, "--trellis"]
    assert run(capsys, "fit", "t.csv", "--model", "t.rdl", *target)[0] == 0
    codec = load("t.rdl")
    assert codec.quantizer == "trellis"
    for name, joint in (("a", []), ("b", ["--joint"])):
        assert run(capsys, "compress", "--model", "t.rdl", "t.csv", f"{name}.rd", *joint)[0] == 0
        status, _, _ = run(capsys, "decompress", "--model", "t.rdl", f"{name}.rd", f"{name}.npy")
        blob = codec.compress(frame, joint=bool(joint))
        assert status == 0 and (model / f"{name}.rd").read_bytes() == blob
        back = codec.decompress(blob, as_frame=True)
        np.testing.assert_array_equal(np.load(f"{name}.npy"), back.to_numpy(dtype=float))
        # Both streams can be told to be of the model.
        stream = run(capsys, "info", f"{name}.rd")[1]
        mark = next(line.split()[1] for line in stream.splitlines() if "fingerprint" in line)
        assert mark in run(capsys, "info", "t.rdl")[1]
    status, _, err = run(capsys, "compress", "--model", "m.rdl", "t.csv", "c.rd", "--joint")
    assert status == 2 and "only a fitted PCACodec(quantizer='trellis')" in err.splitlines()[-1]
    assert not (model / "c.rd").exists()
    assert "is an image" in refused(
        capsys, "compress", "--model", "t.rdl", "x.png", "c.rd", "--joint"
    )
    assert "n_bits=2 is a code of fixed length" in refused(
        capsys, "fit", "t.csv", "--model", "n.rdl", "--n-bits", 2, "--trellis"
    )
