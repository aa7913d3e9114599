"""Nothing is plugged in."""


def load_plugins() -> None:
    return
