import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lodbrain.errors import UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.training.architecture_comparison import check_comparable, compare, total_seconds, with_seconds
from lodbrain.training.config import TrainingConfig
from lodbrain.training.sources import SYNTHETIC

LADDER = [
    {"exponent": 3, "channels": [4, 8], "seconds": 3},
    {"exponent": 2, "channels": [4, 8], "sided": False, "seconds": 1},
]


def _config(name: str, **changes: Any) -> TrainingConfig:
    fields: dict[str, Any] = {
        "name": name, "out": "unused", "train": ["head"], "validate": ["other"],
        "generator": {"field_of_view": {"voxel_mm": [5.0, 7.0]}},
        "bfloat16": False, "warm_up": 2, "pictures": False, "device": "cpu", "validation_scans": 1,
        "levels": [{"exponent": 2, "seconds": 4}],
    }  # fmt: skip
    return TrainingConfig(**{**fields, **changes})


def test_time_is_shared_out_as_the_stages_say() -> None:
    given = with_seconds(_config("a", levels=LADDER, joint={"seconds": 4}), 16)
    assert [level.seconds for level in given.levels] == [6, 2]
    assert given.joint is not None
    assert given.joint.seconds == 8
    steps = [{**row, "seconds": None, "steps": n} for row, n in zip(LADDER, (300, 100), strict=True)]
    assert [level.seconds for level in with_seconds(_config("a", levels=steps), 16).levels] == [12, 4]
    assert total_seconds(_config("a", levels=LADDER)) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "a"}, "two configurations are called 'a'"),
        ({"seed": 3}, "seed differs between a and b"),
        ({"generator": {"uhf_share": 0.5}}, "generator differs between a and b"),
        ({"levels": [{"exponent": 1, "seconds": 4}]}, "exponent of the finest level differs"),
        ({"levels": [{"exponent": 2, "seconds": 5}]}, "the training times differ: a 4 s, b 5 s"),
        ({"levels": [{"exponent": 2, "steps": 5}]}, "the training times differ: a 4 s, b nan s"),
    ],
)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], message: str) -> None:
    one = _config("a", architecture="meshnet")
    with pytest.raises(UsageError, match=message):
        check_comparable([one, _config(**{"name": "b", "architecture": "meshnet", **changes})])


@pytest.mark.slow
def test_architectures_are_trained_and_scored_in_one_table(tmp_path: Path) -> None:
    x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in (30, 34, 28)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    raw = np.zeros(radius.shape, np.int16)
    for limit, left, right in ((0.95, 516, 516), (0.8, 24, 24), (0.74, 3, 42), (0.6, 2, 41), (0.3, 10, 49)):
        raw[radius < limit] = np.where(x < 0, left, right)[radius < limit]
    (tmp_path / "maps").mkdir()
    for name in ("head", "other"):
        write_nifti(tmp_path / "maps" / f"{name}.nii.gz", raw, Image(raw, np.diag([5.0, 5.0, 5.0, 1.0])))
    labels = np.where(raw < 500, raw, 0).astype(np.int16)
    for name, data in (("T1w", (labels * 4 + raw % 7).astype(np.float32)), ("dseg", labels)):
        write_nifti(tmp_path / f"real_{name}.nii.gz", data, Image(data, np.diag([5.0, 5.0, 5.0, 1.0])))
    (tmp_path / "real.csv").write_text("volume,labels,site\nreal_T1w.nii.gz,real_dseg.nii.gz,here\n")
    maps = {"labelmaps": tmp_path / "maps", "report_on": [{"name": "real", "manifest": tmp_path / "real.csv"}]}
    rows = compare(
        [
            _config("ladder", levels=LADDER, **maps),
            _config("mesh", architecture="meshnet", options={"channels": 5}, **maps),
            _config("unet", architecture="dynunet", options={"channels": [4, 8, 8, 8]}, **maps),
        ],
        tmp_path / "out",
        seconds=2,
        scans=2,
    )
    assert [row.name for row in rows] == ["ladder", "mesh", "unet"]
    assert all(2 <= row.seconds < 6 for row in rows)
    assert [list(row.steps) for row in rows] == [["level+3", "level+2"], ["level+2"], ["level+2"]]
    # all were scored on the same scans: where a class is absent it is so for all
    absent = [row.scores[SYNTHETIC].structures.isnan() for row in rows]
    assert bool((absent[0] == absent[1]).all())
    assert bool((absent[0] == absent[2]).all())
    # 5 channels: 9 layers of 3x3x3 with BatchNorm, and the last
    assert rows[1].parameters == 5 * 27 + 8 * 25 * 27 + 9 * 10 + 33 * 6
    table = (tmp_path / "out" / "comparison.md").read_text()
    assert "| parameters |" in table
    assert table.count("**mean of tissues**") == 2  # on synthetic scans, and on the real one
    assert all(row.scores["real"].tissues.shape == (1, 6) for row in rows)
    assert "| Cerebral-Cortex |" in table
    assert len(json.loads((tmp_path / "out" / "comparison.json").read_text())["rows"]) == 3
