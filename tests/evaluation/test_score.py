"""One label map against another: the table of edge cases, sides, notes, the whole against single masks."""

import math

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.evaluation.overlap import count
from lodbrain.evaluation.score import METRICS, PairScore, ScoreRow, score_pair
from lodbrain.evaluation.surface import surface_distances
from lodbrain.evaluation.tables import BRAIN_TABLE, FREESURFER_TABLE, STRUCTURES_TABLE, TISSUE_TABLE, LabelTable
from lodbrain.images.image import Image
from lodbrain.labels import STRUCTURES

SPACING = (0.6, 0.7, 1.1)
AFFINE = np.diag([*SPACING, 1.0])


def image(**boxes: tuple[int, int]) -> Image:
    """A label map with slabs along the first axis: label_10=(2, 5)."""
    labels = np.zeros((16, 9, 8), np.int16)
    for name, (start, stop) in boxes.items():
        labels[start:stop, 2:7, 2:6] = int(name.removeprefix("label_"))
    return Image(labels, AFFINE)


def score(pred: Image, ref: Image, table: LabelTable = STRUCTURES_TABLE, **options: bool | int) -> PairScore:
    return score_pair(pred, ref, case="sub-1", pred_table=table, ref_table=table, **options)  # type: ignore[arg-type]


def row_of(found: PairScore, region: str, side: str = "left") -> ScoreRow:
    (row,) = [row for row in found.rows if (row.region, row.side) == (region, side) and row.level != "tissue"]
    return row


def test_metrics_are_those_of_the_single_masks() -> None:
    rng = np.random.default_rng(0)
    pred, ref = (Image(rng.choice([0, 10, 49, 11], (8, 9, 10)).astype(np.int16), AFFINE) for _ in range(2))
    found = score(pred, ref, threads=2)
    for region, side, labels in (("Thalamus", "left", [10]), ("Thalamus", "both", [10, 49])):
        masks = np.isin(pred.data, labels), np.isin(ref.data, labels)
        distances, counts, row = surface_distances(*masks, SPACING), count(*masks), row_of(found, region, side)
        assert distances is not None
        assert row.status == "both"
        assert row.dice == counts.dice
        assert row.volume_similarity == counts.volume_similarity
        assert row.hd95_mm == pytest.approx(distances.hausdorff(), abs=1e-9)
        assert row.assd_mm == pytest.approx(distances.average(), abs=1e-9)
        assert row.nsd_1vox == pytest.approx(distances.dice(1.1001), abs=1e-9)
        assert row.nsd_1mm == pytest.approx(distances.dice(1.0001), abs=1e-9)
        assert row.pred_volume_mm3 == pytest.approx(counts.pred * 0.6 * 0.7 * 1.1)


@pytest.mark.parametrize(
    ("pred", "ref", "status", "dice", "similarity", "distance", "surface_dice"),
    [
        ({"label_10": (2, 5)}, {"label_10": (2, 5)}, "both", 1, 1, 0, 1),
        ({"label_10": (2, 5)}, {"label_10": (9, 12)}, "both", 0, 1, 4.2, 0),
        ({}, {"label_10": (2, 5)}, "missed", 0, 0, None, 0),
        ({"label_10": (2, 5)}, {}, "invented", 0, 0, None, 0),
        ({}, {}, "absent", None, None, None, None),
    ],
)
def test_edge_cases_follow_the_table_of_the_documentation(
    pred: dict[str, tuple[int, int]],
    ref: dict[str, tuple[int, int]],
    status: str,
    dice: float | None,
    similarity: float | None,
    distance: float | None,
    surface_dice: float | None,
) -> None:
    row = row_of(score(image(**pred), image(**ref)), "Thalamus")
    assert row.status == status
    for value, expected in (
        (row.dice, dice),
        (row.volume_similarity, similarity),
        (row.hd95_mm, distance),
        (row.nsd_1vox, surface_dice),
        (row.nsd_1mm, surface_dice),
    ):
        assert math.isnan(value) if expected is None else value == pytest.approx(expected)
    assert math.isnan(row.assd_mm) == (distance is None)


def test_maps_without_any_label_give_rows_without_values() -> None:
    found = score(image(), image())
    assert {row.status for row in found.rows} == {"absent"}
    assert all(math.isnan(getattr(row, metric)) for row in found.rows for metric in METRICS)


def test_a_structure_on_the_wrong_side_is_missed_there_and_right_when_merged() -> None:
    found = score(image(label_49=(2, 5)), image(label_10=(2, 5)))
    assert row_of(found, "Thalamus", "left").status == "missed"
    assert row_of(found, "Thalamus", "right").status == "invented"
    assert row_of(found, "Thalamus", "both").dice == 1


