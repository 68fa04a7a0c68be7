"""`lodbrain bids --for smriprep`: what sMRIPrep and fMRIPrep look for in --derivatives, on heads of 4 mm."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt
from numpy.typing import NDArray
from official_validator import validate

from lodbrain.commands import main
from lodbrain.datasets.bids_scans import ENTITIES, scan_at
from lodbrain.labels import INDEX_OF_CLASS
from lodbrain.labels.gm_wm_csf import GM_WM_CSF_OF_CLASS

COLLECTOR = Path(__file__).parents[1] / "makers" / "smriprep_collector.py"

#: Scans, and the directions that their axes run to.
SCANS = {
    "sub-01/ses-1/anat/sub-01_ses-1_acq-mprage_run-1_T1w.nii.gz": "RAS",
    "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz": "LAS",
    "sub-02/anat/sub-02_T1w.nii": "PIR",
    "sub-03/anat/sub-03_T1w.nii.gz": "LSA",
}

#: What sMRIPrep 0.19.5 looks for (io_spec.json): None stands for an entity that must be absent.
IO_SPEC: dict[str, dict[str, object]] = {
    "mask": {"space": None, "desc": "brain", "suffix": "mask"},
    "dseg": {"space": None, "desc": None, "suffix": "dseg"},
    "tpms": {"space": None, "label": ["GM", "WM", "CSF"], "suffix": "probseg"},
}


@pytest.fixture(scope="module")
def data_set(
    template_4mm: tuple[NDArray[np.float32], NDArray[np.float64]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Four heads, whose axes and header codes differ, and their derivatives in ``out`` beside them."""
    data, affine = template_4mm
    root = tmp_path_factory.mktemp("data") / "raw"
    head = nibabel.Nifti1Image(np.rint(data * 1000 / data.max()).astype(np.int16), affine)
    head.header.set_xyzt_units("mm")
    for number, (name, axes) in enumerate(SCANS.items()):
        (root / name).parent.mkdir(parents=True)
        # `as_reoriented` takes the axes of the present image in the new order
        turned = head.as_reoriented(
            nibabel.orientations.ornt_transform(nibabel.io_orientation(head.affine), axcodes2ornt(axes))
        )
        affine_of_file = turned.affine.copy()
        turned.set_qform(affine_of_file, code=0 if number == 3 else 1)
        turned.set_sform(affine_of_file, code=0 if number == 2 else 1)
        nibabel.save(turned, root / name)
    (root / "dataset_description.json").write_text(
        '{"Name": "Heads", "BIDSVersion": "1.10.0", "Authors": ["A. Head", "B. Head"]}'
    )
    assert main(["bids", str(root), str(root.parent / "out"), "participant", "--for", "smriprep", "-q"]) == 0
    return root


def found_by(query: Mapping[str, object], session: Path) -> list[str]:
    """Names of a session's images that a query of sMRIPrep finds."""
    names = []
    for path in sorted((session / "anat").glob("*.nii.gz")):
        scan = scan_at(path.name)
        has = {**scan.entities, "suffix": scan.suffix}
        if all(has.get(key) in (value if isinstance(value, list) else [value]) for key, value in query.items()):
            names.append(path.name)
    return names


def test_names_are_those_of_the_table_and_nothing_else_matches_it(data_set: Path) -> None:
    out = data_set.parent / "out"
    stems = {name.split("/anat/")[0]: name.split("/")[-1].split("_T1w")[0] for name in SCANS}
    for folder, stem in stems.items():
        assert {key: found_by(query, out / folder) for key, query in IO_SPEC.items()} == {
            "mask": [f"{stem}_desc-brain_mask.nii.gz"],
            "dseg": [f"{stem}_dseg.nii.gz"],
            "tpms": [f"{stem}_label-{tissue}_probseg.nii.gz" for tissue in ("CSF", "GM", "WM")],
        }
        assert (out / folder / "anat" / f"{stem}_seg-lodbrain_desc-T1w_dseg.nii.gz").is_file()


def test_sidecars_have_what_bids_asks_for(data_set: Path) -> None:
    folder = data_set.parent / "out" / "sub-02" / "anat"
    scan = "bids:raw:sub-02/anat/sub-02_T1w.nii"
    source = {"Sources": [scan], "SpatialReference": scan}
    mask = json.loads((folder / "sub-02_desc-brain_mask.json").read_text())
    assert {key: value for key, value in mask.items() if key != "Description"} == {"Type": "Brain", **source}
    for name in ("dseg", "label-GM_probseg", "label-WM_probseg", "label-CSF_probseg"):
        about = json.loads((folder / f"sub-02_{name}.json").read_text())
        assert {key: value for key, value in about.items() if key != "Description"} == {"Manual": False, **source}
        assert "lodbrain" in about["Description"]
    rows = [line.split("\t")[:2] for line in (folder / "sub-02_dseg.tsv").read_text().splitlines()]
    assert rows == [["index", "name"], ["1", "GM"], ["2", "WM"], ["3", "CSF"]]
    record = json.loads((folder / "sub-02_seg-lodbrain_desc-T1w_dseg.json").read_text())
    for path in folder.glob("sub-02_*"):
        assert path.name in record["files"] or path.name.endswith("desc-T1w_dseg.json")


