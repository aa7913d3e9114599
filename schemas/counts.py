"""Counts in words."""


def counted(number: int, noun: str) -> str:
    """Write how many there are of something, such as `1 file` and `1,200 files`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
