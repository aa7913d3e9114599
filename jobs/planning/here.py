"""Where a job would embed, and what its past runs say about that."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from embed_index.pipeline.ledger.ledger import Ledger
from embed_index.pipeline.model.files import ModelFiles
from embed_index.pipeline.planning.curve import Curve, curve_of
from embed_index.pipeline.planning.devices import Device, kind_of
from embed_index.pipeline.planning.prediction import Experience, Prediction, Setup, assumed_start
from embed_index.pipeline.server.gpus import visible_gpus
from embed_index.schemas.settings import JobSettings

_CPU = "the CPU"
_WEIGHTS_SHARE = 0.75
"""Of a GPU's memory. The rest is for a pass of 32,768 tokens and what CUDA itself takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a job embeds on one device, as far as it is known."""

    device: Device
    precision: str
    curve: Curve | None
    """None where the model's configuration does not even say how large it is."""
    experience: Experience
    start_seconds: float
    """Assumed, where no run has shown it; 0 where servers of others are used."""
    setup: Setup


def device_here(settings: JobSettings) -> Device:
    """Return what the job would embed on, if it ran on this host now."""
    if settings.server_url:
        name = f"servers at {', '.join(settings.server_url)}"
        return Device(name=name, count=len(settings.server_url), is_here=True)
    gpus = visible_gpus()
    chosen = [gpu for gpu in gpus if not settings.gpus or gpu.index in settings.gpus]
    if not chosen:
        return Device(name=_CPU, is_gpu=False, is_here=True)
    first = chosen[0].name
    return Device(name=first, count=len(chosen), kind=kind_of(first), is_here=True)


def pace_on(
    device: Device, *, settings: JobSettings, model: ModelFiles, ledger: Ledger | None
) -> Pace:
    """Return how fast a job embeds on a device; only its own host's past runs count."""
    precision = _precision(settings, model=model, device=device)
    setup = Setup(
        model=model.name if model.shape is None else _words(model),
        precision=precision,
        host=socket.gethostname(),
        device=device.name,
        num_devices=device.count,
    )
    past = _past(ledger) if device.is_here and ledger is not None else iter(())
    starts_servers = not (device.is_here and settings.server_url)
    return Pace(
        device=device,
        precision=precision,
        curve=curve_of(device.kind, shape=model.shape, precision=precision),
        experience=Experience.of(past, setup=setup),
        start_seconds=assumed_start(_weight_bytes(model, precision)) if starts_servers else 0.0,
        setup=setup,
    )


def weights_fit(pace: Pace, *, model: ModelFiles) -> bool:
    """Say whether the GPU has room for the weights and for a pass, as far as that is known."""
    kind = pace.device.kind
    return (
        kind is None or _weight_bytes(model, pace.precision) <= _WEIGHTS_SHARE * kind.memory_bytes
    )


def _past(ledger: Ledger) -> Iterator[Prediction]:
    for figures in ledger.figures.latest(kind="prediction"):
        prediction = Prediction.from_json(figures.content)
        if prediction is not None:
            yield prediction


def _precision(settings: JobSettings, *, model: ModelFiles, device: Device) -> str:
    own = model.quantization
    if own is not None:
        return own
    if settings.dtype != "auto":
        return settings.dtype
    if device.is_here and settings.server_url:
        return "auto"
    return "bfloat16" if device.is_gpu else "float32"


def _weight_bytes(model: ModelFiles, precision: str) -> int:
    if model.shape is None:
        return 0
    return model.shape.weight_bytes(vocab_size=model.vocab_size, precision=precision)


def _words(model: ModelFiles) -> str:
    shape = model.shape
    assert shape is not None
    return (
        f"{shape.num_layers} layers, width {shape.hidden_size} ({shape.intermediate_size}),"
        f" {shape.num_heads} heads of {shape.head_dim} ({shape.num_kv_heads})"
    )
