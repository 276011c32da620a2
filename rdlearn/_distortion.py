"""What a distortion is: a loss, its gradient, and perhaps the noise model behind it."""

import numpy as np

__all__ = ["Distortion"]


class Distortion:
    """Contract of a distortion measure between rows `x` and their reproductions `x_hat`.

    `x` is an ndarray of shape (n, d); `x_hat` is another, of decoder outputs or reproductions.
    A subclass sets the strings `name` (as `get_distortion` takes it) and `unit` (of `samples`) and
    defines `elementwise` and `gradient`; one with constants takes them in ``__init__``, stores them
    under the same names, and returns them from `constants`. One that is not a sum over features
    overrides `samples` and `per_feature` in place of `elementwise`, and may override
    `samples_and_gradient` to share work. One with a noise model sets ``has_noise_model =
    True`` and defines `fit_scale` and `log_mass`; by default it is False, as for a perceptual
    distortion, and callers must not ask for a likelihood.

    Objects are equal when class and constants are; they can be hashed, pickled and copied.

    Examples
    --------
    >>> class Quartic(Distortion):
    ...     name, unit = "quartic", "summed fourth powers"
    ...     def elementwise(self, x, x_hat):
    ...         return (x - x_hat) ** 4
    >>> Quartic().samples(np.ones((2, 3)), np.zeros((2, 3)))
    array([3., 3.])
    """

    has_noise_model = False

    def constants(self):
        """Return the constants by name, as a dict of JSON-able values (floats, inf included)."""
        return {}

    def elementwise(self, x, x_hat):
        """Loss of every entry: ndarray of shape (n, d), float32 if both inputs are, in `unit`."""
        raise NotImplementedError

    def gradient(self, x, x_hat):
        """Derivative of `samples` by `x_hat`: shape and dtype of `elementwise`."""
        raise NotImplementedError

    def samples(self, x, x_hat):
        """Loss of every row, summed over features: float64 ndarray of shape (n,), in `unit`."""
        # float64 sums: float32 ones lose digits as d grows.
        return self.elementwise(x, x_hat).sum(axis=1, dtype=np.float64)

    def samples_and_gradient(self, x, x_hat):
        """`samples` and `gradient`, which nets ask for together."""
        return self.samples(x, x_hat), self.gradient(x, x_hat)

    def per_feature(self, x, x_hat):
        """Loss of every feature, mean over rows: float64 ndarray of shape (d,), in `unit`."""
        return self.elementwise(x, x_hat).mean(axis=0, dtype=np.float64)

    def reproduction(self, x_hat):
        """Map estimates of E[x | code] to the reproductions of least expected loss, same dtype."""
        return x_hat

    def check(self, X, feature_names=None):
        """Raise ValueError on data outside the domain; by default every value is inside.

        The message has the first offending value, its column (from `feature_names`, a sequence of
        d str; its index where that is None) and the remedy.
        """

    def fit_scale(self, x, x_hat):
        """Maximum-likelihood scale of the noise model on training data, one float for all."""
        raise NotImplementedError

    def log_mass(self, x, x_hat, scale, resolution):
        """Log probability, under the noise model, of the cell of width `resolution` around `x`.

        A float64 ndarray of shape (n, d), in nats. Being a mass and not a density, it is at most 0
        and can be compared between distortions. `scale` is a float from `fit_scale`, `resolution`
        an ndarray of d positive widths in feature units. Like `fit_scale`, it takes decoder outputs
        as well as reproductions: `reproduction` is applied.
        """
        raise NotImplementedError

    def __repr__(self):
        constants = ", ".join(f"{key}={value!r}" for key, value in self.constants().items())
        return f"{type(self).__name__}({constants})"

    def __eq__(self, other):
        return type(self) is type(other) and self.constants() == other.constants()

    def __hash__(self):
        return hash((type(self), *self.constants().items()))
