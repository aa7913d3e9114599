"""From settings to the embedding server of a command.

What speaks to servers is imported when there is one to speak to: most nights have none.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from embed_index.pipeline.embedding.canaries import MAX_CANARY_TOKENS, CanaryGate
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.gpus import Gpu, visible_gpus
from embed_index.pipeline.server.launch import ServerProfile
from embed_index.pipeline.server.precision import Precision, choose_precision
from embed_index.pipeline.server.profile import SLOWEST_ON_GPU, profile_for
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.settings import JobSettings

if TYPE_CHECKING:
    from embed_index.pipeline.embedding.embedder import Embedder
    from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
    from embed_index.pipeline.embedding.preflight import ServerAccess
    from embed_index.pipeline.server.process import ManagedServer
    from embed_index.pipeline.server.service import EmbeddingRequest, EmbeddingService

_REQUESTS_ON_GPU = 24
_REQUESTS_ON_CPU = 3
_REQUESTS_ON_CLUSTER = 384
"""How many nodes there are, and will be, is not known when a run begins. That is 24 for each of 16
GPUs and 6 for each of 64; what no worker has room for waits here, some 0.2 GB at most."""


def server_profile(
    settings: JobSettings, *, model: ModelFiles, max_tokens: int, gpu: int | None = None
) -> ServerProfile:
    """Return what a managed server serves, and on what; SGLang by itself takes the first GPU.

    Raises:
        ConfigurationError: A GPU cannot compute in the precision that is wanted.
    """
    gpus = visible_gpus()
    return profile_for(
        model,
        precision=precision_for(settings, model=model, gpus=gpus),
        gpus=gpus,
        max_tokens=max_tokens,
        gpu=gpu,
        flags=settings.server_extra_args,
    )


def precision_for(settings: JobSettings, *, model: ModelFiles, gpus: Sequence[Gpu]) -> Precision:
    """Return what managed servers compute in.

    Args:
        settings: What is wanted, and on which GPUs.
        model: The checkpoint.
        gpus: Those that are visible; empty for the CPU.

    Raises:
        ConfigurationError: One of the GPUs, or the CPU, cannot do it.
    """
    chosen = [gpu for gpu in gpus if gpu.index in settings.gpus]
    return choose_precision(settings.dtype, model=model, gpus=chosen or gpus)


def canary_gate(
    settings: JobSettings,
    *,
    model: ModelFiles,
    tokenizer: ModelTokenizer,
    contract: CollectionContract,
    version: str,
) -> CanaryGate:
    """Return what lets servers embed for a collection version."""
    return CanaryGate(
        tokenizer,
        contract=contract,
        version=version,
        quantization=model.quantization,
        mixed_precision=settings.mixed_precision,
    )


def request_for(
    settings: JobSettings,
    *,
    model: ModelFiles,
    gate: CanaryGate,
    max_tokens: int,
    tell: Callable[[str], None] = lambda _: None,
) -> "EmbeddingRequest":
    """Return a request for servers that embed as the gate's collection does.

    Args:
        settings: How long an answer may take.
        model: What they serve.
        gate: Proves each of them before its use.
        max_tokens: Longest input of the command's own.
        tell: Called with a sentence for people.
    """
    from embed_index.pipeline.server.service import EmbeddingRequest

    async def prove(embedder: "Embedder", access: "ServerAccess") -> None:
        if measured := await gate.prove(embedder, access):
            tell(measured)

    return EmbeddingRequest(
        model=model,
        dimension=gate.dimension,
        max_tokens=max(max_tokens, MAX_CANARY_TOKENS),
        answer_seconds=settings.request_timeout_seconds,
        prove=prove,
        tell=tell,
        canary_ids=gate.inputs() if settings.ray else (),
    )


def choose_service(
    settings: JobSettings,
    *,
    request: "EmbeddingRequest",
    log_owner: str,
    max_servers: int | None = None,
) -> "AbstractAsyncContextManager[EmbeddingService]":
    """Return the servers that settings name, or ones of our own that start with the context.

    Args:
        settings: Where servers are, or how they are started.
        request: What is asked of them.
        log_owner: What the logs of our own are called, such as the run's name.
        max_servers: How many are of use; None for all, those of a cluster too.

    Raises:
        ConfigurationError: A server is named and its key is not, or a GPU does not exist.
    """
    from embed_index.pipeline.server.service import external_service, managed_service

    if settings.ray and max_servers is None:
        return _cluster(settings, request=request, log_owner=log_owner)
    if settings.server_url:
        endpoints = named_endpoints(settings, model=request.model.location)[:max_servers]
        return external_service(endpoints, request=request)
    gpus = chosen_gpus(settings)[:max_servers]
    request = replace(request, min_tokens_per_second=min_tokens_per_second())
    launches = [
        _launcher(settings, request=request, gpu=gpu, port_offset=offset, log_owner=log_owner)
        for offset, gpu in enumerate(gpus)
    ]
    return managed_service(launches, request=request)


def named_endpoints(settings: JobSettings, *, model: str) -> "list[EmbeddingEndpoint]":
    """Return the servers that settings name.

    Args:
        settings: Addresses and key.
        model: What requests call the model.

    Raises:
        ConfigurationError: An address or the key is unusable, or the key is missing.
    """
    if settings.server_key is None:
        raise ConfigurationError(
            f"server_key: the server {settings.server_url[0]} is given without its key",
            remedy="Put EMBEDDING_API_KEY into the environment or .env.",
        )
    from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint

    key = settings.server_key
    return [
        EmbeddingEndpoint.from_settings(url, key=key, model=model) for url in settings.server_url
    ]


def min_tokens_per_second() -> float:
    """Return how slow a managed server may be before it is taken to hang."""
    from embed_index.pipeline.embedding.client import SLOWEST_TOKENS_PER_SECOND

    return SLOWEST_ON_GPU if visible_gpus() else SLOWEST_TOKENS_PER_SECOND


def requests_in_flight(settings: JobSettings) -> int:
    """Return how many requests keep all servers busy and no more."""
    if settings.ray:
        return _REQUESTS_ON_CLUSTER
    if settings.server_url:
        num_servers, on_gpu = len(settings.server_url), True
    else:
        num_servers, on_gpu = len(chosen_gpus(settings)), bool(visible_gpus())
    default = _REQUESTS_ON_GPU if on_gpu else _REQUESTS_ON_CPU
    return num_servers * (settings.max_in_flight or default)


def chosen_gpus(settings: JobSettings) -> tuple[int | None, ...]:
    """Return the GPU of each server to start; None for the only one, or for the CPU.

    Raises:
        ConfigurationError: A GPU does not exist.
    """
    visible = [gpu.index for gpu in visible_gpus()]
    unknown = [number for number in settings.gpus if number not in visible]
    if unknown:
        there = ", ".join(map(str, visible)) or "none"
        raise ConfigurationError(
            f"gpus: there is no GPU {unknown[0]} here; visible are: {there}",
            remedy="Correct --gpus, or CUDA_VISIBLE_DEVICES.",
        )
    if settings.gpus:
        return settings.gpus
    return tuple(visible) if len(visible) > 1 else (None,)


def _cluster(
    settings: JobSettings, *, request: "EmbeddingRequest", log_owner: str
) -> "AbstractAsyncContextManager[EmbeddingService]":
    from embed_index.pipeline.cluster.service import ClusterUse, cluster_service

    use = ClusterUse(
        address=settings.ray,
        num_cpus=settings.ray_cpus,
        dtype=settings.dtype,
        start_seconds=settings.start_timeout_seconds,
        max_in_flight=settings.max_in_flight,
        extra_flags=settings.server_extra_args,
        log_folder=str(settings.state_dir / "logs"),
        log_owner=log_owner,
    )
    return cluster_service(use, request=request)


def _launcher(
    settings: JobSettings,
    *,
    request: "EmbeddingRequest",
    gpu: int | None,
    port_offset: int,
    log_owner: str,
) -> "Callable[[], ManagedServer]":
    from embed_index.pipeline.server.process import ManagedServer

    profile = server_profile(settings, model=request.model, max_tokens=request.max_tokens, gpu=gpu)
    port = settings.server_port + port_offset if settings.server_port else None

    def launch() -> "ManagedServer":
        server = ManagedServer(
            profile,
            log_folder=settings.state_dir / "logs",
            log_owner=log_owner,
            port=port,
            gpu=gpu,
            start_seconds=settings.start_timeout_seconds,
        )
        REDACTOR.remember(server.key.get_secret_value())
        return server

    return launch