def test_what_has_no_side_gets_that_of_the_nearest_voxel_with_one() -> None:
    ref = image(label_2=(2, 5), label_41=(9, 12), label_251=(5, 9))
    pred = image(label_2=(2, 7), label_41=(7, 12))
    found = score(pred, ref, FREESURFER_TABLE)
    assert row_of(found, "Cerebral-White-Matter", "left").dice == 1
    assert row_of(found, "Cerebral-White-Matter", "right").dice == 1
    assert "80 voxels of Cerebral-White-Matter have no side in the reference" in found.notes[0]
    assert set(np.unique(ref.data)) == {0, 2, 41, 251}  # the input is left alone


def test_structures_are_scored_against_tissues_and_masks_on_what_both_know() -> None:
    structures, tissue, brain = image(label_10=(2, 5), label_24=(6, 8)), image(label_2=(2, 5)), image(label_1=(2, 5))
    found = score_pair(structures, tissue, pred_table=STRUCTURES_TABLE, ref_table=TISSUE_TABLE)
    assert {row.region: row.dice for row in found.rows if row.status == "both"} == {"Basal-Ganglia": 1, "Brain": 1}
    found = score_pair(structures, brain, pred_table=STRUCTURES_TABLE, ref_table=BRAIN_TABLE)
    assert [(row.region, row.dice) for row in found.rows] == [("Brain", 1.0)]


def test_unknown_labels_are_noted() -> None:
    found = score(image(label_10=(2, 5), label_99=(6, 7)), image(label_10=(2, 5)))
    assert found.notes == (
        "Labels 99 of the prediction (20 voxels) are not in the table structures: they count as background.",
    )


def test_overlap_alone_leaves_all_distances_out() -> None:
    row = row_of(score(image(label_10=(2, 5)), image(label_10=(3, 6)), surfaces=False), "Thalamus")
    assert row.dice == pytest.approx(2 / 3)
    assert all(math.isnan(value) for value in (row.hd95_mm, row.assd_mm, row.nsd_1vox, row.nsd_1mm))


def test_one_voxel_off_is_within_tolerance_whatever_float32_made_of_the_spacing() -> None:
    affine = np.diag(np.float32([1.0000001, 0.99999994, 1.0000001, 1])).astype(np.float64)
    labels = np.zeros((12, 12, 12), np.int16)
    labels[3:8, 3:8, 3:8] = 10
    found = score(Image(np.roll(labels, 1, 0), affine), Image(labels, affine))
    assert row_of(found, "Thalamus").nsd_1vox == row_of(found, "Thalamus").nsd_1mm == 1


def test_axes_in_another_order_are_the_same_map() -> None:
    ref = image(label_10=(2, 5), label_49=(9, 12))
    turned = AFFINE[:, [2, 0, 1, 3]].copy()
    turned[:3, 1] *= -1
    turned[0, 3] = 15 * 0.6
    pred = Image(ref.data.transpose(2, 0, 1)[:, ::-1], turned)
    found = score(pred, ref)
    assert row_of(found, "Thalamus", "left").dice == 1
    assert found.notes == ("The prediction's axes were turned into the order of the reference's.",)


def test_another_grid_is_refused_and_resampled_when_asked() -> None:
    ref = image(label_10=(2, 8))
    fine = Image(np.repeat(ref.data, 2, axis=0), np.diag([0.3, 0.7, 1.1, 1.0]))
    fine.affine[0, 3] = -0.15  # both grids cover the same space
    with pytest.raises(InputError, match=r"its grid is 32 x 9 x 8 of 0.3 x 0.7 x 1.1 mm .*--resample"):
        score(fine, ref)
    found = score(fine, ref, resample=True)
    assert row_of(found, "Thalamus").dice == 1
    assert "resampled by nearest voxels" in found.notes[0]


def test_a_grid_that_lies_elsewhere_is_refused() -> None:
    ref = image(label_10=(2, 8))
    moved = AFFINE.copy()
    moved[1, 3] = 0.5
    with pytest.raises(InputError, match="its grid is"):
        score(Image(ref.data, moved), ref)


def test_a_reference_drawn_in_part_is_noted() -> None:
    everything = np.zeros((40, 9, 8), np.int16)
    for place, label in enumerate(STRUCTURES[1:]):
        everything[place] = label.index
    pred = Image(everything, AFFINE)
    ref = Image(np.where(np.isin(everything, [2, 3, 41, 42]), everything, 0), AFFINE)
    assert score(pred, ref).notes[0].startswith("The reference lacks 28 of 32 structures")
    hemispheres = FREESURFER_TABLE.restricted([2, 3, 41, 42])
    found = score_pair(pred, ref, pred_table=STRUCTURES_TABLE, ref_table=hemispheres)
    assert found.notes == ()
    assert {row.dice for row in found.rows} == {1.0}
