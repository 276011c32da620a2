"""Noise of EchoAutoencoder out of its pool: no row in its own noise, every other one there."""

import numpy as np
import pytest
from echo_data import SMALL, table
from sklearn.base import clone

from rdlearn import EchoAutoencoder
from rdlearn.kernels.echo import FRESH, POOL_WORDS, pool_chain, pool_noise


@pytest.fixture(scope="module")
def fitted():
    return EchoAutoencoder(3, beta=3.0, data_range=20.0, **SMALL).fit(table())


def own_place(codec, X, row):
    """Where a row is in the pool of noise."""
    return np.flatnonzero(codec.pool_keys_ == codec._encode(X[row : row + 1])[3])[0]


def with_pool(codec, shift, scale):
    """The model with other codes in its pool: mean and mixing, which are statistics of all of
    the population, are held fixed, and the chains are made anew, with no correction of theirs."""
    other = clone(codec)
    vars(other).update(vars(codec))
    shift, scale = shift.astype(np.float32), scale.astype(np.float32)
    other.pool_shift_, other.pool_scale_ = shift, scale
    other.pool_chains_ = np.empty_like(codec.pool_chains_)
    for chain, step in zip(other.pool_chains_, (-1, 1), strict=True):
        start = np.full(codec.n_components_, step, dtype=np.float32)
        pool_chain(shift, scale, codec.pool_mean_, codec.mixing_, start, step, chain)
    return other


def moved(codec, place, by=1e6):
    """The model with one member of its pool elsewhere."""
    shift = codec.pool_shift_.copy()
    shift[place] += by
    return with_pool(codec, shift, codec.pool_scale_)


def share_that_changes(codec, place, x, n=100):
    """The share of draws of the codes of one row that change as a member of the pool moves."""
    models = moved(codec, place, by=0), moved(codec, place)
    draws = ([model.sample_codes(x, random_state=seed) for seed in range(n)] for model in models)
    return np.mean([not np.array_equal(*pair) for pair in zip(*draws, strict=True)])


def test_the_noise_of_a_training_row_does_not_contain_the_row(fitted):
    X = table()
    for row in (0, 17, 299):
        place = own_place(fitted, X, row)
        own, other = X[row : row + 1], X[row : row + 1] + 0.01
        # A walk of about ten members of 300 meets one of them in some of 100 draws.
        assert (
            share_that_changes(fitted, place, own) == 0 < share_that_changes(fitted, place, other)
        )


@pytest.mark.parametrize("noise_terms", [None, 5])
def test_no_chain_that_has_passed_a_row_is_in_its_noise(noise_terms):
    # A pool of six: nearly every chain, and every walk of eight members, meets any of them.
    X = table(6, 2)
    codec = EchoAutoencoder(2, beta=0.1, noise_terms=noise_terms, **SMALL).fit(X)
    for row in range(6):
        place = own_place(codec, X, row)
        shares = [share_that_changes(codec, place, X[i : i + 1], 40) for i in range(6)]
        assert shares[row] == 0 and min(np.delete(shares, row)) > 0.5


def test_chains_contain_the_members_on_one_side(fitted):
    chains = moved(fitted, 100, by=0).pool_chains_
    changed = (moved(fitted, 100).pool_chains_ != chains).any(axis=2)
    # chains[0] at t contains t and what follows, chains[1] what leads to it.
    assert not changed[0, 101:].any() and not changed[1, :100].any()
    assert changed[0, 96:101].all() and changed[1, 100:105].all()
    code = fitted.pool_shift_[7] + fitted.pool_scale_[7] * chains[[0, 1], [8, 6]]
    noise = (code - fitted.pool_mean_) @ fitted.mixing_.T
    np.testing.assert_allclose(noise, chains[:, 7], atol=1e-4)
    # The model has them with the mean and the variance of white noise.
    columns = (part.reshape(-1, 3).T for part in (fitted.pool_chains_, chains))
    for ours, raw in zip(*columns, strict=True):
        assert np.corrcoef(ours, raw)[0, 1] == pytest.approx(1, abs=1e-6)
        assert ours.mean() == pytest.approx(0, abs=1e-6)
        assert 0.9 < ours.var() < 1


