"""Options that several commands have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from lodbrain.cli.switches import Flag, Quiet
from lodbrain.cli.usage import wrong_usage
from lodbrain.labels import Scheme
from lodbrain.segmentation.settings import Settings
from lodbrain.system.memory import parse_memory


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """What commands that segment many scans are asked.

    Parameters
    ----------
    labels
        32 structures with FreeSurfer's numbers, 6 tissue classes, or a brain mask.
    model
        Name in `lodbrain models list`, or a model file.
    device
        auto, cpu, cuda, cuda:1 ... or mps.
    memory
        Budget such as 4GB or 2GiB, for all processes. Default: what is free, less a margin.
    threads
        Threads of the CPU, for each process. Default: one a core.
    posteriors
        Write the posteriors, too: _probseg.nii.gz, one large volume for each label.
    report
        Write a page to look at, too: _report.html, with viewer, outlines, volumes and quality.
    resume
        Skip scans whose results are complete, and do the others. Complete results of another model, other settings or a
        changed scan are an error: they need --overwrite.
    overwrite
        Replace results that are there.
    jobs
        Scans at a time, each in a process of its own; they share memory and cores.
    scheduler
        Address of a Dask scheduler, or its file: its workers do the scans.
    quiet
        Print errors only.
    """

    labels: Scheme = "structures"
    model: str = "default"
    device: str = "auto"
    memory: str | None = None
    threads: int | None = None
    posteriors: Flag = False
    report: Flag = False
    resume: Flag = False
    overwrite: Flag = False
    jobs: int = 1
    scheduler: str | None = None
    quiet: Quiet = False

    def settings(self, **more: Any) -> Settings:
        """Return them as settings of a segmentation.

        Parameters
        ----------
        **more
            Fields of `Settings` that the command has options of its own for.

        Raises
        ------
        UsageError
            If one is out of its range, or two exclude each other.
        """
        with wrong_usage():
            return Settings(
                labels=self.labels,
                model=self.model,
                device=self.device,
                memory_bytes=parse_memory(self.memory) if self.memory is not None else None,
                threads=self.threads,
                posteriors=self.posteriors,
                report=self.report,
                resume=self.resume,
                overwrite=self.overwrite,
                **more,
            )
