"""Distortions: what a reproduction loses, its gradient, and the noise model behind it.

Most losses are a likelihood in disguise: squared error is a Gaussian, absolute error a Laplace law,
Hamming distortion random bit flips. `Distortion.log_mass` prices residuals in nats by that law.
"""

import math

import numpy as np
from scipy.special import expit, log_expit, xlog1py, xlogy

from rdlearn._cells import log_exponential_cell, log_normal_cell
from rdlearn._distortion import Distortion
from rdlearn._perceptual import NLPD, ImageDistortion, MultiScaleSSIM

__all__ = [
    "NLPD",
    "AbsoluteError",
    "Bernoulli",
    "Distortion",
    "Hamming",
    "MultiScaleSSIM",
    "SquaredError",
    "get_distortion",
]


class SquaredError(Distortion):
    r"""Squared error :math:`d(x, \hat x) = \sum_j (x_j - \hat x_j)^2`, in summed squared units.

    The noise model is Gaussian (Berger, Rate Distortion Theory, 1971) with deviation `scale`,
    :math:`P = \Phi((e + r/2)/\sigma) - \Phi((e - r/2)/\sigma)`, :math:`e = x - \hat x`. `fit_scale`
    returns the RMS residual, but at least 1e-6 of the RMS of the training data about their column
    means (and 1.2e-38), so that a perfect fit still gives unseen rows a finite likelihood.

    Examples
    --------
    >>> x, x_hat = np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])
    >>> SquaredError().samples(x, x_hat)
    array([5.])
    >>> SquaredError().log_mass(x, x_hat, scale=2.0, resolution=np.array([1.0, 0.5])).round(3)
    array([[-1.745, -2.805]])
    """

    name = "squared_error"
    unit = "summed squared units"
    has_noise_model = True

    def elementwise(self, x, x_hat):
        return np.square(x - x_hat)

    def gradient(self, x, x_hat):
        return 2 * (x_hat - x)

    def fit_scale(self, x, x_hat):
        return _floor_scale(np.sqrt(self.per_feature(x.astype(np.float64), x_hat).mean()), x)

    def log_mass(self, x, x_hat, scale, resolution):
        return log_normal_cell(*_in_scales(x, x_hat, scale, resolution))


class AbsoluteError(Distortion):
    r"""Absolute error :math:`d(x, \hat x) = \sum_j |x_j - \hat x_j|`, in summed absolute units.

    The noise model is a Laplace law with density :math:`e^{-|x - \hat x|/b} / 2b` and `scale` b,
    integrated over the cell. `fit_scale` returns the mean absolute residual, with the floor of
    `SquaredError`. The gradient at a zero residual is 0.

    Examples
    --------
    >>> AbsoluteError().samples(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]]))
    array([3.])
    """

    name = "absolute_error"
    unit = "summed absolute units"
    has_noise_model = True

    def elementwise(self, x, x_hat):
        return np.abs(x - x_hat)

    def gradient(self, x, x_hat):
        return np.sign(x_hat - x)

    def fit_scale(self, x, x_hat):
        return _floor_scale(self.per_feature(x.astype(np.float64), x_hat).mean(), x)

    def log_mass(self, x, x_hat, scale, resolution):
        t, h = _in_scales(x, x_hat, scale, resolution)
        # Outside the cell the law is one exponential: log_mass(t) = log_mass(h/2) - (t - h/2).
        u = np.minimum(t, h / 2)
        return np.log(-0.5 * (np.expm1(u - h / 2) + np.expm1(-u - h / 2))) - (t - u)


