"""Whether a model is here, whole, and with the tokenizer that belongs to it."""

import contextlib
import json
import math
from pathlib import Path

from embed_index.pipeline.model.files import find_model, is_hub_id
from embed_index.pipeline.model.tokenizer import ModelTokenizer
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck
from embed_index.schemas.limits import LFS_POINTER

_INDEX = "model.safetensors.index.json"
_LENGTH_BYTES = 8
_MAX_NAMED = 3


def local_folder(model: str, *, revision: str | None) -> Path | None:
    """Return the folder that holds a model, its own or in the hub's cache; no hub is asked."""
    folder = Path(model).expanduser()
    with contextlib.suppress(PermissionError):
        if folder.is_dir():
            return folder.resolve()
    if not is_hub_id(model):
        return None
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(model, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def weight_bytes(folder: Path) -> int:
    """Return the size of the weights that are there."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def check_weights(folder: Path) -> HostCheck:
    """Read which weight files there should be, and from their heads how long each should be.

    Raises:
        ConfigurationError: One is missing or cut off.
    """
    names = _weight_names(folder)
    if not names:
        raise ConfigurationError(
            f"{folder} lacks weights (*.safetensors)",
            remedy="Download the model again; what is there is kept.",
        )
    refuse_broken_weights(folder)
    found = f"{_count(names)} whole, {weight_bytes(folder) / 2**30:.1f} GiB"
    return HostCheck(subject="weights", outcome="ok", found=found)


def refuse_broken_weights(folder: Path) -> None:
    """Refuse weights that no server could load; a folder may have them in another format.

    Raises:
        ConfigurationError: One is missing, cut off, or was never fetched by Git LFS.
    """
    names = _weight_names(folder)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ConfigurationError(
            f"{folder} lacks {len(missing)} of {_count(names)} ({_few(missing)})",
            remedy="Download the model again; what is there is kept.",
        )
    for file in sorted({*(folder / name for name in names), *folder.glob("*.bin")}):
        with file.open("rb") as weights:
            if weights.read(len(LFS_POINTER)) == LFS_POINTER:
                raise ConfigurationError(
                    f"{file} is a pointer of Git LFS, not the weights themselves",
                    remedy="Fetch them with `git lfs pull` in the model's repository, or download"
                    " the model again.",
                )
    cut_off = [name for name in names if not _is_whole(folder / name)]
    if cut_off:
        raise ConfigurationError(
            f"{folder / cut_off[0]} is cut off, or no safetensors file",
            remedy="Delete it and download the model again.",
        )


def check_tokenizer(folder: Path) -> HostCheck:
    """Load the tokenizer and see what it puts at the end of a text.

    Raises:
        ConfigurationError: It is missing, of another kind, or does not fit the model.
    """
    tokenizer = ModelTokenizer.load(find_model(str(folder)))
    found = f"{tokenizer.max_token_id + 1:,} tokens, read by {tokenizer.engine}"
    if not tokenizer.appends_end_token:
        return HostCheck(
            subject="tokenizer",
            outcome="warning",
            found=f"{found}; it does not append the end token that the model pools on",
            remedy="embed-index appends it itself. Whoever sends text to the server gets other "
            "vectors: take tokenizer.json from the model's own repository.",
        )
    return HostCheck(subject="tokenizer", outcome="ok", found=f"{found}; appends the end token")


def _weight_names(folder: Path) -> list[str]:
    index = folder / _INDEX
    if not index.is_file():
        return sorted(file.name for file in folder.glob("*.safetensors"))
    try:
        return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            f"{index} does not list the weight files", remedy="Download the model again."
        ) from error


def _is_whole(file: Path) -> bool:
    """Compare a file's size with where its head says that the last tensor ends."""
    size = file.stat().st_size
    with file.open("rb") as weights:
        head_bytes = int.from_bytes(weights.read(_LENGTH_BYTES), "little")
        if head_bytes > size:
            return False
        try:
            head = json.loads(weights.read(head_bytes))
            ends = [tensor["data_offsets"][1] for name, tensor in head.items()
                    if name != "__metadata__"]  # fmt: skip
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return False
    return size == _LENGTH_BYTES + head_bytes + max(ends, default=math.inf)


def _count(names: list[str]) -> str:
    return f"{len(names)} weight file{'' if len(names) == 1 else 's'}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:_MAX_NAMED]) + (", …" if len(names) > _MAX_NAMED else "")
