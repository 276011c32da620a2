import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from rdlearn import PCACodec
from rdlearn._training import best_slope, local_price, meet_target, search_beta

BOUNDS = (0.25, 6e10)


def gaussian(beta, n=3):
    """Rate and distortion of `n` unit Gaussians at their exact price: R = n/2 log2(2 beta / n)."""
    distortion = min(n / (2 * beta), n)
    return n / 2 * np.log2(n / distortion), distortion


def staircase(beta):
    """Steps of 3 % in beta, each constant."""
    return gaussian(1.03 ** np.floor(np.log(beta) / np.log(1.03)))


@pytest.mark.parametrize("curve", [gaussian, staircase])
@pytest.mark.parametrize("start", [1e-9, 0.3, 7.0, 1e30])
@pytest.mark.parametrize("target", [2.0, 11.3, 40.0])
def test_search_meets_a_rate_from_below(curve, start, target):
    beta, tried = search_beta(curve, start, BOUNDS, target_rate=target)
    reached = curve(beta)[0]
    # A step of the staircase is 3/2 log2(1.03) bit.
    slack = 0.005 * target if curve is gaussian else max(0.005 * target, 0.064)
    assert target - slack <= reached <= target
    assert any(step == (beta, *curve(beta)) for step in tried)


@pytest.mark.parametrize("curve, window", [(gaussian, 0.995), (staircase, 1 / 1.03)])
@pytest.mark.parametrize("target", [2.9, 0.5, 1e-6])
def test_search_meets_a_distortion_from_below(curve, window, target):
    beta, _ = search_beta(curve, 1.0, BOUNDS, target_distortion=target)
    assert min(window, 0.995) * target <= curve(beta)[1] <= target


@pytest.mark.parametrize(
    "targets, words",
    [
        ({"target_rate": 1e6}, ["target_rate=1e+06", "between 0 and", "bits per sample"]),
        ({"target_distortion": 1e-30}, ["target_distortion=1e-30", "and 3 per sample"]),
        ({"target_distortion": 4.0}, ["target_distortion=4", "and 3 per sample", "Choose"]),
    ],
)
def test_a_target_out_of_reach_names_the_range(targets, words):
    with pytest.raises(ValueError) as error:
        search_beta(gaussian, 1.0, BOUNDS, **targets)
    assert all(word in str(error.value) for word in words)


def test_a_target_just_above_the_range_takes_its_end():
    most = gaussian(BOUNDS[1])[0]
    assert search_beta(gaussian, 1.0, BOUNDS, target_rate=most * 1.01)[0] == BOUNDS[1]
    assert search_beta(gaussian, 1.0, BOUNDS, target_distortion=3.03)[0] == BOUNDS[0]


@pytest.mark.parametrize("miss", [0.5, 0.97, 1.0, 1.05, 3.0])
@pytest.mark.parametrize("targets", [{"target_rate": 9.0}, {"target_distortion": 0.1}])
def test_estimates_that_are_off_are_corrected(miss, targets):
    def finish(beta, price):
        assert price == beta
        rate, distortion = gaussian(beta)
        return rate * miss, distortion * miss

    ((name, target),) = targets.items()
    beta, price, reached, tried = meet_target(gaussian, finish, 1.0, BOUNDS, **targets)
    assert 0.98 * target <= reached <= target
    assert reached == finish(beta, price)[0 if name == "target_rate" else 1]
    assert len(tried) > 2


def jumping(beta, price=None, jump=3.0):
    """No design between 0 and 2 bits; a price below beta walks back along a line."""
    beta = max(beta, 8.0) if beta > jump else min(beta, 0.5)
    rate, distortion = gaussian(beta, n=1)
    if price is not None and price < beta:
        rate, distortion = rate * (price / beta) ** 0.1, distortion * (beta / price) ** 0.3
    return rate, distortion


@pytest.mark.parametrize("jump", [2.9, 3.0, 3.1])
@pytest.mark.parametrize("targets", [{"target_rate": 1.7}, {"target_distortion": 0.11}])
def test_a_jump_over_the_target_is_bridged_by_coarser_encoding(targets, jump):
    # The finished codec may jump a little before or after the estimates do.
    ((_, target),) = targets.items()

    def finish(beta, price):
        return jumping(beta, price, jump)

    beta, price, reached, _ = meet_target(jumping, finish, 1.0, BOUNDS, **targets)
    assert price < beta and 0.98 * target <= reached <= target


@pytest.mark.parametrize("targets", [{"target_rate": 1.7}, {"target_distortion": 0.11}])
def test_a_jump_that_cannot_be_bridged_stays_below(targets):
    def stiff(beta, price=None):
        return jumping(beta)

    ((name, target),) = targets.items()
    beta, price, reached, _ = meet_target(stiff, stiff, 1.0, BOUNDS, **targets)
    assert reached <= target
    assert stiff(beta) == ((reached, 1.0) if name == "target_rate" else (2.0, reached))


def test_the_bounds_are_the_last_resort():
    # Every finished codec overshoots, but for the one that sends nothing.
    def finish(beta, price):
        return (0.0, 3.0) if beta <= BOUNDS[0] else (1e4, 0.0)

    beta, _, reached, _ = meet_target(gaussian, finish, 1.0, BOUNDS, target_rate=5.0)
    assert (beta, reached) == (BOUNDS[0], 0.0)


@pytest.mark.parametrize("beta", [0.1, 2.0, 500.0])
@pytest.mark.parametrize("best", [40.0, 6e3, 2e6])
@pytest.mark.parametrize("decoy", [1.0, 500.0, 1e8])
def test_best_slope_finds_the_deeper_of_two_dips(beta, best, decoy):
    # The named loss is best at one slope, with a shallower dip elsewhere.
    def measure(slope):
        main = 4 * np.exp(-2 * np.log(slope / best) ** 2)
        return 0.0, (10 - main - 0.8 * np.exp(-2 * np.log(slope / decoy) ** 2)) / beta

    assert best_slope(measure, beta, (0.25, 1e9)) == pytest.approx(best, rel=0.1)


@pytest.mark.parametrize("slope", [2.0, 30.0, 1e4])
def test_local_price_is_minus_the_slope_of_the_curve(slope):
    # On R = n/2 ln(1 / D) the price at D is n / 2D; a step of 1.2 either way bends it by 0.6 %.
    assert local_price(gaussian, slope) == pytest.approx(slope, rel=0.01)
    # In other units of loss the price is in other units too.
    price = local_price(lambda beta: (gaussian(beta)[0], 7 * gaussian(beta)[1]), slope)
    assert price == pytest.approx(slope / 7, rel=0.01)


def test_local_price_of_a_flat_piece_is_the_slope():
    assert local_price(lambda beta: (1.0, 2.0), 5.0) == 5.0


def test_warnings_point_at_the_line_of_the_caller():
    X = np.random.default_rng(0).normal(size=(50, 2))
    calls = [
        lambda: PCACodec(beta=1e-9).fit(X),
        lambda: PCACodec(beta=1e-9).fit_transform(X),
        lambda: PCACodec(beta=1e-9).partial_fit(X),
        lambda: make_pipeline(PCACodec(beta=1e-9)).fit(X),
        lambda: PCACodec(beta=9).fit(X).partial_fit(X),
        lambda: PCACodec(target_rate=3).fit(X[:5]),
    ]
    for call in calls:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            call()
        assert [warning.filename for warning in caught] == [__file__]
