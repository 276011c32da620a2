"""The fingerprint is worked out once for each fitted state, and is never that of another state."""

import copy
import hashlib
import pickle

import numpy as np
import pytest

from rdlearn import PCACodec, UniformNoiseCodec, _persistence, load

RNG = np.random.default_rng(0)
X, OTHER = RNG.normal(size=(2, 300, 6)) * [3, 2, 1, 1, 0.5, 0.2]


def anew(codec):
    state = {"class": type(codec).__name__, **codec._decoder_state()}
    return hashlib.blake2b(_persistence.pack(state), digest_size=8).digest()


@pytest.fixture
def packed(monkeypatch):
    """How often a state was packed."""
    calls, pack = [], _persistence.pack

    def counting(state, **options):
        calls.append(state["class"])
        return pack(state, **options)

    monkeypatch.setattr(_persistence, "pack", counting)
    return calls


@pytest.mark.parametrize("joint", [False, True])
def test_streams_do_not_hash_the_model_again(packed, joint):
    codec = PCACodec(quantizer="trellis", beta=3.0).fit(X)
    blob = codec.compress(X[:1], joint=joint)
    known = codec.decompress(blob)
    del packed[:]
    for _ in range(3):
        np.testing.assert_array_equal(codec.decompress(blob), known)
        assert codec.compress(X[:1], joint=joint) == blob
    assert packed == []


def test_whatever_changes_the_state_changes_the_fingerprint(tmp_path):
    codec = PCACodec(quantizer="trellis", beta=3.0).fit(X)
    seen = [codec.fingerprint]

    def changed(codec, joint=False):
        assert codec.fingerprint == anew(codec) and codec.fingerprint not in seen
        seen.append(codec.fingerprint)
        assert codec._jointly().fingerprint == anew(codec._jointly())
        stream = codec.compress(X[:9], joint=joint)
        assert codec.decompress(stream).shape == (9, 6)

    changed(codec.fit(OTHER), joint=True)
    codec.set_params(standardize=True)
    changed(codec)
    changed(codec.set_params(standardize=False).fit(X[:200]), joint=True)
    other = PCACodec(quantizer="trellis", beta=3.0).partial_fit(X)
    other.compress(X[:9], joint=True)
    changed(other.partial_fit(OTHER), joint=True)
    swapped = copy.copy(codec)
    swapped.quantizers_ = swapped.joint_quantizers_
    assert swapped.fingerprint == anew(swapped) != codec.fingerprint
    assert swapped.fingerprint == codec._jointly().fingerprint
    # Nothing that was worked out travels with a model, and the same state is the same decoder.
    before = vars(codec).keys()
    codec.save(tmp_path / "m.rdl")
    assert vars(codec).keys() == before
    for back in (load(tmp_path / "m.rdl"), pickle.loads(pickle.dumps(codec)), copy.copy(codec)):
        assert back.fingerprint == anew(back) == codec.fingerprint
        assert back._jointly() is not codec._jointly()


def test_a_failed_fit_leaves_the_old_fingerprint():
    codec = PCACodec(beta=3.0).fit(X)
    known = codec.fingerprint
    with pytest.raises(ValueError, match="out of reach"):
        codec.set_params(target_rate=1e9).fit(OTHER)
    assert codec.fingerprint == known == anew(codec)


def test_nets_are_hashed_once_too(packed):
    codec = UniformNoiseCodec(3, hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X)
    blob = codec.compress(X)
    del packed[:]
    codec.decompress(blob)
    assert packed == []
    known = codec.fingerprint
    assert codec.set_params(max_iter=2).fit(X).fingerprint == anew(codec) != known
