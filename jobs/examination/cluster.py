"""What must hold for a Ray cluster on which a job's servers are started, node by node."""

import asyncio
import importlib.metadata
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from embed_index.jobs.examination.check import Check
from embed_index.pipeline.cluster.examination import NodeReport, examine_nodes, fingerprint
from embed_index.pipeline.secrecy.checks import check_secret_file
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError, EmbedIndexError
from embed_index.schemas.host_check import HostCheck
from embed_index.schemas.settings import JobSettings

_TOKEN_FILE = "~/.ray/auth_token"  # noqa: S105 - Ray's own place
_SCARCE_BYTES = 10 << 30


def cluster_checks(settings: JobSettings) -> Iterator[Check]:
    """Yield the checks for servers on a cluster's nodes."""
    yield "Ray", _check_ray
    yield "Ray token", _check_token
    yield "Ray TLS", _check_tls
    try:
        reports = asyncio.run(
            examine_nodes(settings.ray, model=settings.model, revision=settings.revision)
        )
    except EmbedIndexError as error:
        yield "Ray cluster", partial(_raise, error)
        return
    yield "Ray cluster", partial(_check_room, settings, reports)
    here = fingerprint(settings.model, settings.revision)
    for report in reports:
        yield "node", partial(_check_node, report, here=here, model=settings.model)


def _raise(error: EmbedIndexError) -> HostCheck:
    raise error


def _check_ray() -> HostCheck:
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigurationError(
            "Ray is not installed", remedy="On all nodes: pip install '.[ray]'."
        ) from None
    return HostCheck(subject="Ray", outcome="ok", found=version)


def _check_token() -> HostCheck:
    """See that strangers cannot run programs on the nodes, and who may read what keeps them out."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
        return HostCheck(
            subject="Ray token",
            outcome="warning",
            found="RAY_AUTH_MODE is not token: whoever reaches the head may run any program there",
            remedy="Set RAY_AUTH_MODE=token on all nodes, and start the cluster with it.",
        )
    if os.environ.get("RAY_AUTH_TOKEN"):
        return HostCheck(
            subject="Ray token",
            outcome="warning",
            found="RAY_AUTH_TOKEN is set, and the environment goes to whatever is started from it",
            remedy=f"Keep the token in {_TOKEN_FILE}, mode 0600.",
        )
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or _TOKEN_FILE).expanduser()
    return check_secret_file(file, subject="Ray token")


def _check_tls() -> HostCheck:
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
        return HostCheck(subject="Ray TLS", outcome="ok", found="on")
    return HostCheck(
        subject="Ray TLS",
        outcome="warning",
        found="off: token ids, vectors and Ray's token cross the network in clear",
        remedy="Enough where the network is yours alone; else set RAY_USE_TLS=1 and its"
        " certificates on all nodes.",
    )


def _check_room(settings: JobSettings, reports: tuple[NodeReport, ...]) -> HostCheck:
    num_gpus = sum(len(report.gpus) for report in reports)
    found = f"{counted(len(reports), 'node')}, {counted(num_gpus, 'GPU')}"
    if num_gpus:
        return HostCheck(subject="Ray cluster", outcome="ok", found=found)
    return HostCheck(
        subject="Ray cluster",
        outcome="warning",
        found=f"{found}; a worker is started for every {settings.ray_cpus} cores, and is slow",
        remedy="Enough to try things out. For a corpus, use nodes with GPUs.",
    )


def _check_node(report: NodeReport, *, here: str, model: str) -> HostCheck:
    if report.failure:
        raise ConfigurationError(
            f"{report.node}: {report.failure}",
            remedy="Install embed-index there as it is here, and see the node's log.",
        )
    if report.differences:
        raise ConfigurationError(
            f"{report.node} has {report.differences}", remedy="Install the same on all nodes."
        )
    if not report.model and Path(model).is_absolute():
        raise ConfigurationError(
            f"{report.node} has no model at {model}", remedy="Copy the folder to that node."
        )
    if report.model and here and report.model != here:
        raise ConfigurationError(
            f"{report.node} has another revision of {model} ({report.model}) than this host"
            f" ({here})",
            remedy="Copy the same files to all nodes.",
        )
    gpus = ", ".join(report.gpus) or "no GPU"
    free = f"{report.spill_bytes / 2**30:.1f} GiB free for spilling"
    found = f"{report.node}: {gpus}; {free}"
    if not report.model:
        return HostCheck(
            subject="node",
            outcome="warning",
            found=f"{found}; {model} is not there yet",
            remedy="Its server fetches it from the hub when it starts.",
        )
    if report.spill_bytes < _SCARCE_BYTES:
        return HostCheck(
            subject="node",
            outcome="warning",
            found=found,
            remedy="Make room on the disk of Ray's temporary folder.",
        )
    return HostCheck(subject="node", outcome="ok", found=found)
