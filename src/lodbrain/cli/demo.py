"""`lodbrain demo`: segmentation of an example head."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag
from lodbrain.segmentation.volumes import Volume
from lodbrain.system.memory import keep_freed_memory
from lodbrain.workflows import demo as workflow


def demo(
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("demo"),
    fetch: Flag = False,
) -> int:
    """Segment an example head, print its volumes and save a picture.

    The example is the ICBM152 template (T1w, 1 mm, skull-stripped) that is included in nilearn. No download is needed.

    Parameters
    ----------
    out
        Folder for the scan, its segmentation and the picture; earlier results in it are replaced.
    fetch
        Use a real head from OpenNeuro (15 MB, CC0) instead; it is downloaded once.
    """
    keep_freed_memory()
    with progress_bar() as progress:
        made = workflow.demo(out, fetch=fetch, progress=progress)
    console = Console()
    console.print(volumes_table(made.outcome.volumes))
    print(f"Segmented in {made.outcome.seconds:.1f} s. For research, not a medical device. Written:")
    for path in made.files:
        print(f"  {path}")
    return 0


def volumes_table(rows: tuple[Volume, ...]) -> Table:
    """Return a table for the terminal: left and right of a structure in one line, in ml."""
    table = Table("Structure", "Left, ml", "Right, ml")
    for column in table.columns[1:]:
        column.justify = "right"
    volume_ml = {row.name: row.volume_mm3 / 1000 for row in rows}
    for name, volume in volume_ml.items():
        if name.startswith("Left-"):
            name = name.removeprefix("Left-")
            table.add_row(name, f"{volume:.2f}", f"{volume_ml[f'Right-{name}']:.2f}")
    table.add_section()
    for name, volume in volume_ml.items():
        if not name.startswith(("Left-", "Right-")):
            table.add_row(name, f"{volume:.2f}", "")
    return table
