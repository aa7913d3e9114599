"""Times as people read them: in the host's zone, and never without it."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from embed_index.schemas.moments import in_words


@pytest.mark.parametrize(
    ("zone", "moment", "text"),
    [
        ("UTC", datetime(2026, 1, 2, 3, 4, 5, 999_999, UTC), "2026-01-02 03:04:05+00:00"),
        ("Europe/Berlin", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02 04:04:05+01:00"),
        ("Europe/Berlin", datetime(2026, 7, 2, 3, 4, 5, tzinfo=UTC), "2026-07-02 05:04:05+02:00"),
        ("America/St_Johns", datetime(2026, 1, 1, tzinfo=UTC), "2025-12-31 20:30:00-03:30"),
    ],
)
def test_a_moment_is_told_in_the_hosts_zone(
    in_zone: Callable[[str], None], zone: str, moment: datetime, text: str
) -> None:
    in_zone(zone)

    assert in_words(moment) == text
