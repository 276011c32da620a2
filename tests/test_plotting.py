import builtins
import math
import subprocess
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from rdlearn import PCACodec
from rdlearn.datasets import gaussian_source
from rdlearn.model_selection import curve_table, rate_distortion_path, rd_scoring
from rdlearn.plotting import RateDistortionDisplay

VARIANCES = np.array([4.0, 1.0, 0.25])
TABLE = pd.DataFrame(
    {
        "codec": ["B", "A", "B", "A", "A"],
        "rate_bits": [4.0, 1.0, 2.0, np.nan, 3.0],
        "distortion": [0.4, 3.0, 1.5, 0.1, 1.0],
        "psnr_db": [30.0, 20.0, 25.0, 40.0, np.nan],
        "rate_bits_per_feature": [2.0, 0.5, 1.0, np.nan, 1.5],
        "distortion_per_feature": [0.2, 1.5, 0.75, 0.05, 0.5],
    }
)


@pytest.fixture(autouse=True)
def plt():
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    return gaussian_source(variances=VARIANCES).sample(400, random_state=0)


@pytest.fixture(scope="module")
def codecs(X):
    return [PCACodec(beta=beta).fit(X) for beta in (0.5, 2.0, 8.0)]


def points(line):
    return np.column_stack(line.get_data())


