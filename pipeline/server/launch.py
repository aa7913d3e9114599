"""How SGLang is launched for embedding: its flags and its environment. No I/O, no SGLang."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from embed_index.schemas.errors import ConfigurationError
from embed_index.schemas.server_flags import refused_flag

Device: TypeAlias = Literal["cuda", "cpu"]

CPU_PLATFORM = "embed_index_cpu"
"""Entry point of `cpu_platform`, as the project declares it."""

_CONTEXT_MARGIN_TOKENS = 8
"""SGLang refuses an input that is as long as its context; exactly 32,768 tokens must pass."""
_MIN_CONTEXT_TOKENS = 2_048
_MIN_CPU_POOL_TOKENS = 8_192
_CPU_PREFILL_TOKENS = 16_384
_CUDA_PREFILL_TOKENS = 32_769
"""Of one forward pass: two full requests, since SGLang stays a token below it. Passes of half the
size were up to 3 % slower; larger ones need more memory."""
_MEMORY_SHARE = 0.8
"""For weights and key-value pool; the rest is for a pass of 32,768 tokens, some 4 GB with the 8B
model by its shapes."""
_KEEP_ALIVE_SECONDS = 120
_HEALTH_SECONDS = 86_400
"""A server that its health route calls unhealthy drops on SIGTERM what is in flight. Of itself that
is one without an answer for 20 s, and on a CPU a single input takes longer."""
_PRIORITY_FLAGS = (
    # What runs is never put back: there is nothing to continue it from.
    *("--enable-priority-scheduling", "--disable-priority-preemption"),
    *("--default-priority-value", "0"),
)
"""With these SGLang heeds which requests `precedence` lets go first."""
_FA3_MAJORS = frozenset({8, 9})
_KV_POOL_FLAGS = frozenset({"--attention-backend", "--chunked-prefill-size"})

_PASSED_NAMES = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"}
    | {"LD_LIBRARY_PATH", "LD_PRELOAD", "LIBRARY_PATH", "CPATH", "CC", "CXX", "MAX_JOBS"}
    | {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"}
    | {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
)
_PASSED_PREFIXES = (
    *("LC_", "XDG_", "CUDA_", "NVIDIA_", "NCCL_", "GLOO_", "SGLANG_", "SGL_", "TRITON_", "TORCH"),
    *("PYTORCH_", "FLASHINFER_", "HF_", "HUGGINGFACE_", "TRANSFORMERS_", "MODELSCOPE_", "OMP_"),
    *("MKL_", "KMP_", "OPENBLAS_"),
)
_BLOCKED_NAMES = frozenset({"SGLANG_LOGGING_CONFIG_PATH", "SGLANG_USE_CPU_ENGINE"})
"""The first sends log lines, and the key in one of them, past our redaction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProfile:
    """What a managed server serves, and on what."""

    model: str
    """Local folder, or name on the hub."""
    device: Device
    max_tokens: int
    """Longest input, instruction and end token included."""
    dtype: str = "auto"
    quantization: str | None = None
    """SGLang's name of the method; None leaves it to the checkpoint."""
    revision: str | None = None
    compute_capability: tuple[int, int] | None = None
    """Of the GPU; None on the CPU or where it is unknown."""
    extra_flags: tuple[str, ...] = ()
    """Appended last, so that they win."""

    @property
    def context_tokens(self) -> int:
        """Context length that the server must be able to hold."""
        return max(self.max_tokens + _CONTEXT_MARGIN_TOKENS, _MIN_CONTEXT_TOKENS)


