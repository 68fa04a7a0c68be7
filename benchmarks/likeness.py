"""How much like a scan are synthetic scans that are tailored to it?

    python benchmarks/likeness.py --case SCAN [LABELS [TABLE]] --case ... --maps MAP... -o OUT
        [--draws 4] [--figures] [--model default]

The contrast of each SCAN is fitted as `lodbrain contrast` does it, without labels. What LABELS (numbers of FreeSurfer,
or of TABLE, a TSV with columns index and freesurfer) say is used to judge it only:

looks.tsv
    True and fitted mean and standard deviation of each structure. True are those of the voxels all of whose neighbours
    bear the same label, free of a bias field that makes the structures even; median and half the width of the middle
    68% are less moved by labels that are wrong. White matter is 160 (its mean; for the median, its median).
distances.tsv
    Wasserstein distance of the intensities of the scan from those of synthetic scans, by tissue: of scans tailored to
    the fitted profile, and of untailored ones (the generator's own settings), both at 1 mm. The median of cerebral
    white matter is 160 in each. The mean and the median over draws, and the distance from all draws together.
    `judged` says whose labels of the real scan: "labels", or "model" for those that the contrast was fitted with.

With --figures, NAME.jpg shows the scan beside synthetic scans tailored to it, axial and coronal, through the thalami.
Profiles and segmentations are kept in OUT and used again.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import wasserstein_distance

from lodbrain.commands.synth import MAP_MM
from lodbrain.contrast_analysis.analysis import WHITE_LEVEL, analyse
from lodbrain.contrast_analysis.bias_fit import BiasFit
from lodbrain.contrast_analysis.mixture import WHITE_MATTER
from lodbrain.contrast_analysis.pooling import pool
from lodbrain.images.grid import to_ras
from lodbrain.images.io import read_image, read_labels, write_nifti
from lodbrain.images.scan_labels import to_classes
from lodbrain.labelmaps.upsample import upsample
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, TISSUE_OF_CLASS, TISSUES
from lodbrain.segmentation.inputs import stem_of
from lodbrain.segmentation.scan import segment_image
from lodbrain.segmentation.settings import Model, load_model
from lodbrain.segmentation.settings import Settings as Inference
from lodbrain.synthesis.fields import Grid
from lodbrain.synthesis.generator import GeneratorSettings, ScanPlan, draw_plan, render
from lodbrain.synthesis.label_map import LabelMap, load
from lodbrain.synthesis.profile import ContrastProfile, read_profile, write_profile

#: Voxels of a tissue that are compared: quantiles are known to a few tenths of a percent.
MOST_VOXELS = 20_000
FEWEST_VOXELS = 200

#: Scans beside the real one in a figure, and half the slab that is rendered for it: more than any blur reaches.
TWINS, HALF_SLAB_MM = 3, 8.0
SHOWN_MM = 250.0

THALAMUS = SIDELESS.index("Thalamus")
WAYS = ("mean", "median", "together")
KINDS = ("tailored", "untailored")


@dataclass(frozen=True, eq=False)
class Case:
    """A scan in RAS order.

    Attributes
    ----------
    name : str
    data : (X, Y, Z) float
    spacing_mm : (3,) float64
    labels : (X, Y, Z) uint8 or None
        Classes, to judge with.
    found : (X, Y, Z) uint8
        Classes, of the model.
    profile : ContrastProfile
    """

    name: str
    data: NDArray[np.floating]
    spacing_mm: NDArray[np.floating]
    labels: NDArray[np.uint8] | None
    found: NDArray[np.uint8]
    profile: ContrastProfile


def fitted(out: Path, model: Model, paths: list[Path]) -> Case:
    """Segment a scan and fit its contrast, as `lodbrain contrast` does it, or take what is there."""
    path, image = paths[0], read_image(paths[0])
    ras, turn = to_ras(image)
    known, regions = out / f"{stem_of(path)}.yaml", out / f"{stem_of(path)}_dseg.nii.gz"
    if not known.exists():
        asked = Inference(labels="structures", posteriors=True)
        found = segment_image(image, model, settings=asked)
        assert found.posteriors is not None
        classes = turn.apply(to_classes(found.labels, image.affine))
        fit = analyse(ras.data, ras.spacing_mm, classes, turn.apply(found.posteriors), name=str(path))
        write_nifti(regions, found.labels, image)
        write_profile(known, pool([fit], [path.name]))
    labels = None
    if len(paths) > 1:
        raw = np.asarray(read_labels(paths[1]).data)
        labels = turn.apply(to_classes(raw if len(paths) < 3 else translated(raw, paths[2]), image.affine))
    seen = turn.apply(to_classes(np.asarray(read_labels(regions).data), image.affine))
    return Case(stem_of(path), ras.data, np.asarray(ras.spacing_mm), labels, seen, read_profile(known))


def translated(raw: NDArray[np.integer], table: Path) -> NDArray[np.integer]:
    """FreeSurfer's numbers of the numbers of a table; 0 for those that it does not name."""
    with table.open(newline="") as file:
        pairs = {int(row["index"]): int(row["freesurfer"] or 0) for row in csv.DictReader(file, delimiter="\t")}
    numbers = np.unique(raw)
    return np.array([pairs.get(number, 0) for number in numbers.tolist()])[np.searchsorted(numbers, raw)]


