"""Counter-based draws, and the noise of new rows that they choose from a pool."""

import math

import numpy as np
import pytest
from reference import naive_pool_noise, philox_4x32

from rdlearn.kernels.echo import POOL_WORDS, pool_chain, pool_noise
from rdlearn.kernels.random import philox, row_bits, row_keys

FULL = 0xFFFFFFFF
# kat_vectors of Random123 1.14: counter, key, result.
KNOWN_ANSWERS = [
    ((0,) * 4, (0,) * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ((FULL,) * 4, (FULL,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize("counter, key, answer", KNOWN_ANSWERS)
def testphilox_gives_the_published_answers(counter, key, answer):
    expected = [int(word, 16) for word in answer.split()]
    ours = philox(*(np.uint64(word) for word in (*counter, *key)))
    assert [int(word) for word in ours] == expected
    assert philox_4x32(counter, key) == expected


def bits(keys, seed, stream, n_words):
    out = np.empty((len(keys), n_words), dtype=np.uint32)
    row_bits(np.array(keys, dtype=np.uint64), np.uint64(seed), np.uint64(stream), out)
    return out


@pytest.mark.parametrize("n_words", [1, 2, 3, 4, 5, 8, 11])
def test_words_of_rows_arephilox_of_key_seed_and_stream(n_words):
    rng = np.random.default_rng(n_words)
    for _ in range(20):
        keys = [int(key) for key in rng.integers(1 << 64, size=3, dtype=np.uint64)]
        seed, stream = int(rng.integers(1 << 64, dtype=np.uint64)), int(rng.integers(1 << 32))
        ours = bits(keys, seed, stream, n_words)
        for row, key in zip(ours.tolist(), keys, strict=True):
            expected = []
            for block in range(math.ceil(n_words / 4)):
                counter = (block, stream, seed & FULL, seed >> 32)
                expected += philox_4x32(counter, (key & FULL, key >> 32))
            assert row == expected[:n_words]


def test_words_do_not_depend_on_other_rows_or_words():
    keys = np.random.default_rng(0).integers(1 << 64, size=40, dtype=np.uint64)
    whole, order = bits(keys, 5, 2, 9), np.random.default_rng(1).permutation(40)[:17]
    np.testing.assert_array_equal(bits(keys[order], 5, 2, 9), whole[order])
    np.testing.assert_array_equal(bits(keys, 5, 2, 6), whole[:, :6])
    for other in (bits(keys, 6, 2, 9), bits(keys, 5, 3, 9), bits(keys ^ np.uint64(1), 5, 2, 9)):
        # 360 independent words of 32 bits: one chance in 10 million that any agrees.
        assert np.all(other != whole)


def keys_of(x):
    out = np.empty(len(x), dtype=np.uint64)
    row_keys(np.ascontiguousarray(x).view(np.uint32), out)
    return out


def test_equal_rows_have_equal_keys_and_no_single_bit_goes_unseen():
    x = np.random.default_rng(0).standard_normal((4, 9)).astype(np.float32)
    np.testing.assert_array_equal(keys_of(np.concatenate([x, x[::-1]]))[4:], keys_of(x)[::-1])
    words = x.view(np.uint32)
    for place in range(9):
        for bit in range(32):
            flipped = words.copy()
            flipped[:, place] ^= np.uint32(1 << bit)
            assert np.all(keys_of(flipped) != keys_of(words))


def test_different_rows_have_different_keys():
    x = np.random.default_rng(0).standard_normal((100_000, 3)).astype(np.float32)
    # 100,000 keys of 64 bits: one chance in 3.7e9 of a collision.
    assert np.unique(keys_of(x)).size == len(x)
    # Tables of bits have few distinct words.
    binary = (np.arange(1 << 16)[:, None] >> np.arange(16) & 1).astype(np.float32)
    assert np.unique(keys_of(binary)).size == len(binary)


def pool_of(m, k, seed=0, largest=0.9, dtype=np.float64):
    """f, sigma, mean, mixing and both chains of a pool."""
    rng = np.random.default_rng(seed)
    shift, scale = rng.standard_normal((m, k)), rng.uniform(0, largest, (m, k))
    mixing = np.tril(0.1 * rng.standard_normal((k, k)), -1) + np.eye(k)
    pool = [a.astype(dtype) for a in (shift, scale, rng.standard_normal(k), mixing)]
    chains = np.empty((2, m, k), dtype=dtype)
    for chain, step in zip(chains, (-1, 1), strict=True):
        pool_chain(*pool, np.ones(k, dtype=dtype), step, chain)
    return [*pool, chains]


def draws(pool, own, words):
    noise = np.empty((len(own), pool[0].shape[1]), dtype=pool[0].dtype)
    pool_noise(*pool, own, words, noise)
    return noise


def words_for(n, seed=1):
    words = np.random.default_rng(seed).integers(1 << 32, size=(n, POOL_WORDS), dtype=np.uint32)
    words[0], words[1], words[2] = 0, FULL, FULL
    words[2, 1::2] = 0
    return words


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("m", [2, 5, 40])
def test_chains_of_a_pool_are_codes_of_codes(m, step):
    shift, scale, mean, mixing, chains = pool_of(m, 3, seed=m)
    eps = np.ones(3)
    for t in range(m)[::step]:
        eps = mixing @ (shift[t] + scale[t] * eps - mean)
        np.testing.assert_allclose(chains[(step + 1) // 2][t], eps, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("m", [2, 3, 4, 7, 12, 100, 2000])
def test_noise_from_a_pool_is_its_definition(m):
    pool, n = pool_of(m, 3, seed=m), 300
    rng = np.random.default_rng(2)
    own = np.where(rng.random(n) < 0.7, rng.integers(m, size=n), -1)
    words = words_for(n)
    expected = naive_pool_noise(*pool, own, words)
    np.testing.assert_allclose(draws(pool, own, words), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("m", [2, 3, 7, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_member_of_the_pool_is_not_part_of_its_own_noise(m, dtype):
    pool, words = pool_of(m, 2, seed=m, dtype=dtype), words_for(60)
    for place in range(0, m, max(1, m // 8)):
        moved = [array.copy() for array in pool]
        moved[0][place], moved[1][place] = 1e6, 0.999
        for chain, step in zip(moved[4], (-1, 1), strict=True):
            pool_chain(*moved[:4], np.ones(2, dtype=dtype), step, chain)
        own = np.full(60, place)
        np.testing.assert_array_equal(draws(moved, own, words), draws(pool, own, words))
        # Rows that the pool does not know do hear of it.
        strangers = np.full(60, -1)
        assert not np.array_equal(draws(moved, strangers, words), draws(pool, strangers, words))


def test_every_place_of_the_chains_that_has_not_passed_the_row_is_drawn():
    m, n = 5, 4000
    # Members leave the noise as it is: it says which place it came from.
    pool = [np.zeros((m, 1)), np.ones((m, 1)), np.zeros(1), np.eye(1), None]
    pool[4] = np.arange(2 * m, dtype=float).reshape(2, m, 1)
    for own, places in ((-1, range(10)), (0, (1, 2, 3, 4)), (3, (4, 5, 6, 7)), (4, (5, 6, 7, 8))):
        seen, counts = np.unique(draws(pool, np.full(n, own), words_for(n)), return_counts=True)
        np.testing.assert_array_equal(seen, list(places))
        # Binomial counts, at five standard errors.
        share = 1 / len(seen)
        assert np.all(np.abs(counts - n * share) < 5 * np.sqrt(n * share * (1 - share)))


@pytest.mark.parametrize("largest", [0.5, 0.98])
def test_mean_noise_from_a_pool_is_that_of_a_geometric_sum(largest):
    pool = pool_of(2000, 1, largest=largest)
    pool[0] += 1.0
    pool[2][:], pool[3][:] = 0.0, 1.0
    for chain, step in zip(pool[4], (-1, 1), strict=True):
        pool_chain(*pool[:4], np.ones(1), step, chain)
    n = 40_000
    noise = draws(pool, np.full(n, -1), words_for(n))
    expected = pool[0].mean() / (1 - pool[1].mean())
    # Draws share the pool: beside their own, an error of the order of one pool's mean.
    slack = 5 * noise.std() / math.sqrt(n) + 5 * noise.std() / math.sqrt(2000)
    assert abs(noise.mean() - expected) < slack
