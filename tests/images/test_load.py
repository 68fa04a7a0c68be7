"""Files as a whole: damage, stand-ins, names that lie, pairs, frames."""

from __future__ import annotations

import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images import read_image

PAGE = b"<!DOCTYPE html><html><body>404</body></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
ANNEX = b"/annex/objects/SHA256E-s6148--0a1b.nii.gz\n"
ANNEX_LINK = "../.git/annex/objects/mw/8V/SHA256E-s6148--0a1b.nii.gz/SHA256E-s6148--0a1b.nii.gz"


def gz(files, *args, **kwargs) -> bytes:
    return gzip.compress(files.nifti_bytes(*args, **kwargs), mtime=0)


def flip(content: bytes, byte: int, bit: int = 3) -> bytes:
    return content[:byte] + bytes([content[byte] ^ 1 << bit]) + content[byte + 1 :]


def with_extension(files, length: int) -> bytes:
    """A header extension of 16 bytes that claims `length`."""
    plain = files.nifti_bytes(vox_offset=368)
    return plain[:348] + b"\1\0\0\0" + struct.pack("<ii", length, 6) + bytes(8) + plain[352:]


def link(files, name: str, target: str) -> Path:
    path = files.folder / name
    path.symlink_to(target)
    return path


def folder(files) -> Path:
    (files.folder / "scan.nii").mkdir()
    return files.folder / "scan.nii"


def unpaired(files) -> Path:
    return files.raw("scan.hdr", files.nifti_bytes(magic=b"ni1", vox_offset=0)[:348])


REFUSED: dict[str, tuple[str, Callable]] = {
    "missing": ("missing", lambda f: f.folder / "none.nii.gz"),
    "below a file": ("missing", lambda f: f.raw("a.nii", b"x") / "b.nii"),
    "folder": ("not-a-file", folder),
    "1 empty": ("empty", lambda f: f.raw("scan.nii.gz", b"")),
    "2 truncated gz": ("truncated", lambda f: f.raw("scan.nii.gz", gz(f)[:-100])),
    "2 gz cut within its header": ("truncated", lambda f: f.raw("scan.nii.gz", gz(f)[:15])),
    "3 missing trailer": ("truncated", lambda f: f.raw("scan.nii.gz", gz(f)[:-8])),
    "3 half a trailer": ("truncated", lambda f: f.raw("scan.nii.gz", gz(f)[:-3])),
    "4 bad CRC": ("damaged", lambda f: f.raw("scan.nii.gz", flip(gz(f), -8))),
    "4 bad length": ("damaged", lambda f: f.raw("scan.nii.gz", flip(gz(f), -4))),
    "5 bit flip": ("damaged", lambda f: f.raw("scan.nii.gz", flip(gz(f), 300))),
    "9 web page": ("html-page", lambda f: f.raw("scan.nii.gz", b"\n " + PAGE)),
    "9 LFS pointer": ("lfs-pointer", lambda f: f.raw("scan.nii.gz", LFS)),
    "9 annex pointer": ("annex-stub", lambda f: f.raw("scan.nii.gz", ANNEX)),
    "9 annex link as text": ("annex-stub", lambda f: f.raw("scan.nii.gz", ANNEX_LINK.encode())),
    "9 DICOM": ("wrong-format", lambda f: f.raw("scan.nii", bytes(128) + b"DICM" + bytes(300))),
    "9 PNG": ("wrong-format", lambda f: f.raw("scan.nii", b"\x89PNG" + bytes(300))),
    "10 no magic": ("wrong-format", lambda f: f.nifti(magic=b"xyz")),
    "10 Analyze": ("wrong-format", lambda f: f.nifti(magic=b"")),
    "10 noise": ("wrong-format", lambda f: f.raw("scan.nii", bytes(range(7, 250)) * 9)),
    "10 twice gz": ("wrong-format", lambda f: f.raw("scan.nii.gz", gzip.compress(gz(f)))),
    "11 truncated nii": ("truncated", lambda f: f.raw("scan.nii", f.nifti_bytes()[:-1])),
    "11 nii cut in its header": ("truncated", lambda f: f.raw("scan.nii", f.nifti_bytes()[:200])),
    "11 nii cut behind its header": ("bad-header", lambda f: f.raw("scan.nii", f.nifti_bytes()[:348])),
    "11 gz of too few voxels": ("truncated", lambda f: f.raw("scan.nii.gz", gzip.compress(f.nifti_bytes()[:-1]))),
    "12 huge extension": ("bad-header", lambda f: f.raw("scan.nii", with_extension(f, 1 << 30))),
    "12 negative extension": ("bad-header", lambda f: f.raw("scan.nii", with_extension(f, -16))),
    "13 vox_offset NaN": ("bad-header", lambda f: f.nifti(vox_offset=np.nan)),
    "13 vox_offset huge": ("bad-header", lambda f: f.nifti(vox_offset=1e30)),
    "13 vox_offset 0": ("bad-header", lambda f: f.nifti(vox_offset=0)),
    "13 vox_offset beyond the end": ("bad-header", lambda f: f.nifti(vox_offset=16000)),
    "13 vox_offset NaN in gz": ("bad-header", lambda f: f.nifti("scan.nii.gz", vox_offset=np.nan)),
    "15 terabytes": ("truncated", lambda f: f.nifti("scan.nii.gz", dim=[4, 1200, 1200, 1200, 1000, 1, 1, 1])),
    "15 too many voxels": ("too-large", lambda f: f.nifti("scan.nii.gz", dim=[3, 32767, 32767, 32767, 1, 1, 1, 1])),
    "15 NIfTI-2 beyond 64 bit": ("too-large", lambda f: f.nifti(version=2, dim=[3, 2**62, 2**62, 2**62, 1, 1, 1, 1])),
    "17 hdr without img": ("missing-pair", unpaired),
    "17 img without hdr": ("missing-pair", lambda f: f.raw("scan.img", bytes(100))),
    "55 broken annex link": ("annex-missing", lambda f: link(f, "scan.nii.gz", ANNEX_LINK)),
    "55 broken link": ("broken-link", lambda f: link(f, "scan.nii.gz", "elsewhere.nii.gz")),
    "55 circular link": ("broken-link", lambda f: link(f, "scan.nii.gz", "scan.nii.gz")),
}

