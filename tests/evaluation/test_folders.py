"""Folders of label maps scored, and what is written about it."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.evaluation.folders import EvaluateSettings, evaluate_labels, means
from lodbrain.evaluation.metric_files import read_rows
from lodbrain.evaluation.tables import FREESURFER_TABLE, read_table
from lodbrain.images import Image, write_nifti

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def write_map(path: Path, start: int, label: int = 10) -> None:
    labels = np.zeros((14, 10, 9), np.int16)
    labels[start : start + 4, 3:7, 3:7] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, labels, Image(labels, AFFINE))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases that are there in both folders, the second one shifted by a voxel."""
    for n in (1, 2):
        write_map(tmp_path / "pred" / f"sub-{n}_T1w_dseg.nii.gz", 3 + (n == 2))
        write_map(tmp_path / "ref" / f"sub-{n}" / f"sub-{n}_seg.nii", 3)
    return tmp_path / "pred", tmp_path / "ref"


def test_results_are_written_as_a_tidy_table_and_json(folders: tuple[Path, Path], tmp_path: Path) -> None:
    done = evaluate_labels(*folders, EvaluateSettings(), out=tmp_path / "out")
    assert done.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluation.tsv", "evaluation.json"}
    found = {row.case: row for row in read_rows(tmp_path / "out") if (row.region, row.side) == ("Thalamus", "left")}
    assert [found[f"sub-{n}"].dice for n in (1, 2)] == [1, 0.75]
    assert found["sub-2"].nsd_1mm == 1
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert record["cases"][0] == {
        "case": "sub-1",
        "prediction": str(folders[0] / "sub-1_T1w_dseg.nii.gz"),
        "reference": str(folders[1] / "sub-1" / "sub-1_seg.nii"),
        "tables": ["structures", "structures"],
        "notes": [],
        "error": None,
    }
    (thalamus,) = [e for e in record["means"] if (e["region"], e["side"]) == ("Thalamus", "left")]
    assert (thalamus["n"], thalamus["dice"]) == (2, 0.875)
    assert "hd95_mm" in record["definitions"]
    assert len(record["rows"]) == len(read_rows(tmp_path / "out"))


def test_one_bad_pair_does_not_stop_the_others(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "sub-1_T1w_dseg.nii.gz").write_bytes(b"no image")
    write_map(folders[1] / "sub-3_seg.nii", 3)
    done = evaluate_labels(*folders, EvaluateSettings(), out=tmp_path / "out")
    assert done.exit_code == 3
    assert {row.case for row in done.rows} == {"sub-2"}
    assert [each.error is None for each in done.done] == [False, True]
    assert [problem.code for problem in done.problems] == ["no-prediction"]
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert "sub-1_T1w_dseg.nii.gz" in record["cases"][0]["error"]
    assert "sub-3_seg.nii" in record["not_paired"][0]


def test_nothing_scored_writes_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for path in folders[0].iterdir():
        path.rename(path.with_name(f"other-{path.name}"))
    done = evaluate_labels(*folders, EvaluateSettings(), out=tmp_path / "out")
    assert done.exit_code == 4
    assert list((tmp_path / "out").iterdir()) == []


def test_an_error_names_the_prediction(folders: tuple[Path, Path]) -> None:
    labels = np.zeros((5, 5, 5), np.int16)
    write_nifti(folders[0] / "sub-1_T1w_dseg.nii.gz", labels, Image(labels, AFFINE))
    done = evaluate_labels(*folders, EvaluateSettings())
    assert "sub-1_T1w_dseg.nii.gz: its grid is 5 x 5 x 5" in str(done.done[0].error)


def test_tables_without_a_common_region_are_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("index\tfreesurfer\n5\t11\n6\t50\n")
    settings = EvaluateSettings(
        ref_table=FREESURFER_TABLE.restricted([10, 49]), pred_table=read_table(tmp_path / "t.tsv")
    )
    done = evaluate_labels(*folders, settings)
    assert done.exit_code == 4
    assert "no region is known to both label tables, t.tsv and freesurfer" in str(done.done[0].error)


