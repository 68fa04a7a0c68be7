import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from lodbrain.batch.cases import exit_code, find_cases
from lodbrain.commands import labels_make as workflow
from lodbrain.commands.labels import upsample_maps
from lodbrain.datasets.labelled import read_manifest
from lodbrain.errors import InputError, LodbrainError, OutputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labelmaps.headmap import HEAD_LABELS, HeadMap
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.inputs import Scan
from lodbrain.segmentation.scan import Segmentation
from lodbrain.segmentation.settings import Settings

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the network and the classes outside of the brain; list what was asked of them."""
    made: list[str] = []

    class Model:
        class card:
            name = "fake"

        sha256 = "0" * 64

    def segment_image(image: Image, model: Any, *, settings: Settings, progress: Any) -> Segmentation:
        made.append("segment")
        progress(0.5, "half")
        labels = np.where(image.data > 50, 2, 0).astype(np.uint8)
        return Segmentation(labels, image.affine, STRUCTURES, (), notes=("Seen by a model.",))

    def make_head_map(scan: Image, structures: np.ndarray, *, name: str) -> HeadMap:
        made.append("head")
        if scan.data.max() > 1000:
            raise InputError("sides", name, "its left structures lie on the right")
        return HeadMap(np.where(structures > 0, structures, np.int16(515)), ("No eyes were found.",))

    monkeypatch.setattr(workflow, "load_model", lambda settings: Model)
    monkeypatch.setattr(workflow, "segment_image", segment_image)
    monkeypatch.setattr(workflow, "make_head_map", make_head_map)
    return made


@pytest.fixture(autouse=True)
def quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than all the rest: only the test of the files draws."""
    if "picture" not in request.node.name:
        monkeypatch.setattr(
            "lodbrain.report.planes_figure.three_planes", lambda scan, labels, path, **_: path.write_bytes(b"PNG")
        )


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def volume(name: str, data: np.ndarray | None = None, *, affine: np.ndarray = AFFINE) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            data = np.random.default_rng(len(name)).uniform(0, 100, (12, 11, 10)).astype(np.float32)
        write_nifti(path, data, Image(data, affine))
        return path

    return volume


def blob(label: int = 17) -> np.ndarray:
    data = np.zeros((12, 11, 10), np.int16)
    data[3:9, 3:9, 3:8] = label
    return data


def test_bids_data_set_becomes_a_derivative_of_the_same_folders(write: Callable[..., Path], tmp_path: Path) -> None:
    places = ["sub-01/ses-1/anat/sub-01_ses-1", "sub-02/anat/sub-02"]
    for place in places:
        write(f"in/{place}_T1w.nii.gz")
    write("in/sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz")
    write("in/derivatives/sub-01/anat/sub-01_T1w.nii.gz")
    (tmp_path / "in" / "dataset_description.json").write_text("{}")
    outcomes = workflow.make_maps([tmp_path / "in"], tmp_path / "out")
    assert [outcome.status for outcome in outcomes] == ["done", "done"]
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    sets = [f"{place}_desc-head_dseg{end}" for place in places for end in (".json", ".nii.gz", ".png", ".tsv")]
    assert files == ["dataset_description.json", *sets]
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "lodbrain"


def test_each_case_gets_map_table_picture_and_sidecar(write: Callable[..., Path], tmp_path: Path) -> None:
    scan = write("scan_T1w.nii.gz")
    (outcome,) = workflow.make_maps([scan], tmp_path / "out")
    assert outcome.labels == tmp_path / "out" / "scan_desc-head_dseg.nii.gz"
    labels = read_labels(outcome.labels)
    np.testing.assert_array_equal(labels.affine, AFFINE)
    assert set(np.unique(labels.data).tolist()) == {2, 515}
    table = (tmp_path / "out" / "scan_desc-head_dseg.tsv").read_text().splitlines()
    assert table[0] == "index\tname\tcolor"
    assert [int(line.split("\t")[0]) for line in table[1:]] == [label.index for label in HEAD_LABELS[1:]]
    assert imread(tmp_path / "out" / "scan_desc-head_dseg.png").ndim == 3
    sidecar = json.loads((tmp_path / "out" / "scan_desc-head_dseg.json").read_text())
    assert sidecar["notes"][-2:] == ["Seen by a model.", "No eyes were found."]
    assert sidecar["volumes_mm3"]["Bone"] == np.count_nonzero(labels.data == 515) * 8
    assert sidecar["model"] == {"name": "fake", "sha256": "0" * 64}
    assert sidecar["input"]["name"] == "scan_T1w.nii.gz"


