import math

import numpy as np
import pandas as pd
import pytest

from rdlearn.model_selection import bd_rate


def gaussian_curve(distortion, factor=1.0):
    distortion = np.asarray(distortion, dtype=float)
    return pd.DataFrame({"rate_bits": factor * np.log2(60 / distortion), "distortion": distortion})


@pytest.mark.parametrize("percent", [-50.0, -10.0, -1.0, 0.0, 3.0, 25.0, 300.0])
@pytest.mark.parametrize("n_points", [2, 4, 9])
def test_bd_rate_of_a_constant_ratio_is_exact(percent, n_points):
    distortion = np.geomspace(1.0, 30.0, n_points)
    result = bd_rate(gaussian_curve(distortion, 1 + percent / 100), gaussian_curve(distortion))
    assert result.percent == pytest.approx(percent, abs=1e-9)
    assert result.quality == "-10 log10(distortion)"
    assert result.quality_range == pytest.approx((-10 * math.log10(30), 0.0))


@pytest.mark.parametrize("low, high", [(0.5, 40.0), (2.0, 20.0), (0.1, 5.0)])
def test_bd_rate_converges_to_the_integral_over_the_common_range(low, high):
    # Two smooth curves known at every quality, densely sampled at different places.
    a, b = np.geomspace(1.0, 30.0, 400), np.geomspace(low, high, 371)
    curve = gaussian_curve(a)
    curve["rate_bits"] += 0.02 * (-10 * np.log10(a) + 20) ** 2
    reference = gaussian_curve(b)
    q = np.linspace(-10 * math.log10(min(30, high)), -10 * math.log10(max(1, low)), 200_001)
    rate = np.log2(60 / 10 ** (-q / 10))
    ratio = np.log((rate + 0.02 * (q + 20) ** 2) / rate)
    mean = np.sum((ratio[1:] + ratio[:-1]) / 2) / (len(q) - 1)
    result = bd_rate(curve, reference)
    assert result.percent == pytest.approx(100 * (math.exp(mean) - 1), rel=1e-4)
    assert result.quality_range == pytest.approx((q[0], q[-1]))