def looks(case: Case, classes: NDArray[np.uint8]) -> Iterator[dict[str, Any]]:
    """True and fitted mean and spread of each structure."""
    structure = SIDELESS_OF_CLASS[classes]
    at = np.argwhere(inner(structure) & (case.data > 0))
    of, values = structure[tuple(at.T)], case.data[tuple(at.T)].astype(np.float64)
    bias, n = BiasFit(at * case.spacing_mm), len(SIDELESS)
    even, ones = values, np.ones(len(values))
    for _ in range(4):
        count = np.maximum(np.bincount(of, minlength=n), 1)
        means = np.bincount(of, even, n) / count
        sds = np.sqrt(np.bincount(of, (even - means[of]) ** 2, n) / count)
        bias.improve((even - means[of]) / means[of], (means[of] / np.maximum(sds[of], 1e-6)) ** 2, ones)
        even = values / np.exp(bias.values)
    white = even[of == WHITE_MATTER]
    even, middle = even * WHITE_LEVEL / white.mean(), white.mean() / np.median(white)
    for position, name in enumerate(SIDELESS):
        own = even[of == position]
        look = case.profile.structures.get(name)
        if position and look is not None and len(own) >= FEWEST_VOXELS:
            yield {
                "scan": case.name,
                "structure": name,
                "voxels": len(own),
                "true_mean": own.mean(),
                "true_sd": own.std(),
                "true_median": np.median(own) * middle,
                "true_spread": np.diff(np.quantile(own, [0.16, 0.84]))[0] / 2 * middle,
                "fitted_mean": look.mean,
                "fitted_sd": look.sd,
            }


def inner(structure: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Voxels of a structure that the six neighbours belong to as well."""
    cross = ndimage.generate_binary_structure(3, 1)
    same = ndimage.maximum_filter(structure, footprint=cross) == ndimage.minimum_filter(structure, footprint=cross)
    inner: NDArray[np.bool_] = same & (structure > 0)
    return inner


def by_tissue(data: NDArray[np.floating], classes: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
    """Intensities of each tissue, `MOST_VOXELS` at most, where the median of cerebral white matter is 160."""
    generator, tissue = np.random.default_rng(0), TISSUE_OF_CLASS[classes]
    unit = WHITE_LEVEL / max(float(np.median(data[SIDELESS_OF_CLASS[classes] == WHITE_MATTER])), 1e-3)
    out = {}
    for label in TISSUES[1:]:
        values = data[tissue == label.index] * np.float32(unit)
        if len(values) >= FEWEST_VOXELS:
            out[label.name] = generator.choice(values, min(MOST_VOXELS, len(values)), replace=False)
    return out


def drawn(maps: list[LabelMap], settings: GeneratorSettings, draws: int) -> list[dict[str, NDArray[np.floating]]]:
    """Intensities of synthetic scans of 1 mm, drawn from the maps in turn."""
    out = []
    for number in range(draws):
        labels = maps[number % len(maps)]
        plan = draw_plan(labels, settings, torch.Generator().manual_seed(number), voxel_mm=1.0)
        image, target = render(plan, labels, target="classes")
        out.append(by_tissue(image.numpy(), target.numpy()))
    return out


def distances(
    case: Case, scans: dict[str, list[dict[str, NDArray[np.floating]]]], judged: str
) -> Iterator[dict[str, Any]]:
    """Distance of the real from tailored and untailored intensities, by tissue."""
    classes = case.labels if judged == "labels" else case.found
    assert classes is not None
    for tissue, real in by_tissue(case.data, classes).items():
        row: dict[str, Any] = {"scan": case.name, "judged": judged, "tissue": tissue}
        row |= {"real_mean": real.mean(), "real_sd": real.std()}
        for kind, draws in scans.items():
            values = [draw[tissue] for draw in draws if tissue in draw]
            each = [wasserstein_distance(real, one) for one in values]
            pooled = np.concatenate(values)
            row |= {f"{kind}_mean": pooled.mean(), f"{kind}_sd": pooled.std()}
            row |= {f"{kind}_distance_mean": np.mean(each), f"{kind}_distance_median": np.median(each)}
            row[f"{kind}_distance_together"] = wasserstein_distance(real, pooled)
        yield row


def twins(case: Case, maps: list[LabelMap], path: Path) -> None:
    """Draw the scan beside synthetic scans tailored to it."""
    unit = 1 / float(np.median(case.data[SIDELESS_OF_CLASS[case.found] == WHITE_MATTER]))
    centre = np.argwhere(SIDELESS_OF_CLASS[case.found] == THALAMUS).mean(0).round().astype(int)
    rows = [[(case.data.take(centre[axis], axis) * unit, case.spacing_mm)] for axis in (2, 1)]
    for number in range(TWINS):
        labels = maps[number % len(maps)]
        plan = draw_plan(labels, GeneratorSettings(profile=case.profile), torch.Generator().manual_seed(number))
        for row, axis in zip(rows, (2, 1), strict=True):
            row.append((slice_of(plan, labels, axis) / plan.white_matter, np.array(plan.scan.spacing_mm)))
    figure = Figure(figsize=(2.2 * (TWINS + 1), 4.63), dpi=90, facecolor="black")
    FigureCanvasAgg(figure)
    cells = figure.add_gridspec(2, TWINS + 1, left=0, right=1, bottom=0, top=0.95, wspace=0, hspace=0)
    for line, (row, axis) in enumerate(zip(rows, (2, 1), strict=True)):
        for column, (picture, spacing) in enumerate(row):
            axes = figure.add_subplot(cells[line, column], facecolor="black")
            right, up = (count * spacing[other] / 2 for count, other in zip(picture.shape, _others(axis), strict=True))
            extent = (-right, right, -up, up)
            axes.imshow(picture.T, cmap="gray", origin="lower", vmin=0, vmax=1.35, extent=extent)
            axes.set(xlim=(-SHOWN_MM / 2, SHOWN_MM / 2), ylim=(-SHOWN_MM / 2, SHOWN_MM / 2))
            axes.set_axis_off()
            if not line:
                words = case.name if not column else f"synthetic {column}"
                axes.set_title(words, color="white", fontsize=8, pad=2)
    figure.savefig(path, format="jpeg", pil_kwargs={"quality": 80})


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def slice_of(plan: ScanPlan, labels: LabelMap, axis: int) -> NDArray[np.floating]:
    """The slice of a synthetic scan through the thalami."""
    coarse = plan.scan.coarser(4)
    target = render(plan, labels, coarse, coarseness=4, target="classes")[1].numpy()
    middle = np.argwhere(SIDELESS_OF_CLASS[target] == THALAMUS).mean(0)[axis] * 4 + 2
    half = round(HALF_SLAB_MM / plan.scan.spacing_mm[axis])
    start, shape = [0, 0, 0], list(plan.scan.shape)
    start[axis], shape[axis] = round(middle) - half, 2 * half + 1
    slab: Grid = plan.scan.crop((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
    picture: NDArray[np.floating] = render(plan, labels, slab, target="classes")[0].select(axis, half).numpy()
    return picture


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """A TSV of rows with the same keys."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{v:.4g}" if isinstance(v, float | np.floating) else v for key, v in row.items()})


