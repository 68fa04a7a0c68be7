"""Export of a ladder as ONNX: a graph for each level, and a JSON card with all that inference needs besides."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from lodbrain.errors import UsageError
from lodbrain.images import black_background as background
from lodbrain.images import intensity
from lodbrain.inference import boxes, brain_search, pyramid
from lodbrain.inference.calibration import Calibration, read_calibration
from lodbrain.inference.postprocess import SEVERAL_PIECES
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, STRUCTURES
from lodbrain.models import onnx_graph, zoo
from lodbrain.models.card import Card
from lodbrain.models.folded import FoldedLevel, fold
from lodbrain.models.lod import Ladder
from lodbrain.segmentation import caveats
from lodbrain.segmentation.outputs import check_writable
from lodbrain.system.atomic import write_bytes, write_text
from lodbrain.system.hashing import sha256_of
from lodbrain.system.records import json_text
from lodbrain.version import __version__

#: Raised with every change that a reader of the card must know of.
FORMAT_VERSION = 1


def export_onnx(model: str, folder: str | PathLike[str]) -> list[Path]:
    """Write ``<name>-level<exponent>.onnx`` for each level, and ``<name>.json``, the card; return the paths.

    Parameters
    ----------
    model : str
        Name in the zoo, or a model file. A ladder.
    folder : path
        Made if it is not there. Files of the same names are replaced.

    Raises
    ------
    UsageError
        If the model is not a ladder.
    WeightsError
        As `zoo.load`.
    OutputError
        If the folder cannot be written.
    """
    card, network = zoo.load(model)
    if not isinstance(network, Ladder):
        what = f"{card.name} is not a ladder, the only architecture that is exported"
        raise UsageError("architecture", None, what, "See: lodbrain models list")
    out = Path(folder)
    check_writable(out)
    levels = fold(network, torch.float32)
    rows, written = [], []
    for position, level in enumerate(levels):
        graph = onnx_graph.level_graph(level, levels[position - 1].config if position else None)
        data = graph.SerializeToString(deterministic=True)
        path = out / f"{card.name}-level{level.config.exponent}.onnx"
        write_bytes(path, data)
        written.append(path)
        rows.append({"file": path.name, "bytes": len(data), "sha256": sha256_of(data)})
    content = inference_card(card, levels)
    for level_row, file_row in zip(content["levels"], rows, strict=True):
        level_row |= file_row
    path = out / f"{card.name}.json"
    write_text(path, json_text(content))
    return [*written, path]


def inference_card(card: Card, levels: Sequence[FoldedLevel]) -> dict[str, Any]:
    """Return what a program needs to segment a scan with the graphs of a ladder as `inference.ladder` does.

    Parameters
    ----------
    levels : sequence of FoldedLevel
        All of the ladder, coarsest first.

    Returns
    -------
    dict
        Lengths in mm, shares and probabilities from 0 to 1, percentiles from 0 to 100. Classes are positions in
        ``labels``.
    """
    calibrations = read_calibration(card.calibration)
    return {
        "format": "lodbrain-onnx",
        "format_version": FORMAT_VERSION,
        "software": "lodbrain",
        "version": __version__,
        "purpose": "for research, not a medical device",
        "name": card.name,
        "description": card.description,
        "licence": card.licence,
        "citation": card.citation,
        "weights_sha256": card.sha256,
        "levels": [_level_row(level, calibrations.get(level.config.exponent, Calibration())) for level in levels],
        "voxels": {
            "largest_ratio": pyramid.LARGEST_RATIO,
            "finest_mm": brain_search.FINEST_SHARE * 2.0 ** levels[-1].config.exponent,
            "coarsest_resampled_mm": pyramid.COARSEST_RESAMPLED_MM,
        },
        "background": {
            "face_share": background.FACE_SHARE,
            "dark_percentile": background.DARK,
            "bright_percentile": background.BRIGHT,
            "below": background.BELOW,
            "above": background.ABOVE,
            "sample_voxels": background.SAMPLE,
        },
        "intensity": {
            "below_black": intensity.BELOW_BLACK,
            "most_values": intensity.MOST_VALUES,
            "foreground_limit": intensity.FOREGROUND_LIMIT,
            "brain_limit": intensity.BRAIN_LIMIT,
            "brain_quantiles": list(intensity.BRAIN_QUANTILES),
            "least_brain_voxels": intensity.LEAST_BRAIN_VOXELS,
        },
        "brain": {
            "least_posterior": brain_search.LEAST_POSTERIOR,
            "least_ml": brain_search.LEAST_ML,
            "plausible_ml": list(brain_search.PLAUSIBLE_ML),
        },
        "boxes": {"margin_mm": boxes.MARGIN_MM, "doubling_halo": boxes.DOUBLING_HALO},
        "labels": [
            {
                "index": label.index,
                "name": label.name,
                "color": list(label.color),
                "side": label.side,
                "mirror": label.mirror,
                "tissue": label.tissue,
                "sideless": int(SIDELESS_OF_CLASS[c]),
            }
            for c, label in enumerate(STRUCTURES)
        ],
        "sideless": list(SIDELESS),
        "postprocessing": {"connectivity": 26, "several_pieces": list(SEVERAL_PIECES["structures"])},
        "stripping": {"most_ratio": caveats.MOST_RATIO, "note": caveats.LIMITED},
    }


def _level_row(level: FoldedLevel, calibration: Calibration) -> dict[str, Any]:
    config = level.config
    return {
        "exponent": config.exponent,
        "channels": list(config.channels),
        "sided": config.sided,
        "block": config.block,
        "stride": level.stride,
        "radius": level.radius,
        "alignment": boxes.alignment(level),
        "halo": boxes.halo(level),
        "outputs": dict(onnx_graph.outputs_of(config)),
        "temperature": calibration.temperature,
        "coverage": calibration.coverage,
        "widths": dict(calibration.widths),
    }
