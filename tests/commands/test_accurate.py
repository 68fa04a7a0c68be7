"""A consensus through every way in: command, Python, BIDS, several processes, a small budget, the page."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import torch
from distributed import Client

import lodbrain
from lodbrain.batch import cluster_run as run_module
from lodbrain.batch.cluster import Cluster
from lodbrain.commands import main
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels, write_nifti
from lodbrain.inference import brain_search, budget, ladder
from lodbrain.inference import lod_brain_2024_volume as lod_brain
from lodbrain.inference import second_opinion as consensus
from lodbrain.models import zoo

#: Flipped, and of about 1 mm: LOD-Brain is asked, and results have to be turned back.
SHAPE, AFFINE = (34, 30, 32), np.array([[-1.0, 0, 0, 15], [0, 0, 1.1, -16], [0, 1, 0, -15], [0, 0, 0, 1]])


@pytest.fixture(autouse=True)
def model(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Any brain is a brain, any agreement is enough, LOD-Brain's grid is no larger than the scan, one thread."""
    folder = tmp_path_factory.mktemp("models")
    name = tiny_model.save_tiny_consensus(folder)
    monkeypatch.setattr(zoo, "MODELS", folder)
    monkeypatch.setattr(brain_search, "LEAST_ML", 0.0)
    monkeypatch.setattr(brain_search, "PLAUSIBLE_ML", (0.0, float("inf")))
    monkeypatch.setattr(lod_brain, "SIDE", 8)
    monkeypatch.setattr(consensus, "NO_AGREEMENT", -1.0)
    monkeypatch.setattr(consensus, "FULL_AGREEMENT", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield name
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers in this process, which see what the tests have changed."""
    with Client(
        processes=False, n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", set_as_default=False
    ) as client:
        yield client


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    data = tiny_model.head(SHAPE)
    write_nifti(tmp_path / "head.nii.gz", data, Image(data, AFFINE))
    return tmp_path / "head.nii.gz"


def sidecar(path: Path) -> dict[str, object]:
    return json.loads(path.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("labels", ["structures", "tissue", "brain"])
def test_every_level_of_labels_comes_from_the_mean_of_both_members(scan: Path, model: str, labels: str) -> None:
    both = lodbrain.segment(scan, model=model, labels=labels)
    alone = lodbrain.segment(scan, model="tiny", labels=labels)
    assert both.quality["second_weight"] == 0.5
    assert both.labels.shape == alone.labels.shape == SHAPE
    assert set(np.unique(both.labels)) <= {label.index for label in both.table}
    assert (both.labels != alone.labels).mean() > 0.02
    assert alone.disagreement is None


def test_disagreement_is_on_the_scans_grid_and_its_share_is_the_quality_measure(scan: Path, model: str) -> None:
    found = lodbrain.segment(scan, model=model, labels="tissue")
    assert found.disagreement is not None
    assert found.disagreement.shape == SHAPE
    tissue = lodbrain.segment(scan, model="tiny", labels="tissue").labels
    changed = found.labels != tissue
    assert changed.any()
    assert found.disagreement[changed].mean() > 0.99  # the mean of two equal tissues is that tissue
    brain = (tissue > 0) | found.disagreement  # what either member takes for brain
    assert found.disagreement.sum() / brain.sum() == pytest.approx(found.quality["disagreement"], abs=0.02)


def test_command_writes_the_mask_with_a_report_or_posteriors_only(scan: Path, model: str, tmp_path: Path) -> None:
    for words, there in ([], False), (["--report"], True), (["--posteriors"], True):
        out = tmp_path / f"out{''.join(words)}"
        assert main(["segment", str(scan), "-o", str(out), "--model", model, "--quiet", *words]) == 0
        mask = out / "head_differ.nii.gz"
        assert mask.exists() is there
        assert (mask.name in sidecar(out / "head_dseg.json")["files"]) is there  # type: ignore[operator]
    image = read_labels(mask)
    np.testing.assert_allclose(image.affine, AFFINE)
    np.testing.assert_array_equal(image.data, lodbrain.segment(scan, model=model).disagreement)


def test_page_shows_where_the_members_disagree(scan: Path, model: str, tmp_path: Path) -> None:
    for name in (model, "tiny"):
        assert main(["segment", str(scan), "-o", str(tmp_path / name), "--model", name, "--quiet", "--report"]) == 0
    html = (tmp_path / model / "head_report.html").read_text()
    share = sidecar(tmp_path / model / "head_dseg.json")["quality"]["disagreement"]  # type: ignore[index]
    assert f"assign different tissues ({100 * share:.0f}% of the brain)" in html
    assert len(re.findall(r'<img class="marks"', html)) == 24
    alone = (tmp_path / "tiny" / "head_report.html").read_text()
    assert 'class="marks"' not in alone
    assert "assign different tissues" not in alone


def test_budget_without_room_for_the_second_member_gives_the_ladders_result_and_says_so(
    scan: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "second_bytes", lambda *args, **more: (1 << 40, 0))
    monkeypatch.setattr(ladder, "second_opinion", lambda *args: pytest.fail("LOD-Brain was run"))
    words = ["--model", model, "--memory", "4GB", "--quiet"]
    assert main(["segment", str(scan), "-o", str(tmp_path / "out"), *words]) == 0
    alone = lodbrain.segment(scan, model="tiny")
    np.testing.assert_array_equal(read_labels(tmp_path / "out" / "head_dseg.nii.gz").data, alone.labels)
    content = sidecar(tmp_path / "out" / "head_dseg.json")
    notes = [note for note in content["notes"] if note.startswith("LOD-Brain was left out")]  # type: ignore[attr-defined]
    assert len(notes) == 1
    assert re.search(r"with it 1\d{3}\.\d\dGB of memory are needed, 4\.00GB are allowed or free$", notes[0])
    assert "disagreement" not in content["quality"]  # type: ignore[operator]


def test_budget_too_small_for_the_ladder_names_what_the_ladder_needs(
    scan: Path, model: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name in (model, "tiny"):
        assert main(["segment", str(scan), "-o", str(tmp_path), "--model", name, "--memory", "2MB", "--quiet"]) == 4
    first, second = capsys.readouterr().err.splitlines()
    need = [float(re.search(r"it needs at least ([\d.]+)[MG]B", line)[1]) for line in (first, second)]  # type: ignore[index]
    assert need[0] == pytest.approx(need[1], rel=0.1)


def test_sheared_scan_keeps_its_disagreement_on_its_own_grid(scan: Path, model: str) -> None:
    affine = AFFINE.copy()
    affine[0, 1] = 0.2
    found = lodbrain.segment(tiny_model.head(SHAPE), affine=affine, model=model)
    assert found.disagreement is not None
    assert found.disagreement.shape == SHAPE
    assert found.disagreement.dtype == bool
    assert 0.02 < found.disagreement.mean() < 1


def test_bids_app_takes_a_consensus(scan: Path, model: str, tmp_path: Path) -> None:
    anat = tmp_path / "raw" / "sub-01" / "anat"
    anat.mkdir(parents=True)
    scan.rename(anat / "sub-01_T1w.nii.gz")
    (tmp_path / "raw" / "dataset_description.json").write_text('{"Name": "One head", "BIDSVersion": "1.10.0"}')
    words = ["--model", model, "--labels", "tissue", "--report", "--quiet"]
    assert main(["bids", str(tmp_path / "raw"), str(tmp_path / "out"), "participant", *words]) == 0
    stem = tmp_path / "out" / "sub-01" / "anat" / "sub-01_seg-lodbrain_desc-T1w"
    assert sidecar(Path(f"{stem}_dseg.json"))["model"]["name"] == model  # type: ignore[index]
    assert Path(f"{stem}_differ.nii.gz").exists()
    assert "*_differ.nii.gz" in (tmp_path / "out" / ".bidsignore").read_text().splitlines()


def test_dask_workers_give_the_same_labels(
    scan: Path, model: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def cluster(place: run_module.Workplace, scans: int) -> Iterator[Cluster]:
        yield Cluster(client, 2, 1, None)

    monkeypatch.setattr(run_module, "_cluster", cluster)
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(scan.read_bytes())
    words = ["--model", model, "--jobs", "2", "--report", "--quiet"]
    assert main(["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *words]) == 0
    expected = lodbrain.segment(scan, model=model)
    for name in ("a", "b"):
        np.testing.assert_array_equal(read_labels(tmp_path / "out" / f"{name}_dseg.nii.gz").data, expected.labels)
        assert (tmp_path / "out" / f"{name}_differ.nii.gz").exists()


@pytest.mark.slow
def test_processes_of_their_own_load_both_members(head_4mm: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(head_4mm.read_bytes())
    words = ["--model", "accurate", "--jobs", "2", "--quiet"]
    assert main(["segment", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *words]) == 0
    for name in ("a", "b"):
        content = sidecar(tmp_path / "out" / f"{name}_dseg.json")
        assert content["model"]["name"] == "accurate"  # type: ignore[index]
        assert any("LOD-Brain was not used" in note for note in content["notes"])  # type: ignore[union-attr]
