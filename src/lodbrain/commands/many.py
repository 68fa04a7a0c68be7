"""Shared code of commands on many scans: execution, one line per scan, summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lodbrain.commands.console import progress_bar, tell_error
from lodbrain.commands.options import SegmentOptions
from lodbrain.errors import UsageError, shown
from lodbrain.report.segment_pages import add_page, check_installed
from lodbrain.segmentation.jobs import Job, segment_jobs
from lodbrain.segmentation.outcome import ScanOutcome
from lodbrain.segmentation.settings import Settings
from lodbrain.segmentation.volume_table import BRAIN
from lodbrain.system.memory import keep_freed_memory


def do_jobs(
    jobs: Sequence[Job],
    settings: Settings,
    options: SegmentOptions,
    *,
    scratch: Path | None = None,
) -> list[ScanOutcome]:
    """Run jobs in this process, in several, or on a cluster, and print their outcomes.

    `scratch` is as in `lodbrain.batch.cluster_run.Workplace`.

    Raises
    ------
    UsageError
        If --jobs is below 1, --jobs and a scheduler are both given, or packages for pages are missing.
    """
    if options.jobs < 1:
        raise UsageError("jobs", None, f"--jobs must be at least 1, got {options.jobs}")
    if options.jobs > 1 and options.scheduler is not None:
        what = "--jobs is for this machine, --scheduler for a cluster"
        raise UsageError("jobs", None, what, "Give one of the two; the cluster says how many workers it has")
    if options.report:
        check_installed()
    make_page = add_page if options.report else None

    def say(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    def tell(outcome: ScanOutcome) -> None:
        if outcome.error is not None:
            tell_error(outcome.error)
        else:
            say(result_line(outcome))
        if outcome.page_error is not None:
            tell_error(outcome.page_error)

    for job in jobs:
        for words in job.messages:
            say(words)
        for other in job.also:
            say(f"{shown(other)}: the same file as {shown(job.path)}, which is segmented once")
    with progress_bar(show=not options.quiet) as progress:
        if options.jobs == 1 and options.scheduler is None:
            keep_freed_memory()
            outcomes = segment_jobs(jobs, settings, progress=progress, finished=tell, make_page=make_page)
        else:
            from lodbrain.batch.cluster_run import Workplace, run_jobs

            place = Workplace(options.jobs, options.scheduler, scratch)
            outcomes = run_jobs(
                jobs, settings, place=place, progress=progress, finished=tell, say=say, make_page=make_page
            )
    if len(outcomes) > 1:
        say(summary(outcomes))
    return outcomes


def result_line(outcome: ScanOutcome) -> str:
    """Return a line on a scan that did not fail."""
    if outcome.status == "skipped":
        return f"{shown(outcome.path.name)}: {shown(outcome.outputs.labels)} is complete, skipped"
    brain = [f", brain {row.volume_mm3 / 1000:.0f} ml" for row in outcome.volumes if row.name == BRAIN]
    warnings = f", {outcome.signs} QC warning{'s' * (outcome.signs > 1)}" if outcome.signs else ""
    name, labels = shown(outcome.path.name), shown(outcome.outputs.labels)
    return f"{name}: {labels}{''.join(brain)}{warnings}, {outcome.seconds:.1f} s"


def summary(outcomes: Sequence[ScanOutcome]) -> str:
    """Return counts of done, skipped and failed scans, such as ``"3 done, 1 failed"``, and of QC warnings."""
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in ("done", "skipped", "failed")}
    warned = sum(outcome.signs > 0 for outcome in outcomes)
    words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{words}; {warned} with QC warnings: inspect them" if warned else words
