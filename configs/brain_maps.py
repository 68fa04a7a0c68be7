"""Label maps of brains alone, made ready to train on: FreeSurfer's numbers, and CSF or a whole head around the brain.

    python configs/brain_maps.py MAP... [--names NAMES.txt] [--heads] -o runs/maps

The folder gets the maps, and links to the published maps of whole heads, so that one configuration can name both.
NAMES lists the numbers of the maps' labels with FreeSurfer's names, as its colour tables do. For `default-6.yaml`: the
three maps and label list that GOUHFI's repository holds (github.com/mafortin/GOUHFI, Apache-2.0).
With --heads each brain gets the scalp, skull and CSF of one of the published heads 01 to 16, in turn.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lodbrain.datasets.labelmaps import find_labelmaps
from lodbrain.images.image import Image
from lodbrain.images.io import read_labels, write_nifti
from lodbrain.labelmaps.headmask import closed
from lodbrain.labelmaps.named import read_named
from lodbrain.labelmaps.surround import surround
from lodbrain.segmentation.inputs import stem_of

CSF = 24
#: The first heads of the published ones are for training, the others for validation.
N_TRAINING = 16
#: Sulci are filled that a ball of this radius does not fit into, and CSF lies this thick around the brain: what
#: skull-stripping leaves there.
SULCUS_MM, MARGIN_MM = 8.0, 2.0


def main() -> int:
    """Write the maps, and link those of whole heads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path, nargs="+")
    parser.add_argument("--names", type=Path)
    parser.add_argument("--heads", action="store_true")
    parser.add_argument("-o", "--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    heads = sorted(find_labelmaps())
    for number, path in enumerate(asked.maps):
        image = read_labels(path) if asked.names is None else read_named(path, asked.names)
        if asked.heads:
            whole = surround(image, read_labels(heads[number % N_TRAINING]), name=str(path))
        else:
            whole = replace(image, data=with_csf(image))
        write_nifti(asked.out / f"{stem_of(path)}.nii.gz", whole.data, whole)
    for path in heads:
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
