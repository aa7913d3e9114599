"""Find a model's configuration and tokenizer: local folder, Hugging Face or ModelScope.

Of a Hugging Face model only small files are fetched here; the embedding server fetches the weights
itself, at the same commit. A ModelScope model is downloaded whole.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from embed_index.pipeline.model.shape import ModelShape
from embed_index.schemas.errors import ConfigurationError, UnavailableError
from embed_index.schemas.limits import LFS_POINTER
from embed_index.schemas.waits import WAITS

ModelSource: TypeAlias = Literal["huggingface", "modelscope"]
MIN_DIMENSION = 32
"""The smallest width that Qwen3-Embedding was trained for."""
MAX_MODEL_TOKENS = 32_768

_SAMPLED_BYTES = 1 << 20
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What the pipeline needs to know of a model before a server runs it."""

    name: str
    """Hub id, or what the folder calls the model."""
    location: str
    """Hub id or path of the folder, for a server to load."""
    revision: str
    """The hub's commit, or for a folder `local-` and a fingerprint of its files."""
    hub_revision: str | None
    """The commit to ask the hub for; None for a folder."""
    tokenizer_file: Path
    width: int
    vocab_size: int
    max_positions: int
    """The longest input that the model was made for, in tokens."""
    quantization: str | None = None
    """How the checkpoint was quantised, in SGLang's words such as `fp8`; None for not at all."""
    shape: ModelShape | None = None
    """None where the configuration does not give all sizes."""


class _RopeScaling(BaseModel):
    model_config = ConfigDict(extra="ignore")

    factor: float = 1.0
    original_max_position_embeddings: int | None = None


class _Quantization(BaseModel):
    model_config = ConfigDict(extra="ignore")

    quant_method: str


class _ModelConfig(BaseModel):
    model_config = ConfigDict(extra="ignore")

    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    rope_scaling: _RopeScaling | None = None
    rope_parameters: _RopeScaling | None = None
    """The same in transformers 5."""
    quantization_config: _Quantization | None = None
    intermediate_size: int | None = None
    num_hidden_layers: int | None = None
    num_attention_heads: int | None = None
    num_key_value_heads: int | None = None
    head_dim: int | None = None

    @property
    def shape(self) -> ModelShape | None:
        """The sizes, as far as they are all told."""
        heads = self.num_attention_heads
        if not (self.intermediate_size and self.num_hidden_layers and heads):
            return None
        return ModelShape(
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_layers=self.num_hidden_layers,
            num_heads=heads,
            num_kv_heads=self.num_key_value_heads or heads,
            head_dim=self.head_dim or self.hidden_size // heads,
        )

    @property
    def max_positions(self) -> int:
        """Positions with what scales them; some write the scaled number down, some the other."""
        scaling = self.rope_scaling or self.rope_parameters or _RopeScaling()
        original = scaling.original_max_position_embeddings or self.max_position_embeddings
        return max(self.max_position_embeddings, int(original * scaling.factor))


def find_model(
    model: str, *, source: ModelSource = "huggingface", revision: str | None = None
) -> ModelFiles:
    """Locate `config.json` and `tokenizer.json` of a model, fetching them from a hub if need be.

    Args:
        model: A folder, or a hub id such as `Qwen/Qwen3-Embedding-0.6B`.
        source: The hub that is asked where `model` is no folder.
        revision: Branch, tag or commit; ignored for a folder.

    Raises:
        ConfigurationError: The model does not exist, or lacks a file or field.
        UnavailableError: The hub does not answer and nothing is cached.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        folder = folder.resolve()
        return _describe(
            _folder_name(folder),
            folder,
            location=str(folder),
            revision=_fingerprint_folder(folder),
            hub_revision=None,
        )
    if not is_hub_id(model):
        raise ConfigurationError(
            f"model: the folder {model!r} does not exist",
            remedy="Give a folder that holds config.json and tokenizer.json, or a hub id such as "
            "Qwen/Qwen3-Embedding-0.6B.",
        )
    if source == "modelscope":
        folder = _fetch_from_modelscope(model, revision).resolve()
        return _describe(
            model,
            folder,
            location=str(folder),
            revision=_fingerprint_folder(folder),
            hub_revision=None,
        )
    snapshot, commit = _fetch_from_hugging_face(model, revision)
    return _describe(model, snapshot, location=model, revision=commit, hub_revision=commit)


def _folder_name(folder: Path) -> str:
    """Return the model's own name, which a hub's cache writes into the folder above its snapshots.

    There the folder itself is called by a commit's hash, also where a link leads to it.
    """
    _, is_cached, cached = folder.parent.parent.name.rpartition("--")
    name = cached if folder.parent.name == "snapshots" and is_cached else folder.name
    # ModelScope's dot.
    return name.replace("___", ".")


def is_hub_id(model: str) -> bool:
    """Tell an id such as `Qwen/Qwen3-Embedding-0.6B` from the path of a folder."""
    return _HUB_ID.fullmatch(model) is not None


def check_dimension(dimension: int | None, model: ModelFiles) -> int:
    """Return the dimension to embed at; None means the model's own width."""
    if dimension is None:
        return model.width
    if not MIN_DIMENSION <= dimension <= model.width:
        raise ConfigurationError(
            f"dimension: {dimension} is outside what {model.name} offers",
            remedy=f"Choose a dimension from {MIN_DIMENSION} to {model.width}.",
        )
    return dimension


