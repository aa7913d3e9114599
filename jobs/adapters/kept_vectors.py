"""Vectors in full width beside a collection of a smaller dimension: what a job keeps and finds."""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.pipeline.archive.keeping import KeepingEmbedder
from embed_index.pipeline.archive.kept_files import KeptMaking, KeptWriter
from embed_index.pipeline.archive.kept_reader import INDEX_LAYOUT, KeptReader
from embed_index.pipeline.disk.scratch import open_scratch
from embed_index.pipeline.embedding.canaries import CanaryGate, embed_canaries, min_cosine
from embed_index.pipeline.embedding.embedder import Embedder
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.contract import CANARY_DIMENSION


async def keeping(
    embedder: Embedder, *, inputs: JobInputs, gate: CanaryGate, closing: AsyncExitStack
) -> Embedder:
    """Return an embedder that also keeps what it makes, where the job wants that.

    Args:
        embedder: Proven by the gate.
        inputs: Of the job.
        gate: Knows how its vectors are made.
        closing: Finishes the last file.

    Raises:
        EmbedIndexError: The folder cannot be written to, or the server cannot be used.
    """
    folder = inputs.settings.keep_vectors
    if folder is None:
        return embedder
    canaries = gate.canaries
    if gate.dimension < CANARY_DIMENSION:
        # Theirs are too narrow for a collection of a larger dimension.
        canaries = await embed_canaries(
            embedder,
            tokenizer=inputs.tokenizer,
            dimension=inputs.model.width,
            texts=[canary.text for canary in canaries],
            smallest=min_cosine(gate.precision),
        )
    making = KeptMaking(
        model=inputs.model.name,
        model_revision=inputs.model.revision,
        width=inputs.model.width,
        engine=gate.made_with.engine,
        dtype=gate.precision,
        canaries=canaries,
    )
    writer = closing.enter_context(KeptWriter(folder, making))
    return KeepingEmbedder(embedder, writer, width=inputs.model.width)


@contextmanager
def kept_vectors(
    inputs: JobInputs,
    *,
    target: TargetVersion,
    ledger: Ledger,
    store: MilvusStore,
    tell: Callable[[str], None],
) -> Iterator[KeptReader | None]:
    """Yield what finds kept vectors for a version that was never whole; None where none are of use.

    A rebuild that changes nothing of how vectors are made wants them made again.
    """
    settings = inputs.settings
    folder = settings.keep_vectors
    if folder is None or target.vectors_of or target.name in ledger.once_live():
        yield None
        return
    live = store.versions.live(settings.collection)
    canaries = target.contract.canaries
    if live is not None and live != target.name:
        contract = store.versions.contract(live)
        if not contract.differences(target.contract):
            yield None
            return
        if contract.model_revision == target.contract.model_revision:
            canaries = canaries or contract.canaries
    with open_scratch(settings.state_dir, INDEX_LAYOUT) as scratch:
        reader = KeptReader(
            folder,
            contract=target.contract,
            canaries=canaries,
            width=inputs.model.width,
            scratch=scratch,
            tell=tell,
        )
        yield None if reader.making is None else reader


def made_of_kept(target: TargetVersion, kept: KeptReader | None) -> TargetVersion:
    """Return a new target as kept vectors were made, so that it can take them without a server."""
    if kept is None or target.exists:
        return target
    return replace(target, contract=kept.contract_for(target.contract))
