"""Counts in words."""


def counted(number: int, noun: str) -> str:
    """Write how many there are of something, such as `1 file`, `1,200 files`, `3 queries`."""
    if number == 1:
        return f"{number:,} {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number:,} {plural}"


def hundredths(amount: float) -> str:
    """Write an amount to two places; what rounds to nothing has no sign."""
    return f"{round(amount, 2) + 0.0:,.2f}"
