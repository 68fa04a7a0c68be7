"""Surface distances against boxes worked out by hand, and against the library whose definition they follow."""

import itertools
import warnings

import numpy as np
import pytest
import surface_distance
from numpy.typing import NDArray

from lodbrain.evaluation.surface import SurfaceDistances, surface_distances

SPACINGS = [(1.0, 1.0, 1.0), (0.5, 1.0, 2.0), (0.7, 0.67, 0.67), (0.9, 0.9, 3.1)]

Box = tuple[tuple[int, int, int], tuple[int, int, int]]


def mask_of(box: Box, shape: tuple[int, int, int] = (24, 22, 20)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(low, high) for low, high in zip(*box, strict=True))] = True
    return mask


def elements_of(box: Box, spacing: tuple[float, float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places (in mm) and areas of a box's surface elements, by hand.

    They are the voxel corners on its surface: on a face the area of a voxel's side; on an edge along x the bevel
    x sqrt((y/2)^2 + (z/2)^2); in a corner the triangle between the middles of three edges, sqrt((xy)^2 + ...) / 8.
    """
    x, y, z = spacing
    places, areas = [], []
    for corner in itertools.product(*(range(low, high + 1) for low, high in zip(*box, strict=True))):
        at_end = [c in (low, high) for c, low, high in zip(corner, *box, strict=True)]
        if not any(at_end):
            continue
        places.append(np.array(corner) * spacing)
        if sum(at_end) == 1:
            areas.append(x * y * z / spacing[at_end.index(True)])
        elif sum(at_end) == 2:
            along = at_end.index(False)
            others = [spacing[axis] for axis in range(3) if axis != along]
            areas.append(spacing[along] * np.hypot(others[0] / 2, others[1] / 2))
        else:
            areas.append(np.sqrt((x * y) ** 2 + (y * z) ** 2 + (x * z) ** 2) / 8)
    return np.array(places), np.array(areas)


def to_box(places: NDArray[np.float64], box: Box, spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Distance of points to the surface of a box: to the nearest face inside, to the clamped point outside."""
    low, high = (np.array(end) * spacing for end in box)
    outside = np.linalg.norm(np.maximum(np.maximum(low - places, places - high), 0), axis=1)
    inside = np.minimum(places - low, high - places).min(axis=1)
    return np.where(outside > 0, outside, np.maximum(inside, 0))


def by_hand(pred: Box, ref: Box, spacing: tuple[float, float, float], tolerance: float) -> tuple[float, float, float]:
    """HD95, ASSD and surface Dice of two boxes."""
    (there, a), (here, b) = elements_of(pred, spacing), elements_of(ref, spacing)
    one, other = to_box(there, ref, spacing), to_box(here, pred, spacing)

    def percentile(distances: NDArray[np.float64], areas: NDArray[np.float64]) -> float:
        order = np.argsort(distances)
        return float(distances[order][np.searchsorted(np.cumsum(areas[order]) / areas.sum(), 0.95)])

    tolerance += 1e-9  # differences of positions are rounded
    near = a[one <= tolerance].sum() + b[other <= tolerance].sum()
    total = a.sum() + b.sum()
    return max(percentile(one, a), percentile(other, b)), float((one @ a + other @ b) / total), float(near / total)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize(
    "other",
    [
        ((5, 4, 3), (15, 12, 13)),  # the same
        ((7, 4, 3), (17, 12, 13)),  # shifted by two voxels
        ((5, 5, 5), (15, 13, 15)),  # shifted along two axes
        ((3, 2, 1), (17, 14, 15)),  # around it
        ((17, 15, 14), (20, 18, 17)),  # beside it
    ],
)
def test_boxes_agree_with_hand_computation(spacing: tuple[float, float, float], other: Box) -> None:
    box: Box = ((5, 4, 3), (15, 12, 13))
    found = surface_distances(mask_of(other), mask_of(box), spacing)
    assert found is not None
    for tolerance in (1.0, max(spacing), 0.3):
        expected = by_hand(other, box, spacing, tolerance)
        assert (found.hausdorff(), found.average(), found.dice(tolerance)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_shell_against_solid_box_agrees_with_hand_computation(spacing: tuple[float, float, float]) -> None:
    """A shell has the solid box's surface and that of its hollow, each element of which has the same area."""
    outer: Box = ((3, 3, 3), (19, 17, 15))
    hollow: Box = ((6, 7, 5), (15, 13, 12))
    solid, shell = mask_of(outer), mask_of(outer) & ~mask_of(hollow)
    found = surface_distances(shell, solid, spacing)
    assert found is not None
    (_, outer_areas), (places, hollow_areas) = elements_of(outer, spacing), elements_of(hollow, spacing)
    away = to_box(places, outer, spacing)
    total = 2 * outer_areas.sum() + hollow_areas.sum()
    assert found.average() == pytest.approx(away @ hollow_areas / total, abs=1e-6)
    near = hollow_areas[away <= 2.0 + 1e-9].sum()
    assert found.dice(2.0) == pytest.approx((2 * outer_areas.sum() + near) / total, abs=1e-6)
    assert found.pred_areas.sum() == pytest.approx(outer_areas.sum() + hollow_areas.sum(), abs=1e-6)
    assert not found.ref_to_pred.any()
    assert found.hausdorff(100) == pytest.approx(away.max(), abs=1e-6)


def test_a_single_voxel_has_the_area_of_eight_triangles() -> None:
    mask = mask_of(((4, 4, 4), (5, 5, 5)))
    found = surface_distances(mask, mask, (1.0, 2.0, 3.0))
    assert found is not None
    assert found.ref_areas.sum() == pytest.approx(np.sqrt(2**2 + 6**2 + 3**2), abs=1e-12)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_random_masks_agree_with_the_library(spacing: tuple[float, float, float]) -> None:
    rng = np.random.default_rng(3)
    for density in (0.02, 0.3, 0.7):
        pred, ref = rng.random((2, 9, 11, 10)) < density
        found = surface_distances(pred, ref, spacing)
        with warnings.catch_warnings():  # it calls names of SciPy that are deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            theirs = surface_distance.compute_surface_distances(ref, pred, spacing)
        assert found is not None
        for mine, name in (
            (found.pred_to_ref, "distances_pred_to_gt"),
            (found.ref_to_pred, "distances_gt_to_pred"),
        ):
            np.testing.assert_allclose(mine, theirs[name], atol=1e-12)
        assert found.hausdorff() == pytest.approx(surface_distance.compute_robust_hausdorff(theirs, 95), abs=1e-12)
        average = (
            theirs["distances_gt_to_pred"] @ theirs["surfel_areas_gt"]
            + theirs["distances_pred_to_gt"] @ theirs["surfel_areas_pred"]
        ) / (theirs["surfel_areas_gt"].sum() + theirs["surfel_areas_pred"].sum())
        assert found.average() == pytest.approx(average, abs=1e-9)
        for tolerance in (0.5, *spacing):
            dice = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
            assert found.dice(tolerance) == pytest.approx(dice, abs=1e-9)


def test_a_shift_of_one_voxel_is_within_one_voxel_whatever_its_size() -> None:
    box = mask_of(((4, 4, 4), (12, 12, 12)))
    for side in (0.6, 0.7, 0.67, 1 / 3):
        found = surface_distances(np.roll(box, 1, axis=0), box, (side, side, side))
        assert found is not None
        assert found.dice(side) == 1.0


def test_cropping_and_swapping_change_nothing() -> None:
    one, other = mask_of(((4, 4, 4), (12, 12, 9))), mask_of(((5, 4, 4), (13, 11, 12)))
    whole, cropped = (surface_distances(a, b, (0.5, 1, 2)) for a, b in ((one, other), (one[4:13], other[4:13])))
    swapped = surface_distances(other, one, (0.5, 1, 2))
    assert isinstance(whole, SurfaceDistances)
    assert isinstance(cropped, SurfaceDistances)
    assert isinstance(swapped, SurfaceDistances)
    assert whole.average() == pytest.approx(cropped.average(), abs=1e-12)
    assert whole.hausdorff() == swapped.hausdorff()
    assert whole.dice(0.5) == pytest.approx(swapped.dice(0.5), abs=1e-12)


def test_an_empty_mask_has_no_distances() -> None:
    box = mask_of(((4, 4, 4), (6, 6, 6)))
    assert surface_distances(box, box & False, (1, 1, 1)) is None
    assert surface_distances(box & False, box, (1, 1, 1)) is None


def test_bad_arguments_are_named() -> None:
    box = mask_of(((4, 4, 4), (6, 6, 6)))
    with pytest.raises(ValueError, match="one shape"):
        surface_distances(box, box[1:], (1, 1, 1))
    with pytest.raises(ValueError, match="three positive numbers"):
        surface_distances(box, box, (1, 0, 1))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI calls itself by an old name
def test_monai_agrees_on_surface_dice_with_subvoxels_and_not_on_distances() -> None:
    """MONAI weighs surface Dice by area if asked; its distances count boundary voxels, each the same."""
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    pred, ref, spacing = mask_of(((3, 2, 1), (17, 14, 15))), mask_of(((5, 4, 3), (15, 12, 13))), (0.5, 1.0, 2.0)
    found = surface_distances(pred, ref, spacing)
    assert found is not None
    p, r = (torch.from_numpy(np.stack([~m, m])[None].astype(np.float32)) for m in (pred, ref))
    theirs = compute_surface_dice(p, r, [1.0], spacing=spacing, use_subvoxels=True).item()
    assert theirs == pytest.approx(found.dice(1.0), abs=1e-6)
    average = compute_average_surface_distance(p, r, symmetric=True, spacing=spacing).item()
    hausdorff = compute_hausdorff_distance(p, r, percentile=95, spacing=spacing).item()
    assert abs(average - found.average()) > 0.05
    assert hausdorff >= found.hausdorff()
