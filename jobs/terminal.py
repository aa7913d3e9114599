"""The terminal from which a command was started."""

import os


def has_terminal() -> bool:
    """Tell whether this process still has one; closing its window takes it away."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
