import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from lodbrain.errors import InputError
from lodbrain.labels import STRUCTURES, TISSUES
from lodbrain.segmentation.outputs import Outputs
from lodbrain.segmentation.results import Result, find_results
from lodbrain.segmentation.volume_files import aseg_stats, subject_names, volumes_csv
from lodbrain.segmentation.volume_table import Volume, volumes_tsv

#: The header of SynthSeg's --vol, without its fold of cortical areas.
SYNTHSEG = (
    "subject,total intracranial,left cerebral white matter,left cerebral cortex,left lateral ventricle,"
    "left inferior lateral ventricle,left cerebellum white matter,left cerebellum cortex,left thalamus,left caudate,"
    "left putamen,left pallidum,3rd ventricle,4th ventricle,brain-stem,left hippocampus,left amygdala,csf,"
    "left accumbens area,left ventral DC,right cerebral white matter,right cerebral cortex,right lateral ventricle,"
    "right inferior lateral ventricle,right cerebellum white matter,right cerebellum cortex,right thalamus,"
    "right caudate,right putamen,right pallidum,right hippocampus,right amygdala,right accumbens area,right ventral DC"
)


def structures(scale: float = 1.0) -> tuple[Volume, ...]:
    """A volume of 10 times the index, and half a mm^3 more from the posteriors."""
    rows = [
        Volume(label.index, label.name, 10.0 * label.index * scale, 10.0 * label.index * scale + 0.5)
        for label in STRUCTURES[1:]
    ]
    return (*rows, Volume(None, "TIV", 9000.0, 9001.0), Volume(None, "brain", 8000.0, 8001.0))


def result(folder: Path, stem: str, volumes: tuple[Volume, ...], *, voxel_mm3: float = 2.0) -> Result:
    return Result(Outputs(folder, stem), {"grid": {"voxel_volume_mm3": voxel_mm3}}, volumes)


def write(outputs: Outputs, volumes: tuple[Volume, ...]) -> None:
    outputs.folder.mkdir(parents=True, exist_ok=True)
    outputs.volumes.write_text(volumes_tsv(volumes))
    outputs.sidecar.write_text(json.dumps({"software": "lodbrain", "files": {outputs.volumes.name: 1}}))


def test_csv_has_synthsegs_columns_and_its_soft_volumes(tmp_path: Path) -> None:
    text = volumes_csv([result(tmp_path, "a", structures()), result(tmp_path, "b, c", structures(2))])
    assert text.splitlines()[0] == SYNTHSEG
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (rows[0]["subject"], rows[1]["subject"]) == ("a", "b, c")
    assert (rows[0]["left cerebral white matter"], rows[0]["right ventral DC"]) == ("20.500", "600.500")
    assert (rows[0]["total intracranial"], rows[1]["left hippocampus"]) == ("9001.000", "340.500")


def test_csv_of_counted_voxels(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(volumes_csv([result(tmp_path, "a", structures())], counted=True))))
    assert (rows[0]["left cerebral white matter"], rows[0]["csf"]) == ("20.000", "240.000")


def test_csv_of_tissues_keeps_their_names(tmp_path: Path) -> None:
    tissues = tuple(Volume(label.index, label.name, 1.0, 1.5) for label in TISSUES[1:])
    header = volumes_csv([result(tmp_path, "a", tissues)]).splitlines()[0]
    assert header == "subject,Grey-Matter,Basal-Ganglia,White-Matter,Ventricles,Cerebellum,Brain-Stem"


def test_different_labels_make_no_table(tmp_path: Path) -> None:
    tissues = tuple(Volume(label.index, label.name, 1.0, 1.5) for label in TISSUES[1:])
    with pytest.raises(InputError, match=r"b_dseg\.nii\.gz: it has other labels than .*a_dseg"):
        volumes_csv([result(tmp_path, "a", structures()), result(tmp_path, "b", tissues)])


