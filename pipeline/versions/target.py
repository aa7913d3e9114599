"""Which version of a collection a run writes to."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from embed_index.pipeline.milvus.arrangement import DEFAULT_ARRANGEMENT, Arrangement
from embed_index.pipeline.milvus.demands import check_rows, stored_columns
from embed_index.pipeline.milvus.versions import CollectionVersions
from embed_index.schemas.columns import CarriedColumn, are_stored_as
from embed_index.schemas.contract import CollectionContract
from embed_index.schemas.errors import ContractError, LockHeldError
from embed_index.schemas.precision import are_mixed

_FREE_OF_VECTORS = {"text_analyzer", "partition_key", "shards"}
"""What needs new rows, and takes over the vectors of the old ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetVersion:
    """The version that a run writes to."""

    name: str
    contract: CollectionContract
    """A new version's has no canaries yet, for they are embedded before it is created, unless it
    takes over another one's."""
    carried: tuple[CarriedColumn, ...]
    """As its schema has them, or will have them."""
    exists: bool
    is_live: bool
    """Whether searches see it."""
    vectors_of: str | None = None
    """The live version, where only carried columns differ: its vectors are those of equal texts."""


def choose_target(
    versions: CollectionVersions,
    alias: str,
    *,
    wanted: CollectionContract,
    carried: Sequence[CarriedColumn],
    rebuild: bool,
    once_live: Collection[str] = (),
) -> TargetVersion:
    """Return the live version, one that an interrupted run left unfinished, or a new one.

    A rebuild goes on with the newest version that never was live, if it was made the way that is
    wanted now; one that was rolled back is left alone. Where the live version differs in carried
    columns, text search, partition key or shards alone, the new one is made with its canaries, so
    that it can take over its vectors.

    Args:
        versions: The collections of a Milvus.
        alias: What users call the collection.
        wanted: How this job makes vectors.
        carried: The carried columns of this job; whether they hold null is the collection's affair.
        rebuild: Whether a new version is filled beside the live one.
        once_live: Versions that searches saw at some time.

    Raises:
        ContractError: The live version was made another way, and no rebuild was asked for.
        ConfigurationError: The name belongs to a plain collection, or points at another's; or
            Milvus cannot do what is wanted.
    """
    versions.check_alias(alias)
    milvus = versions.ask_target()
    check_rows(
        milvus,
        carried=carried,
        text_analyzer=wanted.text_analyzer,
        partition_key=wanted.partition_key,
        shards=wanted.shards,
        vector_type=wanted.vector_type,
    )
    live = versions.live_version(alias)
    if live is not None and not rebuild:
        return _live_target(versions, live, wanted=wanted, carried=carried)
    vectors_of = None
    if live is not None and (alike := _alike_in_vectors(versions, live, wanted, carried)):
        vectors_of, wanted = live, alike
    existing = versions.list(alias)
    newest = existing[-1] if existing else None
    is_unfinished = newest != live and (live is None or newest not in once_live)
    if newest is not None and is_unfinished:
        contract = versions.contract(newest)
        stored = versions.carried(newest)
        # A version that nobody searches yet must not go on to say that queries are put otherwise.
        is_the_same = (
            not contract.differences(wanted)
            and contract.query_prompt == wanted.query_prompt
            and are_stored_as(carried, stored)
        )
        if is_the_same and not are_mixed(contract.dtype, wanted.dtype):
            return TargetVersion(
                name=newest,
                contract=contract,
                carried=stored,
                exists=True,
                is_live=False,
                vectors_of=vectors_of,
            )
    return TargetVersion(
        name=versions.next_name(alias),
        contract=wanted.model_copy(update={"collection_id": secrets.token_hex(16)}),
        carried=stored_columns(carried, target=milvus, partition_key=wanted.partition_key),
        exists=False,
        is_live=False,
        vectors_of=vectors_of,
    )


def _alike_in_vectors(
    versions: CollectionVersions,
    live: str,
    wanted: CollectionContract,
    carried: Sequence[CarriedColumn],
) -> CollectionContract | None:
    """Return what is wanted as the live version's servers make it; None where vectors differ.

    A rebuild that differs in nothing at all is one that wants its vectors made again.
    """
    contract = versions.contract(live)
    stored = versions.carried(live)
    is_alike = gives_vectors(contract, stored, wanted=wanted, carried=carried)
    if not is_alike or not contract.canaries:
        return None
    made_with = {name: getattr(contract, name) for name in ("engine", "dtype", "canaries")}
    return wanted.model_copy(update=made_with)


def gives_vectors(
    contract: CollectionContract,
    stored: Sequence[CarriedColumn],
    *,
    wanted: CollectionContract,
    carried: Sequence[CarriedColumn],
) -> bool:
    """Say whether a rebuild takes over the vectors of a live version, which has canaries."""
    differing = set(contract.differences(wanted))
    is_the_same = not differing and are_stored_as(carried, stored)
    return (
        not differing - _FREE_OF_VECTORS
        and not are_mixed(contract.dtype, wanted.dtype)
        and not is_the_same
    )


def _live_target(
    versions: CollectionVersions,
    live: str,
    *,
    wanted: CollectionContract,
    carried: Sequence[CarriedColumn],
) -> TargetVersion:
    contract, stored = versions.contract(live), versions.carried(live)
    check_made_alike(live, contract, stored, wanted=wanted, carried=carried)
    return TargetVersion(name=live, contract=contract, carried=stored, exists=True, is_live=True)


def check_made_alike(
    live: str,
    contract: CollectionContract,
    stored: Sequence[CarriedColumn],
    *,
    wanted: CollectionContract,
    carried: Sequence[CarriedColumn],
) -> None:
    """Refuse to write to a live version in another way than it was made.

    Raises:
        ContractError: It was made another way.
    """
    differing = [
        f"{name} is {getattr(contract, name)!r} there and {getattr(wanted, name)!r} in this job"
        for name in contract.differences(wanted)
    ]
    costs = ""
    if not differing and not are_stored_as(carried, stored):
        there, here = _named(stored), _named(carried)
        differing = [f"the carried columns are {there} there and {here} in this job"]
        costs = "; it takes over the vectors of equal texts"
    if differing:
        raise ContractError(
            f"{live} was made another way: {'; '.join(differing)}",
            remedy="Change the job back, or run with --rebuild to fill a new version beside the"
            f" live one{costs}.",
        )


def _named(columns: Sequence[CarriedColumn]) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in columns) or "none"


def create_target(
    versions: CollectionVersions,
    alias: str,
    target: TargetVersion,
    *,
    contract: CollectionContract,
    arrangement: Arrangement = DEFAULT_ARRANGEMENT,
) -> None:
    """Create a new target; the first version of all is live at once, since none serves yet.

    Raises:
        ConfigurationError: Milvus has no such index.
        LockHeldError: A run that does not share this one's lock created it first.
    """
    if versions.next_name(alias) == target.name:
        versions.create(alias, contract=contract, carried=target.carried, arrangement=arrangement)
    if versions.contract(target.name).collection_id != contract.collection_id:
        raise LockHeldError(
            f"another run, with another state folder, created {target.name} meanwhile",
            remedy=f"Wait for it to end, and give all jobs of {alias!r} one --state-dir.",
        )
    if versions.live(alias) is None:
        versions.set_live(alias, version=target.name)
