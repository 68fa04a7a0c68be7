"""`lodbrain contrast`: contrast analysis of unlabelled scans, as a profile for synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lodbrain.commands.console import progress_bar, tell_failed, wrong_usage
from lodbrain.commands.parameters import Device, Frame, ModelName, Out, Quiet, Threads
from lodbrain.contrast_analysis.scan_files import analyse_scans
from lodbrain.segmentation.settings import Settings
from lodbrain.synthesis.profile import ContrastProfile
from lodbrain.system.memory import keep_freed_memory


def contrast(
    inputs: Annotated[list[str], Parameter(name="SCAN", required=True, negative="")],
    /,
    *,
    out: Out,
    labels: Path | None = None,
    model: ModelName = "default",
    device: Device = "auto",
    threads: Threads = None,
    figure: Path | None = None,
    frame: Frame = None,
    quiet: Quiet = False,
) -> int:
    """Analyse the contrast of unlabelled scans.

    Intensities of each structure, contrast-to-noise of the tissues, bias field, noise, smoothness and background are
    fitted to each scan, pooled, and written as YAML for `lodbrain synth` and training. Scans whose fit is not good
    enough are reported with the reason and left out.

    Parameters
    ----------
    inputs
        Analyse these scans of one protocol (.nii, .nii.gz, .mgz), folders (searched recursively) or quoted globs.
    out
        Write the profile to this YAML file.
    labels
        Use this label map with FreeSurfer's numbers, or a folder with one per scan. Default: posteriors of the model.
    figure
        Write a PNG with fitted and observed histograms of each scan. Default: none.
    """
    with wrong_usage():
        settings = Settings(model=model, device=device, threads=threads, frame=frame, posteriors=labels is None)

    keep_freed_memory()
    with progress_bar(show=not quiet) as progress:
        also = [figure] if figure is not None else []
        analysis = analyse_scans(
            inputs, out, labels=labels, settings=settings, also=also, progress=progress, finished=tell_failed
        )
    if figure is not None and analysis.fitted:
        from lodbrain.report.contrast_figure import contrast_figure

        contrast_figure([fit for _, fit in analysis.fitted], [name for name, _ in analysis.fitted], figure)
    if analysis.profile is not None and not quiet:
        print(summary(analysis.profile, out))
    return analysis.exit_code


def summary(profile: ContrastProfile, out: Path) -> str:
    """Return a one-line summary of the fit."""
    scans = f"{len(profile.scans)} scan{'s' if len(profile.scans) > 1 else ''}"
    contrast = profile.contrast_to_noise["white - grey"]
    return (
        f"{out}: {scans}, white - grey contrast-to-noise {contrast:.1f}, bias {profile.bias.log_sd:.1%}, "
        f"noise {profile.noise.sd:.1%} of white matter, background {profile.background.kind}"
    )
