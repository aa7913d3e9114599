"""Queries with the documents that answer them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from embed_index.schemas.errors import ConfigurationError

_FINGERPRINT_BYTES = 8
_MAX_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuery:
    """One query, and how relevant documents are to it."""

    id: str
    text: str
    grades: Mapping[str, int]
    """By document id; above 0 it answers the query, the more the higher, and otherwise it was
    judged not to."""

    @property
    def relevant(self) -> tuple[str, ...]:
        """The documents that answer it, the best first."""
        found = [doc_id for doc_id, grade in self.grades.items() if grade > 0]
        return tuple(sorted(found, key=lambda doc_id: (-self.grades[doc_id], doc_id)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQueries:
    """The queries of an evaluation, each with at least one document that answers it."""

    queries: tuple[LabelledQuery, ...]
    source: str
    """Where they come from, in words."""
    notes: tuple[str, ...] = ()
    """What was left out and why, in sentences."""

    @classmethod
    def join(
        cls, texts: Mapping[str, str], grades: Mapping[str, Mapping[str, int]], *, source: str
    ) -> Self:
        """Put queries and judgements together by the queries' ids.

        Args:
            texts: By query id.
            grades: By query id, then by document id.
            source: Where they come from.

        Raises:
            ConfigurationError: No query has a document that answers it.
        """
        queries = tuple(
            LabelledQuery(id=query_id, text=text, grades=grades[query_id])
            for query_id, text in texts.items()
            if any(grade > 0 for grade in grades.get(query_id, {}).values())
        )
        if not queries:
            raise ConfigurationError(
                f"{source}: no query has a document that answers it; queries are called"
                f" {_some(list(texts))}, and judgements name {_some(list(grades))}",
                remedy="Give judgements of these queries, with grades above 0.",
            )
        known = {query.id for query in queries}
        unjudged = [query_id for query_id in texts if query_id not in grades]
        fruitless = [query_id for query_id in texts if query_id in grades.keys() - known]
        textless = [query_id for query_id in grades if query_id not in texts]
        notes = (
            _note(unjudged, "left out, for nothing is judged for", singular="it"),
            _note(fruitless, "left out, for no document is judged relevant to", singular="it"),
            _note(textless, "judged, but the file of queries has no text for", singular="it"),
        )
        return cls(queries=queries, source=source, notes=tuple(note for note in notes if note))

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def texts(self) -> list[str]:
        """What is searched for, in order."""
        return [query.text for query in self.queries]

    @property
    def fingerprint(self) -> str:
        """Tells whether two evaluations asked the same; hexadecimal."""
        digest = hashlib.blake2b(digest_size=_FINGERPRINT_BYTES)
        for query in sorted(self.queries, key=lambda query: query.id):
            for part in (query.id, query.text):
                digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
            for doc_id, grade in sorted(query.grades.items()):
                digest.update(f"{doc_id}\t{max(grade, 0)}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _note(ids: Sequence[str], what: str, *, singular: str) -> str:
    if not ids:
        return ""
    them = singular if len(ids) == 1 else "them"
    noun = "query is" if len(ids) == 1 else "queries are"
    return f"{len(ids):,} {noun} {what} {them}: {_some(ids)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MAX_NAMED])
    return f"{shown}, …" if len(names) > _MAX_NAMED else shown or "nothing"
