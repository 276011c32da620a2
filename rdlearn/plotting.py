"""Pictures of rate-distortion curves."""

import numpy as np

from rdlearn._curves import last_step
from rdlearn.distortions import get_distortion
from rdlearn.metrics import psnr_db
from rdlearn.model_selection import rd_scoring

__all__ = ["RateDistortionDisplay"]

_X_LABELS = {
    "rate_bits": "Rate (bits per sample)",
    "rate_bits_per_feature": "Rate (bits per feature)",
}
_Y_LABELS = {
    "distortion": "Distortion per sample",
    "distortion_per_feature": "Distortion per feature",
    "psnr_db": "PSNR (dB)",
}
_MARKERS = "osD^vP*X"


class RateDistortionDisplay:
    """Rate-distortion curves, one line for each codec, against R(D) where it is known.

    Make it with `from_estimators` or `from_table`; both draw at once.

    Parameters
    ----------
    curves : dict of str to (ndarray of shape (n_points,), ndarray of shape (n_points,))
        Abscissae and ordinates of each curve, in plotting order.
    x : {"rate_bits", "rate_bits_per_feature"}, default="rate_bits"
        What the abscissae are.
    y : {"distortion", "distortion_per_feature", "psnr_db"}, default="distortion"
        What the ordinates are.
    distortion : str, default=None
        Name of the distortion, for the axis label.
    distortion_unit : str, default=None
        Its unit, for the axis label.
    reference : Source or callable, default=None
        R(D) in bits per sample, as ``reference.rate_bits(distortion)`` (a `Source` of
        `rdlearn.datasets`) or ``reference(distortion)``; drawn as a dashed line.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One for each curve.
    reference_line_ : matplotlib Line2D or None

    Examples
    --------
    >>> from rdlearn.plotting import RateDistortionDisplay
    >>> table = {"codec": ["A", "A"], "rate_bits": [1.0, 2.0], "distortion": [0.5, 0.2]}
    >>> display = RateDistortionDisplay.from_table(table)
    """

    def __init__(
        self,
        curves,
        *,
        x="rate_bits",
        y="distortion",
        distortion=None,
        distortion_unit=None,
        reference=None,
    ):
        self.curves = curves
        self.x = x
        self.y = y
        self.distortion = distortion
        self.distortion_unit = distortion_unit
        self.reference = reference

    @classmethod
    def from_estimators(
        cls,
        estimators,
        X,
        *,
        names=None,
        distortion=None,
        data_range=None,
        reference=None,
        ax=None,
        x="rate_bits",
        y="distortion",
        **line_kwargs,
    ):
        """Measure fitted codecs on `X` and draw their curves.

        Parameters
        ----------
        estimators : list, or dict of str to codec or list of codecs
            Fitted codecs, or Pipelines that end in one. The codecs under one name are the points
            of one curve; in a list, those of one class.
        X : array-like or DataFrame of shape (n_samples, n_features)
            Data to measure on.
        names : list of str, default=None
            Curve of each estimator of a list; equal names make one curve.
        distortion : str or Distortion, default=None
            What all are measured by, in the original units, as in
            `rdlearn.model_selection.rd_scoring`. None means the codecs' own, which must agree.
            PSNR is a squared error, whatever is named here.
        data_range : float, default=None
            Distance from the smallest to the largest possible value, needed for `psnr_db`.
        reference, x, y :
            As for the class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **line_kwargs : dict
            Passed to ``Axes.plot`` for every curve.

        Returns
        -------
        display : RateDistortionDisplay

        Raises
        ------
        ValueError
            If the codecs were trained on different distortions and `distortion` is None, if
            `psnr_db` is asked for without `data_range`, or if `names` has another length than
            `estimators`.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from rdlearn import PCACodec
        >>> from rdlearn.plotting import RateDistortionDisplay
        >>> X = load_iris().data
        >>> codecs = [PCACodec(beta=beta).fit(X) for beta in (10.0, 30.0, 100.0)]
        >>> display = RateDistortionDisplay.from_estimators(codecs, X)
        """
        import pandas as pd

        groups = _grouped(estimators, names)
        if y == "psnr_db":
            if data_range is None:
                raise ValueError("PSNR needs data_range, the span of the possible values.")
            distortion = "squared_error"
        elif distortion is None:
            distortion = _common_distortion(sum(groups.values(), []))
        distortion = get_distortion(distortion)
        scoring, n_features = rd_scoring(distortion), np.shape(X)[1]
        points = []
        for name, group in groups.items():
            for estimator in group:
                point = {"codec": name} | scoring(estimator, X)
                for value in ("rate_bits", "distortion"):
                    point[f"{value}_per_feature"] = point[value] / n_features
                if y == "psnr_db":
                    point["psnr_db"] = psnr_db(point["distortion_per_feature"], data_range)
                points.append(point)
        table = pd.DataFrame(points)
        table.attrs.update(distortion=distortion.name, distortion_unit=distortion.unit)
        return cls.from_table(table, reference=reference, ax=ax, x=x, y=y, **line_kwargs)

    @classmethod
    def from_table(
        cls,
        table,
        *,
        by="codec",
        reference=None,
        ax=None,
        x="rate_bits",
        y="distortion",
        **line_kwargs,
    ):
        """Draw the curves of a table of operating points.

        Parameters
        ----------
        table : DataFrame or mapping of columns
            As `rate_distortion_path` and `curve_table` return, also several of them put together
            by ``pandas.concat``. Rows with NaN are left out.
        by : str, default="codec"
            Column whose values tell the curves apart.
        reference, x, y :
            As for the class.
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **line_kwargs : dict
            Passed to ``Axes.plot`` for every curve.

        Returns
        -------
        display : RateDistortionDisplay

        Raises
        ------
        ValueError
            If a column is missing, `x` or `y` is unknown, no row has both values, or `reference`
            does not fit the axes or the distortion.
        ImportError
            If matplotlib is not installed.

        Examples
        --------
        >>> from rdlearn.plotting import RateDistortionDisplay
        >>> table = {"codec": ["A", "A"], "rate_bits": [1.0, 2.0], "distortion": [0.5, 0.2]}
        >>> display = RateDistortionDisplay.from_table(table)
        """
        import pandas as pd

        if not isinstance(table, pd.DataFrame):
            table = pd.DataFrame(table)
        for name, value, known in (("x", x, _X_LABELS), ("y", y, _Y_LABELS)):
            if value not in known:
                raise ValueError(f"{name} must be one of {_listed(known)}, got {value!r}.")
        missing = [name for name in (by, x, y) if name not in table]
        if missing:
            raise ValueError(f"The table has no column {' and '.join(missing)}.")
        usable = table.dropna(subset=[by, x, y])
        if usable.empty:
            raise ValueError(f"No row of the table has {by}, {x} and {y}.")
        curves = {}
        for name, group in usable.groupby(by, sort=False):
            group = group.sort_values(x, kind="stable")
            curves[name] = (group[x].to_numpy(), group[y].to_numpy())
        display = cls(
            curves,
            x=x,
            y=y,
            distortion=table.attrs.get("distortion"),
            distortion_unit=table.attrs.get("distortion_unit"),
            reference=reference,
        )
        return display.plot(ax, **line_kwargs)

    def plot(self, ax=None, **line_kwargs):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a new figure.
        **line_kwargs : dict
            Passed to ``Axes.plot`` for every curve.

        Returns
        -------
        self : RateDistortionDisplay

        Raises
        ------
        ValueError
            If `reference` does not fit the axes or the distortion.
        ImportError
            If matplotlib is not installed.
        """
        self._check_reference()
        if ax is None:
            ax = _pyplot().subplots(layout="constrained")[1]
        self.ax_, self.figure_ = ax, ax.figure
        self.lines_ = []
        for name, points in self.curves.items():
            marker = _MARKERS[len(ax.lines) % len(_MARKERS)]  # also differs from lines drawn before
            self.lines_ += ax.plot(*points, **{"marker": marker, "label": str(name)} | line_kwargs)
        self.reference_line_ = None if self.reference is None else self._plot_reference()

        y_label = _Y_LABELS[self.y]
        if self.y != "psnr_db" and self.distortion is not None:
            y_label += f": {self.distortion.replace('_', ' ')}"
            if self.distortion_unit is not None:
                y_label += f"\n({self.distortion_unit})"
        ax.set(xlabel=_X_LABELS[self.x], ylabel=y_label)
        ax.grid(alpha=0.3)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
        if len(ax.lines) > 1:
            ax.legend(loc="best", frameon=False)
        return self

    def _check_reference(self):
        if self.reference is None:
            return
        if (self.x, self.y) != ("rate_bits", "distortion"):
            raise ValueError(
                "reference is R(D) per sample: it needs x='rate_bits' and y='distortion', got "
                f"x={self.x!r} and y={self.y!r}."
            )
        own = getattr(self.reference, "distortion", self.distortion)
        if self.distortion is not None and own != self.distortion:
            raise ValueError(
                f"reference is stated in {own!r}, but the curves are measured in "
                f"{self.distortion!r}."
            )

    def _plot_reference(self):
        losses = np.concatenate([losses for _, losses in self.curves.values()])
        high = self.ax_.get_ylim()[1]
        # Not from the bottom of the axis: R(D) would stretch the picture where no curve goes.
        low = losses[losses > 0].min(initial=high)
        grid = np.geomspace(low, high, 300)
        rate_bits = getattr(self.reference, "rate_bits", self.reference)
        label = getattr(self.reference, "name", "")
        bound = getattr(self.reference, "bound", "exact")
        label = f"{label} R(D)".strip() + ("" if bound == "exact" else f", {bound} bound")
        rates = [rate_bits(float(loss)) for loss in grid]
        style = {"linewidth": 1.2, "label": label, "zorder": 1}
        (line,) = self.ax_.plot(rates, grid, "k--", scaley=False, **style)
        return line


def _pyplot():
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            "RateDistortionDisplay needs matplotlib: pip install 'rdlearn[plot]'."
        ) from error
    return plt


def _listed(names):
    return ", ".join(repr(name) for name in names)


def _common_distortion(estimators):
    own = {last_step(estimator).distortion_: None for estimator in estimators}
    if len(own) != 1:
        raise ValueError(
            f"The codecs were trained on different distortions ({_listed(own)}): name the one to "
            "measure them all by, for example distortion='squared_error'."
        )
    return next(iter(own))


def _grouped(estimators, names):
    """Return the estimators of each curve by its name, in order of appearance."""
    if not len(estimators):
        raise ValueError("There is no estimator to draw.")
    if isinstance(estimators, dict):
        if names is not None:
            raise ValueError("names goes with a list of estimators; a dict has its own names.")
        return {
            name: list(group) if isinstance(group, (list, tuple)) else [group]
            for name, group in estimators.items()
        }
    if names is None:
        names = [type(last_step(estimator)).__name__ for estimator in estimators]
    if len(names) != len(estimators):
        raise ValueError(f"Got {len(names)} names for {len(estimators)} estimators.")
    curves = {}
    for name, estimator in zip(names, estimators, strict=True):
        curves.setdefault(name, []).append(estimator)
    return curves
