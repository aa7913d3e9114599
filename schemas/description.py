"""What a collection is: its contract, its versions, its counts."""

from dataclasses import dataclass

from embed_index.schemas.columns import CarriedColumn
from embed_index.schemas.contract import CollectionContract


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionDescription:
    """One version behind an alias."""

    name: str
    live: bool
    """Whether searches of the alias see this version."""
    num_chunks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionDescription:
    """A collection as its users see it."""

    collection: str
    contract: CollectionContract
    """Of the live version."""
    versions: tuple[VersionDescription, ...]
    """In the order in which they were made."""
    milvus: str
    """Where it is: an address, or the path of Milvus Lite."""
    carried: tuple[CarriedColumn, ...]
    """Of the live version, in order."""
    has_words: bool
    """Whether the live version can be searched by words, too."""
    num_documents: int | None = None
    """In the live version; None where no ledger is at hand to say it."""
    precisions: str | None = None
    """In words, those of the live version's vectors; None where no ledger is at hand to say it."""

    def to_dict(self) -> dict[str, object]:
        """Return everything that can be shown; the canaries' vectors are left out."""
        return {
            "collection": self.collection,
            "milvus": self.milvus,
            "num_documents": self.num_documents,
            "versions": [
                {"name": v.name, "live": v.live, "num_chunks": v.num_chunks} for v in self.versions
            ],
            "carried": [{"name": column.name, "type": column.type} for column in self.carried],
            "modes": ["dense", "text", "hybrid"] if self.has_words else ["dense"],
            "precisions": self.precisions,
            "contract": self.contract.model_dump(mode="json", exclude={"canaries"})
            | {"num_canaries": len(self.contract.canaries)},
        }
