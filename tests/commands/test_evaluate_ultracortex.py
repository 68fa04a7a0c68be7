"""Verification on a tree laid out as UltraCortex, with a stand-in for the segmentation."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lodbrain.commands import evaluate_ultracortex as module
from lodbrain.commands.evaluate_ultracortex import verify
from lodbrain.datasets.openneuro import FetchedDataset, FetchedFile
from lodbrain.errors import InputError, UsageError
from lodbrain.images import Image, write_nifti
from lodbrain.models.zoo import Card
from lodbrain.segmentation.outputs import Outputs

SHAPE = (24, 20, 16)
AFFINE = np.array([[0, 0, 2.0, -20], [-2.0, 0, 0, 20], [0, 2.0, 0, -20], [0, 0, 0, 1]])


def head(shift: int = 0) -> np.ndarray:
    """FreeSurfer's numbers: cortex around white matter, putamen in it, cerebellum below; two sides."""
    labels = np.zeros(SHAPE, np.int16)
    labels[3 + shift : 21, 3:17, 2:14] = 3
    labels[6 + shift : 18, 6:14, 5:11] = 2
    labels[9:12, 8:12, 6:9] = 12
    labels[4:20, 3:8, 0:2] = 8
    right = labels[12:]
    for left, other in ((3, 42), (2, 41), (12, 51), (8, 47)):
        right[right == left] = other
    return labels


def manual_of(labels: np.ndarray) -> np.ndarray:
    """As drawn by hand: putamen is white matter, the cerebellum is nothing."""
    manual = labels.copy()
    manual[labels == 12], manual[labels == 51] = 2, 41
    manual[np.isin(labels, (8, 47))] = 0
    return manual


