"""Random faults by the thousand: every input is refused with a reason, or read right; nothing else ever happens.

With `tests/images/test_faults.py` 7,000 cases, 6,000 of them in the default tests. `python -m flip_bits`, in makers,
flips bits by the million.
"""

from __future__ import annotations

import gzip
import os
import shutil
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny_model
from flip_bits import FILES, contents_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lodbrain.commands import main
from lodbrain.commands.bids import plan_participants
from lodbrain.errors import InputError, LodbrainError, UsageError
from lodbrain.images import read_array, read_image, read_labels, to_ras
from lodbrain.images.shear import is_sheared, straighten
from lodbrain.models import zoo
from lodbrain.segmentation.inputs import find_scans, scan_of, stem_of
from lodbrain.segmentation.outputs import Outputs

SLOW = ("stored", "members")
FEW = settings(max_examples=200, derandomize=True)
MANY = settings(max_examples=500, derandomize=True)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "scan.nii.gz"


def _refused_or_right(target: Path, content: bytes, sound: bytes) -> bool:
    """Whether it was read, and then with the voxels and affine of the sound file."""
    target.write_bytes(content)
    try:
        image = read_image(target)
    except InputError as error:
        assert "\n" not in str(error)
        return False
    target.write_bytes(sound)
    expected = read_image(target)
    np.testing.assert_array_equal(image.data, expected.data)
    np.testing.assert_array_equal(image.affine, expected.affine)
    return True


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in FILES])
@MANY
@given(data=st.data())
def test_faults_in_a_packed_file_are_found(kind: str, target: Path, data: st.DataObject) -> None:
    sound = contents_of(kind)
    faulty = bytearray(sound)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(faulty) - 1))
        match data.draw(st.sampled_from(["bit", "byte", "lost", "extra", "zeros", "swapped"])):
            case "bit":
                faulty[at] ^= 1 << data.draw(st.integers(0, 7))
            case "byte":
                faulty[at] = data.draw(st.integers(0, 255))
            case "lost":
                del faulty[at : at + data.draw(st.integers(1, 40))]
            case "extra":
                faulty[at:at] = data.draw(st.binary(min_size=1, max_size=20))
            case "zeros":
                length = min(64, len(faulty) - at)
                faulty[at : at + length] = bytes(length)
            case "swapped":
                half = (len(faulty) - at) // 2
                faulty[at:] = faulty[at + half :] + faulty[at : at + half]
        if not faulty:
            break
    _refused_or_right(target, bytes(faulty), sound)


@FEW
@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=5),
    level=st.integers(0, 9),
    garbage=st.binary(max_size=9),
)
def test_gzip_members_are_read_as_one_stream(parts: list[bytes], level: int, garbage: bytes, target: Path) -> None:
    """A scan cut into any members at any level is the same scan; a member that is damaged is found."""
    assume(not garbage.startswith(b"\x1f\x8b"))
    plain, sound = gzip.decompress(contents_of("nifti")), contents_of("nifti")
    cuts = sorted({min(len(part) * 7 % len(plain), len(plain) - 1) for part in parts} | {0, len(plain)})
    members = [gzip.compress(plain[a:b], level, mtime=0) for a, b in pairwise(cuts)]
    assert _refused_or_right(target, b"".join(members) + garbage, sound)
    harmed = bytearray(members[-1])
    harmed[-5] ^= 255
    assert not _refused_or_right(target, b"".join(members[:-1]) + bytes(harmed), sound)


@FEW
@given(junk=st.binary(max_size=200))
def test_any_bytes_behind_a_gzip_header_are_refused(junk: bytes, target: Path) -> None:
    for content in (
        b"\x1f\x8b\x08\x00" + bytes(6) + junk,
        gzip.compress(junk, mtime=0),
        b"\x1f\x8b" + zlib.compress(junk),
    ):
        target.write_bytes(content)
        with pytest.raises(InputError):
            read_image(target)


FLOATS = st.one_of(st.floats(), st.sampled_from([0.0, 1.0, -1.0, 1e-40, 1e38, np.nan, np.inf]), st.floats(-12, 12))


@MANY
@given(rows=hnp.arrays(np.float64, (3, 4), elements=FLOATS), odd=st.booleans())
def test_any_affine_is_refused_or_leads_to_a_finite_grid(rows: np.ndarray, odd: bool) -> None:
    affine = np.vstack([rows, [0, 0, 0, 1]])
    data = np.random.default_rng(0).normal(100, 20, (4, 5, 6))
    try:
        image = read_array(data, affine, allow_odd_voxels=odd)
    except InputError:
        return
    ras, turned = to_ras(image)
    np.testing.assert_array_equal(turned.undo(ras.data), image.data)
    assert image.voxel_volume_mm3 > 0
    if is_sheared(ras.affine):
        straight, way = straighten(ras)
        assert np.isfinite(straight.affine).all() and np.isfinite(straight.data).all()
        assert np.prod(straight.shape) <= 8 * np.prod(image.shape)
        assert way.undo_classes(np.ones(straight.shape, np.uint8)).shape == ras.shape


