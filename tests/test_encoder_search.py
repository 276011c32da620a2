"""Codewords against the decoder: all of them, and flips."""

import numpy as np
import pytest
from reference import words

from rdlearn import _encoder_search
from rdlearn._encoder_search import _descend, search_all, search_flips
from rdlearn.distortions import Hamming


def case(k, d=12, n=60, seed=0):
    rng = np.random.default_rng(seed)
    w, bias = rng.normal(size=(k, d)).astype(np.float32), rng.normal(size=d).astype(np.float32)
    bits = rng.integers(0, 2, size=(n, d)).astype(np.float32)
    return bits, lambda z: z @ w + bias


def free(words):
    """Bits that cost nothing."""
    return np.zeros(len(words))


def losses(bits, logits, distortion):
    """Of every row under every codeword, from the definition."""
    k = next(k for k in range(1, 9) if accepts(logits, k))
    y = distortion.reproduction(1 / (1 + np.exp(-logits(words(k)).astype(float))))
    return np.stack(
        [distortion.samples(bits.astype(float), np.tile(row, (len(bits), 1))) for row in y], axis=1
    )


def accepts(logits, k):
    try:
        logits(np.zeros((1, k)))
    except ValueError:
        return False
    return True


def loss_of(bits, code, logits, distortion):
    y = distortion.reproduction(1 / (1 + np.exp(-logits(code).astype(float))))
    return distortion.samples(bits.astype(float), y)


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("a, b", [(1.0, 1.0), (0.5, 2.0), (3.0, 1.0)])
def test_the_best_of_all(k, a, b):
    (bits, logits), distortion = case(k), Hamming(a, b)
    code = search_all(bits, k, logits, distortion, free)
    best = losses(bits, logits, distortion).min(axis=1)
    np.testing.assert_allclose(loss_of(bits, code, logits, distortion), best, rtol=1e-6)


@pytest.mark.parametrize("k", [1, 3, 8])
@pytest.mark.parametrize("a, b", [(1.0, 1.0), (0.5, 2.0)])
def test_flips_never_lose_and_end_where_no_flip_helps(k, a, b):
    (bits, logits), distortion = case(k, seed=1), Hamming(a, b)
    start = np.random.default_rng(2).integers(0, 2, size=(len(bits), k)).astype(np.float32)
    before = start.copy()
    code = search_flips(bits, start, logits, distortion, free)
    np.testing.assert_array_equal(start, before)
    found = loss_of(bits, code, logits, distortion)
    assert np.all(found <= loss_of(bits, start, logits, distortion))
    assert found.mean() < loss_of(bits, start, logits, distortion).mean() or k == 1
    stuck = 0
    for j in range(k):
        flipped = code.copy()
        flipped[:, j] = 1 - flipped[:, j]
        stuck += (loss_of(bits, flipped, logits, distortion) < found).sum()
    # The sweeps are few: hardly any row is left with a flip that helps.
    assert stuck <= 0.05 * len(bits)


@pytest.mark.parametrize("search", ["all", "flips"])
def test_rows_are_searched_alone(search):
    (bits, logits), d = case(5, n=2500), Hamming()

    def run(rows):
        if search == "all":
            return search_all(bits[rows], 5, logits, d, free)
        return search_flips(bits[rows], np.zeros((len(bits[rows]), 5), np.float32), logits, d, free)

    whole = run(slice(None))
    rows = np.random.default_rng(0).permutation(2500)[:1100]
    np.testing.assert_array_equal(run(rows), whole[rows])


def test_bits_have_their_price():
    (bits, logits), distortion = case(5), Hamming()

    def costs(z):
        return 2.0 * z.sum(axis=1)

    total = losses(bits, logits, distortion) + costs(words(5))
    code = search_all(bits, 5, logits, distortion, costs)
    found = loss_of(bits, code, logits, distortion) + costs(code)
    np.testing.assert_allclose(found, total.min(axis=1))
    start = np.ones((len(bits), 5), np.float32)
    code = search_flips(bits, start, logits, distortion, costs)
    found = loss_of(bits, code, logits, distortion) + costs(code)
    assert np.all(found <= loss_of(bits, start, logits, distortion) + costs(start))
    assert found.mean() < 1.2 * total.min(axis=1).mean()


def naive_sweeps(code, table, n_sweeps):
    """Row by row and bit by bit: the words (n,) as numbers, the first bit the highest."""
    n, k = code.shape
    out = code @ 2 ** np.arange(k)[::-1]
    for i in range(n):
        for _ in range(n_sweeps):
            for j in range(k):
                other = out[i] ^ 1 << (k - 1 - j)
                if table[i, other] < table[i, out[i]]:
                    out[i] = other
    return out


@pytest.mark.parametrize("n_sweeps", [1, 2, 3, 9])
@pytest.mark.parametrize("k", [1, 4, 7])
@pytest.mark.parametrize("levels", [3, 2**30])
def test_rows_that_rest_are_left_out_of_sweeps_that_would_not_move_them(n_sweeps, k, levels):
    rng = np.random.default_rng([n_sweeps, k, levels])
    n, powers = 80, 2 ** np.arange(k)[::-1]
    # Few levels: many neighbours cost the same.
    table = rng.integers(levels, size=(n, 2**k)).astype(float)
    code, priced = rng.integers(2, size=(n, k)), []

    def cost(z, rows):
        priced.append(len(z))
        return table[rows, z.astype(int) @ powers]

    found = code.astype(np.float32)
    _descend(np.arange(n), found, cost, n_sweeps)
    want = naive_sweeps(code, table, n_sweeps)
    np.testing.assert_array_equal(found @ powers, want)
    # Of each sweep, those that the last one moved.
    ends = [code @ powers] + [naive_sweeps(code, table, s) for s in range(1, n_sweeps)]
    moved = [n] + [np.count_nonzero(a != b) for a, b in zip(ends, ends[1:], strict=False)]
    assert sum(priced) == (k + 1) * sum(moved)


@pytest.mark.parametrize("k", [3, 8, 11, 20])
def test_a_word_is_priced_once(k):
    (bits, logits), rng = case(k, n=1500, seed=k), np.random.default_rng(k)
    price, asked = rng.random(k), []

    def costs(z):
        asked.extend(map(tuple, z.tolist()))
        return z @ price

    start = rng.integers(0, 2, size=(len(bits), k)).astype(np.float32)
    code = search_flips(bits, start, logits, Hamming(), costs)
    assert len(set(asked)) == len(asked)
    assert {*map(tuple, start.tolist()), *map(tuple, code.tolist())} <= set(asked)


def test_what_is_forgotten_is_priced_again(monkeypatch):
    (bits, logits), price, codes = case(9, n=300), np.random.default_rng(0).random(9), []
    start = np.zeros((300, 9), np.float32)
    for memory in (1 << 18, 10, 0):
        monkeypatch.setattr(_encoder_search, "MEMORY", memory)
        codes.append(search_flips(bits, start, logits, Hamming(), lambda z: z @ price))
    np.testing.assert_array_equal(codes[1], codes[0])
    np.testing.assert_array_equal(codes[2], codes[0])
