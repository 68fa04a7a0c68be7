from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
import torch

from lodbrain.inference import lod_brain_2024_volume as inference
from lodbrain.inference.lod_brain_2024_volume import (
    as_lia,
    padded_shape,
    peak_memory_bytes,
    predict_lod_brain_2024,
    tissue_posteriors,
)
from lodbrain.inference.tiling import Box
from lodbrain.models import zoo
from lodbrain.models.lod_brain_2024 import LodBrain2024

WHOLE = ((0, 20), (0, 30), (0, 17))


@pytest.fixture
def scan() -> np.ndarray:
    """A ball of 1000 on noise in (20, 30, 17), off centre so that every flip shows."""
    x, y, z = np.ogrid[:20, :30, :17]
    ball = (x - 6) ** 2 + (y - 20) ** 2 + (z - 5) ** 2 < 16
    return (1000 * ball + 50 * np.random.default_rng(2).random(ball.shape)).astype(np.float32)


@pytest.fixture
def small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """32^3 in place of 256^3."""
    monkeypatch.setattr(inference, "SIDE", 32)


def published(scan: np.ndarray, side: tuple[int, int, int], network: LodBrain2024) -> torch.Tensor:
    """Posteriors (7, X, Y, Z) in RAS order, step by step as published, with one plain forward pass."""
    lia = np.flip(scan, (0, 2)).transpose(0, 2, 1)
    low = [(s - n) // 2 for s, n in zip(side, lia.shape, strict=True)]
    grid = np.pad(lia, [(a, s - n - a) for a, s, n in zip(low, side, lia.shape, strict=True)])
    x = torch.tensor((grid - grid.mean()) / grid.std(), dtype=torch.float32)
    with torch.inference_mode():
        posteriors = network(x[None, None])[0].softmax(0)
    a, b, c = (slice(lo, lo + n) for lo, n in zip(low, lia.shape, strict=True))
    return posteriors[:, a, b, c].permute(0, 1, 3, 2).flip(1, 3)


@pytest.mark.usefixtures("small_grid")
def test_prediction_is_that_of_the_published_steps(lod_brain_2024: LodBrain2024, scan: np.ndarray) -> None:
    expected = published(scan, (32, 32, 32), lod_brain_2024)
    result = predict_lod_brain_2024(lod_brain_2024, scan, box=WHOLE, posteriors=True)
    assert result.posteriors is not None
    assert result.posteriors.dtype == np.float16
    np.testing.assert_allclose(result.posteriors, expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(result.soft_volume_vox, expected.sum((1, 2, 3)), rtol=3e-4)  # statistics of a sample
    assert result.classes.dtype == np.uint8
    assert np.mean(result.classes == expected.argmax(0).numpy()) > 0.999
    assert len(np.unique(result.classes)) > 2


@pytest.mark.usefixtures("small_grid")
def test_volume_beyond_the_published_grid_is_not_cropped(lod_brain_2024: LodBrain2024, scan: np.ndarray) -> None:
    large = np.tile(scan, (2, 1, 1))  # 40 voxels on a side of 32: the grid grows to 40
    expected = published(large, (40, 32, 32), lod_brain_2024)
    result = predict_lod_brain_2024(lod_brain_2024, large, box=((0, 40), (0, 30), (0, 17)))
    assert result.classes.shape == (40, 30, 17)
    assert np.mean(result.classes == expected.argmax(0).numpy()) > 0.999
    assert result.soft_volume_vox.sum() == pytest.approx(large.size, rel=1e-5)
    assert result.posteriors is None


@pytest.mark.usefixtures("small_grid")
def test_scale_and_layout_of_the_scan_do_not_change_the_classes(lod_brain_2024: LodBrain2024, scan: np.ndarray) -> None:
    expected = predict_lod_brain_2024(lod_brain_2024, scan, box=WHOLE).classes
    np.testing.assert_array_equal(predict_lod_brain_2024(lod_brain_2024, scan * 4, box=WHOLE).classes, expected)
    np.testing.assert_array_equal(
        predict_lod_brain_2024(lod_brain_2024, np.asfortranarray(scan), box=WHOLE).classes, expected
    )


@pytest.mark.usefixtures("small_grid")
def test_progress_ends_at_one(lod_brain_2024: LodBrain2024, scan: np.ndarray) -> None:
    told: list[float] = []
    predict_lod_brain_2024(lod_brain_2024, scan, progress=lambda fraction, text: told.append(fraction))
    assert told == sorted(told)
    assert told[-1] == 1.0


@pytest.mark.usefixtures("small_grid")
def test_constant_volume_is_refused(lod_brain_2024: LodBrain2024) -> None:
    with pytest.raises(ValueError, match=r"data must vary, got 0\.0 throughout"):
        predict_lod_brain_2024(lod_brain_2024, np.zeros((8, 8, 8), np.float32))


def test_writing_through_the_lia_view_is_the_way_back() -> None:
    ras = np.zeros((2, 3, 4), np.uint8)
    as_lia(ras)[0, 1, 2] = 7  # L: x from the right end; I: z from the top; A: y
    assert ras[1, 2, 2] == 7
    assert as_lia(ras).shape == (2, 4, 3)


def test_padded_grid_is_256_or_the_next_multiple_of_8() -> None:
    assert padded_shape((1, 256, 257)) == (256, 256, 264)


def test_memory_grows_with_the_grid_and_the_box_and_shrinks_with_the_dtype() -> None:
    whole, box = (256, 256, 256), ((50, 200), (30, 220), (60, 220))
    needed = peak_memory_bytes(whole, box=box)
    assert peak_memory_bytes((256, 256, 300), box=box) > needed
    assert peak_memory_bytes(whole) > 1.4 * needed
    assert peak_memory_bytes(whole, dtype=torch.bfloat16, box=box) < 0.9 * needed


@pytest.mark.usefixtures("small_grid")
@pytest.mark.parametrize("box", [WHOLE, ((3, 12), (8, 29), (2, 13))])
def test_posteriors_of_a_box_are_those_of_the_prediction(
    lod_brain_2024: LodBrain2024, scan: np.ndarray, box: Box
) -> None:
    expected = predict_lod_brain_2024(lod_brain_2024, scan, box=box, posteriors=True)
    found = tissue_posteriors(lod_brain_2024, scan, box).numpy()
    assert expected.posteriors is not None
    inside = tuple(slice(*span) for span in box)
    np.testing.assert_array_equal(found, expected.posteriors[(slice(None), *inside)])
    beyond = np.ones(scan.shape, bool)
    beyond[inside] = False
    assert (expected.posteriors[0][beyond] == 1).all()
    assert not expected.classes[beyond].any()
    assert expected.soft_volume_vox.sum() == pytest.approx(scan.size, rel=1e-6)


@pytest.mark.data
@pytest.mark.long
def test_dev_scan_is_segmented_as_by_an_independent_implementation(data_dir: Path, peers: ModuleType) -> None:
    if psutil.virtual_memory().available < 14 * 2**30:
        pytest.skip("the other implementation needs 12.2 GiB")
    import nibabel as nib

    image = nib.load(data_dir / "dev" / "malc-1000_T1w.nii.gz")
    reference = peers.LodBrain(str(data_dir / "peers" / "lod-brain-2024" / "weights_lv1.h5"))
    grid, undo = peers.conform(image)
    with torch.inference_mode():
        expected = undo(
            reference(torch.tensor(reference.prepare(grid))[None, None]).argmax(1)[0].to(torch.uint8).numpy()
        )
    canonical = nib.as_closest_canonical(image)
    _, network = zoo.load("lod-brain-2024")
    assert isinstance(network, LodBrain2024)
    result = predict_lod_brain_2024(network, np.asarray(canonical.dataobj, np.float32)).classes
    back = nib.orientations.ornt_transform(nib.io_orientation(canonical.affine), nib.io_orientation(image.affine))
    result = nib.orientations.apply_orientation(result, back)
    for tissue in range(7):
        a, b = result == tissue, expected == tissue
        assert 2 * np.sum(a & b) / (a.sum() + b.sum()) >= 0.995, f"class {tissue}"
