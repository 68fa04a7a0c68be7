import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lodbrain.batch.cases import exit_code
from lodbrain.commands import synth as workflow
from lodbrain.commands.synth import replay_pair, synthesise
from lodbrain.errors import InputError, UsageError
from lodbrain.images.image import Image
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.labels import STRUCTURES

VOXEL_MM = 6.0


@pytest.fixture(autouse=True)
def coarse_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "MAP_MM", 4.0)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a head of skin, CSF, cortex and white matter in an ellipsoid of voxels of 4 mm."""

    def head(name: str = "a.nii.gz", shape: tuple[int, int, int] = (34, 38, 32), label: int | None = None) -> Path:
        x, y, z = np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in shape), indexing="ij")
        radius = np.sqrt(x**2 + y**2 + z**2)
        raw = np.zeros(shape, np.int16)
        for limit, left, right in ((0.95, 516, 516), (0.8, 24, 24), (0.74, 3, 42), (0.6, 2, 41), (0.2, 4, 43)):
            raw[radius < limit] = np.where(x < 0, left, right)[radius < limit]
        if label is not None:
            raw[radius < 0.8] = label
        write_nifti(tmp_path / name, raw, Image(raw, np.diag([4.0, 4.0, 4.0, 1.0])))
        return tmp_path / name

    return head


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_pairs_are_the_same_on_any_number_of_threads(write: Callable[..., Path], tmp_path: Path) -> None:
    maps = [write("a.nii.gz"), write("b.nii.gz", (30, 34, 30))]  # of different grids
    for threads in (1, 3):
        outcomes = synthesise(maps, tmp_path / str(threads), 4, voxel_mm=VOXEL_MM, seed=5, threads=threads)
        assert [outcome.status for outcome in outcomes] == ["done"] * 4
    one, three = (_contents(tmp_path / str(threads)) for threads in (1, 3))
    assert one == three
    assert len(one) == 4 * 3 + 2
    # more pairs are the same ones, and some
    synthesise(maps, tmp_path / "five", 5, voxel_mm=VOXEL_MM, seed=5)
    five = _contents(tmp_path / "five")
    assert {name: five[name] for name in one} == one
    # another seed, other pairs
    synthesise(maps[:1], tmp_path / "other", 1, voxel_mm=VOXEL_MM, seed=6)
    assert _contents(tmp_path / "other")["sub-synth0001/anat/sub-synth0001_T1w.nii.gz"] not in one.values()


def test_labels_are_freesurfers_on_the_grid_of_the_scan(write: Callable[..., Path], tmp_path: Path) -> None:
    synthesise([write()], tmp_path / "out", 1, voxel_mm=VOXEL_MM)
    folder = tmp_path / "out" / "sub-synth0001" / "anat"
    scan, labels = read_image(folder / "sub-synth0001_T1w.nii.gz"), read_labels(folder / "sub-synth0001_dseg.nii.gz")
    assert scan.shape == labels.shape
    np.testing.assert_array_equal(scan.affine, labels.affine)
    assert scan.spacing_mm == pytest.approx([6, 6, 6])
    assert set(np.unique(labels.data)) <= {label.index for label in STRUCTURES}
    assert {2, 41, 3, 42} <= set(np.unique(labels.data))
    right, left = (np.argwhere(labels.data == index)[:, 0].mean() for index in (41, 2))
    assert right > left  # x runs to the right
    assert (tmp_path / "out" / "dseg.tsv").read_text().startswith("index\tname\tcolor\n2\tLeft-Cerebral-White-Matter")
    assert json.loads((tmp_path / "out" / "dataset_description.json").read_text())["DatasetType"] == "derivative"


def test_recipe_makes_the_pair_again(write: Callable[..., Path], tmp_path: Path) -> None:
    maps = [write("a.nii.gz"), write("b.nii.gz", (30, 34, 30))]
    synthesise(maps, tmp_path / "out", 2, voxel_mm=VOXEL_MM, seed=1)
    recipe = tmp_path / "out" / "sub-synth0002" / "anat" / "sub-synth0002_T1w.json"
    outcome = replay_pair(maps, recipe, tmp_path / "again")
    assert outcome.error is None
    again, before = _contents(tmp_path / "again"), _contents(tmp_path / "out")
    assert set(before) - set(again) == {name for name in before if "synth0001" in name}
    assert all(before[name] == content for name, content in again.items())
    # without its label map
    missing = replay_pair(maps[:1], recipe, tmp_path / "no")
    assert isinstance(missing.error, InputError)
    assert "none of the label maps is b.nii.gz" in str(missing.error)
    # not over another pair
    assert "exists already" in str(replay_pair(maps, recipe, tmp_path / "out").error)
    assert replay_pair(maps, recipe, tmp_path / "out", overwrite=True).error is None


def test_what_is_no_recipe_is_wrong_usage(write: Callable[..., Path], tmp_path: Path) -> None:
    for content in ("", "[]", "{}", '{"recipe": {"seed": 1}}'):
        (tmp_path / "r.json").write_text(content)
        with pytest.raises(UsageError, match="no recipe of this version"):
            replay_pair([write()], tmp_path / "r.json", tmp_path / "out")
    with pytest.raises(UsageError, match="cannot be read"):
        replay_pair([write()], tmp_path / "none.json", tmp_path / "out")


def test_resume_makes_what_is_missing_or_was_asked_for_differently(write: Callable[..., Path], tmp_path: Path) -> None:
    maps, out = [write()], tmp_path / "out"

    def run(seed: int = 0, **how: bool) -> list[str]:
        return [outcome.status for outcome in synthesise(maps, out, 2, voxel_mm=VOXEL_MM, seed=seed, **how)]

    assert run() == ["done", "done"]
    before = _contents(out)
    assert run() == ["failed", "failed"]
    assert run(resume=True) == ["skipped", "skipped"]
    scan = out / "sub-synth0002" / "anat" / "sub-synth0002_T1w.nii.gz"
    scan.write_bytes(scan.read_bytes()[:-1])
    assert run(resume=True) == ["skipped", "done"]
    assert _contents(out) == before
    assert run(seed=1, resume=True) == ["done", "done"]
    assert _contents(out) != before
    assert run(overwrite=True) == ["done", "done"]
    assert _contents(out) == before


def test_maps_that_cannot_be_used_do_not_stop_the_others(write: Callable[..., Path], tmp_path: Path) -> None:
    maps = [write("good.nii.gz"), write("odd.nii.gz", label=99), tmp_path / "none.nii.gz"]
    empty = np.zeros((8, 8, 8), np.int16)
    write_nifti(tmp_path / "empty.nii.gz", empty, Image(empty, np.eye(4)))
    outcomes = synthesise([*maps, tmp_path / "empty.nii.gz"], tmp_path / "out", 5, voxel_mm=VOXEL_MM)
    assert [outcome.status for outcome in outcomes] == ["done", "done", "failed", "failed", "failed"]
    assert exit_code(outcomes) == 3
    errors = [str(outcome.error) for outcome in outcomes[2:]]
    assert "odd.nii.gz: labels that are not in the table: [99]" in errors[0]
    assert "none.nii.gz: there is no such file" in errors[1]
    assert "empty.nii.gz: no brain structure in the label map" in errors[2]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"voxel_mm": 0.0}, "voxel size must be above 0 mm, got 0"),
        ({"number": 0}, "number must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"contrast_share": 1.5}, "contrast share must be 0 to 1, got 1.5"),
        ({"threads": 0}, "threads must be at least 1, got 0"),
    ],
)
def test_impossible_wishes_are_named(what: dict[str, float], message: str, tmp_path: Path) -> None:
    wishes = {"number": 1, **what}
    with pytest.raises(ValueError, match=message):
        synthesise([tmp_path / "a.nii.gz"], tmp_path / "out", wishes.pop("number"), **wishes)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_figure_shows_a_row_for_each_pair(write: Callable[..., Path], tmp_path: Path) -> None:
    synthesise([write()], tmp_path / "out", 2, voxel_mm=VOXEL_MM, figure=tmp_path / "sheet.png")
    picture = imread(tmp_path / "sheet.png")
    height, width = picture.shape[:2]
    assert height / width == pytest.approx(2 / 4, rel=0.01)
    for row in (picture[: height // 2], picture[height // 2 :]):
        assert float(row[..., :3].max()) == 1
        colours = row[:, 3 * width // 4 :, :3]
        assert float(np.ptp(colours, axis=-1).max()) > 0.3  # labels in colour
