"""Which keys `embed-index serve` takes at this moment, by what lies in files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from embed_index.pipeline.secrecy.keyring import HashedKey, Keyring, hash_key
from embed_index.pipeline.secrecy.named_keys import FILE_NAME, read_named_keys
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.rotation import Rotation, put_away, read_rotation

_MAIN, _OLD, _NEW = "(key)", "(old key)", "(new key)"
"""What the log calls the keys without a name; no name has brackets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenKeys:
    """What was found."""

    keyring: Keyring
    until: float | None = None
    """When to look again, in seconds since 1970; None where nothing ends by itself."""
    is_credential_old: bool = False
    """Whether only a restart of the service can tell which key is in its place now."""

    def in_words(self) -> str:
        """Say how many there are."""
        num_main = sum(key.name in (_MAIN, _OLD, _NEW) for key in self.keyring.hashed)
        words = "two keys, one of them for a while" if num_main > 1 else "one key"
        num_named = len(self.keyring.hashed) - num_main
        return f"{words} and {num_named} with a name" if num_named else words


class ServedKeys:
    """Reads them, as often as asked."""

    def __init__(
        self, state_dir: Path, *, read_key: Callable[[], SecretStr], from_systemd: bool = False
    ) -> None:
        """Name where they are.

        Args:
            state_dir: With the named keys, and with a rotation while one goes on.
            read_key: Reads the server's own key from its place.
            from_systemd: That place is a credential: a copy from when the service was started.
        """
        self._state_dir, self._read_key = state_dir, read_key
        self._from_systemd = from_systemd
        self._replaced: dict[str, str] = {}
        """From a credential's fingerprint to that of the key which took its place meanwhile."""

    def read(self, key: SecretStr | None = None) -> TakenKeys:
        """Return the keys to take from now on; a rotation that is over is put away.

        Args:
            key: The server's own, where it was just read: some places can be read but once.

        Raises:
            ConfigurationError: One cannot be read; nothing was changed.
        """
        named = read_named_keys(self._state_dir / FILE_NAME)
        main = self._read_key() if key is None else key
        rotation = read_rotation(self._state_dir)
        secrets = (main, *(key.key for key in named))
        REDACTOR.remember(*(secret.get_secret_value() for secret in secrets))
        read = hash_key(main, name=_MAIN).fingerprint
        kept = self._replaced.get(read, read)
        is_credential_old = False
        if rotation is not None and rotation.is_over:
            if self._from_systemd and kept == rotation.old:
                is_credential_old = not rotation.is_written
                kept = rotation.new if rotation.is_written else kept
                self._replaced[read] = kept
            put_away(self._state_dir)
            rotation = None
        hashed = (
            *(
                hash_key(
                    key.key, name=key.name, query_only=key.query_only, per_minute=key.per_minute
                )
                for key in named
            ),
            *_others(rotation, kept=kept),
            HashedKey(name=_MAIN, fingerprint=kept),
        )
        return TakenKeys(
            keyring=Keyring(hashed=hashed, secrets=secrets),
            until=None if rotation is None else rotation.until,
            is_credential_old=is_credential_old,
        )


def _others(rotation: Rotation | None, *, kept: str) -> list[HashedKey]:
    """Return what a rotation has taken beside the key in its place."""
    if rotation is None:
        return []
    both = {rotation.old: _OLD, rotation.new: _NEW}
    return [
        HashedKey(name=name, fingerprint=known) for known, name in both.items() if known != kept
    ]
