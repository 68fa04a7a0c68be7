"""Which model for which contrast? Dice of models on synthetic scans of three kinds of contrast.

    python benchmarks/contrasts.py default any-contrast -n 4 -o contrasts.tsv

Whole scans of 1 to 1.2 mm, drawn from the label maps that are kept for validation, with all that the generator does to
scans: T1w; CSF, grey and white matter in any order (T2w, FLAIR and PD are such); every structure bright or dark by
itself. All models see the same scans.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from lodbrain.evaluation.overlap import count
from lodbrain.evaluation.validation_scans import draw_scan, validation_maps
from lodbrain.inference.predict import Options, predict
from lodbrain.labels import TISSUE_OF_CLASS
from lodbrain.segmentation.settings import Settings, load_model
from lodbrain.synthesis.intensities import Contrasts
from lodbrain.synthesis.label_map import load

KINDS = {
    "T1w": Contrasts(t1w_share=1, ordered_share=0),
    "any order": Contrasts(t1w_share=0, ordered_share=0, any_order_share=1),
    "random": Contrasts(t1w_share=0, ordered_share=0),
}


def main() -> int:
    """Print a row for each scan and model, and means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("-n", type=int, default=4, help="scans of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    models = {name: load_model(Settings(model=name)) for name in asked.models}
    maps = [load(path) for path in validation_maps()]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with asked.out.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["contrast", "scan", "model", "tissues", "structures"])
        for kind, contrasts in KINDS.items():
            for n in range(asked.n):
                random = torch.Generator().manual_seed(asked.seed + n)
                scan = draw_scan(maps[n % len(maps)], random, voxel_mm=(1.0, 1.2), contrasts=contrasts)
                truth = scan.classes.numpy()
                for name, model in models.items():
                    options = Options(device=model.device)
                    result = predict(
                        scan.image.numpy(), scan.spacing_mm, card=model.card, network=model.network, options=options
                    )
                    tissues = mean_dice(TISSUE_OF_CLASS[result.classes], TISSUE_OF_CLASS[truth])
                    dice = (tissues, mean_dice(result.classes, truth))
                    found.setdefault((kind, name), []).append(dice)
                    row = [kind, n, name, *(f"{value:.4f}" for value in dice)]
                    writer.writerow(row)
                    file.flush()
                    print(*row, flush=True)
    for (kind, name), rows in found.items():
        print(kind, name, "mean", *np.mean(rows, axis=0).round(4))
    return 0


def mean_dice(classes: NDArray[np.integer], truth: NDArray[np.integer]) -> float:
    """Mean over all classes but the background that the truth has."""
    return float(np.mean([count(classes == number, truth == number).dice for number in np.unique(truth)[1:]]))


if __name__ == "__main__":
    sys.exit(main())