def summary(rows: list[dict[str, Any]], judged: str) -> None:
    """Print the ratio of tailored to untailored by tissue and by scan: that of the mean distances."""

    def ratios(chosen: list[dict[str, Any]]) -> str:
        words = []
        for way in WAYS:
            ours, others = (np.mean([row[f"{kind}_distance_{way}"] for row in chosen]) for kind in KINDS)
            words.append(f"{way} {ours:5.1f} /{others:5.1f} = {ours / others:.2f}")
        return "   ".join(words)

    rows = [row for row in rows if row["judged"] == judged]
    print(f"tailored / untailored distance, judged by the {judged}; over draws: {', '.join(WAYS)}")
    for key in ("tissue", "scan"):
        for value in dict.fromkeys(row[key] for row in rows):
            print(f"{value:16s} {ratios([row for row in rows if row[key] == value])}")
    if rows:
        print(f"{'all':16s} {ratios(rows)}", flush=True)


def main() -> None:
    """Fit, judge, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", type=Path, nargs="+", action="append", required=True)
    parser.add_argument("--maps", type=Path, nargs="+", default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=4)
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--model", default="default")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    model = load_model(Inference(model=asked.model))
    cases = []
    for paths in asked.case:
        cases.append(fitted(asked.out, model, paths))
        print(f"{cases[-1].name}: fitted", flush=True)
    maps = []
    for path in asked.maps:
        labels = load(path)
        maps.append(upsample(labels, max(1, round(float(labels.spacing_mm.min()) / MAP_MM))))
    untailored = drawn(maps, GeneratorSettings(), asked.draws)
    seen: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    for case in cases:
        if asked.figures:
            twins(case, maps, asked.out / f"{case.name}.jpg")
        if case.labels is not None:
            seen += looks(case, case.labels)
            write(asked.out / "looks.tsv", seen)
        if asked.draws:
            scans = {
                "tailored": drawn(maps, GeneratorSettings(profile=case.profile), asked.draws),
                "untailored": untailored,
            }
            for judged in ("labels", "model") if case.labels is not None else ("model",):
                apart += distances(case, scans, judged)
            write(asked.out / "distances.tsv", apart)
        print(f"{case.name}: judged", flush=True)
    for judged in ("labels", "model") if apart else ():
        summary(apart, judged)


if __name__ == "__main__":
    main()
