"""Picture of one example for TensorBoard: scan, target and prediction in three planes."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.labels import STRUCTURES
from lodbrain.training.pairs import TrainingPair

#: Small views are enlarged until the longest side has about this many pixels.
LEAST_PIXELS = 128

_COLOURS = np.array([label.color for label in STRUCTURES], np.uint8)


def picture(pair: TrainingPair, predicted: torch.Tensor) -> NDArray[np.uint8]:
    """Return rows of scan, target, prediction; columns of sagittal, coronal, axial planes through the brain's centre.

    Parameters
    ----------
    predicted : (1, X, Y, Z) int64 tensor
        Classes.

    Returns
    -------
    (H, W, 3) uint8
        Up is superior (in the axial plane anterior).
    """
    image = pair.image[0, 0].float().cpu().numpy()
    target, guess = pair.target[0].argmax(0).cpu().numpy(), predicted[0].cpu().numpy()
    brain = np.argwhere(target > 0)
    middle = brain.mean(0).round().astype(int) if len(brain) else np.array(image.shape) // 2
    low, high = np.percentile(image, [1, 99.5])
    grey = (np.clip((image - low) / max(high - low, 1e-6), 0, 1) * 255).astype(np.uint8)
    volumes = [np.repeat(grey[..., None], 3, -1), _COLOURS[target], _COLOURS[guess]]
    rows = [[_upright(volume.take(middle[axis], axis=axis)) for axis in range(3)] for volume in volumes]
    height = max(plane.shape[0] for plane in rows[0])
    joined = np.concatenate([np.concatenate([_to_height(p, height) for p in row], 1) for row in rows])
    return joined.repeat(times := max(1, round(LEAST_PIXELS / height)), 0).repeat(times, 1)


def _upright(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return plane.transpose(1, 0, 2)[::-1]


def _to_height(plane: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    return np.pad(plane, ((0, height - plane.shape[0]), (0, 1), (0, 0)))
