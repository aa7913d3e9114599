import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.redaction import REDACTED, KeyRedactor

LETTERS = st.sampled_from([b"a", b"b", b"<", b"\n"])
TEXTS = st.lists(LETTERS, max_size=40).map(b"".join)
KEYS = st.lists(LETTERS, min_size=1, max_size=5).map(b"".join)


@given(KEYS, st.lists(TEXTS))
def test_the_key_is_replaced_however_the_stream_is_cut(key: bytes, pieces: list[bytes]) -> None:
    redactor = KeyRedactor(key)

    shown = b"".join(redactor.feed(piece) for piece in pieces) + redactor.flush()

    assert shown == b"".join(pieces).replace(key, REDACTED)


@pytest.mark.parametrize("key", ["back\\slash", "quotes'\"", "apostrophe'", 'quote"'])
def test_a_key_is_known_as_python_and_json_write_it(key: str) -> None:
    written = f"{key} {[key]} {[key + chr(34)]} {json.dumps([key])}".encode()
    redactor = KeyRedactor(key.encode())

    shown = b"".join(redactor.feed(bytes([byte])) for byte in written) + redactor.flush()

    assert shown.count(REDACTED) == 4
    assert key[:4].encode() not in shown


def test_only_what_may_begin_the_key_is_held_back() -> None:
    redactor = KeyRedactor(b"secret")

    assert redactor.feed(b"loading\nse") == b"loading\n"
    assert redactor.feed(b"ven") == b"seven"


def test_a_redactor_does_not_show_its_key() -> None:
    assert "secret" not in repr(KeyRedactor(b"secret"))
