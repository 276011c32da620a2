"""How PCACodec finds its price and freezes its quantizers: on some rows, where those will do."""

import contextlib
import functools

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from rdlearn._console import Progress
from rdlearn._landing import approach, elasticity, land
from rdlearn._moments import spaced_rows
from rdlearn._training import (
    REACH,
    best_slope,
    local_price,
    meet_target,
    search_beta,
    slope_bounds,
    warn,
)
from rdlearn.coding.container import MAX_CHUNK
from rdlearn.coding.quantizers import ScalarQuantizers, SortedColumns, repriced
from rdlearn.coding.trellis_design import SHORT, TrellisDesign
from rdlearn.information import bits_to_nats, nats_to_bits
from rdlearn.kernels.products import affine

__all__ = ["BLOCK_ROWS", "DesignMixin"]

# Rows that are quantized at a time, and values that are measured at a time.
BLOCK_ROWS, BLOCK_VALUES = 1024, 1 << 17
# Rows on which a distortion other than squared error is measured during the search.
SEARCH_VALUES = 1 << 21
# Order statistics of each component that searches look at.
SEARCH_ROWS = 1 << 16
# Prices at which a trellis is sketched before it is designed.
SKETCHES = 4
# How far the variances of some rows may be from those of all, relative and in shares of the first.
SPREAD, LEAST_SHARE = 0.1, 1e-6


