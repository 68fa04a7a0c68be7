"""Deep grey matter as bright as white matter: how much do models lose on it?

    python benchmarks/bright_deep.py scan.nii.gz aparc+aseg.nii.gz --model default accurate lod-brain-2024

Programs that saturate white matter leave the deep grey nuclei nearly as bright. Here their intensities are raised until
each structure's median equals that of white matter; texture stays, and borders are blurred as by partial volume. Prints
for each model the Dice of basal ganglia (tissue class: nuclei, thalamus and ventral DC), and of each structure where
the model has them, on the scan as it is and with bright nuclei.
"""

import argparse
import sys
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.images.io import read_image, read_labels
from lodbrain.labels import STRUCTURES, TISSUE_OF_CLASS, TISSUES
from lodbrain.segmentation.scan import segment
from lodbrain.segmentation.settings import Settings, load_model

#: FreeSurfer's numbers of what is raised: thalamus, caudate, putamen, pallidum, accumbens.
NUCLEI = {"thalamus": (10, 49), "caudate": (11, 50), "putamen": (12, 51), "pallidum": (13, 52), "accumbens": (26, 58)}
VENTRAL_DC = (28, 60)
WHITE = (2, 41)
#: Standard deviation of the blurred borders.
BORDER_MM = 0.7


def main() -> int:
    """Print a row for each model and structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("labels", type=Path, help="on the scan's grid, with FreeSurfer's numbers")
    parser.add_argument("--model", nargs="+", default=["default"])
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    image, reference = read_image(asked.scan), read_labels(asked.labels).data
    raised = with_bright_nuclei(image.data, reference, image.spacing_mm)
    deep = np.isin(reference, [n for pair in NUCLEI.values() for n in pair] + list(VENTRAL_DC))
    print("model", "structure", "as it is", "bright", sep="\t")
    for model in asked.model:
        tissues_only = load_model(Settings(model=model, labels="tissue")).card.labels == "tissue"
        scheme: Literal["tissue", "structures"] = "tissue" if tissues_only else "structures"
        before, after = (
            segment(data, affine=image.affine, model=model, labels=scheme, threads=asked.threads).labels
            for data in (image.data, raised)
        )
        wanted = next(t.index for t in TISSUES if t.name.lower().startswith("basal"))
        groups = [s.index for s, tissue in zip(STRUCTURES, TISSUE_OF_CLASS, strict=True) if tissue == wanted]
        rows = {"basal ganglia": (deep, [wanted] if tissues_only else groups)}
        if not tissues_only:
            rows |= {name: (np.isin(reference, pair), list(pair)) for name, pair in NUCLEI.items()}
        for name, (truth, numbers) in rows.items():
            scores = [dice(truth, np.isin(labels, numbers)) for labels in (before, after)]
            print(model, name, *(f"{score:.3f}" for score in scores), sep="\t", flush=True)
    return 0


def with_bright_nuclei(
    data: NDArray[np.float32], labels: NDArray[np.integer], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return a scan (X, Y, Z) whose deep nuclei have the median intensity of white matter."""
    white = np.median(data[np.isin(labels, WHITE)])
    shift = np.zeros(data.shape, np.float32)
    for pair in NUCLEI.values():
        where = np.isin(labels, pair)
        shift[where] = white - np.median(data[where])
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(shift, BORDER_MM / np.asarray(spacing_mm))
    return data + smooth


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


if __name__ == "__main__":
    sys.exit(main())
