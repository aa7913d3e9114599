"""Text of the systemd units: the server that stays, the nightly run, and its timer."""

import re
import shlex
from collections.abc import Iterable
from pathlib import Path

from embed_index.jobs.deployment.deployment import (
    HOME,
    SERVE_UNIT,
    Deployment,
    printable,
    served_port,
)
from embed_index.jobs.deployment.template import fill

_NEEDS_QUOTES = re.compile(r"[^A-Za-z0-9_./:=,@%+-]")
_SERVER_STOP_SECONDS = 60
"""Beyond the grace period: a server's group gets 30 s to be gone."""


def serve_unit(deployment: Deployment, *, key_file: Path) -> str:
    """Return the service that keeps the authenticated server running."""
    port = served_port(deployment.settings)
    command = ("serve", "--job", str(deployment.job_file), "--server-port", str(port))
    key = shlex.quote(printable(key_file))
    return fill(
        "embed-index-serve.service",
        unit=SERVE_UNIT,
        port=port,
        key_folder=shlex.quote(str(key_file.parent)),
        generate_key=f"{shlex.join(deployment.program)} keys generate --key-file {key}",
        rotate_key=f"{shlex.join(deployment.program)} keys rotate --key-file {key}"
        f" --state-dir {shlex.quote(printable(deployment.settings.state_dir))}",
        access=deployment.serve_access,
        key_file=_specifiers(key_file),
        **_service(deployment, command=command, folders=[deployment.settings.state_dir]),
    )


def run_unit(deployment: Deployment, *, key_file: Path) -> str:
    """Return the service that brings the collection in step once."""
    settings = deployment.settings
    own_server = not settings.server_url
    remote_milvus = "://" in settings.milvus_uri
    return fill(
        "embed-index-run.service",
        unit=deployment.run_unit,
        collection=settings.collection,
        access=deployment.run_access,
        started_before=f"{'nvidia-persistenced' if own_server else SERVE_UNIT}.service",
        own_server=own_server,
        key_file="" if own_server else _specifiers(key_file),
        milvus_token_file=_specifiers(key_file.with_name("milvus-token")) if remote_milvus else "",
        **_service(
            deployment,
            command=("run", str(deployment.job_file)),
            folders=deployment.written_folders,
        ),
    )


def timer_unit(deployment: Deployment, *, at: str) -> str:
    """Return the timer of the nightly run.

    Args:
        deployment: The job.
        at: Time of day such as `02:30`, in the host's time zone.
    """
    collection = deployment.settings.collection
    return fill("embed-index-run.timer", unit=deployment.run_unit, collection=collection, at=at)


def _service(
    deployment: Deployment, *, command: Iterable[str], folders: Iterable[Path]
) -> dict[str, object]:
    """Return the fields that both services have; the home folder is theirs to write anyway."""
    return {
        "create_user": deployment.create_user,
        "create_folders": deployment.create_folders,
        "user": deployment.user,
        "state_directory": HOME.name,
        "home": HOME,
        "search_path": _word(f"PATH={deployment.search_path}"),
        "command": _command_line((*deployment.program, *command)),
        "stop_seconds": round(deployment.settings.grace_seconds) + _SERVER_STOP_SECONDS,
        "written_folders": " ".join(
            _word(str(folder)) for folder in folders if not folder.is_relative_to(HOME)
        ),
        "sandbox": fill("sandbox").rstrip(),
    }


def _command_line(words: Iterable[str]) -> str:
    return " ".join(_word(word).replace("$", "$$") for word in words)


def _word(text: str) -> str:
    """Quote one word as systemd reads it."""
    escaped = _specifiers(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if _NEEDS_QUOTES.search(text) else escaped


def _specifiers(path: Path | str) -> str:
    return printable(path).replace("%", "%%")