CORRECTED: dict[str, tuple[str, Callable]] = {
    "6 garbage behind gz": ("9 bytes behind", lambda f: f.raw("scan.nii.gz", gz(f) + b"\0trailing")),
    "6 garbage in gz": ("8 bytes behind", lambda f: f.raw("scan.nii.gz", gzip.compress(f.nifti_bytes() + bytes(8)))),
    "6 garbage behind nii": ("3 bytes behind", lambda f: f.raw("scan.nii", f.nifti_bytes() + b"abc")),
    "7 gz named nii": ("gzip-compressed although", lambda f: f.raw("scan.nii", gz(f))),
    "8 nii named gz": ("not compressed although", lambda f: f.raw("scan.nii.gz", f.nifti_bytes())),
    "mgz named nii.gz": ("MGH format although", lambda f: f.mgh().rename(f.folder / "scan.nii.gz")),
    "12 announced extensions missing": (
        "announces extensions",
        lambda f: f.raw("scan.nii", f.nifti_bytes()[:348] + b"\1\0\0\0" + f.nifti_bytes()[352:]),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_broken_file_is_refused_in_one_line(case, files):
    code, make = REFUSED[case]
    path = make(files)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.code == code
    assert caught.value.hint
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CORRECTED)
def test_odd_file_is_read_and_noted(case, files):
    note, make = CORRECTED[case]
    image = read_image(make(files))
    assert [note in text for text in image.notes].count(True) == 1
    np.testing.assert_array_equal(image.data, files.voxels())


def test_broken_annex_link_says_datalad_get(files):
    with pytest.raises(InputError, match="datalad get"):
        read_image(link(files, "scan.nii.gz", ANNEX_LINK))


def test_unreadable_file_is_refused(files):
    path = files.nifti()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.code == "unreadable"


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "Ünïcode name with  spaces.nii.gz", "scan", "SCAN.NII.GZ"])
def test_sound_file_is_read_without_a_note_on_the_file(name, files):
    path = files.raw(name, gz(files) if name.lower().endswith("gz") else files.nifti_bytes())
    image = read_image(path)
    np.testing.assert_array_equal(image.data, files.voxels())
    assert image.data.dtype == np.float32
    assert [note[:24] for note in image.notes] == ["The field of view is sma"]


