"""Shape: affine and diffeomorphic deformation, side flip, ventricles of other sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lodbrain.synthesis.fields import Grid, SmoothField, random_control

#: Edge of the cube of scanner space that deformations are defined in: a head with its neck, turned.
EXTENT_MM = 320.0
LATTICE_MM = 14.0


@dataclass(frozen=True)
class Shapes:
    """Ranges that shapes are drawn from.

    Attributes
    ----------
    rotation_deg, large_rotation_deg : float
        Largest rotation about each axis, and in rare cases.
    large_rotation_share : float
        How rare.
    scale : tuple of 2 float
        Smallest and largest size of the head.
    shear : float
        Largest entry of the shear matrix.
    deformation_mm : float
        Largest standard deviation of the velocity field.
    ventricles : tuple of 2 float
        Factor that the lateral ventricles are swollen by, drawn log-uniformly between the two.
    flip_share : float
        Share of heads with left and right exchanged.
    """

    rotation_deg: float = 20.0
    large_rotation_deg: float = 45.0
    large_rotation_share: float = 0.05
    scale: tuple[float, float] = (0.85, 1.2)
    shear: float = 0.02
    deformation_mm: float = 4.0
    ventricles: tuple[float, float] = (0.6, 2.0)
    flip_share: float = 0.5


@dataclass(frozen=True, eq=False)
class Deformation:
    """A fixed map from scanner space to the millimetres of a label map: m = matrix (s + u(s)) + offset.

    Attributes
    ----------
    matrix : (3, 3) float32 tensor
        Rotation, scale and shear; its determinant is negative where the sides are flipped.
    offset_mm : (3,) float32 tensor
        Where the origin of scanner space lies in the map.
    displacement : SmoothField
        u, three channels in mm.
    """

    matrix: torch.Tensor
    offset_mm: torch.Tensor
    displacement: SmoothField

    @property
    def flipped(self) -> bool:
        """True where left and right are exchanged, so that labels have to be, too."""
        return bool(torch.linalg.det(self.matrix) < 0)

    def on(self, grid: Grid, rows: slice = slice(None)) -> list[torch.Tensor]:
        """Map coordinates in mm of a grid's voxels: three (X, Y, Z) float32 tensors."""
        device = self.displacement.control.device
        x, y, z = grid.axes_mm(device)
        u = self.displacement.on(grid, rows)
        s = (u[0] + x[rows, None, None], u[1] + y[None, :, None], u[2] + z[None, None, :])
        m, o = self.matrix.tolist(), self.offset_mm.tolist()
        return [s[0].mul(m[d][0]).add_(s[1], alpha=m[d][1]).add_(s[2], alpha=m[d][2]).add_(o[d]) for d in range(3)]


def rotation_matrix(angles_rad: torch.Tensor) -> torch.Tensor:
    """(3, 3) float32: rotation about x, then y, then z, by (3,) angles."""
    (cx, cy, cz), (sx, sy, sz) = angles_rad.cos().tolist(), angles_rad.sin().tolist()
    rx = torch.tensor([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = torch.tensor([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = torch.tensor([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return rz @ ry @ rx


def integrate(velocity: torch.Tensor, lattice_mm: float, *, steps: int = 5) -> torch.Tensor:
    """Displacement of a stationary velocity field after unit time, by scaling and squaring.

    Parameters
    ----------
    velocity : (3, L, M, N) float32 tensor
        Velocity in mm on a lattice.
    lattice_mm : float
        Distance of the lattice's points.
    steps : int
        Number of squarings.

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
    u = velocity / lattice_mm / 2**steps
    for _ in range(steps):
        where = ((base + u) / half - 1).permute(1, 2, 3, 0).flip(-1)[None]
        u = u + F.grid_sample(u[None], where, mode="bilinear", padding_mode="border", align_corners=True)[0]
    displacement: torch.Tensor = u * lattice_mm
    return displacement


def _uniform(low: float, high: float, generator: torch.Generator) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def draw_deformation(
    shapes: Shapes, brain_centre_mm: torch.Tensor, ventricle_mm: torch.Tensor, generator: torch.Generator
) -> Deformation:
    """Draw one deformation that takes the origin of scanner space near a map's brain centre.

    Parameters
    ----------
    shapes : Shapes
    brain_centre_mm, ventricle_mm : (3,) tensors
        Centres of the brain and of the lateral ventricles in the map.
    generator : torch.Generator
        On the CPU: the same draw whatever the device that renders it.
    """
    large = float(torch.rand((), generator=generator)) < shapes.large_rotation_share
    limit = math.radians(shapes.large_rotation_deg if large else shapes.rotation_deg)
    angles = (torch.rand(3, generator=generator) * 2 - 1) * limit
    common = _uniform(*shapes.scale, generator)
    scale = common * (1 + (torch.rand(3, generator=generator) - 0.5) * 0.16)
    shear = torch.eye(3) + torch.triu((torch.rand((3, 3), generator=generator) * 2 - 1) * shapes.shear, 1)
    flip = (
        torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
        if torch.rand((), generator=generator) < shapes.flip_share
        else torch.eye(3)
    )
    # The map is sampled at matrix @ s, so a larger head needs a smaller matrix.
    matrix = flip @ rotation_matrix(angles) @ shear @ torch.diag(1 / scale)
    strength = _uniform(0.0, shapes.deformation_mm, generator)
    velocity = random_control(3, LATTICE_MM, EXTENT_MM, generator, smooth=0.5) * strength
    low, high = (math.log(f) for f in shapes.ventricles)
    factor = math.exp(_uniform(low, high, generator))
    control = velocity + _swelling(
        velocity.shape[1:], torch.linalg.solve(matrix, (ventricle_mm - brain_centre_mm).float()), factor
    )
    return Deformation(matrix, brain_centre_mm.float(), SmoothField(integrate(control, LATTICE_MM), LATTICE_MM))


def _swelling(shape: torch.Size, centre_mm: torch.Tensor, factor: float, width_mm: float = 26.0) -> torch.Tensor:
    """(3, L, M, N) velocity in mm that scales the neighbourhood of a point by `factor` and fades with its distance."""
    axes = [(torch.arange(n, dtype=torch.float32) - (n - 1) / 2) * LATTICE_MM for n in shape]
    away = torch.stack(torch.meshgrid(*axes, indexing="ij")) - centre_mm.view(3, 1, 1, 1)
    fade = torch.exp(-(away**2).sum(0) / (2 * width_mm**2))
    return -math.log(factor) / 3 * 2 * away * fade
