"""How much should the second member of a consensus count, and when not at all?

    python benchmarks/consensus.py MAP... --uhf MAP... --names NAMES.txt -o consensus.tsv

Whole-head label maps that nothing was trained on become T1w scans of 1 mm, and are made worse by the steps of `lodbrain
evaluate stress`; brain-only maps of 0.6 mm become scans with the fields of 9.4 T. One run of the ladder and one of
LOD-Brain's network give the results for every weight, without post-processing. A row for each scan and weight: mean
Dice of the tissues and of the structures (sides together), and how far the members agree.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from submillimetre import read_map

from lodbrain.inference import second_opinion as consensus
from lodbrain.inference.predict import Options, predict
from lodbrain.labels import SIDELESS, SIDELESS_OF_CLASS, STRUCTURES, TISSUE_OF_CLASS
from lodbrain.models.consensus import Consensus
from lodbrain.segmentation.settings import Model, Settings, load_model
from lodbrain.synthesis import generator
from lodbrain.synthesis.deform import Shapes
from lodbrain.synthesis.degradations import DEGRADATIONS, LabelledScan
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import LabelMap
from lodbrain.synthesis.steps.fov import RandomFieldOfView
from lodbrain.synthesis.steps.receive import RandomBias

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
#: Undisturbed, and made worse: of `synthesis.degradations`.
STEPS = (
    ("", 0.0),
    ("bias field", 0.4),
    ("bias field", 1.0),
    ("contrast", 1.0),
    ("contrast", 3.0),
    ("noise", 0.2),
    ("noise", 0.4),
    ("thick slices", 2.0),
    ("thick slices", 4.0),
    ("thick slices", 11.0),
    ("resolution", 1.0),
    ("resolution", 5.0),
    ("motion", 4.0),
    ("motion", 8.0),
    ("field of view", 80.0),
    ("rotation", 15.0),
    ("rotation", 90.0),
    ("background", 1.0),
    ("saturation", 0.0),
)
#: Receive bias of 9.4 T, times 1 and 2.
UHF_BIAS = (0.4, 0.8)


class Watched(consensus.SecondOpinion):
    """A second opinion that notes what every weight would decide."""

    found: dict[float, NDArray[np.uint8]]

    def mixed(self, output, grid, part):  # type: ignore[no-untyped-def]
        """The output itself; what is decided for each weight is put into `found`."""
        for weight, classes in self.found.items():
            self.weight = weight
            mean, differing = super().mixed(output, grid, part)
            best = mean.logits[0].argmax(0)
            if output.side is None:  # a coarse level, whose classes have sides
                best = torch.as_tensor(SIDELESS_OF_CLASS)[best]
            x, y, z = (slice(*span) for span in part)
            classes[x, y, z] = best.to(torch.uint8).numpy()
        return output, differing


def main() -> int:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="*")
    parser.add_argument("--uhf", type=Path, nargs="*", default=[])
    parser.add_argument("--names", type=Path)
    parser.add_argument("--model", default="accurate")
    parser.add_argument("--only", nargs="*", help='steps such as "noise" or "noise 0.2", in place of all')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    model = load_model(Settings(model=asked.model))
    with asked.out.open("a", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        measures = ["voxel_mm", "agreement", "disagreement", "weight", "tissues", "structures", "pallidum"]
        writer.writerow(["map", "what", "strength", *measures])
        for path, uhf in [*((path, False) for path in asked.maps), *((path, True) for path in asked.uhf)]:
            labels = read_map(path, asked.names if uhf else None)
            for what, strength, pair in scans(labels, uhf=uhf, seed=asked.seed):
                if asked.only and not {what, f"{what} {strength:g}"} & set(asked.only):
                    continue
                for row in rows(pair, model):
                    writer.writerow([path.name.split(".")[0], what, strength, *row])
                    print(path.name.split(".")[0], what, strength, *row, flush=True)
                file.flush()
    return 0


def scans(labels: LabelMap, *, uhf: bool, seed: int) -> Iterator[tuple[str, float, LabelledScan]]:
    """T1w scans of a map at its own voxel size: made worse, or with growing fields of 9.4 T."""
    if uhf:
        for bias in UHF_BIAS:
            yield "9.4 T", bias, draw(labels, seed, bias)
        return
    plain = draw(labels, seed, None)
    for name, strength in STEPS:
        if name == "saturation":
            yield name, strength, saturated(plain)
            continue
        yield name, strength, DEGRADATIONS[name].apply(plain, strength, seed=seed) if name else plain
    for side in (1.2, 1.6, 2.0):
        yield "voxels", side, draw(labels, seed, None, side)


def saturated(pair: LabelledScan) -> LabelledScan:
    """All that is brighter than the pallidum as bright as it."""
    pallidum = [c for c, label in enumerate(STRUCTURES) if label.name.endswith("Pallidum")]
    level = pair.image[torch.isin(pair.labels, torch.tensor(pallidum, dtype=torch.uint8))].median()
    return pair.with_image(pair.image.clamp(max=float(level)))


def draw(labels: LabelMap, seed: int, bias: float | None, side_mm: float | None = None) -> LabelledScan:
    """A T1w scan of an undeformed map."""
    voxel = side_mm or float(labels.spacing_mm.mean())
    settings = generator.GeneratorSettings(
        shapes=Shapes(0, 0, 0, (1, 1), 0, 0, 0, (1, 1), 0),
        field_of_view=RandomFieldOfView((voxel, voxel), 0, 0, 0, 0),
        contrasts=Contrasts(t1w_share=1, ordered_share=0),
    )
    if bias is not None:
        settings = replace(settings, uhf_share=1.0, bias=RandomBias(uhf=(bias, bias)))
    plan = generator.draw_plan(labels, settings, torch.Generator().manual_seed(seed))
    image, target = generator.render(plan, labels, plan.scan)
    return LabelledScan(image, target.argmax(0).to(torch.uint8), plan.scan.spacing_mm)


def rows(pair: LabelledScan, model: Model) -> Iterator[list[object]]:
    """Voxel side, agreement and disagreement, weight, and both Dice of one scan."""
    watched: list[Watched] = []
    ask = consensus.second_opinion

    def watching(*args: object) -> Watched:
        given = ask(*args)  # type: ignore[arg-type]
        watched.append(Watched(given.grid, given.box, given.posteriors, given.weight))
        watched[0].found = {weight: np.zeros(pair.image.shape, np.uint8) for weight in WEIGHTS}
        return watched[0]

    assert isinstance(model.network, Consensus)
    options = Options(device=model.device, postprocess=False)
    replaced: dict[str, Any] = {"second_opinion": watching, "is_asked": lambda scan: True}
    with mock.patch.multiple("lodbrain.inference.ladder", **replaced):
        found = predict(pair.image.numpy(), pair.spacing_mm, card=model.card, network=model.network, options=options)
    voxel = float(np.prod(pair.spacing_mm) ** (1 / 3))
    truth = SIDELESS_OF_CLASS[pair.labels.numpy()]
    results = watched[0].found if watched else {0.0: SIDELESS_OF_CLASS[found.classes]}
    measures = [found.quality.get(name, float("nan")) for name in ("agreement", "disagreement")]
    tissue = np.zeros(SIDELESS_OF_CLASS.max() + 1, np.int64)
    tissue[SIDELESS_OF_CLASS] = TISSUE_OF_CLASS
    structures = [c for c in range(len(tissue)) if tissue[c]]
    for weight, classes in results.items():
        tissues = np.mean([dice(tissue[classes] == t, tissue[truth] == t) for t in range(1, 7)])
        parts = np.mean([dice(classes == c, truth == c) for c in structures])
        pallidum = dice(classes == SIDELESS.index("Pallidum"), truth == SIDELESS.index("Pallidum"))
        scores = (f"{score:.4f}" for score in (tissues, parts, pallidum))
        yield [f"{voxel:.2f}", *(f"{m:.4f}" for m in measures), weight, *scores]


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Of two masks."""
    return 2 * float((a & b).sum()) / max(1.0, float(a.sum() + b.sum()))


if __name__ == "__main__":
    sys.exit(main())
