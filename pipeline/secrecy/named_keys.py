"""Keys with names, for those who share a server: `name: key`, a line each, in one file.

    alice: ei-…
    website: ei-… query-only 600/min

Blank lines and lines that begin with `#` mean nothing.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from embed_index.pipeline.secrecy.key_file import refuse_open_to_others
from embed_index.schemas.errors import ConfigurationError

FILE_NAME = "named-keys"
"""In the state folder of the server that takes them."""
MAX_NAMES = 200
"""So that a server's proof for all of them stays within one answer."""
NAME = re.compile(r"(?!ei-)[a-z0-9][a-z0-9._-]{0,31}")
"""What a log may hold. A key in place of a name is noticed."""
_KEY = re.compile(r"[\x21-\x7e]{16,}")
_RATE = re.compile(r"([1-9][0-9]{0,5})/min")
_QUERY_ONLY = "query-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedKey:
    """Somebody's key, and what it opens."""

    name: str
    key: SecretStr
    query_only: bool = False
    per_minute: int | None = None

    @property
    def scope(self) -> str:
        """What it opens, as it is written."""
        words = [_QUERY_ONLY] if self.query_only else []
        return " ".join(words + ([f"{self.per_minute}/min"] if self.per_minute else []))

    @property
    def line(self) -> str:
        """The file's line, with the key."""
        return f"{self.name}: {self.key.get_secret_value()} {self.scope}".rstrip() + "\n"


def read_named_keys(path: Path) -> list[NamedKey]:
    """Return the keys of a file; none where there is no file.

    Raises:
        ConfigurationError: Others may read it, or a line is none; no key is repeated.
    """
    return [key for _, key in read_lines(path) if key is not None]


def read_lines(path: Path) -> list[tuple[str, NamedKey | None]]:
    """Return each line as it stands, and the key on it."""
    if not path.exists():
        return []
    refuse_open_to_others(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(
            f"{path} cannot be read: {reason}", remedy="Check the path and its owner."
        ) from None
    read = [(line, _parsed(line, where=f"{path}, line {n}")) for n, line in enumerate(lines, 1)]
    _refuse_doubles(path, [key for _, key in read if key is not None])
    return read


def _parsed(line: str, *, where: str) -> NamedKey | None:
    if not line.strip() or line.lstrip().startswith("#"):
        return None
    name, colon, rest = line.strip().partition(":")
    key, *words = rest.split() or [""]
    rates = [int(rate[1]) for word in words if (rate := _RATE.fullmatch(word))]
    num_scopes = words.count(_QUERY_ONLY)
    if not colon or not NAME.fullmatch(name) or not _KEY.fullmatch(key):
        raise ConfigurationError(
            f"{where} is not `name: key`",
            remedy="A name has at most 32 of a-z, 0-9, `.`, `_` and `-`, and a key at least 16 "
            "characters without spaces. Run: embed-index keys add --help",
        )
    if len(rates) > 1 or num_scopes > 1 or len(rates) + num_scopes != len(words):
        raise ConfigurationError(
            f"{where}: after the key may stand `query-only` and `600/min`, and nothing else",
            remedy="Correct the line.",
        )
    return NamedKey(
        name=name,
        key=SecretStr(key),
        query_only=bool(num_scopes),
        per_minute=rates[0] if rates else None,
    )


def _refuse_doubles(path: Path, keys: Sequence[NamedKey]) -> None:
    names = [key.name for key in keys]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"{path} has the name {name} twice", remedy="Remove one of the lines."
            )
    if len({key.key.get_secret_value() for key in keys}) < len(keys):
        raise ConfigurationError(
            f"{path} has one key under two names", remedy="Draw one for each: embed-index keys add"
        )
    if len(keys) > MAX_NAMES:
        raise ConfigurationError(
            f"{path} has {len(keys)} keys, and a server takes at most {MAX_NAMES}",
            remedy="Remove those that nobody uses: embed-index keys remove",
        )
