"""How versions were made, kept in the ledger for those who do not ask Milvus."""

from pydantic import BaseModel, ConfigDict

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.versions.target import TargetVersion
from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract


class MadeVersion(BaseModel):
    """What Milvus says of a version, without engine and canaries."""

    model_config = ConfigDict(frozen=True)

    contract: CollectionContract
    carried: tuple[CarriedColumn, ...]


def keep_made(ledger: Ledger, target: TargetVersion) -> None:
    """Put down how a run's target is made, unless that is known."""
    # A new version has no canaries and no engine yet, and nobody compares these.
    contract = target.contract.model_copy(update={"canaries": (), "engine": ""})
    made = MadeVersion(contract=contract, carried=target.carried).model_dump_json()
    known = ledger.figures.of_version(target.name, kind="contract")
    if known is None or known.content != made:
        ledger.figures.record("contract", version=target.name, content=made)


def find_made(ledger: Ledger, version: str) -> MadeVersion | None:
    """Return how a version was made; None where no run has put it down."""
    known = ledger.figures.of_version(version, kind="contract")
    if known is None:
        return None
    made = MadeVersion.model_validate_json(known.content)
    is_this_one = ledger.versions().get(version) == made.contract.collection_id
    return made if is_this_one else None
