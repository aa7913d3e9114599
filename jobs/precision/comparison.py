"""A sample embedded in two precisions, one server after the other, and compared."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from embed_index.jobs.adapters.inputs import JobInputs, check_inputs
from embed_index.jobs.adapters.servers import (
    canary_gate,
    choose_service,
    chosen_gpus,
    precision_for,
    request_for,
    requests_in_flight,
)
from embed_index.jobs.precision.agreement import (
    Cosines,
    Overlap,
    compare_searches,
    compare_vectors,
)
from embed_index.jobs.precision.sample import Sample, draw_sample
from embed_index.pipeline.embedding.embedder import Embedder, RequestRefusedError
from embed_index.pipeline.server.gpus import visible_gpus
from embed_index.pipeline.server.server_log import name_log
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError, ServerError
from embed_index.schemas.precision import FP8, Dtype
from embed_index.schemas.records import TokenIds, Vectors
from embed_index.schemas.settings import JobSettings

PRECISIONS: tuple[Dtype, Dtype] = ("bfloat16", FP8)
_MIN_SECONDS = 5.0

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """What one server made of the sample."""

    chunks: Vectors
    queries: Vectors
    tokens_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the second precision costs and saves against the first."""

    model: str
    device: str
    dimension: int
    precisions: tuple[Dtype, Dtype]
    tokens_per_second: tuple[float, float]
    """Of one server, with the chunks of the sample."""
    sample: Sample
    num_queries: int
    """0 where the chunks search for each other."""
    cosines: Cosines
    overlap: Overlap


def compare_precisions(
    settings: JobSettings,
    *,
    num_chunks: int,
    queries: Sequence[str] = (),
    precisions: tuple[Dtype, Dtype] = PRECISIONS,
    tell: Tell = lambda _: None,
) -> Comparison:
    """Embed a sample of the job's corpus in two precisions on one server each, and compare.

    Args:
        settings: Of the job; its collection is neither read nor written.
        num_chunks: Size of the sample.
        queries: What people search for; empty has the chunks search for each other.
        precisions: What is, and what might be.
        tell: Called with what is being done.

    Raises:
        ConfigurationError: The job names servers, its model is quantised already, a GPU does not
            have the precision, or the corpus is too small.
        ServerError: A server does not start, or refuses a chunk.
    """
    if settings.server_url:
        raise ConfigurationError(
            "server_url: precisions are compared on servers that are started for it",
            remedy="Leave out --server-url and EMBEDDING_API_BASE for this command.",
        )
    # What is measured is this host.
    jobs = [settings.model_copy(update={"dtype": dtype, "ray": ""}) for dtype in precisions]
    inputs = check_inputs(settings)
    gpus = visible_gpus()
    for job in jobs:
        precision_for(job, model=inputs.model, gpus=gpus)
    sample = draw_sample(inputs, num_chunks=num_chunks)
    tokenizer, prompt = inputs.tokenizer, inputs.contract().query_prompt
    asked = [tokenizer.encode_for_model(prompt + query) for query in queries]
    first, second = (
        asyncio.run(_embed(job, inputs=inputs, chunks=sample.chunks, queries=asked, tell=tell))
        for job in jobs
    )
    sides = [(side.queries if queries else side.chunks, side.chunks) for side in (first, second)]
    chosen = [gpu.name for gpu in gpus if not settings.gpus or gpu.index in settings.gpus]
    return Comparison(
        model=inputs.model.name,
        device=chosen[0] if chosen else "the CPU",
        dimension=inputs.dimension,
        precisions=precisions,
        tokens_per_second=(first.tokens_per_second, second.tokens_per_second),
        sample=sample,
        num_queries=len(queries),
        cosines=compare_vectors(
            np.concatenate([first.chunks, first.queries]),
            np.concatenate([second.chunks, second.queries]),
        ),
        overlap=compare_searches(sides[0], sides[1], among_themselves=not queries),
    )


async def _embed(
    settings: JobSettings,
    *,
    inputs: JobInputs,
    chunks: Sequence[TokenIds],
    queries: Sequence[TokenIds],
    tell: Tell,
) -> Embedded:
    """Start a server, embed everything, then measure how fast it is."""
    gate = canary_gate(
        settings,
        model=inputs.model,
        tokenizer=inputs.tokenizer,
        contract=inputs.contract(),
        version=f"the comparison in {settings.dtype}",
    )
    longest = max(ids.size for ids in (*chunks, *queries))
    request = request_for(settings, model=inputs.model, gate=gate, max_tokens=longest, tell=tell)
    tell(f"starting a server in {settings.dtype}")
    async with choose_service(
        settings, request=request, max_servers=1, log_owner=name_log("precision")
    ) as service:
        embedding = _Embedding(
            service.embedder,
            dimension=inputs.dimension,
            in_flight=requests_in_flight(settings) // len(chosen_gpus(settings)),
        )
        requests = pack(chunks, max_tokens=settings.tokens_per_batch)
        tell(f"embedding {counted(len(chunks), 'chunk')} in {settings.dtype}")
        vectors = await embedding.embed(requests)
        asked = await embedding.embed(pack(queries, max_tokens=settings.tokens_per_batch))
        return Embedded(
            chunks=vectors,
            queries=asked,
            tokens_per_second=await embedding.measure(requests),
        )


def pack(inputs: Sequence[TokenIds], *, max_tokens: int) -> list[list[TokenIds]]:
    """Group consecutive inputs into requests of at most so many tokens, or of a single input."""
    requests: list[list[TokenIds]] = []
    room = 0
    for ids in inputs:
        if ids.size > room:
            requests.append([])
            room = max_tokens
        requests[-1].append(ids)
        room -= ids.size
    return requests


class _Embedding:
    """One server at work."""

    def __init__(self, embedder: Embedder, *, dimension: int, in_flight: int) -> None:
        self._embedder = embedder
        self._dimension = dimension
        self._slots = asyncio.Semaphore(in_flight)

    async def embed(self, requests: Sequence[Sequence[TokenIds]]) -> Vectors:
        """Return the vectors of all inputs in order."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._send(request)) for request in requests]
        made = [task.result() for task in tasks]
        return np.concatenate(made or [np.empty((0, self._dimension), dtype=np.float32)])

    async def measure(self, requests: Sequence[Sequence[TokenIds]]) -> float:
        """Return tokens/s; a small sample is embedded again until some seconds are over.

        What the server has embedded before does not help it: it keeps nothing.
        """
        num_tokens = sum(ids.size for request in requests for ids in request)
        began = time.monotonic()
        num_rounds, seconds = 0, 0.0
        while not num_rounds or seconds < _MIN_SECONDS:
            await self.embed(requests)
            num_rounds, seconds = num_rounds + 1, time.monotonic() - began
        return num_rounds * num_tokens / seconds

    async def _send(self, request: Sequence[TokenIds]) -> Vectors:
        async with self._slots:
            try:
                return await self._embedder.embed(request, dimension=self._dimension)
            except RequestRefusedError as refusal:
                raise ServerError(
                    f"The embedding server refuses a chunk of the sample ({refusal.detail}).",
                    remedy="See its log; a run would write such a chunk to its dead letters.",
                ) from refusal
