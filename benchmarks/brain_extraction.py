"""Brain masks against references: share of the brain that is lost, and millimetres beyond it, for several thresholds.

    python benchmarks/brain_extraction.py synthetic --draws 8 --seed 1 -o synthetic.tsv
    python benchmarks/brain_extraction.py scans SCAN=LABELS... --thresholds 0.2 --without-csf 0.02 -o scans.tsv

A mask without CSF is the part of the mask with CSF where the posterior of brain alone is above its own threshold.

`synthetic` draws whole heads from the label maps that are reserved for validation: the threshold is chosen on them.
`scans` measures on scans with a reference: a brain mask, or a label map in FreeSurfer's numbers or those of a table
(`--table`, with the columns index and freesurfer).

`lost` is the share of the reference brain that is not in the mask, in percent. `beyond_mm` is the 95th percentile of
the distance of the mask's outermost voxels to the reference (0 inside of it): for a mask with CSF, to brain and CSF,
where the reference has CSF. `beyond_ml` is the volume of the mask outside of the reference.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy import ndimage

from lodbrain.evaluation.validation_scans import validation_maps
from lodbrain.images import read_image, read_labels, to_ras
from lodbrain.inference.brain_mask import brain_odds, solid
from lodbrain.inference.brain_search import network_input
from lodbrain.inference.prediction import Options
from lodbrain.labels import INDEX_OF_CLASS
from lodbrain.labels.freesurfer import structures_of
from lodbrain.labels.numbers import replace_numbers
from lodbrain.labels.structures import CSF
from lodbrain.models.consensus import Consensus
from lodbrain.segmentation.settings import Settings, load_model
from lodbrain.synthesis.generator import GeneratorSettings as Effects
from lodbrain.synthesis.generator import draw_plan, render
from lodbrain.synthesis.label_map import load
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.skull_stripping import RandomStripping
from lodbrain.system.records import write_tsv

THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
WITHOUT_CSF = (0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
VOXEL_MM = (0.7, 1.3)
COLUMNS = ("scan", "csf", "threshold", "lost", "beyond_mm", "beyond_ml", "dice", "brain_ml")
MARGIN_MM = 40.0

#: Name, scan, structures of the reference, voxel sides.
Case: TypeAlias = tuple[str, np.ndarray, np.ndarray, tuple[float, float, float]]


def main() -> int:
    """Print and write a row for each scan, kind of mask and threshold, then the means over scans."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["synthetic", "scans"])
    parser.add_argument("scans", nargs="*", metavar="SCAN=LABELS")
    parser.add_argument("--draws", type=int, default=8, help="synthetic scans of each label map")
    parser.add_argument("--voxel-mm", type=float, nargs=2, default=VOXEL_MM, help="range of their voxel sides")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", default="default")
    parser.add_argument("--thresholds", type=float, nargs="*", default=THRESHOLDS, help="of masks with CSF")
    parser.add_argument("--without-csf", type=float, nargs="*", default=WITHOUT_CSF, help="of masks without CSF")
    parser.add_argument("--maps", nargs="+", default=[], help="label maps to draw from; default: those for validation")
    parser.add_argument("--table", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    model = load_model(Settings(model=asked.model, device="cpu", labels="tissue"))
    network: Any = model.network.ladder if isinstance(model.network, Consensus) else model.network
    rows = []
    kinds = {csf: each for csf, each in ((True, asked.thresholds), (False, asked.without_csf)) if each}
    if asked.kind == "synthetic":
        cases = drawn(asked.maps, asked.draws, asked.seed, (asked.voxel_mm[0], asked.voxel_mm[1]))
    else:
        cases = read(asked.scans, asked.table)
    for name, image, structures, spacing_mm in cases:
        odds = brain_odds(network_input(image, spacing_mm, network), network=network, options=Options())
        near = around(structures > 0, spacing_mm)
        structures = structures[near]
        brain = (structures > 0) & (structures != CSF)
        with_csf = odds.above()[near]
        for csf, thresholds in kinds.items():
            outer = structures > 0 if csf else brain
            far = ndimage.distance_transform_edt(~outer, sampling=spacing_mm)
            for threshold in thresholds:
                mask = odds.above(threshold, csf=csf)[near]
                mask = solid(mask if csf else mask & with_csf)
                rows.append((name, int(csf), threshold, *measures(mask, brain, outer, far, spacing_mm)))
                print(*rows[-1], sep="\t", flush=True)
    for csf, thresholds in kinds.items():
        for threshold in thresholds:
            own = np.array([row[3:] for row in rows if row[1:3] == (int(csf), threshold)])
            mean, most = own.mean(0), own.max(0)
            print(
                f"csf {int(csf)} threshold {threshold}: lost {mean[0]:.3f} % (most {most[0]:.2f}), "
                f"beyond {mean[1]:.2f} mm (most {most[1]:.2f}), {mean[2]:.1f} ml, Dice {mean[3]:.4f}"
            )
    write_tsv(asked.out, COLUMNS, rows)
    return 0


def around(reference: np.ndarray, spacing_mm: tuple[float, float, float]) -> tuple[slice, ...]:
    """Return the box of the reference with a margin: what lies further away is not measured."""
    box = ndimage.find_objects(reference.astype(np.uint8))[0]
    margins = (int(MARGIN_MM / side) for side in spacing_mm)
    return tuple(
        slice(max(0, part.start - margin), part.stop + margin) for part, margin in zip(box, margins, strict=True)
    )


def measures(
    mask: np.ndarray, brain: np.ndarray, outer: np.ndarray, far: np.ndarray, spacing_mm: tuple[float, float, float]
) -> tuple[float, ...]:
    """Return the columns from `lost` on."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000
    surface = mask & ~ndimage.binary_erosion(mask)
    dice = 2 * np.count_nonzero(mask & outer) / (np.count_nonzero(mask) + np.count_nonzero(outer))
    return (
        round(100 * np.count_nonzero(brain & ~mask) / np.count_nonzero(brain), 4),
        round(float(np.percentile(far[surface], 95)) if surface.any() else 0.0, 3),
        round(np.count_nonzero(mask & ~outer) * voxel_ml, 2),
        round(dice, 5),
        round(np.count_nonzero(brain) * voxel_ml, 1),
    )


def drawn(maps: list[str], draws: int, seed: int, voxel_mm: tuple[float, float]) -> Iterator[Case]:
    """Yield synthetic T1w heads with all effects of the generator but skull-stripping."""
    effects = replace(
        Effects(), field_of_view=RandomFieldOfView(voxel_mm=voxel_mm), stripping=RandomStripping(share=0.0)
    )
    for path in validation_maps(maps):
        labels = load(path)
        for draw in range(draws):
            random = torch.Generator().manual_seed(1000 * seed + draw)
            plan = draw_plan(labels, effects, random)
            image, target = render(plan, labels, plan.scan)
            name = f"{path.name.split('.')[0]}/{draw}"
            yield name, image.numpy(), INDEX_OF_CLASS[target.argmax(0).numpy()], plan.scan.spacing_mm


def read(
    pairs: list[str], table: Path | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple[float, float, float]]]:
    """Yield scans with the structures of their references; a mask counts as brain, its number is 1."""
    for pair in pairs:
        scan, _, labels = pair.partition("=")
        image, _ = to_ras(read_image(scan))
        reference, _ = to_ras(read_labels(labels))
        x, y, z = image.spacing_mm.tolist()
        numbers = reference.data
        if table is not None:
            numbers = replace_numbers(
                numbers, dict.fromkeys(np.unique(numbers).tolist(), 0) | in_table(table), np.int16
            )
        structures = numbers if numbers.max() == 1 else structures_of(numbers, reference.affine, path=labels)
        yield Path(scan).name, np.ascontiguousarray(image.data), structures, (x, y, z)


def in_table(path: Path) -> dict[int, int]:
    """Return FreeSurfer's number of each number in a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return {int(row["index"]): int(row["freesurfer"]) for row in csv.DictReader(file, delimiter="\t")}


if __name__ == "__main__":
    sys.exit(main())
