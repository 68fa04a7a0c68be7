"""Exported levels in the place of folded ones: ONNX Runtime computes what PyTorch would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from lodbrain.models.folded import Part
from lodbrain.models.lod import LevelConfig, LevelOutput


class OnnxLevel:
    """A level of an exported ladder with the methods of `FoldedLevel`; arguments as there.

    Parameters
    ----------
    row : dict
        Of the card's ``levels``.
    folder : Path
        Of the card.
    temperature : float
    """

    dtype = torch.float32

    def __init__(self, row: dict[str, Any], folder: Path, temperature: float = 1.0) -> None:
        self.config = LevelConfig(row["exponent"], tuple(row["channels"]), row["sided"], row["block"])
        self.stride, self.radius, self.temperature = row["stride"], row["radius"], temperature
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            (folder / row["file"]).read_bytes(), options, providers=["CPUExecutionProvider"]
        )
        self.whole: LevelOutput | None = None

    def features(self, image: torch.Tensor, log_voxel: float, coarse: LevelOutput | None = None) -> torch.Tensor:
        given = {"image": image.numpy(), "log_voxel": np.array([log_voxel], np.float32)}
        if coarse is not None:
            parts = {"features": coarse.features, "logits": coarse.logits, "side": coarse.side}
            given |= {f"coarse_{name}": t.contiguous().numpy() for name, t in parts.items() if t is not None}
        found = dict(zip((o.name for o in self.session.get_outputs()), self.session.run(None, given), strict=True))
        side = torch.from_numpy(found["side"]) if "side" in found else None
        logits = torch.from_numpy(found["logits"])
        self.whole = LevelOutput(torch.from_numpy(found["features"]) if "features" in found else logits, logits, side)
        return self.whole.features

    def for_next(self, above: LevelOutput) -> LevelOutput:
        return above  # the graph merges sides itself

    def score(self, features: torch.Tensor, coarse: LevelOutput | None, part: Part) -> LevelOutput:
        assert self.whole is not None
        cut = (slice(None), slice(None), *(slice(start, stop) for start, stop in part))
        found = self.whole.map(lambda t: t[cut])
        side = None if found.side is None else found.side / self.temperature
        return LevelOutput(found.features, found.logits / self.temperature, side)


def load_levels(card: dict[str, Any], folder: Path) -> tuple[OnnxLevel, ...]:
    """All levels of a card at temperature 1, coarsest first."""
    return tuple(OnnxLevel(row, folder) for row in card["levels"])
