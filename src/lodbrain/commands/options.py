"""Options shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from lodbrain.commands.switches import Flag, Quiet
from lodbrain.commands.usage import wrong_usage
from lodbrain.labels import Scheme
from lodbrain.segmentation.settings import Settings
from lodbrain.system.memory import parse_memory


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SegmentOptions:
    """Options of commands that segment many scans.

    Parameters
    ----------
    labels
        Labels to write: 32 structures with FreeSurfer's numbers, 6 tissue classes, or a brain mask.
    model
        Name from `lodbrain models list`, or a model file.
    device
        Device: auto, cpu, cuda, cuda:1 ... or mps.
    memory
        Memory budget of all processes together, such as 4GB or 2GiB. Default: free memory minus a margin.
    threads
        Number of CPU threads per process. Default: one per core.
    posteriors
        Write the posteriors, too: _probseg.nii.gz, with one large volume for each label.
    report
        Write an HTML report, too: _report.html, with viewer, outlines, volumes and quality.
    resume
        Skip scans whose results are complete, and process the others. Complete results of another model, other settings
        or a changed scan are an error unless --overwrite is given.
    overwrite
        Replace existing results.
    jobs
        Number of scans processed in parallel, each in its own process; they share memory and cores.
    scheduler
        Address of a Dask scheduler, or its scheduler file; its workers process the scans. Default: this computer does.
    quiet
        Print only errors.
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
        """Return the options as settings of a segmentation.

        Parameters
        ----------
        **more
            Further fields of `Settings`, from the command's own options.

        Raises
        ------
        UsageError
            If an option is out of range, or two options exclude each other.
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
