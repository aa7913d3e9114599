import pytest

from embed_index.schemas.setting_checks import count_or_share


@pytest.mark.parametrize("limit", ["0", "10", "1%", "0.5%", "100%", " 7 ", 3])
def test_a_limit_is_a_count_or_a_share(limit: object) -> None:
    assert count_or_share(limit) == str(limit).strip()


@pytest.mark.parametrize(
    "limit",
    ["", "%", "-1", "1.5", "101%", "1 %", "1%%", "ten", "nan%", "1e3", "٣", "1%\n%", True, None],
)
def test_any_other_limit_is_refused(limit: object) -> None:
    with pytest.raises(ValueError, match="must be"):
        count_or_share(limit)
