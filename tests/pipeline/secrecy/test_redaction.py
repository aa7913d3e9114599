import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.pipeline.secrecy.redaction import MASK, KeyRedactor

LETTERS = st.sampled_from([b"a", b"b", b"<", b"\n"])
TEXTS = st.lists(LETTERS, max_size=40).map(b"".join)
KEYS = st.lists(LETTERS, min_size=1, max_size=5).map(b"".join)


@given(KEYS, st.lists(TEXTS))
def test_the_key_is_replaced_however_the_stream_is_cut(key: bytes, pieces: list[bytes]) -> None:
    redactor = KeyRedactor(key)

    shown = b"".join(redactor.feed(piece) for piece in pieces) + redactor.flush()

    assert shown == b"".join(pieces).replace(key, MASK.encode())


@pytest.mark.parametrize("key", [r"a\b", "it's", '"it\'s"', "\\", 'a"'])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_key_is_also_replaced_where_its_quotes_are_escaped(key: str, size: int) -> None:
    text = f"{key} {{'api_key': {key!r}, 'port': 1}} {json.dumps({'api_key': key})} end".encode()
    redactor = KeyRedactor(key.encode())

    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    shown = b"".join(redactor.feed(piece) for piece in pieces) + redactor.flush()

    assert shown.count(MASK.encode()) >= 3
    assert shown.endswith(b" end")
    assert not [form for form in (key, repr(key), json.dumps(key)) if form.encode() in shown]


def test_only_what_may_begin_the_key_is_held_back() -> None:
    redactor = KeyRedactor(b"secret")

    assert redactor.feed(b"loading\nse") == b"loading\n"
    assert redactor.feed(b"ven") == b"seven"


def test_a_redactor_does_not_show_its_key() -> None:
    assert "secret" not in repr(KeyRedactor(b"secret"))
