"""`lodbrain demo`: segmentation of an example head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lodbrain.commands.console import progress_bar
from lodbrain.commands.parameters import Flag, Out
from lodbrain.datasets.openneuro import fetch_head
from lodbrain.errors import UsageError, install_hint
from lodbrain.images.io import read_image, read_labels
from lodbrain.labels import TABLES
from lodbrain.segmentation.file_segmentation import segment_file
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.outputs import check_writable
from lodbrain.segmentation.settings import Settings
from lodbrain.segmentation.volume_table import Volume
from lodbrain.system.atomic import write_bytes
from lodbrain.system.memory import keep_freed_memory
from lodbrain.system.progress import Progress, silent


def demo(
    *,
    out: Out = Path("demo"),
    fetch: Flag = False,
) -> int:
    """Segment an example head, print its volumes and save a picture.

    The example is the ICBM152 template (T1w, 1 mm, skull-stripped) from nilearn. Nothing is downloaded.

    Parameters
    ----------
    out
        Write the scan, its segmentation and the picture to this folder; earlier results in it are replaced.
    fetch
        Segment a real head from OpenNeuro (15 MB, CC0) instead; it is downloaded once.
    """
    keep_freed_memory()
    with progress_bar() as progress:
        made = segment_example(out, fetch=fetch, progress=progress)
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


#: ICBM152 2009a nonlinear symmetric, T1w, 1 mm, skull-stripped. Read as a file of the package nilearn, without
#: importing nilearn and its dependencies.
TEMPLATE = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
INSTALL = install_hint("demo")


@dataclass(frozen=True)
class Demo:
    """Files and outcome of the demo: a copy of the scan, a picture of three planes, and the report."""

    scan: Path
    outcome: ScanOutcome
    picture: Path
    page: Path

    @property
    def files(self) -> list[Path]:
        """Scan, results that exist, and picture."""
        return [self.scan, *self.outcome.outputs.existing(), self.picture]


def segment_example(
    out_dir: str | PathLike[str],
    *,
    fetch: bool = False,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Demo:
    """Segment the ICBM152 template or, with `fetch`, a real head, and save a picture. Earlier results are replaced.

    Raises
    ------
    UsageError
        If nilearn, matplotlib or jinja2 is not installed.
    """
    for package in ("matplotlib", "jinja2"):
        if find_spec(package) is None:
            raise UsageError("extra", None, f"the demo draws with {package}, which is not installed", INSTALL)
    source = fetch_head(progress=progress) if fetch else template()
    scan = Path(out_dir, source.name if fetch else "icbm152_T1w.nii.gz")
    check_writable(scan.parent)
    write_bytes(scan, source.read_bytes())
    settings = replace(settings or Settings(), resume=False, overwrite=True)
    outcome = segment_file(scan, scan.parent, settings, progress=progress)
    picture = scan.with_name(f"{outcome.outputs.stem}_dseg.png")
    from lodbrain.report.planes_figure import three_planes
    from lodbrain.report.scan_page import ensure_page

    labels = read_labels(outcome.outputs.labels).data
    three_planes(read_image(scan), labels, picture, table=TABLES[settings.labels], title=scan.name)
    return Demo(scan, outcome, picture, ensure_page(outcome.outputs.sidecar, scan))


def template() -> Path:
    """Return the path of the template in nilearn.

    Raises
    ------
    UsageError
        If nilearn is not installed, or does not include it.
    """
    found = find_spec("nilearn")
    if found is None or not found.submodule_search_locations:
        raise UsageError("extra", None, "the demo's scan comes with nilearn, which is not installed", INSTALL)
    path = Path(found.submodule_search_locations[0], TEMPLATE)
    if not path.is_file():
        raise UsageError("extra", path, "this nilearn has no such file", INSTALL)
    return path