def naive_pchip(x, y, at):
    """Fritsch-Butland slopes and Hermite basis, written out."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    slope = np.zeros(len(x))
    for k in range(1, len(x) - 1):
        w1, w2 = 2 * h[k] + h[k - 1], h[k] + 2 * h[k - 1]
        slope[k] = (w1 + w2) / (w1 / d[k - 1] + w2 / d[k])
    for end, (i, j) in ((0, (0, 1)), (-1, (-1, -2))):
        slope[end] = ((2 * h[i] + h[j]) * d[i] - h[i] * d[j]) / (h[i] + h[j])
        if slope[end] <= 0:  # every curve here rises
            slope[end] = 0.0
        elif slope[end] > 3 * d[i] and d[j] <= 0:
            slope[end] = 3 * d[i]
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(h) - 1)
    t = (at - x[k]) / h[k]
    return (
        (1 + 2 * t) * (1 - t) ** 2 * y[k]
        + t * (1 - t) ** 2 * h[k] * slope[k]
        + t**2 * (3 - 2 * t) * y[k + 1]
        + t**2 * (t - 1) * h[k] * slope[k + 1]
    )


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n_points", [3, 4, 6])
def test_bd_rate_against_naive_integration(seed, n_points):
    rng = np.random.default_rng(seed)
    tables = []
    for _ in range(2):
        psnr = 28 + np.cumsum(rng.uniform(1.0, 3.0, n_points))
        rate = 0.2 * np.exp(np.cumsum(rng.uniform(0.1, 0.9, n_points)))
        tables.append(pd.DataFrame({"rate_bits": rate, "psnr_db": psnr, "distortion": 1 / psnr}))
    low = max(table["psnr_db"].min() for table in tables)
    high = min(table["psnr_db"].max() for table in tables)
    at = np.linspace(low, high, 100_001)
    logs = [
        naive_pchip(t["psnr_db"].to_numpy(), np.log(t["rate_bits"].to_numpy()), at) for t in tables
    ]
    difference = logs[0] - logs[1]
    mean = np.sum((difference[1:] + difference[:-1]) / 2) / (len(at) - 1)
    shuffled = [table.sample(frac=1, random_state=seed) for table in tables]
    result = bd_rate(*shuffled)
    assert result.percent == pytest.approx(100 * (math.exp(mean) - 1), rel=1e-7, abs=1e-7)
    assert result.quality == "psnr_db"
    assert result.quality_range == pytest.approx((low, high))
    # Exchanging the curves inverts the ratio.
    back = bd_rate(tables[1], tables[0]).percent
    assert (1 + result.percent / 100) * (1 + back / 100) == pytest.approx(1.0)


def test_bd_rate_chooses_the_quality_axis():
    distortion = np.array([4.0, 2.0, 1.0])
    curve = gaussian_curve(distortion).assign(psnr_db=[30.0, 33.0, 36.0])
    partial = curve.assign(psnr_db=[30.0, np.nan, 36.0])
    failed = pd.concat([curve, pd.DataFrame([{"rate_bits": np.nan}])])
    assert bd_rate(curve, curve).quality == "psnr_db"
    assert bd_rate(curve, failed).quality == "psnr_db"
    assert bd_rate(curve, partial).quality == "-10 log10(distortion)"
    assert bd_rate(curve, gaussian_curve(distortion)).quality == "-10 log10(distortion)"
    assert bd_rate(curve, curve, quality="distortion").quality == "-10 log10(distortion)"
    assert bd_rate(curve, partial, quality="psnr_db").quality == "psnr_db"
    columns = {name: list(curve[name]) for name in curve}
    assert bd_rate(columns, columns) == bd_rate(curve, curve)
    assert repr(bd_rate(curve, curve)) == "BDRate(+0.00 % for psnr_db from 30.00 to 36.00 dB)"
    with pytest.raises(ValueError, match="quality must be 'psnr_db', 'distortion' or None"):
        bd_rate(curve, curve, quality="ssim")


GOOD = {"rate_bits": [1.0, 2.0, 3.0], "distortion": [0.4, 0.2, 0.1]}


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"distortion": [40.0, 20.0, 10.0]},
            "covers 3.979 to 10 dB and the reference -16.02 to -10",
        ),
        ({"distortion": [4.0, 2.0, 0.4]}, "no range of -10 log10.distortion. in common"),
        ({"rate_bits": [1.0, np.nan, np.nan]}, "reference has 1 usable points"),
        ({"rate_bits": [0.0, 2.0, 3.0]}, "Row 0 of the reference has rate_bits = 0, distortion"),
        ({"rate_bits": [1.0, -2.0, 3.0]}, "Row 1 of the reference"),
        ({"distortion": [0.4, 0.2, 0.0]}, "Row 2 of the reference has .* must be positive"),
        ({"rate_bits": [1.0, 2.0, np.inf]}, "Row 2 of the reference has rate_bits = inf"),
        ({"psnr_db": [1.0, 2.0, np.inf]}, "Row 2 of the reference has .*psnr_db = inf"),
        ({"rate_bits": [1.0, 3.0, 2.0]}, "not monotone: row 2 against row 1"),
        ({"rate_bits": [1.0, 2.0, 2.0]}, "not monotone: row 2 against row 1"),
        ({"distortion": [0.4, 0.2, 0.2]}, "not monotone: row 2 against row 1"),
        ({"distortion": [0.4, 0.1, 0.2]}, "not monotone: row 1 against row 2"),
    ],
)
def test_bd_rate_refuses(change, message):
    curve = GOOD | {"psnr_db": [1.0, 2.0, 3.0]} if "psnr_db" in change else GOOD
    with pytest.raises(ValueError, match=message):
        bd_rate(curve, GOOD | change)


@pytest.mark.parametrize("missing", ["rate_bits", "distortion"])
def test_bd_rate_names_the_missing_column(missing):
    rest = {name: values for name, values in GOOD.items() if name != missing}
    with pytest.raises(ValueError, match=f"curve has no column {missing}"):
        bd_rate(rest, GOOD)


def test_bd_rate_allows_negative_psnr_and_repeated_index_labels():
    curve = pd.DataFrame(
        {"rate_bits": [1.0, 2.0, 4.0], "psnr_db": [-3.0, 0.0, 3.0]}, index=[7, 7, 7]
    )
    assert bd_rate(curve, curve).percent == 0.0
    with pytest.raises(ValueError, match="Row 7 of the curve has rate_bits = -1"):
        bd_rate(curve.assign(rate_bits=[1.0, -1.0, 4.0]), curve)
