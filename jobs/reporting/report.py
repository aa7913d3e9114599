"""A report made and put in its place."""

from pathlib import Path

from embed_index.jobs.reporting.gathering import ReportWishes, gather
from embed_index.pipeline.report.page import render_report
from embed_index.pipeline.report.placing import put_in_place
from embed_index.schemas.settings import JobSettings


def wishes_of(settings: JobSettings) -> ReportWishes:
    """Return what a job's settings want of its reports."""
    return ReportWishes(color_by=settings.report_color_by, with_texts=settings.report_texts)


def make_report(settings: JobSettings, *, path: Path, wishes: ReportWishes) -> int:
    """Write the page; return its size in bytes.

    Raises:
        ConfigurationError: There is nothing to report on, no such column, or the extra is missing.
        UnavailableError: The file cannot be written.
    """
    page = render_report(gather(settings, wishes=wishes))
    put_in_place(path, page, setting="report")
    return path.stat().st_size
