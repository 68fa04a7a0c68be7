"""White matter lesions: hypointense patches, denser around the ventricles, whose target stays white matter."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import SPLINE_SD, Grid, RandomField
from lodbrain.synthesis.label_map import CODE_OF_RAW, N_CODES
from lodbrain.synthesis.streams import Stream

#: (N_CODES,) uint8: code that replaces each code inside a lesion.
_LESION_CODE = torch.arange(N_CODES, dtype=torch.uint8)
_LESION_CODE[[CODE_OF_RAW[2], CODE_OF_RAW[41]]] = torch.tensor([CODE_OF_RAW[25], CODE_OF_RAW[57]], dtype=torch.uint8)

#: The threshold of the field is lowered by this many standard deviations at the ventricles' centre; the effect fades
#: as a Gaussian of this standard deviation in mm.
_VENTRICLE_EFFECT, _VENTRICLE_EFFECT_MM = 0.8, 30.0


@dataclass(frozen=True)
class Lesions:
    """White matter becomes a lesion where a random field exceeds a threshold.

    Attributes
    ----------
    field : RandomField
        Its control point distance determines the size of the lesions.
    share : float
        Share of lesions in white matter far from the ventricles, 0 to 1; it is higher near them, unless it is 0.

    References
    ----------
    Wardlaw et al. 2013, doi:10.1016/S1474-4422(13)70124-8 (white matter hyperintensities, hypointense in T1w scans).
    """

    field: RandomField
    share: float

    def mark(self, codes: torch.Tensor, grid: Grid, pose: Deformation, rows: slice = slice(None)) -> torch.Tensor:
        """Return the codes with white matter inside lesions replaced by the lesion code of the same side.

        Parameters
        ----------
        codes : (N, X, Y, Z) uint8 tensor
            N samples of each voxel of `grid`.
        pose : Deformation
            Pose of the head, which gives the position of the ventricles.
        rows : slice
            Part of the grid's first axis that `codes` covers.
        """
        if self.share <= 0:
            return codes
        height = self.field.on(grid, codes.device, rows) / SPLINE_SD
        x, y, z = grid.axes_mm(codes.device)
        near = [
            torch.exp(-((axis - c) ** 2) / (2 * _VENTRICLE_EFFECT_MM**2))
            for axis, c in zip((x[rows], y, z), pose.to_scanner([pose.ventricles_mm])[0], strict=True)
        ]
        height.addcmul_(near[0][:, None, None] * near[1][None, :, None], _VENTRICLE_EFFECT * near[2][None, None, :])
        in_lesion = height > NormalDist().inv_cdf(1 - self.share)
        places = in_lesion.view(-1).nonzero()[:, 0]
        marked = codes.clone().view(len(codes), -1)
        marked[:, places] = _LESION_CODE.to(codes.device)[marked[:, places].int()]
        return marked.view(codes.shape)


@dataclass(frozen=True)
class RandomLesions:
    """Lesions with probability `affected`.

    Their share of white matter is `share` u^2, with u uniform in 0 to 1, and their size is uniform in `size_mm`.

    Examples
    --------
    >>> lesions = RandomLesions(affected=1).draw(Stream(1, "lesions"))
    >>> 0 <= lesions.share <= 0.02, 4 <= lesions.field.lattice_mm <= 9
    (True, True)
    """

    affected: float = 0.2
    share: float = 0.02
    size_mm: tuple[float, float] = (4.0, 9.0)

    def draw(self, stream: Stream) -> Lesions | None:
        """Sample the lesions of one scan, or return None."""
        if not stream.chance(self.affected):
            return None
        field = RandomField(stream.seed(), stream.uniform(*self.size_mm))
        return Lesions(field, self.share * stream.uniform() ** 2)
