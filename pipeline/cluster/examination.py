"""What each node of a cluster has, before a run needs it; nothing is started or fetched there."""

import asyncio
import shutil
from dataclasses import dataclass
from pathlib import Path

from embed_index.pipeline.cluster.connection import ClusterNode, connect, disconnect, list_nodes
from embed_index.pipeline.cluster.order import describe_differences, versions
from embed_index.pipeline.host.model import local_folder
from embed_index.pipeline.model.files import find_model
from embed_index.pipeline.server.gpus import visible_gpus
from embed_index.schemas.errors import EmbedIndexError

_ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What was found on a node."""

    node: str
    differences: str = ""
    """Of versions, from this host's; empty for none."""
    model: str = ""
    """Fingerprint of the model's files; empty where they are not there."""
    gpus: tuple[str, ...] = ()
    spill_bytes: int = 0
    """Free on the disk to which Ray spills."""
    failure: str = ""
    """Why nothing of the above is known; empty where it is."""


async def examine_nodes(
    address: str, *, model: str, revision: str | None
) -> tuple[NodeReport, ...]:
    """Look at every node that is alive.

    Args:
        address: `auto`, or HOST:PORT of the head.
        model: Folder, or the hub's id.
        revision: Of the hub's; None for any.

    Raises:
        ConfigurationError: Ray is not installed, or the address is of another kind.
        ServerError: There is no cluster, or it does not take this host.
    """
    await connect(address)
    try:
        nodes = [node for node in await asyncio.to_thread(list_nodes) if node.is_alive]
        return tuple(
            await asyncio.gather(*(_ask(node, model=model, revision=revision) for node in nodes))
        )
    finally:
        await asyncio.to_thread(disconnect)


def fingerprint(model: str, revision: str | None) -> str:
    """Return what tells a host's files of a model from others; empty where there are none."""
    try:
        folder = local_folder(model, revision=revision)
        return "" if folder is None else find_model(str(folder)).revision
    except EmbedIndexError:
        return ""


def look(
    driver: dict[str, str], model: str, revision: str | None, folder: str
) -> dict[str, object]:
    """Return the fields of a report; runs on the node, in whatever version is there."""
    return {
        "differences": describe_differences(versions(), driver),
        "model": fingerprint(model, revision),
        "gpus": tuple(gpu.name for gpu in visible_gpus()),
        "spill_bytes": shutil.disk_usage(folder).free if Path(folder).is_dir() else 0,
    }


async def _ask(node: ClusterNode, *, model: str, revision: str | None) -> NodeReport:
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = (
        ray.remote(look)
        .options(
            num_cpus=0,
            max_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False),
        )
        .remote(versions(), model, revision, node.folder)
    )
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return NodeReport(node=node.name, **await asked)
    except TimeoutError:
        failure = f"it has not answered for {_ANSWER_SECONDS:.0f} s"
    except RayError as error:
        cause = getattr(error, "cause", None) or error
        failure = f"this program cannot run there ({type(cause).__name__})"
    return NodeReport(node=node.name, failure=failure)