def texts(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


@pytest.mark.parametrize(
    "x, y, a, b, labels",
    [
        (
            *("rate_bits", "distortion", [(1, 3), (3, 1)], [(2, 1.5), (4, 0.4)]),
            ("Rate (bits per sample)", "Distortion per sample"),
        ),
        (
            "rate_bits",
            "psnr_db",
            [(1, 20)],
            [(2, 25), (4, 30)],
            ("Rate (bits per sample)", "PSNR (dB)"),
        ),
        (
            *("rate_bits_per_feature", "distortion_per_feature"),
            *([(0.5, 1.5), (1.5, 0.5)], [(1, 0.75), (2, 0.2)]),
            ("Rate (bits per feature)", "Distortion per feature"),
        ),
    ],
)
@pytest.mark.parametrize("as_frame", [False, True])
def test_from_table_draws_each_codec_by_rising_rate(x, y, a, b, labels, as_frame):
    table = TABLE if as_frame else {name: list(TABLE[name]) for name in TABLE}
    display = RateDistortionDisplay.from_table(table, x=x, y=y)
    assert [line.get_label() for line in display.lines_] == texts(display) == ["B", "A"]
    np.testing.assert_array_equal(points(display.lines_[0]), b)
    np.testing.assert_array_equal(points(display.lines_[1]), a)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == labels
    assert display.figure_ is display.ax_.figure
    assert display.reference_line_ is None
    assert len({line.get_marker() for line in display.lines_}) == 2
    assert len({line.get_color() for line in display.lines_}) == 2


def test_from_table_groups_by_any_column():
    table = TABLE.assign(n=[1, 1, 2, 2, 2])
    display = RateDistortionDisplay.from_table(table, by="n")
    assert texts(display) == ["1", "2"]
    np.testing.assert_array_equal(points(display.lines_[0]), [(1, 3), (4, 0.4)])


def test_one_curve_has_no_legend_and_takes_line_arguments(plt):
    table = TABLE[TABLE["codec"] == "A"]
    ax = plt.figure().subplots()
    display = RateDistortionDisplay.from_table(table, ax=ax, color="red", marker="x", label="mine")
    assert display.ax_ is ax and ax.get_legend() is None
    (line,) = display.lines_
    assert (line.get_color(), line.get_marker(), line.get_label()) == ("red", "x", "mine")
    again = RateDistortionDisplay.from_table(TABLE[TABLE["codec"] == "B"], ax=ax)
    assert texts(again) == ["mine", "B"] and len(ax.lines) == 2 and len(again.lines_) == 1
    assert again.lines_[0].get_marker() == "s"
    assert display.plot() is display
    assert display.ax_ is not ax


def test_path_and_search_tables_name_their_distortion(X):
    codec = PCACodec(distortion="absolute_error")
    path = rate_distortion_path(codec, X, [3.0, 9.0], data_range=10.0)
    display = RateDistortionDisplay.from_table(path)
    label = "Distortion per sample: absolute error\n(summed absolute units)"
    assert display.ax_.get_ylabel() == label
    np.testing.assert_array_equal(points(display.lines_[0]), path[["rate_bits", "distortion"]])
    assert RateDistortionDisplay.from_table(path, y="psnr_db").ax_.get_ylabel() == "PSNR (dB)"

    scoring = rd_scoring("absolute_error")
    search = GridSearchCV(PCACodec(), {"beta": [2.0, 8.0]}, scoring=scoring, refit=False, cv=3)
    table = curve_table(search.fit(X))
    both = RateDistortionDisplay.from_table(pd.concat([path.assign(codec="path"), table]))
    assert both.ax_.get_ylabel() == label
    assert texts(both) == ["path", "PCACodec"]
    mixed = pd.concat([path, rate_distortion_path(PCACodec(), X, [1.0])])
    assert RateDistortionDisplay.from_table(mixed).ax_.get_ylabel() == "Distortion per sample"


@pytest.mark.parametrize("distortion", [None, "squared_error", "absolute_error"])
def test_from_estimators_measures_the_codecs(X, codecs, distortion):
    display = RateDistortionDisplay.from_estimators(codecs[::-1], X, distortion=distortion)
    error = [np.abs(X - codec.reconstruct(X)) for codec in codecs]
    power = 1 if distortion == "absolute_error" else 2
    losses = [(e**power).sum(axis=1).mean() for e in error]
    rates = [codec.rate(X) for codec in codecs]
    (line,) = display.lines_
    np.testing.assert_allclose(points(line), np.column_stack([rates, losses]))
    assert line.get_label() == "PCACodec"
    name = "absolute" if power == 1 else "squared"
    assert f"{name} error\n(summed {name} units)" in display.ax_.get_ylabel()


def test_from_estimators_psnr_and_per_feature(X, codecs):
    display = RateDistortionDisplay.from_estimators(codecs, X, y="psnr_db", data_range=12.0)
    expected = [10 * math.log10(144 / np.mean((X - c.reconstruct(X)) ** 2)) for c in codecs]
    np.testing.assert_allclose(display.lines_[0].get_ydata(), expected)
    display = RateDistortionDisplay.from_estimators(
        codecs, X, x="rate_bits_per_feature", y="distortion_per_feature"
    )
    expected = [(c.rate(X) / 3, c.mean_distortion(X) / 3) for c in codecs]
    np.testing.assert_allclose(points(display.lines_[0]), expected)


def test_from_estimators_groups(X, codecs):
    pipe = make_pipeline(StandardScaler(), PCACodec(beta=3.0)).fit(X)
    draw = RateDistortionDisplay.from_estimators
    by_class = draw([*codecs, pipe], X)
    assert len(by_class.lines_) == 1 and len(by_class.lines_[0].get_xdata()) == 4
    named = draw([*codecs, pipe], X, names=["pca", "pca", "pca", "scaled"])
    given = draw({"pca": codecs, "scaled": pipe}, X)
    for display in (named, given):
        assert texts(display) == ["pca", "scaled"]
        assert [len(line.get_xdata()) for line in display.lines_] == [3, 1]
        loss = rd_scoring()(pipe, X)["distortion"]
        assert display.lines_[1].get_ydata()[0] == pytest.approx(loss)


def test_from_estimators_refuses(X, codecs):
    draw = RateDistortionDisplay.from_estimators
    other = PCACodec(beta=3.0, distortion="absolute_error").fit(X)
    with pytest.raises(ValueError, match=r"different distortions \(SquaredError\(\), Absolute"):
        draw([codecs[0], other], X)
    assert len(draw([codecs[0], other], X, distortion="squared_error").lines_) == 1
    with pytest.raises(ValueError, match="PSNR needs data_range"):
        draw(codecs, X, y="psnr_db")
    with pytest.raises(ValueError, match="Got 1 names for 3 estimators"):
        draw(codecs, X, names=["one"])
    with pytest.raises(ValueError, match="names goes with a list"):
        draw({"one": codecs}, X, names=["one"])
    for nothing in ([], {}):
        with pytest.raises(ValueError, match="no estimator"):
            draw(nothing, X)


@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("as_callable", [False, True])
def test_reference_is_the_curve_of_the_source(plt, X, codecs, scale, as_callable):
    source = gaussian_source(variances=VARIANCES)
    ax = plt.figure().subplots()
    ax.set_yscale(scale)
    reference = source.rate_bits if as_callable else source
    display = RateDistortionDisplay.from_estimators(codecs, X, reference=reference, ax=ax)
    line = display.reference_line_
    assert line.get_linestyle() == "--" and line not in display.lines_
    rates, losses = line.get_data()
    # Reverse water-filling by bisection on the level.
    for rate, loss in zip(rates[::50], losses[::50], strict=True):
        low, high = 0.0, VARIANCES.max()
        for _ in range(100):
            level = (low + high) / 2
            low, high = (level, high) if np.minimum(level, VARIANCES).sum() < loss else (low, level)
        expected = np.maximum(0.5 * np.log2(VARIANCES / level), 0).sum()
        assert rate == pytest.approx(expected, abs=1e-9)
    data = display.lines_[0].get_ydata()
    assert losses[-1] == pytest.approx(ax.get_ylim()[1]) and losses[-1] > data.max()
    assert losses[0] == pytest.approx(data.min())
    assert texts(display) == ["PCACodec", "R(D)" if as_callable else "gaussian R(D)"]


def test_reference_that_is_a_bound_or_unbounded_says_so():
    class Bounded:
        name, bound = "banana", "lower"

        def rate_bits(self, distortion):
            return -np.log2(distortion)

    display = RateDistortionDisplay.from_table(TABLE, reference=Bounded())
    assert texts(display)[-1] == "banana R(D), lower bound"
    lossless = {"codec": ["A", "A"], "rate_bits": [1.0, 2.0], "distortion": [0.0, 0.0]}
    display = RateDistortionDisplay.from_table(lossless, reference=Bounded())
    assert np.isfinite(display.reference_line_.get_xdata()).all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"x": "bits"}, "x must be one of 'rate_bits', 'rate_bits_per_feature', got 'bits'"),
        ({"y": "ssim"}, "y must be one of 'distortion', .*'psnr_db', got 'ssim'"),
        ({"by": "kind"}, "table has no column kind"),
        ({"reference": math.sqrt, "y": "psnr_db"}, "needs x='rate_bits' and y='distortion'"),
        ({"reference": math.sqrt, "x": "rate_bits_per_feature"}, "R.D. per sample"),
    ],
)
def test_from_table_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        RateDistortionDisplay.from_table(TABLE, **options)


