"""`rdlearn curve`: the sweep, its table in words and numbers, and its picture."""

import io
import os

import numpy as np

from rdlearn import datasets
from rdlearn._info_command import say
from rdlearn._moments import smallest_gaps
from rdlearn._standard_streams import STANDARD
from rdlearn._tables_io import READABLE, check_output, read_table, write_bytes, write_table
from rdlearn.distortions import get_distortion
from rdlearn.information import gaussian_water_level, nats_to_bits
from rdlearn.model_selection import rate_distortion_path

__all__ = ["PICTURES", "default_betas", "run_curve"]

PICTURES = (".png", ".pdf", ".svg")
# Distortions in the units of the columns, and spreads so far apart that units must differ.
SCALED = ("squared_error", "absolute_error")
MIXED_UNITS = 30.0
N_BETAS = 9
# Rows drawn from a named source; the step search of another distortion takes longer a row.
DRAWN_ROWS = {"squared_error": 50_000, "hamming": 2_000}
# Rows that the prices are derived from.
GRID_ROWS = 1_000
# Steps of a net's fit: epochs are fewer on long tables, but at least so many.
NET_STEPS, NET_EPOCHS = 5_000, 20
# Bits per feature that a code must save, its residual included, before it is called best.
LEAST_GAIN = 0.01
FORMATS = {
    "codec": "{}",
    "beta": "{:.4g}",
    "n_components": "{:g}",
    "rate_bits": "{:.3f}",
    "distortion": "{:.5g}",
    "score": "{:.3f}",
    "psnr_db": "{:.2f}",
    "bytes_per_sample": "{:.3f}",
    "fit_seconds": "{:.3f}",
    "excess_bits": "{:.3f}",
}


