"""nipype interfaces of `lodbrain segment` and `lodbrain strip`.

They run the command line, so that a node's memory and threads are those of a process of its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nipype.interfaces.base import CommandLine, CommandLineInputSpec, Directory, File, TraitedSpec, traits

from lodbrain.segmentation.inputs import stem_of
from lodbrain.segmentation.outputs import Outputs


class _InputSpec(CommandLineInputSpec):
    in_file = File(exists=True, mandatory=True, argstr="%s", position=0, desc="scan: .nii, .nii.gz or .mgz")
    model = traits.Str(argstr="--model %s", desc="name or file of a model; default: default")
    device = traits.Str(argstr="--device %s", desc="auto, cpu, cuda or mps; default: auto")
    memory = traits.Str(argstr="--memory %s", desc="budget such as 4GB; default: free memory minus a margin")
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, argstr="--threads %d", desc="number of CPU threads; default: 1"
    )
    frame = traits.Range(low=0, argstr="--frame %d", desc="volume of a 4D file, from 0; default: 4D is refused")


class _SegmentInputSpec(_InputSpec):
    out_dir = Directory(".", usedefault=True, argstr="--out %s", desc="folder for the results; default: the node's")
    labels = traits.Enum("structures", "tissue", "brain", argstr="--labels %s", desc="labels to write")
    posteriors = traits.Bool(argstr="--posteriors", desc="write the posteriors, too; default: no")


class _SegmentOutputSpec(TraitedSpec):
    labels = File(exists=True, desc="label map on the scan's grid")
    table = File(exists=True, desc="index, name and colour of the labels")
    volumes = File(exists=True, desc="volumes in mm^3")
    sidecar = File(exists=True, desc="provenance and quality (JSON)")
    posteriors = File(exists=True, desc="posteriors, one volume for each label")


class _Node(CommandLine):
    @property
    def cmdline(self) -> str:
        """The command; results of an earlier run of the node are replaced."""
        return f"{super().cmdline} --overwrite --quiet"


class Segment(_Node):
    """`lodbrain segment` of one scan.

    Examples
    --------
    >>> from lodbrain.interfaces.nipype import Segment
    >>> node = Segment(in_file="scan.nii.gz", labels="tissue")  # doctest: +SKIP
    >>> node.cmdline  # doctest: +SKIP
    'lodbrain segment scan.nii.gz --labels tissue --threads 1 --out . --overwrite --quiet'
    """

    _cmd = "lodbrain segment"
    input_spec = _SegmentInputSpec
    output_spec = _SegmentOutputSpec

    def _list_outputs(self) -> dict[str, Any]:
        outputs = Outputs(Path(self.inputs.out_dir).resolve(), stem_of(Path(self.inputs.in_file)))
        names = ["labels", "table", "volumes", "sidecar", *(["posteriors"] if self.inputs.posteriors is True else [])]
        return {**self.output_spec().get(), **{name: os.fspath(getattr(outputs, name)) for name in names}}


class _StripInputSpec(_InputSpec):
    out_file = File(
        argstr="--out %s", name_source="in_file", name_template="%s_brain.nii.gz", keep_extension=False, desc="brain"
    )
    mask_file = File(
        argstr="--mask %s", name_source="in_file", name_template="%s_mask.nii.gz", keep_extension=False, desc="mask"
    )
    border = traits.Float(argstr="--border %g", desc="mm by which the mask's surface is moved outwards; default: 0")
    no_csf = traits.Bool(argstr="--no-csf", desc="leave out the CSF around the brain; default: keep it")


class _StripOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc="scan with black outside of the mask")
    mask_file = File(exists=True, desc="brain mask")


class Strip(_Node):
    """`lodbrain strip` of one scan.

    Examples
    --------
    >>> from lodbrain.interfaces.nipype import Strip
    >>> Strip(in_file="scan.nii.gz", no_csf=True).run().outputs.mask_file  # doctest: +SKIP
    '.../scan_mask.nii.gz'
    """

    _cmd = "lodbrain strip"
    input_spec = _StripInputSpec
    output_spec = _StripOutputSpec
