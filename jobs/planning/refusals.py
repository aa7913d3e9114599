"""How a run would fail, in its own words, as far as corpus and ledger tell it beforehand."""

from collections.abc import Iterator

from embed_index.jobs.adapters.inputs import JobInputs
from embed_index.jobs.adapters.open_job import deletion_limits
from embed_index.jobs.cli.failures import exit_code
from embed_index.jobs.planning.plan import Refusal
from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.planning.counting import DocumentCounts
from embed_index.pipeline.stages.dead_letters import excess_of_letters
from embed_index.pipeline.versions.made import MadeVersion
from embed_index.pipeline.versions.target import check_made_alike
from embed_index.schemas.errors import (
    ConfigurationError,
    ContractError,
    DeadLetterLimitError,
    EmbedIndexError,
)


def contract_failure(made: MadeVersion, *, inputs: JobInputs, version: str) -> ContractError | None:
    """Return how a run would refuse to write to a live version, if it would."""
    try:
        check_made_alike(
            version,
            made.contract,
            made.carried,
            wanted=inputs.contract(),
            carried=inputs.source.carried_columns,
        )
    except ContractError as failure:
        return failure
    return None


def refusal_of(failure: EmbedIndexError) -> Refusal:
    """Return a failure as a plan has it."""
    return Refusal(exit_code=exit_code(failure), message=failure.message, remedy=failure.remedy)


def refusals_of(
    found: DocumentCounts, *, inputs: JobInputs, ledger: Ledger | None
) -> tuple[Refusal, ...]:
    """Return what a run would refuse to do, in the order in which it meets it."""
    return tuple(refusal_of(failure) for failure in _failures(found, inputs=inputs, ledger=ledger))


def _failures(
    found: DocumentCounts, *, inputs: JobInputs, ledger: Ledger | None
) -> Iterator[EmbedIndexError]:
    settings = inputs.settings
    failure = _too_many_missing(found, inputs=inputs, ledger=ledger)
    if failure is not None:
        yield failure
        # Such a run does not come to count its dead letters.
        return
    message = excess_of_letters(
        found.num_dead_letters, num_rows=found.num_read, limit=settings.max_dead_letters
    )
    if message:
        yield DeadLetterLimitError(
            message,
            remedy="Mend the rows, and have each id once, or raise --max-dead-letters. The dead"
            " letters of the run will name each row and what is wrong with it.",
        )


def _too_many_missing(
    found: DocumentCounts, *, inputs: JobInputs, ledger: Ledger | None
) -> ConfigurationError | None:
    settings = inputs.settings
    # What a rebuild deletes is in a version that nobody searches yet.
    if ledger is None or found.num_missing is None or settings.rebuild:
        return None
    if not settings.delete_missing:
        return None
    limits = deletion_limits(inputs, ledger=ledger)
    try:
        limits.check(found.num_missing, num_documents=found.num_documents_known)
    except ConfigurationError as failure:
        return failure
    return None