def check_max_tokens(max_tokens: int, model: ModelFiles) -> None:
    """Refuse inputs that are longer than the model's positions: their vectors mean nothing.

    The server would not: its own check is switched off, because it counts otherwise.
    """
    if max_tokens > model.max_positions:
        raise ConfigurationError(
            f"max_tokens: {max_tokens:,} is more than the {model.max_positions:,} positions of"
            f" {model.name}",
            remedy=f"Set --max-tokens to at most {model.max_positions}, or use a model that was"
            " made for longer texts.",
        )


def _describe(
    name: str, folder: Path, *, location: str, revision: str, hub_revision: str | None
) -> ModelFiles:
    config_file, tokenizer_file = folder / "config.json", folder / "tokenizer.json"
    for file in (config_file, tokenizer_file):
        if not file.is_file():
            raise ConfigurationError(
                f"model: {name} has no {file.name}",
                remedy="Download the whole model folder, tokenizer included.",
            )
        with file.open("rb") as opened:
            if opened.read(len(LFS_POINTER)) == LFS_POINTER:
                raise ConfigurationError(
                    f"model: {file.name} of {name} is a pointer of Git LFS, not the file itself",
                    remedy="Fetch it with `git lfs pull` in the model's repository, or download the"
                    " model again.",
                )
    try:
        config = _ModelConfig.model_validate_json(config_file.read_bytes())
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, part["loc"])) for part in error.errors())
        raise ConfigurationError(
            f"model: config.json of {name} is not a Qwen3 configuration ({fields or 'not JSON'})",
            remedy="Use a Qwen3-Embedding model, or another decoder model in the same format.",
        ) from error
    quantized = config.quantization_config
    return ModelFiles(
        name=name,
        location=location,
        revision=revision,
        hub_revision=hub_revision,
        tokenizer_file=tokenizer_file,
        width=config.hidden_size,
        vocab_size=config.vocab_size,
        max_positions=config.max_positions,
        quantization=quantized.quant_method.casefold() if quantized else None,
        shape=config.shape,
    )


def _fingerprint_folder(folder: Path) -> str:
    """Hash configuration and tokenizer whole, weights by size, first and last MiB.

    Reading 16 GB of weights before every nightly run would cost more than it tells: the canaries
    of the collection's contract catch any weights that give other vectors.
    """
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(folder.iterdir()):
        if file.name in {"config.json", "tokenizer.json", "tokenizer_config.json"}:
            digest.update(file.name.encode() + file.read_bytes())
        elif file.suffix in {".safetensors", ".bin"}:
            size = file.stat().st_size
            digest.update(f"{file.name}:{size}".encode())
            with file.open("rb") as weights:
                digest.update(weights.read(_SAMPLED_BYTES))
                weights.seek(max(0, size - _SAMPLED_BYTES))
                digest.update(weights.read(_SAMPLED_BYTES))
    return f"local-{digest.hexdigest()}"


def _fetch_from_hugging_face(model: str, revision: str | None) -> tuple[Path, str]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        with WAITS.waiting_for("the Hugging Face hub"):
            config = hf_hub_download(model, "config.json", revision=revision)
            # The commit that the first file came from pins the second.
            commit = Path(config).parent.name
            hf_hub_download(model, "tokenizer.json", revision=commit)
    except LocalEntryNotFoundError as error:
        raise UnavailableError(
            f"model: {model} is not cached and the Hugging Face hub does not answer",
            remedy="Check the network, or download the model and give its folder as --model.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ConfigurationError(
            f"model: the Hugging Face hub has no usable {model}{at}",
            remedy="Check the id and the revision; a private model needs HF_TOKEN.",
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise UnavailableError(
            f"model: fetching {model} from the Hugging Face hub failed ({type(error).__name__})",
            remedy="Check the network, or download the model and give its folder as --model.",
        ) from error
    return Path(config).parent, commit


def _fetch_from_modelscope(model: str, revision: str | None) -> Path:
    """Download the whole model: SGLang is then given a folder, and asks no hub."""
    try:
        from modelscope import snapshot_download
    except ImportError as error:
        raise ConfigurationError(
            "model_source: modelscope is not installed",
            remedy="Install it: pip install modelscope.",
        ) from error
    download: Callable[..., str] = snapshot_download
    try:
        with WAITS.waiting_for("ModelScope"):
            return Path(download(model, revision=revision))
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"model: fetching {model} from ModelScope failed ({type(error).__name__})",
            remedy="Check the id, the revision and the network, or give a folder as --model.",
        ) from error
