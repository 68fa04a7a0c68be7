"""One scan stored in other ways: Dice of its segmentation against that of the scan as it is.

    python benchmarks/rescaled_intensities.py scan.nii.gz ... --model default -o rescaled.tsv

The ways are those of `tests/makers/rescaled.py`: offset, gain, number format, background. The scans are masked with 0,
or nearly so; of others the ways that change the background change nothing.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from lodbrain.images import read_image
from lodbrain.segmentation.scan import segment
from lodbrain.segmentation.settings import Settings, load_model
from lodbrain.system.records import write_tsv

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "makers"))
from rescaled import RESCALED, mean_dice


def main() -> int:
    """Print a row for each scan and way, and write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", nargs="+", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--threads", type=int)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    scheme = load_model(Settings(model=options.model, labels="tissue")).card.labels
    rows = []
    for path in options.scans:
        image = read_image(path)

        def labels(scan: np.ndarray, affine: np.ndarray = image.affine) -> np.ndarray:
            return segment(scan, affine=affine, model=options.model, labels=scheme, threads=options.threads).labels

        plain = labels(image.data)
        for name, change in RESCALED.items():
            rows.append((path.name, name, round(mean_dice(labels(change(image.data)), plain), 4)))
            print(*rows[-1], sep="\t", flush=True)
    write_tsv(options.out, ("scan", "stored as", "dice"), rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