def run_curve(args, make_codec, progress):
    """Sweep, print, save and draw, as the parsed arguments say."""
    import pandas as pd
    from sklearn.model_selection import KFold

    inputs = [args.data] if args.data else []
    out = args.out and check_output(args.out, (".csv", ".parquet"), inputs)
    plot = args.plot and check_output(args.plot, PICTURES, inputs)
    if plot:
        _check_matplotlib()
    if args.distortion:
        get_distortion(args.distortion)
    title, X, source = _data(args, progress)
    distortion = args.distortion or (source.distortion if source else "squared_error")

    values = np.asarray(X, dtype=np.float64)
    data_range = float(values.max() - values.min())
    if not np.ptp(values, axis=0).any():
        raise ValueError(f"Every column of {title} is constant: there is nothing to code.")
    betas = args.beta or default_betas(values, distortion, args.standardize)
    # Shuffled, because files are often sorted; by a seed, because tables are compared.
    folds = KFold(args.cv, shuffle=True, random_state=args.seed)
    curves, unit = [], ""
    widths = args.n_components or [None]
    todo = [(name, width) for name in args.codec for width in widths]
    for number, (name, width) in enumerate(todo):
        codec = make_codec(
            name,
            n_components=width,
            distortion=distortion,
            standardize=args.standardize,
            random_state=args.seed,
        )
        # A codec that starts from the fit before needs all prices in one call.
        warm = "warm_start" in codec.get_params()
        if warm:
            steps = -(-len(X) * (args.cv - 1) // (args.cv * 100))
            epochs = max(NET_EPOCHS, min(codec.max_iter, -(-NET_STEPS // steps)))
            codec.set_params(max_iter=epochs)
            progress.note(f"{name}: nets are fitted for {epochs} epochs.")
        for done, part in enumerate([betas] if warm else [[beta] for beta in sorted(betas)]):
            label = ", ".join(f"{beta:.4g}" for beta in part)
            step = f"curve {number + 1} of {len(todo)} ({name}), beta = {label}"
            progress.show(f"{step} ({done + 1} of {len(betas)})" if not warm else step)
            table = rate_distortion_path(
                codec, X, part, cv=folds, n_jobs=args.jobs, data_range=data_range
            )
            unit = table.attrs["distortion_unit"]
            table.attrs.clear()
            label_of = table["codec"].iloc[0] + (", flow" if name == "iaf" else "")
            suffix = "" if width is None else f", {width} components"
            curves.append(table.assign(codec=label_of, curve=label_of + suffix))
    progress.clear()

    table = pd.concat(curves, ignore_index=True)
    table["excess_bits"] = np.nan
    known = source is not None and source.distortion == distortion and not args.standardize
    if known:
        rate_bits = source.rate_bits(table["distortion"].to_numpy())
        table["excess_bits"] = table["rate_bits"] - rate_bits
    if args.standardize:
        unit += ", standardized"
    nothing = score_of_nothing(values, folds, distortion, args.standardize)
    _print_table(
        table, args, title, X, distortion, unit, data_range, source if known else None, nothing
    )
    if distortion in SCALED and source is None and not args.standardize:
        _hint_at_units(values)
    if out:
        rest = [name for name in table if name not in FORMATS and name != "curve"]
        write_table(out, [table[[*FORMATS, *rest]]], len(table))
        say(f"table: {args.out}")
    if plot:
        table.attrs.update(distortion=distortion, distortion_unit=unit)
        write_bytes(plot, _picture(table, title, source if known else None, plot))
        say(f"plot: {args.plot}")


def _hint_at_units(X):
    spread = X.std(axis=0)
    spread = spread[spread > 0]
    ratio = spread.max() / np.median(spread)
    if ratio > MIXED_UNITS:
        print(
            f"The largest spread of a column is {ratio:.3g} times the usual one and decides alone; "
            "--standardize\nmeasures each column in its own standard deviation."
        )


def default_betas(X, distortion, standardize):
    """Prices from where little is coded to where little is lost, whatever the units of X."""
    X = X[:: -(-len(X) // GRID_ROWS)]
    X = X - X.mean(axis=0)
    if standardize:
        deviation = X.std(axis=0)
        X = X / np.where(deviation > 0, deviation, 1.0)
    name = get_distortion(distortion).name
    if name == "squared_error":
        # On a Gaussian with these principal variances the water level is 1 / (2 beta).
        gram = X @ X.T if len(X) < X.shape[1] else X.T @ X
        variances = np.clip(np.linalg.eigvalsh(gram) / len(X), 0.0, None)
        total = variances.sum()
        ends = [0.5 / gaussian_water_level(variances, part * total) for part in (0.8, 0.002)]
    elif name == "absolute_error":
        # On a Laplace source beta is 1 / distortion.
        spread = np.abs(X).mean(axis=0)
        ends = np.array([0.3, 30.0]) / spread[spread > 0].mean()
    else:  # these losses have units of their own, a wrong bit or a nat
        ends = (0.7, 10.0)
    # Three digits are as good, and can be typed again.
    return [float(f"{beta:.3g}") for beta in np.geomspace(*ends, N_BETAS)]


def _data(args, progress):
    """Return a title, the table, and the source it was drawn from (None for a file)."""
    name = args.data
    if name is None:
        from sklearn.datasets import load_digits

        return "the digits of scikit-learn", load_digits().data, None
    if name == STANDARD:
        return "standard input", read_table(name, progress.note), None
    if name not in datasets.SOURCES or os.path.isfile(name):
        if not os.path.exists(name) and os.path.splitext(name)[1] == "":
            raise ValueError(
                f"{name!r} is no file ({', '.join(READABLE)}) and no source "
                f"({', '.join(datasets.SOURCES)})."
            )
        return name, read_table(name, progress.note), None
    source = datasets.source(name)
    n_rows = args.rows or DRAWN_ROWS[source.distortion]
    progress.show(f"drawing {n_rows} rows of {name}")
    return f"the source {name} (seed {args.seed})", source.sample(n_rows, args.seed), source


def score_of_nothing(X, folds, distortion, standardize):
    """Score of the mean of each column alone, in nats per sample.

    It is learned and measured on the same rows as the codecs' scores.
    """
    distortion = get_distortion(distortion)
    scores = []
    for train, test in folds.split(X):
        mean, deviation = X[train].mean(axis=0), X[train].std(axis=0)
        units = np.where(deviation > 0, deviation, 1.0) if standardize else np.ones(X.shape[1])
        mean = distortion.reproduction(mean[None])
        scale = distortion.fit_scale(X[train] / units, np.repeat(mean, len(train), axis=0) / units)
        nats = distortion.log_mass(
            X[test] / units,
            np.repeat(mean, len(test), axis=0) / units,
            scale,
            smallest_gaps(X[train]) / units,
        )
        scores.append(nats.sum(axis=1).mean())
    return float(np.mean(scores))


def _print_table(table, args, title, X, distortion, unit, data_range, source, nothing):
    say(f"{title}: {len(X)} rows, {X.shape[1]} features")
    print(
        f"Each line is one price beta (nats per unit of distortion), measured on held-out rows, "
        f"mean of {args.cv} folds."
    )
    print(f"rate_bits: per sample. distortion: {distortion.replace('_', ' ')} per sample ({unit}).")
    print(
        f"score: nats per sample, higher is better. psnr_db: for a data range of {data_range:g}. "
        "fit_seconds: one fit."
    )
    print()
    best = table["score"].idxmax() if table["score"].notna().any() else None
    gain = np.nan if best is None else nats_to_bits(table["score"][best] - nothing)
    if gain <= LEAST_GAIN * X.shape[1]:
        best = None
    shown = {
        name: ["-" if value != value else form.format(value) for value in table[name]]
        for name, form in FORMATS.items()
    }
    widths = {name: max(len(name), *map(len, cells)) for name, cells in shown.items()}
    lines = zip(*([name, *column] for name, column in shown.items()), strict=True)
    for row, cells in enumerate(lines, start=-1):
        line = "  ".join(map(str.rjust, cells, widths.values()))
        print(line + (" *" if row == best else ""))
    print()
    if best is not None:
        place = f"beta = {table['beta'][best]:.4g}"
        if table["curve"].nunique() > 1:
            place += f" of {table['curve'][best]}"
        print(f"* best score, at {place}{_at_the_end(table, best)}")
    elif gain == gain:
        print(
            f"No line is marked: keeping nothing but the mean of each column scores {nothing:.3f} "
            "nats, and no code here\nbeats that by more than 0.01 bit per feature. Choose a line "
            "by the loss that you can bear."
        )
    for name, sizes in table.dropna(subset="model_bytes").groupby("curve", sort=False):
        low, high = (int(size) for size in (sizes["model_bytes"].min(), sizes["model_bytes"].max()))
        print(f"model of {name}: {low} to {high} bytes as saved, not in bytes_per_sample.")
    if source is not None and source.bound == "exact":
        print("excess_bits: rate_bits minus R(D) at the measured distortion.")
        if source.name.startswith("gaussian"):
            print("Scalar quantization at its best takes up to 0.255 bit of it a coded component.")
    elif source is not None:
        print(
            "excess_bits: rate_bits minus a lower bound of R(D) at the measured distortion; "
            "the excess over R(D) is at most this."
        )
    if args.beta is None:
        print("prices: chosen from the spread of the data; --beta sets others.")


def _at_the_end(table, best):
    betas = table["beta"]
    if betas.nunique() > 1 and betas[best] in (betas.min(), betas.max()):
        direction = "larger" if betas[best] == betas.max() else "smaller"
        return f", the end of the grid: {direction} prices may score better."
    return ": rate and residual together take the fewest nats there."


def _check_matplotlib():
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ImportError("--plot needs matplotlib: pip install 'rdlearn[plot]'.") from None


def _picture(table, title, source, path):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from rdlearn.plotting import RateDistortionDisplay

    # A figure of its own: pyplot would pick a backend, which may want a screen.
    figure = Figure(layout="constrained", dpi=150)
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    if (table["distortion"] > 0).all():
        ax.set_yscale("log")
    RateDistortionDisplay.from_table(table, by="curve", reference=source, ax=ax)
    ax.set_title(title, parse_math=False)
    file = io.BytesIO()
    figure.savefig(file, format=os.path.splitext(path)[1][1:].lower())
    return file.getvalue()
