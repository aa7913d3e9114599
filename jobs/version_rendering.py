"""Writes what became of versions, for people and for programs."""

import json
from dataclasses import asdict

from embed_index.pipeline.versions.changes import AliasMove, VersionCleanup


def move_as_text(move: AliasMove) -> str:
    """Return one line."""
    if move.live == move.before:
        return f"{move.live} is live already"
    return f"{move.live} is live" + (f", {move.before} was" if move.before else "")


def move_as_json(move: AliasMove) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(move), indent=2)


def cleanup_as_text(cleanup: VersionCleanup, *, dry_run: bool) -> str:
    """Return what was dropped, or would be, and what stays: one line a version."""
    gone = "would drop" if dry_run else "dropped"
    return "\n".join(
        [
            *(f"{gone} {name}" for name in cleanup.dropped),
            *(f"kept {name}{', live' * (name == cleanup.live)}" for name in cleanup.kept),
        ]
    )


def cleanup_as_json(cleanup: VersionCleanup, *, dry_run: bool) -> str:
    """Return one JSON object."""
    return json.dumps(asdict(cleanup) | {"dry_run": dry_run}, indent=2)