class Hamming(Distortion):
    r"""Hamming distortion on {0, 1}, in weighted bit flips (bit flips where a = b = 1).

    On reproduction probabilities :math:`\hat x` it is the expectation
    :math:`\phi(x, \hat x) = \sum_j a (1 - x_j) \hat x_j + b x_j (1 - \hat x_j)`, where a flip that
    does not happen costs 0 even if its price is infinite.

    The noise model is :math:`P(x | \hat x) \propto e^{-s \phi(x, \hat x)}`, normalised over x in
    {0, 1} at a binary :math:`\hat x` (Li and Chen, Rate Distortion via Deep Learning, 2018);
    `scale` is s >= 0, and `resolution` plays no part. A flip of infinite price has probability 0 at
    every s. `fit_scale` maximises the likelihood of the flips of finite price. Where the training
    data hold none, half a flip of average price is counted; where none is possible, s = 0.

    Parameters
    ----------
    a, b : float, default=1.0
        Cost of reproducing 0 as 1, and 1 as 0; positive. One may be inf, which forbids that flip.

    Raises
    ------
    ValueError
        If a cost is not positive, or both are infinite.

    Examples
    --------
    >>> x, p = np.array([[0.0, 1.0, 1.0]]), np.array([[0.2, 0.9, 0.0]])
    >>> Hamming(a=2.0).elementwise(x, p).round(2)
    array([[0.4, 0.1, 1. ]])
    >>> Hamming(a=np.inf).reproduction(p)
    array([[0., 0., 0.]])
    """

    name = "hamming"
    unit = "weighted bit flips"
    has_noise_model = True

    def __init__(self, a=1.0, b=1.0):
        if not (a > 0 and b > 0):
            raise ValueError(f"The costs of Hamming must be positive, got a={a}, b={b}.")
        if math.isinf(a) and math.isinf(b):
            raise ValueError("At most one of the costs a and b of Hamming can be infinite.")
        self.a = float(a)
        self.b = float(b)

    def constants(self):
        return {"a": self.a, "b": self.b}

    def elementwise(self, x, x_hat):
        return _cost(self.a, (1 - x) * x_hat) + _cost(self.b, x * (1 - x_hat))

    def gradient(self, x, x_hat):
        return _cost(self.a, 1 - x) - _cost(self.b, x)

    def reproduction(self, x_hat):
        # That is x_hat > a / (a + b), in a form that infinite and extreme costs survive.
        return (_cost(self.b, x_hat) > _cost(self.a, 1 - x_hat)).astype(x_hat.dtype)

    def check(self, X, feature_names=None):
        remedy = "binarize X first (sklearn.preprocessing.Binarizer), or choose another distortion"
        _refuse((X != 0) & (X != 1), X, feature_names, self.name, "the values 0 and 1", remedy)

    def fit_scale(self, x, x_hat):
        one = self.reproduction(x_hat) == 1
        flip = x != one
        cost = np.array([self.a, self.b])
        trials = np.array([one.sum(), (~one).sum()], dtype=np.float64)
        flips = np.array([(flip & one).sum(), (flip & ~one).sum()], dtype=np.float64)
        informative = np.isfinite(cost) & (trials > 0)
        if not informative.any():
            return 0.0
        cost, trials, flips = cost[informative], trials[informative], flips[informative]
        total = trials @ cost
        paid = flips @ cost if flips.any() else 0.5 * total / trials.sum()
        if paid >= total / 2:
            return 0.0
        # The score function decreases and is convex on s >= 0, so Newton's steps from 0 are
        # positive up to rounding and never pass the root.
        scale, step = 0.0, np.inf
        while step > 1e-15 * scale:
            p = expit(-scale * cost)
            step = (trials * cost @ p - paid) / (trials * cost**2 @ (p * (1 - p)))
            scale += step
        return float(scale)

    def log_mass(self, x, x_hat, scale, resolution):
        one = self.reproduction(x_hat) == 1
        # inf stays inf at scale 0: a forbidden flip is impossible, whatever the scale.
        a, b = (c if math.isinf(c) else scale * c for c in (self.a, self.b))
        log_odds = np.where(one, a, b)
        return log_expit(np.where(x == one, log_odds, -log_odds))


