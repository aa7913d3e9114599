"""Numbers, spans and moments as a page shows them."""

from collections.abc import Sequence
from datetime import datetime

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_NO_BREAK = "\u00a0"


def count(number: float) -> str:
    """Write a whole number in full, with thin groups of three, such as `12,345`."""
    return f"{number:,.0f}"


def short(number: float) -> str:
    """Write a number to three figures, such as `41.2 k`; small ones in full."""
    for name, unit in _UNITS:
        # What rounds up to a thousand of the unit below is one of this.
        if number >= 0.9995 * unit:
            scaled = number / unit
            return f"{scaled:.3g}{_NO_BREAK}{name}" if scaled < 999.5 else f"{scaled:,.0f} {name}"
    return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"


def figure(number: float) -> str:
    """Write a whole number in full where there is room, and to three figures beyond a million."""
    return count(number) if number < 999_500 else short(number)


def size(num_bytes: float) -> str:
    """Write a size to three figures, such as `1.25 GB`."""
    written = short(num_bytes)
    return f"{written}B" if written[-1].isalpha() else f"{written}{_NO_BREAK}B"


def share(part: float) -> str:
    """Write a share in percent; never 0 % or 100 % of what is not quite that."""
    if 0 < part < 0.001:
        return f"under 0.1{_NO_BREAK}%"
    if 0.999 < part < 1:
        return f"over 99.9{_NO_BREAK}%"
    percent = 100 * part
    digits = 1 if 0 < percent < 10 or 99 < percent < 100 else 0
    return f"{percent:.{digits}f}{_NO_BREAK}%"


def span(seconds: float) -> str:
    """Write a span in its two largest units, such as `2 h 5 min`."""
    if seconds < 1:
        return f"{seconds:.2f}{_NO_BREAK}s" if seconds else f"0{_NO_BREAK}s"
    if seconds < 9.95:
        return f"{seconds:.1f}{_NO_BREAK}s"
    whole = round(seconds)
    for unit, name, below, small in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= unit:
            rest = (whole % unit) // below
            large = f"{whole // unit:,}{_NO_BREAK}{name}"
            return f"{large} {rest}{_NO_BREAK}{small}" if rest else large
    return f"{whole}{_NO_BREAK}s"


def moment(at: datetime) -> str:
    """Write a moment in this host's zone, such as `Fri 2 Jan 2026, 03:04 +01:00`."""
    local = at.astimezone()
    zone = local.isoformat(timespec="minutes")[-6:]
    return f"{local:%a} {local.day} {local:%b %Y, %H:%M} {zone}"


def day(at: datetime) -> str:
    """Write a moment's day and time, such as `2 Jan 03:04`."""
    local = at.astimezone()
    return f"{local.day} {local:%b %H:%M}"


def days(moments: Sequence[datetime]) -> list[str]:
    """Write moments' days, such as `2 Jan`, with the times where a day has several."""
    written = [day(at) for at in moments]
    short_ones = [name.rpartition(" ")[0] for name in written]
    return short_ones if len(set(short_ones)) == len(short_ones) else written


def some(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun, such as `1 document` and `2 documents`."""
    return f"{count(number)} {noun if number == 1 else plural or noun + 's'}"