def test_from_table_refuses_empty_tables_and_foreign_references(X):
    with pytest.raises(ValueError, match="No row of the table has codec, rate_bits and distortion"):
        RateDistortionDisplay.from_table(TABLE.iloc[3:4])
    with pytest.raises(ValueError, match="no column rate_bits and distortion"):
        RateDistortionDisplay.from_table(TABLE[["codec"]])
    path = rate_distortion_path(PCACodec(distortion="absolute_error"), X, [5.0])
    source = gaussian_source(variances=VARIANCES)
    with pytest.raises(ValueError, match="stated in 'squared_error', but .* in 'absolute_error'"):
        RateDistortionDisplay.from_table(path, reference=source)


def test_labels_stay_inside_the_figure(X):
    path = rate_distortion_path(PCACodec(), X, [0.5, 2.0, 8.0])
    display = RateDistortionDisplay.from_table(path, reference=gaussian_source(VARIANCES))
    display.figure_.canvas.draw()
    frame = display.figure_.bbox
    for artist in (display.ax_.xaxis.label, display.ax_.yaxis.label, display.ax_.get_legend()):
        box = artist.get_window_extent()
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1
        assert frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_without_matplotlib(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"matplotlib: pip install 'rdlearn\[plot\]'"):
        RateDistortionDisplay.from_table(TABLE)


def test_import_leaves_matplotlib_alone():
    code = "import sys, rdlearn.plotting; print('matplotlib' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
