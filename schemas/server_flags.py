"""Which of SGLang's flags nobody but embed-index sets."""

REFUSED_FLAGS = (
    "--admin-api-key",
    "--api-key",
    "--config",
    "--crash-dump-folder",
    "--grpc-port",
    "--host",
    "--model-path",
    "--port",
    "--ssl-keyfile-password",
)
"""They would put a secret on the command line or on disk, open another door, or move the server."""


def refused_flag(argument: str) -> str | None:
    """Return the flag that an argument of SGLang would set and must not; None for any other.

    argparse takes any unambiguous beginning of a flag for the whole flag, so those count as well.
    """
    name = argument.partition("=")[0]
    if len(name) <= len("--"):
        return None
    return next((flag for flag in REFUSED_FLAGS if flag.startswith(name)), None)
