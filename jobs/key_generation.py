"""Draws keys."""

import secrets

from pydantic import SecretStr

from embed_index.jobs.key_places import KeyPlace
from embed_index.pipeline.secrecy.redaction import REDACTOR

_PREFIX = "ei-"
"""No argument parser takes the key for a flag, and searches for leaked keys know it."""
_NUM_RANDOM_BYTES = 32


def draw_key() -> SecretStr:
    """Return a random key of ASCII characters that need no quoting anywhere."""
    key = _PREFIX + secrets.token_urlsafe(_NUM_RANDOM_BYTES)
    REDACTOR.remember(key)
    return SecretStr(key)


def generate_key(place: KeyPlace) -> None:
    """Write a new key to a place that has none.

    Raises:
        ConfigurationError: It has one already, or is unsafe.
    """
    place.add(draw_key())
