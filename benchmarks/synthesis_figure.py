"""Draw docs/images/synthesis-steps.jpg: each step of the generator, off and on, on one slab of one head.

python benchmarks/synthesis_figure.py LABELMAP -o docs/images/synthesis-steps.jpg
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lodbrain.labels import STRUCTURES
from lodbrain.synthesis.deform import Deformation, Shapes
from lodbrain.synthesis.fields import Grid, RandomField
from lodbrain.synthesis.generator import ScanPlan, render
from lodbrain.synthesis.intensities import Contrasts, draw_contrast
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.synthesis.steps.background_noise import Background
from lodbrain.synthesis.steps.blur import Blur
from lodbrain.synthesis.steps.defacing import Defacing
from lodbrain.synthesis.steps.ghosts import Ghosts
from lodbrain.synthesis.steps.lesions import Lesions
from lodbrain.synthesis.steps.motion import Motion, Move
from lodbrain.synthesis.steps.noise import Noise
from lodbrain.synthesis.steps.receive import Bias
from lodbrain.synthesis.steps.skull_stripping import Bite, Stripping
from lodbrain.synthesis.steps.susceptibility import RandomSusceptibility
from lodbrain.synthesis.steps.texture import Texture
from lodbrain.synthesis.steps.thick_slices import Slices
from lodbrain.synthesis.steps.tone import Tone
from lodbrain.synthesis.steps.transmit import RandomTransmit
from lodbrain.synthesis.steps.ventricles import Ventricles
from lodbrain.synthesis.steps.wrap import Wrap
from lodbrain.synthesis.streams import Stream

AXIAL = Grid((176, 216, 16), (1.0, 1.0, 1.0), (-88.0, -108.0, -2.0))
CORONAL = Grid((176, 16, 200), (1.0, 1.0, 1.0), (-88.0, -24.0, -112.0))
SAGITTAL = Grid((16, 230, 216), (1.0, 1.0, 1.0), (4.0, -112.0, -128.0))
COLUMNS, CELL_INCHES, DPI = 5, 3.0, 72

#: Left, right and what has no side.
_SIDES = {"left": (0.2, 0.5, 1.0), "right": (1.0, 0.5, 0.1), None: (0.5, 0.5, 0.5)}
COLOURS = np.array([_SIDES[label.side] for label in STRUCTURES])


def plain(labels: LabelMap) -> ScanPlan:
    """A plan with a T1w contrast and nothing else."""
    x, y, z = labels.brain_box_mm.mean(0).tolist()
    a, b, c = (labels.ventricle_mm - labels.brain_box_mm.mean(0)).tolist()
    contrast = draw_contrast(Contrasts(t1w_share=1.0, spread=0.3, within=6.0), torch.Generator().manual_seed(11))
    pose = Deformation((x, y, z), ventricles_mm=(a, b, c))
    return ScanPlan(seed=1, scan=AXIAL, deformation=pose, lesions=None, contrast=contrast, parts=RandomField(3, 22.0))


def steps(plan: ScanPlan, labels: LabelMap) -> list[tuple[str, Grid, ScanPlan]]:
    """Name, grid and plan of each picture."""
    pose, field = plan.deformation, RandomField(5, 70.0)
    shape = Shapes(rotation_deg=12.0, deformation_mm=5.0, large_rotation_share=0.0, flip_share=0.0)
    drawn = shape.draw(Stream(8), labels.brain_box_mm.mean(0), labels.ventricle_mm)
    affine = replace(drawn, velocity_mm=0.0, ventricle_factor=1.0)
    elastic = replace(pose, velocity_mm=5.0, velocity_seed=4)
    shift, still = (3.0, 4.0, 0.0), (0.0, 0.0, 0.0)
    moves = (Move(0.42, shift, (0.0, 0.0, 4.0)), Move(0.6, (0.0, -3.0, 0.0), still))
    narrow = AXIAL.crop((0, 42, 0), (176, 132, 16))
    stripping = Stripping(2.0, RandomField(2, 15.0), 1.5)
    return [
        ("affine", AXIAL, replace(plan, deformation=affine)),
        ("elastic (diffeomorphic)", AXIAL, replace(plan, deformation=elastic)),
        ("larger ventricles", AXIAL, replace(plan, deformation=replace(pose, ventricle_factor=2.0))),
        ("side flip: labels swap", AXIAL, replace(plan, deformation=replace(pose, flipped=True))),
        (
            "random intensities",
            AXIAL,
            replace(plan, contrast=draw_contrast(Contrasts(0.0, 0.0), torch.Generator().manual_seed(2))),
        ),
        ("texture", AXIAL, replace(plan, texture=Texture(RandomField(9, 8.0), 0.2))),
        ("ventricles: a fifth of them left", AXIAL, replace(plan, ventricles=Ventricles(0.2))),
        ("lesions: still white matter", AXIAL, replace(plan, lesions=Lesions(RandomField(6, 6.0), 0.06))),
        ("bias field", AXIAL, replace(plan, bias=Bias(field, 0.8))),
        ("7 T: transmit field (B1+)", CORONAL, replace(plan, transmit=RandomTransmit().draw(Stream(5)))),
        ("7 T: strong receive bias", CORONAL, replace(plan, bias=Bias(RandomField(7, 60.0), 1.5))),
        ("7 T: T2* drop-outs", SAGITTAL, replace(plan, susceptibility=RandomSusceptibility(26.0).draw(Stream(3)))),
        ("MP2RAGE background", SAGITTAL, replace(plan, background=Background("mp2rage", 1.1))),
        ("noise, Gaussian", AXIAL, replace(plan, noise=Noise(0.08))),
        ("noise, Rician", AXIAL, replace(plan, noise=Noise(0.08, rician=True))),
        ("gamma", AXIAL, replace(plan, tone=Tone(1.6))),
        ("clipping", AXIAL, replace(plan, tone=Tone(1.0, 0.95))),
        ("blur", AXIAL, replace(plan, blur=Blur(2.5))),
        ("resolution: 2 mm voxels", Grid((88, 108, 8), (2.0,) * 3, AXIAL.corner_mm), plan),
        ("thick slices: 5 mm", SAGITTAL, replace(plan, slices=Slices(2, 5.0))),
        ("ghosts", SAGITTAL, replace(plan, ghosts=Ghosts(1, 3, 0.3))),
        ("motion (k-space)", AXIAL, replace(plan, motion=Motion(1, moves))),
        ("wrap: the field of view is cut", narrow, replace(plan, scan=narrow, wrap=Wrap(1))),
        ("skull-stripping", SAGITTAL, replace(plan, stripping=stripping)),
        (
            "bad skull-stripping",
            SAGITTAL,
            replace(plan, stripping=replace(stripping, leak_mm=18.0, bites=(Bite((4.0, 40.0, 82.0), 30.0),))),
        ),
        ("defacing", SAGITTAL, replace(plan, defacing=Defacing((0.0, 1.0, -0.7), 70.0))),
    ]


def picture(plan: ScanPlan, labels: LabelMap, grid: Grid, *, colour: bool) -> np.ndarray:
    """(rows, columns, 3) of 0 to 1: the middle slice of a slab, upright."""
    image, target = render(plan, labels, grid, target="classes")
    axis = int(np.argmin(image.shape))
    grey = image.select(axis, image.shape[axis] // 2).div(1.35 * plan.white_matter).clamp(0, 1).numpy()
    out = np.repeat(grey[..., None], 3, -1)
    if colour:
        classes = target.select(axis, image.shape[axis] // 2).numpy()
        out = np.where((classes > 0)[..., None], 0.5 * out + 0.5 * COLOURS[classes], out)
    return out.swapaxes(0, 1)[::-1]


def main() -> None:
    """Draw all steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labelmap")
    parser.add_argument("-o", "--out", required=True)
    options = parser.parse_args()
    torch.set_num_threads(2)
    labels = load(options.labelmap)
    base = plain(labels)
    cells = steps(base, labels)
    rows = -(-len(cells) // COLUMNS)
    figure = Figure(figsize=(COLUMNS * CELL_INCHES, rows * CELL_INCHES * 0.66), dpi=DPI, facecolor="black")
    FigureCanvasAgg(figure)
    for number, (name, grid, plan) in enumerate(cells):
        off = next(slab for slab in (AXIAL, CORONAL, SAGITTAL) if np.argmin(slab.shape) == np.argmin(grid.shape))
        colour = "labels swap" in name
        for side, (shown, where) in enumerate(((base, off), (plan, grid))):
            axes = figure.add_axes(
                (
                    (number % COLUMNS + 0.02 + 0.48 * side) / COLUMNS,
                    1 - (number // COLUMNS + 0.97) / rows,
                    0.48 / COLUMNS,
                    0.85 / rows,
                )
            )
            axes.imshow(picture(shown, labels, where, colour=colour), interpolation="nearest")
            axes.set_axis_off()
        at = (number % COLUMNS + 0.5) / COLUMNS, 1 - (number // COLUMNS + 0.07) / rows
        figure.text(*at, name, color="white", fontsize=10, ha="center", va="center")
    figure.savefig(options.out, format="jpeg", pil_kwargs={"quality": 82})


if __name__ == "__main__":
    main()