def write(path: Path, data: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, data, Image(data, AFFINE))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "ds005216"
    for subject in ("3", "900"):
        stem = f"sub-{subject}_ses-1"
        write(root / f"sub-{subject}/ses-1/anat/{stem}_T1w.nii", head().astype(np.float32) * 3)
        write(root / f"derivatives/manual_segmentation/{stem}_seg.nii", manual_of(head()))
    return root


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Its result by subject: the truth, but for sub-900, whose left side is a little too small."""
    state = SimpleNamespace(training={}, labels="structures", results={"sub-3": head(), "sub-900": head(1)}, asked=[])

    def load_model(settings: Any) -> Any:
        card = Card("fake", "lod", state.labels, {}, "", "", "", "", "", "", 0, state.training)
        return SimpleNamespace(card=card, network=None, device="cpu", sha256="e" * 64)

    def segment_file(path: Path, out: Path, settings: Any, *, model: Any) -> Any:
        state.asked.append((path.name, settings.labels, settings.resume))
        outputs = Outputs(out, path.name.removesuffix(".nii"))
        result = state.results[path.name.split("_")[0]]
        if isinstance(result, Exception):
            raise result
        write(outputs.labels, result)
        return SimpleNamespace(outputs=outputs)

    monkeypatch.setattr(module, "load_model", load_model)
    monkeypatch.setattr(module, "segment_file", segment_file)
    return state


def test_protocol_is_seen_and_told_before_scoring_and_the_score_follows(
    tree: Path, segmenter: SimpleNamespace, tmp_path: Path
) -> None:
    told: list[str] = []
    found = verify(tmp_path / "out", data=tree, tell=told.append)
    treatments = {row.structure: row.treatment for row in found.protocol if row.voxels}
    assert treatments["Putamen"] == "white"
    assert treatments["Cerebellum-Cortex"] == "nothing"
    assert "Putamen: 0% grey, 100% white, 0% nothing: counts as white matter" in told
    dice = {(row.case, row.region, row.side): row.dice for row in found.rows}
    assert dice["sub-3", "Grey-Matter", "left"] == 1.0
    assert dice["sub-3", "White-Matter", "right"] == 1.0  # the putamen counts, the cerebellum does not
    assert dice["sub-900", "Grey-Matter", "left"] < 1.0 == dice["sub-900", "Grey-Matter", "right"]
    grey = found.summary["Grey-Matter", "left"]
    assert grey.n == 2
    assert grey.mean == pytest.approx((1 + dice["sub-900", "Grey-Matter", "left"]) / 2)
    assert found.exit_code == 0
    assert segmenter.asked == [(f"sub-{n}_ses-1_T1w.nii", "structures", True) for n in (3, 900)]


def test_mixed_structure_is_left_out_of_both(tree: Path, segmenter: SimpleNamespace, tmp_path: Path) -> None:
    manual = manual_of(head())
    manual[9:12, 8:12, 6:8][head()[9:12, 8:12, 6:8] == 12] = 3  # half of the putamen drawn as grey matter
    write(tree / "derivatives/manual_segmentation/sub-900_ses-1_seg.nii", manual)
    segmenter.results["sub-900"] = head()
    found = verify(tmp_path / "out", data=tree)
    (putamen,) = (row for row in found.protocol if row.structure == "Putamen")
    assert putamen.treatment == "mixed"
    assert {row.dice for row in found.rows} == {1.0}


def test_files_and_page_hold_what_was_found(tree: Path, segmenter: SimpleNamespace, tmp_path: Path) -> None:
    verify(tmp_path / "out", data=tree)
    out = tmp_path / "out"
    page = (out / "ultracortex.html").read_text()
    assert page.count("<figure>") == 2
    assert page.index("sub-900: axial slice") < page.index("sub-3: axial slice")  # the worst comes first
    assert "GOUHFI" in page
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    content = json.loads((out / "ultracortex.json").read_text())
    assert content["model"] == {"name": "fake", "sha256": "e" * 64}
    assert content["cases"]["sub-3"] == [
        "its grid is (24, 20, 16), published is (256, 352, 352)",
        "its voxels are 2.00 mm, published is 0.6 mm",
    ]
    assert content["cases"]["sub-900"] == ["sub-900 is none of the twelve published scans"]
    assert (out / "protocol.tsv").read_text().splitlines()[0] == "structure\tvoxels\tgrey\twhite\tnothing\ttreatment"
    assert len((out / "summary.tsv").read_text().splitlines()) == 1 + 6


def test_model_that_has_seen_a_test_subject_is_refused_before_any_work(
    tree: Path, segmenter: SimpleNamespace, tmp_path: Path
) -> None:
    segmenter.training = {"data": "UltraCortex", "subjects": ["sub-3", "sub-4"]}
    with pytest.raises(UsageError, match="lists sub-3 in its training data"):
        verify(tmp_path / "out", data=tree)
    segmenter.training, segmenter.labels = {}, "tissue"
    with pytest.raises(UsageError, match="tissue classes without sides"):
        verify(tmp_path / "out", data=tree)
    assert segmenter.asked == []


def test_scan_that_fails_is_left_out_and_named(tree: Path, segmenter: SimpleNamespace, tmp_path: Path) -> None:
    segmenter.results["sub-3"] = InputError("no-brain", None, "no brain was found in it")
    found = verify(tmp_path / "out", data=tree)
    assert found.exit_code == 3
    assert [each.case.subject for each in found.cases] == ["900"]
    assert "sub-3_ses-1_T1w.nii: no brain was found" in str(found.problems[0])
    segmenter.results["sub-900"] = segmenter.results["sub-3"]
    with pytest.raises(InputError, match="no brain"):
        verify(tmp_path / "again", data=tree)


def test_labels_that_are_not_ultracortexs_are_refused(tree: Path, segmenter: SimpleNamespace, tmp_path: Path) -> None:
    odd = manual_of(head())
    odd[0, 0, 0] = 17
    write(tree / "derivatives/manual_segmentation/sub-3_ses-1_seg.nii", odd)
    found = verify(tmp_path / "out", data=tree)
    assert "labels [17] are none of UltraCortex's" in str(found.problems[0])


def test_data_is_fetched_where_none_is_named(
    tree: Path, segmenter: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path
) -> None:
    asked: list[Path] = []

    def fetch(folder: Path, **options: Any) -> FetchedDataset:
        asked.append(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        tree.rename(folder)
        return FetchedDataset(folder, "1.1.0", "CHANGES says 1.1.0", (FetchedFile("a", "downloaded"),))

    monkeypatch.setattr(module, "fetch_ultracortex", fetch)
    assert verify(tmp_path / "out").exit_code == 0
    assert asked == [own_cache / "ds005216-1.1.0"]