class DesignMixin:
    """The search for quantizers in PCACodec, once its transform is set."""

    def _design(self, X, lost):
        """Choose the price and freeze quantizers and tables."""
        rows, done = spaced_rows(X), False
        if len(rows) < len(X):
            # What some rows refuse, all may take; if not, the complaint is about all.
            with contextlib.suppress(ValueError):
                done = self._design_on(rows, X, lost)
            if not done:
                self._show(f"{len(rows)} rows will not do; all {len(X)} are designed on")
        if not done:
            self._design_on(X, X, lost)
        if self.verbose:
            Progress().clear()

    def _design_on(self, rows, X, lost):
        """Design for `rows`; returns whether it will do for X, of which they are part."""
        scores = np.empty((len(rows), self.n_components_))
        weights = np.ascontiguousarray((self.components_ / self._units()).T)
        affine(rows, self.mean_, weights, np.zeros(self.n_components_), scores)
        sample = SortedColumns(scores)
        variance = self.explained_variance_
        if len(rows) < len(X) and not np.allclose(
            sample.square / len(rows), variance, rtol=SPREAD, atol=LEAST_SHARE * variance.max()
        ):
            return False
        self._history = {"rate_bits": [], "distortion": [], "objective": [], "beta": []}
        vars(self).pop("joint_quantizers_", None)
        if self.n_bits is not None:
            self.quantizers_ = ScalarQuantizers.fixed_rate(sample, self.n_bits)
            self.beta_, self.n_iter_ = float(self.beta), 1
            self._remember(self.beta_, *self._measure(X))
            return True
        few = X[:: -(-X.size // SEARCH_VALUES)]
        # Squared error is the one distortion whose price is the slope of the cells.
        direct = self.distortion_.name == "squared_error"
        thin = sample.thinned(SEARCH_ROWS)
        designs = functools.partial(ScalarQuantizers.design, sample)

        def reached(slope):
            nats, error = ScalarQuantizers.measure(thin, slope)
            return nats_to_bits(nats), error

        sketches = functools.partial(ScalarQuantizers.design, thin)
        measure = self._measure_on(few, sketches, reached if direct else None, lost)
        measured, suits = None, True
        bounds = slope_bounds(float(self.explained_variance_.max()))
        start = float(self.beta)
        targets = {"target_rate": self.target_rate, "target_distortion": self.target_distortion}
        asked = any(targets.values())
        search = functools.partial(meet_target, measure, start=start, bounds=bounds, **targets)
        relearned = None
        if self.quantizer == "trellis":
            trellis = TrellisDesign(scores, len(X), tell=self._show_round)
            designs, sketch, relearned = trellis.rows, trellis.sketch, trellis.relearned
            scalars, reached = measure, sketch.measure_rows if direct else None
            measure = self._measure_on(few, sketch.rows, reached, lost)
            if asked:
                # Scalars are quick, and sketches quicker than designs.
                which = int(self.target_rate is None)
                start, _ = search_beta(scalars, start, bounds, **targets)
                hunt = {"steepness": elasticity(scalars, start, which), "bounds": bounds, **targets}
                if sketch is not trellis:
                    *_, (start, _, _) = approach(measure, start, most=SKETCHES, **hunt)
                search = functools.partial(land, start=start, **hunt)
                designs = functools.partial(designs, most=SHORT)
        if asked:
            slope, measured, reached, tried = self._meet_target(designs, X, search, relearned)
            name, target = next(item for item in targets.items() if item[1] is not None)
            suits = REACH * target <= reached <= target
            if reached < REACH * target and len(rows) == len(X):
                warn(
                    f"{name}={target:g}: the {len(X)} training samples allow {reached:.4g} and "
                    "nothing closer below it, since their rate moves in steps; fit on more "
                    "samples or choose another target.",
                    ConvergenceWarning,
                )
            for step in tried:
                self._remember(*step)
            fitted = self.quantizers_
            self.beta_ = slope if direct else local_price(measure, slope)
            self.quantizers_ = fitted
        else:
            self.beta_ = float(self.beta)
            slope = self.beta_ if direct else best_slope(measure, self.beta_, bounds)
            self.quantizers_, self.n_iter_ = designs(slope)
        if measured is None or len(few) < len(X):
            measured = self._measure(few)
        self._remember(self.beta_, *measured)
        if self.quantizer == "trellis":
            fitted = self.quantizers_
            if asked:
                joints = functools.partial(trellis.joint, most=SHORT)
                search = functools.partial(land, start=slope, **hunt)
                self._meet_target(joints, X, search, relearned)
            else:
                self.quantizers_, _ = trellis.joint(slope)
            self.quantizers_, self.joint_quantizers_ = fitted, self.quantizers_
            self.n_iter_ = trellis.n_iter
        return suits

    def _measure_on(self, few, sketches, reached, lost):
        """A function from slopes to about the (bits, distortion) that a design there has.

        Of squared error it is what is `reached` before the `lost` variance; of other distortions
        that of the rows `few` under `sketches` of the design.
        """

        def measure(slope):
            if reached is not None:
                bits, error = reached(slope)
                return bits, error + lost
            self.quantizers_, _ = sketches(slope)
            return self._measure(few)

        return measure

    def _meet_target(self, designs, X, search, relearned=None):
        """Set the quantizers that meet the target on X, which `search` finds by finished designs.

        Of a trellis, `relearned` makes of quantizers what one more round does.
        Returns the slope of their design, (bits, distortion) of X, which of them the target is
        of, and the (slope, bits, distortion) of the search.
        """
        known = {}

        def design(slope):
            if slope not in known:
                known[slope] = designs(slope)
            return known[slope]

        @functools.cache
        def finished(slope, price):
            quantizers, self.n_iter_ = design(slope)
            self.quantizers_ = repriced(quantizers, price)
            bits, loss = self._measure(X)
            self._show(f"price {slope:.5g}: {bits:.5g} bits, distortion {loss:.5g}")
            return self.n_iter_, self.quantizers_, (bits, loss)

        def finish(slope, price):
            self.n_iter_, self.quantizers_, measured = finished(slope, price)
            return measured

        def relearn(slope, price):
            finish(slope, price)
            learned = relearned(self.quantizers_)
            while price in known:
                # Designs are named by their slope, which has to differ.
                price = float(np.nextafter(price, 0))
            known[price] = learned
            return price

        if relearned is not None:
            search = functools.partial(search, relearn=relearn)
        slope, price, reached, tried = search(finish=finish)
        return slope, finish(slope, price), reached, tried

    def _measure(self, X):
        """(bits, distortion) a row of the codec as it stands."""
        bits, loss = np.empty((2, len(X)))
        block_rows = max(1, BLOCK_VALUES // X.shape[1])
        if self._rows_depend:
            # Of a chunk, as `compress` makes them.
            block_rows = max(1, MAX_CHUNK // max(1, self._tables.n_columns))
        for start in range(0, len(X), block_rows):
            rows = slice(start, start + block_rows)
            draws, bits[rows] = self._coded(X[rows])
            loss[rows] = self._losses(X[rows], draws)
        return float(np.mean(bits)), float(np.mean(loss))

    def _show(self, text):
        if self.verbose:
            Progress().show(text)

    def _show_round(self, quantizers, n_samples, n_rounds, bits):
        order = "columns" if quantizers.tables.joint else "rows"
        self._show(
            f"trellis through {order} of {n_samples} x {quantizers.n_columns}, price "
            f"{quantizers.slope:.5g}: round {n_rounds}, {bits:.5g} bits"
        )

    def _remember(self, beta, rate_bits, distortion):
        objective = bits_to_nats(rate_bits) + beta * distortion
        step = (rate_bits, distortion, objective, beta)
        for column, value in zip(self._history.values(), step, strict=True):
            column.append(value)