def test_no_field_of_a_sidecar_has_the_name_of_an_entity(data_set: Path) -> None:
    """Pybids, which sMRIPrep reads data sets with, refuses such a field if the file's name has another value."""
    names = {*ENTITIES, *ENTITIES.values(), "suffix", "datatype", "extension"}
    sidecars = [path for path in (data_set.parent / "out").rglob("*.json") if path.name.startswith("sub-")]
    assert len(sidecars) == 6 * len(SCANS)
    for path in sidecars:
        assert not names & set(json.loads(path.read_text())), path.name


@pytest.mark.parametrize("name", SCANS)
def test_images_are_three_tissues_on_the_grid_of_the_scan_in_ras_order(data_set: Path, name: str) -> None:
    stem = str(data_set.parent / "out" / name).split("_T1w")[0]
    scan = nibabel.as_closest_canonical(nibabel.load(data_set / name))
    labels = nibabel.as_closest_canonical(nibabel.load(f"{stem}_seg-lodbrain_desc-T1w_dseg.nii.gz"))
    images = {
        part: nibabel.load(f"{stem}_{part}.nii.gz")
        for part in ("desc-brain_mask", "dseg", "label-GM_probseg", "label-WM_probseg", "label-CSF_probseg")
    }
    for image in images.values():
        assert image.shape == scan.shape
        np.testing.assert_allclose(image.affine, scan.affine, rtol=1e-6, atol=1e-9)
        assert image.header["sform_code"] > 0 or image.header["qform_code"] > 0
    mask, dseg, *maps = (np.asanyarray(image.dataobj) for image in images.values())
    soft = np.stack(maps)
    assert (mask.dtype, dseg.dtype, soft.dtype) == (np.uint8, np.uint8, np.float32)
    assert set(np.unique(mask)) == {0, 1}
    assert not soft[:, mask == 0].any()
    assert soft.min() >= 0
    assert soft.sum(0).max() <= 1.002
    most_probable = np.concatenate([1 - soft.sum(0, keepdims=True), soft]).argmax(0)
    assert np.mean(np.where(mask, most_probable, 0) == dseg) > 0.9999  # but for rounding
    table = np.zeros(256, np.uint8)
    table[INDEX_OF_CLASS] = GM_WM_CSF_OF_CLASS
    merged = table[np.asanyarray(labels.dataobj)]  # the best structure need not belong to the best tissue
    for tissue in (1, 2, 3):
        both = 2 * np.count_nonzero((dseg == tissue) & (merged == tissue))
        assert both / (np.count_nonzero(dseg == tissue) + np.count_nonzero(merged == tissue)) > 0.9
    assert np.count_nonzero(mask) * 64 / 1e6 == pytest.approx(1.89, abs=0.05)  # litres


def test_the_official_validator_finds_no_error(data_set: Path) -> None:
    assert validate(data_set.parent / "out") == ([], [])


def test_resume_makes_what_an_earlier_run_was_not_asked_for(
    data_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bids", str(data_set), str(tmp_path), "participant", "--participant-label", "02", "--resume"]
    assert main(words) == 0
    assert not list(tmp_path.rglob("*mask*"))
    for said in ("brain", "complete, skipped"):
        capsys.readouterr()
        assert main([*words, "--for", "smriprep"]) == 0
        assert said in capsys.readouterr().out
        assert len(list(tmp_path.rglob("*mask.nii.gz"))) == 1


@pytest.fixture(scope="module")
def answer(data_set: Path) -> dict[str, dict[str, dict[str, object]]]:
    """What sMRIPrep says of the derivatives."""
    python = os.environ.get("LODBRAIN_SMRIPREP_PYTHON")
    if python is None and importlib.util.find_spec("smriprep") is not None:
        python = sys.executable
    if python is None:
        pytest.skip("sMRIPrep is not installed; LODBRAIN_SMRIPREP_PYTHON names an interpreter that has it")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, str(COLLECTOR), str(data_set), str(data_set.parent / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "NO_ET": "1", "TEMPLATEFLOW_AUTOUPDATE": "off"},
    )
    assert done.returncode == 0, done.stderr
    content: dict[str, dict[str, dict[str, object]]] = json.loads(done.stdout.splitlines()[-1])
    return content


def test_smriprep_finds_every_file_and_accepts_the_masks(
    data_set: Path, answer: dict[str, dict[str, dict[str, Any]]]
) -> None:
    for name in SCANS:
        stem = str((data_set.parent / "out" / name).resolve()).split("_T1w")[0]
        found = answer["scans"][name.split("/")[-1]]
        voxels = int(np.count_nonzero(np.asanyarray(nibabel.load(f"{stem}_desc-brain_mask.nii.gz").dataobj)))
        assert 0.85 * voxels < found.pop("masked_voxels") <= voxels  # outside of the template's brain is black
        assert found == {
            "t1w_mask": f"{stem}_desc-brain_mask.nii.gz",
            "t1w_dseg": f"{stem}_dseg.nii.gz",
            "t1w_tpms": [f"{stem}_label-{tissue}_probseg.nii.gz" for tissue in ("GM", "WM", "CSF")],
        }


def test_tissues_are_those_of_smriprep(answer: dict[str, list[int]]) -> None:
    assert [answer["aseg_to_three"][number] for number in INDEX_OF_CLASS] == GM_WM_CSF_OF_CLASS.tolist()