def test_results_that_are_there_are_kept(folders: tuple[Path, Path], tmp_path: Path) -> None:
    evaluate_labels(*folders, EvaluateSettings(surfaces=False), out=tmp_path / "out")
    with pytest.raises(InputError, match="this output exists already"):
        evaluate_labels(*folders, EvaluateSettings(), out=tmp_path / "out")
    evaluate_labels(*folders, EvaluateSettings(overwrite=True), out=tmp_path / "out")
    assert any(row.nsd_1mm == 1 for row in read_rows(tmp_path / "out"))


def test_a_mean_is_over_the_cases_in_which_the_metric_is_defined(folders: tuple[Path, Path]) -> None:
    write_map(folders[0] / "sub-2_T1w_dseg.nii.gz", 3, label=49)
    rows = evaluate_labels(*folders, EvaluateSettings()).rows
    (left,) = [entry for entry in means(rows) if (entry["region"], entry["side"]) == ("Thalamus", "left")]
    assert (left["n"], left["missed"], left["invented"]) == (2, 1, 0)
    assert (left["dice"], left["hd95_mm"]) == (0.5, 0)
    (caudate,) = [entry for entry in means(rows) if (entry["region"], entry["side"]) == ("Caudate", "left")]
    assert caudate["absent"] == 2
    assert math.isnan(caudate["dice"])


@pytest.mark.data
@pytest.mark.slow
def test_dice_is_that_of_the_script_that_scored_the_peers(data_dir: Path, tmp_path: Path) -> None:
    """A shifted copy of each reference is scored by both: any prediction will do to compare two scorers."""
    script = data_dir.parent / "tools" / "score.py"
    spec = importlib.util.spec_from_file_location("score", script)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    from lodbrain.images import read_labels

    for stem, suffix, scheme, table in (
        ("malc-1000", "glm", "glm", read_table(data_dir / "dev" / "labels-glm.tsv")),
        ("swm", "aparc+aseg", "aseg", None),
    ):
        reference = data_dir / "dev" / f"{stem}_{suffix}.nii.gz"
        ref = read_labels(reference)
        pred = tmp_path / scheme / f"{stem}_dseg.nii.gz"
        pred.parent.mkdir()
        write_nifti(pred, np.roll(ref.data, 1, axis=1), ref)
        expected, wrong = theirs.score(scheme, str(reference), scheme, str(pred.parent))
        assert wrong == []
        settings = EvaluateSettings(pred_table=table, ref_table=table, surfaces=False)
        (done,) = evaluate_labels(pred, reference, settings).done
        assert done.score is not None
        assert _differences(done.score.rows, expected, reference.name) == {}


def _differences(rows: tuple, expected: dict, case: str) -> dict[str, tuple[float, float]]:  # type: ignore[type-arg]
    """Regions whose Dice differs by more than 1e-3; every one that the script scores must be there."""
    names = {
        "cortex": "Cerebral-Cortex",
        "cerebral white matter": "Cerebral-White-Matter",
        "lateral ventricle": "Lateral-Ventricle",
        "inferior lateral ventricle": "Inf-Lat-Vent",
        "cerebellum cortex": "Cerebellum-Cortex",
        "cerebellum white matter": "Cerebellum-White-Matter",
        "third ventricle": "3rd-Ventricle",
        "fourth ventricle": "4th-Ventricle",
        "brainstem": "Brain-Stem",
        "accumbens": "Accumbens-area",
        "ventral DC": "VentralDC",
    }
    mine = {
        (row.level in ("tissue",), row.region.lower()): row.dice for row in rows if row.side not in ("left", "right")
    }
    different = {}
    for name, cases in expected.items():
        kind, _, what = name.partition(": ")
        if kind != "side":
            region = (
                names.get(what, what).lower() if kind == "structure" else {"brainstem": "brain-stem"}.get(what, what)
            )
            value = mine[kind == "tissue", region.replace(" ", "-")]
            if not abs(value - cases[case]) <= 1e-3:
                different[name] = (value, cases[case])
    return different
