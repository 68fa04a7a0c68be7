"""`lodbrain evaluate ultracortex`: verification on 9.4 T heads with manual labels."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Flag, Out, Quiet
from lodbrain.cli.usage import wrong_usage
from lodbrain.segmentation.settings import Settings
from lodbrain.system.memory import keep_freed_memory, parse_memory
from lodbrain.workflows import ultracortex as workflow


def ultracortex(
    *,
    out: Out,
    data: Path | None = None,
    model: str = "default",
    device: str = "auto",
    memory: str | None = None,
    threads: int | None = None,
    overlap_only: Flag = False,
    quiet: Quiet = False,
) -> int:
    """Verify a model on UltraCortex: 12 heads at 9.4 T with manual labels of grey and white matter.

    The treatment of each of our structures by the manual labels is determined and printed before the evaluation. A
    model whose card lists one of the subjects among its training data is rejected. The folder contains ultracortex.tsv,
    summary.tsv, protocol.tsv, ultracortex.json, ultracortex.html and the segmentations, which a second run reuses.

    Parameters
    ----------
    out
        Folder for the results.
    data
        Folder laid out as OpenNeuro ds005216. Default: the cache; missing files are downloaded, about 3 GB.
    model
        Name from `lodbrain models list`, or a model file.
    device
        Device: auto, cpu, cuda, cuda:1 ... or mps.
    memory
        Memory budget, such as 4GB or 2GiB. Default: free memory minus a margin.
    threads
        Number of CPU threads. Default: one per core.
    overlap_only
        Compute only Dice and volumes, which is much faster.
    quiet
        Print only errors.
    """
    with wrong_usage():
        settings = Settings(
            model=model,
            device=device,
            memory_bytes=parse_memory(memory) if memory is not None else None,
            threads=threads,
        )
    keep_freed_memory()

    def tell(line: str) -> None:
        if not quiet:
            print(line, flush=True)

    with progress_bar(show=not quiet) as progress:
        found = workflow.verify(
            out,
            settings,
            data=data,
            surfaces=not overlap_only,
            tell=tell,
            progress=progress or (lambda share, text: None),
        )
    for problem in found.problems:
        print(f"lodbrain: {problem}", file=sys.stderr)
    if not quiet:
        table = Table(title="Dice against the manual labels", title_justify="left", box=None, pad_edge=False)
        for name in ("region", "side", "mean", "95% interval", "scans"):
            table.add_column(name, justify="left" if name in ("region", "side") else "right")
        for (region, side), one in found.summary.items():
            interval = f"{one.low:.3f} to {one.high:.3f}" if one.n > 1 else "n/a"
            table.add_row(region, side, f"{one.mean:.3f}", interval, str(one.n))
        Console(highlight=False).print(table)
        for each in workflow.PUBLISHED:
            print(f"{each.method}: {each.figure} ({each.remark})")
        print(f"{out}: ultracortex.html, ultracortex.tsv, summary.tsv, protocol.tsv, ultracortex.json")
    return found.exit_code