def test_resume_skips_what_is_complete_and_redoes_the_rest(
    write: Callable[..., Path], tmp_path: Path, calls: list[str]
) -> None:
    scans, out = [write("a_T1w.nii.gz"), write("bb_T1w.nii.gz")], tmp_path / "out"
    resume = Settings(resume=True)
    workflow.make_maps(scans, out)
    assert [o.status for o in workflow.make_maps(scans, out, resume)] == ["skipped", "skipped"]
    assert calls.count("segment") == 2
    (out / "a_desc-head_dseg.png").unlink()
    assert [o.status for o in workflow.make_maps(scans, out, resume)] == ["done", "skipped"]
    (out / "bb_desc-head_dseg.json").unlink()
    assert [o.status for o in workflow.make_maps(scans, out, resume)] == ["skipped", "done"]
    write("a_T1w.nii.gz", blob().astype(np.float32) * 4 + 1)
    assert [o.status for o in workflow.make_maps(scans, out, resume)] == ["done", "skipped"]


def test_what_exists_is_not_replaced_unasked(write: Callable[..., Path], tmp_path: Path) -> None:
    scan, out = write("a_T1w.nii.gz"), tmp_path / "out"
    workflow.make_maps([scan], out)
    (again,) = workflow.make_maps([scan], out)
    assert isinstance(again.error, InputError)
    assert again.error.code == "exists"
    assert workflow.make_maps([scan], out, Settings(overwrite=True))[0].status == "done"


def test_a_scan_that_fails_does_not_stop_the_others(write: Callable[..., Path], tmp_path: Path) -> None:
    swapped = write("swapped_T1w.nii.gz", blob().astype(np.float32) * 1000)
    told: list[str] = []
    outcomes = workflow.make_maps(
        [tmp_path / "no.nii.gz", swapped, write("good_T1w.nii.gz")],
        tmp_path / "out",
        finished=lambda outcome: told.append(outcome.status),
    )
    assert told == [outcome.status for outcome in outcomes] == ["failed", "failed", "done"]
    assert "swapped_T1w.nii.gz: its left structures lie on the right" in str(outcomes[1].error)
    assert not list((tmp_path / "out").glob("swapped*"))
    assert exit_code(outcomes) == 3
    assert (exit_code(outcomes[:2]), exit_code(outcomes[2:])) == (4, 0)


