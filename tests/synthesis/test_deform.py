import math

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from lodbrain.synthesis.deform import Deformation, Shapes, integrate, rotation_matrix
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.streams import Stream

CENTRE = torch.tensor([70.0, 80.0, 65.0])
STILL = Shapes(
    rotation_deg=0.0,
    large_rotation_share=0.0,
    scale=(1.0, 1.0),
    aspect=0.0,
    shear=0.0,
    deformation_mm=0.0,
    ventricles=(1.0, 1.0),
    flip_share=0.0,
)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw(shapes: Shapes, seed: int = 0, ventricles: torch.Tensor = CENTRE) -> Deformation:
    return shapes.draw(Stream(seed, "shape"), CENTRE, ventricles)


def _smooth_velocity() -> torch.Tensor:
    """(3, 20, 20, 20): up to some 10 mm on a lattice of 10 mm, 0 at the border."""
    at = torch.sin(torch.arange(20) * math.pi / 19)
    fade = at[:, None, None] * at[None, :, None] * at[None, None, :]
    rough = torch.randn((3, 20, 20, 20), generator=_random(4)).numpy()
    return torch.from_numpy(gaussian_filter(rough, (0, 3, 3, 3), mode="constant")) * fade * 130


def _compose(first: torch.Tensor, then: torch.Tensor, lattice_mm: float) -> torch.Tensor:
    """Displacement of `then` after `first`."""
    n = first.shape[1]
    base = torch.stack(torch.meshgrid(*[torch.arange(float(n))] * 3, indexing="ij"))
    where = ((base + first / lattice_mm) / ((n - 1) / 2) - 1).permute(1, 2, 3, 0).flip(-1)[None]
    return first + functional.grid_sample(then[None], where, padding_mode="border", align_corners=True)[0]


def test_rotation_turns_about_x_then_y_then_z() -> None:
    quarter = math.pi / 2
    x, y, z = torch.eye(3)
    for angles, before, after in (((quarter, 0, 0), y, z), ((0, quarter, 0), z, x), ((0, 0, quarter), x, y)):
        torch.testing.assert_close(rotation_matrix(torch.tensor(angles)) @ before, after, atol=1e-6, rtol=0)
    # about x takes y to z, about z leaves it there
    torch.testing.assert_close(rotation_matrix(torch.tensor([quarter, 0.0, quarter])) @ y, z, atol=1e-6, rtol=0)


def test_rotation_keeps_lengths_and_sides() -> None:
    matrix = rotation_matrix(torch.tensor([0.3, -0.5, 0.9]))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), atol=1e-6, rtol=0)
    assert float(torch.linalg.det(matrix)) == pytest.approx(1, abs=1e-6)


def test_constant_velocity_is_that_translation() -> None:
    velocity = torch.tensor([3.0, -5.0, 1.0]).view(3, 1, 1, 1).expand(3, 9, 8, 7).contiguous()
    torch.testing.assert_close(integrate(velocity, 10.0), velocity, atol=1e-5, rtol=0)


def test_negative_velocity_is_the_inverse() -> None:
    velocity = _smooth_velocity()
    there, back = integrate(velocity, 10.0), integrate(-velocity, 10.0)
    assert float(there.abs().max()) > 5
    left = _compose(there, back, 10.0)
    assert float(left.abs().max()) < 0.05 * float(there.abs().max())


def test_integrated_velocity_does_not_fold() -> None:
    u = integrate(_smooth_velocity() * 2, 10.0) / 10.0
    jacobian = torch.eye(3).view(3, 3, 1, 1, 1) + torch.stack(
        [u.diff(dim=axis + 1)[:, :19, :19, :19] for axis in range(3)], 1
    )
    assert float(torch.linalg.det(jacobian.permute(2, 3, 4, 0, 1)).min()) > 0


def test_without_strengths_the_map_is_shifted_and_nothing_else() -> None:
    deformation = _draw(STILL)
    assert torch.equal(deformation.matrix, torch.eye(3))
    assert deformation.displacement is None
    grid = Grid((6, 5, 4), (2.0, 2.0, 2.0), (-6.0, -5.0, -4.0))
    for axis, (at, mm) in enumerate(zip(deformation.on(grid), grid.axes_mm(), strict=True)):
        shape = [1, 1, 1]
        shape[axis] = -1
        assert torch.equal(at, (mm + CENTRE[axis]).view(shape).expand(grid.shape))


def test_places_of_the_head_move_with_it() -> None:
    deformation = _draw(Shapes(deformation_mm=0.0, ventricles=(1.0, 1.0)), 3)
    place = [12.0, -30.0, 25.0]
    x, y, z = deformation.to_scanner([place])[0]
    at = deformation.on(Grid((1, 1, 1), (0.0, 0.0, 0.0), (x, y, z)))
    torch.testing.assert_close(torch.stack(at).flatten(), CENTRE + torch.tensor(place), atol=1e-3, rtol=0)


def test_deformation_in_chunks_of_rows_is_the_whole() -> None:
    deformation = _draw(Shapes())
    grid = Grid((7, 5, 4), (20.0, 20.0, 20.0), (-70.0, -50.0, -40.0))
    chunks = [deformation.on(grid, rows=slice(a, a + 3)) for a in (0, 3, 6)]
    for axis, whole in enumerate(deformation.on(grid)):
        torch.testing.assert_close(torch.cat([chunk[axis] for chunk in chunks]), whole, atol=1e-4, rtol=0)


def test_same_seed_same_deformation() -> None:
    one, two = _draw(Shapes(), 9), _draw(Shapes(), 9)
    assert one == two != _draw(Shapes(), 10)
    assert one.displacement is not None and two.displacement is not None
    assert torch.equal(one.displacement.control, two.displacement.control)


@pytest.mark.parametrize(("share", "flipped"), [(0.0, False), (1.0, True)])
def test_flip_share_decides_who_is_flipped(share: float, flipped: bool) -> None:
    for seed in range(5):
        assert _draw(Shapes(flip_share=share), seed).flipped is flipped


def test_larger_scale_is_a_larger_head() -> None:
    small, large = (_draw(Shapes(scale=(s, s), flip_share=0.0), 2) for s in (1.0, 1.2))
    ratio = float(torch.linalg.det(small.matrix) / torch.linalg.det(large.matrix))
    assert ratio == pytest.approx(1.2**3, rel=1e-4)


@pytest.mark.parametrize(("factor", "sign"), [(2.0, -1), (1.0, 0), (0.5, 1)])
def test_larger_ventricles_are_sampled_nearer_to_their_centre(factor: float, sign: int) -> None:
    shapes = Shapes(**{**vars(STILL), "ventricles": (factor, factor)})
    deformation = _draw(shapes, ventricles=CENTRE + torch.tensor([0.0, 10.0, 0.0]))
    if not sign:
        assert deformation.displacement is None
        return
    # 12 mm to the right of the ventricles' centre
    point = Grid((1, 1, 1), (0.0, 0.0, 0.0), (12.0, 10.0, 0.0))
    assert deformation.displacement is not None
    assert float(deformation.displacement.on(point)[0, 0, 0, 0]) * sign > 1.0
