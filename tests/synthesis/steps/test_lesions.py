import pytest
import torch

from lodbrain.synthesis.deform import Deformation
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.label_map import CLASS_OF_CODE, CODE_OF_RAW
from lodbrain.synthesis.steps.lesions import Lesions, RandomLesions
from lodbrain.synthesis.streams import Stream

GRID = Grid((40, 40, 40), (3.0, 3.0, 3.0), (-60.0, -60.0, -60.0))
FAR = Deformation((0.0, 0.0, 0.0), ventricles_mm=(500.0, 0.0, 0.0))
HERE = Deformation((0.0, 0.0, 0.0))
LEFT, RIGHT, CORTEX = (CODE_OF_RAW[raw] for raw in (2, 41, 3))


def _codes() -> torch.Tensor:
    codes = torch.full((1, *GRID.shape), LEFT, dtype=torch.uint8)
    codes[:, 20:] = RIGHT
    codes[:, :, :10] = CORTEX
    return codes


def test_lesions_take_their_share_of_the_white_matter_alone() -> None:
    codes = _codes()
    ill = Lesions(RandomField(1, 6.0), 0.05).mark(codes, GRID, FAR)
    white = codes != CORTEX
    assert torch.equal(ill[~white], codes[~white])
    assert float((ill != codes)[white].float().mean()) == pytest.approx(0.05, rel=0.25)


def test_lesions_keep_side_and_target() -> None:
    codes = _codes()
    ill = Lesions(RandomField(1, 6.0), 0.05).mark(codes, GRID, FAR)
    assert set(ill[:, :20].unique().tolist()) == {LEFT, CORTEX, CODE_OF_RAW[25]}
    assert set(ill[:, 20:].unique().tolist()) == {RIGHT, CORTEX, CODE_OF_RAW[57]}
    assert torch.equal(CLASS_OF_CODE[ill.long()], CLASS_OF_CODE[codes.long()])


def test_lesions_are_more_frequent_near_the_ventricles() -> None:
    codes = torch.full((1, *GRID.shape), LEFT, dtype=torch.uint8)
    ill = (Lesions(RandomField(2, 6.0), 0.02).mark(codes, GRID, HERE) != codes)[0].float()
    assert float(ill[15:25, 15:25, 15:25].mean()) > 2 * float(ill[:5].mean())


def test_no_share_no_lesions() -> None:
    codes = _codes()
    assert Lesions(RandomField(1, 6.0), 0.0).mark(codes, GRID, HERE) is codes
    drawn = [RandomLesions(0.3).draw(Stream(seed)) for seed in range(100)]
    assert 15 <= sum(lesions is not None for lesions in drawn) <= 45