@pytest.mark.parametrize("asked", ["scan.hdr", "scan.img"])
@pytest.mark.parametrize("packed", [False, True])
def test_pair_is_read_from_either_file(asked, packed, files):
    content = files.nifti_bytes(magic=b"ni1", vox_offset=16)
    end = ".gz" if packed else ""
    pack = gzip.compress if packed else bytes
    files.raw("scan.hdr" + end, pack(content[:348]))
    files.raw("scan.img" + end, pack(bytes(16) + content[352:]))
    image = read_image(files.folder / (asked + end))
    np.testing.assert_array_equal(image.data, files.voxels())
    assert len(image.notes) == 1


def test_voxels_of_a_pair_are_checked_to_the_end(files):
    content = files.nifti_bytes(magic=b"ni1", vox_offset=0)
    files.raw("scan.hdr", content[:348])
    files.raw("scan.img.gz", flip(gzip.compress(content[352:]), -8))
    with pytest.raises(InputError) as caught:
        read_image(files.folder / "scan.hdr")
    assert caught.value.code == "damaged"


def test_extension_is_passed_over(files):
    image = read_image(files.raw("scan.nii", with_extension(files, 16)))
    np.testing.assert_array_equal(image.data, files.voxels())


def test_gzip_of_several_members_is_read_whole(files):
    content = files.nifti_bytes()
    packed = b"".join(gzip.compress(content[start : start + 100]) for start in range(0, len(content), 100))
    image = read_image(files.raw("scan.nii.gz", packed))
    np.testing.assert_array_equal(image.data, files.voxels())
    assert len(image.notes) == 1


def test_damage_is_named_before_what_it_does_to_the_header(files):
    damaged = flip(gz(files, dim=[9, 6, 7, 8, 1, 1, 1, 1]), -8)
    with pytest.raises(InputError) as caught:
        read_image(files.raw("scan.nii.gz", damaged))
    assert caught.value.code == "damaged"


def test_bomb_is_refused_with_little_memory(files):
    """300 MB of zeros behind a sound image, as 300 kB."""
    packer = gzip.compress(bytes(1 << 24))
    path = files.raw("scan.nii.gz", gz(files) + packer * 18)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.code == "gzip-bomb"


def test_bomb_with_a_true_claim_is_refused_before_unpacking(files):
    header = files.nifti_bytes(dim=[3, 1200, 1200, 1200, 1, 1, 1, 1])[:352]
    path = files.raw("scan.nii.gz", gzip.compress(header) + bytes(1) * 4_000_000)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert caught.value.code == "gzip-bomb"


@pytest.mark.parametrize("name", ["run.nii", "run.nii.gz"])
@pytest.mark.parametrize("frame", [0, 1, 2])
def test_asked_frame_is_read(name, frame, files):
    data = files.voxels(shape=(6, 7, 8, 3))
    image = read_image(files.nifti(name, data), frame=frame)
    np.testing.assert_array_equal(image.data, data[..., frame])
    assert len(image.notes) == 1


@pytest.mark.parametrize(("frame", "code"), [(None, "4d"), (3, "no-such-frame"), (-1, "no-such-frame")])
def test_4d_without_a_valid_frame_is_refused(frame, code, files):
    path = files.nifti("run.nii.gz", files.voxels(shape=(6, 7, 8, 3)))
    with pytest.raises(InputError) as caught:
        read_image(path, frame=frame)
    assert caught.value.code == code
    # not every command has the option
    assert ("for others save that volume in a file of its own" in str(caught.value)) == (code == "4d")


def test_4d_of_one_frame_is_read_as_3d(files):
    image = read_image(files.nifti("scan.nii.gz", files.voxels(shape=(6, 7, 8, 1))))
    np.testing.assert_array_equal(image.data, files.voxels())
    assert "one frame" in image.notes[0]


def test_damage_behind_the_asked_frame_is_found(files):
    path = files.nifti("run.nii.gz", files.voxels(shape=(6, 7, 8, 3)))
    path.write_bytes(flip(path.read_bytes(), -8))
    with pytest.raises(InputError) as caught:
        read_image(path, frame=0)
    assert caught.value.code == "damaged"
