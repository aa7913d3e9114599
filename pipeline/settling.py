"""After a pass: deletions, the ledger's seals, and last the alias."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from embed_index.pipeline.embedding.canaries import check_canaries
from embed_index.pipeline.indexing import Indexing
from embed_index.pipeline.ledger.documents import DocumentLedger
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.milvus.store import MilvusStore
from embed_index.pipeline.stages.deletion import DeletionLimits, count_missing, delete_missing
from embed_index.pipeline.stages.tally import RunTally
from embed_index.pipeline.versions.check import find_fault
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.contract import Canary
from embed_index.schemas.counts import counted
from embed_index.schemas.errors import ConfigurationError, ContractError, StoreError


def settle(
    indexing: Indexing,
    *,
    ledger: Ledger,
    documents: DocumentLedger,
    store: MilvusStore,
    target: TargetVersion,
    alias: str,
    run: int,
    tally: RunTally,
    deletion: DeletionLimits,
    canaries: Sequence[Canary] = (),
    admit: Callable[[], None] = lambda: None,
) -> None:
    """Finish a pass; what only a complete one can know is left alone after an interrupted one.

    A new version goes live only after it was found to be whole.

    Args:
        indexing: The pass, over.
        ledger: Of the alias.
        documents: The ledger's documents of the target.
        store: Where the target is.
        target: What was written to.
        alias: What users call the collection.
        run: Number of the run.
        tally: Takes the counts of what is deleted or missing.
        deletion: What may be deleted.
        canaries: As the run's servers embedded them; empty where none was needed.
        admit: Called before a whole new version takes the place of a live one; raises to keep it
            from that.

    Raises:
        ConfigurationError: More documents are missing than may be.
        ContractError: The new version says that it was made another way than it was.
        StoreError: Milvus stays away, or the new version is not whole.
    """
    if not store.versions.exists(target.name):
        # No document called for the server that would have made it.
        return
    live = store.versions.live(alias)
    is_live = live == target.name
    if indexing.is_complete and not tally.num_files_skipped:
        if deletion.allowed or not is_live:
            # What nobody could find yet is not missed by anybody, so that no limit holds.
            limits = deletion if is_live else replace(deletion, force=True)
            tally.num_deleted = delete_missing(
                indexing.corpus_pass,
                ledger=documents,
                store=store,
                version=target.name,
                limits=limits,
            )
        else:
            tally.num_missing = count_missing(indexing.corpus_pass)
    if not documents.is_flushed():
        store.flush(target.name)
        documents.mark_flushed()
    if not indexing.is_complete:
        return
    if not tally.num_files_skipped:
        # What stands in a skipped file was not met, and yet is not gone.
        indexing.seal()
        ledger.dead_letters.close_unseen(target.name, run=run)
    if not is_live and live is not None:
        _check_skipped(tally, live=live, target=target, limits=deletion)
    go_live(
        target,
        ledger=ledger,
        documents=documents,
        store=store,
        alias=alias,
        deletion=deletion,
        canaries=canaries,
        admit=admit,
    )


def go_live(
    target: TargetVersion,
    *,
    ledger: Ledger,
    documents: DocumentLedger,
    store: MilvusStore,
    alias: str,
    deletion: DeletionLimits,
    canaries: Sequence[Canary] = (),
    admit: Callable[[], None] = lambda: None,
) -> None:
    """Point the alias at a version that was found to be whole; at the live one there is no doubt.

    Args:
        target: What was filled.
        ledger: Of the alias.
        documents: The ledger's documents of the target.
        store: Where the target is.
        alias: What users call the collection.
        deletion: How many documents of the live version may be absent.
        canaries: As the servers that filled it embedded them; empty where none did.
        admit: As of `settle`.

    Raises:
        ConfigurationError: More documents are absent than may be.
        ContractError: The new version says that it was made another way than it was.
        StoreError: Milvus stays away, or the new version is not whole.
    """
    live = store.versions.live(alias)
    if live != target.name:
        if live is not None:
            _check_losses(live, ledger=ledger, store=store, documents=documents, limits=deletion)
        _check_contract(store, target=target, canaries=canaries, alias=alias)
        _check_rows(store, ledger=ledger, documents=documents, alias=alias)
        if live is not None:
            admit()
        store.versions.set_live(alias, version=target.name)
    ledger.mark_live(target.name)


def _check_skipped(
    tally: RunTally, *, live: str, target: TargetVersion, limits: DeletionLimits
) -> None:
    """Refuse to put a version in the place of the live one that lacks what was not read."""
    if tally.num_files_skipped and not limits.force:
        raise ConfigurationError(
            f"rebuild: skipped {counted(tally.num_files_skipped, 'file')}, whose documents"
            f" {target.name} may lack; {live} stays live",
            remedy="Mend the files that the dead letters name, and run once more with --rebuild,"
            " which embeds nothing again; or go without them, with --rebuild --force.",
        )


def _check_losses(
    live: str,
    *,
    ledger: Ledger,
    store: MilvusStore,
    documents: DocumentLedger,
    limits: DeletionLimits,
) -> None:
    """Refuse to put a much smaller corpus in the place of the live one."""
    collection_id = store.versions.contract(live).collection_id
    if limits.force or ledger.versions().get(live) != collection_id:
        return
    served = ledger.documents(live, collection_id=collection_id)
    num_served = served.num_documents()
    num_lost = served.count_absent_from(documents)
    if num_lost > limits.max_share * num_served:
        raise ConfigurationError(
            f"{num_lost:,} of {num_served:,} documents of {live} are not in"
            f" {documents.version}, more than the share of {limits.max_share:.0%} that may go;"
            f" {live} stays live",
            remedy="Check that it was made of the whole corpus. If it was, give the same command"
            " once more with --force, which embeds nothing again, or raise max_delete_share.",
        )


def _check_contract(
    store: MilvusStore, *, target: TargetVersion, canaries: Sequence[Canary], alias: str
) -> None:
    stored = store.versions.contract(target.name)
    differing = stored.differences(target.contract)
    if stored.collection_id != target.contract.collection_id or not stored.canaries:
        differing = [*differing, "collection_id or canaries"]
    if differing:
        raise ContractError(
            f"{target.name}: its contract in Milvus is not the one that it was made with"
            f" ({', '.join(differing)}); the alias stays where it was",
            remedy=f"Remove it with `embed-index gc {alias} --keep 0`, and give the same command"
            " again.",
        )
    if canaries:
        check_canaries(canaries, known=stored.canaries, version=target.name)


def _check_rows(
    store: MilvusStore, *, ledger: Ledger, documents: DocumentLedger, alias: str
) -> None:
    if fault := find_fault(store.reader, documents):
        # The next rebuild then reads from Milvus what is there, and embeds the rest.
        ledger.drop_version(documents.version)
        raise StoreError(
            f"{documents.version} is not whole: {fault}; {alias!r} stays where it was",
            remedy="Give the same command again to mend it. If that does not help, remove it with"
            f" `embed-index gc {alias} --keep 0`.",
        )