def test_aseg_stats_is_read_as_asegstats2table_reads_it(tmp_path: Path) -> None:
    """asegstats2table: the fourth word split at commas of Measure lines; words 2, 4 and 5 of the others."""
    lines = aseg_stats(result(tmp_path, "a", structures())).splitlines()
    measures = {line.split(",")[1].strip(): float(line.split(",")[3]) for line in lines if line.startswith("# Measure")}
    assert measures == {"BrainSegVol": 8000.0, "eTIV": 9000.0}
    assert any("IntraCranialVol" in line for line in lines)
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert [(int(row[1]), row[4]) for row in rows] == [(label.index, label.name) for label in STRUCTURES[1:]]
    assert [float(row[3]) for row in rows] == [10.0 * label.index for label in STRUCTURES[1:]]
    assert [int(row[2]) for row in rows] == [5 * label.index for label in STRUCTURES[1:]]
    assert {len(row) for row in rows} == {5}
    assert "# ColHeaders Index SegId NVoxels Volume_mm3 StructName" in lines


def test_aseg_stats_needs_structures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no structures"):
        aseg_stats(result(tmp_path, "a", (Volume(1, "brain", 1.0, 1.0),)))


def test_finished_results_are_found_in_all_folders_below(tmp_path: Path) -> None:
    write(Outputs(tmp_path / "b" / "deep", "s2"), structures())
    write(Outputs(tmp_path / "a", "s1"), structures())
    (tmp_path / "a" / "other_dseg.json").write_text('{"software": "another"}')
    (tmp_path / "a" / "half_dseg.json").write_text("{")
    (tmp_path / "b" / "loop").symlink_to("..")
    found = find_results([tmp_path])
    assert [one.scan for one in found] == ["s1", "s2"]
    assert found[0].volumes == structures()
    (one,) = find_results([tmp_path / "a" / "s1_dseg.nii.gz"])
    assert one.scan == "s1"


def test_a_folder_without_results_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished segmentations"):
        find_results([tmp_path])


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, "s")
    write(outputs, structures())
    outputs.volumes.write_text("index\tname\n1\tx\n")
    with pytest.raises(InputError, match=r"s_volumes\.tsv: it is not a table of volumes"):
        find_results([tmp_path])


def test_aseg_stats_says_that_etiv_is_limited(tmp_path: Path) -> None:
    *rows, tiv, brain = structures()
    assert "eTIV is" not in aseg_stats(result(tmp_path, "a", structures()))
    text = aseg_stats(result(tmp_path, "a", (*rows, replace(tiv, note="limited by the mask"), brain)))
    assert "# eTIV is limited by the mask\n" in text


def test_notes_of_volumes_are_read_again(tmp_path: Path) -> None:
    rows = (Volume(None, "TIV", 9000.0, 9001.0, note="limited"), Volume(None, "brain", 8000.0, 8001.0))
    write(Outputs(tmp_path, "a"), rows)
    assert find_results([tmp_path])[0].volumes == rows


@pytest.mark.parametrize(
    ("scans", "names"),
    [
        (["sub-06_T1w", "sub-07_T1w"], ["sub-06", "sub-07"]),
        (["sub-06_ses-1_T1w", "sub-06_ses-2_T1w"], ["sub-06_ses-1", "sub-06_ses-2"]),
        (["sub-06_seg-lodbrain_desc-T1w", "sub-07_run-2_seg-lodbrain_desc-T1w"], ["sub-06", "sub-07"]),
        (["sub-06_T1w", "sub-06_T2w"], ["sub-06_T1w", "sub-06_T2w"]),
        (["a_T1w", "sub-06_T1w"], ["a_T1w", "sub-06"]),
    ],
)
def test_subjects_join_a_participants_tsv(scans: list[str], names: list[str], tmp_path: Path) -> None:
    results = [result(tmp_path, scan, structures()) for scan in scans]
    assert subject_names(results) == names
    assert [line.split(",")[0] for line in volumes_csv(results).splitlines()[1:]] == names
    assert f"# subjectname {names[0]}\n" in aseg_stats(results[0], names[0])
