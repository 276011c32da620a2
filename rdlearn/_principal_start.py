"""Dense nets that start as the Karhunen-Loeve transform, in steps that suit a price or a target.

Nets that start at random spend bits on all components alike, and a search for a target cannot tell
these from bits that are worth something. Small tables end before that is unlearned.
"""

import numpy as np

from rdlearn._threads import one_blas_thread
from rdlearn.distortions import SquaredError
from rdlearn.information import gaussian_distortion, gaussian_water_level, nats_to_bits
from rdlearn.nets.layers import Workspace

__all__ = ["PrincipalStart", "zeros_of"]

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
# Values this near to the median become 0, in steps: more than half, where bits have a price.
NEAR = 0.7


class PrincipalStart:
    """Sets fresh nets to the principal components of a table, and their price to what they need.

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        Centred, in units of the distortion.

    Attributes
    ----------
    plain : ndarray, float32, or None
        Parameters of the transform itself, whose decoder expects no noise, once nets have started.
    """

    def __init__(self, rows):
        self.rows, self.plain = rows, None

    def __call__(self, objective, params, inputs, beta, rng, **targets):
        """Change parameters in place; returns the price of distortion to start from.

        Parameters
        ----------
        objective : Objective
            Of dense nets.
        params : ndarray, float32
        inputs : ndarray of shape (n_samples, n_features), float32
            The rows as the encoder sees them.
        beta : float
            The price where there is no target, or where squared error tells nothing about it.
        rng : numpy.random.Generator
        **targets
            At most one of target_rate, in nats, and target_loss.
        """
        few = slice(None, None, -(-len(self.rows) // MOST_ROWS))
        rows = self.rows[few].astype(np.float64)
        with one_blas_thread():
            left, spread, _ = np.linalg.svd(rows, full_matrices=False)
        variances = spread**2 / len(rows)
        least = max(LEAST_VARIANCE * variances.sum(), np.finfo(np.float64).tiny)
        variances = variances[variances > least]
        if len(variances) == 0:
            return beta
        # By type: a distortion of a user's own may bear a known name.
        squared, price = type(objective.loss.distortion) is SquaredError, beta
        if "target_rate" in targets or squared and targets:
            price = _price(variances, **targets)
        channel = objective.channel
        kept = slice(min(len(variances), channel.n_components))
        # Columns of unit power.
        scores = left[:, kept] * np.sqrt(len(rows))
        code = scores * np.minimum(np.sqrt(variances[kept] * price / FINE), channel.widest)
        with one_blas_thread():
            self.plain = _fill(objective, params, inputs[few], scores, code, rows, rng)
        return price if squared else beta


def _price(variances, target_rate=None, target_loss=None):
    """Price of squared error at which Gaussian components of these variances meet a target."""
    if target_rate is not None:
        target_loss = gaussian_distortion(variances, nats_to_bits(target_rate))
    level = max(gaussian_water_level(variances, target_loss), LEAST_LEVEL * variances[0])
    # -dR/dD, where each component takes R = ln(variance / level) / 2.
    return 0.5 / level


def _fill(objective, params, inputs, scores, code, rows, rng):
    """Nets from inputs to a code in steps, by way of its scores, and from there to the rows.

    Returns the parameters of those whose codes have no noise, or None where nets are too narrow.
    """
    encoder, channel, decoder = objective.views(params)
    hidden = [*objective.encoder.layers[:-1], *objective.decoder.layers[:-1]]
    n_lines = min([scores.shape[1], *(layer.n_out // 2 for layer in hidden)])
    if n_lines == 0:
        return None
    codes = np.zeros((len(code), objective.channel.n_components), dtype=np.float32)
    codes[:, :n_lines] = code[:, :n_lines]
    _compute(objective.encoder, encoder, inputs, scores[:, :n_lines], codes)
    noise, plain = rng.random(codes.shape, dtype=np.float32) - np.float32(0.5), params.copy()
    for noisy, part in ((codes, objective.views(plain)[2]), (codes + noise, decoder)):
        lines = noisy[:, :n_lines] / np.sqrt((noisy[:, :n_lines] ** 2).mean(axis=0))
        _compute(objective.decoder, part, noisy, lines, objective.loss.slope * rows)
    for laws in (channel, objective.views(plain)[1]):
        objective.channel.fit_laws(laws, codes + noise)
    return plain


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


def zeros_of(values):
    """What columns of values (n, k), in steps, are best rounded about: means about the medians."""
    medians = np.median(values, axis=0)
    apart = values - medians
    near = np.abs(apart) < NEAR
    return medians + (apart * near).sum(axis=0) / np.maximum(near.sum(axis=0), 1).astype("f4")
