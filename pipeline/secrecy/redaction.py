"""Keeps secrets out of everything that is printed: whole texts, and streams cut into pieces."""

import re

MASK = "***"
"""Stands wherever a secret stood."""


def spellings(secret: str) -> tuple[str, ...]:
    """Return a secret as it is and as Python and JSON write it between quotes, longest first."""
    escaped = secret.replace("\\", "\\\\")
    quoted = (escaped.replace("'", "\\'"), escaped.replace('"', '\\"'))
    return tuple(sorted({secret, escaped, *quoted}, key=len, reverse=True))


class KeyRedactor:
    """Replaces keys, also as Python and JSON write them; holds back only what may begin one."""

    def __init__(self, *keys: bytes) -> None:
        self._spellings: set[bytes] = set()
        self._held = b""
        self.remember(*keys)

    def __repr__(self) -> str:
        return "KeyRedactor()"

    def remember(self, *keys: bytes) -> None:
        """Replace these keys, too, from here on."""
        if not all(keys):
            raise ValueError("an empty key cannot be redacted")
        self._spellings |= {each.encode() for key in keys for each in spellings(key.decode())}
        # One may contain another, so the longest goes first.
        longest_first = sorted(self._spellings, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first)) or rb"(?!)")
        self._longest = max(map(len, self._spellings), default=1)

    def feed(self, piece: bytes) -> bytes:
        """Return what can be shown of the stream so far and was not returned before."""
        *clean, rest = self._pattern.split(self._held + piece)
        num_held = self._num_begun(rest)
        self._held = rest[len(rest) - num_held :]
        return MASK.encode().join([*clean, rest[: len(rest) - num_held]])

    def flush(self) -> bytes:
        """Return the held bytes at the end of the stream; they are no whole key."""
        held, self._held = self._held, b""
        return held

    def _num_begun(self, rest: bytes) -> int:
        """Return the length of the longest end of `rest` that is a beginning of a key."""
        lengths = range(min(len(rest), self._longest - 1), 0, -1)
        return next((n for n in lengths if self._begins_one(rest[-n:])), 0)

    def _begins_one(self, end: bytes) -> bool:
        return any(each.startswith(end) for each in self._spellings)


_USERINFO = re.compile(r"(?<=://)[^\s'\"]+@")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s'\",}]+")
_MIN_SECRET_LENGTH = 4


def mask(text: str, *secrets: str) -> str:
    """Return the text without the secrets, also where they are written escaped."""
    spelled = {spelling for secret in secrets if secret for spelling in spellings(secret)}
    # A secret may contain another one, so the longest goes first.
    for spelling in sorted(spelled, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


class Redactor:
    """Replaces the secrets that this process knows, and what looks like one."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def remember(self, *secrets: str) -> None:
        """Never let these be printed; shorter than four characters is no secret."""
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_LENGTH:
                self._secrets.add(secret)

    def scrub(self, text: str) -> str:
        """Return the text with secrets, bearer tokens and credentials in URLs masked."""
        masked = mask_userinfo(mask(text, *self._secrets))
        return _BEARER.sub(rf"\g<1>{MASK}", masked)


def mask_userinfo(text: str) -> str:
    """Mask user name and password of every URL in a text."""
    return _USERINFO.sub(f"{MASK}@", text)


REDACTOR = Redactor()
"""The one of this process: whoever reads or draws a secret tells it."""
