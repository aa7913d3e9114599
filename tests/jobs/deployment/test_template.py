"""Texts with fields."""

import pytest

from embed_index.jobs.deployment.template import fill


@pytest.mark.parametrize(
    "values",
    [{"unit": "u", "at": "02:30"}, {"unit": "u", "at": "02:30", "collection": "c", "x": 1}],
)
def test_a_field_without_value_and_a_value_without_field_are_refused(
    values: dict[str, object],
) -> None:
    with pytest.raises(
        ValueError, match=r"embed-index-run\.timer: missing or unused: (collection|x)$"
    ):
        fill("embed-index-run.timer", **values)


def test_what_a_value_says_is_no_field() -> None:
    text = fill("embed-index-run.timer", unit="@at@", at="02:30", collection="@x?\\1")

    assert text.startswith("# /etc/systemd/system/@at@.timer\n")
    assert "Description=Every night: embed-index for @x?\\1\n" in text