class Bernoulli(Distortion):
    r"""Cross-entropy of x in [0, 1] under reproduction probabilities, in nats.

    :math:`d(x, \hat x) = -\sum_j x_j \ln \hat x_j + (1 - x_j) \ln(1 - \hat x_j)`, infinite where
    :math:`\hat x` excludes x. `reproduction` clips to [1e-6, 1 - 1e-6], which costs at most 13.9
    nats a feature. The gradient is taken at the clipped values and is finite.

    The noise model is the distortion itself: the Bernoulli law at x in {0, 1} of a feature with
    resolution 1 or more, otherwise the continuous Bernoulli law (Loaiza-Ganem and Cunningham,
    NeurIPS 2019), of density proportional to :math:`\hat x^x (1 - \hat x)^{1 - x}` on [0, 1],
    integrated over the part of the cell inside [0, 1]. No scale: `fit_scale` returns 1.0.

    Examples
    --------
    >>> x, p = np.array([[0.0, 0.5]]), np.array([[0.5, 0.5]])
    >>> Bernoulli().samples(x, p).round(3)
    array([1.386])
    >>> np.exp(Bernoulli().log_mass(x, p, scale=1.0, resolution=np.array([1.0, 0.1]))).round(3)
    array([[0.5, 0.1]])
    """

    name = "bernoulli"
    unit = "nats"
    has_noise_model = True
    _eps = 1e-6  # 1 - eps is still below 1 in float32

    def elementwise(self, x, x_hat):
        return -xlogy(x, x_hat) - xlog1py(1 - x, -x_hat)

    def gradient(self, x, x_hat):
        p = self.reproduction(x_hat)
        return (p - x) / (p * (1 - p))

    def reproduction(self, x_hat):
        return np.clip(x_hat, self._eps, 1 - self._eps)

    def check(self, X, feature_names=None):
        remedy = "rescale it, as MinMaxScaler(clip=True) does, or choose another distortion"
        bad = ~((X >= 0) & (X <= 1))  # NaN is bad
        _refuse(bad, X, feature_names, self.name, "values from 0 to 1", remedy)

    def fit_scale(self, x, x_hat):
        return 1.0

    def log_mass(self, x, x_hat, scale, resolution):
        x, p = x.astype(np.float64), self.reproduction(x_hat.astype(np.float64))
        binary = (resolution >= 1) & ((x == 0) | (x == 1))
        return np.where(binary, -self.elementwise(x, p), log_exponential_cell(x, p, resolution))


def get_distortion(distortion, image_shape=None, data_range=None):
    """Return the distortion of a name, with default constants, or the object itself.

    Parameters
    ----------
    distortion : {"squared_error", "absolute_error", "hamming", "bernoulli", "ms_ssim", "nlpd"} or \
            Distortion
        What an estimator was given.
    image_shape : tuple of three int, default=None
        Height, width and channels of a row, which "ms_ssim" and "nlpd" need.
    data_range : float, default=None
        Largest minus smallest possible value, which "ms_ssim" and "nlpd" need.

    Raises
    ------
    ValueError
        If it is neither; the message lists the names. If a name needs what is None.

    Examples
    --------
    >>> get_distortion("hamming")
    Hamming(a=1.0, b=1.0)
    >>> get_distortion("nlpd", image_shape=(28, 28, 1), data_range=255)
    NLPD(image_shape=(28, 28, 1), data_range=255.0, version=2016)
    """
    if isinstance(distortion, Distortion):
        return distortion
    kind = DISTORTIONS.get(distortion) if isinstance(distortion, str) else None
    if kind is None:
        names = ", ".join(map(repr, DISTORTIONS))
        raise ValueError(f"distortion must be one of {names} or a Distortion, got {distortion!r}.")
    if not issubclass(kind, ImageDistortion):
        return kind()
    needed = {"image_shape": image_shape, "data_range": data_range}
    missing = " and ".join(name for name, value in needed.items() if value is None)
    if missing:
        examples = {"image_shape": "image_shape=(28, 28, 1), say", "data_range": "data_range=255"}
        remedy = ", and ".join(examples[name] for name, value in needed.items() if value is None)
        raise ValueError(
            f"distortion={distortion!r} compares images and needs {missing}: set {remedy}, or "
            f"where there is no such parameter pass distortion={kind.__name__}(image_shape="
            "(28, 28, 1), data_range=255), as your images are."
        )
    return kind(**needed)


DISTORTIONS = {
    kind.name: kind
    for kind in (SquaredError, AbsoluteError, Hamming, Bernoulli, MultiScaleSSIM, NLPD)
}


def _cost(price, amount):
    """price * amount, where nothing costs nothing even at an infinite price."""
    return np.where(amount > 0, price, amount) if math.isinf(price) else price * amount


def _refuse(bad, X, feature_names, name, domain, remedy):
    if bad.any():
        row, column = np.argwhere(bad)[0]
        label = column if feature_names is None else repr(str(feature_names[column]))
        raise ValueError(
            f"The {name} distortion takes only {domain}, but column {label} contains "
            f"{X[row, column]!s}: {remedy}."
        )


def _floor_scale(scale, x):
    spread = np.sqrt(np.var(x, axis=0, dtype=np.float64).mean())
    # The absolute floor, for constant data, is far from where a squared ratio overflows.
    return float(max(scale, 1e-6 * spread, np.finfo(np.float32).tiny))


def _in_scales(x, x_hat, scale, resolution):
    """Absolute residual and cell width in units of the scale, both (n, d)."""
    t = np.abs(x.astype(np.float64) - x_hat) / scale
    return t, np.broadcast_to(resolution / scale, t.shape)