@MANY
@given(
    fields=st.dictionaries(
        st.sampled_from(
            ["dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "qform_code", "sform_code",
             "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "srow_x", "srow_y", "srow_z", "xyzt_units", "magic"]
        ),
        st.one_of(st.integers(-(2**15), 2**15 - 1), FLOATS, st.sampled_from([0, 1, 2, 3, 4, 8, 16, 64, 352, 544])),
        min_size=1, max_size=4,
    ),
    version=st.sampled_from([1, 2]),
    big=st.booleans(),
)  # fmt: skip
def test_any_value_in_any_field_of_the_header_is_refused_or_finite(
    fields: dict[str, float], version: int, big: bool, target: Path
) -> None:
    from image_files import Files

    files = Files(target.parent)
    kept = {}
    for name, value in fields.items():
        if name in ("datatype", "bitpix", "qform_code", "sform_code", "xyzt_units", "dim"):
            value = int(value) % 250 if np.isfinite(value) else 0
        if name == "vox_offset" and version == 2:  # whole bytes there
            value = int(np.clip(value, -(2.0**62), 2.0**62)) if np.isfinite(value) else 0
        kept[name] = b"n+1" if name == "magic" else value
    with np.errstate(all="ignore"):
        target.write_bytes(files.nifti_bytes(version=version, big=big, **kept))
    for read in (read_image, read_labels):
        try:
            image = read(target)
        except InputError as error:
            assert "\n" not in str(error)
            continue
        assert np.isfinite(image.data).all() and np.isfinite(image.affine).all()
        assert abs(np.linalg.det(image.affine[:3, :3])) > 0


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60)
LIKE_BIDS = st.tuples(
    st.sampled_from(["sub-01", "sub-../../x", "sub-..", "sub-", "sub-é", "sub-0 1", ".", "..", "sub-01_ses-<script>"]),
    st.sampled_from(["", "_T1w", "_acq-MP2RAGE_T1w", "_dseg", "_probseg", "_T1w_dseg"]),
    st.sampled_from([".nii.gz", ".nii", ".mgz", ".NII.GZ", ".mgh", ".hdr", ".img", ".json", "", ".nii.nii.gz"]),
).map("".join)


@MANY
@given(name=st.one_of(NAMES, LIKE_BIDS))
def test_outputs_of_any_name_stay_in_their_folder(name: str, target: Path) -> None:
    folder = target.parent / "out"
    outputs = Outputs(folder, stem_of(name))
    for path in outputs.all:
        assert Path(os.path.normpath(path)).parent == folder
    assert len(set(outputs.all)) == len(outputs.all)


@FEW
@given(person=st.one_of(NAMES, st.sampled_from(["..", ".", "<script>", "01"])), name=st.one_of(NAMES, LIKE_BIDS))
def test_results_of_any_bids_names_stay_in_the_output_folder(person: str, name: str, target: Path) -> None:
    root, out = target.parent / "bids", target.parent / "derivatives"
    shutil.rmtree(root, ignore_errors=True)
    folder = root / f"sub-{person}" / "anat"
    try:
        folder.mkdir(parents=True)
        (folder / name).touch()
    except OSError:  # too long for this disk, or a folder of this name
        return
    try:
        jobs, _ = plan_participants(root, out)
    except (InputError, UsageError) as error:
        assert "\n" not in str(error)
        return
    for job in jobs:
        for path in job.outputs.all:
            assert Path(os.path.normpath(path)).is_relative_to(out)


@pytest.mark.parametrize("label", ["../../x", "/etc", "..", "<script>", "a\nb"])
def test_participant_labels_that_are_no_labels_are_refused(
    label: str, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = target.parent / "data set", target.parent / "derivatives"
    (root / "sub-01" / "anat").mkdir(parents=True, exist_ok=True)
    (root / "sub-01" / "anat" / "sub-01_T1w.nii.gz").touch()
    assert main(["bids", str(root), str(out), "participant", "--participant-label", label]) in (2, 4)
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "internal error" not in err
    assert not out.exists()


@FEW
@given(names=st.lists(NAMES, min_size=1, max_size=3))
def test_any_names_are_found_or_reported(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    try:
        scans = find_scans([str(Path("/nowhere") / name) for name in names])
    except UsageError:
        return
    assert all(scan.problem is not None and "\n" not in str(scan.problem) for scan in scans)
    assert all(scan_of(scan.path).problem is not None for scan in scans)


WORDS = [
    "segment",
    "--frame",
    "-1",
    "--memory",
    "1e9",
    "--labels",
    "tissue",
    "--resume",
    "--overwrite",
    "models",
    "show",
    "x",
    "--threads",
    "0",
    "--device",
    "cuda:99",
    "-o",
    "--",
    "--model",
    "a/b.pt",
    "train",
    "contrast",
    "labels",
    "make",
    "--help",
]


@FEW
@given(words=st.lists(st.one_of(st.text(max_size=12), st.sampled_from(WORDS)), max_size=7))
def test_any_words_are_answered_in_one_line_and_never_a_bug(
    words: list[str], tmp_path_factory: pytest.TempPathFactory, monkeypatch_module: pytest.MonkeyPatch
) -> None:
    assume(words[:1] not in (["demo"], ["fetch"]))
    assert main([word for word in words if "\0" not in word]) in (0, 2, 4, 5, 6)


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory: pytest.TempPathFactory):
    """In an empty folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("words"))
        yield patch


@FEW
@given(data=st.data())
def test_a_damaged_model_is_refused_or_the_same(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp() / "models"
    folder.mkdir(exist_ok=True)
    path = folder / "tiny.safetensors"
    if not (folder / "sound").exists():
        tiny_model.save_tiny_model(path).rename(folder / "sound")
    faulty = bytearray((folder / "sound").read_bytes())
    size = int.from_bytes(faulty[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):  # in the header: weights have no checksum but their card's
        faulty[data.draw(st.integers(0, 8 + size - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(faulty)
    try:
        card, _ = zoo.load(path)
    except LodbrainError as error:
        assert error.exit_code == 5
        assert "\n" not in str(error)
        return
    assert card.parameters > 0
