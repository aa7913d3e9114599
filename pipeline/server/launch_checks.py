"""What must hold on this host before a server is started: model, packages, port."""

import importlib.util
import socket
from pathlib import Path

from embed_index.schemas.errors import ConfigurationError

LOOPBACK = "127.0.0.1"


def check_model(model: str) -> bool:
    """Return whether the model is a local folder; refuse a folder that holds no model."""
    folder = Path(model)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigurationError(
                f"The model folder {model} has no config.json.",
                remedy="Give the folder that holds the model's configuration and weights.",
            )
        return True
    # A name on the hub has one slash and no dot in front.
    if folder.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise ConfigurationError(
            f"The model folder {model} does not exist.",
            remedy="Give an existing folder, or the model's name such as Qwen/Qwen3-Embedding-4B.",
        )
    return False


def check_installed() -> None:
    """Refuse an environment without SGLang; it is looked up, not imported."""
    if importlib.util.find_spec("sglang") is None:
        raise ConfigurationError(
            "SGLang is not installed in this Python environment.",
            remedy="Install the extra `gpu`, or the CPU set-up of the README, or use a running "
            "server through EMBEDDING_API_BASE.",
        )


def free_port() -> int:
    """Return a port that nobody listens on at present."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def check_port(port: int) -> None:
    """Refuse a port in use: SGLang itself would notice only after loading the model."""
    try:
        with socket.create_server((LOOPBACK, port)):
            return
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"Port {port} on {LOOPBACK} cannot be used: {error}.",
            remedy="Choose another port, or none to take a free one.",
        ) from error
