"""Motion during the scan: lines of k-space acquired with the head in different positions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from lodbrain.synthesis.deform import rotation_matrix
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.steps.view import View
from lodbrain.synthesis.streams import Stream


@dataclass(frozen=True)
class Move:
    """Another position of the head, held from a time on or, in the first half of the scan, up to that time.

    Attributes
    ----------
    time : float
        0 to 1. The centre of k-space is acquired at 0.5, with the head in the position of the labels.
    shift_mm, rotation_deg : tuple of 3 float
        Shift and rotation relative to the labels; rotations are about the scanner's axes through the brain's centre.
    """

    time: float
    shift_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]


@dataclass(frozen=True)
class Motion:
    """Moves during a scan whose lines are acquired one after the other along `axis`.

    Each line of k-space is taken from the spectrum of the head in its position at that time. On a crop, the lines are
    those of the crop's k-space.

    References
    ----------
    Shaw et al. 2019, k-space motion artefacts for training, proceedings.mlr.press/v102/shaw19a.html.
    """

    axis: int
    moves: tuple[Move, ...]

    def apply(self, image: torch.Tensor, view: View) -> torch.Tensor:
        """Return the magnitude image reconstructed from all lines."""
        moves = [move for move in self.moves if any(move.shift_mm) or any(move.rotation_deg)]
        axis = self.axis - 3
        # a coarse image corresponds to the centre of the scan's k-space
        time = torch.fft.fftfreq(image.shape[axis], device=image.device) / view.coarseness + 0.5
        lines: torch.Tensor | None = None
        early = sorted((m for m in moves if m.time < 0.5), key=lambda m: -m.time)  # from the centre outwards
        late = sorted((m for m in moves if m.time >= 0.5), key=lambda m: m.time)
        for move in (*early, *late):
            then = time < move.time if move.time < 0.5 else time > move.time
            if not bool(then.any()):
                continue
            moved = torch.fft.fft(moved_image(image, view.grid, move), dim=axis)
            if lines is None:
                lines = torch.fft.fft(image, dim=axis)
            shape = [1] * image.ndim
            shape[axis] = -1
            lines = torch.where(then.view(shape), moved, lines)
        if lines is None:
            return image
        magnitude: torch.Tensor = torch.fft.ifft(lines, dim=axis).abs()
        return magnitude


@dataclass(frozen=True)
class RandomMotion:
    """Motion with probability `share`: one to four moves at random times.

    Shifts and rotations about each axis are normal with standard deviations `shift_mm` and `rotation_deg`.

    Examples
    --------
    >>> motion = RandomMotion(share=1).draw(Stream(1, "motion"))
    >>> 1 <= len(motion.moves) <= 4, RandomMotion(share=0).draw(Stream(1, "motion"))
    (True, None)
    """

    share: float = 0.05
    shift_mm: float = 2.0
    rotation_deg: float = 2.0

    def draw(self, stream: Stream) -> Motion | None:
        """Sample the motion of one scan, or return None."""
        if not stream.chance(self.share):
            return None
        moves = []
        for _ in range(1 + stream.integer(4)):
            shift = (stream.normal(self.shift_mm), stream.normal(self.shift_mm), stream.normal(self.shift_mm))
            turn = tuple(stream.normal(self.rotation_deg) for _ in range(3))
            moves.append(Move(stream.uniform(), shift, (turn[0], turn[1], turn[2])))
        return Motion(stream.integer(3), tuple(moves))


def moved_image(image: torch.Tensor, grid: Grid, move: Move) -> torch.Tensor:
    """Return the (..., X, Y, Z) image of the moved head, interpolated linearly; voxels from outside the image are 0."""
    back = rotation_matrix(torch.tensor([math.radians(angle) for angle in move.rotation_deg])).T.tolist()
    x, y, z = (a - t for a, t in zip(grid.axes_mm(image.device), move.shift_mm, strict=True))
    at = []
    for row, n, v, o in zip(back, grid.shape, grid.spacing_mm, grid.corner_mm, strict=True):
        mm = (row[0] * x)[:, None, None] + (row[1] * y)[None, :, None] + (row[2] * z)[None, None, :]
        at.append((mm - o) * (2 / (n * v)) - 1)
    where = torch.stack(at[::-1], -1)[None]
    volumes = image.reshape(1, -1, *grid.shape)
    return F.grid_sample(volumes, where, mode="bilinear", padding_mode="zeros", align_corners=False).view(image.shape)
