"""Measures of quality over a known data range."""

import math

__all__ = ["psnr_db"]


def psnr_db(mean_squared_error, data_range):
    """Peak signal-to-noise ratio in dB, ``10 log10(data_range**2 / mean_squared_error)``.

    Parameters
    ----------
    mean_squared_error : float
        Mean over all values, not summed over features.
    data_range : float
        Largest minus smallest possible value.

    Returns
    -------
    float, infinite without error

    Examples
    --------
    >>> round(psnr_db(6.5025, 255), 6)
    40.0
    """
    if mean_squared_error == 0:
        return math.inf
    return 10 * math.log10(data_range**2 / mean_squared_error)
