"""Keeps secrets out of everything that is printed."""

import re

from embed_index.pipeline.redaction import spellings

_USERINFO = re.compile(r"(?<=://)[^\s'\"]+@")
_BEARER = re.compile(r"(?i)\b(bearer\s+)[^\s'\",}]+")
_MIN_SECRET_LENGTH = 4

MASK = "***"


class Redactor:
    """Replaces the secrets that this process knows, and what looks like one."""

    def __init__(self) -> None:
        self._secrets: set[str] = set()

    def remember(self, *secrets: str) -> None:
        """Never let these be printed; shorter than four characters is no secret."""
        for secret in secrets:
            if len(secret) >= _MIN_SECRET_LENGTH:
                self._secrets.update(spellings(secret))

    def scrub(self, text: str) -> str:
        """Return the text with secrets, bearer tokens and credentials in URLs masked."""
        # A secret may contain another one, so the longest goes first.
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return _BEARER.sub(rf"\g<1>{MASK}", mask_userinfo(text))


def mask_userinfo(text: str) -> str:
    """Mask user name and password of every URL in a text."""
    return _USERINFO.sub(f"{MASK}@", text)


REDACTOR = Redactor()
"""The one of this process: whoever reads or draws a secret tells it."""
