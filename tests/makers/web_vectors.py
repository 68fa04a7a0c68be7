"""What the Python code gives for small inputs, for the tests of the page's TypeScript: writes web/test/vectors.json.

Run from the root of the checkout: ``PYTHONPATH=tests/makers python -m web_vectors``.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.images.black_background import blacken_background
from lodbrain.images.grid import closest_ras
from lodbrain.images.intensity import black_level, brain_scaling, foreground_scaling
from lodbrain.inference.boxes import Reach, alignment, boxes_around
from lodbrain.inference.calibration import read_calibration
from lodbrain.inference.decide import decide
from lodbrain.inference.postprocess import SEVERAL_PIECES, keep_largest
from lodbrain.inference.pyramid import interpolation_matrix, pool, working_grid
from lodbrain.inference.tiling import Box, tiles
from lodbrain.labels import N_CLASSES, SIDELESS
from lodbrain.models import zoo
from lodbrain.models.folded import fold
from lodbrain.models.lod import LevelOutput
from lodbrain.segmentation.caveats import cut_structures, shown_mm3, with_caveat
from lodbrain.segmentation.onnx_export import inference_card
from lodbrain.segmentation.volume_table import Volume, volumes, volumes_tsv

PATH = Path(__file__).resolve().parents[2] / "web" / "test" / "vectors.json"


def make() -> dict[str, Any]:
    """All vectors; the same on every run."""
    card, network = zoo.load("default")
    levels = fold(network, torch.float32)  # type: ignore[arg-type]
    content = inference_card(card, levels)
    finest_mm = content["voxels"]["finest_mm"]
    return {
        "card": content,
        "orientation": _orientations(),
        "ras": _ras(),
        "working_grid": _working_grids(finest_mm),
        "interpolation": _interpolations(),
        "pool": _pool(),
        "scaling": _scalings(),
        "background": _backgrounds(),
        "boxes": _boxes(levels),
        "tiles": _tiles(),
        "decide": [_decide(19), _decide(33)],
        "keep_largest": _keep_largest(),
        "volumes": _volumes(card.calibration),
        "edges": _edges(),
    }


def _orientations() -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    found = []
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        plain = np.eye(4)
        plain[:3, :3] = (np.eye(3) * np.array([1.0, 0.8, 1.2]))[:, order] * signs
        for angle in (0.0, np.pi / 4, float(random.uniform(-0.7, 0.7))):
            turn = np.eye(4)
            turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
            affine = np.round((turn @ plain).astype(np.float32).astype(np.float64), 7)
            turned = closest_ras(affine)
            found.append({"affine": affine.tolist(), "axes": turned.axes, "flipped": turned.flipped})
    return found


def _ras() -> dict[str, Any]:
    affine = np.array([[0, 0, 1.0, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    turned = closest_ras(affine)
    ras = turned.apply(data)
    return {
        "affine": affine.tolist(),
        "shape": data.shape,
        "stored": data.ravel(order="F").tolist(),
        "ras": _volume(ras),
    }


def _working_grids(finest_mm: float) -> list[dict[str, Any]]:
    sides = [(1, 1, 1), (0.7, 0.67, 0.67), (0.4, 0.4, 0.4), (0.5, 0.5, 0.5), (1, 1, 2), (0.43, 0.43, 2.5), (3, 3, 3.5)]
    found = []
    for spacing in sides:
        grid = working_grid((101, 90, 33), spacing, finest_mm)
        row = {"spacing": spacing, "shape": grid.shape, "spacing_mm": grid.spacing_mm}
        found.append(row | {"native": grid.native, "note": grid.note})
    return found


def _interpolations() -> list[dict[str, Any]]:
    cases = [(7, 1.0, 7, 1.0), (5, 1.0, 10, 0.5), (12, 0.43, 5, 1.0), (6, 2.5, 14, 1.0)]
    return [{"arguments": case, "matrix": _rounded(interpolation_matrix(*case).numpy())} for case in cases]


def _pool() -> dict[str, Any]:
    volume = np.random.default_rng(2).normal(size=(5, 4, 3)).astype(np.float32)
    return {"volume": _volume(volume), "pooled": _volume(pool(torch.from_numpy(volume)).numpy())}


def _scalings() -> dict[str, Any]:
    random = np.random.default_rng(3)
    image = random.gamma(2, 100, (13, 12, 11)).astype(np.float32)
    brain = random.random(image.shape) > 0.5
    tensor, found = torch.from_numpy(image), {}
    for name, mask in (("brain", brain), ("small", brain & (random.random(image.shape) > 0.9))):
        scaling = brain_scaling(tensor, torch.from_numpy(mask))
        found[name] = {"mask": mask.astype(int).ravel().tolist(), "scaling": _scaling(scaling)}
    return {
        "image": _volume(image),
        "black": black_level(tensor),
        "foreground": _scaling(foreground_scaling(tensor)),
        **found,
    }


def _backgrounds() -> list[dict[str, Any]]:
    random = np.random.default_rng(4)
    found = []
    for background, inner in ((-1000.0, None), (0.0, None), (300.0, 300.0), (5000.0, None)):
        scan = np.full((12, 11, 10), background, np.float32)
        scan[2:10, 2:9, 2:8] = np.round(random.gamma(4, 60, (8, 7, 6))) + 50
        if inner is not None:
            scan[5:7, 4:6, 4:6] = inner
        black, note = blacken_background(scan)
        found.append({"scan": _volume(scan), "black": _volume(black), "note": note, "shown": shown_mm3(scan, 2.0)})
    return found


def _boxes(levels: Sequence[Reach]) -> list[dict[str, Any]]:
    """Around a large brain, one at the edge, and with levels that see so little that doubling decides."""
    short_sighted = [SimpleNamespace(radius=2, stride=stride) for stride in (4, 2, 2)]
    found = []
    for chosen, voxel_mm, brain in (
        (levels, 4.0, ((10, 45), (5, 50), (8, 44))),
        (levels[:2], 4.6, ((0, 3), (20, 40), (9, 30))),
        (short_sighted, 9.0, ((20, 30), (21, 31), (20, 30))),
    ):
        shapes = [(51, 56, 47), (102, 112, 93), (203, 224, 185)][: len(chosen)]
        voxels = [voxel_mm / 2**p for p in range(len(chosen))]
        rows = [{"radius": level.radius, "alignment": alignment(level)} for level in chosen]
        boxes = boxes_around(brain, chosen, shapes, voxels)
        found.append({"levels": rows, "brain": brain, "shapes": shapes, "voxels_mm": voxels, "boxes": boxes})
    return found


def _tiles() -> list[dict[str, Any]]:
    cases: list[tuple[Box, int, int, int]] = [
        (((2, 14), (0, 4), (0, 4)), 2, 2, 160),
        (((20, 220), (16, 240), (8, 190)), 12, 2, 1_500_000),
        (((0, 96), (8, 104), (0, 88)), 8, 4, 90_000),
    ]
    return [
        {
            "arguments": case,
            "tiles": [
                {"core": tile.core, "read": tile.read}
                for tile in tiles(case[0], halo=case[1], align=case[2], most_voxels=case[3])
            ],
        }
        for case in cases
    ]


def _decide(classes: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(classes)
    logits = (3 * torch.randn((1, classes, 4, 5, 6), generator=random)).round(decimals=4)
    side = (2 * torch.randn((1, 1, 4, 5, 6), generator=random)).round(decimals=4) if classes == len(SIDELESS) else None
    found = decide(LevelOutput(logits, logits, side), posteriors=False)
    return {
        "sided": classes == N_CLASSES,
        "logits": _rounded(logits.numpy().ravel()),
        "side": None if side is None else _rounded(side.numpy().ravel()),
        "classes": found.classes.ravel().tolist(),
        "soft": _rounded(found.soft_volume_vox),
        "variance": _rounded(found.variance_vox),
    }


def _keep_largest() -> dict[str, Any]:
    random = np.random.default_rng(5)
    coarse = random.choice([0, 0, 1, 2, 3, 22], (6, 5, 5)).astype(np.uint8)
    classes = np.kron(coarse, np.ones((2, 2, 3), np.uint8)).astype(np.uint8)
    after = classes.copy()
    moved = keep_largest(after, leave=SEVERAL_PIECES["structures"])
    return {"classes": _volume(classes), "after": _volume(after), "moved": moved}


def _volumes(calibration: dict[str, Any]) -> dict[str, Any]:
    random = np.random.default_rng(6)
    classes = random.integers(0, N_CLASSES, (12, 11, 10))
    soft, variance = np.bincount(classes.ravel()) * 1.03, random.uniform(0, 12, N_CLASSES)
    rows = volumes(
        classes,
        soft,
        model_labels="structures",
        scheme="structures",
        voxel_volume_mm3=1.7,
        variance_vox=variance,
        calibration=read_calibration(calibration)[0],
    )
    stripped, sentence = with_caveat(rows, 1.2 * next(row.volume_mm3 for row in rows if row.name == "TIV"))
    return {
        "counts": np.bincount(classes.ravel()).tolist(),
        "soft": soft.tolist(),
        "variance": variance.tolist(),
        "tsv": volumes_tsv(rows),
        "stripped_tsv": volumes_tsv(stripped),
        "sentence": sentence,
    }


def _edges() -> dict[str, Any]:
    """Boxes at the low and the high end of each axis, one that only touches, and one inside."""
    labels = np.zeros((14, 12, 10), np.uint8)
    labels[:2, 3:6, 3:6], labels[-2:, 3:6, 3:6] = 10, 49
    labels[4:7, :2, 3:6], labels[4:7, -2:, 3:6] = 11, 50
    labels[8:11, 3:6, :2], labels[8:11, 3:6, -2:] = 12, 51
    labels[4:10, 8, 2:7], labels[5:8, 5:8, 4:7] = 17, 13
    labels[3, 9:, 2] = 53  # reaches the edge with one voxel of three
    labels[4:11, 7:, 1:9] = np.where(labels[4:11, 7:, 1:9] == 0, 2, labels[4:11, 7:, 1:9])
    labels[4:11, -1, 1:9][labels[4:11, -1, 1:9] == 2] = 0
    labels[10, -1, 8] = 2  # one voxel of hundreds
    spacing_mm = np.array([0.9, 1.1, 2.0])
    numbers = [int(index) for index in np.unique(labels) if index]
    sizes = {index: float((labels == index).sum() * spacing_mm.prod()) for index in numbers}
    rows = [
        *(Volume(index, f"label {index}", size, size) for index, size in sizes.items()),
        Volume(None, "all", 9.0, 9.0),
    ]
    return {
        "labels": labels.ravel(order="F").tolist(),
        "shape": labels.shape,
        "spacing_mm": spacing_mm.tolist(),
        "rows": [{"index": row.index, "name": row.name, "volumeMm3": row.volume_mm3} for row in rows],
        "cut": cut_structures(labels, rows, spacing_mm),
    }


def _volume(volume: NDArray[Any]) -> dict[str, Any]:
    return {"shape": volume.shape, "data": _rounded(volume.ravel())}


def _scaling(scaling: Any) -> dict[str, float]:
    return {"offset": scaling.offset, "unit": scaling.unit, "limit": scaling.limit}


def _rounded(values: NDArray[Any]) -> Any:
    """Nine digits, which is all of a float32."""
    if values.ndim > 1:
        return [_rounded(row) for row in values]
    return [float(f"{value:.9g}") if values.dtype.kind == "f" else int(value) for value in values.tolist()]


if __name__ == "__main__":
    PATH.parent.mkdir(parents=True, exist_ok=True)
    PATH.write_text(json.dumps(make(), separators=(",", ":")) + "\n", encoding="utf-8")
    print(PATH)
