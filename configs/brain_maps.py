"""Label maps of brains alone, made ready to train on: FreeSurfer's numbers, and CSF around the brain.

    python configs/brain_maps.py MAP... --names NAMES.txt -o runs/maps

The folder gets the maps, and links to the published maps of whole heads, so that one configuration can name both.
NAMES lists the numbers of the maps' labels with FreeSurfer's names, as its colour tables do. For `default-6.yaml`: the
three maps and label list that GOUHFI's repository holds (github.com/mafortin/GOUHFI, Apache-2.0).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.images.image import Image
from lodbrain.images.io import write_nifti
from lodbrain.inference.inputs import stem_of
from lodbrain.synthesis.headmask import closed
from lodbrain.synthesis.named import read_named

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
    for path in asked.maps:
        image = read_named(path, asked.names)
        write_nifti(asked.out / f"{stem_of(path)}.nii.gz", with_csf(image), image)
    for path in find_labelmaps():
        link = asked.out / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    return 0


def with_csf(image: Image) -> NDArray[np.int16]:
    """The labels with CSF in sulci and cisterns, and around the brain."""
    inside = closed(image.data > 0, SULCUS_MM, image.spacing_mm)
    near = ndimage.distance_transform_edt(~inside, sampling=image.spacing_mm) <= MARGIN_MM
    return np.where((image.data == 0) & near, np.int16(CSF), image.data)


if __name__ == "__main__":
    sys.exit(main())
