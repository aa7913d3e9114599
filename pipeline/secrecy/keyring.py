"""The keys that one server takes, as it remembers them: recognised, and never told again."""

from dataclasses import dataclass

from pydantic import SecretStr

from embed_index.pipeline.secrecy.proof import fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedKey:
    """A key by its fingerprint, and what it opens."""

    name: str
    """Who asks with it, for the log; empty for the server's owner, who is not logged."""
    fingerprint: str
    query_only: bool = False
    per_minute: int | None = None
    """Requests within any sixty seconds; None for no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """All keys of a server but its owner's."""

    hashed: tuple[HashedKey, ...] = ()
    secrets: tuple[SecretStr, ...] = ()
    """The same keys as far as they are known, to be masked in the server's log."""


def hash_key(
    key: SecretStr, *, name: str, query_only: bool = False, per_minute: int | None = None
) -> HashedKey:
    """Return what a server needs of a key."""
    return HashedKey(
        name=name,
        fingerprint=fingerprint(key.get_secret_value().encode()),
        query_only=query_only,
        per_minute=per_minute,
    )
