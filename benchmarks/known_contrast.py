"""Does the contrast analysis find a contrast that is known?

    python benchmarks/known_contrast.py MAP... -o known.tsv [--model default] [--voxel-size 1.0]

Each label map becomes a T1w scan with a bias field, noise and blur, once with its head and once skull-stripped to
within 0 to 2 mm of the brain. It is analysed as `lodbrain contrast` does it, without labels. A row for each structure:
the mean that was put in, and the standard deviation of the voxels all of whose neighbours bear the same label, in the
same scan without its bias field; and both as fitted. White matter is 160. The bias field is compared, too.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from likeness import inner

from lodbrain.contrast_analysis.analysis import WHITE_LEVEL, analyse
from lodbrain.contrast_analysis.mixture import FLUID, GREY, GROUPS
from lodbrain.images.image import Image
from lodbrain.images.scan_labels import to_classes
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS
from lodbrain.segmentation.scan import segment_image
from lodbrain.segmentation.settings import Model, load_model
from lodbrain.segmentation.settings import Settings as Inference
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import GeneratorSettings, draw_plan, render
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import CLASS_OF_CODE, LabelMap, load
from lodbrain.synthesis.steps.background_noise import RandomBackground
from lodbrain.synthesis.steps.defacing import RandomDefacing
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.ghosts import RandomGhosts
from lodbrain.synthesis.steps.lesions import RandomLesions
from lodbrain.synthesis.steps.motion import RandomMotion
from lodbrain.synthesis.steps.skull_stripping import RandomStripping
from lodbrain.synthesis.steps.texture import RandomTexture
from lodbrain.synthesis.steps.thick_slices import RandomSlices
from lodbrain.synthesis.steps.tone import RandomTone
from lodbrain.synthesis.steps.wrap import RandomWrap

FEWEST_VOXELS = 50

#: A T1w contrast as scanners make them, with what changes it or cannot be told from it switched off.
SETTINGS = GeneratorSettings(
    field_of_view=RandomFieldOfView(tight_share=0.0, stripped_tight_share=0.0, anisotropy=0.0),
    lesions=RandomLesions(0.0),
    contrasts=Contrasts(t1w_share=1.0, spread=0.7, same_sides_share=1.0),
    texture=RandomTexture(0.0),
    uhf_share=0.0,
    wrap=RandomWrap(0.0),
    slices=RandomSlices(0.0),
    motion=RandomMotion(0.0),
    ghosts=RandomGhosts(0.0),
    background=RandomBackground(0.0, 0.0, 0.0),
    tone=RandomTone(0.0, 0.0),
    defacing=RandomDefacing(0.0),
)
ARMS = {
    "head": RandomStripping(0.0),
    "stripped": RandomStripping(share=1.0, bad_share=0.0, margin_mm=(0.0, 2.0), error_mm=1.0),
}


def rows(labels: LabelMap, arm: str, seed: int, model: Model, voxel_mm: float) -> Iterator[dict[str, Any]]:
    """True and fitted looks of one scan."""
    settings = replace(SETTINGS, stripping=ARMS[arm])
    plan = draw_plan(labels, settings, torch.Generator().manual_seed(seed), voxel_mm=voxel_mm)
    assert plan.bias is not None
    scan, target = (part.numpy() for part in render(plan, labels, target="classes"))
    even = render(replace(plan, bias=None), labels, target="classes")[0].numpy()
    image = Image(scan, _affine(plan.scan))
    found = segment_image(image, model, settings=Inference(labels="structures", posteriors=True))
    fit = analyse(scan, np.array(plan.scan.spacing_mm), to_classes(found.labels, image.affine), found.posteriors)
    unit = WHITE_LEVEL / plan.contrast.white_matter
    structure = SIDELESS_OF_CLASS[target]
    pure = inner(structure)
    field = plan.bias.field.on(plan.scan, "cpu").numpy() * plan.bias.strength
    brain = (structure > 0) & (scan != 0)
    true = field[brain] - field[brain].mean()
    seen = fit.field.on(scan.shape, np.array(plan.scan.spacing_mm))[brain]
    bias = {"true_bias": true.std(), "fitted_bias": fit.bias.log_sd, "bias_error": (seen - seen.mean() - true).std()}
    for position, name in enumerate(SIDELESS):
        values = even[pure & (structure == position)]
        mean = fit.mixture.means[position]
        if position and len(values) >= FEWEST_VOXELS and np.isfinite(mean):
            code = next(k for k, c in enumerate(CLASS_OF_CODE.tolist()) if SIDELESS_OF_CLASS[c] == position)
            yield {
                "map": Path(labels.name).name.split(".")[0],
                "arm": arm,
                "structure": name,
                "true_mean": float(plan.contrast.means[code, 0]) * unit,
                "fitted_mean": mean,
                "true_sd": values.std() * unit,
                "fitted_sd": fit.mixture.sds[position],
                "noise": plan.noise.level * WHITE_LEVEL if plan.noise else 0.0,
                "fitted_noise": fit.noise.sd * WHITE_LEVEL,
                **bias,
            }


def _affine(grid: Grid) -> np.ndarray[Any, np.dtype[np.float64]]:
    affine = np.diag([*grid.spacing_mm, 1.0])
    affine[:3, 3] = [o + v / 2 for o, v in zip(grid.corner_mm, grid.spacing_mm, strict=True)]
    return affine


def summary(done: list[dict[str, Any]]) -> None:
    """Print the error of mean and spread by kind of tissue: median and largest over structures and scans."""
    kinds: dict[str, tuple[str, ...]] = {"white matter": ("Cerebral-White-Matter",), "cortex": ("Cerebral-Cortex",)}
    kinds |= {"other grey": GROUPS[GREY][1:], "CSF": ("CSF",)}
    kinds |= {"ventricles": tuple(name for name in GROUPS[FLUID] if name != "CSF")}
    named = {name for names in kinds.values() for name in names}
    kinds["other"] = tuple(name for name in SIDELESS[1:] if name not in named)
    for arm in ARMS:
        for kind, names in kinds.items():
            chosen = [row for row in done if row["arm"] == arm and row["structure"] in names]
            if chosen:
                off = np.array([row["fitted_mean"] - row["true_mean"] for row in chosen])
                wide = np.array([row["fitted_sd"] / row["true_sd"] - 1 for row in chosen])
                print(
                    f"{arm:9s} {kind:13s} n {len(off):3d}  mean off by {np.median(off):+5.1f} (median), "
                    f"{np.median(abs(off)):4.1f} (median size), {abs(off).max():4.1f} (largest)  "
                    f"SD {np.median(wide):+5.0%} (median), {abs(wide).max():4.0%} (largest)"
                )


def main() -> None:
    """Write all rows, print a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--model", default="default")
    parser.add_argument("--voxel-size", type=float, default=1.0)
    asked = parser.parse_args()
    model = load_model(Inference(model=asked.model))
    done: list[dict[str, Any]] = []
    for seed, path in enumerate(asked.maps):
        labels = load(path)
        for arm in ARMS:
            done += rows(labels, arm, seed, model, asked.voxel_size)
            with asked.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(done[0]), delimiter="\t")
                writer.writeheader()
                for row in done:
                    writer.writerow({k: v if isinstance(v, str) else f"{v:.4g}" for k, v in row.items()})
            print(f"{path.name}, {arm}: done", flush=True)
    summary(done)


if __name__ == "__main__":
    main()