def noise_of_marks(m, own, seed=0):
    """Sets of pool members in noise of rows whose own places are given, -1 for none.

    A mixing of 1 and shifts that are powers of two make every code a sum of what is in it.
    """
    mixing, mean, scale = np.eye(m, dtype=np.float32), np.zeros(m, np.float32), np.ones((m, m))
    shift, scale = np.eye(m, dtype=np.float32), scale.astype(np.float32)
    chains = np.empty((2, m, m), dtype=np.float32)
    for chain, step in zip(chains, (-1, 1), strict=True):
        pool_chain(shift, scale, mean, mixing, mean, step, chain)
    bits = np.random.default_rng(seed).integers(2**32, size=(len(own), POOL_WORDS), dtype=np.uint32)
    noise = np.empty((len(own), m), dtype=np.float32)
    pool_noise(shift, scale, mean, mixing, chains, np.asarray(own), bits, noise)
    return noise, bits


@pytest.mark.parametrize("m", [2, 3, 7])
def test_draws_take_every_member_but_the_row_itself(m):
    own = np.arange(4000) % (m + 1) - 1
    # noise[i, j]: how often member j is in the noise of row i.
    noise, _ = noise_of_marks(m, own)
    for place in range(m):
        mine = noise[own == place]
        assert np.all(mine[:, place] == 0)
        assert np.all(np.delete(mine, place, axis=1).max(axis=0) > 0)
    stranger = noise[own < 0]
    assert np.all(stranger.max(axis=0) > 0)
    # A place of either chain, then fresh members.
    assert stranger.sum(axis=1).min() == 1 + FRESH and stranger.sum(axis=1).max() == m + FRESH


def test_noise_comes_from_the_given_pool(fitted):
    X, other = table(), table(seed=5)[:50] + 4
    codec = EchoAutoencoder(3, beta=3.0, **SMALL).fit(X)
    before = codec.sample_codes(X, random_state=0)
    assert codec.set_noise_pool(other) is codec
    assert codec.pool_shift_.shape == codec.pool_scale_.shape == (50, 3)
    assert not np.array_equal(codec.sample_codes(X, random_state=0), before)
    # The rate is about the population that the noise is made of.
    nats = (codec.rate(X) - fitted.rate(X)) * np.log(2)
    assert nats == pytest.approx(fitted.log_det_ - codec.log_det_, rel=1e-5)
    place = own_place(codec, other, 7)
    assert share_that_changes(codec, place, other[7:8]) == 0
    assert share_that_changes(codec, place, other[8:9]) > 0
    with pytest.raises(ValueError, match=r"other rows, but X has 1; pass 2"):
        codec.set_noise_pool(other[:1])
    with pytest.raises(ValueError, match="5 features"):
        codec.set_noise_pool(other[:, :2])
    assert len(codec.set_noise_pool(table(2100)).pool_keys_) == 2000
    # Beside the code of one row all others are one point, which no mixing makes white.
    before, other[7, 3] = codec.sample_codes(X, random_state=0), 1e30
    with pytest.raises(ValueError, match="Row 7 holds 1e\\+30 in column 3, too many steps"):
        codec.set_noise_pool(other)
    np.testing.assert_array_equal(codec.sample_codes(X, random_state=0), before)


def test_of_rows_that_occur_twice_one_stays_out():
    X = np.repeat(table(40), 2, axis=0)
    codec = EchoAutoencoder(2, beta=3.0, **SMALL).fit(X)
    first, second = np.flatnonzero(codec.pool_keys_ == codec._encode(X[:1])[3])
    # The other one is another sample of the population, in which this row is as likely.
    assert share_that_changes(codec, first, X[:1]) == 0
    assert share_that_changes(codec, second, X[:1]) > 0


def test_a_pool_of_many_equal_rows_is_in_random_order():
    X = np.repeat(table(10), 300, axis=0)
    codec = EchoAutoencoder(2, beta=3.0, **SMALL).fit(X)
    before = codec.mean_distortion(X)
    codec.set_noise_pool(X)
    counts = np.unique(codec.pool_keys_, return_counts=True)[1]
    # 2000 of ten rows 300 times: 200 of each, and four standard errors.
    assert len(counts) == 10 and abs(counts - 200).max() < 4 * np.sqrt(200)
    assert np.mean(codec.pool_keys_[1:] == codec.pool_keys_[:-1]) < 0.2
    assert codec.mean_distortion(X) == pytest.approx(before, rel=0.3)
