"""Every error that a user is meant to read.

    EmbedIndexError
    ├── ConfigurationError      a setting, a source file, a column or a model is unusable as given
    │   ├── ContractError       the collection was made another way than this run would write
    │   └── QueryError          a query, a filter or what is asked of a search is unusable as given
    ├── UnavailableError        a system outside cannot be used at present
    │   ├── ServerError         the embedding server does not start, answer or accept the key
    │   └── StoreError          Milvus does not answer or refuses
    ├── LockHeldError           another run works on the same collection
    ├── DeadLetterLimitError    the run finished, with more dead letters than allowed
    ├── DriftError              the audit found that corpus, ledger and collection differ
    └── QualityError            a new version finds worse than the job allows, and did not go live

A message names the thing and what is wrong with it; `remedy` says what to do. Neither ever holds
a key, a token or a document's text.
"""


class EmbedIndexError(Exception):
    """Base of all errors that are reported as a message rather than as a traceback."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class ConfigurationError(EmbedIndexError):
    """A setting, a source file, a column or a model is unusable as given."""


class ContractError(ConfigurationError):
    """The collection was made another way than this run would write."""


class QueryError(ConfigurationError):
    """A query, a filter or what is asked of a search is unusable as given."""


class UnavailableError(EmbedIndexError):
    """A system outside cannot be used at present; the run can be resumed."""


class ServerError(UnavailableError):
    """The embedding server does not start, does not answer or does not accept the key."""


class StoreError(UnavailableError):
    """Milvus does not answer, or refuses what it was sent."""


class LockHeldError(EmbedIndexError):
    """Another run works on the same collection."""


class DeadLetterLimitError(EmbedIndexError):
    """The run finished, with more dead letters than allowed."""


class DriftError(EmbedIndexError):
    """The audit found that corpus, ledger and collection differ."""


class QualityError(EmbedIndexError):
    """A new version finds worse than the job allows, and did not go live."""


def shortened(words: str, *, max_chars: int) -> str:
    """Return others' words as far as a message has room for them: whole ones, and a mark."""
    if len(words) <= max_chars:
        return words
    head = words[:max_chars]
    if not words[max_chars].isspace():
        head = next(iter(head.rsplit(maxsplit=1)), "")
    return f"{head.rstrip()} …"
