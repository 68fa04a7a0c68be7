"""Shape of the head: affine and diffeomorphic deformation, left-right flip, ventricle size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
import torch.nn.functional as F

from lodbrain.synthesis.fields import EXTENT_MM, Grid, SmoothField, random_control
from lodbrain.synthesis.streams import Stream

#: Distance of the control points of the deformation.
LATTICE_MM = 14.0
_SQUARINGS = 5
#: Standard deviation of the Gaussian with which the scaling of the ventricles fades.
_SWELLING_MM = 26.0

Triple: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True)
class Shapes:
    """Ranges of the deformation.

    Attributes
    ----------
    rotation_deg, large_rotation_deg : float
        Largest rotation about each axis, usually and with probability `large_rotation_share`.
    scale : tuple of 2 float
        Smallest and largest size of the head.
    aspect : float
        Largest relative difference of the size along one axis from the others.
    shear : float
        Largest entry of the shear matrix.
    deformation_mm : float
        Largest standard deviation of the velocity field.
    ventricles : tuple of 2 float
        Smallest and largest scaling factor of the lateral ventricles, sampled log-uniformly.
    flip_share : float
        Share of heads with left and right exchanged.
    """

    rotation_deg: float = 20.0
    large_rotation_deg: float = 45.0
    large_rotation_share: float = 0.05
    scale: tuple[float, float] = (0.85, 1.2)
    aspect: float = 0.08
    shear: float = 0.02
    deformation_mm: float = 4.0
    ventricles: tuple[float, float] = (0.6, 2.0)
    flip_share: float = 0.5

    def draw(self, stream: Stream, centre_mm: torch.Tensor, ventricles_mm: torch.Tensor) -> Deformation:
        """Sample one deformation, which takes the origin of scanner space to the centre of a map's brain.

        Parameters
        ----------
        centre_mm, ventricles_mm : (3,) tensors
            Centres of the brain and of the lateral ventricles in the map.
        """
        limit = self.large_rotation_deg if stream.chance(self.large_rotation_share) else self.rotation_deg
        common = stream.uniform(*self.scale)
        own = tuple(common * (1 + stream.uniform(-self.aspect, self.aspect)) for _ in range(3))
        low, high = (math.log(factor) for factor in self.ventricles)
        return Deformation(
            origin_mm=_triple(centre_mm),
            rotation_deg=(stream.uniform(-limit, limit), stream.uniform(-limit, limit), stream.uniform(-limit, limit)),
            scale=(own[0], own[1], own[2]),
            shear=_triple((torch.rand(3, generator=stream.generator) * 2 - 1) * self.shear),
            flipped=stream.chance(self.flip_share),
            velocity_mm=stream.uniform(0.0, self.deformation_mm),
            velocity_seed=stream.seed(),
            ventricles_mm=_triple(ventricles_mm - centre_mm),
            ventricle_factor=math.exp(stream.uniform(low, high)),
        )


@dataclass(frozen=True)
class Deformation:
    """A fixed map from scanner space to the millimetres of a label map: m = matrix (s + u(s)) + origin.

    Attributes
    ----------
    origin_mm : tuple of 3 float
        Position of the scanner's origin in the map: the brain's centre.
    rotation_deg : tuple of 3 float
        About x, then y, then z.
    scale : tuple of 3 float
        Size of the head along the scanner's axes, relative to the map's.
    shear : tuple of 3 float
        Entries (x, y), (x, z), (y, z) of the shear matrix.
    flipped : bool
        Whether left and right are exchanged; labels have to be exchanged, too.
    velocity_mm : float
        Standard deviation of the velocity field's control points.
    ventricles_mm : tuple of 3 float
        Centre of the lateral ventricles, from the brain's centre.
    ventricle_factor : float
        Scaling factor of the ventricles along each axis, at their centre.
    """

    origin_mm: Triple
    rotation_deg: Triple = (0.0, 0.0, 0.0)
    scale: Triple = (1.0, 1.0, 1.0)
    shear: Triple = (0.0, 0.0, 0.0)
    flipped: bool = False
    velocity_mm: float = 0.0
    velocity_seed: int = 0
    ventricles_mm: Triple = (0.0, 0.0, 0.0)
    ventricle_factor: float = 1.0

    @cached_property
    def matrix(self) -> torch.Tensor:
        """(3, 3) float32: rotation, scale and shear; the determinant is negative where the sides are flipped."""
        flip = torch.diag(torch.tensor([-1.0 if self.flipped else 1.0, 1.0, 1.0]))
        rotation = rotation_matrix(torch.tensor([math.radians(angle) for angle in self.rotation_deg]))
        xy, xz, yz = self.shear
        shear = torch.tensor([[1.0, xy, xz], [0.0, 1.0, yz], [0.0, 0.0, 1.0]])
        # The map is sampled at matrix @ s, so that a larger head needs a smaller matrix.
        return flip @ rotation @ shear @ torch.diag(1 / torch.tensor(self.scale))

    @cached_property
    def displacement(self) -> SmoothField | None:
        """u, three channels in mm, on the CPU; None without displacement."""
        if self.velocity_mm == 0 and self.ventricle_factor == 1:
            return None
        generator = torch.Generator().manual_seed(self.velocity_seed)
        velocity = random_control(3, LATTICE_MM, EXTENT_MM, generator, smooth=0.5) * self.velocity_mm
        centre = torch.tensor(self.to_scanner([self.ventricles_mm])[0])
        velocity = velocity + _swelling(velocity.shape[1:], centre, self.ventricle_factor)
        return SmoothField(integrate(velocity, LATTICE_MM), LATTICE_MM)

    def to_scanner(self, places_mm: Sequence[Sequence[float]]) -> list[list[float]]:
        """Scanner coordinates of points given in mm from the brain's centre.

        The displacement u is ignored, which makes an error of a few mm.
        """
        places = torch.tensor(places_mm, dtype=torch.float32).reshape(-1, 3)
        moved: list[list[float]] = torch.linalg.solve(self.matrix, places.T).T.tolist()
        return moved

    def on(
        self,
        grid: Grid,
        device: torch.device | str = "cpu",
        rows: slice = slice(None),
        *,
        unit_mm: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> list[torch.Tensor]:
        """Return map coordinates of a grid's voxels: three (X, Y, Z) float32 tensors.

        Parameters
        ----------
        rows : slice
            Part of the grid's first axis, for evaluation in chunks.
        unit_mm : sequence of 3 float
            Unit of the coordinates in mm, such as the voxel sides of the map.
        """
        x, y, z = grid.axes_mm(device)
        unit = torch.tensor(unit_mm, dtype=torch.float64)
        matrix = (self.matrix / unit[:, None]).float().tolist()
        origin = (torch.tensor(self.origin_mm, dtype=torch.float64) / unit).float().tolist()
        planes = weights = None
        if self.displacement is not None:
            planes, weights = self.displacement.to(device).planes(grid, rows)
        found = []
        for (a, b, c), o in zip(matrix, origin, strict=True):
            flat = (a * x[rows])[:, None] + (b * y)[None, :] + o
            if planes is None or weights is None:
                found.append(flat[:, :, None] + c * z)
                continue
            # The affine part adds two columns to the field's last product, which saves a pass over all points.
            left = [a * planes[0] + b * planes[1] + c * planes[2], flat[..., None], torch.ones_like(flat)[..., None]]
            found.append(torch.cat(left, -1) @ torch.cat([weights, torch.ones_like(z)[None], c * z[None]]))
        return found


def rotation_matrix(angles_rad: torch.Tensor) -> torch.Tensor:
    """(3, 3) float32: rotation about x, then y, then z, by (3,) angles."""
    (cx, cy, cz), (sx, sy, sz) = angles_rad.cos().tolist(), angles_rad.sin().tolist()
    rx = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = torch.tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


def integrate(velocity: torch.Tensor, lattice_mm: float) -> torch.Tensor:
    """Displacement of a stationary velocity field after unit time, by scaling and squaring.

    Parameters
    ----------
    velocity : (3, L, M, N) float32 tensor
        Velocity in mm on a lattice.

    Returns
    -------
    (3, L, M, N) float32 tensor
        Displacement in mm: a diffeomorphism where the velocity is smooth on the scale of the lattice.

    References
    ----------
    Arsigny et al. 2006, doi:10.1007/11866565_113.
    """
    shape = velocity.shape[1:]
    axes = [torch.arange(n, dtype=torch.float32, device=velocity.device) for n in shape]
    base = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    half = torch.tensor([(n - 1) / 2 for n in shape], device=velocity.device).view(3, 1, 1, 1)
    u = velocity / lattice_mm / 2**_SQUARINGS
    for _ in range(_SQUARINGS):
        where = ((base + u) / half - 1).permute(1, 2, 3, 0).flip(-1)[None]
        u = u + F.grid_sample(u[None], where, mode="bilinear", padding_mode="border", align_corners=True)[0]
    displacement: torch.Tensor = u * lattice_mm
    return displacement


def _swelling(shape: torch.Size, centre_mm: torch.Tensor, factor: float) -> torch.Tensor:
    """(3, L, M, N) velocity in mm that scales the neighbourhood of a point by `factor` and fades with distance."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * LATTICE_MM for n in shape]
    away = torch.stack(torch.meshgrid(*axes, indexing="ij")) - centre_mm.view(3, 1, 1, 1)
    fade = torch.exp(-(away**2).sum(0) / (2 * _SWELLING_MM**2))
    return -math.log(factor) / 3 * 2 * away * fade


def _triple(values: torch.Tensor) -> Triple:
    x, y, z = values.tolist()
    return x, y, z
