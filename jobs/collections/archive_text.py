"""Writes what was exported and imported, for people and for programs."""

import json
from dataclasses import asdict

from embed_index.jobs.collections.archiving import Exported, Imported
from embed_index.schemas.counts import counted


def exported_as_text(done: Exported) -> str:
    """Return one line."""
    return (
        f"exported {done.version}: {counted(done.num_chunks, 'chunk')} of"
        f" {counted(done.num_documents, 'document')},"
        f" vectors of {done.dimension}, {done.num_bytes / 1e6:,.1f} MB in"
        f" {counted(done.num_files, 'file')}"
        f" at {done.folder}, {done.seconds:.1f} s"
    )


def imported_as_text(done: Imported) -> str:
    """Return one line."""
    cut = (
        "" if done.dimension == done.archived_dimension else f", cut from {done.archived_dimension}"
    )
    return (
        f"{done.version} is live: {counted(done.num_chunks, 'chunk')} of"
        f" {counted(done.num_documents, 'document')},"
        f" vectors of {done.dimension}{cut}, {done.seconds:.1f} s"
    )


def report_as_json(done: Exported | Imported) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(done), ensure_ascii=False, indent=2)
