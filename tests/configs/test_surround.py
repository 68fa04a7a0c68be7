import numpy as np
import pytest
from brain_maps import surround

from lodbrain.errors import InputError
from lodbrain.images.image import Image

SKIN, BONE = 511, 515


def ellipsoid(shape: tuple[int, int, int], centre: list[float], radii: list[float], turn: float = 0.0) -> np.ndarray:
    """Which voxels lie inside of an ellipsoid turned about z."""
    at = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")) - np.reshape(
        centre, (3, 1, 1, 1)
    )
    c, s = np.cos(turn), np.sin(turn)
    x, y = c * at[0] + s * at[1], -s * at[0] + c * at[1]
    return (x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (at[2] / radii[2]) ** 2 < 1


def head() -> Image:
    shape, centre = (60, 72, 64), [29.0, 36.0, 31.0]
    labels = np.zeros(shape, np.int16)
    for value, grown in ((SKIN, 9.0), (BONE, 6.0), (24, 3.0), (3, 0.0), (2, -5.0)):
        labels[ellipsoid(shape, centre, [16 + grown, 22 + grown, 14 + grown])] = value
    return Image(labels, np.diag([3.0, 3.0, 3.0, 1.0]))


def brain(turn: float = 0.0) -> Image:
    shape = (44, 52, 40)
    labels = np.zeros(shape, np.int16)
    labels[ellipsoid(shape, [20, 27, 19], [12, 17, 11], turn)] = 42
    labels[ellipsoid(shape, [20, 27, 19], [8, 13, 7], turn)] = 41
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = 5, -7, 11
    return Image(labels, affine)


@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_the_brain_keeps_its_labels_and_place_and_gets_csf_bone_and_skin(turn: float) -> None:
    inner = brain(turn)
    whole = surround(inner, head())
    at = np.argwhere(inner.data > 0)
    mm = at @ inner.affine[:3, :3].T + inner.affine[:3, 3]
    moved = np.rint(np.linalg.solve(whole.affine[:3, :3], (mm - whole.affine[:3, 3]).T).T).astype(int)
    np.testing.assert_array_equal(whole.data[tuple(moved.T)], inner.data[tuple(at.T)])
    assert np.count_nonzero(np.isin(whole.data, (41, 42))) == len(at)
    assert set(np.unique(whole.data).tolist()) == {0, 24, 41, 42, BONE, SKIN}


@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_along_every_ray_from_the_brain_come_csf_bone_and_skin_in_this_order(turn: float) -> None:
    whole = surround(brain(turn), head()).data
    centre = np.argwhere(whole > 0).mean(0).round().astype(int)
    for axis in range(3):
        line = np.moveaxis(whole, axis, 0)[:, *np.delete(centre, axis)]
        outward = line[np.flatnonzero(np.isin(line, (41, 42)))[-1] + 1 :]
        order = [int(v) for i, v in enumerate(outward) if i == 0 or v != outward[i - 1]]
        assert order[:3] == [24, BONE, SKIN]


def test_half_a_brain_is_refused() -> None:
    half = brain()
    half.data[:, 27:] = 0
    half.data[:20, :20] = 0
    with pytest.raises(InputError, match=r"half\.nii: its brain overlaps"):
        surround(half, head(), name="half.nii")
