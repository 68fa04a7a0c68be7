"""`lodbrain evaluate quality`: evaluation of the quality score on degraded synthetic scans."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from lodbrain.cli.progress import progress_bar
from lodbrain.cli.switches import Out
from lodbrain.cli.validation import ValidationOptions
from lodbrain.workflows.quality import validate_quality


def quality(
    *,
    out: Out,
    draws: Annotated[int, Parameter(name=["--draws", "-n"])] = 200,
    voxel_size: tuple[float, float] = (1.0, 1.4),
    options: ValidationOptions | None = None,
) -> int:
    """Evaluate the quality score: degraded synthetic scans are segmented, and predicted and true Dice compared.

    Half of the scans are used to fit the score, the others to evaluate it. The folder contains cases.tsv, quality.json
    (the fit and its evaluation), quality.png, and the model with the fit for --model. Existing cases are not computed
    again.

    Parameters
    ----------
    out
        Folder for the results.
    draws
        Number of synthetic scans.
    voxel_size
        Smallest and largest voxel side in mm.
    """
    options = options or ValidationOptions()
    loaded = options.load()
    with progress_bar(show=not options.quiet) as progress:
        found = validate_quality(
            out,
            draws,
            loaded,
            maps=options.maps or (),
            contrasts=options.contrasts,
            voxel_mm=voxel_size,
            seed=options.seed,
            progress=progress or (lambda share, text: None),
        )
    if not options.quiet:
        for name, one in (("judged", found.judged), ("fitted", found.fitted)):
            print(
                f"{name}: n {one.n}, Pearson {one.pearson:.3f}, Spearman {one.spearman:.3f}, mean error "
                f"{one.mean_error:.3f}, AUC for Dice < 0.7 {one.auc:.3f} ({one.failed} cases)"
            )
        print(f"{found.refused} scans refused (no brain found)")
        print(f"{out}: cases.tsv, quality.json, quality.png, {loaded.card.name}.safetensors")
    return 0
