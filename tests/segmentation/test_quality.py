import json
from pathlib import Path

import numpy as np
import pytest

from lodbrain.labels import CLASS_OF_INDEX, INDEX_OF_CLASS, STRUCTURES, TISSUES
from lodbrain.segmentation import quality as module
from lodbrain.segmentation.predicted_dice import SIGNS, DiceFit
from lodbrain.segmentation.quality import Quality, assess, load_reference

CORTEX, WHITE = CLASS_OF_INDEX[3], CLASS_OF_INDEX[2]
RIGHT_CORTEX, RIGHT_WHITE = CLASS_OF_INDEX[42], CLASS_OF_INDEX[41]


def judge(classes: np.ndarray, certainty: np.ndarray | None = None, voxel_mm: float = 1.0) -> Quality:
    sides = (voxel_mm, voxel_mm, voxel_mm)
    return assess(classes, certainty, model_labels="structures", spacing_mm=sides, known={"moved_share": 0.01})


def halves(n: int = 12) -> np.ndarray:
    """(n, n, n) uint8: cortex around white matter, a left and a right half, with a margin."""
    classes = np.zeros((n, n, n), np.uint8)
    classes[2:-2, 2:-2, 2:-2] = CORTEX
    classes[4:-4, 4:-4, 4:-4] = WHITE
    right = classes[n // 2 :]
    right[right == CORTEX], right[right == WHITE] = RIGHT_CORTEX, RIGHT_WHITE
    return classes


def test_confidence_is_the_mean_over_the_brain_and_the_least_over_its_tissues() -> None:
    classes = np.zeros((6, 1, 1), np.uint8)
    classes[:, 0, 0] = [0, CORTEX, CORTEX, WHITE, WHITE, CLASS_OF_INDEX[24]]
    certainty = np.array([255, 255, 51, 255, 255, 0], np.uint8).reshape(6, 1, 1)
    measures = judge(classes, certainty).measures
    assert measures["confidence"] == pytest.approx((1 + 0.2 + 1 + 1) / 4, abs=1e-4)
    assert measures["least_confidence"] == 0  # a tissue that is missing altogether
    classes = np.concatenate([np.full((2, 1, 1), CLASS_OF_INDEX[n], np.uint8) for n in (3, 10, 2, 4, 8, 16)])
    certainty = np.repeat([255, 204, 153, 255, 255, 255], 2).astype(np.uint8).reshape(12, 1, 1)
    assert judge(classes, certainty).measures["least_confidence"] == pytest.approx(0.6, abs=1e-4)


def test_entropy_counts_voxels_of_the_brain_beside_another_class_only() -> None:
    classes = np.zeros((7, 1, 1), np.uint8)
    classes[1:6] = CORTEX
    certainty = np.array([255, 128, 0, 0, 0, 255, 128], np.uint8).reshape(7, 1, 1)
    # voxels 1 and 5 lie at a border: one bit, and none
    assert judge(classes, certainty).measures["border_entropy"] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_borders_are_seen_along_every_axis(axis: int) -> None:
    classes = np.zeros((4, 4, 4), np.uint8)
    classes[1:3, 1:3, 1:3] = CORTEX
    classes = np.moveaxis(classes, 0, axis)
    assert sum(int((module._borders(classes, x) & (classes[x] > 0)).sum()) for x in range(4)) == 8


def test_without_certainty_shape_alone_is_judged_and_there_is_no_score() -> None:
    found = judge(halves())
    assert set(found.measures) == {"brain_ml", "moved_share", "volume_misfit", "asymmetry", "cut_mm2"}
    assert found.score is None


def test_volume_outside_of_its_range_is_a_reason_in_words() -> None:
    low, high = load_reference()["ranges_ml"]["structures"]["Cerebral-White-Matter"]
    classes = halves(40)
    found = judge(classes, voxel_mm=1.0)
    ml = float((classes == WHITE).sum()) / 1000
    assert f"Left-Cerebral-White-Matter: {ml:.3g} ml, outside of {low:.3g} to {high:.3g} ml" in found.reasons
    assert found.measures["volume_misfit"] > 1
    large = judge(classes, voxel_mm=(1000 * low * 1.5 / (classes == WHITE).sum()) ** (1 / 3))
    assert not any(reason.startswith("Left-Cerebral-White-Matter") for reason in large.reasons)


def test_unequal_sides_are_a_reason() -> None:
    classes = halves(20)
    assert judge(classes).measures["asymmetry"] == 0
    classes[classes == RIGHT_WHITE] = 0
    found = judge(classes)
    assert "Cerebral-White-Matter: sides differ by 200%, more than 14%" in found.reasons
    assert found.measures["asymmetry"] > 0.1


def test_brain_at_the_edge_of_the_scan_is_cut_off() -> None:
    classes = np.zeros((30, 30, 30), np.uint8)
    classes[2:28, 2:28, 5:] = CORTEX
    found = judge(classes)
    assert found.measures["cut_mm2"] == 26 * 26
    assert "the brain reaches the upper edge of the scan over 7 cm2: it may be cut off" in found.reasons
    assert judge(classes[..., :-1], voxel_mm=0.5).measures["cut_mm2"] == 26 * 26 / 4
    assert not any("edge" in reason for reason in judge(classes[..., :-1], voxel_mm=0.5).reasons)


def test_members_that_disagree_over_much_of_the_brain_are_a_reason() -> None:
    def reasons(disagreement: float) -> list[str]:
        sides, known = (1.0, 1.0, 1.0), {"disagreement": disagreement}
        found = assess(halves(), None, model_labels="structures", spacing_mm=sides, known=known)
        return [reason for reason in found.reasons if "members" in reason]

    assert reasons(0.1) == []
    assert reasons(0.41) == ["the model's members see different tissues in 41% of the brain"]


def test_feature_beyond_its_limit_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = {**load_reference()}
    content["score"] = {
        "intercept": 0.0,
        "weights": {"confidence": 1.0},
        "limits": {"confidence": [0.8, "low confidence over the brain"]},
    }
    (tmp_path / "quality.json").write_text(json.dumps(content))
    monkeypatch.setattr(module, "REFERENCE", tmp_path / "quality.json")
    load_reference.cache_clear()
    try:
        classes = halves()
        unsure = judge(classes, np.full(classes.shape, 102, np.uint8))
        assert "low confidence over the brain (confidence 0.4, limit 0.8)" in unsure.reasons
        assert unsure.score == pytest.approx(0.4)
        sure = judge(classes, np.full(classes.shape, 255, np.uint8))
        assert not any("low confidence" in reason for reason in sure.reasons)
    finally:
        load_reference.cache_clear()


def test_fit_of_the_model_comes_before_the_packages() -> None:
    classes = halves()
    certainty = np.full(classes.shape, 51, np.uint8)
    own = DiceFit(0.5, {"confidence": 1.0}, limits={"confidence": (0.1, "low confidence over the brain")})
    found = assess(
        classes, certainty, model_labels="structures", spacing_mm=(1, 1, 1), known={"moved_share": 0.01}, fit=own
    )
    assert found.score == pytest.approx(0.7)
    assert not any("low confidence" in reason for reason in found.reasons)
    assert any("low confidence" in reason for reason in judge(classes, certainty).reasons)


def test_fit_that_lacks_a_measure_gives_way_to_the_packages() -> None:
    fit = DiceFit(5.0, {"disagreement": -1.0})
    classes, certainty = np.full((4, 4, 4), 1, np.uint8), np.full((4, 4, 4), 200, np.uint8)
    scores = [
        assess(
            classes,
            certainty,
            model_labels="structures",
            spacing_mm=(9.0, 9.0, 9.0),
            known={"moved_share": 0.0},
            fit=one,
        ).score
        for one in (fit, None)
    ]
    assert scores[0] == scores[1] is not None


def test_shipped_reference_covers_every_structure_and_tissue() -> None:
    reference = load_reference()
    names = {label.name.removeprefix("Left-").removeprefix("Right-") for label in STRUCTURES[1:]}
    assert set(reference["ranges_ml"]["structures"]) == names
    assert set(reference["ranges_ml"]["tissue"]) == {label.name for label in TISSUES[1:]}
    assert set(reference["asymmetry"]) == {label.name[5:] for label in STRUCTURES if label.side == "left"}
    assert all(low < high for ranges in reference["ranges_ml"].values() for low, high in ranges.values())
    if reference["score"]:
        assert set(reference["score"]["weights"]) == set(SIGNS) - {"disagreement"}


@pytest.mark.data
@pytest.mark.slow
def test_shipped_ranges_are_those_of_the_twenty_maps_widened(data_dir: Path) -> None:
    from lodbrain.images import read_labels
    from lodbrain.synthesis.label_map import TARGET_OF_OTHER

    reference = load_reference()
    found: dict[str, list[float]] = {}
    for path in sorted((data_dir / "labelmaps").glob("training_seg_*.nii.gz")):
        image = read_labels(path)
        table = np.arange(int(image.data.max()) + 1)
        for other, target in TARGET_OF_OTHER.items():
            table[other : other + 1] = target
        counts = np.bincount(table[image.data].ravel()) * image.voxel_volume_mm3 / 1000
        for index, label in zip(INDEX_OF_CLASS[1:].tolist(), STRUCTURES[1:], strict=True):
            found.setdefault(label.name.removeprefix("Left-").removeprefix("Right-"), []).append(counts[index])
    fluid = ("Lateral-Ventricle", "Inf-Lat-Vent", "3rd-Ventricle", "4th-Ventricle", "CSF")
    for name, values in found.items():
        wider = reference["widened"]["fluid" if name in fluid else "tissue"]
        expected = [min(values) / wider, max(values) * wider]
        assert reference["ranges_ml"]["structures"][name] == pytest.approx(expected, rel=0.006), name
