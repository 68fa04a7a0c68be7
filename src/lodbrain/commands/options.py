"""Options shared by several commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cyclopts import Parameter

from lodbrain.commands.console import wrong_usage
from lodbrain.commands.parameters import Device, Flag, Memory, ModelName, Overwrite, Quiet, ResumeScans, Threads
from lodbrain.labels import Scheme
from lodbrain.segmentation.settings import Settings
from lodbrain.system.memory import parse_memory


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Options of commands that run a model on scans."""

    model: ModelName = "default"
    device: Device = "auto"
    memory: Memory = None
    threads: Threads = None

    def settings(self, **more: Any) -> Settings:
        """Return the options as settings of a segmentation; `more` are further fields, from the command's own options.

        Raises
        ------
        UsageError
            If an option is out of range, or two options exclude each other.
        """
        with wrong_usage():
            memory_bytes = None if self.memory is None else parse_memory(self.memory)
            return Settings(
                model=self.model, device=self.device, memory_bytes=memory_bytes, threads=self.threads, **more
            )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class SegmentOptions(ModelOptions):
    """Options of commands that segment many scans.

    Parameters
    ----------
    labels
        Write these labels: 32 structures with FreeSurfer's numbers, 6 tissue classes, or a brain mask.
    posteriors
        Also write the posteriors (_probseg.nii.gz), one large volume per label.
    report
        Also write an HTML report (_report.html) with viewer, outlines, volumes and quality.
    jobs
        Process this number of scans in parallel, each in its own process; they share memory and cores.
    scheduler
        Process the scans on the workers of this Dask scheduler (address or scheduler file). Default: on this
        computer.
    """

    labels: Scheme = "structures"
    posteriors: Flag = False
    report: Flag = False
    resume: ResumeScans = False
    overwrite: Overwrite = False
    jobs: int = 1
    scheduler: str | None = None
    quiet: Quiet = False

    def settings(self, **more: Any) -> Settings:
        """Return the options as settings of a segmentation; parameters and errors as in `ModelOptions.settings`."""
        own = {name: getattr(self, name) for name in ("labels", "posteriors", "report", "resume", "overwrite")}
        return super().settings(**own, **more)
