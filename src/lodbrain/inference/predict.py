"""Prediction of classes from an intensity array, with the network named in a model's card."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from lodbrain.inference.brain_search import NetworkInput, network_input
from lodbrain.inference.calibration import read_calibration
from lodbrain.inference.prediction import Options, Prediction
from lodbrain.system.progress import Progress

if TYPE_CHECKING:
    from torch import nn

    from lodbrain.models.card import Card
    from lodbrain.models.lod import Ladder
    from lodbrain.models.lod_brain_2024 import LodBrain2024

__all__ = ["Options", "Prediction", "Progress", "predict"]

#: Smallest voxel without a warning. Measured on a head at 0.67 mm: its brainstem has half the volume it has at 1 mm.
LOD_BRAIN_2024_FINEST_MM = 0.85


def predict(
    data: NDArray[np.float32] | NetworkInput,
    spacing_mm: tuple[float, float, float],
    *,
    card: Card,
    network: nn.Module,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Prediction:
    """Segment an array, on its own grid.

    Parameters
    ----------
    data : (X, Y, Z) float32
        Finite intensities in RAS order; or what `brain_search.network_input` made of them.
    spacing_mm : (3,) float
        Voxel sides.
    card : Card
        Names the architecture.
    network : torch.nn.Module
        In eval mode.

    Raises
    ------
    InputError
        ``"no-brain"`` if no brain is found.
    MemoryError
        If the CPU's memory is not enough. If a GPU's is not enough, smaller tiles and then the CPU are used.
    """
    options, report = options or Options(), progress or (lambda share, text: None)
    x, y, z = (float(v) for v in spacing_mm)
    given = data if isinstance(data, NetworkInput) else network_input(data, (x, y, z), network)
    if card.architecture in ("lod", "consensus"):
        from lodbrain.inference.fallback import run_with_fallback
        from lodbrain.inference.ladder import run_ladder
        from lodbrain.models.consensus import Consensus

        consensus = network if isinstance(network, Consensus) else None
        ladder = cast("Ladder", network) if consensus is None else consensus.ladder
        calibrations = read_calibration(card.calibration if consensus is None else consensus.ladder_calibration)
        mixed = {} if consensus is None else read_calibration(card.calibration)

        def run(options: Options) -> Prediction:
            return run_ladder(
                given,
                network=ladder,
                calibrations=calibrations,
                options=options,
                progress=report,
                consensus=consensus,
                mixed_calibrations=mixed,
            )

        return run_with_fallback(run, options)
    import torch

    from lodbrain.images.intensity import from_black
    from lodbrain.inference.decide import repooled
    from lodbrain.inference.lod_brain_2024_volume import predict_lod_brain_2024
    from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
    from lodbrain.inference.precision import working_dtype

    result = predict_lod_brain_2024(
        cast("LodBrain2024", network),
        from_black(given.volume),  # its grid is padded with 0 before it is z-scored
        device=options.device,
        dtype=working_dtype(options.dtype, torch.device(options.device)),
        posteriors=options.posteriors,
        progress=report,
    )
    if options.postprocess:
        keep_largest(result.classes, leave=SEVERAL_PIECES["tissue"])
    notes = given.notes
    if min(x, y, z) < LOD_BRAIN_2024_FINEST_MM:
        notes += ("lod-brain-2024 was trained at about 1 mm; on these voxels its result may be inaccurate",)
    posteriors = None if result.posteriors is None else repooled(result.posteriors, options.pooling)
    return replace(result, posteriors=posteriors, notes=notes)
