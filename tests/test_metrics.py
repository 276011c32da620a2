import math

import numpy as np
import pytest

from rdlearn.metrics import psnr_db


@pytest.mark.parametrize("data_range", [1.0, 16, 255.0])
@pytest.mark.parametrize("mean_squared_error", [1e-6, 0.3, 40.0])
def test_psnr_is_the_definition(mean_squared_error, data_range):
    expected = 20 * np.log10(data_range / np.sqrt(mean_squared_error))
    assert psnr_db(mean_squared_error, data_range) == pytest.approx(expected, rel=1e-12)


def test_psnr_without_error_is_infinite():
    assert psnr_db(0.0, 255) == math.inf
