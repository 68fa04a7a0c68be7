"""Label tables in the formats of other programs: index, name and colour of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from lodbrain.labels import Label
from lodbrain.segmentation.outputs import labels_tsv

Program = Literal["bids", "freesurfer", "itksnap", "slicer"]


def label_file(table: Sequence[Label], program: Program) -> str:
    """Return a label table as the text of a file for a program.

    Parameters
    ----------
    program : {"bids", "freesurfer", "itksnap", "slicer"}
        ``_dseg.tsv`` of BIDS; colour look-up table of FreeSurfer (``freeview -v map.nii.gz:colormap=lut:lut=FILE``);
        label descriptions of ITK-SNAP; colour table of 3D Slicer (``.ctbl``).

    Raises
    ------
    ValueError
        For another program.

    Examples
    --------
    >>> from lodbrain.labels import BRAIN
    >>> print(label_file(BRAIN, "slicer"), end="")
    # Color table file lodbrain.ctbl
    # 2 values
    0 Background 0 0 0 0
    1 brain 205 62 78 255
    """
    match program:
        case "bids":
            return labels_tsv(table)
        case "freesurfer":
            lines = ["#No. Label Name:                          R   G   B   A"]
            lines += [f"{label.index:<4} {label.name:<36} {_rgb(label, 3)}   0" for label in table]
        case "itksnap":
            bar = "#" * 48
            columns = "#   IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL"
            lines = [bar, "# ITK-SnAP Label Description File", "# File format:", columns, bar]
            for label in table:
                shown, name = (1, label.name) if label.index else (0, "Clear Label")
                lines.append(f'{label.index:>5}  {_rgb(label, 4)}     {shown:>4}    {shown}   {shown}    "{name}"')
        case "slicer":
            lines = ["# Color table file lodbrain.ctbl", f"# {len(table)} values"]
            lines += [f"{label.index} {label.name} {_rgb(label)} {255 if label.index else 0}" for label in table]
        case _:
            raise ValueError(f"program must be one of {', '.join(get_args(Program))}, got {program!r}")
    return "\n".join(lines) + "\n"


def _rgb(label: Label, width: int = 0) -> str:
    return " ".join(f"{value:>{width}}" for value in label.color)
