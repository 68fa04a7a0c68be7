"""Grain: variation of intensity within a tissue, correlated over several voxels."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lodbrain.synthesis.steps.view import View

#: The mean of c x c x c voxels of the scan has a standard deviation of c^-`GRAIN_EXPONENT`; of white noise, c^-1.5.
#: Measured in eroded white matter, thalamus and brainstem of a 1 mm Philips MPRAGE, after removal of variation over
#: more than 10 mm: 0.37 to 0.47, noise included.
GRAIN_EXPONENT = 0.75

#: Side of the largest blocks, in voxels of the scan; means over larger volumes decrease as those of white noise.
_LARGEST = 8


def grain(view: View, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return correlated random numbers for each voxel of a view: (X, Y, Z) float32, on `device`.

    Sum of white noise on blocks of 1, 2, 4 and 8 voxels of the scan. In voxels of the scan the standard deviation is 1;
    in larger voxels it is that of the mean of the scan's voxels inside.
    """
    out: torch.Tensor | None = None
    # Blocks smaller than a voxel of the view are averaged: their sum is a single white noise.
    inside = 0.0
    for side, variance in reversed(list(_variances().items())):
        if side <= view.coarseness:
            inside += variance * (side / view.coarseness) ** 3
            continue
        shape = [-(-n * view.coarseness // side) for n in view.grid.shape]
        out = _add(out, _blocks(view, side, shape, device), variance**0.5)
    out = _add(out, _blocks(view, view.coarseness, list(view.grid.shape), device), inside**0.5)
    return out


def _variances() -> dict[int, float]:
    """Variance of the noise on blocks of each side.

    With blocks of side s averaged over c > s voxels, variance decreases by (s / c)^3: the mean of c^3 voxels has

        V(c) = sum_s v_s min(1, (s / c)^3) = c^-(2 `GRAIN_EXPONENT`)   for c = 1, 2, 4, 8.

    Let W(s) be the variance that blocks of up to s leave in voxels of s. In voxels of 2 s it is an eighth, whereas that
    of larger blocks is unchanged: V(s) - V(2 s) = 7/8 W(s), and W(s) = v_s + W(s / 2) / 8.
    """

    def of_mean(side: int) -> float:
        return float(side ** (-2 * GRAIN_EXPONENT))

    variances: dict[int, float] = {}
    below, side = 0.0, 1
    while side < _LARGEST:
        upto = (of_mean(side) - of_mean(2 * side)) * 8 / 7
        variances[side] = upto - below / 8
        below, side = upto, 2 * side
    variances[side] = of_mean(side) - below / 8
    return variances


def _blocks(view: View, side: int, shape: list[int], device: torch.device | str) -> torch.Tensor:
    """Return white noise of a given (X, Y, Z) shape."""
    return torch.randn(shape, generator=view.random(f"grain {side}", device), device=device)


def _add(coarse: torch.Tensor | None, noise: torch.Tensor, sd: float) -> torch.Tensor:
    """Add noise of a standard deviation to noise on blocks of 2 x 2 x 2 of its voxels."""
    noise.mul_(sd)
    if coarse is None:
        return noise
    x, y, z = noise.shape
    return noise.add_(F.interpolate(coarse[None, None], scale_factor=2.0, mode="nearest")[0, 0, :x, :y, :z])
