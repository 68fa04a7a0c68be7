"""`lodbrain volumes`: volumes of segmented scans in the formats of other programs."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter

from lodbrain.commands.parameters import Flag, Out
from lodbrain.errors import OutputError
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.results import find_results
from lodbrain.segmentation.volume_files import aseg_stats, subject_names, volumes_csv
from lodbrain.system.atomic import write_text


def volumes(
    results: Annotated[list[str], Parameter(name="RESULTS", required=True, negative="")],
    /,
    *,
    out: Out,
    form: Annotated[Literal["synthseg", "freesurfer"], Parameter(name="--format")] = "synthseg",
    counted: Flag = False,
) -> int:
    """Collect the volumes of segmented scans.

    Format synthseg: one CSV with a row for each scan and the columns of SynthSeg's --vol. Format freesurfer:
    OUT/NAME/stats/aseg.stats for each scan, so that asegstats2table with SUBJECTS_DIR=OUT makes its table.

    Parameters
    ----------
    results
        Read volumes from these folders written by `lodbrain segment` or `lodbrain bids`, or from single label maps.
    out
        Write to this CSV file, or this folder for aseg.stats files; existing files are replaced.
    form
        Write this format: synthseg or freesurfer.
    counted
        Write voxel counts in the CSV instead of sums of posteriors, which SynthSeg uses. aseg.stats always has
        counts.
    """
    found = find_results(results)
    if form == "synthseg":
        if out.is_dir():
            raise OutputError("a-folder", out, "this is a folder", "Name a file, such as volumes.csv in it")
        check_writable(out.parent)
        write_text(out, volumes_csv(found, counted=counted))
        print(f"{out}: {len(found)} scan{'s' if len(found) != 1 else ''}")
        return 0
    named = zip(subject_names(found), found, strict=True)
    texts = {out / name / "stats" / "aseg.stats": aseg_stats(result, name) for name, result in named}
    for path, text in texts.items():
        check_writable(path.parent)
        write_text(path, text)
    print(f"{out}: {len(texts)} aseg.stats. Next: SUBJECTS_DIR={out} asegstats2table --subjects ... -t volumes.txt")
    return 0
