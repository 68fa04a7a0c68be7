"""Every row of the catalogue through the real command: verdict, exit status, one line, and no half-written file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from trust_cases import CASES, REFUSED, Bench, Case

from lodbrain.commands import main
from lodbrain.images import read_image, read_labels

ROOT = Path(__file__).parents[2]
MADE = [case for case in CASES if case.make is not None]


def _run(bench: Bench, case: Case) -> tuple[int, Path]:
    """Exit status and input."""
    assert case.make is not None
    made = case.make(bench)
    words = [str(made)] if isinstance(made, Path) else made
    model = [] if "--model" in words else ["--model", str(bench.model)]
    return main(["segment", *words, *model, "-o", str(bench.out), "-q", "--device", "cpu"]), Path(words[0])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_model_file: Path) -> np.ndarray:
    """The labels of the plain file."""
    bench = Bench(tmp_path_factory.mktemp("plain"), tiny_model_file, Path())
    case = Case("0", "plain", "accepted", lambda m: m.nifti("scan.nii.gz"))
    assert _run(bench, case)[0] == 0
    labels = read_labels(bench.out / "scan_dseg.nii.gz").data
    assert len(np.unique(labels)) > 4
    return labels


@pytest.mark.parametrize("case", [case for case in MADE if case.verdict == REFUSED], ids=lambda case: case.key)
def test_refused_with_one_line_and_nothing_left(case: Case, bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in bench.folder.rglob("*") if path.is_file()}
    status, scan = _run(bench, case)
    out, err = capsys.readouterr()
    assert (status, out) == (case.exit, "")
    assert err.startswith("lodbrain: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in err and "internal error" not in err
    assert scan.stem.split(".")[0] in err or case.exit == 5, "it names the file"
    for words in case.says:
        assert words in err
    left = [path for path in bench.out.rglob("*") if path not in before]
    if case.key == "56":
        assert [path.name for path in left] == ["scan_dseg.nii.gz"]  # put there by the case, and untouched
        assert (bench.out / "scan_dseg.nii.gz").samefile(scan)
    else:
        assert left == []
    assert not (bench.folder / "trapped").exists()


@pytest.mark.parametrize("case", [case for case in MADE if case.verdict != REFUSED], ids=lambda case: case.key)
def test_accepted_on_its_own_grid_and_recorded(
    case: Case, bench: Bench, plain: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    status, scan = _run(bench, case)
    out, err = capsys.readouterr()
    assert (status, out, err) == (0, "", "")
    written = {path.name.rpartition("_")[2]: path for path in bench.out.iterdir()}
    assert set(written) == {"dseg.nii.gz", "dseg.tsv", "dseg.json", "volumes.tsv"}
    record = json.loads(written["dseg.json"].read_text(encoding="utf-8"))
    for words in case.says:
        assert any(words in note for note in record["notes"]), record["notes"]
    labels = read_labels(written["dseg.nii.gz"])
    frame = 1 if case.key == "19b" else None
    image = read_image(scan, frame=frame, allow_odd_voxels=True)
    assert labels.shape == image.shape
    np.testing.assert_array_equal(labels.affine, image.affine)
    assert image.header is not None and labels.header is not None
    for code in ("qform_code", "sform_code"):
        assert labels.header[code] == image.header[code]
    rows = [line.split("\t") for line in written["volumes.tsv"].read_text().splitlines()]
    brain = next(float(row[2]) for row in rows if row[1] == "brain")
    counted = np.count_nonzero((labels.data > 0) & (labels.data != 24)) * abs(np.linalg.det(image.affine[:3, :3]))
    assert brain == pytest.approx(counted, rel=1e-6)
    if case.same:
        np.testing.assert_array_equal(labels.data, plain)


def test_every_number_of_the_catalogue_is_there_once_or_with_letters() -> None:
    assert sorted({case.number for case in CASES}) == list(range(1, 62))
    keys = [case.key for case in CASES]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("case", [case for case in CASES if case.make is None], ids=lambda case: case.key)
def test_a_fault_is_shown_by_a_test_that_exists(case: Case) -> None:
    name, _, test = case.shown.partition("::")
    assert re.search(rf"^def {test}\(", (ROOT / name).read_text(), re.MULTILINE), case.shown
