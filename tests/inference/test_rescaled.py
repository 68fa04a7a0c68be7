"""A scan stored with another offset, gain or background has the same segmentation."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_model
import torch
from rescaled import LINEAR, OTHERS, RESCALED, mean_dice

from lodbrain.images import read_image
from lodbrain.inference.predict import predict
from lodbrain.models import zoo
from lodbrain.segmentation.scan import segment

LEAST_DICE = 0.98


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model.save_tiny_model(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


def masked_head() -> np.ndarray:
    """The tiny head before a background of 0, int16."""
    head = tiny_model.head()
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in head.shape), indexing="ij")
    return np.where(x**2 + y**2 + z**2 > 1.1, 0, head).astype(np.int16)


@pytest.mark.parametrize("name", LINEAR)
def test_gain_and_offset_change_no_label(name, model):
    for head in (tiny_model.head(), masked_head()):
        plain = segment(head, affine=tiny_model.AFFINE, model=model).labels
        changed = segment(LINEAR[name](head), affine=tiny_model.AFFINE, model=model).labels
        assert (changed == plain).mean() > 0.999


@pytest.mark.parametrize("name", OTHERS)
def test_background_and_rounding_change_few_labels(name, model):
    head = masked_head()
    plain = segment(head, affine=tiny_model.AFFINE, model=model).labels
    changed = segment(OTHERS[name](head), affine=tiny_model.AFFINE, model=model).labels
    assert (changed == plain)[head > 0].mean() > 0.95


def test_sheared_scan_is_blackened_before_it_is_interpolated(model):
    affine = tiny_model.AFFINE.copy()
    affine[:3, 1] += 0.2 * affine[:3, 0]
    head = masked_head()
    plain = segment(head, affine=affine, model=model)
    changed = segment(OTHERS["background 0.5 x bright"](head), affine=affine, model=model)
    assert (changed.labels == plain.labels)[head > 0].mean() > 0.95
    assert sum("The background" in note for note in changed.notes) == 1


@pytest.mark.parametrize("name", ["whole scan - 1024", "background 0.5 x bright"])
def test_network_that_pads_with_0_gets_a_scan_whose_black_is_0(name, monkeypatch):
    seen = []

    def network(_: object, data: np.ndarray, **__: object) -> object:
        seen.append(data)
        raise StopIteration

    monkeypatch.setattr("lodbrain.inference.lod_brain_2024_volume.predict_lod_brain_2024", network)
    head = masked_head()
    for scan in (head, RESCALED[name](head)):
        with pytest.raises(StopIteration):
            predict(scan.astype(np.float32), (6, 6, 6), card=zoo.card("lod-brain-2024"), network=torch.nn.Identity())
    np.testing.assert_allclose(seen[0], head)
    np.testing.assert_allclose(seen[1], head, atol=10)
    assert seen[1].min() == 0


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("scan", "first", "step"),
    [
        # Each way is tried on one of two heads; on all heads by hand, since that takes many minutes.
        ("philips_1mm", 0, 2),
        ("stripped_0.8mm", 1, 2),
        *(
            pytest.param(scan, 0, 1, marks=pytest.mark.long)
            for scan in ("philips_1mm", "studyforrest_0.67mm", "stripped_0.8mm")
        ),
    ],
)
def test_real_scan_stored_in_other_ways_has_the_same_segmentation(scan, first, step, data_dir):
    image = read_image(data_dir / "heads" / f"{scan}_T1w.nii.gz")
    plain = segment(image.data, affine=image.affine).labels
    dice = {
        name: mean_dice(segment(RESCALED[name](image.data), affine=image.affine).labels, plain)
        for name in list(RESCALED)[first::step]
    }
    assert len(dice) >= 8
    assert {name: value for name, value in dice.items() if value < LEAST_DICE} == {}
