import math
from pathlib import Path

import numpy as np
import pytest

from lodbrain.images import Image, write_nifti
from lodbrain.labelmaps.usual_volumes import derive, volumes_of_label_map
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.usual_volumes import references


def write_map(path: Path, extra: dict[int, int]) -> Path:
    """A label map of 2 mm voxels: ten voxels of each structure, more of some."""
    counts = {label.index: 10 for label in STRUCTURES if label.index}
    for index, count in extra.items():
        counts[index] = counts.get(index, 0) + count
    flat = np.zeros(10 * 10 * 20, np.int16)
    flat[: sum(counts.values())] = np.repeat(list(counts), list(counts.values()))
    data = flat.reshape(10, 10, 20)
    write_nifti(path, data, Image(data, np.diag([2.0, 2.0, 2.0, 1.0])))
    return path


def test_lesions_and_plexus_count_as_what_they_lie_in(tmp_path: Path) -> None:
    volumes = volumes_of_label_map(write_map(tmp_path / "a.nii.gz", {77: 3, 136: 2, 500: 50}))
    voxels = {name: round(volume / 8, 6) for name, volume in volumes.items()}
    # hypointensities have the side of the white matter around them
    white = (voxels["Left-Cerebral-White-Matter"], voxels["Right-Cerebral-White-Matter"])
    assert sorted(white) == [10, 13]
    assert (sum(white), voxels["White-Matter"], voxels["Left-Lateral-Ventricle"]) == (23, 23, 12)
    assert voxels["TIV"] - voxels["brain"] == voxels["CSF"] == 10
    assert voxels["brain"] == 31 * 10 + 5


def test_mean_and_deviation_are_those_of_the_logarithms(tmp_path: Path) -> None:
    paths = [write_map(tmp_path / "a.nii.gz", {}), write_map(tmp_path / "b.nii.gz", {12: 10})]
    rows = {row.name: row for row in derive(paths)}
    shares = [math.log(10 / 310), math.log(20 / 320)]
    assert rows["Left-Putamen"].mean_log == pytest.approx(sum(shares) / 2)
    assert rows["Left-Putamen"].sd_log == pytest.approx(abs(shares[0] - shares[1]) / math.sqrt(2))
    assert rows["brain"].mean_log == pytest.approx((math.log(310 * 8) + math.log(320 * 8)) / 2)


def test_one_label_map_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two label maps"):
        derive([write_map(tmp_path / "a.nii.gz", {})])


@pytest.mark.data
@pytest.mark.slow
def test_the_table_in_the_package_is_what_the_label_maps_give(data_dir: Path) -> None:
    paths = sorted((data_dir / "labelmaps").glob("training_seg_*.nii.gz"))
    rows = derive(paths)
    assert len(paths) == 20 and {row.name for row in rows} == references().keys()
    for row in rows:
        kept = references()[row.name]
        assert (row.relative_to, row.n) == (kept.relative_to, kept.n)
        assert (row.mean_log, row.sd_log) == (
            pytest.approx(kept.mean_log, abs=1e-5),
            pytest.approx(kept.sd_log, abs=1e-5),
        )
