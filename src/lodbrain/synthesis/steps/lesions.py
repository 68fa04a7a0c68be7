"""Lesions: hypointense patches of white matter, more of them around the ventricles. They stay white matter."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import SPLINE_SD, Grid, RandomField
from lodbrain.synthesis.label_map import CODE_OF_RAW, N_CODES
from lodbrain.synthesis.streams import Stream

#: (N_CODES,) uint8: what each code becomes.
_ILL = torch.arange(N_CODES, dtype=torch.uint8)
_ILL[[CODE_OF_RAW[2], CODE_OF_RAW[41]]] = torch.tensor([CODE_OF_RAW[25], CODE_OF_RAW[57]], dtype=torch.uint8)

#: Around the ventricles lesions are as frequent as if the field were so much higher (in standard deviations), fading
#: with a standard deviation of so many mm from the ventricles' centre.
_NEAR_VENTRICLES, _REACH_MM = 0.8, 30.0


@dataclass(frozen=True)
class Lesions:
    """White matter is a lesion where a field is high.

    Attributes
    ----------
    field : RandomField
        Its lattice is about the size of the lesions.
    share : float
        Of the white matter far from the ventricles; more around them. 0 for none.
    """

    field: RandomField
    share: float

    def mark(self, codes: torch.Tensor, grid: Grid, pose: Deformation, rows: slice = slice(None)) -> torch.Tensor:
        """Codes with white matter turned into lesions of the same side.

        Parameters
        ----------
        codes : (N, X, Y, Z) uint8 tensor
            N samples of each voxel of `grid`.
        grid : Grid
        pose : Deformation
            Says where the ventricles are.
        rows : slice
            Part of the grid's first axis that `codes` shows.
        """
        if self.share <= 0:
            return codes
        height = self.field.on(grid, codes.device, rows) / SPLINE_SD
        x, y, z = grid.axes_mm(codes.device)
        near = [
            torch.exp(-((axis - c) ** 2) / (2 * _REACH_MM**2))
            for axis, c in zip((x[rows], y, z), pose.to_scanner([pose.ventricles_mm])[0], strict=True)
        ]
        height.addcmul_(near[0][:, None, None] * near[1][None, :, None], _NEAR_VENTRICLES * near[2][None, None, :])
        ill = height > NormalDist().inv_cdf(1 - self.share)
        places = ill.view(-1).nonzero()[:, 0]
        marked = codes.clone().view(len(codes), -1)
        marked[:, places] = _ILL.to(codes.device)[marked[:, places].int()]
        return marked.view(codes.shape)


@dataclass(frozen=True)
class RandomLesions:
    """A part `affected` of the scans has lesions in up to `share` of the white matter."""

    affected: float = 0.2
    share: float = 0.02
    size_mm: tuple[float, float] = (4.0, 9.0)

    def draw(self, stream: Stream) -> Lesions | None:
        """Draw the lesions of one scan, or none."""
        if not stream.chance(self.affected):
            return None
        field = RandomField(stream.seed(), stream.uniform(*self.size_mm))
        return Lesions(field, self.share * stream.uniform() ** 2)
