"""A small BIDS tree through the real command line, with the default model on heads of 4 mm."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from official_validator import validate

from lodbrain.commands import main
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti

SCANS = [
    "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz",
    "sub-01/ses-1/anat/sub-01_ses-1_UNIT1.nii.gz",
    "sub-02/anat/sub-02_run-1_T1w.nii.gz",
    "sub-02/anat/sub-02_run-2_T1w.nii",
]
MISSING = "sub-03/anat/sub-03_T1w.nii.gz"
ENDINGS = ("dseg.json", "dseg.nii.gz", "dseg.tsv", "volumes.tsv")


@pytest.fixture
def data_set(template_4mm: tuple[NDArray[np.float32], NDArray[np.float64]], tmp_path: Path) -> Path:
    data, affine = template_4mm
    root = tmp_path / "raw"
    for number, name in enumerate(SCANS):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_nifti(root / name, data * np.float32(1 + number / 10), Image(data, affine))
    (root / MISSING).parent.mkdir(parents=True)
    (root / MISSING).symlink_to("../../.git/annex/objects/a/b/c/c")
    source = {"Name": "Four heads", "BIDSVersion": "1.10.0", "License": "CC0", "Authors": ["A. Head", "B. Head"]}
    (root / "dataset_description.json").write_text(json.dumps(source))
    return root


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def results_of(relative: str, *, suffix: str) -> list[str]:
    stem = relative.rsplit("_", 1)[0]
    return [f"{stem}_seg-lodbrain_desc-{suffix}_{ending}" for ending in ENDINGS]


def test_a_tree_becomes_a_derivative_that_the_official_validator_accepts(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = data_set / "derivatives" / "lodbrain"
    raw = files(data_set)
    # posteriors, too: their JSON has to be valid
    assert main(["bids", str(data_set), str(out), "participant", "--posteriors", "--report"]) == 3
    text = capsys.readouterr()
    assert text.err == (
        f"lodbrain: {data_set / MISSING}: its content is not here (a git-annex link). "
        f"Run: datalad get {data_set / MISSING}\n"
    )
    assert "4 done, 1 failed" in text.out

    (out / results_of(SCANS[0], suffix="T1w")[0].replace("dseg.json", "report.html")).unlink()
    assert main(["bids", str(data_set), str(out), "group", "--report"]) == 0
    assert f"{out}/index.html: 1 pages made, 3 up to date" in capsys.readouterr().out
    expected = [".bidsignore", "README.md", "dataset_description.json", "index.html"]
    expected += [f"group_{table}.{ending}" for table in ("quality", "volumes") for ending in ("json", "tsv")]
    for name in SCANS:
        own = results_of(name, suffix="UNIT1" if "UNIT1" in name else "T1w")
        expected += [*own, own[0].replace("dseg.json", "report.html")]
        expected += [own[0].replace("dseg.json", f"probseg.{ending}") for ending in ("json", "nii.gz")]
    assert files(out) == sorted(expected)
    assert [name for name in files(data_set) if not name.startswith("derivatives")] == raw

    stem = "sub-02/anat/sub-02_run-1_seg-lodbrain_desc-T1w"
    labels, scan = read_labels(out / f"{stem}_dseg.nii.gz"), read_image(data_set / SCANS[2])
    assert labels.shape == scan.shape
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-6)
    sidecar = json.loads((out / f"{stem}_dseg.json").read_text())
    assert sidecar["Sources"] == [f"bids:raw:{SCANS[2]}"]
    posteriors = json.loads((out / f"{stem}_probseg.json").read_text())
    assert posteriors["LabelMap"][:2] == ["Background", "Left-Cerebral-White-Matter"]
    assert len(posteriors["LabelMap"]) == 33
    assert read_image(out / f"{stem}_probseg.nii.gz", frame=32).shape == scan.shape
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert (description["Authors"], description["License"]) == (["A. Head", "B. Head"], "CC0")

    rows = [line.split("\t") for line in (out / "group_volumes.tsv").read_text().splitlines()]
    assert rows[0][:4] == ["participant_id", "session_id", "results", "Left-Cerebral-White-Matter"]
    assert [row[:2] for row in rows[1:]] == [["sub-01", "ses-1"]] * 2 + [["sub-02", "n/a"]] * 2
    brain = float(rows[3][rows[0].index("brain")])
    assert brain == pytest.approx(np.isin(labels.data, [0, 24], invert=True).sum() * 64, rel=1e-5)

    quality = [line.split("\t") for line in (out / "group_quality.tsv").read_text().splitlines()]
    record = sidecar["quality"]
    row = dict(zip(quality[0], quality[3], strict=True))
    assert int(row["signs"]) == len(record["reasons"])
    assert {name: float(row[name]) for name in record if name != "reasons"} == pytest.approx(
        {name: value for name, value in record.items() if name != "reasons"}, rel=1e-5
    )
    assert not [cell for line in quality for cell in line if cell.startswith("[")]
    meanings = json.loads((out / "group_quality.json").read_text())
    assert list(meanings) == quality[0][3:]
    assert all("See the documentation" not in meaning["Description"] for meaning in meanings.values())
    assert len({meaning["Description"] for meaning in meanings.values()}) == len(meanings)

    # of 4D posteriors the validator expects a unit of time
    assert validate(out) == ([], ["NIFTI_UNIT"])


def test_errors_are_what_the_validator_says_of_a_tree_with_a_wrong_name(data_set: Path, tmp_path: Path) -> None:
    (data_set / "sub-01" / "anat").mkdir()
    (data_set / "sub-01" / "anat" / "sub-01_dseg.nii.gz").write_bytes(b"")
    assert validate(data_set)[0] != []
