"""A driver's connection to a Ray cluster that somebody else started."""

import asyncio
import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError, ServerError

_CONNECT_SECONDS = 5.0
_NAMESPACE = "embed-index"
_ENVIRONMENT = {
    # Nothing of a run is told to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray would otherwise announce, in every run, what a later version of it does.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """One node as Ray lists it."""

    id: str
    host: str
    num_gpus: int
    num_cpus: int
    is_alive: bool
    folder: str = ""
    """Of Ray's session on that node, on whose disk it also spills."""

    @property
    def name(self) -> str:
        """What people and Ray call it."""
        return f"{self.host} (node {self.id[:8]})"


async def connect(address: str) -> None:
    """Become a driver of a cluster.

    Args:
        address: `auto`, or HOST:PORT of the head. With `auto`, RAY_ADDRESS decides where it is set.

    Raises:
        ConfigurationError: Ray is not installed, or the address is of another kind.
        ServerError: No cluster answers there, or one of other versions.
    """
    given = os.environ.get("RAY_ADDRESS") or address if address == "auto" else address
    await asyncio.to_thread(_check_address, given)
    # In a thread Ray puts no Python handler in the place of ours.
    await asyncio.to_thread(_connect, given)
    _take_sigterm_back()


def disconnect() -> None:
    """Be a driver no longer; Ray ends what is left of its workers."""
    import ray

    ray.shutdown()


def list_nodes() -> list[ClusterNode]:
    """Return all nodes, dead ones too; blocks for as long as the head does not answer."""
    import ray

    nodes = []
    for node in ray.nodes():
        resources = node["Resources"]
        nodes.append(
            ClusterNode(
                id=node["NodeID"],
                host=node["NodeManagerHostname"],
                num_gpus=int(resources.get("GPU", 0)),
                num_cpus=int(resources.get("CPU", 0)),
                is_alive=node["Alive"],
                folder=str(Path(node["ObjectStoreSocketName"]).parent.parent),
            )
        )
    return nodes


def _check_address(address: str) -> None:
    if address == "auto":
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        raise ConfigurationError(
            f"ray: {address!r} is neither auto nor HOST:PORT",
            remedy="Give the address that `ray start --head` printed; a cluster is never started"
            " from here, and ray:// is for programs that are no driver themselves.",
        )
    try:
        # Ray itself would try for two minutes.
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_cluster(address) from error


def _connect(address: str) -> None:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise ConfigurationError(
            "ray: Ray is not installed in this Python environment",
            remedy="Install the extra on all nodes: pip install '.[ray]' in embed-index's folder.",
        ) from error
    _keep_quiet()
    try:
        ray.init(
            address=address,
            namespace=_NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    # Of its own errors Ray has no common base, and calls other versions a RuntimeError.
    except Exception as error:
        if address == "auto" and isinstance(error, ConnectionError):
            raise _no_cluster(address) from error
        said = " ".join(str(error).split())[:400]
        raise ServerError(
            f"What answers at {address} does not take this driver: {said}",
            remedy="Use the address of the head, the cluster's versions of Ray and Python, its"
            " token where it asks for one, and a host that is a node of it.",
        ) from error


def _take_sigterm_back() -> None:
    """Install this process's own handler anew: below Python, Ray's has taken its place."""
    if threading.current_thread() is threading.main_thread():
        handler = signal.getsignal(signal.SIGTERM)
        if handler is not None:
            signal.signal(signal.SIGTERM, handler)


def _keep_quiet() -> None:
    """Keep our standard streams for results and progress; what happens to workers we say ourselves.

    Ray has no setting for its reports of processes that died, which go to standard output.
    """
    from ray._private import worker

    def ignore(*_: object, **__: object) -> None:
        return

    logging.getLogger("ray").setLevel(logging.ERROR)
    vars(worker)["print_worker_logs"] = ignore


def _no_cluster(address: str) -> ServerError:
    where = "on this host" if address == "auto" else f"at {address}"
    return ServerError(
        f"There is no Ray cluster {where}.",
        remedy="Start one with `ray start --head`, join it from here with `ray start"
        " --address=HOST:PORT`, or hand the run in with `ray job submit`.",
    )
