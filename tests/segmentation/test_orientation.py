"""Turned copies of a scan: which of them shows a brain, and what is said of the header."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lodbrain.errors import InputError
from lodbrain.images import read_image, to_ras
from lodbrain.images.grid import Reorientation
from lodbrain.inference.prediction import CoarseView
from lodbrain.segmentation import orientation
from lodbrain.segmentation.orientation import axis_codes, find_orientation, rotations, second_look
from lodbrain.segmentation.quality import Quality
from lodbrain.segmentation.scan import segment

AS_IT_IS = Reorientation((0, 1, 2), (False, False, False))
#: A corner of its own on each axis: bright at the right, the front and the top.
MARKED = np.fromfunction(lambda x, y, z: x + 10.0 * y + 100.0 * z, (4, 5, 6)).astype(np.float32)


def quality(misfit: float = 1.0, cut_mm2: float = 0.0, brain_ml: float = 1000.0) -> Quality:
    return Quality(0.4, {"volume_misfit": misfit, "cut_mm2": cut_mm2, "brain_ml": brain_ml}, ("odd",))


@dataclass
class Fake:
    """Supports a brain in the copy that has `MARKED`'s order only."""

    best: float = 0.7
    rest: float = 0.3

    def __call__(self, view: CoarseView, turn: Reorientation) -> tuple[float, float]:
        upright = np.array_equal(turn.apply(view.image), MARKED)
        return (self.best, 0.0) if upright else (self.rest, 0.4)


def view(image: np.ndarray = MARKED) -> CoarseView:
    return CoarseView(image, 4.0, None)  # type: ignore[arg-type]


def test_rotations_are_all_different_and_mirror_nothing():
    images = [turn.apply(MARKED) for turn in rotations()]
    assert len({image.tobytes() + bytes(image.shape) for image in images}) == 24
    for turn in rotations():
        assert np.linalg.det(turn.affine(np.eye(4), (4, 5, 6))) == pytest.approx(1)


@pytest.mark.parametrize("turn", list(rotations()), ids=axis_codes)
def test_axes_of_a_turned_scan_are_named(turn, monkeypatch):
    monkeypatch.setattr(orientation, "_support", Fake())
    turned = np.ascontiguousarray(turn.undo(MARKED))
    assert find_orientation(view(turned))[0] == axis_codes(turn)
    # the file's own axes: x to the left, y up, z to the back
    file = Reorientation((0, 2, 1), (True, True, False))
    (said, *_) = second_look(view(turned), quality(), file, fitted=True)
    if turn == AS_IT_IS:
        assert said == "odd"
    else:
        opposite = dict(zip("RASLPI", "LPIRAS", strict=True))
        x, y, z = axis_codes(turn)
        assert f"ran to {opposite[x]}{z}{opposite[y]} (or" in said
        assert "not to LSP as the header says" in said


def test_little_better_is_not_enough(monkeypatch):
    monkeypatch.setattr(orientation, "_support", Fake(best=0.4, rest=0.3))
    assert find_orientation(view(np.ascontiguousarray(MARKED[:, :, ::-1])))[0] == "RAS"


@pytest.mark.parametrize(
    ("best", "found", "fitted", "refused"),
    [
        (-0.2, quality(0.8), True, True),
        (0.4, quality(0.8), True, False),  # a copy supports a brain
        (-0.2, quality(0.4), True, False),  # volumes hardly odd
        (-0.2, quality(0.8, cut_mm2=8000), True, False),  # brain outside of the scan
        (-0.2, quality(0.8), False, False),  # a model that nothing is known of
    ],
)
def test_no_brain_where_nothing_supports_one(best, found, fitted, refused, monkeypatch):
    monkeypatch.setattr(orientation, "_support", Fake(best=best, rest=best - 0.1))
    if not refused:
        assert second_look(view(), found, AS_IT_IS, fitted=fitted) == ("odd",)
        return
    with pytest.raises(InputError, match=r"no brain was found in it \(1 QC warning\)") as caught:
        second_look(view(), found, AS_IT_IS, fitted=fitted)
    assert caught.value.code == "no-brain"


def test_sound_result_is_not_looked_at_again():
    assert not quality(0.0).is_suspicious
    assert quality(0.3).is_suspicious


@pytest.mark.data
@pytest.mark.slow
def test_real_head_with_wrong_axes_is_told_which_fit(data_dir):
    ras, _ = to_ras(read_image(data_dir / "heads" / "philips_1mm_T1w.nii.gz"))
    for data, axes in ((ras.data[:, :, ::-1], "LAI (or RAI"), (ras.data.transpose(0, 2, 1), "LSA (or RSA")):
        result = segment(np.ascontiguousarray(data), spacing_mm=(1, 1, 1))
        assert f"ran to {axes}" in result.quality_reasons[0]
    assert segment(ras.data, spacing_mm=(1, 1, 1)).quality_reasons == ()


@pytest.mark.data
@pytest.mark.slow
def test_phantom_and_neck_are_no_brain_and_part_of_a_brain_is(data_dir):
    ras, _ = to_ras(read_image(data_dir / "heads" / "philips_1mm_T1w.nii.gz"))
    x, y, z = np.mgrid[:180, :180, :180] - 90.0
    noise = np.random.default_rng(0).normal(0, 8, (2, 180, 180, 180))
    ball = np.hypot(np.where(x**2 + y**2 + z**2 < 90**2, 300, 5) + noise[0], noise[1])
    for nothing in (ball, ras.data[:, :, :70]):
        with pytest.raises(InputError, match="no brain"):
            segment(nothing, spacing_mm=(1, 1, 1))
    assert segment(ras.data[:, :, 130:170], spacing_mm=(1, 1, 1)).quality_reasons
