"""Check of a scan's orientation and of the presence of a brain, by the coarsest level's output on rotated copies.

The networks are trained on heads in RAS order. If the header's axes are wrong, their result does not have the shape of
a brain; in the copy that is rotated correctly it does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
import torch

from lodbrain.errors import InputError
from lodbrain.images.grid import Reorientation
from lodbrain.images.intensity import foreground_scaling
from lodbrain.inference.prediction import CoarseView
from lodbrain.inference.pyramid import pad_to
from lodbrain.segmentation.quality import Quality, assess

#: Margin by which a rotated copy must score better than the header's orientation. In three T1w heads and a T2w one the
#: correct orientation is better by 0.22 to 0.38 than the best of the 23 others.
_FAR_BETTER = 0.15
#: Largest volume misfit of a correctly oriented brain, whose volumes lie in or near their ranges.
_LARGEST_MISFIT = 0.1
#: Confidence minus misfit below which no copy shows a brain: the best copies of balls and cylinders have -0.43 to
#: -0.19, that of a T2w head, which the default model is not trained for, 0.45.
_LEAST_SUPPORT = 0.0


def second_look(view: CoarseView, quality: Quality, reorientation: Reorientation, *, fitted: bool) -> tuple[str, ...]:
    """Return the QC warnings of a suspicious result, plus one if other axes fit better than the header's.

    Parameters
    ----------
    reorientation : Reorientation
        Reorientation from the file's axes to those of `view`.
    fitted : bool
        Whether the quality limits were fitted for the model, so that a scan may be rejected.

    Raises
    ------
    InputError
        ``"no-brain"`` if neither the result nor any rotated copy shows a brain.
    """
    axes, brain = find_orientation(view)
    if axes != "RAS":
        return (_about_axes(axes, reorientation), *quality.reasons)
    if fitted and quality.is_no_brain and not brain:
        count = len(quality.reasons)
        what = f"no brain was found in it ({count} QC warning{'s' * (count != 1)})"
        raise InputError("no-brain", None, what, "Is this a head, and does the scan show the brain?")
    return quality.reasons


def _about_axes(axes: str, reorientation: Reorientation) -> str:
    """Return the warning for a header whose RAS axes seem to run along `axes`."""
    true = [""] * 3
    opposite = dict(zip("RASLPI", "LPIRAS", strict=True))
    for place, (axis, flipped) in enumerate(zip(reorientation.axes, reorientation.flipped, strict=True)):
        true[axis] = opposite[axes[place]] if flipped else axes[place]
    names = "".join(true)
    mirrored = names.translate(str.maketrans("LR", "RL"))
    return (
        f"the head lies as if the axes ran to {names} (or {mirrored}: left and right look alike), not to "
        f"{axis_codes(reorientation)} as the header says: check its orientation"
    )


def find_orientation(view: CoarseView) -> tuple[str, bool]:
    """Return the directions of a scan's axes, ``"RAS"`` if the header is right, and whether any copy shows a brain.

    Mirrored copies are not compared, because left and right look alike.
    """
    found = {turn: _support(view, turn) for turn in rotations()}
    own = found[Reorientation((0, 1, 2), (False, False, False))]
    best = max(found, key=lambda turn: found[turn][0])
    support, misfit = found[best]
    turned = support > own[0] + _FAR_BETTER and misfit <= _LARGEST_MISFIT
    return axis_codes(best) if turned else "RAS", support > _LEAST_SUPPORT


def rotations() -> Iterator[Reorientation]:
    """Yield the 24 rotations of a volume onto its axes, without mirroring.

    Examples
    --------
    >>> len(list(rotations()))
    24
    """
    for axes in permutations(range(3)):
        odd = sum(axes[i] > axes[j] for i in range(3) for j in range(i + 1, 3)) % 2
        for flipped in product((False, True), repeat=3):
            if sum(flipped) % 2 == odd:
                yield Reorientation((axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2]))


def axis_codes(turn: Reorientation) -> str:
    """Return the directions of a volume's axes, given the reorientation that brings it to RAS.

    Examples
    --------
    >>> axis_codes(Reorientation((0, 2, 1), (False, False, True)))
    'RIA'
    """
    codes = [""] * 3
    for place, (axis, flipped) in enumerate(zip(turn.axes, turn.flipped, strict=True)):
        codes[axis] = "LPI"[place] if flipped else "RAS"[place]
    return "".join(codes)


@torch.inference_mode()
def _support(view: CoarseView, turn: Reorientation) -> tuple[float, float]:
    """Return a rotated copy's mean confidence in the brain minus its volume misfit, and the misfit."""
    image = torch.from_numpy(np.ascontiguousarray(turn.apply(view.image))).to(view.level.head.device)
    x, y, z = image.shape
    scaled = pad_to(foreground_scaling(image).apply(image), view.level.stride)[None, None]
    features = view.level.features(scaled, math.log2(view.voxel_mm) - view.level.config.exponent, None)
    a, b, c = ((0, n) for n in features.shape[2:])
    certainty, classes = view.level.score(features, None, (a, b, c)).logits[0, :, :x, :y, :z].softmax(0).cpu().max(0)
    measures = assess(
        classes.numpy().astype(np.uint8),
        (certainty * 255).numpy().astype(np.uint8),
        model_labels="structures",
        spacing_mm=(view.voxel_mm, view.voxel_mm, view.voxel_mm),
        known={},
    ).measures
    return measures["confidence"] - measures["volume_misfit"], measures["volume_misfit"]
