"""Label maps of brains alone, made ready to train on: FreeSurfer's numbers, and CSF around the brain.

    python configs/brain_maps.py MAP... --names NAMES.txt -o runs/maps

The folder gets the maps, and links to the published maps of whole heads, so that one configuration can name both.
NAMES lists the numbers of the maps' labels with FreeSurfer's names, as ITK-SNAP writes it. For `default-6.yaml`: the
three maps and label list that GOUHFI's repository holds (github.com/mafortin/GOUHFI, Apache-2.0).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.images.io import read_labels, write_nifti
from lodbrain.labels import STRUCTURES
from lodbrain.synthesis.headmask import closed

#: Names that are no structure of ours, and the numbers that the generator knows them by.
OTHERS = {"Left-choroid-plexus": 163, "Right-choroid-plexus": 136, "WM-hypointensities": 77, "ExtraCerebral": 0}
CSF = 24
#: Sulci are filled that a ball of this radius does not fit into, and CSF lies this thick around the brain: what
#: skull-stripping leaves there.
SULCUS_MM, MARGIN_MM = 8.0, 2.0


def main() -> int:
    """Write the maps, and link those of whole heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--names", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    table = table_of(asked.names)
    for path in asked.maps:
        image = read_labels(path)
        raw = table[np.asarray(image.data).astype(np.uint8)]
        write_nifti(asked.out / f"{path.name.split('.')[0]}.nii.gz", with_csf(raw, image.affine), image)
    for path in find_labelmaps():
        link = asked.out / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    return 0


def table_of(names: Path) -> NDArray[np.int16]:
    """(256,): FreeSurfer's number of each of the maps'."""
    number_of = {label.name: label.index for label in STRUCTURES} | OTHERS
    table = np.zeros(256, np.int16)
    for line in names.read_text().splitlines():
        parts = line.split()
        if len(parts) >= 2 and parts[0].isdigit() and parts[0] != "0":
            table[int(parts[0])] = number_of[parts[1]]
    return table


def with_csf(raw: NDArray[np.int16], affine: NDArray[np.float64]) -> NDArray[np.int16]:
    """The labels with CSF in sulci and cisterns, and around the brain."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    inside = closed(raw > 0, SULCUS_MM, spacing)
    near = ndimage.distance_transform_edt(~inside, sampling=spacing) <= MARGIN_MM
    return np.where((raw == 0) & near, np.int16(CSF), raw)


if __name__ == "__main__":
    sys.exit(main())
