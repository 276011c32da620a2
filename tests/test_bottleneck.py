"""Words and decoder of a bottleneck that follow one another."""

import numpy as np
import pytest
from bits_data import codec

from rdlearn import _bottleneck
from rdlearn.distortions import Hamming

HIDDEN = {"hidden_layer_sizes": (30,), "fine_tune_epochs": 60}
LONG = HIDDEN | {"fine_tune_epochs": 200}


def many(n=600, d=30, seed=0):
    """Noisy copies of more words than three bits can tell apart."""
    base = np.random.default_rng(9).integers(0, 2, size=(14, d))
    rng = np.random.default_rng(seed)
    return base[rng.integers(14, size=n)] ^ (rng.random((n, d)) < 0.05)


def stages(model):
    return np.bincount(model.history_["stage"], minlength=3).tolist()


@pytest.mark.parametrize("a, b", [(1.0, 1.0), (0.4, 2.0), (3.0, 1.0)])
def test_the_decoder_ends_at_the_best_answer_to_each_word(a, b):
    X, distortion = many(), Hamming(a, b)
    misses = []
    for search in (None, "all"):
        model = codec(beta=np.inf, distortion=distortion, encoder_search=search, **LONG).fit(X)
        Z = model.set_params(encoder_search="all").transform(X)
        # The quantizer with these cells that loses least: a vote in each, weighed by the costs.
        best = 0.0
        for word in np.unique(Z, axis=0):
            mine = X[(Z == word).all(axis=1)]
            zeros, ones = (mine == 0).sum(axis=0), (mine == 1).sum(axis=0)
            best += np.minimum(a * zeros, b * ones).sum() / len(X)
        misses.append((model.mean_distortion(X), model.mean_distortion(X) / best - 1))
    (first, missed), (last, excess) = misses
    assert last < first and missed > 5e-3
    # But for a vote that is close.
    assert excess == pytest.approx(0, abs=2e-3)


def test_rounds_with_the_search_come_where_all_words_are_tried_and_the_network_is_tuned():
    X = many(200)
    assert stages(codec(**HIDDEN).fit(X)) == [4, 60, 90]
    assert stages(codec(**HIDDEN | {"fine_tune_epochs": 3}).fit(X)) == [4, 3, 22]
    for rules in ({"encoder_search": None}, {"encoder_search": "flips"}, {"fine_tune_epochs": 0}):
        assert stages(codec(**HIDDEN | rules).fit(X))[2] == 0


@pytest.mark.parametrize("stop, done", [(1, 1), (3, 3), (99, 22)])
def test_other_rounds_do_not_follow_an_interrupt(stop, done, monkeypatch):
    sizes = []

    def interrupted(objective, params, batches, schedule, rng, **rest):
        sizes.append(len(params))
        schedule.interrupted = len(sizes) == stop
        return 1.0

    monkeypatch.setattr(_bottleneck, "minimize", interrupted)
    codec(**HIDDEN).fit(many(100))
    # The whole, then the decoder, then the encoder.
    encoder, decoder = 31 * 30 + 31 * 3, 4 * 30 + 31 * 30
    assert sizes == [encoder + decoder, *[decoder] * 20, encoder][:done]


@pytest.mark.parametrize("binarize", [None, "sample"])
def test_the_encoder_learns_the_words_of_the_search(binarize, monkeypatch):
    X = many().astype(float)
    if binarize:
        X = np.where(X == 1, 0.97, 0.03)
    wrong = []
    for share in (0.0, _bottleneck.ENCODER_EPOCHS):
        monkeypatch.setattr(_bottleneck, "ENCODER_EPOCHS", share)
        model = codec(beta=np.inf, binarize=binarize, **LONG).fit(X)
        found = model.transform(X)
        alone = model.set_params(encoder_search=None).transform(X)
        wrong.append(np.mean((found != alone).any(axis=1)))
    assert wrong[1] < 0.1 and wrong[1] < wrong[0] / 2
