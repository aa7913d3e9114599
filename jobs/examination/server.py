"""What must hold for the embedding server of a job: one of our own, or those that it names."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from embed_index.jobs.adapters.servers import chosen_gpus, precision_for
from embed_index.jobs.cli.signals import run_interruptibly
from embed_index.jobs.examination.check import Check
from embed_index.pipeline.embedding.endpoint import EmbeddingEndpoint
from embed_index.pipeline.embedding.faults import BusyServerError
from embed_index.pipeline.embedding.preflight import check_access
from embed_index.pipeline.host.gpu import check_gpu, check_gpu_memory
from embed_index.pipeline.host.model import (
    check_tokenizer,
    check_weights,
    local_folder,
    weight_bytes,
)
from embed_index.pipeline.host.packages import check_cpu_platform, check_sglang, check_torch
from embed_index.pipeline.host.places import check_shared_memory
from embed_index.pipeline.model.files import check_dimension, check_max_tokens, find_model
from embed_index.pipeline.secrecy.key_file import read_key_file
from embed_index.pipeline.secrecy.redaction import REDACTOR
from embed_index.pipeline.server.gpus import Gpu, visible_gpus
from embed_index.pipeline.server.launch_checks import check_port
from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.host_check import HostCheck
from embed_index.schemas.settings import JobSettings

_ANSWER_SECONDS = 10.0


def own_server_checks(settings: JobSettings) -> Iterator[Check]:
    """Yield the checks for a server that a run starts."""
    gpus = visible_gpus()
    yield "GPU", check_gpu
    yield "SGLang", check_sglang
    yield "PyTorch", partial(check_torch, on_gpu=bool(gpus))
    if not gpus:
        yield "CPU platform", check_cpu_platform
    yield "shared memory", check_shared_memory
    yield "port", partial(_check_ports, settings)
    folder = local_folder(settings.model, revision=settings.revision)
    yield "model", partial(_check_model, settings, folder)
    if folder is None:
        return
    yield "precision", partial(_check_precision, settings, gpus, folder)
    yield "weights", partial(check_weights, folder)
    yield "tokenizer", partial(check_tokenizer, folder)
    if gpus:
        yield "GPU memory", partial(_check_gpu_memory, settings, gpus, folder)


def running_server_checks(settings: JobSettings, *, key_file: Path | None) -> Iterator[Check]:
    """Yield the checks for servers that somebody else runs."""
    for url in settings.server_url:
        yield "server", partial(_check_running_server, settings, url, key_file)
    folder = local_folder(settings.model, revision=settings.revision)
    yield "model", partial(_check_model, settings, folder)
    if folder is not None:
        yield "tokenizer", partial(check_tokenizer, folder)


def _check_ports(settings: JobSettings) -> HostCheck:
    first, num_servers = settings.server_port, len(chosen_gpus(settings))
    if not first:
        return HostCheck(subject="port", outcome="ok", found="any free one on 127.0.0.1")
    for port in range(first, first + num_servers):
        check_port(port)
    ports = f"{first}" if num_servers == 1 else f"{first} to {first + num_servers - 1}"
    return HostCheck(subject="port", outcome="ok", found=f"{ports} on 127.0.0.1, free")


def _check_model(settings: JobSettings, folder: Path | None) -> HostCheck:
    if folder is None and Path(settings.model).is_absolute():
        find_model(settings.model)
    if folder is None:
        return HostCheck(
            subject="model",
            outcome="warning",
            found=f"{settings.model} is not in the Hugging Face cache; the first run downloads it",
            remedy="For a first night without that, download it before, or give a folder.",
        )
    model = find_model(str(folder))
    dimension = check_dimension(settings.dimension, model)
    check_max_tokens(settings.max_tokens, model)
    return HostCheck(
        subject="model",
        outcome="ok",
        found=f"{settings.model}, {dimension} of {model.width} dimensions",
    )


def _check_precision(settings: JobSettings, gpus: tuple[Gpu, ...], folder: Path) -> HostCheck:
    model = find_model(str(folder))
    precision = precision_for(settings, model=model, gpus=gpus)
    found = model.quantization or precision.quantization or precision.dtype
    return HostCheck(subject="precision", outcome="ok", found=found)


def _check_gpu_memory(settings: JobSettings, gpus: tuple[Gpu, ...], folder: Path) -> HostCheck:
    chosen = chosen_gpus(settings)
    used = [gpu for gpu in gpus if None in chosen or gpu.index in chosen]
    return check_gpu_memory(used, weight_bytes=weight_bytes(folder))


def _check_running_server(settings: JobSettings, url: str, key_file: Path | None) -> HostCheck:
    endpoint = EmbeddingEndpoint.from_settings(
        url, key=_server_key(settings, key_file), model=settings.model
    )
    try:
        access = run_interruptibly(
            check_access(
                endpoint,
                expected_model=settings.model,
                dimension=settings.dimension,
                max_tokens=settings.max_tokens,
                answer_seconds=_ANSWER_SECONDS,
            )
        )
    except BusyServerError as error:
        # One that others use is no mistake, and the job would wait for it.
        return HostCheck(
            subject="server", outcome="warning", found=error.message, remedy=error.remedy
        )
    found = f"{url}, {access.engine}, {access.width} dimensions; asks for its key"
    if access.missing:
        return HostCheck(
            subject="server",
            outcome="warning",
            found=found,
            remedy=f"It works, but does not give {', '.join(access.missing)}.",
        )
    return HostCheck(subject="server", outcome="ok", found=found)


def _server_key(settings: JobSettings, key_file: Path | None) -> SecretStr:
    key = settings.server_key if key_file is None else read_key_file(key_file)
    if key is None:
        raise ConfigurationError(
            f"the job names the server {settings.server_url[0]}, and its key is not known",
            remedy="Put EMBEDDING_API_KEY into the environment or .env, or give --key-file.",
        )
    REDACTOR.remember(key.get_secret_value())
    return key
