"""What an embedding server says of itself, read from the replies of its describing routes. No I/O.

SGLang answers /model_info and /server_info; it and most others answer /v1/models, where llama.cpp
has a field `meta`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

_GGUF = re.compile(r"([-._](bf16|fp?(16|32)|i?q\d\w*))?[-.]gguf(:.*)?$")
"""What llama.cpp's files and repositories add to a model's name: precision, format and tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDescription:
    """What a server says of itself; None where it does not say."""

    models: tuple[str, ...]
    """All names and folders under which it knows its models."""
    served_name: str | None
    """What requests call the model: the expected one or, where it is not named, the first."""
    max_input_tokens: int | None
    engine: str | None
    """Name and version, such as `sglang 0.5.23`."""
    dtype: str | None
    """Precision of the weights, as it was told; `auto` is the checkpoint's own, and a method such
    as `fp8` says that it quantises them."""


def describe_server(
    *,
    models: Mapping[str, Any],
    model_info: Mapping[str, Any],
    server_info: Mapping[str, Any],
    expected_model: str | None,
) -> ServerDescription:
    """Read the replies of /v1/models, /model_info and /server_info; empty for a missing route."""
    listed = _listed(models)
    served = next(
        (entry for entry in listed if expected_model and _names_model(entry, expected_model)),
        listed[0] if listed else {},
    )
    names = [model_info.get("model_path"), model_info.get("served_model_name")]
    names += [entry.get(field) for entry in listed for field in ("id", "root")]
    version = _text(server_info.get("version"))
    return ServerDescription(
        models=tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name)),
        served_name=_text(served.get("id")),
        max_input_tokens=_max_input_tokens(served, server_info),
        engine=f"sglang {version}" if version else None,
        dtype=_text(server_info.get("quantization"))
        or _text(server_info.get("dtype"))
        or _text(_meta(served).get("ftype")),
    )


def same_model(expected: str, named: str) -> bool:
    """Tell whether two names or folders mean one model.

    The last part decides, since a server may know `Qwen/Qwen3-Embedding-4B` by its folder; in a
    hub's cache that is the folder above the snapshots. To llama.cpp it is a GGUF file, and
    ModelScope writes a dot as three underscores.
    """
    return _last_part(expected) == _last_part(named)


def _last_part(model: str) -> str:
    parts = PurePosixPath(model.rstrip("/")).parts
    cached = [
        part for part, inner in zip(parts, [*parts[1:], ""], strict=True) if _is_cached(part, inner)
    ]
    name = cached[-1].split("--")[-1] if cached else (parts[-1] if parts else "")
    return _GGUF.sub("", name.replace("___", ".").casefold())


def _is_cached(part: str, inner: str) -> bool:
    """Say whether a folder is a model's in a hub's cache, by itself and by what is in it."""
    return part.startswith("models--") or ("--" in part and inner == "snapshots")


def _listed(models: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    entries = models.get("data")
    return (
        [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    )


def _names_model(entry: Mapping[str, Any], model: str) -> bool:
    names = (_text(entry.get("id")), _text(entry.get("root")))
    return any(name is not None and same_model(model, name) for name in names)


def _max_input_tokens(served: Mapping[str, Any], server_info: Mapping[str, Any]) -> int | None:
    """SGLang and llama.cpp refuse an input as long as the context; a full pool hangs SGLang."""
    context = served.get("max_model_len", _meta(served).get("n_ctx"))
    pool = server_info.get("max_total_num_tokens")
    is_below = served.get("owned_by") in ("sglang", "llamacpp") or "version" in server_info
    limits = [limit - is_below for limit in (context, pool) if isinstance(limit, int)]
    return min(limits, default=None)


def _meta(served: Mapping[str, Any]) -> Mapping[str, Any]:
    meta = served.get("meta")
    return meta if isinstance(meta, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
