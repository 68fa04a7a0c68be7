"""`lodbrain evaluate quality`: whether the quality score tells good results from bad ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Quiet
from lodbrain.inference.memory import keep_freed_memory
from lodbrain.inference.settings import Settings, load_model
from lodbrain.workflows.quality import validate_quality

Out: TypeAlias = Annotated[Path, Parameter(name=["--out", "-o"])]


def quality(
    *,
    out: Out,
    draws: Annotated[int, Parameter(name=["--draws", "-n"])] = 200,
    maps: Annotated[list[Path] | None, Parameter(consume_multiple=True, negative="")] = None,
    voxel_size: tuple[float, float] = (1.0, 1.4),
    seed: int = 0,
    model: str = "default",
    device: str = "auto",
    quiet: Quiet = False,
) -> int:
    """Check the quality score: synthetic scans made worse, segmented, and scored against the truth.

    Half of the draws are fitted on, the others judged. The folder gets cases.tsv, quality.json (the fit, as the package
    holds it, and how good it is) and quality.png. Draws that are there are not done again.

    Parameters
    ----------
    out
        Folder for the results.
    draws
        Synthetic scans.
    maps
        Label maps that the model was not trained on. Default: the four of `lodbrain fetch labelmaps` that are
        kept for validation.
    voxel_size
        Smallest and largest voxel side in mm.
    seed
        Of the draws.
    model
        Name in `lodbrain models list`, or a model file.
    device
        auto, cpu, cuda, cuda:1 ... or mps.
    quiet
        Print errors only.
    """
    keep_freed_memory()
    loaded = load_model(Settings(model=model, device=device))
    with progress_bar(show=not quiet) as progress:
        found = validate_quality(
            out,
            draws,
            loaded,
            maps=maps or (),
            voxel_mm=voxel_size,
            seed=seed,
            progress=progress or (lambda share, text: None),
        )
    if not quiet:
        for name, one in (("judged", found.judged), ("fitted", found.fitted)):
            print(
                f"{name}: n {one.n}, Pearson {one.pearson:.3f}, Spearman {one.spearman:.3f}, mean error "
                f"{one.mean_error:.3f}, AUC for Dice < 0.7 {one.auc:.3f} ({one.failed} cases)"
            )
        print(f"{found.refused} scans refused (no brain found)\n{out}: cases.tsv, quality.json, quality.png")
    return 0
