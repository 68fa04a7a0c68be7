"""Random faults: a file is refused or its voxels are right; never anything else."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.freesurfer.mghformat import header_dtype as MGH_HEADER

from lodbrain.errors import InputError
from lodbrain.images import read_image, read_labels

FAULTS = settings(max_examples=400, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return tmp_path_factory.mktemp("faults") / "scan.nii.gz"


def nifti_header(shape=(5, 6, 7)) -> bytearray:
    header = bytearray(352)
    header[0:4] = (348).to_bytes(4, "little")
    for position, value in enumerate([3, *shape, 1, 1, 1, 1]):
        header[40 + 2 * position : 42 + 2 * position] = value.to_bytes(2, "little")
    header[70:72], header[72:74] = (4).to_bytes(2, "little"), (16).to_bytes(2, "little")
    header[76:108] = np.ones(8, "<f4").tobytes()
    header[108:112], header[112:116] = np.float32(352).tobytes(), np.float32(1).tobytes()
    header[123], header[254] = 2, 1
    header[280:328] = np.eye(4, dtype="<f4")[:3].tobytes()
    header[344:348] = b"n+1\0"
    return header


VOXELS = np.random.default_rng(1).integers(1, 2000, (5, 6, 7)).astype("<i2")
PLAIN = bytes(nifti_header()) + VOXELS.tobytes("F")
PACKED = gzip.compress(PLAIN, mtime=0)


def mgh() -> bytes:
    header = np.zeros((), MGH_HEADER)
    header["version"], header["dims"], header["type"], header["goodRASFlag"] = 1, (5, 6, 7, 1), 4, 1
    header["delta"], header["Mdc"] = 1, np.eye(3)
    return header.tobytes().ljust(284, b"\0") + VOXELS.astype(">i2").tobytes("F")


def test_the_sound_file_is_read(target):
    target.write_bytes(PACKED)
    np.testing.assert_array_equal(read_image(target).data, VOXELS)


@FAULTS
@given(bit=st.integers(0, 8 * len(PACKED) - 1))
def test_no_flipped_bit_in_a_gzip_file_gives_wrong_voxels(target, bit):
    faulty = bytearray(PACKED)
    faulty[bit // 8] ^= 1 << bit % 8
    target.write_bytes(faulty)
    try:
        image = read_image(target)
    except InputError:
        return
    np.testing.assert_array_equal(image.data, VOXELS)
    np.testing.assert_array_equal(image.affine, np.eye(4))


@FAULTS
@given(length=st.integers(0, len(PACKED) - 1))
def test_no_cut_gzip_file_is_read(target, length):
    target.write_bytes(PACKED[:length])
    with pytest.raises(InputError):
        read_image(target)


@FAULTS
@given(data=st.data(), kind=st.sampled_from(["nifti", "mgh"]))
def test_noise_in_a_header_never_escapes_as_another_error(target, data, kind):
    sound = PLAIN if kind == "nifti" else mgh()
    faulty = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, 351))
        noise = data.draw(st.binary(min_size=1, max_size=4))
        faulty[start : start + len(noise)] = noise
    target.write_bytes(faulty)
    for read in (read_image, read_labels):
        try:
            image = read(target)
        except InputError:
            continue
        assert image.data.shape == image.shape
        assert np.isfinite(image.data).all()
        assert np.isfinite(image.affine).all()


@FAULTS
@given(content=st.binary(max_size=600))
def test_random_bytes_are_refused(target, content):
    target.write_bytes(content)
    with pytest.raises(InputError):
        read_image(target)