def test_a_bug_in_one_case_is_reported_as_one(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(workflow, "make_head_map", broken)
    (outcome,) = workflow.make_maps([write("a.nii.gz")], tmp_path / "out")
    assert "ZeroDivisionError: oh" in str(outcome.error)
    assert exit_code([outcome]) == LodbrainError.exit_code


def test_given_labels_take_the_models_place(
    write: Callable[..., Path], tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "load_model", None)  # none is loaded
    write("in/sub-01/anat/sub-01_T1w.nii.gz")
    write("seg/sub-01/anat/sub-01_dseg.nii.gz", blob())
    (outcome,) = workflow.make_maps([tmp_path / "in"], tmp_path / "out", given=tmp_path / "seg")
    assert outcome.error is None
    assert "segment" not in calls
    assert np.array_equal(read_labels(outcome.labels).data == 17, blob() == 17)


def test_segmentation_is_found_by_the_name_of_the_scan(write: Callable[..., Path], tmp_path: Path) -> None:
    case = Scan(write("in/s_T1w.nii.gz"), folder=Path("x"))
    seg = tmp_path / "seg"
    seg.mkdir()
    with pytest.raises(InputError, match=r"Expected one called s_T1w_dseg.nii.gz or s_dseg.nii.gz or s_T1w.nii.gz"):
        workflow.find_segmentation(case, seg)
    for name in ("seg/s_T1w.nii.gz", "seg/s_dseg.nii", "seg/s_T1w_dseg.nii.gz", "seg/x/s_T1w.nii.gz"):
        expected = write(name, blob())
        assert workflow.find_segmentation(case, seg) == expected


def test_segmentation_on_another_grid_is_refused(write: Callable[..., Path], tmp_path: Path) -> None:
    scan = write("s_T1w.nii.gz")
    moved = AFFINE.copy()
    moved[0, 3] = 1
    for given, what in (
        (write("cut.nii.gz", blob()[:-1]), "its grid is 11 x 11 x 10, the scan's 12 x 11 x 10"),
        (write("moved.nii.gz", blob(), affine=moved), "it lies elsewhere in space than the scan"),
    ):
        (outcome,) = workflow.make_maps([scan], tmp_path / "out", given=given)
        assert isinstance(outcome.error, InputError)
        assert outcome.error.code == "grid"
        assert what in str(outcome.error)


def test_wrong_use_is_refused_before_any_work(write: Callable[..., Path], tmp_path: Path, calls: list[str]) -> None:
    scans = [write("a/s_T1w.nii.gz"), write("a/s_T1w.nii")]
    with pytest.raises(UsageError, match="same names"):
        workflow.make_maps(scans, tmp_path / "out")
    scans = [write("a/s_T1w.nii.gz"), write("b/s_T1w.nii.gz")]
    with pytest.raises(UsageError, match="one segmentation was given for several scans"):
        workflow.make_maps(scans, tmp_path / "out", given=write("seg.nii.gz", blob()))
    with pytest.raises(UsageError, match="no such segmentation"):
        workflow.make_maps(scans, tmp_path / "out", given=tmp_path / "none")
    with pytest.raises(UsageError, match="no INPUT"):
        workflow.make_maps([], tmp_path / "out")
    with pytest.raises(OutputError, match="is a file"):
        workflow.make_maps(scans[:1], scans[0])
    assert calls == []


def test_folder_without_bids_gives_every_image_or_those_of_the_wanted_name(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    ours = ("x/deep/b_probseg.nii.gz", "x/deep/b_differ.nii.gz")
    for name in ("x/a.nii.gz", "x/deep/b.nii.gz", "x/.hidden/c.nii.gz", *ours):
        write(name)
    assert [(case.path.name, str(case.folder)) for case in find_cases([tmp_path / "x"], "_T1w")] == [
        ("a.nii.gz", "."), ("b.nii.gz", "deep"),
    ]  # fmt: skip
    write("x/deep/d_T1w.nii.gz")
    assert [case.path.name for case in find_cases([tmp_path / "x"], "_T1w")] == ["d_T1w.nii.gz"]
    (tmp_path / "empty").mkdir()
    assert [case.problem.code for case in find_cases([tmp_path / "empty"], "_T1w") if case.problem] == ["no-scans"]


def test_upsampling_writes_the_map_and_its_volumes(write: Callable[..., Path], tmp_path: Path) -> None:
    write("in/sub-01/anat/sub-01_desc-head_dseg.nii.gz", blob())
    (outcome,) = upsample_maps([tmp_path / "in"], tmp_path / "out", 1.0)
    assert outcome.labels == tmp_path / "out/sub-01/anat/sub-01_desc-head_dseg.nii.gz"
    fine = read_labels(outcome.labels)
    assert fine.shape == (24, 22, 20)
    np.testing.assert_allclose(fine.affine, [[1, 0, 0, -0.5], [0, 1, 0, -0.5], [0, 0, 1, -0.5], [0, 0, 0, 1]])
    sidecar = json.loads(outcome.labels.with_name("sub-01_desc-head_dseg.json").read_text())
    assert sidecar["voxel_size_mm"] == 1
    (row,) = sidecar["volumes"]
    assert (row["index"], row["before_mm3"]) == (17, 1440)
    assert row["after_mm3"] == np.count_nonzero(fine.data) == pytest.approx(1440, rel=0.01)


def test_upsampling_resumes_and_guards_its_inputs(write: Callable[..., Path], tmp_path: Path) -> None:
    good, out = write("good.nii.gz", blob()), tmp_path / "out"
    scan = write("scan.nii.gz", np.random.default_rng(0).integers(0, 900, (12, 11, 10)).astype(np.int16))
    outcomes = upsample_maps([good, scan], out, 1.5)
    assert [outcome.status for outcome in outcomes] == ["done", "failed"]
    assert "scan.nii.gz: it holds" in str(outcomes[1].error)
    assert upsample_maps([good], out, 1.5, resume=True)[0].status == "skipped"
    assert upsample_maps([good], out, 1.6, resume=True)[0].status == "done"
    (outcome,) = upsample_maps([good], tmp_path, 1.5, overwrite=True)
    assert "this input would be overwritten" in str(outcome.error)
    with pytest.raises(ValueError, match="above 0 mm, got 0"):
        upsample_maps([good], out, 0)


def test_teacher_writes_soft_targets_and_the_manifest_of_accepted_scans(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def segment_image(image: Image, model: Any, *, settings: Settings, progress: Any) -> Segmentation:
        assert settings.posteriors
        posteriors = np.zeros((*image.shape, len(STRUCTURES)), np.float16)
        posteriors[..., 1], posteriors[..., 2], posteriors[..., 0] = 0.6, 0.3, 0.1
        posteriors[0, ..., 1], posteriors[0, ..., 2] = 0.9, 0.0
        labels = np.full(image.shape, STRUCTURES[1].index, np.uint8)
        disagreement = 0.5 if image.data.max() > 1000 else 0.05
        return Segmentation(
            labels, image.affine, STRUCTURES, (), posteriors, quality={"disagreement": disagreement, "score": 0.9}
        )

    monkeypatch.setattr(workflow, "segment_image", segment_image)
    monkeypatch.setattr(workflow, "make_head_map", lambda scan, structures, name: HeadMap(np.int16(structures), ()))
    for subject in ("sub-01", "sub-02"):
        write(f"study/{subject}/anat/{subject}_T1w.nii.gz")
    write("study/sub-03/anat/sub-03_T1w.nii.gz", blob().astype(np.float32) * 1000)
    (tmp_path / "study/dataset_description.json").write_text("{}")
    (tmp_path / "study/participants.tsv").write_text("participant_id\tsite\nsub-02\tnorth\n")
    out = tmp_path / "out"
    outcomes = workflow.make_maps([tmp_path / "study"], out, teach=True)
    assert [outcome.status for outcome in outcomes] == ["done", "done", "done"]
    assert "disagree in 50% of the brain" in outcomes[2].notes[-1]

    anat = out / "sub-01" / "anat"
    assert set(np.unique(read_labels(anat / "sub-01_desc-teacher_dseg.nii.gz").data)) == {STRUCTURES[1].index}
    second = read_labels(anat / "sub-01_desc-second_dseg.nii.gz").data
    assert (set(np.unique(second[1:])), set(np.unique(second[0]))) == ({STRUCTURES[2].index}, {0})
    probability = read_image(anat / "sub-01_desc-teacher_probseg.nii.gz").data
    np.testing.assert_allclose(probability[1:], 2 / 3, atol=1 / 255)
    np.testing.assert_allclose(probability[0], 0.9, atol=1 / 255)
    found = read_manifest(out / "manifest.csv")
    assert [(row.volume.name, row.labels.name, row.site) for row in found] == [
        ("sub-01_T1w.nii.gz", "sub-01_desc-teacher_dseg.nii.gz", "study"),
        ("sub-02_T1w.nii.gz", "sub-02_desc-teacher_dseg.nii.gz", "north"),
    ]

    again = workflow.make_maps([tmp_path / "study"], out, Settings(resume=True), teach=True)
    assert [outcome.status for outcome in again] == ["skipped", "skipped", "skipped"]
    assert read_manifest(out / "manifest.csv") == found
    (anat / "sub-01_desc-teacher_probseg.nii.gz").unlink()
    again = workflow.make_maps([tmp_path / "study"], out, Settings(resume=True), teach=True)
    assert [outcome.status for outcome in again] == ["done", "skipped", "skipped"]


def test_a_teacher_beside_given_labels_is_wrong_usage(write: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Use --labels or --teacher"):
        workflow.make_maps([write("a_T1w.nii.gz")], tmp_path / "out", given=write("l.nii.gz", blob()), teach=True)
