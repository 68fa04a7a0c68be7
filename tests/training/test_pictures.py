import numpy as np
import torch

from lodbrain.labels import N_CLASSES, STRUCTURES
from lodbrain.training.pairs import TrainingPair
from lodbrain.training.pictures import picture


def test_picture_shows_scan_target_and_prediction_with_superior_up() -> None:
    shape = (40, 50, 60)
    classes = torch.zeros(shape, dtype=torch.long)
    classes[10:30, 10:40, 40:] = 1  # only the upper third is white matter
    image = torch.linspace(0, 1, 60).expand(shape)
    target = torch.nn.functional.one_hot(classes, N_CLASSES).movedim(-1, 0).float()
    drawn = picture(
        TrainingPair(image[None, None], target[None], torch.zeros(1), None), torch.zeros((1, *shape), dtype=torch.long)
    )
    # 50 + 40 + 40 columns and a gap behind each plane; three rows of 60; twice as large
    assert drawn.shape == (2 * 3 * 60, 2 * (50 + 40 + 40 + 3), 3)
    white, black = STRUCTURES[1].color, (0, 0, 0)
    target_row, prediction_row = drawn[120:240], drawn[240:]
    assert tuple(target_row[2, 50]) == white  # above
    assert tuple(target_row[110, 50]) == black
    assert not prediction_row.any()
    scan_row = drawn[:120]
    assert scan_row[2, 50].mean() > 240 > 20 > scan_row[118, 50].mean()
    assert drawn.dtype == np.uint8
