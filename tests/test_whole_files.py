"""Files are written whole or not at all, and what cannot be written or read is named."""

import errno
import os
import stat
import struct
import tracemalloc

import numpy as np
import pytest

from rdlearn import CorruptStreamError, PCACodec, load
from rdlearn._persistence import pack, read, unpack, whole_file, write
from rdlearn._tables_io import check_output

LARGE = 1 << 28


@pytest.fixture
def small_files():
    """No file may grow beyond a thousand bytes."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def codec():
    return PCACodec(beta=3).fit(np.random.default_rng(0).normal(size=(50, 2)))


def test_the_umask_is_left_alone(tmp_path, monkeypatch):
    # It is one for all threads, so that a change of it shows in files that others write.
    (tmp_path / "plain").write_bytes(b"")

    def umask(mask):
        raise AssertionError("the umask was changed")

    monkeypatch.setattr(os, "umask", umask)
    write(tmp_path / "m.rdl", {})
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("m.rdl", "plain")}
    assert len(modes) == 1


def test_a_private_file_is_private_while_it_is_written(tmp_path):
    path = tmp_path / "m.rdl"
    path.write_bytes(b"old")
    path.chmod(0o600)
    with whole_file(path):
        (part,) = (file for file in tmp_path.iterdir() if file != path)
        assert stat.S_IMODE(part.stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["m" * 255, "é" * 127])
def test_the_longest_names(tmp_path, name):
    write(tmp_path / name, {"a": 1})
    assert read(tmp_path / name) == {"a": 1} and len(list(tmp_path.iterdir())) == 1
    with pytest.raises(OSError, match=name) as refused:
        write(tmp_path / (name + "mm"), {})
    assert refused.value.errno == errno.ENAMETOOLONG


def test_a_full_disk_names_the_file(tmp_path, small_files):
    path = tmp_path / "m.rdl"
    path.write_bytes(b"old")
    # Where the buffer is flushed at the end, and where it is before.
    for size in (2000, 10**6):
        with pytest.raises(OSError, match="m.rdl") as refused:
            write(path, {"a": np.arange(size, dtype=np.uint8)})
        assert refused.value.filename == str(path) and refused.value.errno == errno.EFBIG
        assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["m.rdl"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_device_names_itself(codec):
    with pytest.raises(OSError, match="/dev/full") as refused:
        codec.save("/dev/full")
    assert refused.value.errno == errno.ENOSPC


def test_an_error_of_the_data_keeps_its_own_file(tmp_path):
    with pytest.raises(OSError, match="other") as refused, whole_file(tmp_path / "m.rdl"):
        raise OSError(errno.EIO, "Input/output error", "other")
    assert refused.value.filename == "other" and not os.listdir(tmp_path)
    with pytest.raises(OSError, match="no name") as refused, whole_file(tmp_path / "m.rdl"):
        raise OSError(errno.EIO, "no name")
    assert refused.value.filename is None


def test_a_read_only_file_stays(tmp_path, codec):
    path, link = tmp_path / "m.rdl", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o444)
    link.symlink_to(path)
    X = np.zeros((3, 2))
    for place in (path, link):
        for work in (codec.save, lambda place: codec.compress_to(X, place)):
            with pytest.raises(PermissionError, match="m.rdl is read-only; make it writable"):
                work(place)
        # The command line looks before it works.
        with pytest.raises(PermissionError, match="m.rdl is read-only; make it writable"):
            check_output(str(place))
    assert path.read_bytes() == b"old" and sorted(os.listdir(tmp_path)) == ["link", "m.rdl"]


def test_a_folder_that_cannot_be_written_names_the_file():
    # /proc takes new files of nobody, the superuser included.
    if not os.path.isdir("/proc/self"):
        pytest.skip("this system has no /proc")
    with pytest.raises(OSError, match="'/proc/[0-9]+/m.rdl'"):
        write("/proc/self/m.rdl", {})


def test_no_model_is_told_by_its_first_bytes(tmp_path):
    path = tmp_path / "m.rdl"
    blob = pack({"a": 1})
    for head, word in ((b"PK\3\4", "not an rdlearn model file"), (blob[:20], "truncated")):
        path.write_bytes(head)
        os.truncate(path, LARGE)
        tracemalloc.start()
        try:
            with pytest.raises(CorruptStreamError, match=word):
                load(path)
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()
    # A length that nothing holds is not asked for either.
    path.write_bytes(blob[:12] + struct.pack("<Q", 1 << 60) + blob[20:])
    with pytest.raises(CorruptStreamError, match="truncated"):
        load(path)


def test_max_bytes(tmp_path, codec):
    path = tmp_path / "m.rdl"
    codec.save(path)
    assert load(path, max_bytes=10**6).fingerprint == codec.fingerprint
    with pytest.raises(ValueError, match="more than max_bytes=100; raise max_bytes"):
        load(path, max_bytes=100)
    for bad in (0, -1, 0.5, "1"):
        with pytest.raises(ValueError, match=f"max_bytes={bad!r} must be"):
            load(path, max_bytes=bad)


def test_max_bytes_counts_arrays_that_repeat():
    blob = pack({"a": np.zeros(100_000), "b": np.ones(3)})
    assert len(blob) < 300
    assert unpack(blob, len(blob) + 8 * 99_999)["a"].shape == (100_000,)
    with pytest.raises(ValueError, match="takes .* bytes, more than max_bytes=") as error:
        unpack(blob, len(blob) + 8 * 99_998)
    assert not isinstance(error.value, CorruptStreamError)
