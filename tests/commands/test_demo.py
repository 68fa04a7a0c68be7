from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from lodbrain import commands
from lodbrain.commands import demo as workflow
from lodbrain.errors import UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, write_nifti
from lodbrain.labels import CLASS_OF_INDEX, STRUCTURES
from lodbrain.segmentation.scan import Segmentation
from lodbrain.segmentation.settings import Settings
from lodbrain.segmentation.volume_table import volumes

SHAPE = (197, 233, 189)


@pytest.fixture(autouse=True)
def fake_segmentation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call what is bright in the left half left white matter, in the right half right."""

    class Model:
        class card:
            name = "fake"

        sha256 = "0" * 64
        device = "cpu"
        network = None

    def segment_image(image: Image, model: Any, *, progress: Any, **options: Any) -> Segmentation:
        classes = np.where(image.data > image.data.max() / 2, CLASS_OF_INDEX[2], 0).astype(np.uint8)
        classes[image.shape[0] // 2 :] *= CLASS_OF_INDEX[41]  # class 1 is left white matter
        table = volumes(
            classes,
            np.bincount(classes.ravel(), minlength=33).astype(float),
            model_labels="structures",
            scheme="structures",
            voxel_volume_mm3=image.voxel_volume_mm3,
        )
        labels = np.array([label.index for label in STRUCTURES], np.uint8)[classes]
        return Segmentation(labels, image.affine, STRUCTURES, table)

    monkeypatch.setattr("lodbrain.segmentation.file_segmentation.load_model", lambda settings: Model)
    monkeypatch.setattr("lodbrain.segmentation.file_segmentation.segment_image", segment_image)


def test_the_template_is_a_skull_stripped_brain_of_1_mm() -> None:
    image = read_image(workflow.template())
    assert image.shape == SHAPE
    np.testing.assert_allclose(image.spacing_mm, 1)
    brain_ml = np.count_nonzero(image.data) / 1000
    assert 1700 < brain_ml < 2000


def test_the_demo_leaves_scan_results_and_picture_in_one_folder(tmp_path: Path) -> None:
    made = workflow.segment_example(tmp_path / "out")
    names = [
        "icbm152_T1w.nii.gz",
        "icbm152_T1w_dseg.json",
        "icbm152_T1w_dseg.nii.gz",
        "icbm152_T1w_dseg.png",
        "icbm152_T1w_dseg.tsv",
        "icbm152_T1w_report.html",
        "icbm152_T1w_volumes.tsv",
    ]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert sorted(path.name for path in made.files) == names
    assert made.scan.read_bytes() == workflow.template().read_bytes()
    assert imread(made.picture).shape[1] == 1320


def test_the_demo_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small.nii.gz"
    values = np.random.default_rng(0).uniform(0, 100, (20, 21, 22)).astype(np.float32)
    write_nifti(small, values, Image(values, np.eye(4)))
    monkeypatch.setattr(workflow, "template", lambda: small)
    workflow.segment_example(tmp_path / "out", settings=Settings(resume=True))
    assert workflow.segment_example(tmp_path / "out").outcome.status == "done"


def test_fetch_takes_the_downloaded_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = tmp_path / "cache" / "sub-01_T1w.nii.gz"
    head.parent.mkdir()
    values = np.random.default_rng(0).uniform(0, 100, (20, 21, 22)).astype(np.float32)
    write_nifti(head, values, Image(values, np.eye(4)))
    monkeypatch.setattr(workflow, "fetch_head", lambda progress: head)
    made = workflow.segment_example(tmp_path / "out", fetch=True)
    assert made.scan == tmp_path / "out" / "sub-01_T1w.nii.gz"
    assert made.scan.read_bytes() == head.read_bytes()


@pytest.mark.parametrize("package", ["nilearn", "matplotlib", "jinja2"])
def test_a_missing_extra_is_wrong_usage_and_says_how_to_get_it(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = workflow.find_spec
    monkeypatch.setattr(workflow, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(UsageError, match=rf"{package}, which is not installed.*pip install '\.\[demo\]'"):
        workflow.segment_example(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_prints_volumes_and_the_paths_of_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["demo", "-o", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    image = read_image(workflow.template())
    bright = image.data > image.data.max() / 2
    left_ml, right_ml = (np.count_nonzero(half) / 1000 for half in (bright[:98], bright[98:]))
    (row,) = (line for line in lines if "Cerebral-White-Matter" in line)
    assert f"{left_ml:.2f}" in row and f"{right_ml:.2f}" in row
    (row,) = (line for line in lines if " brain " in line)
    assert f"{left_ml + right_ml:.2f}" in row
    for path in tmp_path.iterdir():
        assert f"  {path}" in lines
