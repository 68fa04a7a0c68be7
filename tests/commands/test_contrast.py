"""A cube of white matter in cortex, on the disk; the network is replaced by its labels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from lodbrain import commands
from lodbrain.contrast_analysis import scan_files as workflow
from lodbrain.contrast_analysis.scan_files import analyse_scans
from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, write_nifti
from lodbrain.labels import N_CLASSES, STRUCTURES
from lodbrain.segmentation.scan import Segmentation
from lodbrain.segmentation.settings import Settings
from lodbrain.synthesis.profile import read_profile

#: Left is first, the axes are in another order: a mistake of orientation shows.
AFFINE = np.array([[0, 0, -2.0, 30], [2, 0, 0, -30], [0, 2, 0, -30], [0, 0, 0, 1]])
CLASSES = np.zeros((30, 28, 32), np.int16)
CLASSES[3:27, 3:25, 3:29], CLASSES[8:22, 8:20, 8:24] = 2, 1
RAW = np.array([0, 2, 3])[CLASSES].astype(np.int16)


def write_scan(path: Path, *, grey: float = 100.0, gain: float = 1.0) -> Path:
    rng = np.random.default_rng(0)
    data = gain * (np.array([0.0, 200, grey])[CLASSES] + rng.normal(0, 4, CLASSES.shape))
    write_nifti(path, data.astype(np.float32), Image(data, AFFINE))
    return path


def write_labels(path: Path, raw: np.ndarray = RAW, affine: np.ndarray = AFFINE) -> Path:
    write_nifti(path, raw, Image(raw, affine))
    return path


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """A model that knows; what was asked of it is listed."""
    asked: list[Settings] = []

    def segment_image(image: Image, model: Any, *, settings: Settings) -> Segmentation:
        asked.append(settings)
        posteriors = (CLASSES[..., None] == np.arange(N_CLASSES)).astype(np.float16)
        return Segmentation(RAW.astype(np.uint8), image.affine, STRUCTURES, (), posteriors)

    monkeypatch.setattr(workflow, "load_model", lambda settings: SimpleNamespace())
    monkeypatch.setattr(workflow, "check_model", lambda settings: None)
    monkeypatch.setattr(workflow, "segment_image", segment_image)
    return asked


def test_scans_of_different_gain_give_one_profile(model: list[Settings], tmp_path: Path) -> None:
    scans = [write_scan(tmp_path / f"s{n}.nii.gz", grey=90 + 10 * n, gain=10.0**n) for n in range(3)]
    out = tmp_path / "out"
    words = ["contrast", *map(str, scans), "-o", str(out / "contrast.yaml"), "--figure", str(out / "contrast.png")]
    assert commands.main(words) == 0
    cortex = read_profile(tmp_path / "out" / "contrast.yaml").structures["Cerebral-Cortex"]
    assert cortex.mean == pytest.approx(80, rel=0.01)
    assert cortex.between_scans == pytest.approx(8, rel=0.05)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["contrast.png", "contrast.yaml"]
    assert [settings.posteriors for settings in model] == [True] * 3


def test_labels_take_the_place_of_the_model(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "sub-1_T1w.nii.gz")
    made = analyse_scans([scan], tmp_path / "c.yaml", labels=write_labels(tmp_path / "labels.nii.gz"))
    assert made.profile is not None
    assert made.profile.structures["Cerebral-Cortex"].mean == pytest.approx(80, rel=0.01)
    assert made.profile.structures["Cerebral-White-Matter"].volume_ml == pytest.approx(14 * 12 * 16 * 8 / 1000)


@pytest.mark.parametrize(
    "name", ["sub-1_T1w_dseg.nii.gz", "sub-1_T1w.nii", "sub-1_dseg.nii.gz", "sub-1_aparc+aseg.nii"]
)
def test_labels_are_found_by_the_name_of_the_scan(name: str, tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "sub-1_T1w.nii.gz")
    folder = tmp_path / "labels"
    folder.mkdir()
    write_labels(folder / "sub-10_dseg.nii.gz")
    with pytest.raises(InputError, match="there is no label map for it"):
        workflow.labels_of(scan, folder)
    wanted = write_labels(folder / name)
    assert workflow.labels_of(scan, folder) == wanted


def test_labels_beside_the_scan_are_not_the_scan_itself(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "sub-1_T1w.nii.gz")
    with pytest.raises(InputError, match="no label map"):
        workflow.labels_of(scan, tmp_path)


def test_freesurfer_s_other_numbers_are_understood(tmp_path: Path) -> None:
    scan = read_image(write_scan(tmp_path / "scan.nii.gz"))
    raw = RAW.copy()
    raw[3], raw[4, 4], raw[10, 10, 10:13], raw[26, 24, 28] = 1021, 2005, (251, 77, 31), 516
    classes = workflow.classes_of(Image(raw, AFFINE), scan, tmp_path)
    names = [STRUCTURES[k].name for k in (classes[3, 5, 5], classes[4, 4, 5], *classes[10, 10, 10:13])]
    assert names == [
        "Left-Cerebral-Cortex", "Right-Cerebral-Cortex", "Left-Cerebral-White-Matter", "Left-Cerebral-White-Matter",
        "Left-Lateral-Ventricle",
    ]  # fmt: skip
    assert classes[26, 24, 28] == 0
    raw[26, 24, 28] = 1036
    with pytest.raises(InputError, match=r"not in the table: \[1036\]"):
        workflow.classes_of(Image(raw, AFFINE), scan, tmp_path)


def test_labels_of_another_grid_or_without_structures_are_refused(tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    for raw, affine, what in (
        (RAW[1:], AFFINE, "another grid"),
        (RAW, AFFINE + np.diag([0, 0, 0.5, 0]), "another grid"),
        (RAW + 600, AFFINE, "not in the table"),
        (np.where(RAW > 0, 516, 0), AFFINE, "no brain structure"),
    ):
        labels = write_labels(tmp_path / "labels.nii.gz", raw, affine)
        made = analyse_scans([scan], tmp_path / "c.yaml", labels=labels)
        assert made.exit_code == 4
        assert what in str(made.scans[0].error)
    assert not (tmp_path / "c.yaml").exists()


def test_wrong_usage_is_refused_before_any_work(model: list[Settings], tmp_path: Path) -> None:
    one, two = write_scan(tmp_path / "a.nii.gz"), write_scan(tmp_path / "b.nii.gz")
    with pytest.raises(UsageError, match="one label map for 2 scans"):
        analyse_scans([one, two], tmp_path / "c.yaml", labels=write_labels(tmp_path / "labels.nii.gz"))
    with pytest.raises(UsageError, match="this output is one of the scans"):
        analyse_scans([one, two], two)
    assert model == []


def test_a_bad_scan_is_left_out_and_named(
    model: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, flat = write_scan(tmp_path / "good.nii.gz"), write_scan(tmp_path / "flat.nii.gz", grey=199.0)
    out = tmp_path / "contrast.yaml"
    assert commands.main(["contrast", str(good), str(flat), str(tmp_path / "none.nii"), "-o", str(out)]) == 3
    said = capsys.readouterr()
    assert said.out.startswith(f"{out}: 1 scan, white - grey contrast-to-noise ")
    first, second = said.err.splitlines()
    assert first.startswith(f"lodbrain: {flat}: white matter and cortex do not differ (contrast-to-noise 0.")
    assert second.startswith(f"lodbrain: {tmp_path / 'none.nii'}: there is no such file")
    assert [scan["name"] for scan in yaml.safe_load(out.read_text())["scans"]] == ["good.nii.gz"]


def test_without_any_fit_nothing_is_written(
    model: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = write_scan(tmp_path / "flat.nii.gz", grey=199.0)
    assert commands.main(["contrast", str(flat), "-o", str(tmp_path / "c.yaml")]) == 4
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "c.yaml").exists()


def test_the_same_scans_give_the_same_file(model: list[Settings], tmp_path: Path) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz")
    for name in ("a.yaml", "b.yaml"):
        assert commands.main(["contrast", str(scan), "-o", str(tmp_path / name), "-q"]) == 0
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()
