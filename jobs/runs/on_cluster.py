"""A run whose servers are on a Ray cluster: what is different about its process."""

from collections.abc import Callable

from embed_index.jobs.cli.below_parent import run_below_parent
from embed_index.jobs.runs.metrics import leaving_metrics
from embed_index.schemas.errors import ConfigurationError, UnavailableError
from embed_index.schemas.settings import JobSettings


class ClusterLostError(UnavailableError):
    """Ray ended the driver."""


def run_on_cluster(index: Callable[[], None], *, settings: JobSettings) -> None:
    """Index below a parent, since Ray ends a driver whose cluster is gone.

    Raises:
        ConfigurationError: Another server is named, too.
        UnavailableError: That happened.
        SystemExit: The run ended by itself, with this code, and has said how.
    """
    for name in ("server_url", "gpus", "server_port"):
        if getattr(settings, name):
            raise ConfigurationError(
                f"ray has servers started on a cluster's nodes, and {name} is about others",
                remedy=f"Leave out ray or {name}; --show-config says where each comes from.",
            )
    lost = ClusterLostError(
        "Ray ended the run: the head of its cluster, or this host's own node, is gone.",
        remedy="Start the cluster again, then run again: nothing done is lost.",
    )
    try:
        run_below_parent(index, lost=lost)
    except ClusterLostError:
        # The run itself had no time to leave any.
        with leaving_metrics(settings):
            raise
