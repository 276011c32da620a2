"""Counter-based draws, and the noise of new rows that they choose from a pool."""

import math

import numpy as np
import pytest
from reference import naive_pool_noise, philox_4x32

from rdlearn._echo import EchoMixin
from rdlearn.kernels.echo import pool_noise
from rdlearn.kernels.random import _philox, row_bits, row_keys

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
def test_philox_gives_the_published_answers(counter, key, answer):
    expected = [int(word, 16) for word in answer.split()]
    ours = _philox(*(np.uint64(word) for word in (*counter, *key)))
    assert [int(word) for word in ours] == expected
    assert philox_4x32(counter, key) == expected


def bits(keys, seed, stream, n_words):
    out = np.empty((len(keys), n_words), dtype=np.uint32)
    row_bits(np.array(keys, dtype=np.uint64), np.uint64(seed), np.uint64(stream), out)
    return out


@pytest.mark.parametrize("n_words", [1, 2, 3, 4, 5, 8, 11])
def test_words_of_rows_are_philox_of_key_seed_and_stream(n_words):
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
    rng = np.random.default_rng(seed)
    keys = rng.permutation(10 * m)[:m].astype(np.uint64)
    shift, tails = rng.standard_normal((m, k)), 100 + rng.standard_normal((2, k))
    scale = rng.uniform(0, largest, (m, k))
    return shift.astype(dtype), scale.astype(dtype), keys, tails.astype(dtype)


def draws(pool, keys, words):
    noise = np.empty((len(keys), pool[0].shape[1]), dtype=pool[0].dtype)
    pool_noise(*pool, keys, words, noise)
    return noise


def words_for(n, seed=1):
    words = np.random.default_rng(seed).integers(1 << 32, size=(n, 2), dtype=np.uint32)
    words[: min(n, 3)] = [[0, 0], [FULL, FULL], [FULL, 0]][: min(n, 3)]
    return words


@pytest.mark.parametrize("m", [2, 3, 4, 7, 12, 100, 2000])
@pytest.mark.parametrize("largest", [0.5, 0.9995])
def test_noise_from_a_pool_is_the_whole_walk(m, largest):
    pool = pool_of(m, 3, seed=m, largest=largest)
    n = 300 if m < 2000 else 40
    # Members, and rows that the pool does not know.
    rng = np.random.default_rng(2)
    known = rng.random(n) < 0.7
    keys = np.where(known, rng.choice(pool[2], n), np.uint64(1 << 60))
    words = words_for(n)
    expected = naive_pool_noise(*pool, keys, words)
    # Stopping early changes a rest of weight 2**-24, itself made of codes: the difference of two
    # codes or tails, each within the largest value of any sum.
    shift, scale, _, tails = pool
    most = max(np.abs(shift).max() / (1 - scale.max()), np.abs(tails).max())
    bound = 2.0**-24 * 2 * most + 1e-12 * np.abs(expected).max()
    assert np.all(np.abs(draws(pool, keys, words) - expected) <= bound)


@pytest.mark.parametrize("m", [2, 3, 7, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_member_of_the_pool_is_not_part_of_its_own_noise(m, dtype):
    pool = pool_of(m, 2, seed=m, dtype=dtype)
    words = words_for(40)
    for place in range(0, m, max(1, m // 8)):
        moved = [array.copy() for array in pool]
        moved[0][place], moved[1][place] = 1e9, 0.999
        keys = np.full(40, pool[2][place])
        np.testing.assert_array_equal(draws(moved, keys, words), draws(pool, keys, words))
        # All others do hear of it: with no tail and no other value, it is their whole noise.
        alone = [np.zeros_like(pool[0]), np.ones_like(pool[1]), pool[2], np.zeros_like(pool[3])]
        alone[0][place] = 1.0
        others = np.full(40, pool[2][place - 1])
        assert np.all(draws(alone, others, words) == 1.0)
        assert np.all(draws(alone, keys, words) == 0.0)


def test_equal_rows_of_the_pool_are_left_out_together():
    pool = pool_of(9, 2)
    pool[2][[1, 4, 7]] = pool[2][1]
    words, keys = words_for(60), np.full(60, pool[2][1])
    before = draws(pool, keys, words)
    pool[0][[1, 4, 7]], pool[1][[1, 4, 7]] = -1e9, 0.5
    np.testing.assert_array_equal(draws(pool, keys, words), before)


@pytest.mark.parametrize("m", [2, 3, 7])
def test_walks_end_in_the_tail_of_the_other_half(m):
    keys = np.arange(m, dtype=np.uint64)
    # S = 1 and f = 0: the noise is the tail.
    tails = np.array([[10.0], [11.0]])
    pool = np.zeros((m, 1)), np.ones((m, 1)), keys, tails
    rows = np.append(keys, np.uint64(99))
    expected = [11.0 if place % 2 == 0 else 10.0 for place in range(m)] + [10.0]
    for seed in range(10):
        np.testing.assert_array_equal(draws(pool, rows, words_for(m + 1, seed))[:, 0], expected)


class EchoModel(EchoMixin):
    n_components_, noise_terms = 2, None

    def __init__(self, encoded):
        keys = np.arange(len(encoded), dtype=np.uint64)
        vars(self).update(self._learn_noise(encoded, keys))


@pytest.mark.parametrize("m", [2, 3, 4, 7, 20])
def test_a_model_keeps_a_row_out_of_the_tail_of_its_own_noise(m):
    # S about 0.99: the tail weighs much.
    encoded = np.random.default_rng(m).standard_normal((m, 4)).astype(np.float32)
    encoded[:, 2:] += 5.0
    words = words_for(30)
    for place in range(m):
        moved = encoded.copy()
        moved[place] = [1e3, -1e3, 1.0, -1.0]
        keys = np.full(30, place, dtype=np.uint64)
        before, after = (EchoModel(e)._noise(keys, lambda _: words) for e in (encoded, moved))
        np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize("largest", [0.5, 0.98])
def test_mean_noise_from_a_pool_is_that_of_a_geometric_sum(largest):
    shift, scale, keys, _ = pool_of(2000, 1, largest=largest)
    shift += 1.0
    pool = shift, scale, keys, np.zeros((2, 1))
    n = 40_000
    noise = draws(pool, np.full(n, 1 << 60, dtype=np.uint64), words_for(n))
    expected = shift.mean() / (1 - scale.mean())
    # Members of one walk differ, and draws share the pool: both of the order 1 / m.
    slack = 5 * noise.std() / math.sqrt(n) + 10 * expected / 2000
    assert abs(noise.mean() - expected) < slack
