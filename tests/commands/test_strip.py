"""`lodbrain strip` through the real command line, with the default model on a head of 4 mm."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

import lodbrain
from lodbrain.commands import main
from lodbrain.errors import UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.segmentation.brain_extraction import MaskSettings, strip
from lodbrain.segmentation.scan import segment

Template = tuple[NDArray[np.float32], NDArray[np.float64]]


def run(*words: object) -> int:
    return main(["strip", *map(str, words)])


def volume_ml(mask: NDArray[np.generic]) -> float:
    return np.count_nonzero(mask) * 4**3 / 1000


@pytest.fixture
def scan(template_4mm: Template, tmp_path: Path) -> Path:
    """The head as unsigned integers with a scaling, and a description in its header."""
    data, affine = template_4mm
    image = nib.Nifti1Image(np.rint(data / data.max() * 4000).astype(np.uint16), affine)  # type: ignore[no-untyped-call]
    image.header["descrip"], image.header["cal_max"] = b"kept", 123
    image.header.set_slope_inter(0.5, 0)
    (tmp_path / "in").mkdir()
    nib.save(image, tmp_path / "in" / "head.nii.gz")  # type: ignore[attr-defined]
    return tmp_path / "in" / "head.nii.gz"


def test_one_scan_gives_brain_mask_and_record(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brain, mask = tmp_path / "brain.nii.gz", tmp_path / "mask.nii.gz"
    assert run(scan, "-o", brain, "-m", mask) == 0
    inside = read_labels(mask).data
    assert sorted(np.unique(inside).tolist()) == [0, 1]
    assert 1300 < volume_ml(inside) < 2000
    before, after = nib.load(scan), nib.load(brain)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(np.asanyarray(after.dataobj), np.where(inside, np.asanyarray(before.dataobj), 0))
    assert after.header["descrip"] == b"kept" and after.header["cal_max"] == 123
    assert after.get_data_dtype() == np.uint16
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(nib.load(mask).affine, before.affine)  # type: ignore[attr-defined]

    record = json.loads((tmp_path / "mask.json").read_text())
    assert record["Type"] == "Brain"
    assert record["model"]["name"] == "default"
    assert record["settings"] == {"csf": True, "border_mm": 0.0, "frame": None, "allow_odd_voxels": False}
    assert record["input"]["name"] == "head.nii.gz"
    assert record["files"] == {path.name: path.stat().st_size for path in (brain, mask)}
    assert record["mask_volume_mm3"] == pytest.approx(1000 * volume_ml(inside))
    assert capsys.readouterr().out.startswith(f"head.nii.gz: {brain}, mask {volume_ml(inside):.0f} ml, ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["brain.nii.gz", "in", "mask.json", "mask.nii.gz"]


def test_mask_holds_the_brain_that_a_segmentation_finds(scan: Path, tmp_path: Path) -> None:
    labels = segment(scan, labels="structures").labels
    brain = ~np.isin(labels, (0, 24))
    for words, outer in (([], labels > 0), (["--no-csf"], brain)):
        assert run(scan, "-o", tmp_path / "b.nii.gz", "-m", tmp_path / "m.nii.gz", "--overwrite", *words) == 0
        inside = read_labels(tmp_path / "m.nii.gz").data > 0
        assert np.count_nonzero(brain & ~inside) < 0.01 * np.count_nonzero(brain)
        # a shell of one voxel around the brain at most: 4 mm
        assert np.count_nonzero(inside & ~outer) < 0.35 * np.count_nonzero(outer)
    without = read_labels(tmp_path / "m.nii.gz").data > 0
    assert run(scan, "-o", tmp_path / "c.nii.gz", "-m", tmp_path / "n.nii.gz") == 0
    with_csf = read_labels(tmp_path / "n.nii.gz").data > 0
    assert not (without & ~with_csf).any()
    assert without.sum() < with_csf.sum()


def test_border_moves_the_surface_by_millimetres(scan: Path, tmp_path: Path) -> None:
    volumes = {}
    for border in (-8, 0, 8):
        assert run(scan, "-o", tmp_path / "b.nii", "-m", tmp_path / f"m{border}.nii", "-b", border, "--overwrite") == 0
        volumes[border] = volume_ml(read_labels(tmp_path / f"m{border}.nii").data)
    radius = (3 * volumes[0] * 1000 / 4 / np.pi) ** (1 / 3)
    for border in (-8, 8):  # a brain is less round than a ball, and the grid is coarse
        shell = abs(volumes[border] - volumes[0]) * 1000
        assert 0.8 < shell / (4 / 3 * np.pi * abs((radius + border) ** 3 - radius**3)) < 1.6


def test_folders_give_a_set_for_each_scan_and_are_not_read_twice(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nib.save(nib.load(scan), scan.with_name("other.nii"))  # type: ignore[attr-defined]
    image = nib.MGHImage(read_image(scan).data, np.diag([4.0, 4, 4, 1]).astype(np.float32))
    nib.save(image, scan.with_name("third.mgz"))  # type: ignore[attr-defined]
    for _ in range(2):
        assert run(scan.parent, "-o", scan.parent, "--overwrite", "-q") == 0
        assert sorted(path.name for path in scan.parent.iterdir()) == [
            "head.nii.gz", "head_brain.nii.gz", "head_mask.json", "head_mask.nii.gz",
            "other.nii", "other_brain.nii.gz", "other_mask.json", "other_mask.nii.gz",
            "third.mgz", "third_brain.mgz", "third_mask.json", "third_mask.mgz",
        ]  # fmt: skip
    assert capsys.readouterr() == ("", "")
    one, other = (nib.load(scan.with_name(f"{name}_mask.nii.gz")) for name in ("head", "other"))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(one.dataobj, other.dataobj)


def test_existing_results_are_kept_resumed_or_replaced(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [scan, "-o", tmp_path / "b.nii.gz", "-m", tmp_path / "m.nii.gz"]
    assert run(*words) == 0
    assert run(*words) == 4
    assert "b.nii.gz: this output exists already. Use --resume" in capsys.readouterr().err
    assert run(*words, "--resume") == 0
    assert capsys.readouterr().out == f"head.nii.gz: {tmp_path / 'b.nii.gz'} is complete, skipped\n"
    assert run(*words, "--resume", "--border", "4") == 4
    assert "or another scan (border_mm: 0.0, now 4.0)" in capsys.readouterr().err
    (tmp_path / "b.nii.gz").unlink()
    assert run(*words, "--resume") == 0
    assert (tmp_path / "b.nii.gz").is_file()
    assert run(*words, "--overwrite", "--border", "4") == 0


def test_one_bad_scan_does_not_stop_the_others(scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scan.parent / "empty.nii").touch()
    noise = np.random.default_rng(0).normal(100, 20, (24, 24, 24)).astype(np.float32)
    write_nifti(scan.parent / "noise.nii", noise, Image(noise, np.diag([8.0, 8, 8, 1])))
    assert run(scan.parent, "-o", tmp_path / "out") == 3
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1].rsplit("/")[-1] for line in lines] == ["empty.nii", "noise.nii"]
    assert "no brain found" in lines[1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "head_brain.nii.gz", "head_mask.json", "head_mask.nii.gz",
    ]  # fmt: skip


def test_memory_that_is_too_small_says_what_is_needed(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scan, "-o", tmp_path / "b.nii", "--memory", "2MB") == 4
    line = capsys.readouterr().err
    assert "it needs at least" in line and "Give --memory" in line and line.count("\n") == 1
    assert not (tmp_path / "b.nii").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "out", "-m", "mask.nii"], "a name for the mask needs a name for the brain"),
        (["-o", "b.nii", "-m", "mask.txt"], "this is no name of an image"),
        (["-o", "b.nii", "-m", "./b.nii"], "brain and mask cannot be one file"),
        (["SECOND", "-o", "b.nii"], "one image cannot hold several brains"),
        (["-o", "b.nii", "--border", "100"], "border_mm must lie between -30 and 30, got 100"),
        (["-o", "b.nii", "--border", "nan"], "border_mm must lie between"),
        (["-o", "b.nii", "--model", "lod-brain-2024"], "has no coarse levels"),
        (["-o", "b.nii", "--memory", "much"], "memory must be an amount like 4GB"),
    ],
)
def test_wrong_usage_is_2_and_writes_nothing(
    words: list[str],
    message: str,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    second = tmp_path / "second.nii.gz"
    second.write_bytes(scan.read_bytes())
    assert run(scan, *(second if word == "SECOND" else word for word in words)) == 2
    text = capsys.readouterr()
    assert message in text.err
    assert (text.out, text.err.count("\n")) == ("", 1)
    assert list((tmp_path / "work").rglob("*")) == []


def test_the_scan_is_never_overwritten(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = scan.read_bytes()
    assert run(scan, "-o", scan, "--overwrite") == 4
    assert "this input would be overwritten" in capsys.readouterr().err
    assert scan.read_bytes() == before


def test_brain_and_mask_may_have_one_name_in_two_folders(scan: Path, tmp_path: Path) -> None:
    assert run(scan, "-o", tmp_path / "brains" / "a.nii.gz", "-m", tmp_path / "masks" / "a.nii.gz") == 0
    assert read_labels(tmp_path / "masks" / "a.nii.gz").data.max() == 1
    assert nib.load(tmp_path / "brains" / "a.nii.gz").get_data_dtype() == np.uint16  # type: ignore[attr-defined]
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["a.json", "a.nii.gz"]
    assert [path.name for path in (tmp_path / "brains").iterdir()] == ["a.nii.gz"]


def test_orientation_and_shear_of_the_file_do_not_matter(template_4mm: Template) -> None:
    data, affine = template_4mm
    plain = strip(data, affine=affine, threads=1)
    turned = np.ascontiguousarray(data.transpose(2, 0, 1)[::-1])
    turn = np.zeros((4, 4))
    turn[0, 1] = turn[1, 2] = turn[3, 3] = 1
    turn[2, 0], turn[2, 3] = -1, data.shape[2] - 1
    other = strip(turned, affine=affine @ turn, threads=1)
    np.testing.assert_array_equal(other.mask[::-1].transpose(1, 2, 0), plain.mask)
    sheared = affine.copy()
    sheared[:3, 1] += 0.1 * sheared[:3, 0]
    assert any("orthogonal axes" in note for note in strip(data, affine=sheared, threads=1).notes)


def test_what_limits_a_mask_is_noted(template_4mm: Template) -> None:
    data, affine = template_4mm
    head = np.pad(data, 3)
    whole = strip(head, affine=affine, threads=1)
    assert [note for note in whole.notes if "edge" in note] == []
    air = np.random.default_rng(0).rayleigh(0.02 * data.max(), head.shape).astype(np.float32)
    in_air = strip(np.hypot(head, air), affine=affine, threads=1)  # the template has no head around its brain
    assert in_air.notes == ()
    assert any("skull-stripped already" in note for note in whole.notes)
    cut = strip(head[:, 24:], affine=affine, threads=1)
    assert any("edge of the field of view" in note for note in cut.notes)


def test_python_interface_gives_what_the_command_writes(scan: Path, tmp_path: Path) -> None:
    assert run(scan, "-o", tmp_path / "b.nii", "-m", tmp_path / "m.nii", "--border", "4", "--no-csf") == 0
    result = lodbrain.strip(str(scan), border_mm=4, csf=False)
    np.testing.assert_array_equal(result.mask, read_labels(tmp_path / "m.nii").data)
    result.save(tmp_path / "again.nii")
    np.testing.assert_array_equal(read_labels(tmp_path / "again.nii").data, result.mask)
    np.testing.assert_array_equal(result.to_nibabel().get_fdata(), result.mask)
    with pytest.raises(UsageError, match="no coarse levels"):
        lodbrain.strip(str(scan), model="lod-brain-2024")
    with pytest.raises(ValueError, match="border_mm"):
        MaskSettings(border_mm=31)
