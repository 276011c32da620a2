"""Words of bits as bytes: round trips, lengths, damage, and the law that fit finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import words
from scipy.special import logsumexp

from rdlearn.coding import bits
from rdlearn.coding.bits import BitMixture
from rdlearn.exceptions import CorruptStreamError


@st.composite
def mixtures(draw):
    n_bits, size = draw(st.integers(1, 12)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    weights = rng.integers(1, 2**32, size=size)
    weights[0] = draw(st.sampled_from([2**31, 2**32 - 1]))
    hard = draw(st.booleans())
    prob = (
        rng.choice([1, 2**16 - 1], size=(n_bits, size))
        if hard
        else rng.integers(1, 2**16, size=(n_bits, size))
    )
    n = draw(st.integers(1, 200))
    return BitMixture(weights, prob), rng.integers(0, 2, size=(n_bits, n)), rng


def naive_lengths(mixture, symbols):
    """Bits of each word under the mixture, in float64, from its definition."""
    share = mixture.weights / mixture.weights.sum(dtype=float)
    prob = mixture.prob / 2.0**16
    out = []
    for word in symbols.T:
        each = np.where(word[:, None] == 1, prob, 1 - prob).prod(axis=0)
        out.append(-np.log2(share @ each))
    return np.array(out)


@settings(max_examples=200, deadline=None)
@given(mixtures())
def test_round_trip(case):
    mixture, symbols, rng = case
    payload = mixture.encode(symbols)
    np.testing.assert_array_equal(mixture.decode(payload, symbols.shape[1]), symbols)
    # Never more than the bits themselves, and no more than the model says, its state and a word.
    assert len(payload) <= -(-symbols.size // 8)
    lengths = mixture.code_length(symbols)
    if len(payload) < -(-symbols.size // 8):
        assert len(payload) <= lengths.sum() / 8 * 1.001 + 9
    again = BitMixture.from_state(mixture.to_state())
    assert again.encode(symbols) == payload
    # Bits that the coder's 14 bits round are at most this far off, each.
    for j in (0, symbols.shape[1] - 1):
        alone = symbols[:, [j]]
        assert mixture.code_length(alone)[0] == lengths[j]


@settings(max_examples=100, deadline=None)
@given(mixtures(), st.integers(0, 2**32))
def test_damage_is_refused_or_gives_bits(case, seed):
    mixture, symbols, rng = case
    payload = bytearray(mixture.encode(symbols))
    chance = np.random.default_rng(seed)
    for _ in range(5):
        damaged = bytearray(payload)
        if chance.random() < 0.5:
            damaged[chance.integers(len(damaged))] ^= 1 << int(chance.integers(8))
        elif chance.random() < 0.5:
            damaged = damaged[: chance.integers(len(damaged))]
        else:
            damaged += chance.bytes(int(chance.integers(1, 9)))
        try:
            out = mixture.decode(bytes(damaged), symbols.shape[1])
        except CorruptStreamError:
            continue
        assert out.shape == symbols.shape and set(np.unique(out)) <= {0, 1}


@pytest.mark.parametrize("size", [1, 3, 40])
def test_lengths_are_those_of_the_mixture(size):
    rng = np.random.default_rng(size)
    weights = rng.integers(2**28, 2**32, size=size)
    weights[0] = 2**32 - 1
    mixture = BitMixture(weights, rng.integers(2**10, 2**16 - 2**10, size=(9, size)))
    symbols = words(9).T
    # Frequencies in units of 2**-14, at least 2**-6: a bit is off by 2**-9 nats at most.
    want = naive_lengths(mixture, symbols)
    np.testing.assert_allclose(mixture.code_length(symbols), want, atol=9 * 2.0**-8)
    # Kraft: what integers leave of the probabilities sums to one.
    assert np.exp2(-mixture.code_length(symbols)).sum() == pytest.approx(1, abs=1e-9)


def test_fit_comes_close_to_the_entropy_and_bytes_to_the_length():
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2, size=(3, 24))
    n = 20_000
    draw = base[rng.integers(3, size=2 * n)] ^ (rng.random((2 * n, 24)) < 0.05)
    mixture = BitMixture.fit(draw[:n], np.random.default_rng(1))
    held_out = np.ascontiguousarray(draw[n:].T.astype(np.int64))
    noise = -24 * (0.05 * np.log2(0.05) + 0.95 * np.log2(0.95))
    mean = mixture.code_length(held_out).mean()
    # Three words that overlap a little: less than log2(3) above the noise.
    assert noise < mean < noise + np.log2(3) + 0.05
    assert 8 * len(mixture.encode(held_out)) == pytest.approx(n * mean, rel=5e-4)
    assert mixture.prob.shape[1] > 1


def naive_steps(rows, share, prob, n_steps):
    """Expectation-maximisation over all rows, half a row of the mean in each component."""
    mean = (rows.sum(axis=0) + 0.5) / (len(rows) + 1)
    for _ in range(n_steps):
        p = np.clip(prob, 2.0**-16, 1 - 2.0**-16)
        logs = np.stack([np.where(rows == 1, np.log(q), np.log(1 - q)).sum(axis=1) for q in p])
        logs += np.log(share)[:, None]
        belongs = np.exp(logs - logsumexp(logs, axis=0))
        share = (belongs.sum(axis=1) + 0.5) / (len(rows) + 0.5 * len(share))
        prob = np.stack(
            [((b[:, None] * rows).sum(axis=0) + 0.5 * mean) / (b.sum() + 0.5) for b in belongs]
        )
    return share, prob


@pytest.mark.parametrize("n_bits, n, size", [(3, 500, 4), (9, 300, 8), (17, 60, 5), (40, 25, 3)])
@pytest.mark.parametrize("noise", [0.0, 0.2])
def test_words_that_repeat_are_counted_rather_than_gone_over(monkeypatch, n_bits, n, size, noise):
    rng = np.random.default_rng(n)
    base = rng.integers(0, 2, size=(6, n_bits))
    rows = base[rng.integers(6, size=n)] ^ (rng.random((n, n_bits)) < noise)
    different, counts = bits._counted(rows.astype(np.float32))
    assert len(different) == len({tuple(row) for row in rows.tolist()})
    again = np.repeat(different, counts, axis=0)
    assert sorted(again.tolist()) == sorted(rows.tolist())
    found = []
    for n_iter in (0, 3):
        monkeypatch.setattr(bits, "N_ITER", n_iter)
        rng = np.random.default_rng(1)
        found.append(bits._expectation_maximisation(different, counts, size, rng))
    share, prob = naive_steps(rows, *found[0], 3)
    np.testing.assert_allclose(found[1][0], share, rtol=1e-10)
    np.testing.assert_allclose(found[1][1], prob, rtol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_fit_to_few_words(n):
    draw = np.random.default_rng(n).integers(0, 2, size=(n, 6))
    mixture = BitMixture.fit(draw, np.random.default_rng(0))
    symbols = np.ascontiguousarray(draw.T)
    np.testing.assert_array_equal(mixture.decode(mixture.encode(symbols), n), symbols)


@pytest.mark.parametrize(
    "weights, prob, words",
    [
        ([2**31], [[1, 2]], "do not fit together"),
        ([2**31], np.zeros((0, 1), int), "do not fit together"),
        ([2**31 - 1], [[5]], "impossible weights"),
        ([2**32], [[5]], "impossible weights"),
        ([2**31, 0], [[5, 5]], "impossible weights"),
        ([2**31], [[0]], "impossible probabilities"),
        ([2**31], [[2**16]], "impossible probabilities"),
    ],
)
def test_impossible_mixtures_are_refused(weights, prob, words):
    with pytest.raises(CorruptStreamError, match=words):
        BitMixture(weights, prob)
    with pytest.raises(CorruptStreamError):
        BitMixture.from_state({"weights": np.array(weights, float), "prob": np.array(prob, float)})


def test_wrong_lengths_are_refused():
    mixture = BitMixture([2**31], [[2**15]] * 3)
    for payload in (b"", b"1", b"123", b"12345678"):
        with pytest.raises(CorruptStreamError, match="never take|damaged|more than"):
            mixture.decode(payload, 11)
    with pytest.raises(CorruptStreamError, match="ends in more"):
        mixture.decode(b"\xff" * 5, 11)


@pytest.mark.parametrize("n_bits", [1, 5, 24])
def test_bits_that_hardly_happen(n_bits):
    mixture = BitMixture([2**31], [[1]] * n_bits)
    symbols = np.zeros((n_bits, 4000), np.int64)
    symbols[0, [0, 77, 3999]] = 1
    payload = mixture.encode(symbols)
    # Ones cost the 14 bits of the smallest frequency.
    assert len(payload) <= 4 + (3 * 14 + symbols.size * 2.0**-13) / 8 + 4
    np.testing.assert_array_equal(mixture.decode(payload, 4000), symbols)
    np.testing.assert_allclose(mixture.code_length(symbols)[77], 14, atol=0.01)


def test_streams_end_where_they_should():
    mixture = BitMixture([2**31], [[2**12]] * 8)
    symbols = np.zeros((8, 300), np.int64)
    symbols[3, ::7] = 1
    payload = mixture.encode(symbols)
    assert len(payload) < 300
    for damaged in (payload + b"\0\0", payload[:-2], payload[:4] + payload[6:]):
        with pytest.raises(CorruptStreamError, match="damaged"):
            mixture.decode(damaged, 300)
    with pytest.raises(CorruptStreamError, match="damaged"):
        mixture.decode(payload, 299)
