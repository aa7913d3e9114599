"""What messages have in common."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embed_index.schemas.errors import shortened


@pytest.mark.parametrize(
    ("words", "short"),
    [
        ("did you mean 'Sektion'?", "did you mean …"),
        ("did you mean it or not", "did you mean it …"),
        ("did you mean it", "did you mean it"),
        ("unknownfieldsektionx", "unknownfieldsek …"),
    ],
)
def test_words_of_others_are_cut_between_words_and_show_it(words: str, short: str) -> None:
    assert shortened(words, max_chars=15) == short


@given(st.text(max_size=60), st.integers(min_value=1, max_value=60))
def test_what_is_cut_is_a_beginning_and_what_fits_stays(words: str, max_chars: int) -> None:
    short = shortened(words, max_chars=max_chars)

    assert short == words if len(words) <= max_chars else short.endswith(" …")
    assert len(short) <= max_chars + 2
