"""A small input, a small model, and what they gave: compared across machines and versions of torch.

PYTHONPATH=tests/makers python -m sameness     writes the files anew, after a wanted change
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tiny_model
from numpy.typing import NDArray
from safetensors.numpy import save_file

from lodbrain.inference.predict import predict
from lodbrain.inference.prediction import Options
from lodbrain.models import zoo

FOLDER = Path(__file__).parents[1] / "trust" / "sameness"

#: The part of the posteriors that is kept.
_CORNER, _SIDE = (12, 14, 11), 8


def answer(options: Options, *, voxel_mm: float = 6.0) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Classes of the head by the stored model, and posteriors of a part (33, 8, 8, 8)."""
    card, network = zoo.load(FOLDER / "model.safetensors")
    options = Options(**{**vars(options), "posteriors": True, "postprocess": False})
    data = tiny_model.head().astype(np.float32)
    prediction = predict(data, (voxel_mm,) * 3, card=card, network=network, options=options)
    assert prediction.posteriors is not None
    x, y, z = (slice(start, start + _SIDE) for start in _CORNER)
    return prediction.classes, prediction.posteriors[:, x, y, z].astype(np.float32)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    tiny_model.save_tiny_model(FOLDER / "model.safetensors")
    labels, posteriors = answer(Options(dtype="float32"))
    save_file({"labels": labels, "posteriors": posteriors.astype(np.float16)}, FOLDER / "answer.safetensors")