def sglang_flags(profile: ServerProfile, *, port: int) -> list[str]:
    """Return SGLang's command line for a profile.

    Raises:
        ConfigurationError: An extra flag is one of `REFUSED_FLAGS`; its value is not repeated.
    """
    for flag in filter(None, map(refused_flag, profile.extra_flags)):
        raise ConfigurationError(
            f"The server flag {flag} is not allowed.",
            remedy="Key, address, port and folders of the server have settings of their own.",
        )
    flags = ["--model-path", profile.model, "--device", profile.device, "--is-embedding"]
    if profile.revision is not None:
        flags += ["--revision", profile.revision]
    flags += ["--host", "127.0.0.1", "--port", str(port), "--dtype", profile.dtype]
    if profile.quantization is not None:
        flags += ["--quantization", profile.quantization]
    flags += ["--context-length", str(profile.context_tokens)]
    # Access lines would be most of a night's log.
    flags += ["--log-level", "info", "--log-level-http", "warning"]
    # Qwen3-Embedding's configuration does not say that its vectors may be cut.
    flags += ["--json-model-override-args", '{"is_matryoshka": true}']
    # Every chunk is new, and is embedded in one piece.
    flags += ["--disable-radix-cache", "--chunked-prefill-size", "-1"]
    flags += _PRIORITY_FLAGS
    # SGLang's own share shrinks with the tokens of a pass, below zero on GPUs of usual size.
    flags += ["--mem-fraction-static", str(_MEMORY_SHARE)]
    flags += _cuda_flags(profile) if profile.device == "cuda" else _cpu_flags(profile)
    return flags + list(profile.extra_flags)


def child_environment(
    environ: Mapping[str, str], *, device: Device, local_model: bool, gpu: int | None = None
) -> dict[str, str]:
    """Return the server's environment: what SGLang needs of ours, and none of our secrets.

    Args:
        environ: Our own environment.
        device: What the server runs on.
        local_model: Whether the model is a folder; the hub is then never asked.
        gpu: Position among the GPUs visible to us; None leaves all of them to the server.
    """
    environment = {name: value for name, value in environ.items() if _is_passed(name)}
    environment |= {
        # The 0.6B model's configuration ends at 32,768, eight tokens before our context.
        "SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN": "1",
        "SGLANG_HEALTH_CHECK_TIMEOUT": str(_HEALTH_SECONDS),
        "SGLANG_TIMEOUT_KEEP_ALIVE": str(_KEEP_ALIVE_SECONDS),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    # SGLang tries itself over its own port with a client that takes every proxy of the environment.
    spared = environment.get("no_proxy") or environment.get("NO_PROXY")
    spared = f"{spared},127.0.0.1" if spared else "127.0.0.1"
    environment |= {"no_proxy": spared, "NO_PROXY": spared}
    if local_model:
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if device == "cpu":
        # Without visible GPUs a CUDA build of torch runs on the CPU as well.
        environment |= {"SGLANG_PLATFORM": CPU_PLATFORM, "CUDA_VISIBLE_DEVICES": ""}
    elif gpu is not None:
        visible = environ.get("CUDA_VISIBLE_DEVICES", "")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    return environment


def _is_passed(name: str) -> bool:
    upper = name.upper()
    return name not in _BLOCKED_NAMES and (
        upper in _PASSED_NAMES or upper.startswith(_PASSED_PREFIXES)
    )


def _cpu_flags(profile: ServerProfile) -> list[str]:
    pool = max(profile.context_tokens + _MIN_CONTEXT_TOKENS, _MIN_CPU_POOL_TOKENS)
    return [
        *("--max-prefill-tokens", str(_CPU_PREFILL_TOKENS)),
        # Without a bound the pool takes half of the machine's memory.
        *("--max-total-tokens", str(pool)),
        # The idle scheduler would otherwise keep one core busy, which our own process needs.
        "--sleep-on-idle",
    ]


def _cuda_flags(profile: ServerProfile) -> list[str]:
    flags = ["--max-prefill-tokens", str(_CUDA_PREFILL_TOKENS)]
    major = profile.compute_capability[0] if profile.compute_capability else None
    overridden = {flag.partition("=")[0] for flag in profile.extra_flags} & _KV_POOL_FLAGS
    if major in _FA3_MAJORS and not overridden:
        # FlashAttention 3 needs no key-value pool for a prefill that is never continued.
        flags += ["--attention-backend", "fa3", "--prefill-only-disable-kv-cache"]
    return flags
