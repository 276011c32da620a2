"""Dense nets that start as the Karhunen-Loeve transform, in steps that suit a price or a target.

Nets that start at random spend bits on all components alike, and a search for a target cannot tell
these from bits that are worth something. Small tables end before that is unlearned.
"""

import numpy as np

from rdlearn._threads import one_blas_thread
from rdlearn.information import gaussian_distortion, gaussian_water_level, nats_to_bits
from rdlearn.nets.layers import Workspace

__all__ = ["PrincipalStart"]

# Rows that the principal components are computed from, spread over the table.
MOST_ROWS = 2000
# Directions of less than this part of the largest variance are rounding errors.
LEAST_VARIANCE = 1e-6
# Price of squared error times the squared step, at high rate (Gish & Pierce 1968).
FINE = 6.0
# The smallest water level, in units of the largest variance: about 20 bits for a component.
LEAST_LEVEL = 4.0**-18
# Singular values of least squares that are smaller, as a part of the largest, count as 0.
CUT = 1e-4


class PrincipalStart:
    """Principal components of a table, and dense nets that compute and undo them.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Centred, in units of the distortion.
    n_components : int
        Size of the bottleneck.
    """

    def __init__(self, rows, n_components):
        rows = self.few(rows).astype(np.float64)
        with one_blas_thread():
            left, spread, _ = np.linalg.svd(rows, full_matrices=False)
        self.total = float(np.mean((rows**2).sum(axis=1)))
        variances = spread[:n_components] ** 2 / len(rows)
        variances = variances[variances > LEAST_VARIANCE * self.total]
        self.rows, self.n_components, self.variances = rows, n_components, variances
        # Columns of unit power.
        self.scores = left[:, : len(variances)] * np.sqrt(len(rows))

    @staticmethod
    def few(rows):
        """The rows of a table that a start looks at."""
        return rows[:: -(-len(rows) // MOST_ROWS)]

    def price(self, target_rate=None, target_loss=None):
        """Price of squared error at which Gaussian rows of these variances meet a target.

        The rate is in nats; the loss is squared error.
        """
        if target_rate is not None:
            target_loss = gaussian_distortion(self.variances, nats_to_bits(target_rate))
        else:
            # What the bottleneck leaves out is lost in any case.
            target_loss = max(0.0, target_loss - (self.total - self.variances.sum()))
        level = gaussian_water_level(self.variances, target_loss)
        # By definition -dR/dD, with R = ln(variance / level) / 2 of each component.
        return 0.5 / max(level, LEAST_LEVEL * self.variances[0])

    def fill(self, objective, params, inputs, slope, price, rng):
        """Set fresh parameters to those of the transform and its inverse.

        Parameters
        ----------
        objective : Objective
        params : ndarray
            Changed in place.
        inputs : ndarray of shape (n, n_features), float32
            The rows of `few`, as the encoder sees them.
        slope : float
            Of decoder outputs by the features.
        price : float
            Price of squared error that the steps of the code suit.
        rng : numpy.random.Generator
        """
        encoder, channel, decoder = objective.views(params)
        hidden = [layer.n_out for net in (objective.encoder, objective.decoder) for layer in net.layers[:-1]]
        n_lines = min([self.scores.shape[1], *(width // 2 for width in hidden)])
        if n_lines == 0:
            return
        step = np.sqrt(FINE / price)
        lines = self.scores[:, :n_lines]
        code = np.zeros((len(lines), self.n_components), dtype=np.float32)
        code[:, :n_lines] = lines * np.sqrt(self.variances[:n_lines]) / step
        with one_blas_thread():
            _compute(objective.encoder, encoder, inputs, lines, code)
            code += rng.random(code.shape, dtype=np.float32) - np.float32(0.5)
            lines = code[:, :n_lines] / code[:, :n_lines].std(axis=0)
            _compute(objective.decoder, decoder, code, lines, slope * self.rows)
        objective.channel.fit_laws(channel, code)


def _compute(net, views, x, lines, outputs):
    """Weights with which a dense net computes outputs from x by way of the given lines.

    In each hidden layer a line, which is a linear function of x of unit power, takes two units of
    opposite signs, whose difference is linear or close to it. All others keep their random weights
    and wait for the last layer to find a use for them.
    """
    work, n_lines, features, values = Workspace(), lines.shape[1], x, x
    for layer, part in zip(net.layers[:-1], views[:-1], strict=True):
        to_line = _solved(features, lines, paired=features is not x)
        part["weights"][:, : 2 * n_lines] = 0
        part["weights"][: len(to_line), : 2 * n_lines] = np.hstack([to_line, -to_line])
        values = layer.forward(part, values, work, "start")[0].copy()
        features = values[:, :n_lines] - values[:, n_lines : 2 * n_lines]
    to_output = _solved(features, outputs, paired=features is not x)
    views[-1]["weights"][:] = 0
    views[-1]["weights"][: len(to_output)] = to_output


def _solved(features, wanted, paired):
    """Least-squares weights from features, of either sign where each is that of a pair of units."""
    weights = np.linalg.lstsq(features, wanted, rcond=CUT)[0]
    return np.concatenate([weights, -weights]) if paired else weights
