"""Is it worth segmenting a 9.4 T-like scan at its own 0.6 mm, and how much bias field does the model bear?

    python benchmarks/submillimetre.py MAP... --names NAMES.txt -o submillimetre.tsv

Brain-only label maps of about 0.6 mm, that the model was not trained on, become T1w scans with a transmit field and a
receive bias of growing strength. Each is segmented at its own voxel size, and pooled to 1 mm with the posteriors
interpolated back. Dice of grey matter (cortex) and of cerebral white matter, both sides together, against the map.

NAMES lists the numbers of the maps' labels with FreeSurfer's names, as its colour tables do; without it the maps hold
FreeSurfer's numbers.
"""

import argparse
import csv
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.images.io import read_labels
from lodbrain.inference.predict import Options, predict
from lodbrain.inference.pyramid import WorkingGrid, resample
from lodbrain.labels import STRUCTURES
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.synthesis import generator
from lodbrain.synthesis.deform import Shapes
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import LabelMap, prepare
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.receive import RandomBias

#: Strength of the generator's receive bias at 9.4 T (middle of its range), which the factors multiply.
STRENGTH = 0.4
FACTORS = (0.0, 0.5, 1.0, 1.5, 2.0)
COARSE_MM = 1.0
PARTS = {"grey matter": "Cerebral-Cortex", "white matter": "Cerebral-White-Matter"}


def main() -> int:
    """Print a row for each map and strength, and means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--names", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    model = load_model(Settings(model=asked.model))
    with asked.out.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["map", "bias", "run_at", *PARTS])
        for path in asked.maps:
            labels = read_map(path, asked.names)
            for factor in FACTORS:
                for run_at, dice in scores(labels, factor, model, asked.seed):
                    row = [path.name.split(".")[0], factor, run_at, *(f"{value:.4f}" for value in dice)]
                    writer.writerow(row)
                    file.flush()
                    print(*row, flush=True)
    return 0


def read_map(path: Path, names: Path | None) -> LabelMap:
    """A label map in FreeSurfer's numbers, prepared."""
    if names is None:
        return prepare(read_labels(path), path.name)
    script = runpy.run_path(str(Path(__file__).parents[1] / "configs" / "brain_maps.py"))
    return prepare(script["read_named"](path, names), path.name)


def scores(labels: LabelMap, factor: float, model: Model, seed: int) -> Iterator[tuple[str, list[float]]]:
    """Dice of the parts, run at the scan's own voxels and at 1 mm."""
    voxel = float(labels.spacing_mm.mean())
    settings = generator.GeneratorSettings(
        shapes=Shapes(0, 0, 0, (1, 1), 0, 0, 0, (1, 1), 0),
        field_of_view=RandomFieldOfView((voxel, voxel), 0, 0, 0, 0),
        contrasts=Contrasts(t1w_share=1, ordered_share=0),
        uhf_share=1.0,
        bias=RandomBias(uhf=(STRENGTH * factor, STRENGTH * factor)),
    )
    plan = generator.draw_plan(labels, settings, torch.Generator().manual_seed(seed))
    image, target = generator.render(plan, labels, plan.scan)
    truth = target.argmax(0).numpy()
    del target
    spacing = plan.scan.spacing_mm
    fine = run(image, spacing, model, posteriors=False)
    yield f"{voxel:.2g} mm", [dice(fine[0], truth, part) for part in PARTS.values()]
    shape = (image.shape[0], image.shape[1], image.shape[2])
    grid = WorkingGrid(shape, spacing, True)
    x, y, z = (max(1, round(n * v / COARSE_MM)) for n, v in zip(shape, spacing, strict=True))
    coarse_grid = replace(grid, shape=(x, y, z), spacing_mm=(COARSE_MM, COARSE_MM, COARSE_MM))
    _, posteriors = run(resample(image.numpy(), grid, coarse_grid), coarse_grid.spacing_mm, model, posteriors=True)
    assert posteriors is not None
    best, most = np.zeros(shape, np.uint8), torch.full(shape, -1.0)
    for number, posterior in enumerate(posteriors):
        here = resample(posterior.astype(np.float32), coarse_grid, grid)
        best[(here > most).numpy()] = number
        torch.maximum(most, here, out=most)
    yield f"{COARSE_MM:g} mm", [dice(best, truth, part) for part in PARTS.values()]


def run(
    image: torch.Tensor, spacing: tuple[float, float, float], model: Model, *, posteriors: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float16] | None]:
    """Classes, and posteriors if asked for."""
    options = Options(device=model.device, posteriors=posteriors)
    found = predict(image.numpy(), spacing, card=model.card, network=model.network, options=options)
    return found.classes, found.posteriors


def dice(classes: NDArray[np.uint8], truth: NDArray[np.integer], part: str) -> float:
    """Of one structure, both sides together."""
    members = [number for number, label in enumerate(STRUCTURES) if label.name.endswith(part)]
    p, t = np.isin(classes, members), np.isin(truth, members)
    return 2 * float((p & t).sum()) / float(p.sum() + t.sum())


if __name__ == "__main__":
    sys.exit(main())
