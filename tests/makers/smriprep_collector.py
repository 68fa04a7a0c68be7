"""What sMRIPrep makes of derivatives, asked by `test_bids_smriprep` in an environment that has sMRIPrep.

    python smriprep_collector.py BIDS_DIR DERIVATIVES

prints JSON: of each T1w the answer of sMRIPrep's `collect_derivatives`, and the number of voxels of the T1w reference
that are left after niworkflows' `ApplyMask`, which refuses a mask on another grid. The reference is made by the nodes
of sMRIPrep's workflow for one T1w; only denoising, which needs ANTs, is left out.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from niworkflows.interfaces.header import ValidateImage
from niworkflows.interfaces.images import Conform, TemplateDimensions
from niworkflows.interfaces.nibabel import ApplyMask
from smriprep.utils.bids import collect_derivatives
from smriprep.workflows.anatomical import _aseg_to_three


def masked_voxels(t1w: Path, mask: str) -> int:
    """Return how many voxels of the T1w reference are not 0 in the mask."""
    target = TemplateDimensions(anat_type="T1w", anat_list=[str(t1w)]).run().outputs
    conformed = Conform(
        in_file=str(t1w), target_zooms=target.target_zooms, target_shape=target.target_shape
    ).run().outputs.out_file  # fmt: skip
    reference = ValidateImage(in_file=conformed).run().outputs.out_file
    brain = ApplyMask(in_file=reference, in_mask=mask).run().outputs.out_file
    return int(np.count_nonzero(np.asanyarray(nibabel.load(brain).dataobj)))


if __name__ == "__main__":
    raw, derivatives = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    os.chdir(tempfile.mkdtemp())
    found = {}
    for t1w in sorted(raw.rglob("*_T1w.nii*")):
        session = t1w.name.split("ses-")[1].split("_")[0] if "ses-" in t1w.name else None
        subject = t1w.name.split("sub-")[1].split("_")[0]
        cache = collect_derivatives(derivatives, subject, [], session_id=session)
        found[t1w.name] = {
            **{key: value for key, value in cache.items() if key.startswith("t1w_")},
            "masked_voxels": masked_voxels(t1w, cache["t1w_mask"]),
        }
    print(json.dumps({"scans": found, "aseg_to_three": [int(tissue) for tissue in _aseg_to_three()]}))
